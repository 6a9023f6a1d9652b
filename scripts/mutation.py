"""How many small faults the tests of a room notice: a sample of its mutants, each run against the room's own tests.

    python scripts/mutation.py physics metrics fusion --mutants 60

A mutant is one place of the code changed by Cosmic Ray (another number, operator, comparison, keyword, ...). Places
are drawn first and changes second, so that an expression with many possible changes counts once. Changes that no test
could ever see are no mutants: annotations, docstrings, and bitwise operators on what are no bits. Everything happens in
a copy; the process with the libraries loaded is forked for every mutant, so this needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("cv2", "numpy", "scipy.stats", "skimage.metrics", "torch", "torchmetrics")
TESTS_BESIDE = {
    "fusion": ["tests/contracts/test_fusions.py"]
}  # a contract suite belongs to the room whose contract it is
ON_BITS = re.compile(r"_(RShift|LShift|BitOr|BitAnd|BitXor)$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed file."""

    path: Path
    source: str
    mutated: str

    @property
    def diff(self) -> str:
        """The changed line, before and after."""
        lines = difflib.unified_diff(self.source.splitlines(), self.mutated.splitlines(), lineterm="", n=0)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


def main() -> int:
    """Print the share of mutants that fail a test, room by room, and every survivor; 1 if a share is below the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="+", help="folders of src/unhaze")
    parser.add_argument("--mutants", type=int, default=60, help="sampled per room")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--gate", type=float, default=85, help="least score in percent")
    arguments = parser.parse_args()
    scores = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "unhaze"
        for part in ("src", "tests", "docs", "pyproject.toml"):
            source = ROOT / part
            copier = shutil.copytree if source.is_dir() else shutil.copy
            copy.mkdir(exist_ok=True)
            copier(source, copy / part)
        os.chdir(copy)
        sys.path[:0] = [str(copy / "src"), str(copy)]
        sys.dont_write_bytecode = True  # two versions of one size and second would share theirs
        os.environ |= {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        for library in LIBRARIES:
            with contextlib.suppress(ImportError):
                importlib.import_module(library)
        for room in arguments.rooms:
            scores[room] = _score(copy, room, arguments.mutants, arguments.seed)
    for room, score in scores.items():
        print(f"{room}: {score:.1f} %")
    return 1 if min(scores.values()) < arguments.gate else 0


def _score(copy: Path, room: str, count: int, seed: int) -> float:
    tests = [f"tests/{room}", *TESTS_BESIDE.get(room, [])]
    begin = time.monotonic()
    if _fails(tests, 3600, silent=False):
        raise SystemExit(f"The tests of {room} fail without any mutant; mend them first.")
    seconds = time.monotonic() - begin
    print(f"{room}: its tests take {seconds:.0f} s", flush=True)
    killed = total = 0
    for mutant in _sample(copy / "src" / "unhaze" / room, count, seed):
        mutant.path.write_text(mutant.mutated, encoding="utf-8")
        # the tests of the file itself come first and alone, so that most mutants die at once
        own = map(str, sorted((copy / "tests" / room).rglob(f"test_{mutant.path.stem.lstrip('_')}.py")))
        died = any(_fails([each], 60 + 5 * seconds) for each in (*own, *tests))
        mutant.path.write_text(mutant.source, encoding="utf-8")
        total, killed = total + 1, killed + died
        print(f"{killed} of {total} noticed", end="\r", flush=True)
        if not died:
            print(f"survived: {mutant.path.relative_to(copy)}\n{mutant.diff}", flush=True)
    print(f"{room}: {killed} of {total} mutants noticed", flush=True)
    return 100 * killed / total


def _sample(folder: Path, count: int, seed: int) -> Iterator[Mutant]:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    places: dict[tuple[Path, tuple[int, int]], list[tuple[object, int]]] = {}
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    for path, source in sources.items():
        nodes = list(ast_nodes(get_ast(source)))
        for name in sorted(operator_names()):
            kind = get_operator(name)
            if kind.arguments() or ON_BITS.search(name):
                continue
            positions = (start for node in nodes for start, _ in kind().mutation_positions(node))
            for occurrence, start in enumerate(positions):
                places.setdefault((path, start), []).append((kind(), occurrence))
    drawn = random.Random(seed)
    found = 0
    for place in drawn.sample(sorted(places), len(places)):
        path, _ = place
        operator, occurrence = drawn.choice(places[place])
        mutated = mutate_code(sources[path], operator, occurrence)
        try:
            if mutated is None or _meaning(mutated) == _meaning(sources[path]):
                continue
        except SyntaxError:  # no program any more
            continue
        yield Mutant(path, sources[path], mutated)
        found += 1
        if found == count:
            return


def _meaning(source: str) -> str:
    """The syntax tree without what never runs or only names: annotations, docstrings, imports for types."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, None if field == "returns" else ast.Constant(0))
        if isinstance(getattr(node, "body", None), list):
            node.body = [each for each in node.body if not _is_silent(each)]
    return ast.dump(tree)


def _is_silent(node: ast.stmt) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return constant or for_types


def _fails(tests: list[str], seconds: float, silent: bool = True) -> bool:
    """Whether a test fails, or the tests hang, in a fork of this process."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        code = 1
        try:
            import pytest

            if silent:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
            addopts = "--override-ini=addopts=--import-mode=importlib -m 'not slow and not development_data'"
            rewrite = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # plug-ins are loaded before the fork
            options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *rewrite, addopts]
            code = int(pytest.main([*options, *tests]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) not in (0, 5)  # 5: none of the tests is to run
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


if __name__ == "__main__":
    sys.exit(main())
