import numpy as np
import pytest
import torch

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import as_batch, fade, fade_details
from unhaze.metrics.functional._common import load_parameters

from ..references import fade as reference


# the original MATLAB code run in Octave; china and rocket have flat areas and hold with the rule for them
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coffee", 0.311430),
        ("astronaut", 0.3368445),
        ("chelsea", 0.439017),
        ("flower", 0.454166),
        ("china", 0.620116),
        ("rocket", 0.823621),
    ],
)
def test_published_code(batch, name, expected):
    assert float(fade(batch(name))) == pytest.approx(expected, abs=2e-6)


def test_hazed_photo(hazed):
    assert float(fade(hazed("coffee", 0.8, 0.9))) == pytest.approx(0.80920, abs=1e-5)


@pytest.mark.parametrize(("name", "expected"), [("coffee", 4.6446), ("astronaut", 4.3528), ("rocket", 6.7139)])
def test_dense_haze_with_the_rule_for_flat_areas(hazed, name, expected):
    assert float(fade(hazed(name, 3.2, 0.9))) == pytest.approx(expected, abs=1e-4)


def test_rises_with_haze(hazed):
    values = [float(fade(hazed("coffee", beta, 0.9))) for beta in (0, 0.4, 0.8, 1.6, 3.2)]
    assert values == pytest.approx([0.311, 0.519, 0.809, 1.701, 4.64], abs=5e-3)
    assert values == sorted(values)


@pytest.mark.parametrize("crop", [np.s_[:80, :96], np.s_[40:151, 100:203], np.s_[:16, :41]])
@pytest.mark.parametrize("name", ["china", "rocket"])
def test_reference(pixels, name, crop):
    picture = pixels(name)[crop]
    expected, result = reference.fade(picture, load_parameters("fade")), fade_details(as_batch(picture))
    assert float(result.value) == pytest.approx(expected.value, abs=1e-6)
    np.testing.assert_allclose(result.map[0], expected.map, rtol=1e-6)
    assert float(result.dropped) == pytest.approx(expected.dropped)


def test_reference_on_noise(noise):
    picture = noise(67, 90)
    expected = reference.fade(picture, load_parameters("fade"))
    assert float(fade(as_batch(picture))) == pytest.approx(expected.value, abs=1e-6)


def test_flat_patches_are_dropped_and_reported(pixels):
    half = pixels("coffee")[:160, :160].copy()
    half[:, 80:] = 128
    result = fade_details(as_batch(half))
    # ten columns of patches are constant; the one at the seam still sees the photograph in its windows
    assert float(result.dropped) == pytest.approx(9 / 20)
    assert result.map.isnan().sum() == 20 * 9
    assert result.map[0, :, 11:].isnan().all()
    assert result.value.isfinite().all()


def test_share_of_dropped_patches(batch):
    assert float(fade_details(batch("astronaut")).dropped) == pytest.approx(0.103, abs=5e-4)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_picture_has_no_value(level):
    with pytest.raises(ImageValueError, match="flat everywhere"):
        fade(torch.full((1, 3, 64, 64), level))


def test_tiny_picture_is_refused():
    with pytest.raises(ImageValueError, match="at least 16 pixels"):
        fade(torch.rand(1, 3, 15, 100))


def test_rows_beyond_whole_patches_are_left_out(batch):
    photo = batch("chelsea")
    assert torch.equal(fade(photo), fade(photo[..., :296, :448]))


def test_map_has_one_density_per_patch(batch):
    photo = batch("chelsea")
    result = fade_details(photo)
    assert result.map.shape == (1, 300 // 8, 451 // 8)
