"""The three-level skeleton that DEA-Net and SAD-Net share; they differ in their blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.content_attention import CONTENT_KEYS, ContentMix
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import Restored, Stage

__all__ = ["SKELETON_KEYS", "DetailUNet"]

SKELETON_KEYS: KeyMap = (
    *CONTENT_KEYS,
    (r"^(mix[12])\.conv\.", r"\1.project."),
    (r"^mix1\.", "mix3."),
    (r"^down1\.0\.", "stem."),
    (r"^down2\.0\.", "down1."),
    (r"^down3\.0\.", "down2."),
    (r"^fe_level_([23])\.", r"embed\1."),
    (r"^down_level([12])_block", r"enc\1.block"),
    (r"^level3_block", "mid.block"),
    (r"^up_level([12])_block", r"dec\1.block"),
    (r"^up1\.0\.", "up2."),
    (r"^up2\.0\.", "up1."),
    (r"^up3\.0\.", "head."),
)


class DetailUNet(Model):
    """Three levels, a mixing of early and late features at two of them, an image without a residual.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Blocks of the two outer levels, each way; the innermost has twice as many.
        outer_block: Makes a block of the two outer levels, given its width.
        inner_block: Makes a block of the innermost level, given its width.
    """

    def __init__(
        self,
        channels: int,
        num_blocks: int,
        outer_block: Callable[[int], nn.Module],
        inner_block: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        self.stages = (
            Stage("enc1", c1, 1),
            Stage("enc2", c2, 2),
            Stage("mid", c3, 4),
            Stage("dec2", c2, 2),
            Stage("dec1", c1, 1),
        )

        def level(block: Callable[[int], nn.Module], width: int, number: int = num_blocks) -> nn.Sequential:
            return nn.Sequential(OrderedDict((f"block{i}", block(width)) for i in range(1, number + 1)))

        self.stem = nn.Conv2d(3, c1, 3, padding=1)
        self.enc1 = level(outer_block, c1)
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.embed2 = nn.Conv2d(c2, c2, 3, padding=1)
        self.enc2 = level(outer_block, c2)
        self.down2 = nn.Conv2d(c2, c3, 3, stride=2, padding=1)
        self.embed3 = nn.Conv2d(c3, c3, 3, padding=1)
        self.mid = level(inner_block, c3, 2 * num_blocks)
        self.mix3 = ContentMix(c3, reduction=8)
        self.up2 = nn.ConvTranspose2d(c3, c2, 3, stride=2, padding=1, output_padding=1)
        self.dec2 = level(outer_block, c2)
        self.mix2 = ContentMix(c2, reduction=4)
        self.up1 = nn.ConvTranspose2d(c2, c1, 3, stride=2, padding=1, output_padding=1)
        self.dec1 = level(outer_block, c1)
        self.head = nn.Conv2d(c1, 3, 3, padding=1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        enc1 = run("enc1", self.enc1, self.stem(image))  # (B, C, H, W)
        half = F.relu_(self.down1(enc1))
        enc2 = run("enc2", self.enc2, self.embed2(half))  # (B, 2C, H/2, W/2)
        quarter = F.relu_(self.down2(enc2))
        mid = run("mid", self.mid, self.embed3(quarter))  # (B, 4C, H/4, W/4)
        dec2 = run("dec2", self.dec2, F.relu_(self.up2(self.mix3(quarter, mid))))
        dec1 = run("dec1", self.dec1, F.relu_(self.up1(self.mix2(half, dec2))))
        return Restored(self.head(dec1))
