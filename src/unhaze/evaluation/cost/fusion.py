"""What a fusion module adds to a network: parameters and multiply-accumulates, without the depth estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unhaze.evaluation.cost.convention import count_calls
from unhaze.evaluation.cost.network import CONVENTION_SIZE
from unhaze.fusion import create_fusion
from unhaze.models.guided import default_sites
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.networks import create_network, resolve_network
from unhaze.types import DepthLevel

__all__ = ["DEPTH_ANYTHING_SMALL", "DEPTH_SIDE", "FusionCost", "count_fusion"]

DEPTH_SIDE = 518
"""Side at which Depth Anything V2 sees a square image [px]."""

DEPTH_ANYTHING_SMALL = (DepthLevel(384, 14),) * 4
"""The intermediate maps of its smallest transformer."""


@dataclass(frozen=True, slots=True)
class FusionCost:
    """What is added.

    Attributes:
        backbone: Name of the network.
        fusion: Name of the fusion module.
        sites: Stages at which it acts.
        parameters: All that are added.
        convention_parameters: As papers print them, see :mod:`unhaze.evaluation.cost.convention`.
        convention_macs: The same, for one image of 224x224.
    """

    backbone: str
    fusion: str
    sites: tuple[str, ...]
    parameters: int
    convention_parameters: int
    convention_macs: int


def count_fusion(
    backbone: str,
    fusion: str,
    levels: Sequence[DepthLevel] = DEPTH_ANYTHING_SMALL,
    *,
    sites: Sequence[str] | None = None,
    depth_side: int = DEPTH_SIDE,
    **switches: object,
) -> FusionCost:
    """Count what a fusion module adds to a network; only shapes are computed.

    Args:
        backbone: Name of the network.
        fusion: Name of the fusion module.
        levels: Feature maps of the depth estimator, fine to coarse.
        sites: Stages at which the module acts, by default those of P2.
        depth_side: Side at which the estimator sees the image [px]; with the strides of ``levels`` it gives the sizes
            of the maps.
        switches: Parts of the module to leave out.

    Raises:
        UnknownNameError: There is no such network or module.
        UsageError: The module has no such switch.

    >>> count_fusion("oknet", "zero").convention_macs
    0
    """
    name = resolve_network(backbone)
    chosen = default_sites(name) if sites is None else tuple(sites)
    with torch.device("meta"):
        network = create_network(name).eval()
        stages = [stage for stage in network.stages if stage.name in chosen]
        module = create_fusion(fusion, stages, levels, **switches).eval()
        image = torch.empty(1, 3, CONVENTION_SIZE, CONVENTION_SIZE)
        # depth without numbers, of a picture and its restoration: features at the estimator's size, the map at theirs
        sides = [max(1, round(depth_side / level.stride)) for level in levels]
        features = tuple(torch.empty(1, level.channels, n, n) for level, n in zip(levels, sides, strict=True))
        alone = DepthView(torch.empty(1, 1, CONVENTION_SIZE, CONVENTION_SIZE), features)
        depth = DepthView(alone.nearness, features, restored=alone)
    count = count_calls(module, lambda: network.restore(image, module.runner(depth)))
    parameters = sum(p.numel() for p in module.parameters())
    return FusionCost(name, fusion, chosen, parameters, count.parameters, count.macs)
