"""MAXIM: two U-Nets one after the other, of MLPs that mix pixels in blocks and on a grid, and gate one another.

Paper: Tu, Talebi, Zhang, Yang, Milanfar, Bovik, Li, "MAXIM: Multi-Axis MLP for Image Processing", CVPR 2022.
Official code: google-research/maxim at 3c82651 (Apache-2.0), for JAX.
Deviations: none in the function. Images are mirrored on the right and at the bottom until both sides are a multiple of
64, where the official evaluation mirrors all four sides. Only the products that mix pixels work on blocks; what works
pixel by pixel stays in rows. Enlargements follow their 1x1 convolution, which is the same and cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model, rename_keys
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["MAXIM", "maxim_2s"]

SCALES = 3  # 1, 1/2 and 1/4
FINE, COARSE = 16, 8  # pixels along a block, and blocks along the grid, at the two fine scales and below


def _resizer_keys() -> KeyMap:
    """The official code numbers its resizers as it makes them: for each U-Net those of the skips, then the others."""
    rules: list[tuple[str, str | None]] = []
    for unet in (1, 2):
        for use, sources in (("to_skip", (0, 1, 2)), ("to_decoder", (2, 1, 0))):
            for target in (2, 1, 0):
                for source in sources:
                    rules.append(
                        (rf"^UpSampleRatio_{len(rules)}/Conv_0/", f"unet{unet}.{use}.{target}.{source}.project/")
                    )
    return tuple(rules)


class MAXIM(Model):
    """Multi-Axis MLP network with two U-Nets.

    ``pyramid`` holds 1/4 and 1/2 of the second U-Net, ``aux`` the images of the first (``first4``, ``first2``,
    ``first1``).

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_groups: Pairs of an MLP block and a convolutional one, per level.
        num_bottlenecks: Blocks of such pairs between encoder and decoder.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *_resizer_keys(),
        *((rf"^stage_{i}_", f"unet{i + 1}/") for i in (0, 1)),
        (r"/input_conv_(\d)/", r".inputs.\1."),
        (r"/input_fuse_sam_(\d)/", r".fuse.\1."),
        (r"/encoder_block_(\d)/", r".encoder.\1."),
        (r"/decoder_block_(\d)/ConvTranspose_0/", r".decoder.\1.up."),
        (r"/decoder_block_(\d)/UNetEncoderBlock_0/", r".decoder.\1."),
        (r"/global_block_(\d)/", r".bottlenecks.\1."),
        (r"/cross_gating_block_(\d)/", r".skips.\1."),
        (r"/supervised_attention_module_(\d)/", r".attend.\1."),
        (r"/output_conv_(\d)/", r".heads.\1."),
        (r"\.attend\.(\d)\.Conv_0/", r".attend.\1.features/"),
        (r"\.attend\.(\d)\.Conv_1/", r".attend.\1.image/"),
        (r"\.attend\.(\d)\.Conv_2/", r".attend.\1.weigh/"),
        (r"\.(encoder|decoder)\.(\d)\.Conv_0/", r".\1.\2.enter/"),
        (r"\.encoder\.(\d)\.Conv_1/", r".encoder.\1.down/"),
        (r"cross_gating_block/", "cross."),
        (r"\.input_proj/", ".enter/"),
        (r"\.SplitHeadMultiAxisGmlpLayer_(\d)/", r".body.groups.\1.mlp."),
        (r"\.channel_attention_block_1_?(\d)/", r".body.groups.\1.conv."),
        (r"GridGmlpLayer/", "grid."),
        (r"BlockGmlpLayer/", "block."),
        (r"(Grid|Block)GatingUnit/Dense_0/", "mix/"),
        (r"(Grid|Block)GatingUnit/intermediate_layernorm/", "mix_norm/"),
        (r"SplitHeadMultiAxisGating_([xy])/", r"gate_\1."),
        (r"\.ConvTranspose_0/", ".up/"),
        (r"\.(fuse\.\d|skips\.\d|cross)\.Conv_0/", r".\1.enter_x/"),
        (r"\.(fuse\.\d|skips\.\d|cross)\.Conv_1/", r".\1.enter_y/"),
        (r"\.gate_([xy])\.Dense_0/", r".gate_\1.grid/"),
        (r"\.gate_([xy])\.Dense_1/", r".gate_\1.block/"),
        (r"channel_mixing/Dense_0/", "widen/"),
        (r"channel_mixing/Dense_1/", "narrow/"),
        (r"channel_attention/Conv_0/", "squeeze/"),
        (r"channel_attention/Conv_1/", "excite/"),
        (r"LayerNorm(_in)?/", "norm/"),
        (r"LayerNorm_([xy])/", r"norm_\1/"),
        (r"[./](kernel|scale)$", ".weight"),
        (r"/", "."),
    )
    contract = ImageContract(multiple_of=64)

    def __init__(self, channels: int = 32, num_groups: int = 2, num_bottlenecks: int = 2) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(SCALES)]
        deepest = 2**SCALES
        self.stages = (
            *(Stage(f"enc{i + 1}", widths[i], 2**i) for i in range(SCALES)),
            Stage("enc4", widths[-1], deepest),
            *(Stage(f"dec{i + 4}", widths[i], 2**i) for i in (2, 1, 0)),
            *(Stage(f"enc{i + 5}", widths[i], 2**i) for i in range(SCALES)),
            Stage("mid", widths[-1], deepest),
            *(Stage(f"dec{i + 1}", widths[i], 2**i) for i in (2, 1, 0)),
        )
        self.unet1 = FirstUNet(widths, num_groups, num_bottlenecks)
        self.unet2 = SecondUNet(widths, num_groups, num_bottlenecks)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        images = [image, image[..., 1::2, 1::2], image[..., 2::4, 2::4]]
        encoded, decoded = self.unet1(images, run)
        attended, first = zip(*(self.unet1.attend[i](decoded[i], images[i]) for i in range(SCALES)), strict=True)
        decoded = self.unet2(images, run, attended, [a + b for a, b in zip(encoded, decoded, strict=True)])
        full, half, quarter = (
            image + head(x) for image, head, x in zip(images, self.unet2.heads, decoded, strict=True)
        )
        return Restored(full, (quarter, half), {f"first{2**i}": first[i] for i in range(SCALES)})

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of an official checkpoint, keyed by paths joined with "/" and laid out as Flax does.

        Heads of the smaller images are zero where they are missing, as in exported graphs, which have no use for them.
        """
        if not any("/" in key for key in state):
            return rename_keys(state, cls.KEY_MAP)
        turned: dict[str, Tensor] = {}  # kernels of Flax are (down, across, in, out) or (in, out)
        for key, tensor in state.items():
            if tensor.ndim == 2:
                tensor = tensor.T
            elif tensor.ndim == 4 and "ConvTranspose" in key:
                # Flax moves the kernel as a convolution does, not as its gradient
                tensor = tensor.flip(0, 1).permute(2, 3, 0, 1)
            elif tensor.ndim == 4:
                tensor = tensor.permute(3, 2, 0, 1)
            turned[key] = tensor
        renamed = rename_keys(turned, cls.KEY_MAP)
        full = renamed.get("unet2.heads.0.weight")
        if full is not None and full.ndim == 4:
            for i in range(1, SCALES):
                outputs, inputs = full.shape[:2]
                renamed.setdefault(f"unet2.heads.{i}.weight", full.new_zeros(outputs, inputs * 2**i, 3, 3))
                renamed.setdefault(f"unet2.heads.{i}.bias", full.new_zeros(outputs))
        return renamed


def rows(x: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H, W, C); a view."""
    return x.permute(0, 2, 3, 1)


