import numpy as np
import pytest

from unhaze.batch.side_products import COMPARE_LIMIT, compare_picture, encode_map, half_of_compare
from unhaze.images.files import Picture, read_image
from unhaze.types import DehazeResult, DepthMap


def picture(height, width, dtype=np.uint8, value=100, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Picture(np.full(shape, value, dtype), None, "png")


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(30, 40, (30, 86)), (1, 1, (1, 8)), (3000, 4000, (897, 2400)), (5000, 100, (2400, 102)), (100, 9000, (13, 2400))],
)
def test_size_of_a_comparison(height, width, expected):
    half = half_of_compare(picture(height, width))
    shown = read_image(compare_picture(half, half, None)).pixels
    assert max(shown.shape) <= COMPARE_LIMIT
    assert np.abs(np.subtract(shown.shape[:2], expected)).max() <= 2


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 51), (np.uint16, 51 * 257), (np.float32, 0.2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_halves_of_any_type_have_the_same_brightness(dtype, value, channels):
    half = half_of_compare(picture(20, 30, dtype, value, channels))
    assert half.dtype == np.uint8
    assert (half == 51).all()


def test_before_is_left_and_after_is_right_with_a_line_between():
    before, after = half_of_compare(picture(40, 50, value=20)), half_of_compare(picture(40, 50, value=220))
    shown = read_image(compare_picture(before, after, None)).pixels.astype(int)
    assert abs(shown[20, 10] - 20).max() < 8
    assert abs(shown[20, 53] - 255).max() < 8
    assert abs(shown[20, 80] - 220).max() < 8


def test_large_halves_are_labelled():
    half = half_of_compare(picture(400, 600, value=100))
    shown = read_image(compare_picture(half, half, None)).pixels.astype(int)
    corners = shown[:60, :120], shown[:60, 606:726]
    assert all(corner.max() > 200 and corner.min() < 50 for corner in corners)


def test_a_float_picture_beyond_white_is_clipped():
    assert (half_of_compare(picture(4, 4, np.float32, 3.5)) == 255).all()


def test_the_half_is_a_copy():
    source = picture(4, 4)
    half = half_of_compare(source)
    source.pixels[:] = 0
    assert (half == 100).all()


def result(transmission):
    return DehazeResult(None, transmission, DepthMap(-np.log(transmission), "relative"), np.ones(3), 1 - transmission)


def test_maps_are_16_bit_and_depth_is_bright_where_far():
    transmission = np.array([[1.0, 0.5], [0.25, 0.125]], np.float32)
    maps = {
        name: read_image(encode_map(result(transmission), name)).pixels
        for name in ("transmission", "depth", "confidence")
    }
    assert all(pixels.dtype == np.uint16 and pixels.shape == (2, 2) for pixels in maps.values())
    assert maps["transmission"].tolist() == [[65535, 32768], [16384, 8192]]
    assert maps["confidence"].tolist() == [[0, 32768], [49151, 57343]]
    assert maps["depth"].tolist() == [[0, 21845], [43690, 65535]]


def test_depth_that_is_large_nearby_is_turned_round():
    inverse = DehazeResult(
        None, None, DepthMap(np.array([[1.0, 2.0]], np.float32), "inverse_relative"), np.ones(3), None
    )
    assert read_image(encode_map(inverse, "depth")).pixels.tolist() == [[65535, 0]]


def test_levels_of_depth_are_proportional_to_it():
    half = DehazeResult(None, None, DepthMap(np.array([[1.5, 3.0]], np.float32), "relative"), np.ones(3), None)
    assert read_image(encode_map(half, "depth")).pixels.tolist() == [[32768, 65535]]
