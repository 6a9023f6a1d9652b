"""DRSformer: attention among channels that keeps only the largest similarities; made for rain, used for haze too.

Paper: Chen, Li, Li, Pan, "Learning A Sparse Transformer Network for Effective Image Deraining", CVPR 2023.
Official code: cschenxiang/DRSformer at e77bbb4 (no licence stated).
Deviations: none in the function. The four sparse attention maps are added up before they meet the values, and each
expert's last 1x1 convolution is merged with the one behind it. ``drsformer-spa`` is the official form for Rain200L and
SPA-Data, without the mixture of experts.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.bands import in_bands
from unhaze.models.layers.channel_attention import merge_projection, mix_channels, similarity_and_value
from unhaze.models.layers.norms import ChannelNorm
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["ATTENTION_KEYS", "DRSFormer", "SparseAttention", "drsformer_mefc", "drsformer_spa"]

Four = tuple[int, int, int, int]

ATTENTION_KEYS: KeyMap = (
    (r"\bqkv_dwconv\.", "spread."),
    (r"\bproject_out\.", "project."),
    (r"\battn([1-4])$", r"share\1"),
)


class DRSFormer(Model):
    """Deraining sparse transformer.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Blocks of the four levels.
        num_heads: Heads of the four levels.
        experts: Whether a mixture of experts stands before the first level and behind the last.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^encoder_level0\.layers\.", "stem_experts."),
        (r"^refinement\.layers\.", "head_experts."),
        (r"_experts\.0\.ca_fc\.", "_experts.choose."),
        (r"_experts\.1\.preprocess\.op\.0\.", "_experts.enter."),
        (r"_experts\.1\._ops\.(\d)\._ops\.(\d)\.op\.", r"_experts.steps.\1.experts.\2."),
        (r"_experts\.1\._ops\.(\d)\._out\.0\.", r"_experts.steps.\1.join."),
        (r"\.norm([12])\.body\.", r".norm\1."),
        *((rf"\.attn\.{pattern[2:]}", f".attention.{ours}") for pattern, ours in ATTENTION_KEYS if ours),
        (r"\.attn\.", ".attention."),
        (r"\.ffn\.project_in\.", ".feed.enter."),
        (r"\.ffn\.dwconv(\d)x\d\.", r".feed.spread\1."),
        (r"\.ffn\.dwconv(\d)x\d_1\.", r".feed.join\1."),
        (r"\.ffn\.project_out\.", ".feed.leave."),
        (r"^patch_embed\.proj\.", "stem."),
        (r"^encoder_level([123])\.", r"enc\1."),
        (r"^latent\.", "mid."),
        (r"^decoder_level([123])\.", r"dec\1."),
        (r"^down([123])_\d\.body\.0\.", r"down\1."),
        (r"^up\d_([123])\.body\.0\.", r"up\1."),
        (r"^reduce_chan_level([23])\.", r"reduce\1."),
        (r"^output\.", "head."),
    )
    contract = ImageContract(multiple_of=8)

    def __init__(
        self,
        channels: int = 48,
        num_blocks: Four = (4, 6, 6, 8),
        num_heads: Four = (1, 2, 4, 8),
        experts: bool = True,
    ) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(4)]
        names = ("enc1", "enc2", "enc3", "mid", "dec3", "dec2", "dec1")
        levels = (0, 1, 2, 3, 2, 1, 0)
        self.stages = tuple(
            Stage(name, widths[1] if name == "dec1" else widths[level], 2**level)
            for name, level in zip(names, levels, strict=True)
        )
        self.enc1, self.enc2, self.enc3, self.mid, self.dec3, self.dec2, self.dec1 = (
            nn.Sequential(*(SparseTransformerBlock(stage.channels, num_heads[level]) for _ in range(num_blocks[level])))
            for stage, level in zip(self.stages, levels, strict=True)
        )
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.down1, self.up1 = _down_and_up(widths[0])
        self.down2, self.up2 = _down_and_up(widths[1])
        self.down3, self.up3 = _down_and_up(widths[2])
        self.reduce3 = nn.Conv2d(2 * widths[2], widths[2], 1, bias=False)
        self.reduce2 = nn.Conv2d(2 * widths[1], widths[1], 1, bias=False)
        self.stem_experts = ExpertMixture(channels) if experts else nn.Identity()
        self.head_experts = ExpertMixture(widths[1]) if experts else nn.Identity()
        self.head = nn.Conv2d(widths[1], 3, 3, padding=1, bias=False)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        enc1 = run("enc1", self.enc1, self.stem_experts(self.stem(image)))  # (B, C, H, W)
        enc2 = run("enc2", self.enc2, F.pixel_unshuffle(self.down1(enc1), 2))  # (B, 2C, H/2, W/2)
        enc3 = run("enc3", self.enc3, F.pixel_unshuffle(self.down2(enc2), 2))  # (B, 4C, H/4, W/4)
        mid = run("mid", self.mid, F.pixel_unshuffle(self.down3(enc3), 2))  # (B, 8C, H/8, W/8)
        dec3 = run("dec3", self.dec3, self.reduce3(torch.cat((F.pixel_shuffle(self.up3(mid), 2), enc3), 1)))
        dec2 = run("dec2", self.dec2, self.reduce2(torch.cat((F.pixel_shuffle(self.up2(dec3), 2), enc2), 1)))
        dec1 = run("dec1", self.dec1, torch.cat((F.pixel_shuffle(self.up1(dec2), 2), enc1), 1))  # (B, 2C, H, W)
        return Restored(self.head(self.head_experts(dec1)) + image)


