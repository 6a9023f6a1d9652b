"""Docstrings of public functions that take or give arrays or tensors say of which shape these are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import unhaze

PACKAGE = Path(unhaze.__file__).parent
LEAST_SHARE = 0.60

# a tuple in parentheses with a side, a batch, channels or a plain number in it: (H, W, 3), (B, C, H/2, W/2), (3,)
_ENTRY = r"(?:\.\.\.|\d*[A-Za-z_']\w*'?|\d+)(?: ?[*/+-] ?(?:\w+|\([^()]*\)))*"
SHAPE = re.compile(rf"\({_ENTRY}(?:, {_ENTRY})+\)|\((?:\d+|[A-Z]),\)")
_SIDE = re.compile(r"(?<![A-Za-z])\d?(?:[BCDHKNWhw]|height|width|channels|pixels)(?![A-Za-z])")


class Function(NamedTuple):
    """A public function or method through which arrays or tensors pass."""

    where: str
    docstring: str


def states_shape(docstring: str) -> bool:
    """Whether a docstring names a shape: a tuple of sides."""
    return any(
        match[0].endswith(",)") or _SIDE.search(match[0]) or match[0].replace(" ", "").strip("()").count("3")
        for match in SHAPE.finditer(docstring)
    )


def array_functions(package: Path) -> list[Function]:
    """Public functions of public modules, and methods of their public classes, that take or give arrays or tensors."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}
    arrays = _array_types(trees.values())
    found = []
    for path, tree in trees.items():
        parts = path.relative_to(package).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts) or parts[0] == "cli":
            continue
        named = _named(tree)
        public = [
            node
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
            and (not node.name.startswith("_") if named is None else node.name in named)
        ]
        for name, node in _functions(public):
            annotations = [each.annotation for each in ast.walk(node.args) if isinstance(each, ast.arg)]
            words = " ".join(ast.unparse(each) for each in (*annotations, node.returns) if each)
            if arrays.search(words):
                found.append(Function(f"{'.'.join(parts)}:{name}", ast.get_docstring(node) or ""))
    return found


def _functions(nodes: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            shown = [each for each in node.body if not getattr(each, "name", "_").startswith("_") or _is_call(each)]
            yield from _functions(shown, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and "overload" not in map(ast.unparse, node.decorator_list):
            yield prefix + node.name, node


def _is_call(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__call__"


def _named(tree: ast.Module) -> set[str] | None:
    """What ``__all__`` names."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def _array_types(trees) -> re.Pattern[str]:
    """Words of an annotation that mean arrays: the types themselves, and the names that modules give to them."""
    names = {"Tensor", "NDArray", "ndarray"}
    assignments = [
        (ast.unparse(node.targets[0]), ast.unparse(node.value))
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp | ast.Call)
    ]
    while True:
        pattern = re.compile(rf"\b(?:{'|'.join(sorted(names))})\b")
        more = {
            name
            for name, value in assignments
            if re.fullmatch(r"[A-Z]\w*[a-z]\w*", name)
            and (
                _is_alias(value, pattern) or (value.startswith("TypeVar(") and re.match(r"(?:Array|Image|Map)T", name))
            )
        }
        if more <= names:
            return pattern
        names |= more


def _is_alias(value: str, pattern: re.Pattern[str]) -> bool:
    """Whether a right side is a type made of arrays, and not a call or a look into an array."""
    return bool(pattern.search(value)) and "(" not in value


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("(H, W, 3) RGB in [0, 1].", True),
        ("Features (B, 2C, H/2, W/2).", True),
        ("The airlight, (3,).", True),
        ("(..., H, W) of any kind", True),
        ("(height, width) metres", True),
        ("He et al. (2011, Eq. 5)", False),
        ("a mean (see below, too)", False),
        ("Whether it is so.", False),
    ],
)
def test_what_counts_as_a_shape(text, stated):
    assert states_shape(text) is stated


def test_functions_with_arrays_are_found(tmp_path):
    source = (
        "Pixels = NDArray[Any]\n__all__ = ['One', 'two']\n"
        "class One:\n    def read(self) -> Pixels: ...\n    def _hidden(self, x: Tensor): ...\n"
        "    def name(self) -> str: ...\ndef two(*, x: 'np.ndarray'): ...\ndef three(x: Tensor): ...\n"
    )
    (tmp_path / "room.py").write_text(source)
    (tmp_path / "_private.py").write_text("def four(x: Tensor): ...")
    assert [each.where for each in array_functions(tmp_path)] == ["room:One.read", "room:two"]


def test_most_docstrings_state_shapes():
    functions = array_functions(PACKAGE)
    assert len(functions) > 200, "the functions are not found any more"
    silent = [each.where for each in functions if not states_shape(each.docstring)]
    share = 1 - len(silent) / len(functions)
    listed = "\n".join(silent)
    assert share >= LEAST_SHARE, f"{share:.1%} of {len(functions)} functions state shapes; these do not:\n{listed}"
