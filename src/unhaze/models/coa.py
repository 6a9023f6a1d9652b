"""CoA: a small student with five levels and back-projection between them, and the teacher it learns from.

Paper: Ma, Feng, Zhang, Liu, Fan, Liu, "CoA: Towards Real Image Dehazing via Compression-and-Adaptation", CVPR 2025.
Official code: YanZhang-zy/CoA at f94b8c4 (no licence stated).
Deviations: none in the function. The 1x1 convolution of an enlargement runs before it, not after it, which is the same
and cheaper. Sides are mirrored to a multiple of 16, where the official evaluation resizes the picture. Networks start
with fresh weights: the official teacher starts from an encoder trained on ImageNet.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.detail_conv import DETAIL_KEYS, fold_detail_convs
from unhaze.models.layers.msbdn import BackProjection, ResidualBlock
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = [
    "CoAStudent",
    "CoATeacher",
    "coa_deploy_rb1",
    "coa_deploy_rb8",
    "coa_teacher",
    "coa_train_rb1",
    "coa_train_rb8",
]

CLIP = ImageContract(
    multiple_of=16,
    minimum=16,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
DECODER_KEYS: KeyMap = (
    (r"\.(up|down)_convs\.(\d+)\.(conv|deconv)\.", r".\1.\2.0."),
    (r"\.(up|down)_convs\.(\d+)\.act\.", r".\1.\2.1."),
    (r"\.dense_layers\.(\d+)\.conv\.", r".layers.\1."),
    (r"\.conv_1x1\.", ".project."),
    (r"\.conv2d\.", "."),
    (r"^dehaze\.res", "mid."),
    (r"^convd(\d+x)\.", r"up\1."),
    (r"^up16x\.", "up4."),
    (r"^up8x\.", "up3."),
    (r"^up4x\.", "up2."),
    (r"^up2x\.", "up1."),
    (r"^dense_([1-4])\.", r"dec\1."),
    (r"^conv_([1-4])\.", r"dec_dense\1."),
    (r"^fusion_([1-4])\.", r"dec_project\1."),
    (r"^conv_output\.", "head."),
)

BlockMaker = Callable[[int], nn.Module]


class Decoder(Model):
    """What student and teacher have in common: ``mid``, four levels up, and the head.

    Args:
        widths: Width at 1/1, 1/2, 1/4, 1/8 and 1/16.
        mid_blocks: Residual blocks at 1/16.
        level_blocks: Residual blocks at every finer level.
        make_block: A residual block of a given width.
    """

    contract = CLIP

    def __init__(self, widths: Sequence[int], mid_blocks: int, level_blocks: int, make_block: BlockMaker) -> None:
        super().__init__()
        self.mid = nn.Sequential(*(make_block(widths[4]) for _ in range(mid_blocks)))

        def way_up(level: int) -> tuple[nn.Conv2d, nn.Sequential, DenseBlock, BackProjection]:
            width, half = widths[level - 1], widths[level - 1] // 2
            blocks = (make_block(width) for _ in range(level_blocks))
            return (
                nn.Conv2d(widths[level], width, 1),
                nn.Sequential(*blocks),
                DenseBlock(half),
                BackProjection(half, 5 - level, first="down"),
            )

        self.up4, self.dec4, self.dec_dense4, self.dec_project4 = way_up(4)
        self.up3, self.dec3, self.dec_dense3, self.dec_project3 = way_up(3)
        self.up2, self.dec2, self.dec_dense2, self.dec_project2 = way_up(2)
        self.up1, self.dec1, self.dec_dense1, self.dec_project1 = way_up(1)
        self.head = nn.Conv2d(widths[0], 3, 3, padding=1, padding_mode="reflect")

    def decode(self, deepest: Tensor, skips: Sequence[Tensor | None], run: Runner) -> Tensor:
        """The restored image.

        Args:
            deepest: Features at 1/16.
            skips: Features at 1/8, 1/4, 1/2 and 1/1; ``None`` stands for none.
            run: Runs the stages.
        """
        x = run("mid", lambda y: self.mid(2 * y) + y, deepest)
        seen = [x.chunk(2, 1)[0]]
        levels = (
            ("dec4", self.up4, self.dec4, self.dec_project4, self.dec_dense4),
            ("dec3", self.up3, self.dec3, self.dec_project3, self.dec_dense3),
            ("dec2", self.up2, self.dec2, self.dec_project2, self.dec_dense2),
            ("dec1", self.up1, self.dec1, self.dec_project1, self.dec_dense1),
        )
        for (name, up, blocks, project, dense), skip in zip(levels, skips, strict=True):
            enlarged = enlarge(up(x))
            skip = enlarged if skip is None else skip
            known, new = run(name, _plus(blocks, skip), enlarged + skip).chunk(2, 1)
            known = project(known, seen)
            seen.append(known)
            x = torch.cat((known, dense(new)), 1)
        return self.head(x)


class CoAStudent(Decoder):
    """The compressed network; its output is an image, not a residual.

    Args:
        channels: Width at full resolution; it doubles with every level.
        res_blocks: Residual blocks at 1/16.
        detail: Training form, with ``DetailConv``; otherwise the deploy form.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *DETAIL_KEYS,
        *((rf"^conv{i}\.", f"enc_dense{i + 1}.") for i in range(1, 5)),
        *DECODER_KEYS,
        (r"^conv_input\.", "stem."),
        *((rf"^conv{2**i}x\.", f"down{i}.") for i in range(1, 5)),
        *((rf"^fusion{i}\.", f"enc_project{i + 1}.") for i in range(1, 5)),
        *((rf"^dense{i}\.", f"enc{i + 1}.") for i in range(4)),
    )

    def __init__(self, channels: int = 8, res_blocks: int = 1, detail: bool = True) -> None:
        widths = [channels * 2**i for i in range(5)]
        super().__init__(widths, res_blocks, 1, lambda width: ResidualBlock(width, detail=detail))
        self.detail = detail
        self.contract = replace(
            CLIP, tiling=475 + 32 * res_blocks
        )  # measured; each block at 1/16 adds two convolutions
        self.stages = (
            *(Stage(f"enc{i + 1}", widths[i], 2**i) for i in range(4)),
            Stage("mid", widths[4], 16),
            *(Stage(f"dec{i + 1}", widths[i], 2**i) for i in (3, 2, 1, 0)),
        )
        self.stem = nn.Conv2d(3, channels, 11, padding=5, padding_mode="reflect")

        def way_down(level: int) -> tuple[nn.Conv2d, DenseBlock, BackProjection]:
            width, half = widths[level], widths[level] // 2
            return (
                nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1, padding_mode="reflect"),
                DenseBlock(half),
                BackProjection(half, level, first="up"),
            )

        self.enc1 = nn.Sequential(ResidualBlock(widths[0], detail=detail))
        self.down1, self.enc_dense2, self.enc_project2 = way_down(1)
        self.enc2 = nn.Sequential(ResidualBlock(widths[1], detail=detail))
        self.down2, self.enc_dense3, self.enc_project3 = way_down(2)
        self.enc3 = nn.Sequential(ResidualBlock(widths[2], detail=detail))
        self.down3, self.enc_dense4, self.enc_project4 = way_down(3)
        self.enc4 = nn.Sequential(ResidualBlock(widths[3], detail=detail))
        self.down4, self.enc_dense5, self.enc_project5 = way_down(4)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) normalised.

        ``aux`` holds ``feat0`` (1/2) to ``feat3`` (1/16).
        """
        x = self.stem(image)
        seen = [x.chunk(2, 1)[0]]
        x = run("enc1", _around(self.enc1), x)
        levels = [x]
        for name, down, project, dense, blocks in (
            ("enc2", self.down1, self.enc_project2, self.enc_dense2, self.enc2),
            ("enc3", self.down2, self.enc_project3, self.enc_dense3, self.enc3),
            ("enc4", self.down3, self.enc_project4, self.enc_dense4, self.enc4),
            ("mid", self.down4, self.enc_project5, self.enc_dense5, None),  # the decoder runs it
        ):
            known, new = down(x).chunk(2, 1)
            known = project(known, seen)
            seen.append(known)
            x = torch.cat((known, dense(new)), 1)
            if blocks is not None:
                x = run(name, _around(blocks), x)
            levels.append(x)
        features = {f"feat{i}": feature for i, feature in enumerate(levels[1:])}
        return Restored(self.decode(x, levels[3::-1], run), aux=features)

    def folded(self) -> CoAStudent:
        """See :meth:`Model.folded`."""
        network = copy.deepcopy(self)
        fold_detail_convs(network)
        network.detail = False
        return network


class CoATeacher(Decoder):
    """The large network: a Res2Net-101 without its last level, and a wide decoder.

    Args:
        channels: Width of the decoder at full resolution; it doubles with every level.
        res_blocks: Residual blocks at 1/16.
        encoder_blocks: Blocks of the encoder, at 1/4, 1/8 and 1/16.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^encoder\.conv1\.", "encoder.stem."),
        (r"^encoder\.bn1\.", "encoder.stem.7."),
        (r"^CRA([1-4])\.", r"adapt\1."),
        (r"^H([1-4])\.", r"align\1."),
        (r"^adapt1\.", "enter4."),
        (r"^adapt2\.", "enter3."),
        (r"^adapt3\.", "enter2."),
        (r"^adapt4\.", "enter1."),
        (r"^align1\.", "to_feat3."),
        (r"^align2\.", "to_feat2."),
        (r"^align3\.", "to_feat1."),
        (r"^align4\.", "to_feat0."),
        *DECODER_KEYS,
    )

    def __init__(
        self, channels: int = 16, res_blocks: int = 18, encoder_blocks: tuple[int, int, int] = (3, 4, 23)
    ) -> None:
        widths = [channels * 2**i for i in range(5)]
        super().__init__(widths, res_blocks, 3, lambda width: ResidualBlock(width, detail=None))
        self.stages = (
            Stage("mid", widths[4], 16),
            *(Stage(f"dec{i + 1}", widths[i], 2**i) for i in (3, 2, 1, 0)),
        )
        self.encoder = Res2NetEncoder(encoder_blocks)

        def adapters(encoded: int, width: int) -> tuple[nn.Conv2d, nn.Conv2d]:
            return nn.Conv2d(encoded, width, 1), nn.Conv2d(width, width // 2, 1)

        self.enter1, self.to_feat0 = adapters(64, widths[1])
        self.enter2, self.to_feat1 = adapters(256, widths[2])
        self.enter3, self.to_feat2 = adapters(512, widths[3])
        self.enter4, self.to_feat3 = adapters(1024, widths[4])

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) normalised.

        ``aux`` holds ``feat0`` (1/2) to ``feat3`` (1/16).
        """
        half, quarter, eighth, deepest = self.encoder(image)
        half, quarter, eighth, deepest = (
            self.enter1(half),
            self.enter2(quarter),
            self.enter3(eighth),
            self.enter4(deepest),
        )
        features = {
            "feat0": self.to_feat0(half),
            "feat1": self.to_feat1(quarter),
            "feat2": self.to_feat2(eighth),
            "feat3": self.to_feat3(deepest),
        }
        return Restored(self.decode(deepest, (eighth, quarter, half, None), run), aux=features)


def _plus(block: nn.Module, skip: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: block(x) + skip


def _around(block: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: block(x) + x


def enlarge(x: Tensor) -> Tensor:
    """Twice the size: to 2n + 1 by the nearest pixel, and from there, linearly, to 2n."""
    height, width = x.shape[2:]
    x = F.interpolate(x, (2 * height + 1, 2 * width + 1), mode="nearest-exact")
    return F.interpolate(x, (2 * height, 2 * width), mode="bilinear")


class DenseBlock(nn.Module):
    """Four convolutions, each of which sees the outputs of all before it."""

    def __init__(self, channels: int, num_layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(channels * (i + 1), channels, 3, padding=1, bias=False) for i in range(num_layers)
        )
        self.project = nn.Conv2d(channels * (num_layers + 1), channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        grown = x
        for layer in self.layers:
            grown = torch.cat((grown, F.relu_(layer(grown))), 1)
        return self.project(grown) + x


class Res2NetEncoder(nn.Module):
    """The first four levels of Res2Net-101 (v1b, 26w, 4s); gives maps at 1/2, 1/4, 1/8 and 1/16."""

    def __init__(self, num_blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )

        def layer(channels: int, planes: int, number: int, stride: int) -> nn.Sequential:
            first = Res2NetBlock(channels, planes, stride=stride, opens=True)
            further = (Res2NetBlock(4 * planes, planes, stride=1, opens=False) for _ in range(number - 1))
            return nn.Sequential(first, *further)

        self.layer1 = layer(64, 64, num_blocks[0], stride=1)
        self.layer2 = layer(256, 128, num_blocks[1], stride=2)
        self.layer3 = layer(512, 256, num_blocks[2], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        x = F.max_pool2d(maps[0], 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            maps.append(x)
        return maps


class Res2NetBlock(nn.Module):
    """A bottleneck whose middle works on four groups of channels, one after the other.

    Args:
        channels: Input width.
        planes: A quarter of the output width.
        stride: Stride of the middle convolution.
        opens: First block of a level: the groups do not see one another, and the connection has a projection.
    """

    def __init__(self, channels: int, planes: int, *, stride: int, opens: bool) -> None:
        super().__init__()
        self.opens, self.stride, self.width = opens, stride, planes * 26 // 64
        width = self.width
        self.conv1 = nn.Conv2d(channels, 4 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, stride, padding=1, bias=False) for _ in range(3))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))
        self.conv3 = nn.Conv2d(4 * width, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        if opens:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(channels, 4 * planes, 1, bias=False),
                nn.BatchNorm2d(4 * planes),
            )

    def forward(self, x: Tensor) -> Tensor:
        groups = F.relu_(self.bn1(self.conv1(x))).split(self.width, 1)
        outs: list[Tensor] = []
        for group, conv, norm in zip(groups, self.convs, self.bns, strict=False):
            y = group if self.opens or not outs else group + outs[-1]
            outs.append(F.relu_(norm(conv(y))))
        outs.append(F.avg_pool2d(groups[3], 3, self.stride, padding=1) if self.opens else groups[3])
        y = self.bn3(self.conv3(torch.cat(outs, 1)))
        return F.relu_(y + (self.downsample(x) if self.opens else x))


def coa_train_rb1(**overrides: Any) -> CoAStudent:
    """The student as the official code has it, in the form that is trained."""
    return CoAStudent(**overrides)


def coa_train_rb8(**overrides: Any) -> CoAStudent:
    """The student with as many parameters as the literature reports, in the form that is trained."""
    return CoAStudent(**({"res_blocks": 8} | overrides))


def coa_deploy_rb1(**overrides: Any) -> CoAStudent:
    """The student as the official code has it, in the form that runs."""
    return CoAStudent(**({"detail": False} | overrides))


def coa_deploy_rb8(**overrides: Any) -> CoAStudent:
    """The student with as many parameters as the literature reports, in the form that runs."""
    return CoAStudent(**({"res_blocks": 8, "detail": False} | overrides))


def coa_teacher(**overrides: Any) -> CoATeacher:
    """The teacher."""
    return CoATeacher(**overrides)
