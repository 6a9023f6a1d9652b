"""Docstrings as the source has them, turned into Markdown that links: Sphinx roles and bare doctests."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|attr|data|exc|obj):`(?:[^`<]+<(?P<long>[^`>]+)>|(?P<target>[^`]+))`")
_DOCTEST = re.compile(r"(?:^>>> .*\n?(?:^(?!>>> )\S.*\n?|^\.\.\. ?.*\n?)*)+", re.M)


class DocstringMarkdown(griffe.Extension):
    """Rewrites every docstring of a package once all of it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Called by griffe with the loaded package."""
        _rewrite(pkg)


def _rewrite(thing: griffe.Module | griffe.Class | griffe.Function | griffe.Attribute) -> None:
    if thing.docstring:
        text = ROLE.sub(lambda match: _link(match, thing), thing.docstring.value)
        thing.docstring.value = _DOCTEST.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)
    members: dict[str, Any] = thing.members  # its union of kinds is wider than what functions of griffe take
    for member in members.values():
        if member.is_alias:
            continue
        if thing.is_module and member.is_attribute and not member.has_docstring and not member.name.startswith("_"):
            member.docstring = griffe.Docstring(_comment_above(member), parent=member)
        _rewrite(member)


def _comment_above(constant: Any) -> str:
    """What the source says of a constant that has no docstring: without one it would not be shown at all."""
    lines, told = constant.module.source.splitlines(), []
    for line in reversed(lines[: (constant.lineno or 1) - 1]):
        if not line.startswith("#"):
            break
        told.insert(0, line.removeprefix("#").strip())
    return " ".join(told) or "A constant."


def _link(match: re.Match[str], thing: Any) -> str:
    """A cross-reference where the name is public, else its mere name."""
    target = match["long"] or match["target"]
    shown = target.lstrip("~").rpartition(".")[2] if target.startswith("~") else target
    full = _resolve(target.lstrip("~!").removesuffix("()"), thing)
    return f"`{shown}`" if full is None or not _is_shown(full) else f"[`{shown}`][{full.canonical_path}]"


def _is_shown(thing: Any) -> bool:
    """Whether the reference has a place for it: public all the way up, and described."""
    if thing.is_module:
        return not any(part.startswith("_") for part in thing.path.split("."))
    holder = thing.parent
    named = holder.exports if holder.is_module else None
    hidden = thing.name.startswith("_") if named is None else thing.name not in named
    return thing.has_docstring and not hidden and _is_shown(holder)


def _resolve(name: str, thing: Any) -> Any:
    """What ``name`` means inside ``thing``; ``None`` for what the package does not hold."""
    head, _, rest = name.partition(".")
    root = thing.package
    scope: Any = thing
    while scope is not None:
        if head == root.name:
            break
        if head in scope.members:
            return _follow(scope, name)
        scope = scope.parent
    if head != root.name:
        return None
    return _follow(root, rest) if rest else root


def _follow(scope: Any, name: str) -> Any:
    for part in name.split("."):
        try:
            scope = scope.final_target if scope.is_alias else scope
            scope = scope.all_members[part] if scope.is_class else scope.members[part]
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None
    try:
        return scope.final_target if scope.is_alias else scope
    except (griffe.AliasResolutionError, griffe.CyclicAliasError):
        return None
