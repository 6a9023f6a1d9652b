import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.errors import UsageError
from unhaze.physics import (
    box_mean,
    guided_coefficients,
    guided_filter,
    guided_upsample,
    joint_bilateral_upsample,
)

SHAPES = [(1, 1), (1, 6), (6, 1), (2, 3), (9, 7), (14, 20)]
RADII = [0, 1, 2, 7, 30]

module = importlib.import_module("unhaze.physics.guided_filter")  # whose name is that of its main function, too


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def window(x, row, column, radius):
    return x[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]


def naive_mean(x, radius):
    result = np.empty(x.shape)
    for row, column in np.ndindex(x.shape[:2]):
        result[row, column] = window(x.astype(float), row, column, radius).mean(axis=(0, 1))
    return result


def naive_coefficients(guide, source, radius, eps):
    """Ridge regression in every window, then the mean over windows."""
    guide = guide.reshape(*source.shape, -1).astype(float)
    channels = guide.shape[2]
    a, b = np.empty(guide.shape), np.empty(source.shape)
    for row, column in np.ndindex(source.shape):
        x = window(guide, row, column, radius).reshape(-1, channels)
        y = window(source.astype(float), row, column, radius).ravel()
        centred = x - x.mean(axis=0)
        sigma = centred.T @ centred / len(x)
        a[row, column] = np.linalg.solve(sigma + eps * np.eye(channels), centred.T @ (y - y.mean()) / len(x))
        b[row, column] = y.mean() - a[row, column] @ x.mean(axis=0)
    return naive_mean(a, radius), naive_mean(b, radius)


@pytest.mark.parametrize("shape", [*SHAPES, (9, 7, 3), (1, 4, 1), (5, 6, 13)])
@pytest.mark.parametrize("radius", RADII)
def test_box_mean_against_loops(shape, radius):
    x = noise(shape)
    result = box_mean(x, radius)
    assert result.dtype == np.float32
    assert result.shape == shape
    np.testing.assert_allclose(result, naive_mean(x, radius), atol=1e-6)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 40))
def test_box_mean_of_a_constant_is_the_constant(height, width, radius):
    np.testing.assert_allclose(box_mean(np.full((height, width), 0.3, np.float32), radius), 0.3, rtol=1e-6)


def test_box_mean_keeps_its_digits_on_large_pictures():
    # a running sum in float32 would be off by 1e-4 here
    x = np.full((700, 900), 0.1, np.float32)
    x[::3, ::5] = 0.9
    mean = box_mean(x, 300)[350, 450]
    assert mean == pytest.approx(x[50:651, 150:751].mean(dtype=np.float64), abs=2e-7)


def test_box_mean_does_not_change_its_input():
    x = noise((5, 5))
    before = x.copy()
    box_mean(x, 1)
    box_mean(x, 0)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize(("radius", "eps"), [(1, 1e-2), (2, 1e-3), (9, 1e-4)])
def test_coefficients_against_ridge_regression(shape, channels, radius, eps):
    guide, source = noise((*shape, *channels)), noise(shape, 1)
    a, b = guided_coefficients(guide, source, radius, eps)
    assert a.shape == guide.shape
    assert b.shape == shape
    assert a.dtype == b.dtype == np.float32
    expected_a, expected_b = naive_coefficients(guide, source, radius, eps)
    np.testing.assert_allclose(a, expected_a.reshape(guide.shape), atol=1e-3)
    np.testing.assert_allclose(b, expected_b, atol=1e-3)
    expected = (expected_a * guide.reshape(*shape, -1)).sum(axis=2) + expected_b
    np.testing.assert_allclose(guided_filter(guide, source, radius, eps), expected, atol=5e-4)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_constant_guide_leaves_two_box_means(channels):
    source = noise((15, 21))
    guide = np.full((15, 21, *channels), 0.6, np.float32)
    expected = naive_mean(naive_mean(source, 3), 3)
    np.testing.assert_allclose(guided_filter(guide, source, 3, 1e-3), expected, atol=1e-5)


def test_source_that_is_its_own_guide_passes_when_eps_vanishes():
    source = noise((15, 21))
    np.testing.assert_allclose(guided_filter(source, source, 3, 1e-9), source, atol=1e-4)


def test_linear_function_of_a_color_guide_passes_when_eps_vanishes():
    guide = noise((15, 21, 3))
    source = guide @ np.array([0.2, 0.5, -0.3], np.float32) + np.float32(0.4)
    np.testing.assert_allclose(guided_filter(guide, source, 3, 1e-9), source, atol=1e-4)


