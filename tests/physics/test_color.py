import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab, rgb2xyz, xyz2rgb

from unhaze.physics import linear_to_srgb, luminance, srgb_to_linear
from unhaze.physics.color import array_namespace

values = st.floats(-2.0, 4.0, width=32)


def test_decoding_matches_scikit_image():
    encoded = np.random.default_rng(0).random((16, 16, 3))
    # scikit-image's XYZ is a matrix of linear RGB; grey pixels therefore give the tone curve alone
    grey = np.repeat(encoded[..., :1], 3, axis=2)
    linear = rgb2xyz(grey)[..., 1] / rgb2xyz(np.ones((1, 1, 3)))[0, 0, 1]
    np.testing.assert_allclose(srgb_to_linear(grey)[..., 0], linear, atol=1e-12)


def test_encoding_matches_scikit_image():
    linear = np.linspace(0, 1, 257)
    white = rgb2xyz(np.ones((1, 1, 3)))[0, 0]
    encoded = xyz2rgb(linear[:, None, None] * white)[:, 0, :]
    np.testing.assert_allclose(linear_to_srgb(linear), encoded[:, 1], atol=1e-6)


def test_scikit_image_reference_is_a_round_trip():
    # guards the two tests above against a reference that clips or changes its white
    grey = np.linspace(0, 1, 11)[:, None, None].repeat(3, axis=2)
    np.testing.assert_allclose(lab2rgb(rgb2lab(grey)), grey, atol=1e-3)


@pytest.mark.parametrize(
    ("encoded", "linear"),
    [
        (0.0, 0.0),
        (0.04045, 0.04045 / 12.92),
        (0.5, 0.21404114),
        (1.0, 1.0),
        (-0.5, -0.21404114),
        (-0.01, -0.01 / 12.92),
    ],
)
def test_known_values(encoded, linear):
    assert srgb_to_linear(encoded) == pytest.approx(linear, abs=1e-7)
    assert linear_to_srgb(linear) == pytest.approx(encoded, abs=1e-6)


@given(values)
def test_round_trip_also_outside_the_unit_range(value):
    assert linear_to_srgb(srgb_to_linear(value)) == pytest.approx(value, abs=2e-5)


@given(values, values)
def test_monotone(a, b):
    low, high = sorted((a, b))
    assert srgb_to_linear(low) <= srgb_to_linear(high)
    assert linear_to_srgb(low) <= linear_to_srgb(high) + 1e-7


@given(values)
def test_odd(value):
    assert srgb_to_linear(-value) == -srgb_to_linear(value)


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
def test_torch_agrees_with_numpy(curve):
    x = np.linspace(-1, 2, 301, dtype=np.float32)
    result = curve(torch.from_numpy(x))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_allclose(result.numpy(), curve(x), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
def test_gradients(curve):
    x = torch.tensor([-0.5, -0.001, 0.0, 0.001, 0.2, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(curve, (x,))


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_type_and_shape(curve, dtype):
    result = curve(np.full((2, 3, 3), 0.5, dtype))
    assert result.dtype == dtype
    assert result.shape == (2, 3, 3)
    assert isinstance(curve(0.5), float)


def test_a_number_does_not_widen_what_it_meets():
    assert (np.ones(3, np.float32) * srgb_to_linear(0.5)).dtype == np.float32


def test_array_namespace():
    assert array_namespace(torch.nn.Parameter(torch.ones(1))) is torch
    assert array_namespace(np.float32(1)) is np
    assert array_namespace([1.0]) is np


def test_luminance_is_rec_601():
    rgb = np.random.default_rng(1).random((5, 7, 3), dtype=np.float32)
    grey = luminance(rgb)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, rgb @ [0.299, 0.587, 0.114], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 3), (5, 1, 3)])
def test_luminance_of_any_size_and_memory_layout(shape):
    rgb = np.random.default_rng(2).random(shape)
    assert luminance(rgb).shape == shape[:2]
    np.testing.assert_allclose(luminance(rgb[::-1, ::-1]), luminance(rgb)[::-1, ::-1], rtol=1e-6)
