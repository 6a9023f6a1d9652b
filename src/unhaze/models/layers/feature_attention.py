"""Feature attention of FFA-Net, which AECR-Net and C2PNet take over.

Qin, Wang, Bai, Xie, Jia, "FFA-Net: Feature Fusion Attention Network for Single Image Dehazing", AAAI 2020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["AttentionBlock", "Gate"]


class Gate(nn.Module):
    """Two 1x1 convolutions to numbers in (0, 1)."""

    def __init__(self, channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels, H, W)."""
        return self.excite(F.relu_(self.squeeze(x))).sigmoid_()


class AttentionBlock(nn.Module):
    """A residual block whose change is weighed per channel, then per pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.channel = Gate(channels, channels // 8, channels)
        self.pixel = Gate(channels, channels // 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        y = self.conv2(F.relu_(self.conv1(x)) + x)
        y = y * self.channel(y.mean((2, 3), keepdim=True))
        return torch.addcmul(x, y, self.pixel(y))
