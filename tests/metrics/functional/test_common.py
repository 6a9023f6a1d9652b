import numpy as np
import pytest
import torch

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import as_batch
from unhaze.metrics.functional._common import check_images, check_pair, load_parameters


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((4, 6, 3), 51, np.uint8), 0.2),
        (np.full((4, 6), 51, np.uint8), 0.2),
        (np.full((4, 6, 3), 13107, np.uint16), 0.2),
        (np.full((4, 6, 3), 0.2, np.float64), 0.2),
    ],
)
def test_batch_of_one(pixels, expected):
    images = as_batch(pixels)
    assert images.shape == (1, 3, 4, 6)
    assert images.dtype == torch.float64
    assert images.unique().tolist() == pytest.approx([expected])


def test_channels_stay_in_order():
    pixels = np.random.default_rng(0).random((4, 6, 3))
    assert np.array_equal(as_batch(pixels)[0, 1], pixels[..., 1])


@pytest.mark.parametrize("pixels", [np.zeros((4, 6, 4), np.uint8), np.zeros(5), np.zeros((4, 6, 3), np.int64)])
def test_batch_of_something_else(pixels):
    with pytest.raises(ImageValueError):
        as_batch(pixels)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 3, 4, 4)), "as_batch"),
        (torch.zeros(3, 4, 4), r"\(B, 3, H, W\)"),
        (torch.zeros(1, 4, 4, 4), r"\(B, 3, H, W\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "divide by 255"),
        (torch.zeros(0, 3, 4, 4), "empty"),
        (torch.zeros(1, 3, 0, 4), "empty"),
        (torch.full((1, 3, 4, 4), float("nan")), "NaN"),
        (torch.full((1, 3, 4, 4), float("inf")), "NaN or infinite"),
        (torch.full((1, 3, 4, 4), 255.0), "clamp"),
        (torch.full((1, 3, 4, 4), -1.0), "clamp"),
    ],
)
def test_unusable_images(images, message):
    with pytest.raises(ImageValueError, match=message):
        check_images(images)


def test_a_single_nan_is_found():
    images = torch.rand(2, 3, 9, 9)
    images[1, 2, 5, 5] = torch.nan
    with pytest.raises(ImageValueError, match="NaN"):
        check_images(images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_everything_is_computed_in_float64(dtype):
    assert check_images(torch.rand(1, 3, 4, 4).to(dtype)).dtype == torch.float64


def test_rounding_noise_of_float32_is_accepted():
    assert check_images(torch.full((1, 3, 4, 4), 1.0000002)).max() > 1


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 3, 4, 4)])
def test_pictures_that_do_not_match(shape):
    with pytest.raises(ImageValueError, match="same shape"):
        check_pair(torch.rand(1, 3, 4, 4), torch.rand(shape))


def test_parameters_are_the_published_ones():
    fade, niqe, lpips = (load_parameters(name) for name in ("fade", "niqe", "lpips"))
    assert fade["fog_free_mean"][[0, 11]].tolist() == [0.3897742249373781, 3.3037319330286046]
    assert fade["foggy_mean"][[0, 11]].tolist() == [0.09996615333760646, 1.315480167373379]
    assert niqe["mean"].shape == (36,)
    assert np.linalg.eigvalsh(niqe["covariance"]).min() > 0
    assert [len(lpips[f"head{i}"]) for i in range(5)] == [64, 192, 384, 256, 256]


def test_parameters_cannot_be_replaced():
    with pytest.raises(TypeError):
        load_parameters("niqe")["mean"] = np.zeros(36)
