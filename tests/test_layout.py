"""Files hold one idea, helpers are few, and tests lie where their code lies and read nothing that a clone has not."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "unhaze"
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MODULES = sorted(path for path in SOURCE.rglob("*.py") if not path.name.startswith("_"))
OUTSIDE = ("UNHAZE_DEVELOPMENT_DATA", "UNHAZE_OFFICIAL_WEIGHTS")
# what holds for every entry of a catalogue, and for what lies beside the package
ACROSS = {"contracts", "docs", "examples", "project", "scripts"}

LINES = 450  # of a file, unless it holds one idea that is longer
LONGER = {
    "models/checkpoints/cards.py",  # one table
    "models/dcmpnet.py",  # one paper, in the two forms of its text and of its code
    "models/maxim.py",  # one network
    "restore/dehazer.py",  # one class, the front door of the library
}
LINES_PER_PRIVATE_FUNCTION = 80  # a reader has to hop for each


def relative(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


@pytest.mark.parametrize("name", relative(TESTS, ROOT / "tests"))
def test_a_test_lies_where_its_module_lies(name):
    """``tests/a/test_b.py`` is of ``a/b.py``, ``a/_b.py`` or folder ``a/b``; else its docstring says of what it is."""
    path = Path(name)
    if path.parent.name in ACROSS:
        return
    room, subject = SOURCE / path.parent, path.stem.removeprefix("test_")
    assert room.is_dir(), f"there is no {room.relative_to(ROOT)}"
    mirrored = any((room / other).exists() for other in (f"{subject}.py", f"_{subject}.py", subject))
    assert mirrored or ast.get_docstring(parsed(ROOT / "tests" / path)), (
        "no such module, and no docstring that says why"
    )


@pytest.mark.parametrize("name", relative(MODULES, SOURCE))
def test_a_module_has_tests(name):
    """A file of its own name in the mirrored folder, or a test that names it or what it defines.

    Private modules are tested through the public ones; that they are run is for the measure of coverage.
    """
    path = Path(name)
    folder = ROOT / "tests" / path.parent
    if (folder / f"test_{path.stem}.py").exists():
        return
    public = {"unhaze." + ".".join(path.with_suffix("").parts), path.stem}
    for node in parsed(SOURCE / path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            public.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [each for target in targets for each in getattr(target, "elts", [target])]  # of a tuple, too
            public |= {each.id for each in names if isinstance(each, ast.Name) and not each.id.startswith("_")}
    public -= {"VARIANTS", "CARDS", "__all__"}
    public |= {each.lower() for each in public}
    assert any(public & words(test) for test in (ROOT / "tests").rglob("*.py")), f"no test names any of {public}"


@pytest.mark.parametrize("name", relative(sorted((ROOT / "tests").rglob("*.py")), ROOT))
def test_no_test_climbs_out_of_the_repository(name):
    """The folders outside are fixtures of ``tests/conftest.py``, for tests with the marker ``development_data``."""
    if name in ("tests/conftest.py", "tests/test_layout.py"):
        return
    for node in ast.walk(parsed(ROOT / name)):
        if isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "parents":
            assert isinstance(node.slice, ast.Constant)
            assert node.slice.value < len(Path(name).parts), (
                f"line {node.lineno} names what is no part of the repository"
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in OUTSIDE, f"line {node.lineno}: use the fixture of tests/conftest.py"


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def words(path):
    """Names, dotted names of modules, and words of strings that a test uses."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"\w+", node.value.replace("-", "_")))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_a_file_holds_one_idea():
    longer = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if path.read_text("utf-8").count("\n") > LINES
    }
    assert longer == LONGER


def test_private_functions_are_few():
    lines = private = 0
    for path in SOURCE.rglob("*.py"):
        lines += path.read_text("utf-8").count("\n")
        private += sum(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("_")
            and not node.name.startswith("__")
            for node in ast.walk(parsed(path))
        )
    assert lines / private >= LINES_PER_PRIVATE_FUNCTION
