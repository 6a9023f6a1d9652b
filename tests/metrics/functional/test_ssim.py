import pytest
import torch
from scipy import signal
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity
from torch.autograd import gradcheck
from torchmetrics.functional.image import structural_similarity_index_measure

from unhaze.errors import ImageValueError, UnknownNameError
from unhaze.metrics.functional import SSIM_CONVENTIONS, ssim, ssim_map

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


@pytest.mark.parametrize(
    ("convention", "coffee", "astronaut", "rocket"),
    [
        ("gaussian", 0.79590, 0.77617, 0.83333),
        ("basicsr_rgb", 0.79590, 0.77617, 0.83333),
        ("dehazeformer", 0.80024, 0.79109, 0.83715),
        ("dcmpnet", 0.79733, 0.78741, 0.82462),
        ("pytorch_ssim", 0.79456, 0.77433, 0.82704),
        ("y", 0.92583, 0.89369, 0.88468),
    ],
)
def test_table(batch, hazed, convention, coffee, astronaut, rocket):
    for name, expected in (("coffee", coffee), ("astronaut", astronaut), ("rocket", rocket)):
        assert float(ssim(hazed(name, 0.5, 0.85), batch(name), convention)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("crop", [(300, 451), (11, 11), (13, 200)])
def test_scikit_image(batch, hazed, crop):
    hazy, clear = (i[0, :, : crop[0], : crop[1]] for i in (hazed("chelsea", 0.7, 0.9), batch("chelsea")))
    expected = structural_similarity(clear.numpy(), hazy.numpy(), data_range=1, channel_axis=0, **GAUSSIAN)
    assert float(ssim(hazy[None], clear[None])) == pytest.approx(expected, abs=1e-9)


def test_scikit_image_on_luma(batch, hazed):
    hazy, clear = hazed("chelsea", 0.7, 0.9), batch("chelsea")
    luma = [rgb2ycbcr(images[0].permute(1, 2, 0).numpy())[..., 0] for images in (clear, hazy)]
    expected = structural_similarity(*luma, data_range=255, **GAUSSIAN)
    assert float(ssim(hazy, clear, "y")) == pytest.approx(expected, abs=1e-6)


def test_torchmetrics(batch, hazed):
    hazy, clear = hazed("chelsea", 0.7, 0.9), batch("chelsea")
    # it averages over a mirrored border as well; inside, the convention is the same
    _, similarity = structural_similarity_index_measure(hazy, clear, data_range=1.0, return_full_image=True)
    assert float(ssim(hazy, clear)) == pytest.approx(float(similarity[..., 5:-5, 5:-5].mean()), abs=1e-5)


def test_zero_padding_against_plain_convolution():
    first, second = torch.rand(2, 17, 23, dtype=torch.float64)
    taps = signal.windows.gaussian(11, 1.5)
    window = (taps[:, None] * taps) / taps.sum() ** 2

    def blur(plane):
        return signal.convolve2d(plane, window, mode="same")

    x, y = first.numpy(), second.numpy()
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    result = ssim_map(first.expand(1, 3, -1, -1), second.expand(1, 3, -1, -1), "pytorch_ssim")
    torch.testing.assert_close(result[0, 0], torch.from_numpy(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "pooled"),
    [
        ((383, 500), (383, 500)),  # 1.496 rounds to 1
        ((384, 640), (192, 320)),  # 1.5 rounds to 2, the even neighbour
        ((640, 640), (320, 320)),  # 2.5 rounds to 2, the even neighbour
        ((897, 1001), (224, 250)),  # 3.504 rounds to 4; sides are cut, not rounded
    ],
)
def test_pooling_rule(size, pooled):
    images = torch.rand(1, 3, *size)
    valid, same = (ssim_map(images, images, name).shape[-2:] for name in ("dehazeformer", "dcmpnet"))
    assert same == pooled
    assert valid == (pooled[0] - 10, pooled[1] - 10)


@pytest.mark.parametrize("convention", SSIM_CONVENTIONS)
def test_equal_and_opposite(convention):
    photo = torch.rand(1, 3, 33, 29)
    assert float(ssim(photo, photo, convention)) == pytest.approx(1, abs=1e-12)
    assert float(ssim(photo, 1 - photo, convention)) < 0


@pytest.mark.parametrize("convention", SSIM_CONVENTIONS)
def test_gradient(convention):
    preds = torch.rand(1, 3, 12, 11, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    target = torch.rand(1, 3, 12, 11, dtype=torch.float64)
    assert gradcheck(lambda images: ssim(images, target, convention), preds, fast_mode=True)


def test_constant_pictures_differ_in_luminance_only():
    first, second = torch.full((1, 3, 20, 20), 0.2), torch.full((1, 3, 20, 20), 0.6)
    expected = (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)
    assert float(ssim(first, second)) == pytest.approx(expected, abs=1e-7)


def test_small_pictures():
    with pytest.raises(ImageValueError, match="at least 11 pixels"):
        ssim(torch.rand(1, 3, 10, 40), torch.rand(1, 3, 10, 40))
    assert ssim(torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1), "dcmpnet").isfinite()


def test_unknown_convention():
    with pytest.raises(UnknownNameError, match="dehazeformer"):
        ssim(torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20), "dehazformer")
