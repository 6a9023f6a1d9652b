"""Check what is released.

    python scripts/check_package.py version v0.1.0      # the tag, the package, the citation and the changelog agree
    python scripts/check_package.py notes v0.1.0        # that version's part of the changelog
    python scripts/check_package.py contents DIST WHEEL # what is inside; the sdist's wheel equals the one of the tree
    python scripts/check_package.py smoke DIST          # install each distribution afresh and dehaze a picture with it

DIST holds one wheel and one sdist, WHEEL a wheel built from the tree. Nothing but the standard library is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEGABYTES = 8  # the network takes 6; a wheel that grows past this carries something it should not
IN_WHEEL = (
    "unhaze/py.typed",
    "unhaze/default/*.onnx",
    "unhaze/web/page/index.html",
    "unhaze/web/page/worker.js",
    "*.dist-info/entry_points.txt",
    "*.dist-info/licenses/LICENSE",
)
# what is needed to build, test and cite from the sdist alone
IN_SDIST = ("pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "constraints.txt", "Makefile")
FORBIDDEN = re.compile(
    r"(^|/)(tests?|benchmarks|__pycache__|\.git|conftest\.py)(/|$)|\.(pyc|pth)$|(^|/)test_[^/]*\.py$"
)
MAKE_PICTURE = """
from PIL import Image, ImageDraw
picture = Image.new("RGB", (320, 240), (205, 208, 212))
draw = ImageDraw.Draw(picture)
for row in range(120, 240, 24):
    for column in range(0, 320, 40):
        draw.rectangle((column, row, column + 19, row + 23), (150 - row // 4, 170 - column // 8, 140))
picture.save("photo.jpg", quality=92)
"""
COMPARE_PICTURES = """
from importlib.util import find_spec
from PIL import Image, ImageChops
assert find_spec("torch") is None, "torch came along"
before, after = Image.open("photo.jpg"), Image.open("photo-dehazed.jpg")
assert before.size == after.size, (before.size, after.size)
assert max(high for low, high in ImageChops.difference(before, after).getextrema()) > 8, "nothing was dehazed"
"""


class ProblemError(Exception):
    """One sentence that says what is wrong."""


def package_version() -> str:
    """Return the version, from the one place where it is written."""
    source = (ROOT / "src/unhaze/__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, re.M)
    if match is None:
        raise ProblemError("src/unhaze/__init__.py has no line __version__ = ...")
    return match[1]


def release_notes(version: str) -> str:
    """Return what the changelog says of ``version``, without its heading."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    parts = re.split(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", changelog, flags=re.M)
    for name, date, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if name == version and date:
            return re.split(r"^\[[^\]]+\]: ", text, maxsplit=1, flags=re.M)[0].strip()
    raise ProblemError(
        f"CHANGELOG.md has no heading ## [{version}] - YYYY-MM-DD; give the version its part and its date"
    )


def check_version(tag: str) -> None:
    """Check that everything that states a version states that of ``tag``."""
    version = package_version()
    if tag != f"v{version}":
        raise ProblemError(f"the tag is {tag}, but the package is version {version}; tag it v{version}")
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    if cited is None or cited[1] != version:
        raise ProblemError(f"CITATION.cff does not say version: {version}")
    if not release_notes(version):
        raise ProblemError(f"CHANGELOG.md says nothing of version {version}")


def one(folder: Path, pattern: str) -> Path:
    """Return the only file of ``pattern`` in ``folder``."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ProblemError(f"{folder} should hold one {pattern}, not {len(found)}; build afresh")
    return found[0]


def check_contents(dist: Path, tree: Path) -> None:
    """Check both distributions in ``dist``, and that its wheel, made from the sdist, equals the tree's in ``tree``."""
    wheel, sdist = one(dist, "*.whl"), one(dist, "*.tar.gz")
    if wheel.stat().st_size > MEGABYTES * 1_000_000:
        raise ProblemError(f"{wheel.name} has {wheel.stat().st_size / 1e6:.1f} MB, more than {MEGABYTES}")
    with zipfile.ZipFile(wheel) as archive:
        names = [Path(name) for name in archive.namelist()]
    for wanted in IN_WHEEL:
        if not any(name.match(wanted) for name in names):
            raise ProblemError(f"{wheel.name} lacks {wanted}")
    if stray := [str(name) for name in names if FORBIDDEN.search(name.as_posix())]:
        raise ProblemError(f"{wheel.name} holds what is not to be installed: {', '.join(stray[:5])}")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    if missing := [name for name in IN_SDIST if name not in inside]:
        raise ProblemError(f"{sdist.name} lacks {', '.join(missing)}")
    if (differing := different_members(wheel, one(tree, "*.whl"))) is not None:
        raise ProblemError(f"the wheel made from the sdist differs from the tree's: {differing}")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, {len(names)} files; equal from sdist and tree")


def different_members(first: Path, second: Path) -> str | None:
    """Return the name of a file that two wheels do not share byte for byte, or None."""
    with zipfile.ZipFile(first) as one_archive, zipfile.ZipFile(second) as other_archive:
        for name in sorted({*one_archive.namelist(), *other_archive.namelist()}):
            both = all(name in archive.namelist() for archive in (one_archive, other_archive))
            if not both or one_archive.read(name) != other_archive.read(name):
                return name
    return None


def check_smoke(dist: Path) -> None:
    """Install wheel and sdist into a fresh environment, one after the other, and dehaze a picture with each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "environment", with_pip=True)
        programs = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")

        def run(*command: str | Path) -> str:
            outside = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
            done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ProblemError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
            return done.stdout

        for distribution in (one(dist, "*.whl"), one(dist, "*.tar.gz")):
            run(programs / "python", "-m", "pip", "uninstall", "-q", "-y", "unhaze")
            run(programs / "python", "-m", "pip", "install", "-q", distribution.resolve())
            version = run(programs / "unhaze", "--version").split()[-1]
            if f"-{version}" not in distribution.name:
                raise ProblemError(f"{distribution.name} says that it is version {version}")
            run(programs / "python", "-c", MAKE_PICTURE)
            run(programs / "unhaze", "run", "photo.jpg")
            run(programs / "python", "-c", COMPARE_PICTURES)
            (folder / "photo-dehazed.jpg").unlink()
            print(f"{distribution.name}: unhaze {version} dehazes a picture, without torch")
        run(programs / "python", "-m", "pip", "check")


def main(arguments: list[str] | None = None) -> int:
    """Run one check; 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("version", "notes"):
        commands.add_parser(command).add_argument("tag")
    contents = commands.add_parser("contents")
    contents.add_argument("dist", type=Path)
    contents.add_argument("tree", type=Path)
    commands.add_parser("smoke").add_argument("dist", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "version":
            check_version(options.tag)
        elif options.command == "notes":
            print(release_notes(options.tag.removeprefix("v")))
        elif options.command == "contents":
            check_contents(options.dist, options.tree)
        else:
            check_smoke(options.dist)
    except ProblemError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
