import math

import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio
from torch.autograd import gradcheck
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr

from unhaze.metrics.functional import psnr, psnr_y


@pytest.mark.parametrize(
    ("name", "rgb", "luma"), [("coffee", 17.299, 19.643), ("astronaut", 18.456, 20.044), ("rocket", 15.331, 16.435)]
)
def test_table(batch, hazed, name, rgb, luma):
    hazy, clear = hazed(name, 0.5, 0.85), batch(name)
    assert float(psnr(hazy, clear)) == pytest.approx(rgb, abs=6e-4)  # the table has three decimals
    assert float(psnr_y(hazy, clear)) == pytest.approx(luma, abs=6e-4)


def test_scikit_image_and_torchmetrics(batch, hazed):
    hazy, clear = hazed("chelsea", 0.7, 0.9), batch("chelsea")
    value = float(psnr(hazy, clear))
    assert value == pytest.approx(peak_signal_noise_ratio(clear.numpy(), hazy.numpy(), data_range=1), abs=1e-9)
    assert value == pytest.approx(float(torchmetrics_psnr(hazy, clear, data_range=1.0)), abs=1e-5)


def test_luma_is_that_of_scikit_image(batch, hazed):
    hazy, clear = (images[0].permute(1, 2, 0).numpy() for images in (hazed("flower", 0.7, 0.9), batch("flower")))
    expected = peak_signal_noise_ratio(rgb2ycbcr(clear)[..., 0], rgb2ycbcr(hazy)[..., 0], data_range=255)
    assert float(psnr_y(hazed("flower", 0.7, 0.9), batch("flower"))) == pytest.approx(expected, abs=1e-6)


def test_limited_range_reads_higher_for_a_grey_error():
    first, second = torch.full((1, 3, 5, 7), 0.5), torch.full((1, 3, 5, 7), 0.6)
    assert float(psnr(first, second)) == pytest.approx(20, abs=1e-5)
    assert float(psnr_y(first, second) - psnr(first, second)) == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, psnr_y])
def test_equal_pictures(metric):
    photo = torch.rand(3, 3, 4, 4)
    other = photo.clone()
    other[1] = 1 - other[1]
    assert metric(photo, other).isinf().tolist() == [True, False, True]
    assert metric(photo, other, identical=100.0)[0] == 100


@pytest.mark.parametrize("metric", [psnr, psnr_y])
def test_gradient(metric):
    preds = torch.rand(2, 3, 3, 5, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    assert gradcheck(lambda images: metric(images, torch.full_like(images, 0.5)), preds)


def test_gradient_of_an_equal_picture_is_zero():
    preds = torch.rand(1, 3, 3, 5).requires_grad_()
    psnr(preds, preds.detach(), identical=100.0).backward()
    assert torch.equal(preds.grad, torch.zeros_like(preds))
