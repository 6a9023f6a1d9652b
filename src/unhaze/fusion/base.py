"""What all fusion modules have in common: sites, depth levels, and a runner that a network takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.stage import Block, Runner, run_block
from unhaze.types import DepthLevel, Stage

__all__ = ["Fusion", "Site", "deepest_near", "nearest_level"]


class Site(nn.Module):
    """A fusion module at one stage of a network.

    Args:
        stage: Where it acts; features of ``stage.channels`` channels go in and come out.
        levels: Feature maps that the depth estimator gives.
    """

    def __init__(self, stage: Stage, levels: Sequence[DepthLevel]) -> None:
        super().__init__()

    def forward(self, block: Block, x: Tensor, prompt: Any) -> Tensor:
        """Run the stage with depth.

        Args:
            block: The stage itself.
            x: (B, C, H, W), its input.
            prompt: What :meth:`Fusion.prepare` made of the depth.

        Returns:
            (B, C, H, W); with fresh weights ``block(x)``, bit for bit.
        """
        raise NotImplementedError


class Fusion(nn.Module):
    """Depth fused into a network at some of its stages.

    A subclass names its class for one site in ``site``, and overrides :meth:`prepare` where all sites share something
    that depends on the picture. Sites take features of any size, and pad where they need to.

    Args:
        sites: The stages of the network at which it acts.
        levels: Feature maps that the depth estimator gives, fine to coarse.
        switches: For every site.

    Attributes:
        compares: Whether it wants depth of the restoration so far beside that of the hazy picture. The network is
            then run once without depth first.
        learns_after: Optimiser steps after which every parameter gets gradients: zero convolutions that come one behind
            the other, since each learns only when the next is no longer zero.
        looks_at_whole: Whether the result at a pixel depends on the whole picture, so that tiles change it.
        form: Raised when the module changes so that weights of before no longer fit, or no longer mean the same.
    """

    site: ClassVar[type[Site]]
    compares: ClassVar[bool] = False
    looks_at_whole: ClassVar[bool] = True
    form: ClassVar[int] = 1
    learns_after: int = 1

    def __init__(self, sites: Sequence[Stage], levels: Sequence[DepthLevel], **switches: Any) -> None:
        super().__init__()
        self.sites = nn.ModuleDict({stage.name: self.site(stage, levels, **switches) for stage in sites})

    def prepare(self, depth: DepthView) -> Any:
        """What all sites get, made once per picture; the depth itself unless a subclass says otherwise."""
        return depth

    def runner(self, depth: DepthView, run: Runner = run_block) -> Runner:
        """A runner for a network's forward pass.

        Args:
            depth: Depth of the picture that the network gets, or of the tile.
            run: Runs the stages that have no site, and the network's own block at those that have.
        """
        prompt = self.prepare(depth)

        def fuse(name: str, block: Block, x: Tensor, /) -> Tensor:
            if name not in self.sites:
                return run(name, block, x)
            fused: Tensor = self.sites[name](lambda y: run(name, block, y), x, prompt)
            return fused

        return fuse


def nearest_level(stage: Stage, levels: Sequence[DepthLevel]) -> int:
    """Index of the feature map whose stride is nearest to that of a stage, on a logarithmic scale.

    >>> levels = (DepthLevel(48, 3.5), DepthLevel(96, 7), DepthLevel(192, 14))
    >>> [nearest_level(Stage("enc1", 32, stride), levels) for stride in (1, 4, 8, 32)]
    [0, 0, 1, 2]
    """
    return min(range(len(levels)), key=lambda i: abs(math.log(levels[i].stride / stage.stride)))


def deepest_near(stage: Stage, levels: Sequence[DepthLevel]) -> int:
    """Index of the feature map of the nearest stride; the last one of several, which knows most about depth.

    >>> vit = (DepthLevel(384, 14),) * 4
    >>> deepest_near(Stage("enc1", 32, 1), vit)
    3
    >>> deepest_near(Stage("enc3", 32, 4), (DepthLevel(48, 3.5), DepthLevel(96, 7)))
    0
    """
    nearest = levels[nearest_level(stage, levels)].stride
    return max(i for i, level in enumerate(levels) if level.stride == nearest)
