"""The reference for large pictures is that for small ones."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from tests import strips  # noqa: E402
from tests.strips import ConvolutionsInStrips  # noqa: E402


@pytest.mark.parametrize("convolve", [F.conv2d, F.conv_transpose2d, torch.nn.Conv2d(2, 2, 1)])
def test_every_convolution_is_cut(monkeypatch, convolve):
    monkeypatch.setattr(strips, "ROWS", 0)
    arguments = [torch.zeros(1, 2, 4, 4)] + ([] if isinstance(convolve, torch.nn.Module) else [torch.zeros(2, 2, 1, 1)])
    with ConvolutionsInStrips(), pytest.raises(ValueError, match="must not be zero"):
        convolve(*arguments)


@pytest.mark.parametrize("height", [7, 16, 50])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (1, {}),
        (3, {"padding": 1}),
        (3, {"stride": 2, "padding": 1}),
        (3, {"padding": 4, "dilation": 4}),
        (7, {"padding": 3, "groups": 4}),
        (3, {}),
    ],
)
def test_a_convolution_in_strips_is_the_convolution(height, kernel, options):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, height + 4, 9, dtype=torch.float64, generator=generator)
    weight = torch.randn(8, 4 // options.get("groups", 1), kernel, kernel, dtype=torch.float64, generator=generator)
    bias = torch.randn(8, dtype=torch.float64, generator=generator)
    expected = F.conv2d(x, weight, bias, **options)
    with ConvolutionsInStrips():
        ours = F.conv2d(x, weight, bias, **options)
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("height", [3, 16, 41])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "more"), [(4, 2, 1, 0), (3, 1, 1, 0), (2, 2, 0, 0), (5, 3, 2, 0), (3, 2, 1, 1)]
)
def test_a_transposed_convolution_in_strips_too(height, kernel, stride, padding, more):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, height, 9, dtype=torch.float64, generator=generator)
    weight = torch.randn(4, 8, kernel, kernel, dtype=torch.float64, generator=generator)
    expected = F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=more)
    with ConvolutionsInStrips():
        ours = F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=more)
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-13)
