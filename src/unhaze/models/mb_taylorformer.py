"""MB-TaylorFormer: several branches of attention whose softmax is a first-order Taylor expansion, so linear in pixels.

Paper: Qiu, Zhang, Wang, Luo, Li, Jin, "MB-TaylorFormer: Multi-branch Efficient Transformer Expanded by Taylor Formula
for Image Dehazing", ICCV 2023.
Official code: FVL2020/ICCV-2023-MB-TaylorFormer at c504250 (no licence stated).
Deviations: none in the function. Deformable convolutions are our own. As in the official code, the refinement has as
many blocks as the first level, whatever the released options say.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.bands import in_bands, put_band, row_bands
from unhaze.models.layers.deform import deform_conv2d
from unhaze.models.layers.norms import ChannelNorm
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["MBTaylorFormer", "mb_taylorformer_b", "mb_taylorformer_l"]

Four = tuple[int, int, int, int]

# side of the window of position-dependent weights, for every head
WINDOWS = {1: (3,), 2: (3, 3), 4: (3, 3, 5, 5), 8: (3, 3, 5, 5, 5, 7, 7, 7)}


class MBTaylorFormer(Model):
    """Multi-branch TaylorFormer.

    Args:
        channels: Width of the four levels.
        num_blocks: Blocks in every branch, per level.
        num_heads: Heads, per level.
        num_branches: Branches, per level.
        expansion: Hidden width of the feed-forward part over the width.
        query_norm: Length of queries and keys; the expansion holds for small ones.
        max_offset: Farthest that a tap of a deformable convolution moves [px].
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *(
            (rf"^{prefix}{official}\.", f"{ours}.{part}.")
            for prefix, part in (("patch_embed_", "embed"), ("", "level"))
            for official, ours in (
                *((f"encoder_level{i}", f"enc{i}") for i in (1, 2, 3)),
                ("latent", "mid"),
                *((f"decoder_level{i}", f"dec{i}") for i in (3, 2, 1)),
                ("refinement", "dec0"),
            )
        ),
        (r"\.embed\.patch_embeds\.(\d)\.patch_conv\.offset_generator\.", r".embed.\1.offset."),
        (r"\.embed\.patch_embeds\.(\d)\.patch_conv\.dcn\.weight", r".embed.\1.weight"),
        (r"\.embed\.patch_embeds\.(\d)\.patch_conv\.pwconv\.", r".embed.\1.project."),
        (r"\.level\.mhca_blks\.(\d)\.MHCA_layers\.", r".branches.\1."),
        (r"\.level\.aggregate\.conv_du\.", ".merge.squeeze."),
        (r"\.level\.aggregate\.fcs\.", ".merge.excite."),
        (r"\.norm([12])\.body\.", r".norm\1."),
        (r"\.attn\.qkv_dwconv\.", ".attention.spread."),
        (r"\.attn\.project_out\.", ".attention.project."),
        (r"\.attn\.refine_att\.conv_list\.", ".attention.position."),
        (r"\.attn\.", ".attention."),
        (r"\.ffn\.project_in\.", ".feed.enter."),
        (r"\.ffn\.dwconv\.", ".feed.spread."),
        (r"\.ffn\.project_out\.", ".feed.leave."),
        (r"^patch_embed\.proj\.", "stem."),
        (r"^down([123])_\d\.body\.", r"down\1."),
        (r"^up\d_([123])\.body\.", r"up\1."),
        (r"^reduce_chan_level([23])\.0\.", r"reduce\1."),
        (r"^output\.0\.", "head."),
    )
    contract = ImageContract(multiple_of=8)

    def __init__(
        self,
        channels: Four = (24, 48, 72, 96),
        num_blocks: Four = (2, 3, 3, 4),
        num_heads: Four = (1, 2, 4, 8),
        num_branches: Four = (2, 2, 2, 2),
        expansion: float = 2.66,
        query_norm: float = 0.5,
        max_offset: float = 3.0,
    ) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        names = ("enc1", "enc2", "enc3", "mid", "dec3", "dec2", "dec1", "dec0")
        levels = (0, 1, 2, 3, 2, 1, 0, 0)
        widths = (c1, c2, c3, c4, c3, c2, c2, c2)
        self.stages = tuple(
            Stage(name, width, 2**level) for name, width, level in zip(names, widths, levels, strict=True)
        )
        self.enc1, self.enc2, self.enc3, self.mid, self.dec3, self.dec2, self.dec1, self.dec0 = (
            Branches(width, num_blocks[level], num_heads[level], num_branches[level], expansion, query_norm, max_offset)
            for width, level in zip(widths, levels, strict=True)
        )
        self.stem = nn.Conv2d(3, c1, 3, padding=1, bias=False)
        self.down1, self.down2, self.down3 = _shrink(c1, c2), _shrink(c2, c3), _shrink(c3, c4)
        self.up3, self.up2, self.up1 = _enlarge(c4, c3), _enlarge(c3, c2), _enlarge(c2, c1)
        self.reduce3 = nn.Conv2d(2 * c3, c3, 1, bias=False)
        self.reduce2 = nn.Conv2d(2 * c2, c2, 1, bias=False)
        self.head = nn.Conv2d(c2, 3, 3, padding=1, bias=False)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        enc1 = run("enc1", self.enc1, self.stem(image))  # (B, 24, H, W)
        enc2 = run("enc2", self.enc2, self.down1(enc1))  # (B, 48, H/2, W/2)
        enc3 = run("enc3", self.enc3, self.down2(enc2))  # (B, 72, H/4, W/4)
        mid = run("mid", self.mid, self.down3(enc3))  # (B, 96, H/8, W/8)
        dec3 = run("dec3", self.dec3, self.reduce3(torch.cat((self.up3(mid), enc3), 1)))
        dec2 = run("dec2", self.dec2, self.reduce2(torch.cat((self.up2(dec3), enc2), 1)))
        dec1 = run("dec1", self.dec1, torch.cat((self.up1(dec2), enc1), 1))  # (B, 48, H, W)
        return Restored(self.head(run("dec0", self.dec0, dec1)) + image)


