import numpy as np
import pytest
import skimage.color
import torch

from unhaze.metrics.functional import chroma_shift, clipped, lightness_change, ring
from unhaze.metrics.functional._color import rgb_to_lab


def grey(level, height=4, width=5):
    return torch.full((1, 3, height, width), level, dtype=torch.float64)


def test_only_newly_clipped_pixels_count():
    hazy, restored = grey(0.5), grey(0.5)
    restored[0, 1, 0, 0] = 1.0  # one channel is enough
    restored[0, :, 0, 1] = 0.0
    hazy[0, 0, 0, 2] = restored[0, 0, 0, 2] = 1.0  # was clipped before
    hazy[0, 0, 0, 3] = 1.0  # is no longer
    assert float(clipped(restored, hazy)) == pytest.approx(100 * 2 / 20)


@pytest.mark.parametrize(
    ("level", "counts"), [(0.49 / 255, True), (0.51 / 255, False), (254.49 / 255, False), (254.51 / 255, True)]
)
def test_clipped_means_rounded_to_the_last_code(level, counts):
    assert float(clipped(grey(level), grey(0.5))) == (100 if counts else 0)


def test_unchanged_picture_is_undamaged():
    photo = torch.rand(2, 3, 7, 9)
    assert clipped(photo, photo).tolist() == [0, 0]
    assert chroma_shift(photo, photo).tolist() == [0, 0]


def test_lightness_alone_is_no_shift():
    assert float(chroma_shift(grey(0.2), grey(0.9))) == pytest.approx(0, abs=1e-9)


def test_shift_is_the_distance_in_the_chroma_plane():
    restored = grey(0.5)
    restored[0, :, :2] = torch.tensor([0.7, 0.4, 0.2], dtype=torch.float64)[:, None, None]
    a, b = rgb_to_lab(restored)[0, 1:, 0, 0].tolist()
    assert float(chroma_shift(restored, grey(0.5))) == pytest.approx((a**2 + b**2) ** 0.5 / 2)


def fog_over_ground(height: int = 384, width: int = 512) -> torch.Tensor:
    """A smooth bright sky that darkens gently towards the corners, above a textured ground, (1, 3, H, W)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    sky = 0.8 - 0.05 * (x * x + y * y)
    generator = torch.Generator().manual_seed(0)
    ground = 0.4 + 0.2 * torch.rand(height, width, generator=generator)
    return torch.where(y < 0.2, sky, ground).expand(1, 3, -1, -1).contiguous()


def with_blob(image: torch.Tensor, depth: float, softness: float = 0.01) -> torch.Tensor:
    """The picture with a dark cloud in its sky."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return image - depth * torch.exp(-((x - 0.1) ** 2 + (y + 0.5) ** 2) / softness)


def test_a_planted_ring_is_found_and_grows_with_its_depth() -> None:
    hazy = fog_over_ground()
    values = [float(ring(with_blob(hazy, depth), hazy)) for depth in (0.0, 0.1, 0.2, 0.4)]
    assert values[0] == 0.0
    assert values == sorted(values)
    assert values[1] > 0.1
    assert values[3] > 0.4


def test_a_clean_sky_has_no_ring_however_much_haze_goes() -> None:
    hazy = fog_over_ground()
    even = (hazy - 0.8) / 0.5 + 0.8  # every slope twice as steep, as where haze is removed evenly
    assert float(ring(even, hazy)) == 0.0
    assert float(ring(hazy * 0.6, hazy)) == 0.0


def test_rings_are_not_looked_for_in_texture() -> None:
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(1, 3, 96, 128, generator=generator)
    texture = torch.nn.functional.interpolate(texture, scale_factor=4)
    assert float(ring(with_blob(texture, 0.3).clamp(0, 1), texture)) == 0.0


def test_rings_mean_the_same_at_every_size() -> None:
    hazy = fog_over_ground(768, 1024)
    large = float(ring(with_blob(hazy, 0.1), hazy))
    small = float(ring(with_blob(fog_over_ground(), 0.1), fog_over_ground()))
    assert large == pytest.approx(small, rel=0.05)


def test_lightness_change_is_signed_and_in_units_of_lab() -> None:
    hazy = torch.full((2, 3, 8, 8), 0.6)
    darker = torch.stack([torch.full((3, 8, 8), 0.3), torch.full((3, 8, 8), 0.9)])
    change = lightness_change(darker, hazy)
    expected = [skimage.color.rgb2lab(np.full((1, 1, 3), value))[0, 0, 0] for value in (0.3, 0.6, 0.9)]
    assert change.tolist() == pytest.approx([expected[0] - expected[1], expected[2] - expected[1]], abs=1e-3)
