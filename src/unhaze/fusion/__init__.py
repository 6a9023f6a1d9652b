"""The catalogue of fusion modules: ways of telling a network about depth.

A module is one file here, a subclass of :class:`~unhaze.fusion.base.Fusion`, and one line of the table. Other packages
add theirs through the entry-point group ``unhaze.fusions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.errors import UsageError
from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.fusion.base import Fusion, Site, nearest_level
    from unhaze.models.layers.depth_view import DepthView
    from unhaze.models.layers.stage import Block
    from unhaze.types import DepthLevel, Stage

__all__ = [
    "Block",
    "DepthLevel",
    "DepthView",
    "Fusion",
    "Site",
    "create_fusion",
    "fusion_info",
    "list_fusions",
    "nearest_level",
]

__getattr__ = loads_on_use(
    __name__,
    {
        "Block": "unhaze.models.layers.stage",
        "DepthLevel": "unhaze.types",
        "DepthView": "unhaze.models.layers.depth_view",
        "Fusion": "unhaze.fusion.base",
        "Site": "unhaze.fusion.base",
        "nearest_level": "unhaze.fusion.base",
    },
)


_CATALOG = Catalog(
    "fusion",
    {
        "concat": "unhaze.fusion.concat:ConcatFusion",
        "hgdf": "unhaze.fusion.hgdf:HierarchicalGatedDepthFusion",
        "prompthaze": "unhaze.fusion.prompthaze:PromptHazeFusion",
        "selfpromer": "unhaze.fusion.selfpromer:SelfPromerFusion",
        "udpnet": "unhaze.fusion.udpnet:UDPNetFusion",
        "zero": "unhaze.fusion.zero:NoFusion",
    },
    group="unhaze.fusions",
)


def list_fusions() -> list[str]:
    """Names of all fusion modules, sorted; those of other packages included."""
    return _CATALOG.names()


def fusion_info(name: str) -> type[Fusion]:
    """The class of a fusion module.

    Raises:
        UnknownNameError: No module has this name; near names are listed.
    """
    found: type[Fusion] = _CATALOG.load(name)
    return found


def create_fusion(name: str, sites: Sequence[Stage], levels: Sequence[DepthLevel], **switches: Any) -> Fusion:
    """Build a fusion module with fresh weights, with which it changes nothing.

    Args:
        name: One of :func:`list_fusions`.
        sites: Stages of the network at which it acts.
        levels: Feature maps that the depth estimator gives, fine to coarse.
        switches: Parts of the module to leave out, see its class.

    Raises:
        UnknownNameError: No module has this name; near names are listed.
        UsageError: The module has no such switch.
    """
    try:
        return fusion_info(name)(sites, levels, **switches)
    except TypeError as error:
        if not switches:
            raise
        raise UsageError(f"The fusion {name} cannot be built with {', '.join(switches)}: {error}.") from error
