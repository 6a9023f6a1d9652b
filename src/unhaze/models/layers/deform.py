"""Deformable convolution, exact and in plain torch: on every device, differentiable, exportable."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["deform_conv2d"]


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    groups: int = 1,
) -> Tensor:
    """A convolution whose taps are moved for every pixel; stride 1, output as large as the input.

    Dai et al., "Deformable Convolutional Networks", ICCV 2017; with ``mask``, Zhu et al., "Deformable ConvNets v2",
    CVPR 2019. Values are interpolated bilinearly, and each of the four corners counts as zero outside the image.

    Args:
        x: (B, C, H, W).
        offset: (B, 2 G K K, H, W) [px]: down and across for every tap, in rows, for each of G groups of channels.
        weight: (O, C / groups, K, K), K odd.
        bias: (O,).
        mask: (B, G K K, H, W), multiplies what the taps see.
        groups: Groups of the convolution.

    Returns:
        (B, O, H, W).

    >>> x, weight = torch.rand(1, 2, 5, 6), torch.rand(3, 2, 3, 3)
    >>> out = deform_conv2d(x, torch.zeros(1, 18, 5, 6), weight)
    >>> torch.allclose(out, torch.nn.functional.conv2d(x, weight, padding=1), atol=1e-5)
    True
    """
    batch, channels, height, width = x.shape
    size = weight.shape[-1]
    taps = size * size
    offset_groups = offset.shape[1] // (2 * taps)
    grouped = x.reshape(batch * offset_groups, -1, height, width)
    offset = offset.reshape(batch * offset_groups, taps, 2, height, width)
    rows = torch.arange(height, device=x.device, dtype=x.dtype).view(1, -1, 1)
    columns = torch.arange(width, device=x.device, dtype=x.dtype).view(1, 1, -1)
    depthwise = groups == channels == weight.shape[0]
    out: Tensor | None = None if bias is None else bias.view(1, -1, 1, 1)
    for tap in range(taps):
        down = offset[:, tap, 0] + rows + (tap // size - size // 2)
        across = offset[:, tap, 1] + columns + (tap % size - size // 2)
        grid = torch.stack((_unit(across, width), _unit(down, height)), -1)
        # one tap at a time: the memory of one map, not of K K of them
        seen = F.grid_sample(grouped, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if mask is not None:
            seen = seen * mask.view(batch * offset_groups, taps, 1, height, width)[:, tap]
        seen = seen.view(batch, channels, height, width)
        of_tap = weight[:, :, tap // size, tap % size, None, None]
        seen = seen * of_tap.view(1, -1, 1, 1) if depthwise else F.conv2d(seen, of_tap, groups=groups)
        out = seen if out is None else out + seen
    assert out is not None
    return out


def _unit(position: Tensor, side: int) -> Tensor:
    """Pixel positions in the units of ``grid_sample``; -1 and 1 are the outer edges of the image."""
    return (2 * position + 1) / side - 1
