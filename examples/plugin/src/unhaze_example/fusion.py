"""A fusion module: depth scales the features of a stage, by nothing at first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from unhaze.fusion import Block, DepthLevel, DepthView, Fusion, Site, nearest_level
from unhaze.models import Stage


class DepthGainSite(Site):
    """``y = F(x) (1 + Z(d))`` with a 1x1 convolution Z that starts at zero."""

    def __init__(self, stage: Stage, levels: Sequence[DepthLevel]) -> None:
        super().__init__(stage, levels)
        self.level = nearest_level(stage, levels)
        self.gain = nn.Conv2d(levels[self.level].channels, stage.channels, 1)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)

    def forward(self, block: Block, x: Tensor, prompt: DepthView) -> Tensor:
        """Run the stage with depth, (B, C, H, W)."""
        depth = prompt.feature_at(self.level, (x.shape[-2], x.shape[-1]))
        return block(x) * (1 + self.gain(depth))


class DepthGain(Fusion):
    """A gain at every site."""

    site = DepthGainSite
    looks_at_whole = False
