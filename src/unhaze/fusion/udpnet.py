"""UDPNet: channels weighed by depth (DGAM), then two cross-attentions between features and depth (DPFM).

Paper: Zuo, Jiang, Wu, Liu, "UDPNet: Unleashing Depth-based Priors for Robust Image Dehazing", arXiv:2601.06909.
Official code: Harbinzzy/UDPNet at f925387 (Apache-2.0), ``DepthRefinement`` and ``DepthGuidedFusionModule`` (DGAM) and
``fusion1`` to ``fusion3`` with ``OCAB`` (DPFM). DGAM and DPFM are the official functions. Left out is what has no
effect in the official code: the relative position index is all zeros, so that only row 0 of each bias table acts, as
one number added to all products, which the softmax takes away again; the queries of ``qkv`` are never used; biases
before instance normalisation cancel.

Changed to plug into any network: DGAM weighs the features of each stage, not the image, by these and the refined depth
together; depth is sampled bilinearly, not by its nearest pixel; DPFM's result is added to the stage's output through a
convolution that starts at zero. Only the depth map is used, no features of the estimator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.fusion.base import Fusion, Site
from unhaze.models.layers.bands import in_bands, row_bands
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.norms import group_norm
from unhaze.models.layers.stage import Block
from unhaze.types import DepthLevel, Stage

__all__ = ["CrossAttention", "DepthGuidedAttention", "DepthPriorFusion", "UDPNetFusion", "UDPNetSite"]

WINDOW = 16  # side of the windows that queries come from
MARGIN = 4  # by which the windows of keys and values are larger on each side


class DepthGuidedAttention(nn.Module):
    """DGAM: one weight per channel, from the mean of what a convolution sees.

    Args:
        channels: C of the input.
        weighed: The first so many channels are weighed and returned.
        hidden: Width inside.
    """

    def __init__(self, channels: int, weighed: int, hidden: int = 64) -> None:
        super().__init__()
        self.weighed = weighed
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.weigh = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, weighed))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, weighed, H, W)."""
        seen = F.gelu(group_norm(self.conv(x), self.conv.out_channels)).mean((2, 3))
        return x[:, : self.weighed] * self.weigh(seen).sigmoid()[:, :, None, None]


class CrossAttention(nn.Module):
    """Queries of one map look at keys and values of another, in overlapping windows.

    Args:
        channels: C.
        num_heads: Heads of the attention.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Both (B, C, H, W): ``x`` plus what the queries of ``other`` find in it, and a feed-forward part."""
        height, width = x.shape[-2:]
        bands = row_bands(x, 10 * x.shape[1], multiple=WINDOW)
        fill = (0, -width % WINDOW, 0, -height % WINDOW)
        x, other = (F.pad(maps, fill).permute(0, 2, 3, 1) for maps in (x, other))  # (B, H, W, C)
        query = self.query(other)
        # beyond the border, unlike in the fill, keys and values are zero
        key_value = F.pad(self.key_value(self.norm1(x)), (0, 0, MARGIN, MARGIN, MARGIN, MARGIN))
        ends = [*(last for _, last in bands[:-1]), x.shape[1]]
        found = [
            self._look(query[:, first:end], key_value[:, first : end + 2 * MARGIN])
            for (first, _), end in zip(bands, ends, strict=True)
        ]
        x = (x + self.project(torch.cat(found, 1)))[:, :height, :width]
        return (x + self.mlp(self.norm2(x))).permute(0, 3, 1, 2)

    def _look(self, query: Tensor, key_value: Tensor) -> Tensor:
        """Attention, (B, H, W, C); keys and values have a margin around them."""
        batch, height, width, channels = query.shape
        rows, columns = height // WINDOW, width // WINDOW
        query = query.reshape(batch, rows, WINDOW, columns, WINDOW, self.num_heads, -1).permute(0, 1, 3, 5, 2, 4, 6)
        side = WINDOW + 2 * MARGIN
        windows = key_value.unfold(1, side, WINDOW).unfold(2, side, WINDOW)  # (B, rows, columns, 2 C, side, side)
        # contiguous, or the fused kernel is passed over
        windows = windows.reshape(batch * rows * columns, 2, self.num_heads, -1, side**2).mT.contiguous()
        key, value = windows.unbind(1)  # (windows, heads, pixels, C / heads)
        query = query.reshape(batch * rows * columns, self.num_heads, WINDOW**2, -1)
        out = F.scaled_dot_product_attention(query, key, value)
        out = out.reshape(batch, rows, columns, self.num_heads, WINDOW, WINDOW, -1).permute(0, 1, 4, 2, 5, 3, 6)
        return out.reshape(batch, height, width, channels)


