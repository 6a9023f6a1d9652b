import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import ms_ssim


def multiply_scales(preds, target):
    """From the parts of torchmetrics, whose own product takes the mirrored border in at the last scale."""
    product = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        options = {"data_range": 1.0, "return_contrast_sensitivity": True}
        contrast = structural_similarity_index_measure(preds, target, **options)[1]
        _, similarity = structural_similarity_index_measure(preds, target, data_range=1.0, return_full_image=True)
        value = similarity[..., 5:-5, 5:-5].mean() if weight == 0.1333 else contrast.mean()
        product *= float(value) ** weight
        preds, target = avg_pool2d(preds, 2), avg_pool2d(target, 2)
    return product


@pytest.mark.parametrize("size", [(193, 230), (177, 191), (176, 176)])
def test_torchmetrics(batch, hazed, size):
    hazy, clear = (i[..., : size[0], : size[1]] for i in (hazed("chelsea", 0.7, 0.9), batch("chelsea")))
    assert float(ms_ssim(hazy, clear)) == pytest.approx(multiply_scales(hazy, clear), abs=1e-6)


def test_equal_pictures(batch):
    assert float(ms_ssim(batch("chelsea"), batch("chelsea"))) == pytest.approx(1, abs=1e-12)


def test_negative_similarity_counts_as_none_and_has_no_gradient():
    photo = torch.rand(1, 3, 176, 176)
    preds = (1 - photo).requires_grad_()
    value = ms_ssim(preds, photo)
    value.backward()
    assert value.item() == 0
    assert torch.equal(preds.grad, torch.zeros_like(preds))


def test_gradient(batch, hazed):
    hazy, clear = (i[..., :176, :178] for i in (hazed("chelsea", 0.7, 0.9), batch("chelsea")))
    amount = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a: ms_ssim(hazy + a * (clear - hazy), clear), amount)


def test_small_pictures_are_refused():
    with pytest.raises(ImageValueError, match="at least 176 pixels"):
        ms_ssim(torch.rand(1, 3, 175, 300), torch.rand(1, 3, 175, 300))
