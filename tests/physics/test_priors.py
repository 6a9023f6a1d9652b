import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.errors import UsageError
from unhaze.physics import (
    add_haze,
    boundary_transmission,
    color_attenuation_depth,
    color_attenuation_transmission,
    contextual_regularization,
    dark_channel,
    dark_channel_transmission,
    remove_haze,
)

AIRLIGHT = np.array([0.8, 0.85, 0.9], np.float32)
SHAPES = [(1, 1), (1, 6), (6, 1), (2, 2), (3, 5), (9, 7), (12, 20)]
PATCHES = [1, 3, 5, 15]


def picture(shape, seed=0):
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def windowed(x, patch, reduce):
    """Naive local minimum or maximum, windows clipped at the border."""
    reach, result = patch // 2, np.empty_like(x)
    for row, column in np.ndindex(x.shape):
        window = x[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        result[row, column] = reduce(window)
    return result


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", PATCHES)
def test_dark_channel_against_loops(shape, patch):
    image = picture(shape)
    dark = dark_channel(image, patch)
    assert dark.dtype == np.float32
    np.testing.assert_array_equal(dark, windowed(image.min(axis=2), patch, np.min))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", PATCHES)
def test_dark_channel_transmission_against_loops(shape, patch):
    image = picture(shape, 1)
    dark = windowed((image / AIRLIGHT).min(axis=2), patch, np.min)
    expected = 1 - 0.9 * np.minimum(dark, 1)
    np.testing.assert_allclose(dark_channel_transmission(image, AIRLIGHT, patch, omega=0.9), expected, atol=1e-6)


def test_dark_channel_transmission_is_exact_where_the_prior_holds():
    clear = picture((20, 20), 2)
    clear[::2, ::2, 0] = 0  # every window of 3 x 3 has a black value
    hazy = add_haze(clear, np.float32(0.4), AIRLIGHT)
    np.testing.assert_allclose(dark_channel_transmission(hazy, AIRLIGHT, 3, omega=1.0), 0.4, atol=1e-6)


@pytest.mark.parametrize("airlight", [np.zeros(3, np.float32), np.ones(3, np.float32), AIRLIGHT])
def test_transmission_stays_in_range_for_any_airlight(airlight):
    for image in (picture((6, 6)), np.zeros((6, 6, 3), np.float32), np.ones((6, 6, 3), np.float32)):
        by_dark = dark_channel_transmission(image, airlight, 3)
        assert by_dark.min() >= 0.05 - 1e-6
        assert by_dark.max() <= 1
        by_bounds = boundary_transmission(image, airlight, patch=3)
        assert by_bounds.min() >= 0
        assert by_bounds.max() <= 1


def test_thicker_haze_gives_less_transmission():
    clear = picture((16, 16), 3)
    for estimate in (
        lambda hazy: dark_channel_transmission(hazy, AIRLIGHT, 5),
        lambda hazy: boundary_transmission(hazy, AIRLIGHT, patch=3),
    ):
        thin, thick = (estimate(add_haze(clear, np.float32(share), AIRLIGHT)) for share in (0.8, 0.3))
        assert np.all(thick <= thin + 1e-6)


@pytest.mark.parametrize("patch", [1, 3, 15])
def test_color_attenuation_against_the_formula(patch):
    image = picture((7, 9), 4)
    image[0, 0] = 0  # black has no saturation
    depth = np.empty((7, 9))
    for place in np.ndindex(7, 9):
        _, saturation, value = colorsys.rgb_to_hsv(*image[place].tolist())
        depth[place] = 0.121779 + 0.959710 * value - 0.780245 * saturation
    np.testing.assert_allclose(color_attenuation_depth(image, patch), windowed(depth, patch, np.min), atol=1e-6)


def test_color_attenuation_ends():
    black, white, red = (np.full((1, 1, 3), c, np.float32) for c in ((0, 0, 0), (1, 1, 1), (1, 0, 0)))
    assert color_attenuation_depth(black, 1)[0, 0] == pytest.approx(0.121779)
    assert color_attenuation_depth(white, 1)[0, 0] == pytest.approx(1.081489)
    assert color_attenuation_depth(red, 1)[0, 0] == pytest.approx(0.301244)


def test_color_attenuation_transmission_has_the_limits_of_the_paper():
    depth = np.array([[-1.0, 0.0, 0.5, 1.0, 9.0]], np.float32)
    expected = [[0.9, 0.9, np.exp(-0.5), np.exp(-1.0), 0.1]]
    result = color_attenuation_transmission(depth)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_allclose(color_attenuation_transmission(depth, beta=2.0)[0, 2], np.exp(-1.0), rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", PATCHES)
def test_boundary_transmission_against_loops(shape, patch):
    image, lower, upper = picture(shape, 5), 0.1, 1.2
    inherent = np.zeros(shape, np.float32)
    for row, column in np.ndindex(*shape):
        for value, light in zip(image[row, column], AIRLIGHT, strict=True):
            bound = max((light - value) / (light - lower), (light - value) / (light - upper))
            inherent[row, column] = max(inherent[row, column], bound)
    expected = windowed(windowed(np.minimum(inherent, 1), patch, np.max), patch, np.min)
    result = boundary_transmission(image, AIRLIGHT, lower=lower, upper=upper, patch=patch)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


@given(st.integers(1, 12), st.integers(1, 12))
def test_boundary_keeps_the_restored_picture_within_bounds(height, width):
    image = picture((height, width), height * 13 + width) * 0.9 + 0.08
    share = boundary_transmission(image, AIRLIGHT, patch=1)
    restored = remove_haze(image, np.maximum(share, 1e-6)[..., None], AIRLIGHT)
    assert restored.min() >= 20 / 255 - 1e-4
    assert restored.max() <= 300 / 255 + 1e-4


# --- contextual regularisation -------------------------------------------------------------------------------------

KIRSCH = [
    [[5, 5, 5], [-3, 0, -3], [-3, -3, -3]],
    [[-3, 5, 5], [-3, 0, 5], [-3, -3, -3]],
    [[-3, -3, 5], [-3, 0, 5], [-3, -3, 5]],
    [[-3, -3, -3], [-3, 0, 5], [-3, 5, 5]],
    [[-3, -3, -3], [-3, 0, -3], [5, 5, 5]],
    [[-3, -3, -3], [5, 0, -3], [5, 5, -3]],
    [[5, -3, -3], [5, 0, -3], [5, -3, -3]],
    [[5, 5, -3], [5, 0, -3], [-3, -3, -3]],
    [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
]


def torus_filter(x, kernel):
    """Correlation on a torus by shifting."""
    result = np.zeros_like(x)
    for row, column in np.ndindex(3, 3):
        result += kernel[row, column] * np.roll(x, (1 - row, 1 - column), axis=(0, 1))
    return result


def regularize_by_fft(transmission, image, weight, sigma, iterations):
    """The published algorithm, in float64 with full complex FFTs, on the picture mirrored to twice its size.

    A mirrored picture has no seam on the torus, so it needs no border treatment of its own.
    """
    height, width = transmission.shape
    double = [np.concatenate([x, x[:, ::-1]], axis=1) for x in (transmission.astype(float), image.astype(float))]
    t, picture_ = (np.concatenate([x, x[::-1]], axis=0) for x in double)
    bank = [np.array(k, float) / np.linalg.norm(k) for k in KIRSCH]
    weights = [
        np.exp(-sum(torus_filter(picture_[..., c], k) ** 2 for c in range(3)) / (2 * sigma**2)) / len(bank)
        for k in bank
    ]
    impulse = np.zeros_like(t)
    impulse[0, 0] = 1
    spectra = [np.fft.fft2(torus_filter(impulse, k)) for k in bank]
    power = sum(np.abs(s) ** 2 for s in spectra)
    first = np.fft.fft2(t)
    for step in range(iterations):
        beta = (2 * np.sqrt(2)) ** step
        total = 0
        for k, w, s in zip(bank, weights, spectra, strict=True):
            response = torus_filter(t, k)
            u = np.maximum(np.abs(response) - w / beta, 0) * np.sign(response)
            total = total + np.conj(s) * np.fft.fft2(u)
        t = np.fft.ifft2((weight / beta * first + total) / (weight / beta + power)).real
    return t[:height, :width]


@pytest.mark.parametrize("shape", [(2, 2), (4, 6), (8, 10), (16, 30)])  # sizes that need no padding
@pytest.mark.parametrize(("weight", "sigma", "iterations"), [(2.0, 0.5, 6), (0.3, 0.2, 3), (10.0, 1.0, 1)])
def test_regularization_against_plain_ffts(shape, weight, sigma, iterations):
    rng = np.random.default_rng(6)
    transmission, image = rng.random(shape, dtype=np.float32), rng.random((*shape, 3), dtype=np.float32)
    expected = regularize_by_fft(transmission, image, weight, sigma, iterations)
    result = contextual_regularization(transmission, image, weight=weight, sigma=sigma, iterations=iterations)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=2e-5)


def two_things(height=40, width=60):
    """A picture of two flat things and a noisy transmission of them."""
    image = np.full((height, width, 3), 0.2, np.float32)
    image[:, width // 2 :] = 0.9
    clean = np.where(np.arange(width) < width // 2, 0.8, 0.3).astype(np.float32)
    clean = np.broadcast_to(clean, (height, width))
    noisy = clean + np.random.default_rng(8).normal(0, 0.05, (height, width)).astype(np.float32)
    return image, clean, noisy


def test_regularization_smooths_things_and_keeps_their_edge():
    image, clean, noisy = two_things()
    result = contextual_regularization(noisy, image)
    assert np.abs(result - clean).mean() < 0.25 * np.abs(noisy - clean).mean()
    step = result[:, 32:].mean() - result[:, :28].mean()
    assert step == pytest.approx(-0.5, abs=0.02)
    assert (result[:, 30] - result[:, 29]).mean() < -0.35  # most of the step still lies between two pixels


def test_regularization_needs_an_edge_in_the_picture_to_keep_one_in_the_map():
    image, _, noisy = two_things()
    edged, flat = (contextual_regularization(noisy, each, weight=0.2) for each in (image, np.full_like(image, 0.5)))
    assert (edged[:, 29] - edged[:, 30]).mean() > (flat[:, 29] - flat[:, 30]).mean() + 0.05


def test_smaller_weight_is_smoother():
    image, _, noisy = two_things()
    roughness = [
        np.abs(np.diff(contextual_regularization(noisy, image, weight=weight), axis=0)).mean()
        for weight in (0.1, 1.0, 10.0, 1000.0)
    ]
    assert roughness == sorted(roughness)


def test_opposite_borders_do_not_touch():
    transmission = np.full((20, 30), 0.5, np.float32)
    transmission[10, 0] = 0.9
    change = contextual_regularization(transmission, np.full((20, 30, 3), 0.5, np.float32)) - 0.5
    near, far = np.abs(change[:, 1]).max(), np.abs(change[:, -1]).max()
    assert near > 1e-3
    assert far < 0.3 * near  # on a torus the last column is as near to the first as the second one is


@given(st.integers(1, 23), st.integers(1, 23), st.floats(0.0625, 1, width=32))
@settings(max_examples=40, deadline=None)
def test_regularization_leaves_a_constant_alone_at_any_size(height, width, value):
    constant = np.full((height, width), value, np.float32)
    result = contextual_regularization(constant, picture((height, width), 9))
    assert result.shape == (height, width)
    np.testing.assert_allclose(result, constant, atol=1e-5)


@pytest.mark.parametrize("flip", [np.flipud, np.fliplr])
def test_regularization_commutes_with_mirroring(flip):
    rng = np.random.default_rng(10)
    transmission, image = rng.random((18, 24), dtype=np.float32), rng.random((18, 24, 3), dtype=np.float32)
    mirrored = contextual_regularization(flip(transmission), flip(image))
    np.testing.assert_allclose(mirrored, flip(contextual_regularization(transmission, image)), atol=2e-5)


def test_regularization_does_not_change_its_input():
    image, _, noisy = two_things(8, 8)
    before = noisy.copy()
    contextual_regularization(noisy, image)
    np.testing.assert_array_equal(noisy, before)
    np.testing.assert_array_equal(contextual_regularization(noisy, image, iterations=0), noisy)


@pytest.mark.parametrize(
    "estimate",
    [
        lambda image: dark_channel(image, 5),
        lambda image: dark_channel_transmission(image, AIRLIGHT, 5),
        lambda image: color_attenuation_depth(image, 5),
        lambda image: boundary_transmission(image, AIRLIGHT, patch=5),
    ],
)
@pytest.mark.parametrize("view", [lambda x: x[::-1, ::-1], lambda x: x.swapaxes(0, 1)])
def test_any_memory_layout_will_do(estimate, view):
    image = picture((9, 14), 11)
    before = image.copy()
    np.testing.assert_allclose(estimate(view(image)), view(estimate(image)), atol=1e-6)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("patch", [0, -3, 2, 14])
def test_patches_without_a_centre_are_refused(patch):
    image = picture((4, 4))
    for call in (
        lambda: dark_channel(image, patch),
        lambda: dark_channel_transmission(image, AIRLIGHT, patch),
        lambda: color_attenuation_depth(image, patch),
        lambda: boundary_transmission(image, AIRLIGHT, patch=patch),
    ):
        with pytest.raises(UsageError, match="odd"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda image: dark_channel_transmission(image, AIRLIGHT, 3, omega=1.5),
        lambda image: color_attenuation_transmission(image[..., 0], beta=-1.0),
        lambda image: boundary_transmission(image, AIRLIGHT, lower=0.9, upper=0.1),
        lambda image: contextual_regularization(image[..., 0], image, weight=0.0),
        lambda image: contextual_regularization(image[..., 0], image, sigma=-1.0),
        lambda image: contextual_regularization(image[..., 0], image, iterations=-1),
        lambda image: contextual_regularization(image[1:, :, 0], image),
    ],
)
def test_values_without_meaning_are_refused(call):
    with pytest.raises(UsageError):
        call(picture((4, 4)))
