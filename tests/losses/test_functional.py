"""Losses on pixels, spectra, similarity and depth, against numpy and against torch's own."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from unhaze.errors import ImageValueError, UnknownNameError
from unhaze.losses import (
    amplitude_loss,
    charbonnier,
    frequency_loss,
    over_pyramid,
    perceived_depth_loss,
    perceived_image_loss,
    pixel_loss,
    softmax_weights,
    ssim_loss,
    target_of_size,
    target_with_phase_of,
    weighted_l1,
)
from unhaze.losses.depth import mean_over_known
from unhaze.metrics.functional import ssim
from unhaze.types import Restored


def pair(seed=0, shape=(2, 3, 16, 20)):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.random(shape, np.float32)) for _ in range(2)]


def test_pixel_losses_are_what_their_names_say():
    preds, target = pair()
    error = preds.double().numpy() - target.double().numpy()
    assert float(pixel_loss(preds, target, "l1")) == pytest.approx(np.abs(error).mean(), rel=1e-6)
    assert float(pixel_loss(preds, target, "mse")) == pytest.approx((error**2).mean(), rel=1e-6)
    assert float(charbonnier(preds, target, 0.1)) == pytest.approx(np.sqrt(error**2 + 0.01).mean(), rel=1e-6)
    with pytest.raises(UnknownNameError, match="charbonnier"):
        pixel_loss(preds, target, "charbonier")


@pytest.mark.parametrize(
    "loss", [charbonnier, frequency_loss, ssim_loss, lambda a, b: amplitude_loss(torch.fft.rfft2(a).abs(), b)]
)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_where_preds_and_target_agree(loss, value):
    preds = torch.full((1, 3, 16, 16), value, requires_grad=True)
    loss(preds, torch.full((1, 3, 16, 16), value)).backward()
    assert torch.isfinite(preds.grad).all()


def test_the_pyramid_adds_every_size_with_the_target_made_smaller():
    preds, target = pair(shape=(1, 3, 16, 16))
    quarter, half = (F.interpolate(preds, scale_factor=scale) for scale in (0.25, 0.5))
    expected = sum(
        F.l1_loss(image, F.interpolate(target, scale_factor=scale, mode="bilinear"))
        for image, scale in ((quarter, 0.25), (half, 0.5), (preds, 1))
    )
    found = over_pyramid(pixel_loss, Restored(preds, (quarter, half)), target)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert float(over_pyramid(pixel_loss, Restored(preds), target)) == pytest.approx(float(F.l1_loss(preds, target)))


def test_a_quarter_of_the_target_looks_at_the_middle_pixels_only():
    target = torch.zeros(1, 1, 4, 4)
    target[..., 1:3, 1:3] = 1
    assert float(target_of_size(target, (1, 1))) == 1


@pytest.mark.parametrize("width", [5, 8])
def test_the_spectrum_is_that_of_numpy(width):
    preds, target = pair(1, (2, 3, 6, width))
    for coefficients, transform in (("half", np.fft.rfft2), ("all", np.fft.fft2)):
        error = transform(preds.numpy()) - transform(target.numpy())
        expected = np.abs(np.stack((error.real, error.imag))).mean()
        assert float(frequency_loss(preds, target, coefficients)) == pytest.approx(expected, rel=1e-5)
    amplitude = torch.fft.rfft2(preds).abs()
    expected = np.abs(np.abs(np.fft.rfft2(preds.numpy())) - np.abs(np.fft.rfft2(target.numpy()))).mean()
    assert float(amplitude_loss(amplitude, target)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UnknownNameError):
        frequency_loss(preds, target, "most")


def test_a_target_can_borrow_a_phase():
    hazy, target = pair(2, (1, 3, 8, 7))
    swapped = np.fft.rfft2(target_with_phase_of(target, hazy).numpy())
    np.testing.assert_allclose(np.abs(swapped), np.abs(np.fft.rfft2(target.numpy())), atol=2e-4)
    # where two cosines are one's own mirror, only the sign of a phase survives
    expected = np.fft.rfft2(hazy.numpy())
    inside = (slice(None), slice(None), slice(1, 4), slice(1, 3))
    np.testing.assert_allclose(np.angle(swapped)[inside], np.angle(expected)[inside], atol=1e-3)
    np.testing.assert_allclose(target_with_phase_of(target, target).numpy(), target.numpy(), atol=1e-6)


@pytest.mark.parametrize(("zero_padded", "convention"), [(False, "gaussian"), (True, "pytorch_ssim")])
def test_similarity_is_that_of_the_metric(zero_padded, convention):
    preds, target = pair(3, (2, 3, 24, 30))
    preds = (target + 0.2 * (preds - 0.5)).clamp(0, 1)
    expected = 1 - float(ssim(preds, target, convention).mean())
    assert float(ssim_loss(preds, target, zero_padded=zero_padded)) == pytest.approx(expected, abs=2e-6)
    exact = ssim_loss(preds.double(), target.double(), zero_padded=zero_padded)
    assert float(exact) == pytest.approx(expected, abs=2e-6)


def test_similarity_takes_what_a_network_gives_and_names_what_is_too_small():
    preds, target = pair(4)
    assert math.isfinite(float(ssim_loss(preds * 3 - 1, target)))
    with pytest.raises(ImageValueError, match="20x8 px"):
        ssim_loss(preds[..., :8, :], target[..., :8, :])


def test_softmax_weights_are_those_of_a_loop():
    difference = pair(5, (2, 3, 4, 5))[0].double() * 4 - 2
    found = softmax_weights(difference).numpy()
    for picture, expected in zip(difference.numpy(), found, strict=True):
        exponentials = np.exp(picture)
        np.testing.assert_allclose((exponentials / exponentials.sum() + 1e-7).sum(0), expected[0], rtol=1e-12)
    # darker than it should be: less weight than where it is right
    assert softmax_weights(torch.tensor([[[[-1.0, 0.0]]]]))[0, 0, 0].diff() > 0


def test_perceived_losses_are_equations_9_and_11():
    rng = np.random.default_rng(6)
    restored, hazy, clear, weights = (rng.random((2, 1, 4, 5)) for _ in range(4))
    tensors = [torch.from_numpy(each) for each in (restored, hazy, clear, weights)]
    expected = np.abs(weights * (restored - clear)).mean() + np.abs(hazy - clear).mean()
    known = torch.tensor([True, True])
    assert float(perceived_depth_loss(*tensors, known)) == pytest.approx(expected, rel=1e-12)
    one = np.abs(weights * (restored - clear))[1].mean() + np.abs(hazy - clear)[1].mean()
    assert float(perceived_depth_loss(*tensors, torch.tensor([False, True]))) == pytest.approx(one, rel=1e-12)
    images = torch.from_numpy(rng.random((2, 3, 4, 5))), torch.from_numpy(rng.random((2, 3, 4, 5)))
    expected = np.abs(weights * (images[0] - images[1]).numpy()).mean()
    assert float(perceived_image_loss(*images, tensors[3])) == pytest.approx(expected, rel=1e-12)


def test_depth_that_is_not_known_does_not_count():
    error = torch.rand(3, 1, 4, 4, requires_grad=True)
    mean_over_known(error, torch.zeros(3, dtype=torch.bool)).backward()
    assert not error.grad.any()


@given(st.floats(0.1, 10), st.integers(0, 100))
def test_weights_scale_a_loss(scale, seed):
    preds, target = pair(seed, (1, 2, 3, 4))
    weights = torch.full((1, 1, 3, 4), scale)
    assert float(weighted_l1(preds, target, weights)) == pytest.approx(
        scale * float(F.l1_loss(preds, target)), rel=1e-5
    )
