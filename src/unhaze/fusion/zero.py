"""No fusion at all: the control that shows what a pipeline does without depth.

It has no parameters, and the network runs as if it were not there.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unhaze.fusion.base import Fusion, Site
from unhaze.models.layers.stage import Block

__all__ = ["NoFusion", "NoSite"]


class NoSite(Site):
    """A stage that is left as it is."""

    def forward(self, block: Block, x: Tensor, _prompt: Any) -> Tensor:
        """See :meth:`Site.forward`; ``x`` (B, C, h, w) keeps its shape."""
        return block(x)


class NoFusion(Fusion):
    """A fusion that changes nothing."""

    site = NoSite
    looks_at_whole = False