@pytest.mark.parametrize("eps", [1e-2, 1e-4, 1e-6])
def test_grey_picture_as_color_guide_is_well_solved(eps):
    # the covariance has rank 1 here: cofactors in float32 break down
    grey, source = noise((20, 24)), noise((20, 24), 1)
    color = np.repeat(grey[..., None], 3, axis=2)
    # three equal channels share the work, so they act like one with a third of eps
    np.testing.assert_allclose(guided_filter(color, source, 4, eps), guided_filter(grey, source, 4, eps / 3), atol=2e-4)


def test_large_eps_is_a_plain_mean():
    guide, source = noise((12, 13, 3)), noise((12, 13), 1)
    np.testing.assert_allclose(guided_filter(guide, source, 2, 1e6), naive_mean(naive_mean(source, 2), 2), atol=1e-5)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_edges_of_the_guide_survive_and_noise_does_not(channels):
    clean = np.where(np.arange(60) < 30, 0.2, 0.8).astype(np.float32) * np.ones((40, 1), np.float32)
    source = clean + np.random.default_rng(2).normal(0, 0.05, clean.shape).astype(np.float32)
    guide = clean if not channels else np.repeat(clean[..., None], 3, axis=2)
    result = guided_filter(guide, source, 6, 1e-3)
    assert np.abs(result - clean).mean() < 0.25 * np.abs(source - clean).mean()
    assert (result[:, 30] - result[:, 29]).min() > 0.5


def test_colour_guide_sees_edges_that_grey_does_not():
    # red and green of equal luminance
    guide = np.zeros((30, 40, 3), np.float32)
    guide[:, :20, 0] = 0.587
    guide[:, 20:, 1] = 0.299
    source = np.where(np.arange(40) < 20, 0.2, 0.8).astype(np.float32) * np.ones((30, 1), np.float32)
    grey = guide @ np.array([0.299, 0.587, 0.114], np.float32)
    assert np.ptp(grey) < 1e-6
    in_color, in_grey = guided_filter(guide, source, 5, 1e-4), guided_filter(grey, source, 5, 1e-4)
    assert (in_color[:, 20] - in_color[:, 19]).min() > 0.5
    assert (in_grey[:, 20] - in_grey[:, 19]).max() < 0.1


@given(st.integers(1, 16), st.integers(1, 16), st.integers(0, 20), st.booleans())
@settings(deadline=None)
def test_constant_source_passes_at_any_size(height, width, radius, color):
    guide = noise((height, width, 3) if color else (height, width), height * 17 + width)
    source = np.full((height, width), 0.7, np.float32)
    np.testing.assert_allclose(guided_filter(guide, source, radius, 1e-3), 0.7, atol=1e-5)


def test_guide_offset_does_not_matter():
    # bright and flat, as hazy pictures are
    guide, source = noise((30, 30, 3)) * 0.05, noise((30, 30), 1)
    np.testing.assert_allclose(
        guided_filter(guide + np.float32(0.9), source, 4, 1e-4), guided_filter(guide, source, 4, 1e-4), atol=2e-3
    )


@pytest.mark.parametrize("channels", [(), (3,)])
def test_upsampling_to_the_same_size_is_the_guided_filter(channels):
    guide, source = noise((12, 17, *channels)), noise((12, 17), 1)
    np.testing.assert_allclose(
        guided_upsample(guide, source, guide, 3, 1e-3), guided_filter(guide, source, 3, 1e-3), atol=1e-6
    )


def half(x):
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, *x.shape[2:]).mean(axis=(1, 3))


def two_halves(channels):
    clean = np.where(np.arange(64) < 33, 0.2, 0.8).astype(np.float32) * np.ones((48, 1), np.float32)
    guide = clean if not channels else np.stack([clean, 1 - clean, clean], axis=2)
    return guide, 1 - clean


@pytest.mark.parametrize("channels", [(), (3,)])
def test_upsampled_edge_lies_where_the_large_guide_has_it(channels):
    guide, target = two_halves(channels)  # the edge cuts a small pixel in two
    small_guide, small = half(guide), half(target)
    by_guide = guided_upsample(small_guide, small, guide, 4, 1e-4)
    by_bilateral = joint_bilateral_upsample(small_guide, small, guide, 2, 1.0, 0.1)
    for result in (by_guide, by_bilateral):
        assert result.dtype == np.float32
        assert result.shape == target.shape
        np.testing.assert_allclose(result, target, atol=0.05)


