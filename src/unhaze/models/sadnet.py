"""SAD-Net: DEA-Net's skeleton with difference convolutions on wavelet bands and attention over frequencies.

Paper: Niu et al., "SAD-Net: a full spectral self-attention detail enhancement network for single image dehazing",
Scientific Reports 15:11875, 2025.
Official code: niuqj/SAD-Net at b1eb068 (no licence stated).
Deviations: none in the function. The official code puts the four bands one after the other and reads them back as
four bands of every channel, which shuffles them; its checkpoints depend on that, and so does this. The Haar filters are
fixed parameters, as in its checkpoints.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models._detail_unet import SKELETON_KEYS, DetailUNet
from unhaze.models.base import KeyMap
from unhaze.models.layers.detail_conv import angular_kernel, central_kernel, horizontal_kernel, vertical_kernel
from unhaze.models.layers.norms import GroupNorm
from unhaze.types import ImageContract

__all__ = ["BLOCK_KEYS", "AttentionBlock", "SADNet", "sadnet"]

BLOCK_KEYS: KeyMap = (
    (r"\bdec_filters$", "haar.analysis"),
    (r"\brec_filters$", "haar.synthesis"),
    (r"\.conv_cd\.conv\.", ".central."),
    (r"\.conv_hd\.conv\.", ".horizontal."),
    (r"\.conv_vd\.conv\.", ".vertical."),
    (r"\.conv_ad\.conv\.", ".angular."),
    (r"\.conv_final\.", ".join."),
    (r"\ba\.conv1x1_(ll|lh|hl|hh)\.", r"attention.reduce_\1."),
    (r"\ba\.convx\.", "attention.enter."),
    (r"\ba\.convx1\.", "attention.leave."),
    (r"\ba\.(norm|norm_h|norm_w|haar|q|k|v)\b", r"attention.\1"),
)


class SADNet(DetailUNet):
    """SAD-Net.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Blocks of the two outer levels, each way; the innermost has twice as many.
    """

    KEY_MAP: ClassVar[KeyMap] = (*BLOCK_KEYS, *SKELETON_KEYS)
    contract = ImageContract(multiple_of=8, minimum=56)

    def __init__(self, channels: int = 32, num_blocks: int = 4) -> None:
        super().__init__(channels, num_blocks, outer_block=WaveletBlock, inner_block=AttentionBlock)


class Haar(nn.Module):
    """The two-dimensional Haar transform: four bands of half the size for every channel, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = torch.tensor(0.5**0.5) ** 2  # the float32 product of the official tables, a little below 1/2
        low, high = torch.tensor((1.0, 1.0)), torch.tensor((1.0, -1.0))
        bands = [torch.outer(down, across) for down in (low, high) for across in (low, high)]
        # official order: low-low, then high down the rows, then high across the columns
        filters = half * torch.stack([bands[i] for i in (0, 2, 1, 3)]).unsqueeze(1).repeat(channels, 1, 1, 1)
        self.analysis = nn.Parameter(filters, requires_grad=False)
        self.synthesis = nn.Parameter(filters.clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 4, H/2, W/2)."""
        return F.conv2d(x, self.analysis, stride=2, groups=x.shape[1]).unflatten(1, (-1, 4))

    def inverse(self, bands: Tensor) -> Tensor:
        """(B, 4 C, H/2, W/2) to (B, C, H, W)."""
        return F.conv_transpose2d(bands, self.synthesis, stride=2, groups=bands.shape[1] // 4)


class WaveletDetailConv(nn.Module):
    """SDEConv: each band of the wavelet transform has its own difference convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.haar = Haar(channels)
        self.central = nn.Conv2d(channels, channels, 3)
        self.horizontal = nn.Conv1d(channels, channels, 3)
        self.vertical = nn.Conv1d(channels, channels, 3)
        self.angular = nn.Conv2d(channels, channels, 3)
        self.join = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.central, self.horizontal, self.vertical, self.angular)
        kernels = (
            central_kernel(self.central.weight),
            horizontal_kernel(self.horizontal.weight),
            vertical_kernel(self.vertical.weight),
            angular_kernel(self.angular.weight),
        )
        bias = torch.cat([layer.bias for layer in layers if layer.bias is not None])
        bands = self.haar(x).transpose(1, 2).flatten(1, 2)  # (B, 4 C, H/2, W/2), one band after the other
        detailed = F.relu_(F.conv2d(bands, torch.cat(kernels), bias, padding=1, groups=4))
        return self.join(self.haar.inverse(detailed))


class WaveletBlock(nn.Module):
    """SDEB."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = WaveletDetailConv(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu_(self.conv1(x)) + x) + x


class AttentionBlock(nn.Module):
    """SDEAB."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = WaveletDetailConv(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = FrequencyAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return self.conv2(self.attention(F.relu_(self.conv1(x)) + x) + x)


class FrequencyAttention(nn.Module):
    """FGA: wavelet bands weighed along the rows, along the columns, and per channel.

    Args:
        channels: C, a multiple of 4.
        num_heads: Heads of the attention among channels.
        window: Side of the windows over which that attention averages.
    """

    def __init__(self, channels: int, num_heads: int = 2, window: int = 7) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.haar = Haar(channels)
        self.reduce_ll, self.reduce_lh, self.reduce_hl, self.reduce_hh = (
            nn.Conv1d(channels, channels // 4, 1, bias=False) for _ in range(4)
        )
        self.enter = nn.Conv2d(4 * channels, channels, 1, bias=False)
        self.leave = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.norm_h = nn.GroupNorm(4, channels)
        self.norm_w = nn.GroupNorm(4, channels)
        self.norm = GroupNorm(1, channels)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1, groups=channels, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        bands = self.haar(x)  # (B, C, 4, H/2, W/2)
        # the 1x1 convolution of all bands; its weights are sorted like the bands, not the bands like its weights
        channels = bands.shape[1]
        weight = self.enter.weight.view(channels, 4, channels, 1, 1).transpose(1, 2).flatten(1, 2)
        x = F.conv2d(bands.flatten(1, 2), weight)
        x = x * self._profile(bands.mean(4), self.norm_h).unsqueeze(3)
        x = x * self._profile(bands.mean(3), self.norm_w).unsqueeze(2)
        # attention among channels, whose features are the averages of windows
        y = self.norm(F.avg_pool2d(x, self.window))
        query, key, value = (
            layer(y).flatten(2).unflatten(1, (self.num_heads, -1)) for layer in (self.q, self.k, self.v)
        )  # (B, heads, C / heads, windows)
        scale = query.shape[2] ** -0.5
        weights = (query @ key.transpose(-2, -1) * scale).softmax(-1) @ value.mean(-1, keepdim=True)
        return self.haar.inverse(self.leave(x * weights.flatten(1, 2).unsqueeze(3).sigmoid()))

    def _profile(self, means: Tensor, norm: nn.GroupNorm) -> Tensor:
        """Weights along one axis, (B, C, n), from the (B, C, 4, n) means of the bands over the other."""
        order = ((self.reduce_ll, 0), (self.reduce_lh, 2), (self.reduce_hl, 1), (self.reduce_hh, 3))
        reduced = [reduce(means[:, :, i]) for reduce, i in order]
        return norm(torch.cat(reduced, 1)).sigmoid()


def sadnet(**overrides: Any) -> SADNet:
    """The network of the paper."""
    return SADNet(**overrides)
