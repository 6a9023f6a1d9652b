"""The catalogue of networks.

A network is one file here. Its ``VARIANTS`` names functions that build it; ``{"t": dehazeformer_t}`` in
``dehazeformer.py`` gives the name ``dehazeformer-t``. Files are read for their names but not run, so that listing is
quick, needs no torch, and a broken file breaks only its own names.
"""

from __future__ import annotations

import ast
import difflib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from unhaze.models.base import Backbone

__all__ = ["create_backbone", "list_backbones", "register_backbone", "resolve_backbone"]


def list_backbones() -> list[str]:
    """Names of all networks, sorted; those of other packages (entry points ``unhaze.models``) included."""
    return _catalogue().names()


def resolve_backbone(name: str) -> str:
    """The full name of a network whose variant may have been left out.

    Args:
        name: One of :func:`list_backbones`, or a family that has one variant.

    Raises:
        UnknownNameError: No network has this name; near names are listed.
        UsageError: The family has several variants.

    >>> resolve_backbone("sgdnet")
    'sgdnet-base'
    """
    names = list_backbones()
    if name in names:
        return name
    variants = [full for full in names if full.rpartition("-")[0] == name]
    if len(variants) > 1:
        raise UsageError(f"There are several variants of {name}; name one of: {', '.join(variants)}.")
    if not variants:
        families = {full.rpartition("-")[0] for full in names}
        near = difflib.get_close_matches(name, families, n=1, cutoff=0.75)
        # a misspelt family means its own variants, not those that other families name after it (psd-gcanet)
        raise UnknownNameError("network", name, [full for full in names if full.rpartition("-")[0] in near] or names)
    return variants[0]


def register_backbone(name: str, target: str) -> None:
    """Add a network to the catalogue while the program runs, so that recipes and fusions know it.

    Args:
        name: ``"<family>-<variant>"``; the family decides where fusions act.
        target: ``"package.module:function"``; the function takes overrides and returns a
            :class:`~unhaze.models.base.Backbone`.

    Raises:
        UsageError: The name is taken.
    """
    _catalogue().register(name, target)


def create_backbone(name: str, **overrides: Any) -> Backbone:
    """Build a network with fresh weights.

    Args:
        name: One of :func:`list_backbones`.
        overrides: Constructor arguments that differ from those of the variant.

    Raises:
        UnknownNameError: No network has this name; near names are listed.
        UsageError: The network has no such argument.
        MissingDependencyError: torch is not installed.
    """
    catalogue = _catalogue()
    try:
        build = catalogue.load(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", f"build the network {name}") from error
    try:
        network: Backbone = build(**overrides)
    except TypeError as error:
        if not overrides:
            raise
        raise UsageError(f"The network {name} cannot be built with {', '.join(overrides)}: {error}.") from error
    return network


@cache
def _catalogue() -> Catalog:
    entries: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        entries |= _entries_of(path)
    return Catalog("network", entries, group="unhaze.models")


def _entries_of(path: Path) -> dict[str, str]:
    """Catalogue name to ``module:function`` for one file, from its ``VARIANTS`` literal."""
    module = f"unhaze.models.{path.stem}"
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:
        return {path.stem: f"{module}:VARIANTS"}  # importing it will show the fault; the others stay usable
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == "VARIANTS" and isinstance(value, ast.Dict):
            return {
                f"{path.stem}-{ast.literal_eval(variant)}": f"{module}:{ast.unparse(function)}"
                for variant, function in zip(value.keys, value.values, strict=True)
                if variant is not None
            }
    return {}
