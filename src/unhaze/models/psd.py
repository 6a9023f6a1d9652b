"""PSD: a dehazing network that also tells transmission and airlight, so that priors can teach it on real haze.

Paper: Chen, Wang, Yang, Liu, "PSD: Principled Synthetic-to-Real Dehazing Guided by Physical Priors", CVPR 2021.
Official code: zychen-ustc/PSD-Principled-Synthetic-to-Real-Dehazing-Guided-by-Physical-Priors at 268b02a (MIT).
Deviations: none in the function of a network. The airlight is estimated on the image resized to 256x256, as the
official evaluation does for FFA-Net and MSBDN, unless another image is given; instance normalisation of a single pixel
gives 0, where today's torch refuses it. Sides are mirrored to fit, where the official code enlarges the image. With
GCANet the restored image is in [0, 255] and the airlight is not, as in the official code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.ffanet import FFANet
from unhaze.models.gcanet import GCANet
from unhaze.models.layers.msbdn import BackProjection, ResidualBlock
from unhaze.models.layers.norms import normalised
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["PSDMSBDN", "PSDFFANet", "PSDGCANet", "psd_ffanet", "psd_gcanet", "psd_msbdn"]

HALF = (0.5, 0.5, 0.5)
AIRLIGHT_SIDE = 256
AIRLIGHT_KEYS: KeyMap = (
    (r"^ANet\.conv\.", "airlight.enter."),
    (r"^ANet\.dconv\.", "airlight.leave."),
    *((rf"^ANet\.layer{i}\.", f"airlight.down.{i - 1}.") for i in range(1, 8)),
    *((rf"^ANet\.dlayer{i}\.", f"airlight.up.{7 - i}.") for i in range(1, 8)),
    (r"^conv_([JT])_([12])\.", r"head_\1.\2."),
    (r"^head_J\.1\.", "image_head.0."),
    (r"^head_J\.2\.", "image_head.1."),
    (r"^head_T\.1\.", "transmission_head.0."),
    (r"^head_T\.2\.", "transmission_head.1."),
)
AIRLIGHT_DEAD = (r"^airlight\.down\.\d\.deconv\.", r"^airlight\.up\.\d\.conv\.")


def two_convs(channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions without anything between them."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1, bias=False), nn.Conv2d(hidden, out_channels, 3, padding=1, bias=False)
    )


class AirlightNet(nn.Module):
    """A U-Net of eight levels whose output is averaged to one colour."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 16, 32, 64, 64, 64, 64, 64)
        self.enter = nn.Conv2d(3, widths[0], 4, stride=2, padding=1, bias=False)
        self.down = nn.ModuleList(AirlightBlock(a, b, up=False) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            AirlightBlock(widths[i] * (1 if i == 7 else 2), widths[i - 1], up=True, normed=i < 7, drop=i > 4)
            for i in range(7, 0, -1)
        )
        self.leave = nn.ConvTranspose2d(2 * widths[0], 3, 4, stride=2, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), both sides at least 256, to (B, 3, 1, 1)."""
        levels = [self.enter(image)]
        for block in self.down:
            levels.append(block(levels[-1]))
        x = levels.pop()
        for block in self.up:
            x = torch.cat((block(x), levels.pop()), 1)
        return F.leaky_relu(self.leave(F.relu(x)), 0.2).mean((2, 3), keepdim=True)


class AirlightBlock(nn.Module):
    """A rectifier, a convolution that halves or doubles the size, normalisation and dropout.

    Both convolutions exist in every block of official checkpoints; one is never used.
    """

    def __init__(self, channels: int, out_channels: int, *, up: bool, normed: bool = True, drop: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.deconv = nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.doubles, self.normed = up, normed
        self.dropout = nn.Dropout2d(0.5 if drop else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deconv(F.relu(x)) if self.doubles else self.conv(F.leaky_relu(x, 0.2))
        return self.dropout(normalised(x) if self.normed else x)


def with_physics(image: Tensor, transmission: Tensor, airlight: Tensor) -> Restored:
    """A restored image, and the hazy one that follows from it by the scattering model."""
    hazy = transmission * image + (1 - transmission) * airlight
    return Restored(image, aux={"transmission": transmission, "airlight": airlight, "hazy": hazy})


def shrunken(image: Tensor) -> Tensor:
    """What the airlight is estimated on: (B, 3, H, W) at 256x256."""
    return F.interpolate(image, (AIRLIGHT_SIDE, AIRLIGHT_SIDE), mode="bilinear", antialias=True)


class PSDGCANet(GCANet):
    """GCANet with heads for transmission and airlight; its images are in [0, 255].

    ``aux`` holds ``transmission`` (B, 1, H, W), ``airlight`` (B, 3, 1, 1) and ``hazy``, besides GCANet's ``residual``.
    """

    KEY_MAP: ClassVar[KeyMap] = (*AIRLIGHT_KEYS, *GCANet.KEY_MAP)
    dead = AIRLIGHT_DEAD

    def __init__(self, channels: int = 64) -> None:
        super().__init__(channels)
        self.transmission_head = two_convs(channels, 16, 1)
        self.airlight = AirlightNet()

    def forward(self, image: Tensor, run: Runner = run_block, airlight_from: Tensor | None = None) -> Restored:
        """See :meth:`Model.forward`; ``airlight_from`` is in [0, 255], (B, 3, H, W), sides at least 256."""
        features = self.features(image, run)
        restored = self.decode(image, features, run).image
        source = shrunken(image) if airlight_from is None else airlight_from
        return with_physics(restored, self.transmission_head(features), self.airlight(source / 255))


class PSDFFANet(FFANet):
    """FFA-Net with heads for image, transmission and airlight; its own head is never used.

    ``aux`` holds ``transmission`` (B, 1, H, W), ``airlight`` (B, 3, 1, 1) and ``hazy``.
    """

    KEY_MAP: ClassVar[KeyMap] = (*AIRLIGHT_KEYS, *FFANet.KEY_MAP)
    contract = ImageContract(mean=HALF, std=HALF)
    dead = (*AIRLIGHT_DEAD, r"^refine\.", r"^head\.")

    def __init__(self, num_blocks: int = 19, channels: int = 64) -> None:
        super().__init__(num_blocks, channels)
        self.image_head = two_convs(channels, 64, 3)
        self.transmission_head = two_convs(channels, 16, 1)
        self.airlight = AirlightNet()

    def forward(self, image: Tensor, run: Runner = run_block, airlight_from: Tensor | None = None) -> Restored:
        """See :meth:`Model.forward`; ``airlight_from`` is normalised, too, (B, 3, H, W), sides at least 256."""
        features = self.features(image, run)
        source = shrunken(image) if airlight_from is None else airlight_from
        return with_physics(self.image_head(features) + image, self.transmission_head(features), self.airlight(source))


class PSDMSBDN(Model):
    """MSBDN (Dong et al., CVPR 2020) with heads for image, transmission and airlight.

    ``aux`` holds ``transmission`` (B, 1, H, W), ``airlight`` (B, 3, 1, 1) and ``hazy``.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Residual blocks at 1/16.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *AIRLIGHT_KEYS,
        (r"\.(up|down)_convs\.(\d+)\.(conv|deconv)\.", r".\1.\2.0."),
        (r"\.(up|down)_convs\.(\d+)\.act\.", r".\1.\2.1."),
        (r"\.conv2d\.", "."),
        (r"^conv_input\.", "stem."),
        (r"^dense([0-3])\.", r"blocks_down.\1."),
        *((rf"^conv{2**i}x\.", f"down.{i - 1}.") for i in range(1, 5)),
        (r"^fusion([1-4])\.", r"project_down.#\1."),
        (r"^fusion_([1-4])\.", r"project_up.#\1."),
        (r"^dense_([1-4])\.", r"blocks_up.#\1."),
        *((rf"\.#{i}\.", f".{i - 1}.") for i in range(1, 5)),
        *((rf"^convd{2**i}x\.", f"up.{i - 1}.") for i in range(1, 5)),
        (r"^dehaze\.res", "mid."),
        (r"^upsample\.", "widen."),
    )
    contract = ImageContract(multiple_of=16, minimum=32, mean=HALF, std=HALF)
    dead = AIRLIGHT_DEAD

    def __init__(self, channels: int = 16, num_blocks: int = 18) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(5)]
        self.stages = (
            *(Stage(f"enc{i + 1}", widths[i], 2**i) for i in range(4)),
            Stage("mid", widths[4], 16),
            *(Stage(f"dec{i + 1}", widths[i], 2**i) for i in (3, 2, 1, 0)),
        )

        def blocks(width: int, number: int = 3) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width, detail=None) for _ in range(number)))

        self.stem = nn.Conv2d(3, channels, 11, padding=5, padding_mode="reflect")
        self.blocks_down = nn.ModuleList(blocks(width) for width in widths[:4])
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1, padding_mode="reflect") for a, b in pairwise(widths)
        )
        self.project_down = nn.ModuleList(BackProjection(widths[i], i, first="up") for i in range(1, 5))
        self.mid = blocks(widths[4], num_blocks)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 3, stride=2) for a, b in pairwise(widths))
        self.blocks_up = nn.ModuleList(blocks(width) for width in widths[:4])
        self.project_up = nn.ModuleList(BackProjection(widths[i], 4 - i, first="down") for i in range(4))
        self.widen = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.image_head = two_convs(64, 64, 3)
        self.transmission_head = two_convs(64, 16, 1)
        self.airlight = AirlightNet()

    def forward(self, image: Tensor, run: Runner = run_block, airlight_from: Tensor | None = None) -> Restored:
        """See :meth:`Model.forward`; both images are normalised (B, 3, H, W), ``airlight_from`` has sides >= 256."""
        features = self.widen(self._decode(*self._encode(image, run), run))
        source = shrunken(image) if airlight_from is None else airlight_from
        return with_physics(self.image_head(features), self.transmission_head(features), self.airlight(source))

    def _encode(self, image: Tensor, run: Runner) -> tuple[list[Tensor], Tensor]:
        """Features of four levels, fine to coarse, and those of the fifth."""
        x = self.stem(image)
        seen, levels = [x], []
        for i in range(4):
            levels.append(run(f"enc{i + 1}", _plus(self.blocks_down[i], x), x))
            x = self.project_down[i](self.down[i](levels[-1]), seen)
            seen.append(x)
        return levels, x

    def _decode(self, levels: Sequence[Tensor], deepest: Tensor, run: Runner) -> Tensor:
        x = run("mid", lambda y: self.mid(2 * y) + y, deepest)
        seen = [x]
        for i in (3, 2, 1, 0):
            skip = levels[i]
            enlarged = F.interpolate(self.up[i](x), skip.shape[2:], mode="bilinear")
            x = run(f"dec{i + 1}", _plus(self.blocks_up[i], skip), enlarged + skip)
            x = self.project_up[i](x, seen)
            seen.append(x)
        return x


def _plus(block: nn.Module, addend: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: block(x) + addend


def psd_msbdn(**overrides: Any) -> PSDMSBDN:
    """PSD on MSBDN, the paper's main model."""
    return PSDMSBDN(**overrides)


def psd_ffanet(**overrides: Any) -> PSDFFANet:
    """PSD on FFA-Net."""
    return PSDFFANet(**overrides)


def psd_gcanet(**overrides: Any) -> PSDGCANet:
    """PSD on GCANet."""
    return PSDGCANet(**overrides)
