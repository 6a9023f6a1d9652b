"""What every network gives on the user's path: what it gives alone, in float64, on contiguous maps.

Weights are as training leaves them (means far from zero), because fresh ones hide what a sum in float32 loses.
"""

from __future__ import annotations

import copy
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from tests.networks import create, smallest_of_each_family, trained_like  # noqa: E402
from tests.strips import ConvolutionsInStrips  # noqa: E402

from unhaze import Dehazer  # noqa: E402
from unhaze.depth.base import DepthEstimator  # noqa: E402
from unhaze.fusion import create_fusion, list_fusions  # noqa: E402
from unhaze.models.checkpoints import save_weights  # noqa: E402
from unhaze.models.guided import GuidedDehazer, GuidedSpec, default_sites  # noqa: E402
from unhaze.models.networks import create_network, list_networks  # noqa: E402
from unhaze.types import DepthLevel, DepthMap  # noqa: E402

ALL = list_networks()
FAMILIES = smallest_of_each_family()
SLOW = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(height, width, contrast=1.0):
    """(H, W, 3) float32: something smooth, a little noise, a flat patch, and colours that are not all alike.

    ``contrast`` below 1 brings it nearer to light grey, as haze does.
    """
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((1, 3, height // 16 + 2, width // 16 + 2), np.float32))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0).numpy()
    rgb = 0.1 + 0.8 * smooth + 0.03 * random.standard_normal((height, width, 3), np.float32)
    rgb[: height // 4, : width // 3] = 0.8
    return np.clip(0.6 + contrast * (rgb - 0.6), 0, 1) if contrast != 1 else np.clip(rgb, 0, 1)


def planes(rgb, dtype):
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].contiguous().to(dtype)


def expected(network, rgb, **options):
    """The result in float64 on contiguous maps, and how far float32 on contiguous maps is from it."""
    with torch.inference_mode():
        with ConvolutionsInStrips():  # in one piece those of float64 take several times as long
            exact = copy.deepcopy(network).double().restore(planes(rgb, torch.float64), **options).image
        plain = network.restore(planes(rgb, torch.float32), **options).image
    exact, plain = (each.clamp(0, 1)[0].permute(1, 2, 0).double().numpy() for each in (exact, plain))
    within = ((exact > 0) & (exact < 1)).mean()
    assert within > 0.1, "results that are all clamped tell nothing"
    assert exact.std() > 0.01
    return exact, max(1e-5, 10 * np.abs(plain - exact).max())


@pytest.fixture
def dehazer_of(monkeypatch, tmp_path):
    """A :class:`Dehazer` of a network that is not read from its file."""

    def open_with(network, **options):
        file = tmp_path / "weights"
        file.write_bytes(b"")
        given = lambda *_, **__: copy.deepcopy(network)  # noqa: E731
        monkeypatch.setattr("unhaze.restore.engines.torch.load_network", lambda *_: (given(), "dehazeformer-t"))
        monkeypatch.setattr("unhaze.restore.engines.torch.load_model", given)
        monkeypatch.setattr("unhaze.restore.engines.torch.read_facts", lambda _: {})
        return Dehazer(weights=file, device="cpu", **options)

    return open_with


def check(dehazer, rgb, exact, limit):
    result = dehazer(rgb)
    error = np.abs(result.image - exact).max()
    assert error <= limit, f"{error:.1e} is more than {limit:.1e}"
    return result


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(n, marks=SLOW) for n in ALL if n not in FAMILIES)])
def test_a_picture_as_by_the_network_alone(name, dehazer_of):
    network = trained_like(create(name).eval().requires_grad_(False))
    rgb = picture(32, 40)
    exact, limit = expected(network, rgb)
    dehazer = dehazer_of(network)
    assert check(dehazer, rgb, exact, limit).info["tiles"] == 1
    with mock.patch("unhaze.models.layers.bands.BAND", 1 << 14):
        check(dehazer, rgb, exact, limit)
    if network.contract.tiling is not None:
        assert check(dehazer_of(network, tile=16), rgb, exact, limit).info["tiles"] > 1


class Pooled(DepthEstimator):
    """Brightness as nearness, and features of any precision."""

    name = "pooled"
    license = "none"
    levels = (DepthLevel(3, 4),)

    def forward(self, image):
        feature = F.avg_pool2d(image, 4, ceil_mode=True)
        return DepthMap(image.mean(1, keepdim=True), "inverse_relative", (feature,))


@pytest.mark.parametrize("fusion", list_fusions())
def test_depth_as_by_the_network_alone(fusion, dehazer_of):
    name = "dehazeformer-t"
    backbone = trained_like(create(name).eval().requires_grad_(False))
    sites = [stage for stage in backbone.stages if stage.name in default_sites(name)]
    module = create_fusion(fusion, sites, Pooled.levels)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    spec = GuidedSpec(name, fusion, tuple(stage.name for stage in sites), Pooled.levels)
    model = GuidedDehazer(backbone, module, Pooled(), spec=spec).eval().requires_grad_(False)
    rgb = picture(32, 40)
    prompts = {"prompts": 2} if fusion == "selfpromer" else {}  # the others compare no depth before and after
    exact, limit = expected(model, rgb, **prompts)
    dehazer = dehazer_of(model, model=f"{name}+{fusion}", **prompts)
    check(dehazer, rgb, exact, limit)
    with mock.patch("unhaze.models.layers.bands.BAND", 1 << 14):
        check(dehazer, rgb, exact, limit)
    if model.contract.tiling is not None:
        assert check(dehazer_of(model, model=f"{name}+{fusion}", tile=16), rgb, exact, limit).info["tiles"] > 1


def drawn_in_range(name):
    """The first network of seeds 0, 1, ... whose results are not all clamped; some draws of full size are.

    And the contrast of the picture: FFA-Net adds what it makes to its input less the mean and divided by the standard
    deviation, so that a draw of it, unlike a trained one, leaves a picture of full contrast out of range.
    """
    for contrast, seeds in ((1.0, 10), (0.25, 1)):
        small = planes(picture(128, 160, contrast), torch.float32)
        for seed in range(seeds):
            torch.manual_seed(seed)
            network = trained_like(create_network(name).eval().requires_grad_(False))
            with torch.inference_mode():
                restored = network.restore(small).image
            if ((restored > 0) & (restored < 1)).float().mean() > 0.3 and restored.clamp(0, 1).std() > 0.02:
                return network, contrast
    raise AssertionError(f"no draw of {name} gives results in range")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_photograph_from_a_weights_file(name, tmp_path):
    """At the size at which sums over pixels begin to lose digits."""
    network, contrast = drawn_in_range(name)
    save_weights(network.state_dict(), tmp_path / "weights.safetensors", name)
    rgb = picture(376, 480, contrast)
    exact, limit = expected(network, rgb)
    check(Dehazer(model=name, weights=tmp_path / "weights.safetensors", device="cpu"), rgb, exact, limit)
    if network.contract.tiling is not None:
        with Dehazer(model=name, weights=tmp_path / "weights.safetensors", device="cpu", tile=192) as dehazer:
            assert check(dehazer, rgb, exact, limit).info["tiles"] > 1