def _down_and_up(fine: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """What stands before the unshuffling to twice the channels, and before the shuffling back."""
    down = nn.Conv2d(fine, fine // 2, 3, padding=1, bias=False)
    return down, nn.Conv2d(2 * fine, 4 * fine, 3, padding=1, bias=False)


class SparseTransformerBlock(nn.Module):
    """STB: sparse attention, then a feed-forward part of two scales, each around a connection."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attention = SparseAttention(channels, num_heads)
        self.norm2 = ChannelNorm(channels)
        self.hidden = int(channels * 2.66)
        self.feed = MixedScaleFeedForward(channels, self.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x, self.norm1)
        return in_bands(lambda part: part + self.feed(self.norm2(part)), x, channels=2 * self.hidden, halo=4)


class SparseAttention(nn.Module):
    """TKSA: four softmax maps, over the largest 1/2, 2/3, 3/4 and 4/5 of each row, in a learned mixture."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.spread = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.share1, self.share2, self.share3, self.share4 = (nn.Parameter(torch.tensor([0.2])) for _ in range(4))

    def forward(self, x: Tensor, norm: nn.Module | None = None) -> Tensor:
        """(B, C, H, W) to the same; with ``norm``, attention to what it makes of ``x``, plus ``x``."""

        def split(part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            query, key, value = self.spread(self.qkv(part if norm is None else norm(part))).chunk(3, 1)
            return query, key, value

        channels = x.shape[1]
        similarity, value = similarity_and_value(split, x, num_heads=self.num_heads, channels=3 * channels, halo=1)
        mixing = merge_projection(self._sparse(similarity * self.temperature), self.project.weight)
        if norm is None:
            return mix_channels(mixing, value)
        return in_bands(lambda part, of_part: part + mix_channels(mixing, of_part), x, value, channels=channels)

    def _sparse(self, scores: Tensor) -> Tensor:
        """The mixture of the four maps, (B, heads, C', C')."""
        size = scores.shape[-1]
        rank = scores.argsort(-1, descending=True).argsort(-1)
        exponent = (scores - scores.amax(-1, keepdim=True)).exp()
        shares = (self.share1, self.share2, self.share3, self.share4)
        mixture = torch.zeros_like(scores)
        for share, kept in zip(shares, (size // 2, size * 2 // 3, size * 3 // 4, size * 4 // 5), strict=True):
            part = torch.where(rank < kept, exponent, 0)
            mixture = mixture + share * part / part.sum(-1, keepdim=True)
        return mixture


class MixedScaleFeedForward(nn.Module):
    """MSFN: 3x3 and 5x5 kernels exchange halves of their channels."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        both = 2 * hidden
        self.enter = nn.Conv2d(channels, both, 1, bias=False)
        self.spread3 = nn.Conv2d(both, both, 3, padding=1, groups=both, bias=False)
        self.spread5 = nn.Conv2d(both, both, 5, padding=2, groups=both, bias=False)
        self.join3 = nn.Conv2d(both, hidden, 3, padding=1, groups=hidden, bias=False)
        self.join5 = nn.Conv2d(both, hidden, 5, padding=2, groups=hidden, bias=False)
        self.leave = nn.Conv2d(both, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        near, far = F.relu_(self.spread3(x)).chunk(2, 1), F.relu_(self.spread5(x)).chunk(2, 1)
        first = _in_pairs(self.join3, torch.cat((near[0], far[0]), 1))
        second = _in_pairs(self.join5, torch.cat((near[1], far[1]), 1))
        return self.leave(torch.cat((F.relu_(first), F.relu_(second)), 1))


def _in_pairs(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution in groups of two channels, as a depthwise one and a sum, which is several times as fast."""
    side, channels = conv.kernel_size[0], x.shape[1]
    y = F.conv2d(x, conv.weight.reshape(channels, 1, side, side), padding=side // 2, groups=channels)
    return y[:, 0::2] + y[:, 1::2]


class ExpertMixture(nn.Module):
    """MEFC: four steps, in each of which eight operations are weighed by what the whole map looks like."""

    def __init__(self, channels: int, num_steps: int = 4) -> None:
        super().__init__()
        self.num_steps = num_steps
        outputs = num_steps * ExpertStep.NUM_EXPERTS
        self.choose = nn.Sequential(
            nn.Linear(channels, 2 * outputs), nn.ReLU(inplace=True), nn.Linear(2 * outputs, outputs)
        )
        self.enter = nn.Conv2d(channels, channels, 1, bias=False)
        self.steps = nn.ModuleList(ExpertStep(channels) for _ in range(num_steps))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.choose(x.mean((2, 3))).unflatten(1, (self.num_steps, -1)).softmax(-1)
        x = F.relu_(self.enter(x))
        for i, step in enumerate(self.steps):
            x = in_bands(partial(step, weights=weights[:, i]), x, channels=2 * x.shape[1], halo=6)
        return x


class ExpertStep(nn.Module):
    """Separable and dilated convolutions of several sizes and an average, weighed and projected, beside what enters."""

    NUM_EXPERTS = 8

    def __init__(self, channels: int) -> None:
        super().__init__()

        def depthwise(side: int, dilation: int = 1) -> nn.Conv2d:
            padding = dilation * (side // 2)
            return nn.Conv2d(channels, channels, side, 1, padding, dilation, groups=channels, bias=False)

        def pointwise() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 1, bias=False)

        self.experts = nn.ModuleList(
            nn.Sequential(depthwise(side), pointwise(), nn.ReLU(), depthwise(side), pointwise())
            for side in (1, 3, 5, 7)
        )
        self.experts.extend(nn.Sequential(depthwise(side, dilation=2), pointwise()) for side in (3, 5, 7))
        self.join = nn.Conv2d(self.NUM_EXPERTS * channels, channels, 1, bias=False)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        *of_experts, of_average = self.join.weight.chunk(self.NUM_EXPERTS, 1)
        averaged = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        out = F.conv2d(averaged, of_average) * weights[:, -1].view(-1, 1, 1, 1)
        for i, (expert, of_expert) in enumerate(zip(self.experts, of_experts, strict=True)):
            *layers, last = expert.children()
            seen = x
            for layer in layers:
                seen = layer(seen)
            assert isinstance(last, nn.Conv2d)
            # the expert's last convolution and the projection of what it gives become one
            seen = F.conv2d(seen, (of_expert.flatten(1) @ last.weight.flatten(1)).view_as(of_expert))
            out = torch.addcmul(out, seen, weights[:, i].view(-1, 1, 1, 1))
        return F.relu_(F.relu_(out) + x)


def drsformer_mefc(**overrides: Any) -> DRSFormer:
    """With the mixture of experts."""
    return DRSFormer(**overrides)


def drsformer_spa(**overrides: Any) -> DRSFormer:
    """Without it, as for Rain200L and SPA-Data."""
    return DRSFormer(**({"experts": False} | overrides))
