"""The catalogue of fusion modules: ways of telling a network about depth.

A module is one file here and goes by the file's name; its ``FUSION`` is a subclass of
:class:`~unhaze.fusion.base.Fusion`. Other packages add theirs through the entry-point group ``unhaze.fusions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.errors import UsageError

if TYPE_CHECKING:
    from unhaze.fusion.base import Fusion
    from unhaze.types import DepthLevel, Stage

__all__ = ["create_fusion", "fusion_class", "list_fusions"]


def list_fusions() -> list[str]:
    """Names of all fusion modules, sorted; those of other packages included."""
    return _catalogue().names()


def fusion_class(name: str) -> type[Fusion]:
    """The class of a fusion module.

    Raises:
        UnknownNameError: No module has this name; near names are listed.
    """
    found: type[Fusion] = _catalogue().load(name)
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
        return fusion_class(name)(sites, levels, **switches)
    except TypeError as error:
        if not switches:
            raise
        raise UsageError(f"The fusion {name} cannot be built with {', '.join(switches)}: {error}.") from error


@cache
def _catalogue() -> Catalog:
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    entries = {path.stem: f"{__name__}.{path.stem}:FUSION" for path in files}
    return Catalog("fusion", entries, group="unhaze.fusions")
