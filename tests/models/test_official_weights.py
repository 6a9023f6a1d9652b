"""Official checkpoints give official results; they are no part of the repository, so their folder must be named."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from tests import parity  # noqa: E402
from tests.strips import ConvolutionsInStrips  # noqa: E402

from unhaze import Dehazer  # noqa: E402
from unhaze.models.base import prepare  # noqa: E402
from unhaze.models.checkpoints import convert_weights, load_network  # noqa: E402

pytestmark = pytest.mark.development_data


@pytest.mark.parametrize(
    ("fixture_name", "name", "file", "outputs"),
    [
        ("aodnet-official", "aodnet-base", "dehazer.pth", lambda r: {"out": r.image}),
        (
            "gcanet-official",
            "gcanet-base",
            "wacv_gcanet_dehaze.pth",
            lambda r: {"out255": r.image, "residual": r.aux["residual"]},
        ),
    ],
)
def test_official_checkpoint(fixture_name, name, file, outputs, official_weights):
    path = official_weights / file
    fixture = parity.load(fixture_name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in fixture.manifest["weights"]
    network, found = load_network(path)
    assert found == name
    with torch.no_grad():
        ours = outputs(network(prepare(fixture.image(), network.contract)))
    errors = {output: fixture.error(output, tensor) for output, tensor in ours.items()}
    print(fixture_name, errors)
    assert {output: error for output, error in errors.items() if not error <= fixture.limit(output)} == {}


SMALL, LARGE = (376, 480), (1048, 1800)


@pytest.mark.parametrize(
    ("name", "file", "size"),
    [
        ("aodnet", "dehazer.pth", SMALL),
        ("gcanet", "wacv_gcanet_dehaze.pth", SMALL),
        pytest.param("aodnet", "dehazer.pth", LARGE, marks=pytest.mark.slow),
        pytest.param("gcanet", "wacv_gcanet_dehaze.pth", LARGE, marks=pytest.mark.slow),
        pytest.param("maxim-2s", "upscalerjs-maxim-dehazing-indoor-0.1.0.tgz", SMALL, marks=pytest.mark.slow),
        pytest.param("maxim-2s", "upscalerjs-maxim-dehazing-outdoor-0.1.0.tgz", SMALL, marks=pytest.mark.slow),
    ],
)
def test_a_photograph_on_the_path_of_a_user(name, file, size, official_weights, tmp_path):
    """As :meth:`restore` in float64 on contiguous maps, to 1e-5 or ten times what float32 alone loses."""
    height, width = size
    weights = official_weights / file
    if weights.suffix == ".tgz":  # a package of TensorFlow.js, which is converted first
        weights = tmp_path / "converted.safetensors"
        convert_weights(official_weights / file, weights)
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((1, 3, height // 60, width // 60), np.float32))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0).numpy()
    rgb = np.clip(0.4 + 0.5 * smooth + 0.02 * random.standard_normal(smooth.shape, np.float32), 0, 1)
    planes = torch.from_numpy(rgb).permute(2, 0, 1)[None].contiguous()
    network, _ = load_network(weights)
    with torch.inference_mode(), ConvolutionsInStrips():
        plain = network.restore(planes).image.clamp(0, 1)
        exact = network.double().restore(planes.double()).image.clamp(0, 1)
    floor = (plain - exact).abs().max().item()
    ours = torch.from_numpy(Dehazer(model=name, weights=weights, device="cpu")(rgb).image).permute(2, 0, 1)[None]
    error = (ours - exact).abs().max().item()
    print(f"{name} {width}x{height}: error {error:.1e}, float32 alone {floor:.1e}")
    assert error <= max(1e-5, 10 * floor)