def _shrink(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, out_channels // 4, 1, bias=False),
        nn.PixelUnshuffle(2),
    )


def _enlarge(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, 4 * out_channels, 1, bias=False),
        nn.PixelShuffle(2),
    )


class Branches(nn.Module):
    """One level: every branch sees the map through one more deformable convolution than the branch before it.

    Args:
        channels: C.
        num_blocks: Transformer blocks per branch.
        num_heads: Heads of the attention.
        num_branches: Branches.
        expansion: Hidden width of the feed-forward part over C.
        query_norm: Length of queries and keys.
        max_offset: Farthest that a tap moves [px].
    """

    def __init__(
        self,
        channels: int,
        num_blocks: int,
        num_heads: int,
        num_branches: int,
        expansion: float,
        query_norm: float,
        max_offset: float,
    ) -> None:
        super().__init__()
        self.embed = nn.ModuleList(DeformableEmbedding(channels, max_offset) for _ in range(num_branches))
        self.branches = nn.ModuleList(
            nn.Sequential(*(TransformerBlock(channels, num_heads, expansion, query_norm) for _ in range(num_blocks)))
            for _ in range(num_branches)
        )
        self.merge = BranchMerge(channels, num_branches)

    def forward(self, x: Tensor) -> Tensor:
        embedded, outs = x, []
        for embed, branch in zip(self.embed, self.branches, strict=True):
            embedded = embed(embedded)
            outs.append(branch(embedded))
        return self.merge(outs) + x


class DeformableEmbedding(nn.Module):
    """A depthwise deformable convolution, a 1x1 convolution, Hardswish."""

    def __init__(self, channels: int, max_offset: float) -> None:
        super().__init__()
        self.max_offset = max_offset
        self.offset = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, 18, 1, bias=False),
        )
        self.weight = nn.Parameter(torch.empty(channels, 1, 3, 3))
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.kernel_size[0] ** 2 * layer.out_channels
                nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        def convolve(part: Tensor) -> Tensor:
            offset = self.offset(part).clamp(-self.max_offset, self.max_offset)
            return F.hardswish(self.project(deform_conv2d(part, offset, self.weight, groups=part.shape[1])))

        # a tap moves by at most the largest offset, from one pixel away, and reads one pixel farther
        return in_bands(convolve, x, channels=2 * x.shape[1], halo=math.ceil(self.max_offset) + 2)


class TransformerBlock(nn.Module):
    """Attention and a gated feed-forward part, each around a connection."""

    def __init__(self, channels: int, num_heads: int, expansion: float, query_norm: float) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels, centred=False)
        self.attention = TaylorAttention(channels, num_heads, query_norm)
        self.norm2 = ChannelNorm(channels, centred=False)
        self.hidden = int(channels * expansion)
        self.feed = GatedFeedForward(channels, self.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x, self.norm1)
        return in_bands(lambda part: part + self.feed(self.norm2(part)), x, channels=2 * self.hidden, halo=1)


