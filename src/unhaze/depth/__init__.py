"""The catalogue of depth estimators.

An estimator is one file here; its ``VARIANTS`` maps full names to functions that build it:
``{"ra-depth": ra_depth}``, and its ``CARDS`` says of each name the licence of the weights and whether a user has to
bring them: ``{"ra-depth": ("MIT", "needed: a file")}``. Files are read for these two but not run. Other packages add
theirs through the entry-point group ``unhaze.depth``.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from unhaze.depth._base import DepthEstimator

__all__ = ["DepthCard", "create_depth", "depth_card", "list_depth"]


@dataclass(frozen=True, slots=True)
class DepthCard:
    """What is known of a depth estimator without building it.

    Attributes:
        name: In the catalogue.
        license: Licence of the weights.
        weights: Whether a user has to bring them.
    """

    name: str
    license: str
    weights: str


def list_depth() -> list[str]:
    """Names of all depth estimators, sorted; those of other packages included."""
    return _catalogue().names()


def depth_card(name: str) -> DepthCard:
    """The card of a depth estimator; torch is not needed.

    Raises:
        UnknownNameError: No estimator has this name.

    >>> depth_card("compact")
    DepthCard(name='compact', license='Apache-2.0', weights='shipped')
    """
    known = list_depth()
    if name not in known:
        raise UnknownNameError("depth estimator", name, known)
    return DepthCard(name, *_cards().get(name, ("told before first use", "see its package")))


def create_depth(name: str, **options: Any) -> DepthEstimator:
    """Build a depth estimator, frozen and in evaluation mode.

    Args:
        name: One of :func:`list_depth`, or the path of a depth map that stands for one picture.
        options: Options of the estimator, such as ``weights``, a file or a folder.

    Raises:
        UnknownNameError: No estimator has this name; near names are listed.
        UsageError: It has no such option, or needs one that is not given.
        WeightsNotFoundError: Its weights are not there; the message says what to give.
        MissingDependencyError: It needs a package that is not installed.
    """
    catalogue = _catalogue()
    if name not in catalogue.names() and Path(name).is_file():
        name, options = "file", {"path": name, **options}
    try:
        build = catalogue.load(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", f"estimate depth with {name}") from error
    try:
        signature(build).bind(**options)
    except TypeError as error:
        raise UsageError(f"The depth estimator {name} cannot be made like this: {error}; see docs/depth.md.") from error
    estimator: DepthEstimator = build(**options)
    estimator.name = name
    return estimator.eval().requires_grad_(False)


@functools.cache
def _catalogue() -> Catalog:
    entries: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        entries |= _entries_of(path)
    return Catalog("depth estimator", entries, group="unhaze.depth")


@functools.cache
def _cards() -> dict[str, tuple[str, str]]:
    cards: dict[str, tuple[str, str]] = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        found = _assigned(path, "CARDS")
        cards |= {} if found is None else ast.literal_eval(found)
    return cards


def _entries_of(path: Path) -> dict[str, str]:
    """Catalogue name to ``module:function`` for one file, from its ``VARIANTS`` literal; empty without one."""
    variants = _assigned(path, "VARIANTS")
    if variants is None:
        return {}
    assert isinstance(variants, ast.Dict)
    return {
        ast.literal_eval(name): f"{__name__}.{path.stem}:{ast.unparse(function)}"
        for name, function in zip(variants.keys, variants.values, strict=True)
        if name is not None
    }


def _assigned(path: Path, name: str) -> ast.expr | None:
    """What a file assigns to ``name`` at its top level."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
    return None