def maps(x: Tensor) -> Tensor:
    """(B, H, W, C) as (B, C, H, W); a view."""
    return x.permute(0, 3, 1, 2)


def block_side(level: int) -> int:
    """Pixels along a block at a level, and blocks along its grid."""
    return FINE if level < 2 else COARSE


class UNet(nn.Module):
    """What both U-Nets have: three levels, bottlenecks, gated skips that see all levels.

    Args:
        widths: C of the levels, fine to coarse.
        num_groups: Groups per level.
        num_bottlenecks: Bottlenecks.
        names: Names of the stages: three of the encoder, the bottlenecks', three of the decoder, fine to coarse.
        crossed: The encoder is gated by features of an earlier U-Net.
    """

    def __init__(
        self, widths: Sequence[int], num_groups: int, num_bottlenecks: int, names: Sequence[str], *, crossed: bool
    ) -> None:
        super().__init__()
        self.names = names
        deep = widths[-1]
        self.inputs = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for width in widths)
        self.encoder = nn.ModuleList(
            EncoderLevel(widths[max(i - 1, 0)] + width, width, num_groups, block_side(i), crossed=crossed)
            for i, width in enumerate(widths)
        )
        self.bottlenecks = nn.Sequential(*(Bottleneck(deep, num_groups) for _ in range(num_bottlenecks)))
        self.to_skip = nn.ModuleList(
            Resizers(Resizer(source, width, j - i) for j, source in enumerate(widths)) for i, width in enumerate(widths)
        )
        self.skips = nn.ModuleList(
            CrossGate(width, SCALES * width, widths[min(i + 1, SCALES - 1)], block_side(i))
            for i, width in enumerate(widths)
        )
        self.to_decoder = nn.ModuleList(
            Resizers(Resizer(source, width, j - i) for j, source in enumerate(widths)) for i, width in enumerate(widths)
        )
        self.decoder = nn.ModuleList(
            DecoderLevel(widths[min(i + 1, SCALES - 1)], width, num_groups, block_side(i))
            for i, width in enumerate(widths)
        )

    def run_levels(
        self, embedded: Sequence[Tensor], run: Runner, gating: Sequence[Tensor] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Features of encoder and decoder, fine to coarse.

        Args:
            embedded: Features of the image at each scale, (B, C, H, W).
            run: Runs the stages.
            gating: Features of the earlier U-Net at each scale.
        """
        encoded: list[Tensor] = []
        x = embedded[0]
        for i, level in enumerate(self.encoder):
            beside = None if gating is None else gating[i]
            x, features = level(torch.cat((x, embedded[i]), 1), self.names[i], run, beside)
            encoded.append(features)
        x = deepest = run(self.names[SCALES], self.bottlenecks, x)
        skips: list[Tensor] = [x] * SCALES
        for i in reversed(range(SCALES)):
            skips[i], deepest = self.skips[i](torch.cat(self.to_skip[i](encoded), 1), deepest)
        decoded: list[Tensor] = [x] * SCALES
        for i in reversed(range(SCALES)):
            beside = torch.cat(self.to_decoder[i](skips)[::-1], 1)  # the official order is coarse to fine here
            decoded[i] = x = self.decoder[i](x, beside, self.names[SCALES + 1 + i], run)
        return encoded, decoded


class FirstUNet(UNet):
    """The first U-Net, and the attention that hands its features and images on."""

    def __init__(self, widths: Sequence[int], num_groups: int, num_bottlenecks: int) -> None:
        names = ("enc1", "enc2", "enc3", "enc4", "dec4", "dec5", "dec6")
        super().__init__(widths, num_groups, num_bottlenecks, names, crossed=False)
        self.attend = nn.ModuleList(SupervisedAttention(width) for width in widths)

    def forward(self, images: Sequence[Tensor], run: Runner) -> tuple[list[Tensor], list[Tensor]]:
        """Features of encoder and decoder, fine to coarse, for (B, 3, H, W) images of three scales."""
        return self.run_levels([embed(x) for embed, x in zip(self.inputs, images, strict=True)], run)


class SecondUNet(UNet):
    """The second U-Net, whose inputs and encoder are gated by features of the first."""

    def __init__(self, widths: Sequence[int], num_groups: int, num_bottlenecks: int) -> None:
        names = ("enc5", "enc6", "enc7", "mid", "dec1", "dec2", "dec3")
        super().__init__(widths, num_groups, num_bottlenecks, names, crossed=True)
        self.fuse = nn.ModuleList(CrossGate(width, width, None, block_side(i)) for i, width in enumerate(widths))
        self.heads = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in widths)

    def forward(
        self, images: Sequence[Tensor], run: Runner, attended: Sequence[Tensor], gating: Sequence[Tensor]
    ) -> list[Tensor]:
        """Features of the decoder, fine to coarse."""
        embedded = [
            fuse(embed(x), y)[0] for fuse, embed, x, y in zip(self.fuse, self.inputs, images, attended, strict=True)
        ]
        return self.run_levels(embedded, run, gating)[1]


class Resizer(nn.Module):
    """A 1x1 convolution and a bilinear change of size; smoothed before where it shrinks.

    Args:
        channels: In.
        out_channels: Out.
        doublings: How often the size doubles; negative where it is halved.
    """

    def __init__(self, channels: int, out_channels: int, doublings: int) -> None:
        super().__init__()
        self.doublings = doublings
        self.project = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels, H', W')."""
        height, width = x.shape[2:]
        if self.doublings > 0:  # both are linear, and the weights of the enlargement sum to 1
            scale = 2**self.doublings
            return F.interpolate(self.project(x), (height * scale, width * scale), mode="bilinear")
        if self.doublings < 0:
            size = (height >> -self.doublings, width >> -self.doublings)
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        out: Tensor = self.project(x)
        return out


class Resizers(nn.ModuleList):
    """All scales at the size of one."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C, H, W) each, fine to coarse."""
        return [resize(x) for resize, x in zip(self, maps, strict=True)]


class Group(nn.Module):
    """An MLP block and a channel attention block.

    Args:
        channels: C.
        side: Pixels along a block, and blocks along the grid.
        convolve: The channel attention block has 3x3 convolutions instead of an MLP.
    """

    def __init__(self, channels: int, side: int, *, convolve: bool) -> None:
        super().__init__()
        self.mlp = MultiAxisMlp(channels, side)
        self.conv = ConvAttention(channels) if convolve else MlpAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        out: Tensor = self.conv(self.mlp(x))
        return out


class Body(nn.Module):
    """Groups of an MLP block and a channel attention block, with a connection around all of them.

    Args:
        channels: C.
        num_groups: Groups.
        side: Pixels along a block, and blocks along the grid.
        convolve: The channel attention blocks have 3x3 convolutions instead of an MLP.
    """

    def __init__(self, channels: int, num_groups: int, side: int, *, convolve: bool) -> None:
        super().__init__()
        self.groups = nn.Sequential(*(Group(channels, side, convolve=convolve) for _ in range(num_groups)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + maps(self.groups(rows(x)))


class EncoderLevel(nn.Module):
    """One level of an encoder: entry, body, gating by an earlier U-Net where there is one, halving."""

    def __init__(self, channels: int, out_channels: int, num_groups: int, side: int, *, crossed: bool) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, out_channels, 1)
        self.body = Body(out_channels, num_groups, side, convolve=True)
        self.cross = CrossGate(out_channels, out_channels, None, side) if crossed else None
        self.down = nn.Conv2d(out_channels, out_channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor, name: str, run: Runner, gating: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features of half the size for the next level, and those of this one."""
        x = run(name, self.body, self.enter(x))
        if self.cross is not None:
            x, _ = self.cross(x, gating)
        return self.down(x), x


class DecoderLevel(nn.Module):
    """One level of a decoder: doubling, entry beside the skips, body."""

    def __init__(self, channels: int, out_channels: int, num_groups: int, side: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, out_channels, 2, stride=2)
        self.enter = nn.Conv2d((1 + SCALES) * out_channels, out_channels, 1)
        self.body = Body(out_channels, num_groups, side, convolve=True)

    def forward(self, x: Tensor, beside: Tensor, name: str, run: Runner) -> Tensor:
        """Features of twice the size of ``x``, which is that of ``beside``."""
        return run(name, self.body, self.enter(torch.cat((self.up(x), beside), 1)))


class Bottleneck(nn.Module):
    """Entry and body at the coarsest size."""

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.body = Body(channels, num_groups, COARSE, convolve=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        out: Tensor = self.body(self.enter(x))
        return out


def activated_halves(dense: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second half of the channels of ``gelu(dense(x))``, (B, H, W, C) each.

    They are computed one after the other: the halves of a whole would lie apart in memory, and all that follows
    would copy them first.
    """
    half = dense.out_features // 2
    first = F.linear(x, dense.weight[:half], dense.bias[:half])
    second = F.linear(x, dense.weight[half:], dense.bias[half:])
    return F.gelu(first, approximate="tanh"), F.gelu(second, approximate="tanh")


def mix_grid(x: Tensor, dense: nn.Linear) -> Tensor:
    """Mix pixels that lie at the same place of their cells, in a grid of N cells.

    Args:
        x: (B, H, W, C).
        dense: From N to N; its bias is per cell.
    """
    side = int(dense.in_features**0.5)
    batch, height, width, channels = x.shape
    high, wide = height // side, width // side
    cells = x.view(batch, side, high, side, wide, channels).transpose(2, 3).reshape(batch, side * side, -1)
    mixed = torch.baddbmm(dense.bias[:, None], dense.weight.expand(batch, -1, -1), cells)
    return mixed.view(batch, side, side, high, wide, channels).transpose(2, 3).reshape(x.shape)


def mix_blocks(x: Tensor, dense: nn.Linear) -> Tensor:
    """Mix the N pixels of every block.

    Args:
        x: (B, H, W, C).
        dense: From N to N; its bias is per pixel of a block.
    """
    side = int(dense.in_features**0.5)
    batch, height, width, channels = x.shape
    down, across = height // side, width // side
    blocks = x.view(batch, down, side, across, side, channels).transpose(2, 3).reshape(-1, side * side, channels)
    mixed = torch.baddbmm(dense.bias[:, None], dense.weight.expand(len(blocks), -1, -1), blocks)
    return mixed.view(batch, down, across, side, side, channels).transpose(2, 3).reshape(x.shape)


class GatedMlp(nn.Module):
    """A gMLP: one half of the channels, mixed over pixels, weighs the other.

    Args:
        channels: C.
        side: Side of the grid or the block.
        grid: Mix over a grid, not in blocks.
    """

    def __init__(self, channels: int, side: int, *, grid: bool) -> None:
        super().__init__()
        self.on_grid = grid
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.in_project = nn.Linear(channels, 2 * channels)
        self.mix_norm = nn.LayerNorm(channels, eps=1e-6)
        self.mix = nn.Linear(side * side, side * side)
        self.out_project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        u, v = activated_halves(self.in_project, self.norm(x))
        v = (mix_grid if self.on_grid else mix_blocks)(self.mix_norm(v), self.mix)
        out: Tensor = x + self.out_project(torch.addcmul(u, u, v))
        return out


class MultiAxisMlp(nn.Module):
    """The multi-axis gated MLP: a gMLP on a grid and one in blocks, on half of the channels each.

    Args:
        channels: C.
        side: Pixels along a block, and blocks along the grid.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.in_project = nn.Linear(channels, 2 * channels)
        self.grid = GatedMlp(channels, side, grid=True)
        self.block = GatedMlp(channels, side, grid=False)
        self.out_project = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        u, v = activated_halves(self.in_project, self.norm(x))
        out: Tensor = x + self.out_project(torch.cat((self.grid(u), self.block(v)), 3))
        return out


class ChannelAttention(nn.Module):
    """Squeeze and excitation of (B, H, W, C) maps."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def weigh(self, x: Tensor) -> Tensor:
        """Weights of the channels, (B, 1, 1, C)."""
        mean = maps(x.mean((1, 2), keepdim=True))
        return rows(self.excite(F.relu(self.squeeze(mean))).sigmoid())


class ConvAttention(ChannelAttention):
    """Two 3x3 convolutions and channel attention."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        y = rows(self.conv2(F.leaky_relu(self.conv1(maps(self.norm(x))), 0.2)))
        return torch.addcmul(x, y, self.weigh(y))


class MlpAttention(ChannelAttention):
    """An MLP per pixel and channel attention."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.widen = nn.Linear(channels, channels)
        self.narrow = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        y = self.narrow(F.gelu(self.widen(self.norm(x)), approximate="tanh"))
        return torch.addcmul(x, y, self.weigh(y))


class GatingWeights(nn.Module):
    """Weights for another map: one half mixed on a grid, the other in blocks."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.in_project = nn.Linear(channels, 2 * channels)
        self.grid = nn.Linear(side * side, side * side)
        self.block = nn.Linear(side * side, side * side)
        nn.init.ones_(self.grid.bias)
        nn.init.ones_(self.block.bias)
        self.out_project = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        u, v = activated_halves(self.in_project, self.norm(x))
        out: Tensor = self.out_project(torch.cat((mix_grid(u, self.grid), mix_blocks(v, self.block)), 3))
        return out


class CrossGate(nn.Module):
    """Two maps that weigh one another; the first also takes the second up.

    Args:
        channels: C of both results.
        in_channels: C of the first map.
        up_channels: C of the second where it has half the size; ``None`` where it has the same size and C channels.
        side: Pixels along a block, and blocks along the grid.
    """

    def __init__(self, channels: int, in_channels: int, up_channels: int | None, side: int) -> None:
        super().__init__()
        self.up = nn.Identity() if up_channels is None else nn.ConvTranspose2d(up_channels, channels, 2, stride=2)
        self.enter_x = nn.Conv2d(in_channels, channels, 1)
        self.enter_y = nn.Conv2d(channels, channels, 1)
        self.norm_x = nn.LayerNorm(channels, eps=1e-6)
        self.in_project_x = nn.Linear(channels, channels)
        self.gate_x = GatingWeights(channels, side)
        self.norm_y = nn.LayerNorm(channels, eps=1e-6)
        self.in_project_y = nn.Linear(channels, channels)
        self.gate_y = GatingWeights(channels, side)
        self.out_project_y = nn.Linear(channels, channels)
        self.out_project_x = nn.Linear(channels, channels)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Both are (B, C, H, W), as are the results."""
        x, y = rows(self.enter_x(x)), rows(self.enter_y(self.up(y)))
        inner_x = F.gelu(self.in_project_x(self.norm_x(x)), approximate="tanh")
        inner_y = F.gelu(self.in_project_y(self.norm_y(y)), approximate="tanh")
        y = y + self.out_project_y(inner_y * self.gate_x(inner_x))
        x = x + self.out_project_x(inner_x * self.gate_y(inner_y)) + y
        return maps(x), maps(y)


class SupervisedAttention(nn.Module):
    """An image from features, and features weighed by what that image looks like."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, channels, 3, padding=1)
        self.image = nn.Conv2d(channels, 3, 3, padding=1)
        self.weigh = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features, (B, C, H, W), and an image, (B, 3, H, W)."""
        restored = self.image(x) + image
        return torch.addcmul(x, self.features(x), self.weigh(restored).sigmoid()), restored


def maxim_2s(**overrides: Any) -> MAXIM:
    """MAXIM-2S: 32 channels, two U-Nets."""
    return MAXIM(**overrides)
