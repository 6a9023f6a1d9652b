"""A network: one convolution beside the picture. Trained weights would make it useful."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from unhaze.models import ImageContract, Model, Restored, Runner, Stage, run_block


class ResidualNetwork(Model):
    """What is added to the picture comes from one stage."""

    contract = ImageContract(tiling=3)  # radius of the receptive field [px]

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stages = (Stage("enc1", channels, 1),)
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.enc1 = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """Restore (B, 3, H, W) in [0, 1]."""
        features = run("enc1", self.enc1, self.stem(image))
        return Restored(image + self.head(features))


def residual_tiny(**overrides: Any) -> ResidualNetwork:
    """Eight channels."""
    return ResidualNetwork(**overrides)