class DepthPriorFusion(nn.Module):
    """DPFM: the same attention from depth to features and back.

    Args:
        channels: C of the features.
        num_heads: Heads of the attention; where C cannot be shared out evenly, fewer.
    """

    def __init__(self, channels: int, num_heads: int = 2) -> None:
        super().__init__()
        quarter, half = max(1, channels // 4), max(1, channels // 2)
        self.embed = nn.Sequential(
            nn.Conv2d(1, quarter, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(quarter, half, 1),
            nn.GELU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(half, channels, 1, bias=False),
        )
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.attention = CrossAttention(channels, math.gcd(num_heads, channels))

    def forward(self, x: Tensor, depth: Tensor) -> Tensor:
        """Features (B, C, H, W) and depth (B, 1, H, W) to features."""
        embedded = self.embed(depth)
        embedded = group_norm(embedded, embedded.shape[1]) * self.scale + self.shift
        return self.attention(x, embedded) + self.attention(embedded, x) + x


class UDPNetSite(Site):
    """``y = F(x) + Z(DPFM(DGAM(F(x), r), d))`` with depth d and refined depth r.

    Args:
        stage: Where it acts.
        levels: Not used; the depth map is.
        num_heads: Heads of the attention in DPFM; the official networks have 1 or 2.
        dgam: Whether there is a DGAM.
        dpfm: Whether there is a DPFM.
    """

    def __init__(
        self, stage: Stage, levels: Sequence[DepthLevel], num_heads: int = 2, dgam: bool = True, dpfm: bool = True
    ) -> None:
        super().__init__(stage, levels)
        channels = stage.channels
        self.attend = DepthGuidedAttention(channels + 1, channels) if dgam else None
        self.fuse = DepthPriorFusion(channels, num_heads) if dpfm else None
        self.join = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)  # type: ignore[arg-type]

    def forward(self, block: Block, x: Tensor, prompt: tuple[DepthView, DepthView | None]) -> Tensor:
        """See :meth:`Site.forward`; ``x`` (B, C, h, w) keeps its shape."""
        depth, refined = prompt
        y = fused = block(x)
        size = (y.shape[-2], y.shape[-1])
        if self.attend is not None:
            assert refined is not None
            fused = self.attend(torch.cat((fused, refined.nearness_at(size)), 1))
        if self.fuse is not None:
            fused = self.fuse(fused, depth.nearness_at(size))
        return y + self.join(fused)


class UDPNetFusion(Fusion):
    """DGAM and DPFM at every site; depth is refined once for all of them.

    Args:
        sites: The stages of the network at which it acts.
        levels: Feature maps that the depth estimator gives; not used.
        num_heads: Heads of the attention in DPFM; the official networks have 1 or 2.
        dgam: Whether there is a DGAM.
        dpfm: Whether there is a DPFM.
        hidden: Channels inside the refinement of the depth.
    """

    site = UDPNetSite

    def __init__(
        self,
        sites: Sequence[Stage],
        levels: Sequence[DepthLevel],
        num_heads: int = 2,
        dgam: bool = True,
        dpfm: bool = True,
        hidden: int = 64,
    ) -> None:
        super().__init__(sites, levels, num_heads=num_heads, dgam=dgam, dpfm=dpfm)
        self.refine = depth_refinement(hidden) if dgam else None

    def prepare(self, depth: DepthView) -> tuple[DepthView, DepthView | None]:
        """See :meth:`Fusion.prepare`: the depth, and the same refined."""
        if self.refine is None:
            return depth, None
        width = self.refine[0].out_channels
        assert isinstance(width, int)
        return depth, replace(depth, nearness=in_bands(self.refine, depth.nearness, channels=width, halo=3))


def depth_refinement(hidden: int = 64) -> nn.Sequential:
    """Three convolutions from a depth map (B, 1, H, W) to one of that shape, ahead of DGAM."""
    return nn.Sequential(
        nn.Conv2d(1, hidden, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, hidden, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, 1, 3, padding=1),
    )
