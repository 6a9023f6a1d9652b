"""Count private functions: how many there are for the lines of the package, and which have one caller and few lines.

    python scripts/count_private.py [--lines 3] [FOLDER]

A private function, or method, has a name with one underscore in front. One that is called once and is short hides the
reader's way; fold it into its caller unless its name is one that somebody would look for.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "unhaze"


@dataclass(frozen=True)
class PrivateFunction:
    """A private function: where it is, its lines without signature and docstring, and mentions in its file."""

    path: Path
    name: str
    line: int
    length: int
    uses: int


def count_lines(folder: Path) -> int:
    """Lines of all Python files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


def private_functions(folder: Path) -> list[PrivateFunction]:
    """All private functions and methods below a folder, those within functions included."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = list(ast.walk(tree))
        uses = Counter(node.id if isinstance(node, ast.Name) else node.attr for node in nodes if _is_mention(node))
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("_"):
                if node.name.startswith("__"):
                    continue
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                found.append(PrivateFunction(path, node.name, node.lineno, length, uses[node.name]))
    return found


def _is_mention(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)


def main() -> None:
    """Print the count, and the functions that are candidates for folding."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=PACKAGE)
    parser.add_argument("--lines", type=int, default=3, help="longest body of the candidates that are listed")
    options = parser.parse_args()
    functions, lines = private_functions(options.folder), count_lines(options.folder)
    for each in functions:
        if each.uses == 1 and each.length <= options.lines:
            print(f"{each.path.relative_to(options.folder)}:{each.line}  {each.name}, {each.length} lines")
    print(f"{len(functions)} private functions in {lines} lines: one in {lines / max(len(functions), 1):.1f}")


if __name__ == "__main__":
    main()
