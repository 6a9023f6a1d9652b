"""DCMPNet: DehazeFormer's transformer, told of a U-Net's features and of a depth map that it estimates itself.

Paper: Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing",
CVPR 2024.
Official code: zhoushen1/DCMPNet at e21e2a0 (MIT).
Deviations: paper and code differ, so there are two networks.

``dcmpnet-official`` is the code. Aggregation weighs each level with one number; the aggregate joins the decoder before
an enlargement; the merge has two different weights; U-Net features enter the decoder, too. Layers without an effect
are kept for its checkpoints (``unused``).

``dcmpnet-paper`` is the text: a weight per channel (Eq. 6), one weight for both inputs of the modulation fusion (Eq.
7), aligned features of all levels in the decoder, attention in every LEGM, also those of the decoder, and a switch for
each row of Table 2. Where the text is silent (widths, heads, how many blocks of a level attend, the residual around the
network), it follows the code. Its depth network is the one that training shares, see ``depth``.

Where it does not follow the text: DE "follows a U-Net structure", but the code has no connections between its two ways,
and the code is followed, so that weights of either stand for one network. What the text leaves open: over what the
softmax of Eq. 7 is taken. Here it is over channels, so that the mean weight is 1 / C and the modulated map is faint
beside the one that is concatenated with it; over the two inputs, as in the code, or times C were tried in small
trainings and made no difference beyond that of seeds.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.bands import in_bands
from unhaze.models.layers.dense_depth import DENSE_BLOCK_KEYS, DenseDepthNetwork, DilatedDenseBlock
from unhaze.models.layers.norms import group_norm
from unhaze.models.layers.stage import Runner, run_block
from unhaze.models.layers.window_transformer import BLOCK_KEYS, SkipMerge, transformer_blocks
from unhaze.types import ImageContract, Restored, Stage

__all__ = [
    "UNET_KEYS",
    "ChannelAggregation",
    "DCMPNet",
    "DCMPNetPaper",
    "DifferencePerceptron",
    "ModulationFusion",
    "UNet",
    "dcmpnet_official",
    "dcmpnet_paper",
]

CONTRACT = ImageContract(value_range=(-1.0, 1.0), multiple_of=4, minimum=32)
NAMES = ("enc1", "enc2", "mid", "dec2", "dec1")
UNET_KEYS: KeyMap = (
    (r"\binc\.conv\.", "enter."),
    (r"\b(down\d)\.mpconv\.1\.conv\.", r"\1."),
    (r"\b(up\d)\.conv\.conv\.", r"\1."),
    (r"\boutc\.", "head."),
)


def stages_of(width: int) -> tuple[Stage, ...]:
    """The five stages of a network whose first level is ``width`` wide."""
    return tuple(Stage(name, width * stride, stride) for name, stride in zip(NAMES, (1, 2, 4, 2, 1), strict=True))


def local_global_levels(
    width: int, num_blocks: tuple[int, int, int, int, int], *, attend: bool = False
) -> tuple[nn.Sequential, ...]:
    """LEGM, for the five stages: the settings of DehazeFormer-S, but for the sizes.

    Heads are as many as in DehazeFormer-S, or the next smaller number that divides the width.

    Args:
        width: C of the first level.
        num_blocks: Blocks of the five stages.
        attend: Whether the last block of every stage has attention, also where DehazeFormer-S has none: in the decoder,
            and in stages of few blocks. P1 (3.2.1) calls the "self-attention block" the main component of each LEGM,
            and has one in each of the five; its code has none in the decoder.
    """
    shares: tuple[float, ...] = (1 / 4, 1 / 2, 3 / 4, 0, 0)
    heads_of = (2, 4, 6, 1, 1)
    if attend:
        heads_of = (2, 4, 6, 4, 2)
        shares = tuple(max(share, 1 / max(blocks, 1)) for share, blocks in zip(shares, num_blocks, strict=True))
    settings = zip(stages_of(width), num_blocks, heads_of, (2, 4, 4, 2, 2), shares, strict=True)
    return tuple(
        transformer_blocks(
            stage.channels,
            blocks,
            max(count for count in range(1, heads + 1) if stage.channels % count == 0),
            mlp_ratio,
            attention_share,
            conv="depthwise",
            network_blocks=sum(num_blocks),
        )
        for stage, blocks, heads, mlp_ratio, attention_share in settings
    )


class DCMPNet(Model):
    """The official code's network; its images are in [-1, 1].

    Args:
        width: C of the first level; the others have 2 C and 4 C.
        num_blocks: Transformer blocks of the five stages.
        unet_width: C of the U-Net's first level.
        depth_channels: Widths of the depth network, see :class:`~unhaze.models.layers.dense_depth.DenseDepthNetwork`.
        depth_growth: Growth of its blocks, and of the one that brings its map to the first level.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *BLOCK_KEYS,
        *DENSE_BLOCK_KEYS,
        *((rf"^Unet1\.{pattern[2:]}", f"unet.{ours}") for pattern, ours in UNET_KEYS if ours),
        (r"^dpn\.conv([1-4])\.", r"depth.down\1."),
        (r"^dpn\.final_conv\.", "depth.head."),
        (r"^dpn\.", "depth."),
        (r"^drdb\.", "depth_features."),
        (r"^d3_conv\.", "adapt1."),
        (r"^d2_conv\.", "adapt2."),
        (r"^d1_conv\.", "adapt3."),
        (r"^(conv11|conv22|conv_fu|ccc)\.", r"unused.\1."),
        (r"^fuse_conv1\.0\.", "unused.fuse_conv1."),
        *((rf"^conv{i}\.", f"join_{name}.") for i, name in enumerate(NAMES, start=1)),
        (r"^conv_d1\.", "join_up2."),
        (r"^conv_d2\.", "join_up1."),
        (r"^ca\.0\.", "aggregate.squeeze."),
        (r"^ca\.2\.", "aggregate.excite."),
        (r"^fuse_conv2\.0\.", "aggregate.to_half."),
        (r"^fuse_conv3\.0\.", "aggregate.to_quarter."),
        (r"^patch_embed\.proj\.", "stem."),
        (r"^patch_merge([12])\.proj\.", r"down\1."),
        (r"^patch_split1\.proj\.0\.", "up2."),
        (r"^patch_split2\.proj\.0\.", "up1."),
        (r"^patch_unembed\.proj\.0\.", "head."),
        *((rf"^legm{i}\.", f"{name}.") for i, name in enumerate(NAMES, start=1)),
        (r"^mfm1\.", "merge2."),
        (r"^mfm2\.", "merge1."),
    )
    contract = CONTRACT
    dead = (r"^unused\.",)

    def __init__(
        self,
        width: int = 24,
        num_blocks: tuple[int, int, int, int, int] = (8, 8, 8, 4, 4),
        unet_width: int = 64,
        depth_channels: tuple[int, int, int, int] = (24, 48, 96, 128),
        depth_growth: int = 32,
    ) -> None:
        super().__init__()
        c1, c2, c3 = width, 2 * width, 4 * width
        self.stages = stages_of(width)
        self.enc1, self.enc2, self.mid, self.dec2, self.dec1 = local_global_levels(width, num_blocks)
        self.unet = UNet(unet_width)
        self.adapt1, self.adapt2, self.adapt3 = adaptation(width, unet_width)
        self.depth = DenseDepthNetwork(depth_channels, depth_growth)
        self.depth_features = DilatedDenseBlock(1, depth_growth)
        self.stem = nn.Conv2d(3, c1, 3, padding=1, padding_mode="reflect")
        self.join_enc1 = nn.Conv2d(2 * c1 + 1, c1, 1)
        self.down1 = nn.Conv2d(c1, c2, 2, stride=2)
        self.join_enc2 = nn.Conv2d(2 * c2, c2, 1)
        self.down2 = nn.Conv2d(c2, c3, 2, stride=2)
        self.join_mid = nn.Conv2d(2 * c3, c3, 1)
        self.aggregate = ScalarAggregation(width)
        self.join_up2 = nn.Conv2d(2 * c3, c3, 1)
        self.up2 = nn.Conv2d(c3, 4 * c2, 1)
        self.skip2 = nn.Conv2d(c2, c2, 1)
        self.merge2 = SkipMerge(c2)
        self.join_dec2 = nn.Conv2d(2 * c2, c2, 1)
        self.join_up1 = nn.Conv2d(2 * c2, c2, 1)
        self.up1 = nn.Conv2d(c2, 4 * c1, 1)
        self.skip1 = nn.Conv2d(c1, c1, 1)
        self.merge1 = SkipMerge(c1)
        self.join_dec1 = nn.Conv2d(2 * c1, c1, 1)
        self.head = nn.Conv2d(c1, 3, 3, padding=1, padding_mode="reflect")
        self.unused = nn.ModuleDict(
            {
                "conv11": nn.Conv2d(1, 1, 3),
                "conv22": nn.Conv2d(1, 1, 3),
                "conv_fu": nn.Conv2d(c1 + 1, c1, 1),
                "ccc": nn.Conv2d(4, 3, 3),
                "fuse_conv1": nn.Conv2d(c1 + c2 + c3, c1, 3),
            }
        )

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [-1, 1].

        ``aux``: ``depth``, and the U-Net's features after adaptation, ``unet1`` (1/1) to ``unet3`` (1/4).
        """
        full, half, quarter = self.unet(image)
        u1, u2, u3 = self.adapt1(full), self.adapt2(half), self.adapt3(quarter)
        depth = self.depth(image)
        x = self.join_enc1(torch.cat((self.stem(image), u1, self.depth_features(depth)), 1))
        enc1 = run("enc1", self.enc1, x)  # (B, C, H, W)
        enc2 = run("enc2", self.enc2, self.join_enc2(torch.cat((self.down1(enc1), u2), 1)))  # (B, 2C, H/2, W/2)
        deep = self.down2(enc2)
        mid = run("mid", self.mid, self.join_mid(torch.cat((deep, u3), 1)))  # (B, 4C, H/4, W/4)
        of_half, of_quarter = self.aggregate(enc1, enc2, mid)
        # the official code goes on with the input of ``mid``; its output acts through the aggregation alone
        x = F.pixel_shuffle(self.up2(self.join_up2(torch.cat((of_quarter, deep), 1))), 2)
        x = self.join_dec2(torch.cat((self.merge2(x, self.skip2(enc2)), u2), 1))
        x = run("dec2", self.dec2, x)
        x = F.pixel_shuffle(self.up1(self.join_up1(torch.cat((of_half, x), 1))), 2)
        x = self.join_dec1(torch.cat((self.merge1(x, self.skip1(enc1)), u1), 1))
        restored = self.head(run("dec1", self.dec1, x)) + image
        return Restored(restored, aux={"depth": depth, "unet1": u1, "unet2": u2, "unet3": u3})


def adaptation(width: int, unet_width: int) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    """Projections that bring the U-Net's three maps to the widths of the levels they join."""
    return nn.Conv2d(3, width, 1), nn.Conv2d(unet_width, 2 * width, 1), nn.Conv2d(2 * unet_width, 4 * width, 1)


