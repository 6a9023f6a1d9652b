import numpy as np
import pytest
import torch
from scipy.ndimage import minimum_filter
from scipy.signal import convolve2d

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import as_batch, ri, vi
from unhaze.metrics.functional.visibility import phase_congruency


def halved(plane):
    """conv2(plane, fspecial('average', 2), 'same')(1:2:end, 1:2:end)"""
    return convolve2d(plane, np.full((2, 2), 0.25), "full")[1:, 1:][::2, ::2]


def transmission(image):
    def dark_channel(pixels):
        return minimum_filter(pixels, (15, 15, 1), mode="constant", cval=np.inf).min(axis=2)

    dark = dark_channel(image).ravel(order="F")
    order = np.argsort(-dark, kind="stable")[: int(np.floor(dark.size * 0.01))]
    airlight = image.reshape(-1, 3, order="F")[order].mean(axis=0)
    return halved(1 - dark_channel(image / airlight))


def slope(picture):
    luma = halved(picture.astype(float) @ [0.299, 0.587, 0.114])
    taps = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
    return np.sqrt(convolve2d(luma, taps, "same") ** 2 + convolve2d(luma, taps.T, "same") ** 2)


def reference(fog, clear):
    """The authors' visual_index.m written anew in NumPy, with a mask that is true everywhere."""
    t_clear, t_fog = transmission(clear / 255), transmission(fog / 255)
    constant = t_clear.mean()
    alike = (2 * t_clear * t_fog + constant) / (t_clear**2 + t_fog**2 + constant)
    g_clear, g_fog = slope(clear), slope(fog)
    edges = (2 * g_clear * g_fog + 160) / (g_clear**2 + g_fog**2 + 160)
    weight = np.maximum(1 - t_clear, 1 - t_fog)
    return np.real(alike.astype(complex) ** 0.4 * edges * weight).sum() / weight.sum()


def codes(images):
    return np.floor(images[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("crop", [np.s_[:, :], np.s_[:201, :177], np.s_[30:63, 5:44]])
@pytest.mark.parametrize("name", ["coffee", "rocket"])
def test_reference(pixels, hazed, name, crop):
    clear, fog = pixels(name)[crop], codes(hazed(name, 1.6, 0.9))[crop]
    assert float(vi(as_batch(fog), as_batch(clear))) == pytest.approx(reference(fog, clear), abs=1e-9)


# visual_index.m and realness_index.m in Octave, with a mask that is true everywhere
@pytest.mark.parametrize(
    ("name", "visibility", "realness"),
    [
        ("coffee", 0.692622856942, 0.934372861708),
        ("chelsea", 0.705019933964, 0.945644021878),
        ("flower", 0.786075777952, 0.928838099632),
    ],
)
def test_the_authors_code(pixels, hazed, name, visibility, realness):
    clear = as_batch(pixels(name)[:201, :177])
    fog = hazed(name, 1.6, 0.9)[..., :201, :177]
    assert float(vi(fog, clear)) == pytest.approx(visibility, abs=1e-9)
    assert float(ri(fog, clear)) == pytest.approx(realness, abs=1e-9)


def test_realness_of_equal_pictures_and_of_strange_colours(batch):
    clear = batch("coffee")[..., :200, :300]
    assert float(ri(clear, clear)) == pytest.approx(1, abs=1e-12)
    assert float(ri(clear.flip(1), clear)) < float(ri(clear * 0.9, clear)) < 1
    grey = torch.full((1, 3, 32, 32), 0.5)
    with pytest.raises(ImageValueError, match="without any structure"):
        ri(grey, grey)


def test_congruency_is_high_at_edges_whatever_their_contrast():
    planes = torch.zeros(2, 64, 64, dtype=torch.float64)
    planes[0, :, 32:], planes[1, :, 32:] = 200, 50
    strong, weak = phase_congruency(planes)
    torch.testing.assert_close(strong, weak, atol=1e-2, rtol=0)
    assert strong[:, 31:33].mean() > 1.5 * strong[:, 44].mean()


def test_equal_pictures_and_more_haze(batch, hazed):
    clear = batch("coffee")
    assert float(vi(clear, clear)) == pytest.approx(1, abs=1e-12)
    thin, thick = (float(vi(hazed("coffee", beta, 0.9), clear)) for beta in (0.4, 1.6))
    assert 1 > thin > thick > 0


def test_two_pictures_without_haze():
    black = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ImageValueError, match="without any haze"):
        vi(black, black)


def test_two_pictures_of_haze_alone():
    grey = torch.full((1, 3, 32, 32), 0.5)
    with pytest.raises(ImageValueError, match="haze alone"):
        vi(grey, grey)
