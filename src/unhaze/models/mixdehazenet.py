"""MixDehazeNet: three depthwise kernels side by side, then three kinds of attention side by side, in a U-Net.

Paper: Lu, Xiong, Xu, Wu, Wang, "MixDehazeNet: Mix Structure Block For Image Dehazing Network", IJCNN 2024.
Official code: AmeryXiong/MixDehazeNet at 90a0474 (MIT).
Deviations: none.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.stage import Runner, run_block
from unhaze.models.layers.window_transformer import SkipMerge
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["MixDehazeNet", "mixdehazenet_b", "mixdehazenet_l", "mixdehazenet_s", "mixdehazenet_t"]


class MixDehazeNet(Model):
    """MixDehazeNet; its images are in [-1, 1].

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Blocks of ``enc1, enc2, mid, dec2, dec1``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^patch_embed\.proj\.", "stem."),
        (r"^layer1\.blocks\.", "enc1."),
        (r"^patch_merge([12])\.proj\.", r"down\1."),
        (r"^layer2\.blocks\.", "enc2."),
        (r"^layer3\.blocks\.", "mid."),
        (r"^patch_split1\.proj\.", "up2."),
        (r"^fusion1\.", "merge2."),
        (r"^layer4\.blocks\.", "dec2."),
        (r"^patch_split2\.proj\.", "up1."),
        (r"^fusion2\.", "merge1."),
        (r"^layer5\.blocks\.", "dec1."),
        (r"^patch_unembed\.proj\.0\.", "head."),
        (r"\.conv1\.", ".enter."),
        (r"\.conv2\.", ".local."),
        (r"\.conv3_19\.", ".large."),
        (r"\.conv3_13\.", ".medium."),
        (r"\.conv3_7\.", ".small."),
        (r"\.mlp2\.", ".mix_attended."),
        (r"^((enc|dec)\d|mid)\.(\d+)\.mlp\.", r"\1.\3.mix_kernels."),
        (r"\.Wv\.", ".value."),
        (r"\.Wg\.1\.", ".gate."),
        (r"\.ca\.1\.", ".channel_squeeze."),
        (r"\.ca\.3\.", ".channel_excite."),
        (r"\.pa\.0\.", ".pixel_squeeze."),
        (r"\.pa\.2\.", ".pixel_excite."),
    )
    # at a quarter of the size, maps are mirrored by 9 pixels
    contract = ImageContract(value_range=(-1.0, 1.0), multiple_of=4, minimum=40)

    def __init__(self, channels: int = 24, num_blocks: tuple[int, int, int, int, int] = (2, 2, 4, 2, 2)) -> None:
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        names, widths, strides = ("enc1", "enc2", "mid", "dec2", "dec1"), (c1, c2, c3, c2, c1), (1, 2, 4, 2, 1)
        self.stages = tuple(Stage(*level) for level in zip(names, widths, strides, strict=True))
        self.enc1, self.enc2, self.mid, self.dec2, self.dec1 = (
            nn.Sequential(*(MixBlock(width) for _ in range(number)))
            for width, number in zip(widths, num_blocks, strict=True)
        )
        self.stem = nn.Conv2d(3, c1, 3, padding=1, padding_mode="reflect")
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1, padding_mode="reflect")
        self.down2 = nn.Conv2d(c2, c3, 3, stride=2, padding=1, padding_mode="reflect")
        self.skip1 = nn.Conv2d(c1, c1, 1)
        self.skip2 = nn.Conv2d(c2, c2, 1)
        self.up2 = nn.Sequential(nn.Conv2d(c3, 4 * c2, 1), nn.PixelShuffle(2))
        self.up1 = nn.Sequential(nn.Conv2d(c2, 4 * c1, 1), nn.PixelShuffle(2))
        self.merge2 = SkipMerge(c2)
        self.merge1 = SkipMerge(c1)
        self.head = nn.Conv2d(c1, 4, 3, padding=1, padding_mode="reflect")

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [-1, 1]."""
        enc1 = run("enc1", self.enc1, self.stem(image))  # (B, C, H, W)
        enc2 = run("enc2", self.enc2, self.down1(enc1))  # (B, 2C, H/2, W/2)
        mid = run("mid", self.mid, self.down2(enc2))  # (B, 4C, H/4, W/4)
        dec2 = run("dec2", self.dec2, self.merge2(self.up2(mid), self.skip2(enc2)))
        dec1 = run("dec1", self.dec1, self.merge1(self.up1(dec2), self.skip1(enc1)))
        k, b = self.head(dec1).split((1, 3), 1)
        return Restored(k * image - b + image)  # soft reconstruction


class MixBlock(nn.Module):
    """Multi-scale parallel large convolutions, then enhanced parallel attention; both are added to the map.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

        def depthwise(side: int, dilation: int) -> nn.Conv2d:
            reach = dilation * (side // 2)
            return nn.Conv2d(
                channels, channels, side, padding=reach, dilation=dilation, groups=channels, padding_mode="reflect"
            )

        def mix() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(3 * channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1)
            )

        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.enter = nn.Conv2d(channels, channels, 1)
        self.local = nn.Conv2d(channels, channels, 5, padding=2, padding_mode="reflect")
        self.large, self.medium, self.small = depthwise(7, 3), depthwise(5, 3), depthwise(3, 3)
        self.mix_kernels = mix()
        self.value = nn.Sequential(nn.Conv2d(channels, channels, 1), depthwise(3, 1))
        self.gate = nn.Conv2d(channels, channels, 1)
        self.channel_squeeze = nn.Conv2d(channels, channels, 1)
        self.channel_excite = nn.Conv2d(channels, channels, 1)
        self.pixel_squeeze = nn.Conv2d(channels, channels // 8, 1)
        self.pixel_excite = nn.Conv2d(channels // 8, 1, 1)
        self.mix_attended = mix()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        y = self.local(self.enter(self.norm1(x)))
        x = x + self.mix_kernels(torch.cat((self.large(y), self.medium(y), self.small(y)), 1))
        y = self.norm2(x)
        mean = y.mean((2, 3), keepdim=True)
        per_channel = self.channel_excite(F.gelu(self.channel_squeeze(mean))).sigmoid_()
        per_pixel = self.pixel_excite(F.gelu(self.pixel_squeeze(y))).sigmoid_()
        attended = torch.cat((self.value(y) * self.gate(mean).sigmoid_(), per_channel * y, per_pixel * y), 1)
        out: Tensor = x + self.mix_attended(attended)
        return out


def mixdehazenet_t(**overrides: Any) -> MixDehazeNet:
    """Tiny."""
    return MixDehazeNet(**({"num_blocks": (1, 1, 2, 1, 1)} | overrides))


def mixdehazenet_s(**overrides: Any) -> MixDehazeNet:
    """Small."""
    return MixDehazeNet(**({"num_blocks": (2, 2, 4, 2, 2)} | overrides))


def mixdehazenet_b(**overrides: Any) -> MixDehazeNet:
    """Base."""
    return MixDehazeNet(**({"num_blocks": (4, 4, 8, 4, 4)} | overrides))


def mixdehazenet_l(**overrides: Any) -> MixDehazeNet:
    """Large."""
    return MixDehazeNet(**({"num_blocks": (8, 8, 16, 8, 8)} | overrides))
