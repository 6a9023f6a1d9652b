"""HGDF, Hierarchical Gated Depth Fusion: depth guides attention over channels, gates decide what of it is used.

Paper: "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?" (P2), Methods, Eqs. 2 to 9. There is no
public code, the text at hand lost Eqs. 2, 4 and 5, and the paper leaves sizes open. This reading takes those with which
the overhead that P2 prints in Table 1 comes out; ``unhaze bench fusions`` prints both.

With ``x`` (B, C, H, W) what enters a stage, ``F`` the stage and ``d`` feature maps of the depth estimator::

    d'  = p(d)
    x'  = x + Z_pre(d')
    x_a = x' + MHSA(x')                                   Color Feature Encoder (CFE), Eq. 5
    x_i = V softmax(K^T Q / alpha),  Q, V of x_a, K of d'  Depth-Aware Interaction (DAI), Eq. 6
    w   = sigmoid(conv1x1(mean(x_i)))                     Adaptive Channel Gating (ACG), Eq. 7, mean = GAP
    x_g = x_a + w * x_i                                   Eq. 8
    x_f = x_g + conv(GELU(conv(x_g)))                     feed-forward network (D-FFN), Eq. 9
    g   = sigmoid(phi(x_f))                               Adaptive Spatial Gating (ASG), Eq. 3; x_f is F_hgdf
    y   = F(x) + Z_post(g * x_f + x')                     Eqs. 4 and 2

What P2 leaves open, and why it is read so:

* Eq. 2 is lost; the text says "inspired by ControlNet", a module with inputs "x and a depth-guided auxiliary feature
  map c", and "prior to each fusion operation" a convolution that starts at zero. ControlNet (Zhang et al., ICCV 2023)
  is ``y = F(x) + Z2(G(x + Z1(c), c))``: the condition is *added* to what the copy sees, so that every pixel knows its
  depth. That is the default. Other readings are switches: ``add_depth=False`` uses depth as the key alone,
  ``y = F(x) + Z2(G(x, Z1(c)))``, where no pixel can learn how far it is, because K only decides how channels mix;
  ``depth_key=False`` takes K from colour, so that depth enters by addition alone; ``copy=False`` leaves G out,
  ``y = F(x + Z1(c))``, which is the control for everything behind the addition. P2 rules out that V comes from depth.
* Eq. 4 is lost; "spatially modulating the fused feature with the original RGB feature" is read as ``x' + g * x_f``, and
  could be ``g * x_f + (1 - g) * x``.
* Eq. 5 is lost; a connection around MHSA is assumed, and no normalisation before it.
* Eq. 7's "channel-wise convolution" is read as a 1x1 convolution of the means, C to C, as in squeeze and excitation; it
  could be one weight per channel, or one over neighbouring channels (ECA).
* Eq. 9's "lightweight dynamic" network "via channel-wise convolutions" is read as two dense 3x3 convolutions, because
  only dense ones cost what Table 1 prints. It is most of the module, so "lightweight" and the table do not agree.
* Sites. MB-TaylorFormer and DehazeFormer have the same overhead, and so have OKNet and SGDNet. The pairs have two
  levels in common: widths C and 2C at full and half resolution. Parameters and operations of one site alone or of three
  sites do not fit together, whatever the sizes.
* ``p``. Table 1 asks for about 5,000 weights per channel of the site, at the 37x37 of Depth Anything V2, and none that
  grow with the square of the channels. The estimator of Table 1 is the small one (its PSNR is that of Table 8's first
  row), with four maps of 384 channels: ``p`` is a 3x3 convolution of the deepest map plus a 1x1 convolution of all maps
  of its size, (9 + 4) x 384 = 4,992, and a GELU. It runs at the size at which the estimator gives its maps; Z_pre is
  linear per pixel and runs there too, which is the same and cheaper. Which maps P2 takes is not known.
* Everything but ``p`` costs 144 C^2 weights in Table 1. Feed-forward network: seven times the width (126 C^2).
  phi: 3x3 convolutions with a GELU between them, the second to one channel (9 C^2). The rest is 1x1 (10 C^2).
* MHSA works within windows of 8x8, so that memory grows linearly with the pixels, with heads of about eight channels.
  Windows start at the top left. Where they stick out at the bottom or on the right, attention is masked: a window at
  the border sees what there is of the map, and nothing else.
* alpha is a learned scale, and each channel of Q and K has length 1. Eq. 6 is that of Restormer (Zamir et al., CVPR
  2022), whose code does so; without it the product grows with the pixels, and divided by their number instead it is so
  small at first that depth hardly matters: for random weights a hundredth as much.
* Without a gate its factor is 1.
* A zero convolution that is switched off starts like any other and stays where it is.

Zero convolutions learn one after the other: with fresh weights only Z_post gets gradients, after one step everything
that another path than Z_pre reaches, after two steps everything. ``zero_post=False`` gives up that a fresh module
changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.errors import UsageError
from unhaze.fusion.base import Fusion, Site, deepest_near
from unhaze.models.layers.bands import in_bands, put_band, row_bands
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.stage import Block
from unhaze.types import DepthLevel, Stage

__all__ = [
    "ChannelGate",
    "DepthAdaptor",
    "DepthAwareInteraction",
    "GatedDepthSite",
    "HierarchicalGatedDepthFusion",
    "SpatialGate",
    "WindowSelfAttention",
]

WINDOW = 8
HEAD_WIDTH = 8  # at least, where the width allows it
EXPANSION = 7


class GatedDepthSite(Site):
    """The module at one stage.

    Args:
        stage: Where it acts.
        levels: Feature maps of the estimator.
        channel_gate: ACG, Eqs. 7 and 8.
        feed_forward: D-FFN, Eq. 9.
        spatial_gate: ASG, Eqs. 3 and 4.
        zero_pre: Whether Z_pre is zero-initialized (ZC, Pre-ZC of Table 6).
        zero_post: Whether Z_post is (Post-ZC).
        add_depth: Whether depth is added to what G sees; without it depth is the key of Eq. 6 alone.
        depth_key: Whether K of Eq. 6 is of depth; without it, of colour.
        copy: Whether there is G; without it the stage itself sees ``x + Z_pre(d')``, and nothing else is added.

    Raises:
        UsageError: The switches leave depth no way in.
    """

    def __init__(
        self,
        stage: Stage,
        levels: Sequence[DepthLevel],
        *,
        channel_gate: bool = True,
        feed_forward: bool = True,
        spatial_gate: bool = True,
        zero_pre: bool = True,
        zero_post: bool = True,
        add_depth: bool = True,
        depth_key: bool = True,
        copy: bool = True,
    ) -> None:
        super().__init__(stage, levels)
        if not add_depth and not (depth_key and copy):
            raise UsageError("These switches of hgdf leave depth no way in; keep add_depth, or depth_key and copy.")
        channels = stage.channels
        self.adapt = DepthAdaptor(stage, levels)
        self.pre = pointwise(channels, zero=zero_pre)
        self.add_depth, self.depth_key, self.copy = add_depth, depth_key, copy
        if not copy:
            return
        self.encoder = WindowSelfAttention(channels)
        self.interaction = DepthAwareInteraction(channels)
        self.channel_gate = ChannelGate(channels) if channel_gate else None
        self.feed_forward = feed_forward_network(channels) if feed_forward else None
        self.spatial_gate = SpatialGate(channels) if spatial_gate else None
        self.post = pointwise(channels, zero=zero_post)

    def forward(self, block: Block, x: Tensor, prompt: DepthView) -> Tensor:
        """See :meth:`Site.forward`; ``x`` (B, C, h, w) keeps its shape."""
        if not self.copy:
            return block(x + self.depth_at(prompt, (x.shape[-2], x.shape[-1]))[1])
        return block(x) + self.post(self.guide(x, prompt))  # Eq. 2

    def guide(self, x: Tensor, depth: DepthView) -> Tensor:
        """G of Eq. 2, (B, C, H, W): ``x`` with what depth says about it."""
        plain, opened = self.depth_at(depth, (x.shape[-2], x.shape[-1]))
        if self.add_depth:
            x = x + opened
        x_a = x + self.encoder(x)  # Eq. 5
        x_i = self.interaction(x_a, self._key(x_a, plain, opened))  # Eq. 6
        fused = x_a + (x_i if self.channel_gate is None else self.channel_gate(x_i))  # Eqs. 7, 8
        if self.feed_forward is not None:
            fused = fused + in_bands(self.feed_forward, fused, channels=EXPANSION * x.shape[1], halo=2)  # Eq. 9
        return x + (fused if self.spatial_gate is None else self.spatial_gate(fused))  # Eqs. 3, 4

    def depth_at(self, depth: DepthView, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The guide d' at (rows, columns), and what Z_pre makes of it; both (B, C, rows, columns).

        The estimator's whole maps are projected before a part of them is sampled, so a crop sees what the whole would.
        """
        adapted = self.adapt(depth)
        opened = replace(adapted, features=(self.pre(adapted.features[0]),))
        return adapted.feature_at(0, size), opened.feature_at(0, size)

    def _key(self, color: Tensor, plain: Tensor, opened: Tensor) -> Tensor:
        """What K of Eq. 6 is made of."""
        if not self.depth_key:
            return color
        return plain if self.add_depth else opened


class DepthAdaptor(nn.Module):
    """Features of an estimator to as many channels as a stage has (``p`` of the head of this file).

    Args:
        stage: Whose channels, and whose stride the maps are chosen by.
        levels: Feature maps of the estimator.
    """

    def __init__(self, stage: Stage, levels: Sequence[DepthLevel]) -> None:
        super().__init__()
        self.level = deepest_near(stage, levels)
        self.alike = tuple(i for i, level in enumerate(levels) if level.stride == levels[self.level].stride)
        self.near = nn.Conv2d(levels[self.level].channels, stage.channels, 3, padding=1)
        self.all = nn.Conv2d(sum(levels[i].channels for i in self.alike), stage.channels, 1, bias=False)

    def forward(self, depth: DepthView) -> DepthView:
        """The same view with d' (B, C, h, w) as its only feature, at the size of the deepest map."""
        deepest = depth.features[self.level]
        size = deepest.shape[-2:]
        maps = [depth.features[i] for i in self.alike]
        maps = [x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear") for x in maps]
        return replace(depth, features=(F.gelu(self.near(deepest) + self.all(torch.cat(maps, 1))),))


class WindowSelfAttention(nn.Module):
    """Multi-head attention between the pixels of a window (MHSA of Eq. 5).

    Args:
        channels: C.
        window: Side of a window.
    """

    def __init__(self, channels: int, window: int = WINDOW) -> None:
        super().__init__()
        self.window, self.num_heads = window, num_heads(channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same; rows of windows are independent, so few exist at a time where none are kept."""
        bands = row_bands(x, 8 * x.shape[1], multiple=self.window)
        if len(bands) == 1:
            return self._attend(x)
        out = None
        for first, last in bands:
            out = put_band(out, self._attend(x[:, :, first:last]), first, x.shape[2])
        assert out is not None
        return out

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        below, beside = (-side % self.window for side in (height, width))
        padded = F.pad(x, (0, beside, 0, below)) if below or beside else x
        query, key, value = self._split(self.query_key_value(padded).unflatten(1, (3, self.num_heads, -1)))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=self._mask(x, below, beside))
        rows, columns = padded.shape[-2] // self.window, padded.shape[-1] // self.window
        out = out.reshape(batch, rows, columns, self.num_heads, self.window, self.window, -1)
        out = out.permute(0, 3, 6, 1, 4, 2, 5).reshape(batch, channels, *padded.shape[-2:])
        return self.project(out[:, :, :height, :width])

    def _split(self, qkv: Tensor) -> Tensor:
        """(B, 3, heads, C / heads, H, W) to (3, windows, heads, pixels, C / heads)."""
        side = self.window
        windows = qkv.unflatten(5, (-1, side)).unflatten(4, (-1, side)).permute(1, 0, 4, 6, 2, 5, 7, 3)
        return windows.flatten(5, 6).flatten(1, 3)

    def _mask(self, x: Tensor, below: int, beside: int) -> Tensor | None:
        """(windows, 1, 1, pixels), false for what is not of the map; ``None`` where windows fit."""
        if not (below or beside):
            return None
        inside = F.pad(x.new_ones(x.shape[0], 1, 1, 1, *x.shape[-2:]), (0, beside, 0, below))
        return self._split(inside)[0].mT > 0


class DepthAwareInteraction(nn.Module):
    """Attention over channels: colour asks and answers, depth decides which channels belong together (DAI, Eq. 6).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (embedding(channels) for _ in range(3))
        self.log_scale = nn.Parameter(torch.zeros(1))

    def forward(self, color: Tensor, depth: Tensor) -> Tensor:
        """Both are (B, C, H, W), as is the result."""
        share = (color.shape[2] * color.shape[3]) ** -0.5  # cancels below; without it half precision would overflow
        query, value = self.query(color).flatten(2) * share, self.value(color).flatten(2)
        key = self.key(depth).flatten(2) * share
        lengths = _lengths(key)[:, :, None] * _lengths(query)[:, None]
        weights = (key @ query.mT / lengths * (-self.log_scale).exp()).softmax(1)  # (B, C of key, C of query)
        return (weights.mT @ value).view_as(color)


def _lengths(x: Tensor) -> Tensor:
    """Euclidean length of each channel of (B, C, pixels), kept from zero; (B, C)."""
    return torch.linalg.vector_norm(x, dim=2).clamp(min=1e-6)


class ChannelGate(nn.Module):
    """Weighs channels by their means (ACG, Eq. 7).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x * self.weigh(x.mean((2, 3), keepdim=True)).sigmoid()


class SpatialGate(nn.Module):
    """Weighs pixels (ASG, Eqs. 3 and 4).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.phi = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.GELU(), nn.Conv2d(channels, 1, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x * self.phi(x).sigmoid()


class HierarchicalGatedDepthFusion(Fusion):
    """HGDF, the plug-and-play RGB-Depth Fusion Module of P2, at every site.

    Args:
        sites: Stages at which it acts.
        levels: Feature maps of the estimator, fine to coarse.
        channel_gate: ACG. The rows of P2, Table 3 are: all three parts off; ``spatial_gate`` alone; all three on.
        feed_forward: D-FFN.
        spatial_gate: ASG.
        zero_pre: Whether Z_pre starts at zero (P2, Table 6).
        zero_post: Whether Z_post starts at zero (P2, Table 6); without it a fresh module changes the network.
        add_depth: Whether depth is added to what the copy sees, as in ControlNet.
        depth_key: Whether depth is the key of Eq. 6; without it, colour is.
        copy: Whether there is a copy at all; without it depth is added to the stage's own input.

    Attributes:
        learns_after: Optimiser steps after which every parameter gets gradients: zero convolutions in a row.

    Raises:
        UsageError: The switches leave depth no way in.
    """

    site = GatedDepthSite
    looks_at_whole = True
    form = 2

    def __init__(
        self,
        sites: Sequence[Stage],
        levels: Sequence[DepthLevel],
        *,
        channel_gate: bool = True,
        feed_forward: bool = True,
        spatial_gate: bool = True,
        zero_pre: bool = True,
        zero_post: bool = True,
        add_depth: bool = True,
        depth_key: bool = True,
        copy: bool = True,
    ) -> None:
        super().__init__(
            sites,
            levels,
            channel_gate=channel_gate,
            feed_forward=feed_forward,
            spatial_gate=spatial_gate,
            zero_pre=zero_pre,
            zero_post=zero_post,
            add_depth=add_depth,
            depth_key=depth_key,
            copy=copy,
        )
        past_pre = copy and add_depth and depth_key  # the key leads past Z_pre
        self.learns_after = max(int(zero_pre and not past_pre) + int(zero_post and copy), 0)


def num_heads(channels: int) -> int:
    """As many heads as divide the channels into :data:`HEAD_WIDTH` or more each.

    >>> [num_heads(channels) for channels in (3, 8, 20, 24, 64)]
    [1, 1, 2, 3, 8]
    """
    return max((n for n in range(1, channels // HEAD_WIDTH + 1) if channels % n == 0), default=1)


def embedding(channels: int) -> nn.Sequential:
    """A 1x1 and a 3x3 depthwise convolution."""
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 3, padding=1, groups=channels))


def feed_forward_network(channels: int) -> nn.Sequential:
    """D-FFN, without its connection."""
    hidden = EXPANSION * channels
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1), nn.GELU(), nn.Conv2d(hidden, channels, 3, padding=1)
    )


def pointwise(channels: int, *, zero: bool) -> nn.Conv2d:
    """A 1x1 convolution that may start at zero."""
    layer = nn.Conv2d(channels, channels, 1)
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