class TaylorAttention(nn.Module):
    """Attention with exp(q k) ~ 1 + q k (T-MSA), times a weight from the surroundings of each pixel (MSAR).

    Args:
        channels: C.
        num_heads: Heads.
        query_norm: Length of queries and keys.
    """

    def __init__(self, channels: int, num_heads: int, query_norm: float) -> None:
        super().__init__()
        self.num_heads, self.query_norm = num_heads, query_norm
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.spread = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        width, sides = channels // num_heads, WINDOWS[num_heads]
        self.position = nn.ModuleList(
            nn.Conv2d(2 * width * heads, heads, side, padding=side // 2, groups=heads)
            for side in sorted(set(sides))
            for heads in (sides.count(side),)
        )

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        """Attention to what ``norm`` makes of ``x``, plus ``x``."""
        query_key, key_value, value = self._summed(x, norm)
        pixels, reach = x.shape[2] * x.shape[3], max(max(WINDOWS[self.num_heads]) // 2, 1)

        def attend(part: Tensor, of_part: Tensor) -> Tensor:
            height, width = part.shape[2:]
            query, key = of_part.unflatten(1, (2, self.num_heads, -1)).unbind(1)  # (B, heads, C', H, W)
            sums = key_value @ query.flatten(3)
            numerator, denominator = sums[:, :, :-1] + value, sums[:, :, -1:] + (pixels + 1e-6)
            weight = self._position_weight(query, key, height, width).flatten(2).unsqueeze(2)
            out = numerator * (weight * self.temperature / denominator)
            return part + self.project(out.reshape(part.shape))

        return in_bands(attend, x, query_key, channels=2 * x.shape[1], halo=reach)

    def _summed(self, x: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, (B, 2C, H, W), the sum of keys times values, and the sum of values.

        One product gives what the numerator needs and, in its last row, what the denominator needs.
        """
        channels, height = x.shape[1], x.shape[2]
        query_key: Tensor | None = None
        key_value, total = x.new_zeros(()), x.new_zeros(())
        for first, last in row_bands(x, 3 * channels, halo=1):
            start = max(first - 1, 0)
            qkv = self.spread(self.qkv(norm(x[:, :, start : last + 1])))[:, :, first - start : last - start]
            split = qkv.unflatten(1, (3, self.num_heads, -1))  # (B, 3, heads, C', H, W)
            scaled, value = split[:, :2], split[:, 2].flatten(3)
            scaled = scaled / (torch.linalg.vector_norm(scaled, dim=3, keepdim=True) / self.query_norm + 1e-6)
            counted = torch.cat((value, torch.ones_like(value[:, :, :1])), 2)
            key_value = key_value + counted @ scaled[:, 1].flatten(3).transpose(2, 3)
            total = total + value.sum(3, keepdim=True)
            band = scaled.flatten(1, 3)
            query_key = band if last - first == height else put_band(query_key, band, first, height)
        assert query_key is not None
        return query_key, key_value, total

    def _position_weight(self, query: Tensor, key: Tensor, height: int, width: int) -> Tensor:
        """(B, heads, H, W) in (0, 1), from convolutions of queries and keys, one per head."""
        out, first, size = [], 0, query.shape[2]
        for conv in self.position:
            assert isinstance(conv, nn.Conv2d)
            heads = slice(first, first + conv.out_channels)
            first = heads.stop
            of_query, of_key = conv.weight.split(size, 1)
            padding, groups = conv.kernel_size[0] // 2, conv.out_channels
            queries, keys = (part[:, heads].reshape(-1, groups * size, height, width) for part in (query, key))
            summed = F.conv2d(queries, of_query, conv.bias, padding=padding, groups=groups)
            out.append(summed + F.conv2d(keys, of_key, padding=padding, groups=groups))
        return torch.cat(out, 1).sigmoid()


class GatedFeedForward(nn.Module):
    """Two halves, one of which gates the other."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.spread = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.leave = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, signal = self.spread(self.enter(x)).chunk(2, 1)
        return self.leave(F.gelu(gate) * signal)


class BranchMerge(nn.Module):
    """SK fusion: branches weighed against one another, per channel."""

    def __init__(self, channels: int, num_branches: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.PReLU())
        self.excite = nn.ModuleList(nn.Conv2d(hidden, channels, 1, bias=False) for _ in range(num_branches))

    def forward(self, maps: list[Tensor]) -> Tensor:
        pooled = sum(x.mean((2, 3), keepdim=True) for x in maps)
        squeezed = self.squeeze(pooled)
        shares = torch.stack([excite(squeezed) for excite in self.excite]).softmax(0)
        out = maps[0] * shares[0]
        for x, share in zip(maps[1:], shares[1:], strict=True):
            out = torch.addcmul(out, x, share)
        return out


def mb_taylorformer_b(**overrides: Any) -> MBTaylorFormer:
    """Base."""
    return MBTaylorFormer(**overrides)


def mb_taylorformer_l(**overrides: Any) -> MBTaylorFormer:
    """Large."""
    return MBTaylorFormer(**({"num_blocks": (4, 6, 6, 8), "num_branches": (2, 3, 3, 3)} | overrides))
