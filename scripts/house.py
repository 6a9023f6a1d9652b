"""The order of the rooms, as a contract of import-linter.

``layers`` lists rooms from the top down; rooms on one line are parted by ``|``. A module belongs to the longest name
that begins its own, ``=name`` is a package without what lies in it. Imports, and objects that are loaded by a name such
as ``"unhaze.classic.dcp:DarkChannelPrior"``, may point to lower rooms and within a room, nowhere else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

_TARGET = re.compile(r"(unhaze(?:\.\w+)+):\w+")


class RoomsContract(Contract):
    """Imports and loading by name point downward only."""

    layers = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Whether every edge of the graph points downward."""
        levels = read_levels(self.layers)
        faults = list(upward_edges(graph, levels))
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the edges that point upward or sideways."""
        for fault in check.metadata["faults"]:
            output.print_error(fault)


def read_levels(layers: list[str]) -> dict[str, int]:
    """Room to the number of its line, counted from the top."""
    return {room.strip(): number for number, line in enumerate(layers) for room in line.split("|")}


def room_of(module: str, levels: dict[str, int]) -> str | None:
    """The room that a module lies in; ``None`` for the package itself, which only hands names on."""
    if f"={module}" in levels:
        return f"={module}"
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in levels), None)


def upward_edges(graph: Any, levels: dict[str, int]) -> Iterator[str]:
    """Sentences on edges that point upward, sideways, or from or to a module without a room."""
    for importer in sorted(module for module in graph.modules if module.startswith("unhaze.")):
        imported = {(target, "imports") for target in graph.find_modules_directly_imported_by(importer)}
        imported |= {(target, "loads by name") for target in _loaded_by_name(importer)}
        home = room_of(importer, levels)
        if home is None:
            yield f"{importer} lies in no room; add it to the layers."
            continue
        for target, verb in sorted(imported):
            room = room_of(target, levels) if target.startswith("unhaze.") else None
            if room is None or room == home or levels[home] < levels[room]:
                continue
            yield f"{importer} ({home}) {verb} {target} ({room}), which is not below it."


def _loaded_by_name(module: str) -> set[str]:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {match[1] for text in texts if (match := _TARGET.fullmatch(text))}
