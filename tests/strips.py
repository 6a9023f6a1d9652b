"""Convolutions of large maps strip by strip, for references in float64 that would take hours in one piece."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

ROWS = 16  # of the result at a time: its columns for the matrix product then stay in a core's cache, nearly


class ConvolutionsInStrips(TorchFunctionMode):
    """Within it, every convolution is computed a few rows at a time; each value is the same sum in the same order.

    Nothing else is cut, so that what looks at the whole picture (moments for a normalisation) is exact.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.conv2d and not isinstance(kwargs.get("padding"), str):
            return _conv2d(*args, **kwargs)
        if func is torch.conv_transpose2d:
            return _conv_transpose2d(*args, **kwargs)
        return func(*args, **kwargs)


def _pair(value):
    return value if isinstance(value, (tuple, list)) else (value, value)


def _conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    (stride, across), (padding, sides), (dilation, _) = map(_pair, (stride, padding, dilation))
    reach = dilation * (weight.shape[2] - 1) + 1
    height = (x.shape[2] + 2 * padding - reach) // stride + 1
    strips = []
    for first in range(0, height, ROWS):
        last = min(first + ROWS, height)
        top, bottom = first * stride - padding, (last - 1) * stride - padding + reach
        part = x[:, :, max(top, 0) : bottom]
        part = F.pad(part, (0, 0, max(-top, 0), max(bottom - x.shape[2], 0)))
        strips.append(torch.conv2d(part, weight, bias, (stride, across), (0, sides), _pair(dilation), groups))
    return torch.cat(strips, 2)


def _conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    (stride, across), (padding, sides) = map(_pair, (stride, padding))
    assert _pair(dilation) == (1, 1), "not needed so far"
    more = _pair(output_padding)
    halo = -(-weight.shape[2] // stride)  # rows of the input that reach into a neighbour's rows
    height = (x.shape[2] - 1) * stride + weight.shape[2] - 2 * padding + more[0]
    strips = []
    for first in range(0, height, ROWS * stride):
        last = min(first + ROWS * stride, height)
        top = max((first + padding) // stride - halo, 0)
        part = x[:, :, top : (last - 1 + padding) // stride + 1]
        whole = torch.conv_transpose2d(part, weight, bias, (stride, across), (0, sides), more, groups)
        start = first + padding - top * stride
        strips.append(whole[:, :, start : start + last - first])
    return torch.cat(strips, 2)
