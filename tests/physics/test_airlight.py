import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhaze.errors import UsageError
from unhaze.physics import add_haze, brightest_dark_pixels, dark_channel, quad_tree

RNG = np.random.default_rng(0)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def test_brightest_dark_pixels_by_hand():
    image = np.zeros((10, 10, 3), np.float32)
    dark = np.arange(100, dtype=np.float32).reshape(10, 10)
    image[9, 8], image[9, 9] = (0.9, 0.9, 0.9), (0.5, 0.7, 0.6)
    # 2 % of 100 pixels are the last two
    np.testing.assert_allclose(brightest_dark_pixels(image, dark, 0.02), [0.7, 0.8, 0.75], atol=1e-6)
    np.testing.assert_allclose(brightest_dark_pixels(image, dark, 0.02, pick="brightest"), [0.9, 0.9, 0.9])
    # one pixel at least
    np.testing.assert_allclose(brightest_dark_pixels(image, dark, 1e-9), [0.5, 0.7, 0.6])


@pytest.mark.parametrize("fraction", [0.001, 0.05, 0.5, 1.0])
def test_brightest_dark_pixels_against_sorting(fraction):
    image, dark = RNG.random((31, 17, 3), dtype=np.float32), RNG.random((31, 17), dtype=np.float32)
    order = np.argsort(dark.ravel())[::-1][: max(1, round(fraction * dark.size))]
    chosen = image.reshape(-1, 3)[order]
    np.testing.assert_allclose(brightest_dark_pixels(image, dark, fraction), chosen.mean(axis=0), rtol=1e-5)
    brightest = max(chosen, key=lambda pixel: pixel.sum())
    np.testing.assert_array_equal(brightest_dark_pixels(image, dark, fraction, pick="brightest"), brightest)


def test_estimate_does_not_depend_on_the_order_of_pixels():
    image = RNG.random((20, 30, 3), dtype=np.float32)
    dark = np.round(RNG.random((20, 30)), 1).astype(np.float32)  # many ties
    turned = brightest_dark_pixels(image[::-1, ::-1], dark[::-1, ::-1], 0.01)
    np.testing.assert_allclose(brightest_dark_pixels(image, dark, 0.01), turned, rtol=1e-6)


@given(sizes, st.sampled_from(["mean", "brightest"]))
def test_airlight_of_any_size_lies_within_the_colours(size, pick):
    image = np.random.default_rng(size).random((*size, 3), dtype=np.float32)
    for light in (brightest_dark_pixels(image, dark_channel(image, 3), pick=pick), quad_tree(image)):
        assert light.shape == (3,)
        assert light.dtype == np.float32
        assert np.all(light >= image.min(axis=(0, 1)) - 1e-6)
        assert np.all(light <= image.max(axis=(0, 1)) + 1e-6)


def test_both_find_the_airlight_of_a_hazed_scene():
    clear = RNG.random((120, 160, 3), dtype=np.float32) * 0.6
    share = np.linspace(0.02, 0.9, 120, dtype=np.float32)[:, None, None]
    light = np.array([0.75, 0.8, 0.85], np.float32)
    hazy = add_haze(clear, share, light)
    np.testing.assert_allclose(brightest_dark_pixels(hazy, dark_channel(hazy, 7)), light, atol=0.02)
    np.testing.assert_allclose(quad_tree(hazy), light, atol=0.02)


def test_quad_tree_prefers_the_even_sky_to_lamps_and_walls():
    image = np.full((64, 64, 3), 0.2, np.float32)
    image[:32, :32] = (0.7, 0.75, 0.8)  # sky
    image[40:44, 40:44] = 1.0  # lamp
    image[:32, 32:] = 0.65  # a wall of bright and white tiles, lighter than the sky in the mean
    image[:32:2, 32:] = 1.0
    np.testing.assert_allclose(quad_tree(image), [0.7, 0.75, 0.8])


def test_quad_tree_takes_the_pixel_nearest_to_white():
    image = np.full((2, 2, 3), 0.5, np.float32)
    image[1, 0] = (0.9, 0.8, 0.7)
    np.testing.assert_allclose(quad_tree(image), [0.9, 0.8, 0.7])


@pytest.mark.parametrize("seed", range(8))
def test_quad_tree_follows_the_scores(seed):
    """A plain version of the search, with its own statistics."""
    image = np.random.default_rng(seed).random((53, 38, 3), dtype=np.float32) ** 2
    part = image.astype(np.float64)
    while part.shape[0] * part.shape[1] > 9:
        h, w = part.shape[0] // 2, part.shape[1] // 2
        parts = [part[:h, :w], part[:h, w:], part[h:, :w], part[h:, w:]]
        scores = [p.mean(axis=(0, 1)).sum() - p.std(axis=(0, 1)).sum() for p in parts]
        part = parts[int(np.argmax(scores))]
    pixels = part.reshape(-1, 3)
    np.testing.assert_allclose(quad_tree(image, smallest=9), pixels[((1 - pixels) ** 2).sum(1).argmin()], rtol=1e-6)


def test_quad_tree_result_is_no_view_of_the_picture():
    image = np.ones((4, 4, 3), np.float32)
    quad_tree(image)[:] = 0
    assert image.min() == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda image, dark: brightest_dark_pixels(image, dark, 0.0),
        lambda image, dark: brightest_dark_pixels(image, dark, 1.5),
        lambda image, dark: brightest_dark_pixels(image, dark[1:]),
        lambda image, dark: brightest_dark_pixels(image, dark, pick="median"),
        lambda image, dark: quad_tree(image, smallest=0),
    ],
)
def test_values_without_meaning_are_refused(call):
    with pytest.raises(UsageError):
        call(np.ones((3, 3, 3), np.float32), np.ones((3, 3), np.float32))
