"""Concatenation: the plainest way to tell a network about depth, a control for the learned modules.

Depth features are brought to the size of the stage, put beside its output, and a 1x1 convolution, zero at first, turns
both into what is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unhaze.fusion.base import Fusion, Site, nearest_level
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.stage import Block
from unhaze.types import DepthLevel, Stage

__all__ = ["ConcatFusion", "ConcatSite"]


class ConcatSite(Site):
    """``y = F(x) + Z([F(x), d])`` with a 1x1 convolution Z that starts at zero."""

    def __init__(self, stage: Stage, levels: Sequence[DepthLevel]) -> None:
        super().__init__(stage, levels)
        self.level = nearest_level(stage, levels)
        self.join = nn.Conv2d(stage.channels + levels[self.level].channels, stage.channels, 1)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)  # type: ignore[arg-type]

    def forward(self, block: Block, x: Tensor, prompt: DepthView) -> Tensor:
        """See :meth:`Site.forward`; ``x`` (B, C, h, w) keeps its shape."""
        y = block(x)
        depth = prompt.feature_at(self.level, (x.shape[-2], x.shape[-1]))
        return y + self.join(torch.cat((y, depth), 1))


class ConcatFusion(Fusion):
    """Concatenation at every site."""

    site = ConcatSite
    looks_at_whole = False
