"""AOD-Net: a handful of 3-channel convolutions that estimate one map K and apply it.

Paper: Li, Peng, Wang, Xu, Feng, "AOD-Net: All-in-One Dehazing Network", ICCV 2017.
Official code: TheFairBear/PyTorch-Image-Dehazing at dc26717 (MIT).
Deviations: none. The weights start as in the official training script, normal with a standard deviation of 0.02.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["AODNet", "aodnet"]


class AODNet(Model):
    """All-in-One Dehazing Network.

    Args:
        channels: Width of every layer.
    """

    KEY_MAP: ClassVar[KeyMap] = ((r"^e_conv", "conv"),)
    contract = ImageContract(tiling=7)

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * channels, channels, 5, padding=2)
        self.conv4 = nn.Conv2d(2 * channels, channels, 7, padding=3)
        self.conv5 = nn.Conv2d(4 * channels, 3, 3, padding=1)
        self.stages = (*(Stage(f"enc{i}", channels, 1) for i in range(1, 5)), Stage("dec1", 3, 1))
        for layer in self.children():
            assert isinstance(layer, nn.Conv2d)
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        x1 = run("enc1", F.relu, self.conv1(image))
        x2 = run("enc2", F.relu, self.conv2(x1))
        x3 = run("enc3", F.relu, self.conv3(torch.cat((x1, x2), 1)))
        x4 = run("enc4", F.relu, self.conv4(torch.cat((x2, x3), 1)))
        k = run("dec1", F.relu, self.conv5(torch.cat((x1, x2, x3, x4), 1)))
        return Restored(F.relu(k * image - k + 1), aux={"k": k})  # J = K I - K + b, with b = 1


def aodnet(**overrides: Any) -> AODNet:
    """The network of the paper."""
    return AODNet(**overrides)
