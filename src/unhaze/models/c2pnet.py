"""C2PNet: FFA-Net's groups of blocks, with the scattering model on features in place of pixel attention.

Paper: Zheng, Zhan, He, Dong, Du, "Curricular Contrastive Regularization for Physics-aware Single Image Dehazing", CVPR
2023.
Official code: YuZheng9/C2PNet at b09e79c (no licence stated).
Deviations: none.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.feature_attention import Gate
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["C2PNet", "c2pnet"]


class C2PNet(Model):
    """Curricular Contrastive, Physics-aware Network.

    Args:
        num_blocks: Blocks in each of the three groups.
        channels: Width.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^pre\.0\.", "stem."),
        (r"^g([1-3])\.gp\.", r"enc\1."),
        (r"\.calayer\.ca\.0\.", ".channel.squeeze."),
        (r"\.calayer\.ca\.2\.", ".channel.excite."),
        (r"(^|\.)pdu\.ka\.0\.", r"\1physics.airlight.squeeze."),
        (r"(^|\.)pdu\.ka\.2\.", r"\1physics.airlight.excite."),
        (r"(^|\.)pdu\.td\.", r"\1physics.transmission."),
        (r"^ca\.1\.", "weigh.squeeze."),
        (r"^ca\.3\.", "weigh.excite."),
        (r"^post\.0\.", "refine."),
        (r"^post\.1\.", "head."),
    )
    contract = ImageContract()

    def __init__(self, num_blocks: int = 19, channels: int = 64) -> None:
        super().__init__()
        self.stages = tuple(Stage(f"enc{i}", channels, 1) for i in (1, 2, 3))
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.enc1 = Group(channels, num_blocks)
        self.enc2 = Group(channels, num_blocks)
        self.enc3 = Group(channels, num_blocks)
        self.weigh = Gate(3 * channels, channels // 16, 3 * channels)
        self.physics = PhysicsUnit(channels)
        self.refine = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        x1 = run("enc1", self.enc1, self.stem(image))
        x2 = run("enc2", self.enc2, x1)
        x3 = run("enc3", self.enc3, x2)
        means = torch.cat([x.mean((2, 3), keepdim=True) for x in (x1, x2, x3)], 1)
        w1, w2, w3 = self.weigh(means).chunk(3, 1)
        x = self.physics(w1 * x1 + w2 * x2 + w3 * x3)
        return Restored(image + self.head(self.refine(x)))


class PhysicsUnit(nn.Module):
    """Physics-aware dual-branch unit: an airlight per channel and a transmission per value, J t + A (1 - t).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.airlight = Gate(channels, channels // 8, channels)
        self.transmission = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, channels // 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 8, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return torch.lerp(self.airlight(x.mean((2, 3), keepdim=True)), x, self.transmission(x))


class PhysicsBlock(nn.Module):
    """A residual block whose change is weighed per channel, then passes the physics unit."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.channel = Gate(channels, channels // 8, channels)
        self.physics = PhysicsUnit(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu_(self.conv1(x)) + x)
        out: Tensor = x + self.physics(y * self.channel(y.mean((2, 3), keepdim=True)))
        return out


class Group(nn.Sequential):
    """Physics blocks and a convolution, with a connection around all of them."""

    def __init__(self, channels: int, num_blocks: int) -> None:
        blocks = [PhysicsBlock(channels) for _ in range(num_blocks)]
        super().__init__(*blocks, nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


def c2pnet(**overrides: Any) -> C2PNet:
    """The network of the paper."""
    return C2PNet(**overrides)
