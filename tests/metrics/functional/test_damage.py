import pytest
import torch

from unhaze.metrics.functional import chroma_shift, clipped
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
