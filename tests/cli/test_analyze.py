import json

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

SMALL = ("--levels", "2", "--size", "32")


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("clear", "depth"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    depth = np.tile(np.linspace(1000, 9000, 32), (24, 1)).astype(np.uint16)
    for name in "ab":
        cv2.imwrite(str(tmp_path / "data" / "clear" / f"{name}.png"), rng.integers(0, 256, (24, 32, 3), np.uint8))
        cv2.imwrite(str(tmp_path / "data" / "depth" / f"{name}.png"), depth)
    return tmp_path / "data"


@pytest.fixture
def aodnet(tmp_path):
    """A file with weights of a small network."""
    from unhaze.models.checkpoints.loading import save_weights
    from unhaze.models.networks import create_network

    return save_weights(create_network("aodnet-base").state_dict(), tmp_path / "aodnet.safetensors", "aodnet-base")


def test_consistency_of_a_network_and_its_control(unhaze, data, aodnet, tmp_path):
    out = tmp_path / "new" / "study"
    result = unhaze(
        "analyze", "consistency", "--model", "aodnet", "--weights", aodnet, "--random", "--data", data,
        "--out", out, *SMALL,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "| aodnet-base | trained | enc1 | 3 |" in result.stdout
    assert "| aodnet-base (random) | random | restored | 3 |" in result.stdout
    assert "| pixels | none | pixels | 3 |" in result.stdout
    assert (out / "consistency.md").read_text() == result.stdout
    facts = json.loads((out / "consistency.json").read_text())
    assert facts["betas"] == [0.04, 0.2]
    assert {each["probe"] for each in facts["stages"]} >= {"aodnet-base", "aodnet-base (random)", "contrast"}
    assert sorted(path.name for path in out.iterdir()) == [
        "consistency-cosine.svg", "consistency-relative.svg", "consistency-scene.svg",
        "consistency.json", "consistency.md",
    ]  # fmt: skip


def test_a_network_with_and_without_its_fusion(unhaze, data, tmp_path):
    from unhaze.models.guided import create_model, save_model

    file = save_model(create_model("aodnet+concat"), tmp_path / "fused.safetensors")
    result = unhaze(
        "analyze", "consistency", "--model", "aodnet+concat", "--weights", file, "--no-controls", "--json",
        "--data", data, "--out", tmp_path / "out", "--betas", "0,0.1", *SMALL,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    with_it, without = ([s for s in facts["stages"] if s["probe"] == name] for name in FUSED)
    assert len(with_it) == len(without) > 1
    assert all(stage["relative"][0] == [0, 0] for stage in facts["stages"])
    for one, two in zip(with_it, without, strict=True):  # a fresh fusion changes nothing
        assert one["relative"] == two["relative"]


FUSED = ("aodnet-base+concat", "aodnet-base+concat, fusion off")


def test_kl_of_the_shipped_estimator(unhaze, data, tmp_path):
    pytest.importorskip("onnxruntime")
    arguments = ("analyze", "kl", "--depth", "compact", "--data", data, "--out", tmp_path, *SMALL)
    result = unhaze(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "| compact | trained |" in result.stdout
    assert "| ramp | none | 0.000 ± 0.000 |" in result.stdout
    assert "2 pictures, 2 levels of haze" in result.stderr
    first = (tmp_path / "kl.json").read_bytes()
    assert unhaze(*arguments).exit_code == 1
    assert unhaze(*arguments, "--overwrite", "--format", "png").exit_code == 0
    assert (tmp_path / "kl.json").read_bytes() == first
    assert (tmp_path / "kl.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("study", "arguments", "code", "sentence"),
    [
        ("consistency", [], 2, "nothing to measure; name a network"),
        ("consistency", ["--model", "aodnet"], 3, "aodnet needs trained weights"),
        ("consistency", ["--model", "aodnte", "--random"], 2, "no network named 'aodnte'"),
        ("consistency", ["--weights", "x.pth", "--depth", "compact"], 2, "x.pth belongs to no network"),
        ("consistency", ["--model", "aodnet", "--weights", "absent.pth"], 3, "absent.pth"),
        ("kl", [], 2, "nothing to measure; name a depth estimator"),
        ("kl", ["--depth", "ra-depth"], 3, "ra-depth needs trained weights; give the folder"),
        ("kl", ["--depth", "dcmpnet-de=absent.pth", "--random"], 3, "There is no weights file absent.pth"),
        ("kl", ["--depth", "compat"], 2, "did you mean compact"),
        ("kl", ["--depth", "compact", "--betas", "0.1"], 2, "give two numbers"),
        ("kl", ["--depth", "compact", "--betas", "0.2,0.1"], 2, "LOW <= HIGH"),
        ("kl", ["--depth", "compact", "--format", "jpg"], 2, "no format of plots named 'jpg'"),
        ("kl", ["--depth", "compact", "--group", "sky"], 2, "choose rgbd or camvid"),
    ],
)
def test_mistakes(unhaze, data, tmp_path, study, arguments, code, sentence):
    pytest.importorskip("onnxruntime")
    result = unhaze("analyze", study, "--data", data, "--out", tmp_path / "out", "--quiet", *arguments)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert "\n" not in result.stderr.strip()
    assert not (tmp_path / "out").exists()


def test_a_folder_without_depth(unhaze, tmp_path):
    result = unhaze("analyze", "kl", "--depth", "compact", "--data", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no pictures of known depth" in result.stderr


def test_features_and_depth_are_drawn(unhaze, data, aodnet, tmp_path):
    out = tmp_path / "sheets"
    command = ("analyze", "features", "--model", "aodnet", "--weights", aodnet, "--depth", "compact")
    command += ("--data", data, "--out", out, *SMALL)
    result = unhaze(*command)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["features-1.png", "features-2.png"]
    height, width = cv2.imread(str(out / "features-1.png")).shape[:2]
    assert width == 3 * 32
    assert height % (24 + 16) == 0
    assert height >= 4 * (24 + 16)
    again = unhaze(*command)
    assert again.exit_code != 0
    assert "--overwrite" in again.stderr
    nothing = unhaze("analyze", "features", "--data", data, "--out", tmp_path / "none", *SMALL)
    assert "nothing to draw" in nothing.stderr
