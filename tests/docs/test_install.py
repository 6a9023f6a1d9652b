"""The lines that install unhaze: the extras they name exist, and what is built from the repository works."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
from tests.docs.blocks import PAGES, ROOT
from tests.docs.world import save, scene

EXTRA = re.compile(r"(?:unhaze|\.)\[([a-z,]+)\]")


def test_every_extra_that_is_named_exists():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "src/unhaze").rglob("*.py")]
    named = {extra for text in texts for match in EXTRA.findall(text) for extra in match.split(",")}
    assert "torch" in named
    assert named <= set(known)


def test_nothing_is_told_to_come_from_an_index():
    """unhaze is on none yet: only a clone can be installed, or an extra be added to what is installed."""
    for page in PAGES:
        assert not re.search(r"pip install '?unhaze'?(?!\[)", (ROOT / page).read_text(encoding="utf-8")), page


def test_an_extra_is_found_by_the_name_of_what_is_installed():
    try:
        found = importlib.metadata.distribution("unhaze")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("unhaze is not installed here, only found on the path")
    assert "torch" in found.metadata.get_all("Provides-Extra")


@pytest.mark.slow
def test_what_a_clone_builds_dehazes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
    )
    if "hatchling" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("the tool that builds wheels, hatchling, can be fetched from nowhere")
    assert done.returncode == 0, done.stderr
    wheel = next(tmp_path.glob("unhaze-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        assert any(name.endswith("entry_points.txt") for name in archive.namelist())
    save(tmp_path / "photo.jpg", scene(1))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        [sys.executable, "-m", "unhaze", "run", "photo.jpg"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "photo-dehazed.jpg").exists()
