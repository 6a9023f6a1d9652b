"""Computing a map band by band: what is wide inside a block then exists for a few rows at a time only."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["in_bands", "put_band", "row_bands"]

# [B] for the widest map inside a band: small enough for caches and for memory that is used again, large enough that
# calls cost nothing
BAND = 4 << 20


def row_bands(x: Tensor, channels: int, *, halo: int = 0, multiple: int = 1, start: int = 0) -> list[tuple[int, int]]:
    """First row and row behind the last of the bands in which a map is best computed.

    One band holds everything while gradients are recorded, which would keep all bands anyway, and while the network is
    exported, compiled or counted, where operations should not depend on the size.

    Args:
        x: (B, C, H, W) of the map.
        channels: C of the widest map that exists for a band.
        halo: Rows that a band needs on both sides; bands are several times as high.
        multiple: Bands are a multiple of this many rows high, except the last.
        start: Where the first band would begin if the map had rows above its first.
    """
    batch, height, width = x.shape[0], x.shape[2], x.shape[3]
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.is_meta:
        return [(0, height)]
    rows = max(BAND // (batch * channels * width * x.element_size()), 8 * halo, 2 * multiple)
    rows -= rows % multiple
    edges = [0, *range(start + rows, height - rows // 2, rows), height]
    return list(pairwise(edges))


def in_bands(block: Callable[..., Tensor], *maps: Tensor, channels: int, halo: int = 0) -> Tensor:
    """``block(*maps)``, computed band by band.

    Args:
        block: Keeps height and width, and looks ``halo`` rows far; what it does beyond the borders of an image, it does
            beyond the borders of whatever it is given.
        maps: (B, C, H, W) each.
        channels: C of the widest map inside ``block``.
        halo: How far ``block`` looks, in rows.
    """
    bands, height = row_bands(maps[0], channels, halo=halo), maps[0].shape[2]
    if len(bands) == 1:
        return block(*maps)
    out = None
    for first, last in bands:
        start = max(first - halo, 0)
        part = block(*(x[:, :, start : last + halo] for x in maps))[:, :, first - start : last - start]
        out = put_band(out, part, first, height)
    assert out is not None
    return out


def put_band(out: Tensor | None, band: Tensor, first: int, height: int) -> Tensor:
    """``out``, (B, C, height, W), with ``band``, (B, C, h, W), from row ``first`` on; made for the first band."""
    if out is None:
        batch, channels, _, width = band.shape
        if band.stride(1) == 1:  # channels-last
            out = band.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)
        else:
            out = band.new_empty((batch, channels, height, width))
    out[:, :, first : first + band.shape[2]] = band
    return out
