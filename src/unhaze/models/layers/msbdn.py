"""Blocks of MSBDN, which CoA and PSD take over: residual blocks, and back-projection between levels.

Dong, Pan, Xiang, Hu, Zhang, Wang, Yang, "Multi-Scale Boosted Dehazing Network with Dense Feature Fusion", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from unhaze.models.layers.detail_conv import DetailConv

__all__ = ["BackProjection", "ResidualBlock"]


class ResidualBlock(nn.Module):
    """Two convolutions around a PReLU, a tenth of which is added.

    Args:
        channels: C.
        detail: Which convolution: :class:`DetailConv`, or, if false, a plain one; ``None`` for a plain one that mirrors
            at the borders.
    """

    def __init__(self, channels: int, *, detail: bool | None) -> None:
        super().__init__()

        def conv() -> nn.Module:
            if detail:
                return DetailConv(channels)
            if detail is None:
                return nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
            return nn.Conv2d(channels, channels, 3, padding=1)

        self.conv1, self.conv2 = conv(), conv()
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return torch.add(x, self.conv2(self.relu(self.conv1(x))), alpha=0.1)


class BackProjection(nn.Module):
    """A map is carried to the size of each earlier one, compared there, and corrected by what comes back.

    Args:
        channels: C of the map.
        num_others: How many earlier maps there are, the farthest first.
        first: Whether the earlier maps are larger (``"up"``) or smaller (``"down"``).
    """

    def __init__(self, channels: int, num_others: int, first: str) -> None:
        super().__init__()
        self.first = first
        finest = channels >> num_others if first == "up" else channels
        widths = [finest << i for i in range(num_others + 1)]
        if first == "up":
            widths.reverse()
        ups, downs = [], []
        for near, far in pairwise(widths):
            coarse, fine = max(near, far), min(near, far)
            ups.append(nn.Sequential(nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1), nn.PReLU()))
            downs.append(nn.Sequential(nn.Conv2d(fine, coarse, 4, stride=2, padding=1), nn.PReLU()))
        self.up, self.down = nn.ModuleList(ups), nn.ModuleList(downs)

    def forward(self, x: Tensor, others: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W) to the same; of the earlier maps the sides are 2, 4, 8... times as long, or as short."""
        away, back = (self.up, self.down) if self.first == "up" else (self.down, self.up)
        for i, other in enumerate(others):
            steps = len(away) - i
            y = x
            for j in range(steps):
                y = away[j](y)
            y = y - other
            for j in reversed(range(steps)):
                y = back[j](y)
            x = x + y
        return x
