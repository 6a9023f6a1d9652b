"""Normalisations of (B, C, H, W) maps: over the channels of a pixel, over the pixels of a channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["ChannelNorm", "InstanceNorm"]


class ChannelNorm(nn.Module):
    """Layer normalisation over C, for every pixel.

    Args:
        channels: C.
        centred: Subtract the mean and add a bias; without it, values are only divided by their standard deviation
            (the "bias-free" form of Restormer).
    """

    def __init__(self, channels: int, *, centred: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if centred else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if self.bias is not None:
            rows = x.permute(0, 2, 3, 1)  # a view of channels-last maps, on which all of this is fastest
            return F.layer_norm(rows, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)
        # torch.var over the channels of channels-last maps takes several times as long
        variance = (x - x.mean(1, keepdim=True)).square_().mean(1, keepdim=True)
        scale = (variance + self.eps).rsqrt()
        return x * scale * self.weight.view(-1, 1, 1)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation with scale and shift, as groups of one channel.

    torch's own works on a copy in another layout where maps are channels-last; this takes half the time there.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)
