"""The three-level skeleton of OKNet, ConvIR and FSNet, which restores the image at three sizes; they differ in blocks.

Smaller copies of the image enter the encoder (the multi-input U-Net of MIMO-UNet, Cho et al., ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.norms import InstanceNorm
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import Restored, Stage

__all__ = ["SKELETON_KEYS", "PyramidUNet"]

SKELETON_KEYS: KeyMap = (
    *(
        (rf"^SCM{scm}\.{official}\.", f"embed{level}.{ours}.")
        for scm, level in ((1, 3), (2, 2))
        for official, ours in (
            ("conv1", 0),
            ("conv2", 2),
            (r"main\.0\.main\.0", 0),
            (r"main\.1\.main\.0", 2),
            (r"main\.2\.main\.0", 4),
            (r"main\.3\.main\.0", 6),
            (r"main\.4", 7),
        )
    ),
    (r"^FAM1\.merge\.main\.0\.", "fuse3."),
    (r"^FAM2\.merge\.main\.0\.", "fuse2."),
    *(
        (rf"^feat_extract\.{i}\.main\.0\.", f"{ours}.")
        for i, ours in enumerate(("stem", "down1", "down2", "up2", "up1", "head1"))
    ),
    *((rf"^Encoder\.{i}\.layers\.", f"enc{i + 1}.") for i in range(3)),
    *((rf"^Decoder\.{i}\.layers\.", f"dec{3 - i}.") for i in range(3)),
    (r"^Convs\.0\.main\.0\.", "merge2."),
    (r"^Convs\.1\.main\.0\.", "merge1."),
    (r"^ConvsOut\.0\.main\.0\.", "head3."),
    (r"^ConvsOut\.1\.main\.0\.", "head2."),
)


class PyramidUNet(Model):
    """Three levels; images of 1/4 and 1/2 go in beside the features, and come out of the decoder.

    Args:
        channels: Width at full resolution; it doubles with every level.
        level: Makes the blocks of a level, once for the encoder and once for the decoder, given its width.
        mid: What lies between encoder and decoder, as a stage of its own.
    """

    def __init__(self, channels: int, level: Callable[[int], nn.Module], mid: nn.Module | None = None) -> None:
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        self.stages = (
            Stage("enc1", c1, 1),
            Stage("enc2", c2, 2),
            Stage("enc3", c3, 4),
            *(() if mid is None else (Stage("mid", c3, 4),)),
            Stage("dec3", c3, 4),
            Stage("dec2", c2, 2),
            Stage("dec1", c1, 1),
        )
        self.stem = nn.Conv2d(3, c1, 3, padding=1)
        self.enc1 = level(c1)
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.embed2 = image_embedding(c2)
        self.fuse2 = nn.Conv2d(2 * c2, c2, 3, padding=1)
        self.enc2 = level(c2)
        self.down2 = nn.Conv2d(c2, c3, 3, stride=2, padding=1)
        self.embed3 = image_embedding(c3)
        self.fuse3 = nn.Conv2d(2 * c3, c3, 3, padding=1)
        self.enc3 = level(c3)
        self.mid = mid
        self.dec3 = level(c3)
        self.head3 = nn.Conv2d(c3, 3, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(c3, c2, 4, stride=2, padding=1)
        self.merge2 = nn.Conv2d(2 * c2, c2, 1)
        self.dec2 = level(c2)
        self.head2 = nn.Conv2d(c2, 3, 3, padding=1)
        self.up1 = nn.ConvTranspose2d(c2, c1, 4, stride=2, padding=1)
        self.merge1 = nn.Conv2d(2 * c1, c1, 1)
        self.dec1 = level(c1)
        self.head1 = nn.Conv2d(c1, 3, 3, padding=1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]. ``pyramid`` holds 1/4 and 1/2."""
        half = image[..., ::2, ::2]
        quarter = half[..., ::2, ::2]
        enc1 = run("enc1", self.enc1, F.gelu(self.stem(image)))  # (B, C, H, W)
        x = torch.cat((F.gelu(self.down1(enc1)), self.embed2(half)), 1)
        enc2 = run("enc2", self.enc2, self.fuse2(x))  # (B, 2C, H/2, W/2)
        x = torch.cat((F.gelu(self.down2(enc2)), self.embed3(quarter)), 1)
        x = run("enc3", self.enc3, self.fuse3(x))  # (B, 4C, H/4, W/4)
        dec3 = run("dec3", self.dec3, x if self.mid is None else run("mid", self.mid, x))
        x = torch.cat((F.gelu(self.up2(dec3)), enc2), 1)
        dec2 = run("dec2", self.dec2, F.gelu(self.merge2(x)))
        x = torch.cat((F.gelu(self.up1(dec2)), enc1), 1)
        dec1 = run("dec1", self.dec1, F.gelu(self.merge1(x)))
        pyramid = (self.head3(dec3) + quarter, self.head2(dec2) + half)
        return Restored(self.head1(dec1) + image, pyramid)


def image_embedding(channels: int) -> nn.Sequential:
    """Features of a shrunken input image."""
    return nn.Sequential(
        nn.Conv2d(3, channels // 4, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(channels // 4, channels // 2, 1),
        nn.GELU(),
        nn.Conv2d(channels // 2, channels // 2, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(channels // 2, channels, 1),
        InstanceNorm(channels),
    )
