"""White found from values, and which pixels show something."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.images.levels import find_white, hidden_pixels, nominal_white


def ramp(top, dtype, shape=(60, 80, 3)):
    return np.linspace(0, top, int(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("top", "white"),
    [(200, 255), (1000, 1023), (1769, 2047), (4000, 4095), (8000, 8191), (9900, 10000), (16383, 16383), (17000, 65535),
     (65535, 65535)],
)  # fmt: skip
def test_integers_have_the_white_that_they_reach_up_to(top, white):
    assert find_white(ramp(top, np.uint16)) == white
    assert find_white(ramp(top, np.uint16, (300, 400))) == white


@pytest.mark.parametrize(
    ("top", "white"),
    [(0.05, 0.05), (0.3, 1), (1.0, 1), (1.04, 1), (3.46, 3.5), (100, 100), (220, 255), (9000, 10000), (60000, 65535),
     (1e6, 1e6), (0, 1), (-1, 1), (1e-35, 1)],
)  # fmt: skip
def test_floats_have_the_white_that_they_reach(top, white):
    assert find_white(ramp(top, np.float32)) == pytest.approx(white, rel=0.02)


def test_lights_above_a_scene_are_no_white():
    scene = ramp(1, np.float32)
    scene[:18] = 4  # three in ten
    assert find_white(scene) == 1
    scene[:40] = 4
    assert find_white(scene) == 4


def test_bytes_have_no_doubt():
    assert find_white(np.zeros((4, 5), np.uint8)) == 255


@pytest.mark.parametrize("factor", [257, 16, 4])
def test_dark_pictures_stretched_to_16_bits_are_dark(factor):
    assert find_white(ramp(60, np.uint16) * np.uint16(factor)) == 65535


def test_a_few_hot_pixels_decide_nothing():
    picture = ramp(1000, np.uint16, (300, 400))
    picture[np.arange(12), np.arange(12)] = 65535
    assert find_white(picture) == 1023
    picture[:20, :20] = 65535  # a lamp is no hot pixel
    assert find_white(picture) == 65535


def test_hidden_pixels_decide_nothing():
    picture = ramp(1000, np.uint16)
    hidden = np.zeros((60, 80), bool)
    hidden[:10] = True
    picture[hidden] = 60000
    assert find_white(picture, hidden) == 1023
    assert find_white(picture, np.ones((60, 80), bool)) == nominal_white(picture.dtype)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.2, 1), st.sampled_from([np.float32, np.float64]), st.integers(0, 10**6))
def test_nan_and_infinity_decide_nothing(top, dtype, seed):
    picture = ramp(top, dtype, (40, 50, 3))
    rng = np.random.default_rng(seed)
    for value in (np.nan, np.inf, -np.inf):
        picture[rng.integers(40, size=20), rng.integers(50, size=20), rng.integers(3)] = value
    assert find_white(picture) == 1


def test_what_shows_nothing_is_found():
    pixels = np.ones((3, 4, 3), np.float32)
    assert hidden_pixels(pixels) is None
    assert hidden_pixels(pixels, np.ones((3, 4), np.float32), nodata=7) is None
    pixels[0, 1, 2], pixels[2, 0, 0] = np.nan, np.inf
    pixels[1, 1], pixels[1, 2, :2] = 7, 7
    alpha = np.ones((3, 4), np.float32)
    alpha[2, 3] = 0
    assert np.argwhere(hidden_pixels(pixels, alpha, 7)).tolist() == [[0, 1], [1, 1], [2, 0], [2, 3]]
