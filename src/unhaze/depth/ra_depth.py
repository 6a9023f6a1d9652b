"""RA-Depth: a high-resolution encoder and a decoder that fuses all scales into the finest.

Paper: He, Hui, Bian, Ren, Xie, Yang, "RA-Depth: Resolution Adaptive Self-Supervised Monocular Depth Estimation", ECCV
2022. The encoder is HRNet-W18: Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition",
TPAMI 2021.
Official code: hmhemu/RA-Depth at 4f7ebb4; it states no licence, its files name that of Monodepth2 (non-commercial).
Deviations: the decoder's 1 x 1 convolutions run before the nearest-neighbour enlargement instead of after it, which
gives the same numbers for less work. The official state has no layers without an effect.

Trained on driving scenes (KITTI) at 640 x 192. DCMPNet takes its disparity as the depth of clear pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.depth._weights import digest, fill, refuse_noise
from unhaze.depth.base import DepthEstimator, at_own_size, at_size_of
from unhaze.errors import UnknownNameError, UsageError, WeightsNotFoundError
from unhaze.models.base import KeyMap, rename_keys
from unhaze.models.checkpoints.reading import read_weights
from unhaze.types import DepthLevel, DepthMap

__all__ = ["FusionDecoder", "HighResolutionEncoder", "RADepth", "from_official", "ra_depth"]

Features = Literal["decoder", "encoder"]

STEM = 64  # channels at 1/2, and at the entrance of the first stage
WIDTHS = (18, 36, 72, 144)  # at 1/4, 1/8, 1/16 and 1/32
LEVELS = tuple(DepthLevel(width, 2 << i) for i, width in enumerate((STEM, *WIDTHS)))
MULTIPLE = 32
LEAST_SIDE = 2 * MULTIPLE  # reflection at 1/32 needs two pixels

ENCODER_KEYS: KeyMap = (
    (r"^bn([12])\.", r"stem\1.1."),
    (r"^conv([12])\.", r"stem\1.0."),
    (r"^layer1\.", "stage1."),
    (r"\bbn([123])\.", r"norm\1."),
    (r"\bdownsample\.", "shortcut."),
    (r"\bfuse_layers\.", "exchange."),
)


class RADepth(DepthEstimator):
    """Sigmoid disparity in (0, 1), near is large.

    Args:
        longest: Longest side of what the network sees [px]; both sides become multiples of 32.
        features: Which maps to give: ``"decoder"``, each scale after its last fusion (1/2 to 1/16), or ``"encoder"``
            (1/2 to 1/32).

    Raises:
        UsageError: ``longest`` is too small; ``UnknownNameError`` for other features.
    """

    kind = "inverse_relative"
    license = "none stated; code under the Monodepth2 licence (non-commercial)"
    commercial = False

    def __init__(self, longest: int = 640, features: Features = "decoder") -> None:
        super().__init__()
        if features not in ("decoder", "encoder"):
            raise UnknownNameError("set of features", features, ("decoder", "encoder"))
        if longest < LEAST_SIDE:
            raise UsageError(f"longest is {longest}, but RA-Depth needs at least {LEAST_SIDE} pixels.")
        self.longest, self.which = longest, features
        self.levels = LEVELS[:-1] if features == "decoder" else LEVELS
        self.encoder = HighResolutionEncoder()
        self.decoder = FusionDecoder()

    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """See :meth:`DepthEstimator.forward`; (B, 3, H, W) to a map (B, 1, H, W)."""
        pixels = at_own_size(image.float(), self.longest, MULTIPLE)
        size = [max(LEAST_SIDE, side) for side in pixels.shape[-2:]]
        if size != list(pixels.shape[-2:]):
            pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        encoded = self.encoder(pixels.to(self.decoder.head.weight.dtype))
        disparity, fused = self.decoder(encoded)
        features = fused if self.which == "decoder" else encoded
        return DepthMap(at_size_of(image, disparity), "inverse_relative", features)


class HighResolutionEncoder(nn.Module):
    """HRNet-W18: a branch that stays at 1/4, joined by coarser ones, which exchange what they know again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem1 = conv_norm(3, STEM, stride=2, relu=True)
        self.stem2 = conv_norm(STEM, STEM, stride=2, relu=True)
        self.stage1 = nn.Sequential(Bottleneck(STEM, 64), *(Bottleneck(256, 64) for _ in range(3)))
        self.transition1 = nn.ModuleList(
            (conv_norm(256, WIDTHS[0], relu=True), nn.Sequential(conv_norm(256, WIDTHS[1], stride=2, relu=True)))
        )
        self.stage2 = _exchange_stage(2, modules=1)
        self.transition2 = _one_branch_more(2)
        self.stage3 = _exchange_stage(3, modules=4)
        self.transition3 = _one_branch_more(3)
        self.stage4 = _exchange_stage(4, modules=3)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of an image (B, 3, H, W) in [0, 1], sides multiples of 32, as ``LEVELS`` says, fine to coarse."""
        half = self.stem1(image)
        x = self.stage1(self.stem2(half))
        branches = self.stage2([layer(x) for layer in self.transition1])
        branches = self.stage3([*branches, self.transition2[-1](branches[-1])])
        branches = self.stage4([*branches, self.transition3[-1](branches[-1])])
        return (half, *branches)


class ExchangeModule(nn.Module):
    """Four residual blocks in every branch, then each branch adds what all others found, at its own scale.

    Args:
        widths: Channels of the branches, fine to coarse.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(ResidualBlock(width) for _ in range(4))) for width in widths)
        self.exchange = nn.ModuleList(
            nn.ModuleList(_translation(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Maps of the branches, fine to coarse, to the same."""
        found = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        joined = []
        for x, row in zip(found, self.exchange, strict=True):
            said = [layers(other) for layers, other in zip(cast("nn.ModuleList", row), found, strict=True)]
            size = x.shape[-2:]
            at_size_of_x = (
                each if each.shape[-2:] == size else F.interpolate(each, size=size, mode="bilinear", align_corners=True)
                for each in said
            )
            joined.append(F.relu(reduce(torch.add, at_size_of_x)))
        return joined


def _translation(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    """Layers from branch ``source`` to the channels, and where they are finer also to the scale, of ``target``."""
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_norm(widths[source], widths[target], kernel=1)
    steps = target - source
    return nn.Sequential(
        *(conv_norm(widths[source], widths[source], stride=2, relu=True) for _ in range(steps - 1)),
        conv_norm(widths[source], widths[target], stride=2),
    )


def _exchange_stage(branches: int, modules: int) -> nn.Sequential:
    return nn.Sequential(*(ExchangeModule(WIDTHS[:branches]) for _ in range(modules)))


def _one_branch_more(branches: int) -> nn.ModuleList:
    """Existing branches go on as they are; a new one begins at half the scale of the coarsest."""
    begin = nn.Sequential(conv_norm(WIDTHS[branches - 1], WIDTHS[branches], stride=2, relu=True))
    return nn.ModuleList((*(nn.Identity() for _ in range(branches)), begin))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = _conv(channels, channels, 3), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        y = F.relu_(self.norm1(self.conv1(x)))
        return F.relu_(self.norm2(self.conv2(y)) + x)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1, and a shortcut; four times ``width`` channels come out."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.conv3, self.norm3 = _conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.shortcut = nn.Identity() if channels == 4 * width else conv_norm(channels, 4 * width, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 4 width, H, W)."""
        y = F.relu_(self.norm1(self.conv1(x)))
        y = F.relu_(self.norm2(self.conv2(y)))
        return F.relu_(self.norm3(self.conv3(y)) + self.shortcut(x))


class FusionDecoder(nn.Module):
    """MSF: rounds of fusion, each without the coarsest scale of the one before, down to a single map at 1/2."""

    ROUNDS = (WIDTHS, WIDTHS[:3], WIDTHS[:2], (STEM, WIDTHS[0]))

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(map(FusionRound, self.ROUNDS))
        self.enlarge, self.finish = _reflecting(STEM, 32), _reflecting(32, 16)
        self.head = _reflecting(16, 1)

    def forward(self, encoded: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Disparity (B, 1, H, W) in (0, 1), and each scale after its last fusion, 1/2 to 1/16."""
        half, *levels = encoded
        fused = []
        for fuse in self.rounds[:3]:
            levels = fuse(levels)
            fused.append(levels[-1])
        (finest,) = self.rounds[3]([half, *levels])
        x = F.interpolate(F.elu(self.enlarge(finest)), scale_factor=2, mode="nearest")
        x = F.elu(self.finish(x))
        return torch.sigmoid(self.head(x)), (finest, *reversed(fused))


class FusionRound(nn.Module):
    """A convolution at every scale; then each but the coarsest adds all coarser ones.

    Args:
        widths: Channels, fine to coarse.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.refine = nn.ModuleList(_reflecting(width, width) for width in widths)
        self.lift = nn.ModuleDict(
            {f"{j}to{i}": nn.Conv2d(widths[j], widths[i], 1) for j in range(len(widths)) for i in range(j)}
        )

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Maps of n scales, fine to coarse, to n - 1."""
        refined = [F.elu(conv(x)) for conv, x in zip(self.refine, levels, strict=True)]
        fused = []
        for i, x in enumerate(refined[:-1]):
            for j in range(i + 1, len(refined)):
                lifted = F.elu(self.lift[f"{j}to{i}"](refined[j]))
                x = x + F.interpolate(lifted, scale_factor=2 ** (j - i), mode="nearest")
            fused.append(x)
        return fused


def conv_norm(channels: int, out: int, *, kernel: int = 3, stride: int = 1, relu: bool = False) -> nn.Sequential:
    """Convolution without bias, batch normalisation, and where wanted a rectifier."""
    layers = [_conv(channels, out, kernel, stride), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)


def _reflecting(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, padding_mode="reflect")


def from_official(encoder: Mapping[str, Tensor], decoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of ``encoder.pth`` and ``depth.pth`` under our names.

    Args:
        encoder: Official names, from ``conv1.weight`` on.
        decoder: Official names, from ``decoder.0.conv.conv.weight`` on.
    """
    names = []  # of the decoder's convolutions, in the order in which the official code makes and numbers them
    for number, widths in enumerate(FusionDecoder.ROUNDS):
        names += [f"rounds.{number}.refine.{i}" for i in range(len(widths))]
        names += [f"rounds.{number}.lift.{j}to{i}" for j in range(len(widths)) for i in reversed(range(j))]
    names += ["enlarge", "finish", "head"]
    rules = tuple((rf"^decoder\.{i}\.(conv\.)+", f"{name}.") for i, name in enumerate(names))
    state = {f"encoder.{key}": tensor for key, tensor in rename_keys(encoder, ENCODER_KEYS).items()}
    return state | {f"decoder.{key}": tensor for key, tensor in rename_keys(decoder, rules).items()}


def ra_depth(
    weights: str | Path | None = None,
    *,
    longest: int = 640,
    features: Features = "decoder",
    untrained: bool = False,
) -> RADepth:
    """RA-Depth with official or own weights.

    Args:
        weights: The folder with ``encoder.pth`` and ``depth.pth``, or a ``.safetensors`` file under our names.
        longest: Longest side of what the network sees [px].
        features: Which maps to give, see :class:`RADepth`.
        untrained: Random weights, for tests; the depth is noise.

    Raises:
        WeightsNotFoundError: No weights were named, or a file is missing.
        UsageError: The weights are damaged or do not fit, or an option cannot work.
    """
    refuse_noise("ra-depth", weights, untrained, "the folder models/RA-Depth of github.com/hmhemu/RA-Depth")
    estimator = RADepth(longest, features)
    if weights is not None:
        path = Path(weights)
        if path.is_dir():
            files = [path / name for name in ("encoder.pth", "depth.pth")]
            for file in files:
                if not file.is_file():
                    raise WeightsNotFoundError(
                        f"{path} has no {file.name}; RA-Depth needs encoder.pth and depth.pth in one folder."
                    )
            encoder, decoder = (read_weights(file).tensors for file in files)
            state = from_official(encoder, decoder)
        else:
            state = read_weights(path).tensors
        fill(estimator, state, weights, "ra-depth")
    estimator.identity = f"ra-depth/{longest}/{features}/{digest(estimator)}"
    return estimator
