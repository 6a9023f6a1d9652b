from __future__ import annotations

import numpy as np
import pytest

from unhaze.images.depth_maps import color_depth, gray_depth
from unhaze.images.files import read_image
from unhaze.types import DepthMap

RAMP = np.linspace(0.5, 40, 60, dtype=np.float32).reshape(6, 10)


@pytest.mark.parametrize("kind", ["metric", "relative", "inverse_relative"])
def test_far_is_bright_and_near_is_warm_whatever_the_kind(kind):
    depth = DepthMap(41 - RAMP if kind == "inverse_relative" else RAMP, kind)
    gray = read_image(gray_depth(depth).data).pixels
    assert gray.dtype == np.uint16
    assert gray.shape == RAMP.shape
    assert (np.diff(gray.ravel().astype(int)) > 0).all()  # RAMP grows, and so must brightness
    color = read_image(color_depth(depth).data).pixels.reshape(-1, 3).astype(int)
    near, far = color[2], color[-3]
    assert near[0] > 2 * near[2]
    assert far[2] > 2 * far[0]


@pytest.mark.parametrize("kind", ["metric", "relative"])
@pytest.mark.parametrize("farthest", [0.02, 40, 65, 66, 200, 90_000])
def test_levels_times_scale_are_depth(kind, farthest):
    depth = DepthMap(RAMP / RAMP.max() * farthest, kind)
    picture = gray_depth(depth)
    levels = read_image(picture.data).pixels
    np.testing.assert_allclose(levels * picture.scale, depth.map, atol=0.51 * picture.scale)
    if kind == "metric":
        assert f"{picture.scale:g}" in ("0.001", "0.01", "10")
    else:
        assert levels.max() == 65535


def test_the_file_says_what_a_level_is():
    text = dict(read_image(gray_depth(DepthMap(RAMP, "metric")).data).metadata.text)
    assert text == {"unhaze depth": "far is bright; unit: m; depth per level: 0.001"}


@pytest.mark.parametrize("kind", ["metric", "relative", "inverse_relative"])
def test_a_flat_map_is_no_error(kind):
    for value in (0.0, 3.0):
        flat = DepthMap(np.full((3, 4), value, np.float32), kind)
        assert read_image(gray_depth(flat).data).pixels.shape == (3, 4)
        assert read_image(color_depth(flat).data).pixels.shape == (3, 4, 3)
