from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from unhaze.batch.synthesis import read_depth
from unhaze.errors import ImageDecodeError, ImageValueError


def test_missing_depth_is_filled_from_the_nearest_pixel(tmp_path):
    depth = np.full((6, 8), 5.0, np.float32)
    depth[:, 4:] = 9.0
    holed = depth.copy()
    holed[1:3, 1:3] = np.nan
    holed[4, 6] = 0
    holed[0, 7] = -1
    tifffile.imwrite(tmp_path / "d.tif", holed)
    np.testing.assert_array_equal(read_depth(tmp_path / "d.tif", 1.0, "depth"), depth)


def test_zero_in_an_inverse_map_is_far_away(tmp_path):
    cv2.imwrite(str(tmp_path / "d.png"), np.array([[0, 255, 51]], np.uint8))
    assert read_depth(tmp_path / "d.png", 3.0, "inverse").tolist() == [[1e6, 3.0, 15.0]]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_map_without_any_depth_is_refused(tmp_path, value):
    tifffile.imwrite(tmp_path / "d.tif", np.full((4, 4), value, np.float32))
    with pytest.raises(ImageValueError, match="no depth at all"):
        read_depth(tmp_path / "d.tif", 1.0, "depth")


def test_a_damaged_map_is_refused(tmp_path):
    (tmp_path / "junk.tif").write_bytes(b"II*\0 junk")
    with pytest.raises(ImageDecodeError, match="cannot be read as a depth map"):
        read_depth(tmp_path / "junk.tif", 1.0, "depth")
