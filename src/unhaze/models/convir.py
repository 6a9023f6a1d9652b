"""ConvIR: OKNet's skeleton with attention made of small filters that every image brings along.

Paper: Cui, Ren, Cao, Knoll, "Revitalizing Convolutional Network for Image Restoration", IEEE TPAMI 2024.
Official code: c-yn/ConvIR at 05dcbff (MIT), Dehazing/ITS; that of Dehazing/OTS is the same function.
Deviations: none in the function. A filter, the share of the map itself and the share of the mean are put together into
one kernel before the map is filtered. Maps are mirrored again and again where they are smaller than the reach of a
filter (images below 256 pixels), which the official code refuses.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models._pyramid_unet import SKELETON_KEYS, PyramidUNet
from unhaze.models.base import KeyMap
from unhaze.models.layers.dynamic_conv import dynamic_depthwise
from unhaze.types import ImageContract

__all__ = ["ConvIR", "convir_b", "convir_l", "convir_s"]


class ConvIR(PyramidUNet):
    """Convolutional network for image restoration.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Residual blocks per level; the last of each has the multi-scale attention.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"layers\.(\d+)\.main\.0\.main\.0\.", r"layers.\1.conv1."),
        (r"layers\.(\d+)\.main\.2\.main\.0\.", r"layers.\1.conv2."),
        (r"layers\.(\d+)\.main\.1\.", r"layers.\1.attend."),
        (r"\.dynas\.(\d+)\.square_att\.", r".scales.\1.square."),
        (r"\.dynas\.(\d+)\.strip_att\.H_spatial_att\.", r".scales.\1.row."),
        (r"\.dynas\.(\d+)\.strip_att\.W_spatial_att\.", r".scales.\1.column."),
        (r"\.dynas\.(\d+)\.strip_att\.", r".scales.\1."),
        (r"\.conv_sum\.", ".leave."),
        (r"\.inside_all$", ".contrast"),
        (r"\.lamb_l$", ".low"),
        (r"\.lamb_h$", ".high"),
        (r"(square|row|column)\.conv\.", r"\1.predict."),
        (r"square\.bn\.", "square.norm."),
        *SKELETON_KEYS,
    )
    contract = ImageContract(multiple_of=32)

    def __init__(self, channels: int = 32, num_blocks: int = 4) -> None:
        def level(width: int) -> nn.Module:
            return nn.Sequential(*(ResidualBlock(width, attend=i == num_blocks - 1) for i in range(num_blocks)))

        super().__init__(channels, level)


class ResidualBlock(nn.Module):
    """Two convolutions around a GELU, and around the multi-scale attention in the last block of a level."""

    def __init__(self, channels: int, *, attend: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.attend = MultiScaleAttention(channels) if attend else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.attend(F.gelu(self.conv1(x)))) + x


class MultiScaleAttention(nn.Module):
    """Filters on maps pooled by 8, 4 and 2, coarse to fine, each added to the map itself.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(3))
        self.scales = nn.ModuleList(MultiShapeFilter(channels, dilation) for dilation in (7, 9, 11))
        self.leave = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        total, coarser = x, None
        for pool, conv, scale in zip((8, 4, 2), self.convs, self.scales, strict=True):
            pooled = F.avg_pool2d(x, pool)
            if coarser is not None:
                pooled = pooled + F.interpolate(coarser, pooled.shape[2:], mode="bilinear", align_corners=True)
            coarser = scale(conv(pooled))
            total = total + F.interpolate(coarser, x.shape[2:], mode="bilinear", align_corners=True)
        return self.leave(F.gelu(total))


class MultiShapeFilter(nn.Module):
    """A square filter, and a row and a column one after the other, summed.

    Args:
        channels: C.
        dilation: Distance of neighbouring taps [px].
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.square = ImageFilter(channels, (3, 3), dilation, normed=True)
        self.row = ImageFilter(channels, (1, 3), dilation, normed=False)
        self.column = ImageFilter(channels, (3, 1), dilation, normed=False)
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        strips: Tensor = self.column(self.row(x))
        out: Tensor = self.gamma * strips + x * self.beta + self.square(x)
        return out


class ImageFilter(nn.Module):
    """A depthwise filter that follows from the mean of the map, one for each of 8 groups of channels.

    What passes the filter (low frequencies) and the map itself are weighed per channel; ``contrast`` takes the mean
    along the filter's own directions out of what passed.

    Args:
        channels: C.
        size: (down, across) taps.
        dilation: Distance of neighbouring taps [px].
        normed: Normalise the taps over the batch before their tanh.
    """

    GROUPS: ClassVar[int] = 8

    def __init__(self, channels: int, size: tuple[int, int], dilation: int, *, normed: bool) -> None:
        super().__init__()
        self.size, self.dilation = size, dilation
        taps = self.GROUPS * size[0] * size[1]
        self.predict = nn.Conv2d(channels, taps, 1, bias=False)
        nn.init.kaiming_normal_(self.predict.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(taps) if normed else nn.Identity()
        self.contrast = nn.Parameter(torch.zeros(channels, 1, 1))
        self.low = nn.Parameter(torch.zeros(channels))
        self.high = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        down, across = self.size
        taps = torch.tanh(self.norm(self.predict(x.mean((2, 3), keepdim=True))))
        kernel = taps.view(len(x), self.GROUPS, down, across).repeat_interleave(x.shape[1] // self.GROUPS, 1)
        low, high = self.low.view(-1, 1, 1), self.high.view(-1, 1, 1)
        kernel = kernel * ((self.contrast + 1) * low)
        kernel = kernel + F.pad(high + 1, (across // 2, across // 2, down // 2, down // 2))
        along = tuple(axis for axis, taps_along in ((2, down), (3, across)) if taps_along > 1)
        return dynamic_depthwise(x, kernel, self.dilation) - self.contrast * low * x.mean(along, keepdim=True)


def convir_s(**overrides: Any) -> ConvIR:
    """Small."""
    return ConvIR(**({"num_blocks": 4} | overrides))


def convir_b(**overrides: Any) -> ConvIR:
    """Base."""
    return ConvIR(**({"num_blocks": 8} | overrides))


def convir_l(**overrides: Any) -> ConvIR:
    """Large."""
    return ConvIR(**({"num_blocks": 16} | overrides))
