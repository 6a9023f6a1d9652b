"""FFA-Net: residual blocks with channel and pixel attention, at full resolution throughout.

Paper: Qin, Wang, Bai, Xie, Jia, "FFA-Net: Feature Fusion Attention Network for Single Image Dehazing", AAAI 2020.
Official code: zhilin007/FFA-Net at 6651bcf (no licence stated).
Deviations: none. The restored image is in [0, 1] although the residual is added to the normalised input, as in the
official code.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.feature_attention import AttentionBlock, Gate
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["FFANet", "ffanet"]


class FFANet(Model):
    """Feature Fusion Attention Network.

    Args:
        num_blocks: Blocks in each of the three groups.
        channels: Width.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^pre\.0\.", "stem."),
        (r"^g([1-3])\.gp\.", r"enc\1."),
        (r"\.calayer\.ca\.0\.", ".channel.squeeze."),
        (r"\.calayer\.ca\.2\.", ".channel.excite."),
        (r"\.palayer\.pa\.0\.", ".pixel.squeeze."),
        (r"\.palayer\.pa\.2\.", ".pixel.excite."),
        (r"^ca\.1\.", "weigh.squeeze."),
        (r"^ca\.3\.", "weigh.excite."),
        (r"^palayer\.pa\.0\.", "pixel.squeeze."),
        (r"^palayer\.pa\.2\.", "pixel.excite."),
        (r"^post\.0\.", "refine."),
        (r"^post\.1\.", "head."),
    )
    contract = ImageContract(mean=(0.64, 0.6, 0.58), std=(0.14, 0.15, 0.152))

    def __init__(self, num_blocks: int = 19, channels: int = 64) -> None:
        super().__init__()
        self.stages = tuple(Stage(f"enc{i}", channels, 1) for i in (1, 2, 3))
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.enc1 = Group(channels, num_blocks)
        self.enc2 = Group(channels, num_blocks)
        self.enc3 = Group(channels, num_blocks)
        self.weigh = Gate(3 * channels, channels // 16, 3 * channels)
        self.pixel = Gate(channels, channels // 8, 1)
        self.refine = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) normalised by the contract's ``mean`` and ``std``."""
        return Restored(image + self.head(self.refine(self.features(image, run))))

    def features(self, image: Tensor, run: Runner) -> Tensor:
        """What the head restores the image from, (B, C, H, W)."""
        x1 = run("enc1", self.enc1, self.stem(image))
        x2 = run("enc2", self.enc2, x1)
        x3 = run("enc3", self.enc3, x2)
        means = torch.cat([x.mean((2, 3), keepdim=True) for x in (x1, x2, x3)], 1)
        w1, w2, w3 = self.weigh(means).chunk(3, 1)
        x = w1 * x1 + w2 * x2 + w3 * x3
        return x * self.pixel(x)


class Group(nn.Sequential):
    """Attention blocks and a convolution, with a connection around all of them."""

    def __init__(self, channels: int, num_blocks: int) -> None:
        blocks = [AttentionBlock(channels) for _ in range(num_blocks)]
        super().__init__(*blocks, nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


def ffanet(**overrides: Any) -> FFANet:
    """The network of the paper."""
    return FFANet(**overrides)
