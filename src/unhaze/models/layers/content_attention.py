"""Content-guided attention of DEA-Net, which SAD-Net takes over in part.

Chen, He, Lu, "DEA-Net: Single Image Dehazing Based on Detail-Enhanced Convolution and Content-Guided Attention", IEEE
TIP 2024, Sec. III-B.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["CONTENT_KEYS", "ContentAttention", "ContentMix"]

# official names
CONTENT_KEYS = (
    (r"(^|\.)sa\.sa\.", r"\1attention.spatial."),
    (r"(^|\.)ca\.ca\.0\.", r"\1attention.squeeze."),
    (r"(^|\.)ca\.ca\.2\.", r"\1attention.excite."),
    (r"(^|\.)pa\.pa2\.", r"\1attention.pixel."),
)


class ContentAttention(nn.Module):
    """A weight in (0, 1) for every value, from channel-wise, spatial and content cues (CGA).

    Args:
        channels: C.
        reduction: C over the hidden width of the channel attention.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, padding_mode="reflect")
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)
        self.pixel = nn.Conv2d(2 * channels, channels, 7, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Weights, (B, C, H, W)."""
        per_channel = self.excite(F.relu_(self.squeeze(x.mean((2, 3), keepdim=True))))  # (B, C, 1, 1)
        extremes = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        per_pixel = self.spatial(extremes)  # (B, 1, H, W)
        # the grouped convolution of every channel of x shuffled with per_channel + per_pixel; the sum is never built:
        # the convolution is linear, and a mirrored constant stays constant
        of_x, of_guide = self.pixel.weight.split(1, 1)
        out = F.conv2d(F.pad(x, (3, 3, 3, 3), "reflect"), of_x, self.pixel.bias, groups=x.shape[1])
        out += F.conv2d(F.pad(per_pixel, (3, 3, 3, 3), "reflect"), of_guide)
        return (out + per_channel * of_guide.sum((2, 3)).view(1, -1, 1, 1)).sigmoid_()


class ContentMix(nn.Module):
    """CGA-based mixing of an early and a late map.

    Args:
        channels: C of both.
        reduction: C over the hidden width of the channel attention.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.attention = ContentAttention(channels, reduction)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, early: Tensor, late: Tensor) -> Tensor:
        """Both maps, and the weighted mean of them, projected; all are (B, C, H, W)."""
        both = early + late
        weight = self.attention(both).sigmoid()  # the official code, too, applies the sigmoid twice
        return self.project(both + torch.lerp(late, early, weight))
