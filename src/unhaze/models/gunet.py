"""gUNet: a four-level U-Net of gated depthwise convolutions, whose skips are weighed per channel.

Paper: Song, Zhou, Qian, Du, "Rethinking Performance Gains in Image Dehazing Networks", arXiv 2022.
Official code: IDKiro/gUNet at defba83 (MIT).
Deviations: none.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.stage import Runner, run_block
from unhaze.models.layers.window_transformer import SkipMerge
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["GUNet", "gunet_b", "gunet_d", "gunet_s", "gunet_t"]

LEVELS = ("enc1", "enc2", "enc3", "mid", "dec3", "dec2", "dec1")


class GUNet(Model):
    """Gated U-Net; its images are in [-1, 1].

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Blocks of ``enc1, enc2, enc3, mid, dec3, dec2, dec1``.
        kernel: Side of the depthwise convolutions, odd.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^inconv\.proj\.", "stem."),
        (r"^outconv\.proj\.0\.", "head."),
        *((rf"^layers\.{i}\.blocks\.", f"{name}.") for i, name in enumerate(LEVELS)),
        *((rf"^downs\.{i}\.proj\.", f"down{i + 1}.") for i in range(3)),
        *((rf"^ups\.{i}\.proj\.", f"up{i + 1}.") for i in range(3)),
        *((rf"^skips\.{i}\.", f"skip{i + 1}.") for i in range(3)),
        *(
            (rf"^fusions\.{i}\.mlp\.{theirs}\.", f"merge{i + 1}.mlp.{ours}.")
            for i in range(3)
            for theirs, ours in ((1, 0), (3, 2))
        ),
        (r"\.conv\.Wv\.", ".value."),
        (r"\.conv\.Wg\.0\.", ".gate."),
        (r"\.conv\.proj\.", ".project."),
    )
    contract = ImageContract(value_range=(-1.0, 1.0), multiple_of=8, minimum=24)

    def __init__(
        self,
        channels: int = 24,
        num_blocks: tuple[int, int, int, int, int, int, int] = (2, 2, 2, 4, 2, 2, 2),
        kernel: int = 5,
    ) -> None:
        super().__init__()
        c1, c2, c3, c4 = (channels * 2**i for i in range(4))
        widths, strides = (c1, c2, c3, c4, c3, c2, c1), (1, 2, 4, 8, 4, 2, 1)
        self.stages = tuple(Stage(*level) for level in zip(LEVELS, widths, strides, strict=True))
        self.enc1, self.enc2, self.enc3, self.mid, self.dec3, self.dec2, self.dec1 = (
            nn.Sequential(*(GatedBlock(width, kernel, sum(num_blocks)) for _ in range(number)))
            for width, number in zip(widths, num_blocks, strict=True)
        )
        self.stem = nn.Conv2d(3, c1, 3, padding=1, padding_mode="reflect")
        self.down1, self.down2, self.down3 = (
            nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in ((c1, c2), (c2, c3), (c3, c4))
        )
        self.up1, self.up2, self.up3 = (
            nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2))
            for fine, coarse in ((c1, c2), (c2, c3), (c3, c4))
        )
        self.skip1, self.skip2, self.skip3 = (nn.Conv2d(width, width, 1) for width in (c1, c2, c3))
        self.merge1, self.merge2, self.merge3 = (SkipMerge(width, residual=False) for width in (c1, c2, c3))
        self.head = nn.Conv2d(c1, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [-1, 1]."""
        enc1 = run("enc1", self.enc1, self.stem(image))  # (B, C, H, W)
        enc2 = run("enc2", self.enc2, self.down1(enc1))  # (B, 2C, H/2, W/2)
        enc3 = run("enc3", self.enc3, self.down2(enc2))  # (B, 4C, H/4, W/4)
        mid = run("mid", self.mid, self.down3(enc3))  # (B, 8C, H/8, W/8)
        dec3 = run("dec3", self.dec3, self.merge3(self.up3(mid), self.skip3(enc3)))
        dec2 = run("dec2", self.dec2, self.merge2(self.up2(dec3), self.skip2(enc2)))
        dec1 = run("dec1", self.dec1, self.merge1(self.up1(dec2), self.skip1(enc1)))
        return Restored(self.head(dec1) + image)


class GatedBlock(nn.Module):
    """A normalised map through a depthwise convolution, weighed by a gate, and added to the map.

    Args:
        channels: C.
        kernel: Side of the depthwise convolution.
        network_blocks: Blocks of the whole network; more make each start smaller.
    """

    def __init__(self, channels: int, kernel: int, network_blocks: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, padding_mode="reflect")
        self.value = nn.Sequential(nn.Conv2d(channels, channels, 1), depthwise)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        for conv in (*self.value, self.gate, self.project):
            taps = conv.weight[0, 0].numel()
            std = (8 * network_blocks) ** -0.25 * math.sqrt(2 / ((conv.weight.shape[1] + channels) * taps))
            nn.init.trunc_normal_(conv.weight, std=std)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        normed = self.norm(x)
        out: Tensor = x + self.project(self.value(normed) * self.gate(normed).sigmoid_())
        return out


def gunet_t(**overrides: Any) -> GUNet:
    """Tiny."""
    return GUNet(**({"num_blocks": (2, 2, 2, 4, 2, 2, 2)} | overrides))


def gunet_s(**overrides: Any) -> GUNet:
    """Small."""
    return GUNet(**({"num_blocks": (4, 4, 4, 8, 4, 4, 4)} | overrides))


def gunet_b(**overrides: Any) -> GUNet:
    """Base."""
    return GUNet(**({"num_blocks": (8, 8, 8, 16, 8, 8, 8)} | overrides))


def gunet_d(**overrides: Any) -> GUNet:
    """Deep."""
    return GUNet(**({"num_blocks": (16, 16, 16, 32, 16, 16, 16)} | overrides))
