"""Convolutions whose kernels are made from the image that they filter."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.models.layers.padding import mirror_edges

__all__ = ["dynamic_depthwise"]


def dynamic_depthwise(x: Tensor, kernel: Tensor, dilation: int = 1) -> Tensor:
    """A depthwise convolution with a kernel of its own for every image and channel; edges are mirrored.

    Args:
        x: (B, C, H, W).
        kernel: (B, C, K, L), K and L odd.
        dilation: Distance of neighbouring taps [px].

    Returns:
        (B, C, H, W).
    """
    batch, channels, height, width = x.shape
    down, across = (dilation * (side // 2) for side in kernel.shape[-2:])
    # images become groups of one long image, so that one convolution does all
    padded = mirror_edges(x.reshape(1, batch * channels, height, width), down, across)
    out = F.conv2d(padded, kernel.flatten(0, 1).unsqueeze(1), dilation=dilation, groups=batch * channels)
    return out.view(batch, channels, height, width)
