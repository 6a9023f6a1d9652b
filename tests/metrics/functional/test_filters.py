import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from unhaze.metrics.functional._filters import blocks, correlate, gaussian_taps, local_contrast, mirrored

from ..references.grey import mscn


@pytest.mark.parametrize("axis", [-1, -2])
def test_correlation(axis):
    plane = torch.rand(2, 3, 20, 21, dtype=torch.float64)
    taps = (0.5, -1.0, 2.0, 0.25)
    expected = ndimage.correlate1d(plane.numpy(), taps, axis=axis)
    inside = np.take(expected, range(2, plane.shape[axis] - 1), axis=axis)
    np.testing.assert_allclose(correlate(plane, taps, axis), inside, atol=1e-12)


def test_gaussian():
    expected = signal.windows.gaussian(11, 1.5)
    np.testing.assert_allclose(gaussian_taps(11, 1.5), expected / expected.sum(), atol=1e-15)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (30, 41)])
def test_local_contrast(size):
    grey = np.random.default_rng(0).integers(0, 256, size).astype(np.float64)
    mean, deviation, normalised = mscn(grey)
    result = local_contrast(torch.from_numpy(grey)[None])
    np.testing.assert_allclose(result.mean[0], mean, atol=1e-10)
    np.testing.assert_allclose(result.deviation[0], deviation, atol=1e-5)  # the root of rounding noise where flat
    np.testing.assert_allclose(result.normalised[0], normalised, atol=1e-10)


@pytest.mark.parametrize("level", range(0, 256, 15))
def test_flat_area_has_no_contrast(level):
    assert torch.count_nonzero(local_contrast(torch.full((1, 20, 20), float(level), dtype=torch.float64))[2]) == 0


def test_blocks_run_row_by_row():
    plane = torch.arange(4 * 6).reshape(1, 4, 6)
    assert blocks(plane, 2)[0, 4].tolist() == [[14, 15], [20, 21]]


@pytest.mark.parametrize(("length", "before", "after"), [(5, 0, 0), (5, 3, 3), (2, 0, 14), (1, 4, 15)])
def test_mirrored(length, before, after):
    plane = torch.rand(1, 3, length)
    expected = np.pad(plane.numpy(), ((0, 0), (0, 0), (before, after)), mode="symmetric")
    assert np.array_equal(mirrored(plane, -1, before, after), expected)
