"""DNMGDT: the generator of a semi-supervised method, an encoder and decoder with bicubic enlargement.

Paper: Wang et al., "Real Scene Single Image Dehazing Network with Multi-Prior Guidance and Domain Transfer", IEEE TMM
2025.
Official code: NianWang-HJJGCDX/DNMGDT at f302544 (MIT), ``Model_Semi_base``.
Deviations: none. In the official code an enlargement rectifies its input in place, so that the connection around its
second convolution carries the rectified values; so it does here. Weights start as in the official code, normal with a
standard deviation of 0.02.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["DNMGDT", "dnmgdt"]


class DNMGDT(Model):
    """The generator; its images are in [-1, 1].

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Residual blocks at 1/8.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^encoder1\.conv_d1\.", "stem."),
        (r"^encoder1\.conv_d2\.", "down1."),
        (r"^encoder1\.conv_d3\.", "down2."),
        (r"^encoder1\.conv_d4\.", "down3."),
        (r"^encoder1\.body\.(\d+)\.body\.", r"mid.\1."),
        (r"^decoder1\.conv_t([123])\.conv1X1\.", r"decoder\1.refine."),
        (r"^decoder1\.conv_t([123])\.conv1\.", r"decoder\1.enter."),
        (r"^decoder1\.conv_t4\.", "head."),
        (r"^decoder3\.", "dec1."),
        (r"^decoder1\.", "dec3."),
        (r"^decoder2\.", "dec2."),
    )
    contract = ImageContract(value_range=(-1.0, 1.0), multiple_of=8)

    def __init__(self, channels: int = 32, num_blocks: int = 16) -> None:
        super().__init__()
        c1, c2, c3, c4 = (channels * 2**i for i in range(4))
        self.stages = (
            Stage("enc1", c1, 1),
            Stage("enc2", c2, 2),
            Stage("enc3", c3, 4),
            Stage("mid", c4, 8),
            Stage("dec3", c3, 4),
            Stage("dec2", c2, 2),
            Stage("dec1", c1, 1),
        )
        self.stem = nn.Conv2d(3, c1, 7, padding=3)
        self.down1 = nn.Conv2d(c1, c2, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(c2, c3, 4, stride=2, padding=1)
        self.down3 = nn.Conv2d(c3, c4, 4, stride=2, padding=1)
        self.mid = nn.Sequential(*(Bottleneck(c4) for _ in range(num_blocks)))
        self.dec3 = Enlarge(c4, c3)
        self.dec2 = Enlarge(2 * c3, c2)
        self.dec1 = Enlarge(2 * c2, c1)
        self.head = nn.Conv2d(2 * c1, 3, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [-1, 1]."""
        enc1 = run("enc1", _unchanged, self.stem(image))  # (B, C, H, W)
        enc2 = run("enc2", _unchanged, self.down1(F.relu(enc1)))
        enc3 = run("enc3", _unchanged, self.down2(F.relu(enc2)))
        mid = run("mid", lambda x: self.mid(F.relu(x)) + x, self.down3(F.relu(enc3)))  # (B, 8C, H/8, W/8)
        dec3 = run("dec3", self.dec3.refined, self.dec3(F.relu(mid)))
        dec2 = run("dec2", self.dec2.refined, self.dec2(_joined(dec3, enc3)))
        dec1 = run("dec1", self.dec1.refined, self.dec1(_joined(dec2, enc2)))
        return Restored(self.head(_joined(dec1, enc1)).tanh())


def _unchanged(x: Tensor) -> Tensor:
    """A stage that is a single convolution has nothing to run after it; it can still be read and fused."""
    return x


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    return F.relu_(torch.cat((x, skip), 1))


class Bottleneck(nn.Sequential):
    """Three convolutions at a quarter of the width, around a connection."""

    def __init__(self, channels: int) -> None:
        hidden = channels // 4
        super().__init__(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


class Enlarge(nn.Module):
    """Bicubic enlargement and a convolution, then a second one around a connection."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.refine = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.enter(F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True))

    def refined(self, x: Tensor) -> Tensor:
        """What the second convolution adds, with the rectified ``x`` (the official code rectifies it in place)."""
        x = F.relu(x)
        return self.refine(x) + x


def dnmgdt(**overrides: Any) -> DNMGDT:
    """The generator of the paper."""
    return DNMGDT(**overrides)