def hidden_width(width: int) -> int:
    """Width of the layers that weigh the levels; 128 at the published width of 24."""
    return 16 * width // 3


class ScalarAggregation(nn.Module):
    """MSAAM of the official code: each level times one number, all brought to one size, then to two sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        levels, hidden = 7 * width, hidden_width(width)
        self.squeeze = nn.Conv2d(levels, hidden, 1)
        self.excite = nn.Conv2d(hidden, 3, 1)
        self.to_half = nn.Conv2d(levels, 2 * width, 3, stride=2, padding=1)
        self.to_quarter = nn.Conv2d(levels, 4 * width, 5, stride=4, padding=1)

    def forward(self, full: Tensor, half: Tensor, quarter: Tensor) -> tuple[Tensor, Tensor]:
        maps = (full, half, quarter)
        means = torch.cat([x.mean((2, 3), keepdim=True) for x in maps], 1)
        shares = self.excite(F.relu_(self.squeeze(means))).split(1, 1)
        weighed = [x * share for x, share in zip(maps, shares, strict=True)]
        enlarged = [weighed[0]] + [F.interpolate(weighed[i], scale_factor=2**i) for i in (1, 2)]
        joined = torch.cat(enlarged, 1)
        half, quarter = self.to_half(joined), self.to_quarter(joined)
        return F.relu_(group_norm(half, half.shape[1])), F.relu_(group_norm(quarter, quarter.shape[1]))


class UNet(nn.Module):
    """A U-Net with bilinear enlargement; returns three of its maps.

    Args:
        width: C of the first level; the deepest has 8 C.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        c1, c2, c3, c4 = width, 2 * width, 4 * width, 8 * width
        self.enter = DoubleConv(3, c1)
        self.down1 = DoubleConv(c1, c2)
        self.down2 = DoubleConv(c2, c3)
        self.down3 = DoubleConv(c3, c4)
        self.down4 = DoubleConv(c4, c4)
        self.up1 = DoubleConv(2 * c4, c3)
        self.up2 = DoubleConv(2 * c3, c2)
        self.up3 = DoubleConv(2 * c2, c1)
        self.up4 = DoubleConv(2 * c1, c1)
        self.head = nn.Conv2d(c1, 3, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of 3 channels at 1/1, C at 1/2 and 2 C at 1/4, of a (B, 3, H, W) image in [-1, 1]."""
        x1 = self.enter(image)
        x2 = self.down1(F.max_pool2d(x1, 2))
        x3 = self.down2(F.max_pool2d(x2, 2))
        x4 = self.down3(F.max_pool2d(x3, 2))
        x5 = self.down4(F.max_pool2d(x4, 2))
        quarter = self.up2(_beside(x3, self.up1(_beside(x4, x5))))
        half = self.up3(_beside(x2, quarter))
        return self.head(self.up4(_beside(x1, half))), half, quarter


class DoubleConv(nn.Sequential):
    """Twice: a convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
        self.widest = max(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        if self.training:  # statistics of a batch are not those of a band
            return super().forward(x)
        return in_bands(super().forward, x, channels=self.widest, halo=2)


def _beside(skip: Tensor, x: Tensor) -> Tensor:
    """``skip`` and an enlarged ``x``; where halving dropped a row or column, zeros stand in for it."""
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    tall, wide = (a - b for a, b in zip(skip.shape[2:], x.shape[2:], strict=True))
    if tall or wide:
        x = F.pad(x, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
    return torch.cat((skip, x), 1)


class DCMPNetPaper(Model):
    """The network of the paper's text, its Phi; images are in [-1, 1].

    The switches are the rows of Table 2; without any it is the Baseline. The difference perception of the last row is a
    matter of training alone. A level of the decoder is the paper's "LEGM with FMI" (feature modulation implantation).

    Args:
        legm: LEGM, local feature-embedded global feature extraction module: transformer levels, F_legm; otherwise their
            inputs are summed.
        mfm: MFM, modulation fusion module (MFMM in P1, 4.3), in the decoder; otherwise a sum.
        msaam: MSAAM, multi-scale aggregation attention module, of all levels; otherwise each level of the decoder gets
            its own level of the encoder.
        de: DE, a depth network, whose map M_u~* enters the first level through a DRDB.
        width, num_blocks, unet_width, depth_channels, depth_growth: Sizes, see :class:`DCMPNet`.
    """

    contract = CONTRACT

    def __init__(
        self,
        legm: bool = True,
        mfm: bool = True,
        msaam: bool = True,
        de: bool = True,
        width: int = 24,
        num_blocks: tuple[int, int, int, int, int] = (8, 8, 8, 4, 4),
        unet_width: int = 64,
        depth_channels: tuple[int, int, int, int] = (24, 48, 96, 128),
        depth_growth: int = 32,
    ) -> None:
        super().__init__()
        c1, c2, c3 = width, 2 * width, 4 * width
        self.stages = stages_of(width)
        self.unet = UNet(unet_width)
        self.adapt1, self.adapt2, self.adapt3 = adaptation(width, unet_width)
        self.depth = DenseDepthNetwork(depth_channels, depth_growth) if de else None
        self.depth_features = DilatedDenseBlock(1, depth_growth) if de else None
        self.stem = nn.Conv2d(3, c1, 3, padding=1, padding_mode="reflect")
        self.down1 = nn.Conv2d(c1, c2, 2, stride=2)
        self.down2 = nn.Conv2d(c2, c3, 2, stride=2)
        empty = tuple(nn.Sequential() for _ in NAMES)
        levels = local_global_levels(width, num_blocks, attend=True) if legm else empty
        self.enc1, self.enc2, self.mid, self.dec2, self.dec1 = levels
        self.join_enc1 = Join((c1, c1, 1) if de else (c1, c1), c1, learned=legm)
        self.join_enc2 = Join((c2, c2), c2, learned=legm)
        self.join_mid = Join((c3, c3), c3, learned=legm)
        self.aggregate = ChannelAggregation(width) if msaam else SkipsOnly(width)
        self.up2 = nn.Conv2d(c3, 4 * c2, 3, padding=1, padding_mode="reflect")
        self.merge2 = ModulationFusion(c2, modulated=mfm)
        self.up1 = nn.Conv2d(c2, 4 * c1, 3, padding=1, padding_mode="reflect")
        self.merge1 = ModulationFusion(c1, modulated=mfm)
        self.head = nn.Conv2d(c1, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [-1, 1].

        ``aux``: ``depth``, where there is a depth network, and the U-Net's features after adaptation, ``unet1`` (1/1)
        to ``unet3`` (1/4).
        """
        full, half, quarter = self.unet(image)
        u1, u2, u3 = self.adapt1(full), self.adapt2(half), self.adapt3(quarter)
        aux = {"unet1": u1, "unet2": u2, "unet3": u3}
        inputs = [self.stem(image), u1]
        if self.depth is not None and self.depth_features is not None:
            aux["depth"] = self.depth(image)
            inputs.append(self.depth_features(aux["depth"]))
        enc1 = run("enc1", self.enc1, self.join_enc1(inputs))  # (B, C, H, W)
        enc2 = run("enc2", self.enc2, self.join_enc2([self.down1(enc1), u2]))  # (B, 2C, H/2, W/2)
        mid = run("mid", self.mid, self.join_mid([self.down2(enc2), u3]))  # (B, 4C, H/4, W/4)
        of_half, of_full, mid = self.aggregate(enc1, enc2, mid)
        x = F.pixel_shuffle(self.up2(mid), 2)
        dec2 = run("dec2", self.dec2, self.merge2(of_half, x))
        x = F.pixel_shuffle(self.up1(dec2), 2)
        dec1 = run("dec1", self.dec1, self.merge1(of_full, x))
        return Restored(self.head(dec1) + image, aux=aux)


class Join(nn.Module):
    """Several maps to one: concatenated and projected, or summed."""

    def __init__(self, channels: tuple[int, ...], out_channels: int, *, learned: bool) -> None:
        super().__init__()
        self.project = nn.Conv2d(sum(channels), out_channels, 1) if learned else None

    def forward(self, maps: list[Tensor]) -> Tensor:
        if self.project is not None:
            return self.project(torch.cat(maps, 1))
        total = maps[0]
        for x in maps[1:]:
            total = total + x
        return total


class ChannelAggregation(nn.Module):
    """MSAAM of the paper (Eq. 6): a weight per channel, levels aligned with the first, one map per decoder level.

    Weights A_legm are of the means of all three F_legm (GAP, Concat, MLP and split).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        levels, hidden = 7 * width, hidden_width(width)
        self.mlp = nn.Sequential(nn.Conv2d(levels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, levels, 1))
        self.align2 = nn.Conv2d(2 * width, width, 1)
        self.align3 = nn.Conv2d(4 * width, width, 1)
        self.to_half = nn.Conv2d(3 * width, 2 * width, 3, stride=2, padding=1)
        self.to_full = nn.Conv2d(3 * width, width, 3, padding=1)

    def forward(self, full: Tensor, half: Tensor, quarter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features for the decoder at 1/2 and 1/1, and the weighed ones at 1/4."""
        maps = (full, half, quarter)
        means = torch.cat([x.mean((2, 3), keepdim=True) for x in maps], 1)
        weights = self.mlp(means).split([x.shape[1] for x in maps], 1)
        full, half, quarter = (x * weight for x, weight in zip(maps, weights, strict=True))  # Eq. 6
        aligned = [
            full,
            F.interpolate(self.align2(half), scale_factor=2),
            F.interpolate(self.align3(quarter), scale_factor=4),
        ]
        joined = torch.cat(aligned, 1)
        return self.to_half(joined), self.to_full(joined), quarter


class SkipsOnly(nn.Module):
    """What stands in for the aggregation: a projection of the same level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_half = nn.Conv2d(2 * width, 2 * width, 1)
        self.of_full = nn.Conv2d(width, width, 1)

    def forward(self, full: Tensor, half: Tensor, quarter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.of_half(half), self.of_full(full), quarter


class ModulationFusion(nn.Module):
    """MFM (Eq. 7): F_legm and F_rc times one weight A_rc, a softmax over channels, then joined with the first.

    A_rc is of the means of the sum (GAP, MLP and Softmax).
    """

    def __init__(self, channels: int, *, modulated: bool, reduction: int = 8) -> None:
        super().__init__()
        self.modulated = modulated
        if modulated:
            hidden = max(channels // reduction, 4)
            self.mlp = nn.Sequential(
                nn.Conv2d(channels, hidden, 1, bias=False),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden, channels, 1, bias=False),
            )
            self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, aggregated: Tensor, x: Tensor) -> Tensor:
        """Both maps and the result are (B, C, H, W)."""
        total = aggregated + x
        if not self.modulated:
            return total
        weight = self.mlp(total.mean((2, 3), keepdim=True)).softmax(1)
        return self.project(torch.cat((weight * total, aggregated), 1))  # Eq. 7: A F + A F' = A (F + F')


class DifferencePerceptron(nn.Module):
    """DP, difference perceptron: turns a difference into weights that are large where the difference matters.

    The paper's training weighs depth errors by A_d,r, what this makes of R_u*/u = u* - u (Eq. 8 and 9), and errors of
    the restored image by A_e,r, what a second one makes of M_u* - M_u (Eq. 11). It names convolutions, an MLP and a
    softmax, and leaves open over what: here over pixels, times their number, so that the weights have a mean of one and
    a weighted loss keeps the size of the plain one. The official code has no such layers.

    Args:
        channels: C of the difference: 3 for images, 1 for depth maps.
        hidden: Width inside.
    """

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 1, 1),
        )

    def forward(self, difference: Tensor) -> Tensor:
        """Weights with a mean of one per image, (B, 1, H, W), for a difference, (B, C, H, W)."""
        scores = self.layers(difference)
        return scores.flatten(2).softmax(2).view_as(scores) * scores[0].numel()


def dcmpnet_official(**overrides: Any) -> DCMPNet:
    """What the official code does."""
    return DCMPNet(**overrides)


def dcmpnet_paper(**overrides: Any) -> DCMPNetPaper:
    """What the paper says."""
    return DCMPNetPaper(**overrides)