def naive_bilateral(guide_low, source, guide, radius, sigma_space, sigma_range):
    guide_low, guide = (x.reshape(*x.shape[:2], -1).astype(float) for x in (guide_low, guide))
    h, w = source.shape
    height, width = guide.shape[:2]
    result = np.empty((height, width))
    for row, column in np.ndindex(height, width):
        y, x = (row + 0.5) * h / height - 0.5, (column + 0.5) * w / width - 0.5
        total = weights = 0.0
        for i in range(round(y) - radius, round(y) + radius + 1):
            for j in range(round(x) - radius, round(x) + radius + 1):
                if 0 <= i < h and 0 <= j < w:
                    near = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * sigma_space**2))
                    alike = np.exp(-((guide[row, column] - guide_low[i, j]) ** 2).sum() / (2 * sigma_range**2))
                    total += near * (alike + 1e-6) * source[i, j]
                    weights += near * (alike + 1e-6)
        result[row, column] = total / weights
    return result


@pytest.mark.parametrize(("small", "full"), [((4, 5), (12, 15)), ((5, 4), (7, 11)), ((1, 1), (3, 2)), ((3, 3), (3, 3))])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_bilateral_upsampling_against_loops(small, full, channels):
    guide_low, source, guide = noise((*small, *channels)), noise(small, 1), noise((*full, *channels), 2)
    expected = naive_bilateral(guide_low, source, guide, 2, 0.8, 0.3)
    result = joint_bilateral_upsample(guide_low, source, guide, 2, 0.8, 0.3)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_bilateral_upsampling_stays_within_the_range_of_the_map_even_if_nothing_is_alike():
    guide_low, source = np.zeros((4, 4), np.float32), noise((4, 4))
    result = joint_bilateral_upsample(guide_low, source, np.ones((16, 16), np.float32), 1, 1.0, 0.01)
    assert result.min() >= source.min() - 1e-6
    assert result.max() <= source.max() + 1e-6


def test_bilateral_upsampling_in_strips_is_the_same(monkeypatch):
    arguments = noise((6, 5, 3)), noise((6, 5), 1), noise((31, 23, 3), 2), 2, 1.0, 0.2
    whole = joint_bilateral_upsample(*arguments)
    monkeypatch.setattr(module, "_STRIP", 7)
    np.testing.assert_array_equal(joint_bilateral_upsample(*arguments), whole)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
@settings(deadline=None)
def test_upsampling_a_constant_at_any_sizes(h, w, height, width):
    guide_low, guide = noise((h, w, 3)), noise((height, width, 3), 1)
    source = np.full((h, w), 0.4, np.float32)
    np.testing.assert_allclose(guided_upsample(guide_low, source, guide, 2, 1e-3), 0.4, atol=1e-5)
    np.testing.assert_allclose(joint_bilateral_upsample(guide_low, source, guide, 2, 1.0, 0.1), 0.4, atol=1e-5)


GREY, COLOR, SOURCE = noise((4, 4)), noise((4, 4, 3)), noise((4, 4), 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: box_mean(GREY, -1),
        lambda: guided_filter(GREY, SOURCE, -1, 1e-3),
        lambda: guided_filter(GREY, SOURCE, 1, 0.0),
        lambda: guided_filter(COLOR, SOURCE, 1, -1.0),
        lambda: guided_filter(GREY[1:], SOURCE, 1, 1e-3),
        lambda: guided_filter(COLOR[..., :2], SOURCE, 1, 1e-3),
        lambda: guided_filter(COLOR, COLOR, 1, 1e-3),
        lambda: guided_upsample(GREY, SOURCE, COLOR, 1, 1e-3),
        lambda: joint_bilateral_upsample(GREY, SOURCE, COLOR, 1, 1.0, 0.1),
        lambda: joint_bilateral_upsample(GREY, SOURCE, GREY, -1, 1.0, 0.1),
        lambda: joint_bilateral_upsample(GREY, SOURCE, GREY, 1, 0.0, 0.1),
        lambda: joint_bilateral_upsample(GREY, SOURCE, GREY, 1, 1.0, 0.0),
    ],
)
def test_values_without_meaning_are_refused(call):
    with pytest.raises(UsageError):
        call()
