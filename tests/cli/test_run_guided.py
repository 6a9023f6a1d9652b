"""``unhaze run --model NETWORK+FUSION``: depth from an estimator or from a file."""

import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from unhaze.models.guided import create_model, save_model  # noqa: E402


@pytest.fixture
def trained(tmp_path):
    """Weights of a network, of a fusion, and of both; the depth estimator ships with unhaze."""
    torch.manual_seed(0)
    model = create_model("dehazeformer-t+concat", "compact")
    with torch.no_grad():
        for parameter in model.fusions.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    for part in ("all", "fusions", "backbone"):
        save_model(model, tmp_path / f"{part}.safetensors", part)
    return tmp_path


@pytest.fixture
def picture(tmp_path, photo):
    path = tmp_path / "hazy.png"
    cv2.imwrite(str(path), photo[:60, :80])
    return path


def test_depth_is_estimated_used_and_saved(unhaze, trained, picture, tmp_path):
    out = tmp_path / "out"
    arguments = ("run", picture, "-o", out, "--model", "dehazeformer-t+concat", "--save", "depth", "--json")
    result = unhaze(*arguments, "--weights", trained / "all.safetensors")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["records"][0]["status"] == "done"
    depth = cv2.imread(str(out / "hazy-depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.shape == (60, 80)
    assert depth.dtype == np.uint16
    whole = cv2.imread(str(out / "hazy.png"))
    apart = ("--weights", trained / "fusions.safetensors", "--backbone-weights", trained / "backbone.safetensors")
    again = unhaze("run", picture, "-o", tmp_path / "again", *apart)
    assert again.exit_code == 0, again.stderr
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "again/hazy.png")), whole)


def test_depth_from_a_file_takes_the_place_of_an_estimate(unhaze, trained, picture, tmp_path):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "depth.png"), rng.integers(0, 65535, (60, 80), dtype=np.uint16))
    weights = ("--weights", trained / "all.safetensors")
    for name, depth in (("own", ()), ("given", ("--depth", tmp_path / "depth.png"))):
        result = unhaze("run", picture, "-o", tmp_path / name, *weights, *depth)
        assert result.exit_code == 0, result.stderr
    own, given = (cv2.imread(str(tmp_path / name / "hazy.png")).astype(int) for name in ("own", "given"))
    assert np.abs(own - given).max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "fusions.safetensors"), "holds the fusion alone; give weights of dehazeformer-t"),
        (("--weights", "all.safetensors", "--model", "oknet+concat"), "belongs to dehazeformer-t+concat"),
        (("--weights", "all.safetensors", "--depth", "compcat"), "did you mean compact"),
        (("--weights", "all.safetensors", "--save", "transmission"), "makes no maps but depth"),
        (("--weights", "backbone.safetensors", "--save", "depth"), "knows nothing of depth"),
        (("--weights", "backbone.safetensors", "--depth", "compact"), "--depth is for networks with a fusion module"),
        (("--weights", "backbone.safetensors", "--prompts", "3"), "--prompts is for networks with a fusion module"),
        (("--weights", "backbone.safetensors", "--depth-weights", "x.pth"), "--depth-weights is for networks with a"),
        (
            ("--model", "dehazeformer-t", "--weights", "backbone.safetensors", "--backbone-weights", "all.safetensors"),
            "--backbone-weights is for networks with a fusion module, such as sgdnet+hgdf, which dehazeformer-t is not",
        ),
        (("--weights", "all.safetensors", "--prompts", "3"), "--prompts is for fusions that compare depth before"),
        (("--depth", "compact"), "--depth is for networks, which field-m is not"),
        (("--weights", "all.safetensors", "--tile", "64"), "looks at the whole picture"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(unhaze, trained, picture, arguments, message):
    placed = [trained / part if part.endswith(".safetensors") else part for part in arguments]
    result = unhaze("run", picture, *placed)
    assert result.exit_code == 2, result.stderr
    assert message in " ".join(result.stderr.split())


@pytest.fixture
def guided_files(tmp_path):
    """A network with a fusion module as ``save_model`` writes it, and its bare tensors."""
    model = create_model("aodnet+hgdf", "compact")
    save_model(model, tmp_path / "guided.safetensors")
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    return tmp_path


def test_weights_of_a_guided_network_are_verified(unhaze, guided_files):
    for options in ((), ("--model", "aodnet+hgdf")):
        result = unhaze("models", "verify", guided_files / "guided.safetensors", *options)
        assert result.exit_code == 0, result.stderr
        assert "aodnet-base+hgdf" in result.stdout
    result = unhaze("models", "verify", guided_files / "guided.safetensors", "--model", "aodnet+concat")
    assert result.exit_code == 2
    assert "belongs to aodnet-base+hgdf" in result.stderr


def test_they_need_no_conversion_and_bare_tensors_say_what_is_missing(unhaze, guided_files, picture):
    result = unhaze("convert", guided_files / "guided.safetensors", "-o", guided_files / "again.safetensors")
    assert result.exit_code == 2
    assert "can be used as it is" in result.stderr
    result = unhaze("run", picture, "--model", "aodnet+hgdf", "--weights", guided_files / "bare.pth")
    assert result.exit_code == 2
    assert "unhaze.models.save_model" in result.stderr
