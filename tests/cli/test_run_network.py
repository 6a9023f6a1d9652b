"""``unhaze run --model``, from file to file with weights on the disk."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from unhaze.models.checkpoints import save_weights  # noqa: E402
from unhaze.models.networks import create_network  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("aodnet-base", "gcanet-base"):
        save_weights(create_network(name).state_dict(), folder / f"{name}.safetensors", name)
    return folder


@pytest.fixture
def hazy(tmp_path, photo):
    Image.fromarray(photo[:60, :80]).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_network_restores_a_picture(unhaze, weights, hazy, photo):
    result = unhaze("run", hazy, "--model", "aodnet-base", "--weights", weights / "aodnet-base.safetensors")
    assert result.exit_code == 0, result.stderr
    network = create_network("aodnet-base")
    from unhaze.models.checkpoints import load_weights

    load_weights(network, weights / "aodnet-base.safetensors")
    image = torch.from_numpy(photo[:60, :80] / np.float32(255)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = network.restore(image).image.clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255
    restored = np.array(Image.open(hazy.with_name("a-dehazed.png")))
    assert np.abs(restored - expected).max() <= 0.51


def test_the_weights_name_the_network_and_tiles_change_nothing(unhaze, weights, hazy):
    file = weights / "aodnet-base.safetensors"
    outputs = []
    for options in ([], ["--tile", "32"], ["--device", "cpu", "--precision", "bf16"]):
        result = unhaze("run", hazy, "--weights", file, "--overwrite", *options)
        assert result.exit_code == 0, result.stderr
        outputs.append(np.array(Image.open(hazy.with_name("a-dehazed.png"))).astype(int))
    assert np.abs(outputs[1] - outputs[0]).max() <= 1
    assert np.abs(outputs[2] - outputs[0]).max() <= 4


def test_several_pictures(unhaze, weights, hazy, tmp_path):
    for name in "bcd":
        (tmp_path / f"{name}.png").write_bytes(hazy.read_bytes())
    result = unhaze("run", tmp_path, "-o", tmp_path / "out", "--weights", weights / "gcanet-base.safetensors", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["done"] == 4
    first, *others = ((tmp_path / "out" / f"{name}.png").read_bytes() for name in "abcd")
    assert all(other == first for other in others)


def test_a_dry_run_knows_the_memory_of_the_network(unhaze, weights, hazy):
    def needed(*options):
        return json.loads(unhaze("run", hazy, "--dry-run", "--json", *options).stdout)["records"][0]["memory"]

    assert needed("--weights", weights / "gcanet-base.safetensors") > needed() + (100 << 20)


def test_a_network_without_tiles_that_does_not_fit_fails_with_the_reason(unhaze, weights, hazy):
    result = unhaze("run", hazy, "--weights", weights / "gcanet-base.safetensors", "--max-memory", "200M")
    assert result.exit_code == 1
    assert "looks at the whole picture at once" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "reported"),
    [
        (["--model", "aodnet-base"], 3, "needs trained weights"),
        (["--model", "aodnet"], 3, "The network aodnet-base needs trained weights"),
        (["--model", "aodnet-bse"], 2, "did you mean aodnet-base"),
        (["--model", "aodnet+hgfd"], 2, "no fusion named 'hgfd'; did you mean hgdf"),
        (["--model", "dehazeformer"], 3, "dehazeformer-b needs trained weights"),
        (["--model", "aodnet-base", "--weights", "nowhere.pth"], 3, "nowhere.pth"),
        (["--model", "aodnet-bse", "--weights", "{aodnet-base}"], 2, "did you mean aodnet-base"),
        (["--model", "gcanet-base", "--weights", "{aodnet-base}"], 2, "looks like aodnet-base"),
        (["--weights", "{aodnet-base}", "--strength", "-0.5"], 2, "between 0 and 1"),
        (["--weights", "{aodnet-base}", "--model", "cap"], 2, "weights is for networks, which cap is not"),
        (["--weights", "{aodnet-base}", "--save", "depth"], 2, "knows nothing of depth"),
        (["--weights", "{aodnet-base}", "--save", "confidence"], 2, "makes no maps but depth"),
        (["--weights", "{aodnet-base}", "--device", "tpu"], 2, "no device named 'tpu'"),
        (["--weights", "{aodnet-base}", "--device", "cuda:99"], 2, "This machine has no"),
        (["--weights", "{gcanet-base}", "--tile", "64"], 2, "whole picture at once"),
        (["--tile", "64"], 2, "name one with --model"),
    ],
)
def test_what_cannot_work_is_reported(unhaze, weights, hazy, options, code, reported):
    files = {name: str(weights / f"{name}.safetensors") for name in ("aodnet-base", "gcanet-base")}
    result = unhaze("run", hazy, *(option.format(**files) for option in options))
    assert result.exit_code == code
    assert reported in result.stderr
    assert not hazy.with_name("a-dehazed.png").exists()


@pytest.mark.parametrize("command", [["run", "a.png"], ["models", "verify"], ["convert", "-o", "b.safetensors"]])
def test_without_torch_the_extra_is_named(tmp_path, environment, weights, command):
    file = weights / "aodnet-base.safetensors"
    given = ["--weights", file] if command[0] == "run" else [file]
    code = f"import sys; sys.modules['torch'] = None; sys.argv = {['unhaze', *command, *map(str, given)]!r}\n"
    code += "from unhaze.cli import main; main()"
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "pip install 'unhaze[torch]'" in done.stderr
    assert "Traceback" not in done.stderr
