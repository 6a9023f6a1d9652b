"""What a release consists of, and what states its version."""

import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
import yaml
from tests.docs.blocks import ROOT

import unhaze

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def check():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("check_package", ROOT / "scripts/check_package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_place_holds_the_version_and_all_others_agree(check):
    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT
    assert check.package_version() == unhaze.__version__
    assert check.main(["version", f"v{unhaze.__version__}"]) == 0


def test_a_wrong_tag_is_refused_with_the_right_one(check, capsys):
    assert check.main(["version", "v9.9.9"]) == 1
    assert f"tag it v{unhaze.__version__}" in capsys.readouterr().err


def test_notes_are_one_version_of_the_changelog(check, capsys):
    assert check.main(["notes", "v0.1.0"]) == 0
    notes = capsys.readouterr().out
    assert notes.startswith("### Added\n")
    assert "\n## " not in notes
    assert "compare/" not in notes  # the links at the end of the page
    assert check.main(["notes", "v0.0.1"]) == 1


def test_the_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[0] == "[Unreleased]"
    dates = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d)", heading)[1] for heading in headings[1:]]
    assert dates == sorted(dates, reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= kinds
    linked = re.findall(r"^\[([^\]]+)\]: ", text, re.M)
    assert linked == [heading.partition("]")[0][1:] for heading in headings]


def test_the_program_prints_its_version():
    done = subprocess.run([sys.executable, "-m", "unhaze", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"unhaze {unhaze.__version__}\n"


def test_the_citation_names_the_software_and_both_papers():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["title"], cited["license"]) == (PROJECT["name"], PROJECT["license"])
    heading = re.search(r"^## \[([\d.]+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert (str(cited["version"]), str(cited["date-released"])) == heading.groups()
    papers = {paper["title"]: [author["family-names"] for author in paper["authors"]] for paper in cited["references"]}
    assert papers == {
        "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing": [
            "Zhang",
            "Zhou",
            "Li",
        ],
        "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?": ["Zhang", "Zhou", "Wu", "Lu"],
    }


def test_one_address_is_used_everywhere():
    """The repository moves by one replacement: no page, form or link names another place."""
    home = PROJECT["urls"]["Source"]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *(ROOT / "docs").rglob("*.md")]
    pages += [*(ROOT / ".github").rglob("*.md"), *(ROOT / ".github").rglob("*.yml"), ROOT / "pyproject.toml"]
    named = {
        match
        for page in pages
        for match in re.findall(r"https://github\.com/[\w.-]+/unhaze\b", page.read_text("utf-8"))
    }
    assert named == {home}


def test_every_python_that_is_promised_is_declared():
    declared = {line.split()[-1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)}
    assert PROJECT["requires-python"] == f">={min(declared, key=lambda name: int(name.split('.')[1]))}"
    assert len(declared) == 4


# --- what a wheel and an sdist hold

GOOD = {
    "unhaze/__init__.py": b"",
    "unhaze/py.typed": b"",
    "unhaze/default/field-m.onnx": b"weights",
    "unhaze/web/page/index.html": b"<!doctype html>",
    "unhaze/web/page/worker.js": b"",
    "unhaze-0.1.0.dist-info/entry_points.txt": b"",
    "unhaze-0.1.0.dist-info/licenses/LICENSE": b"",
}


def write_wheel(path, members):
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def write_sdist(path, names):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"unhaze-0.1.0/{name}"), io.BytesIO())


@pytest.fixture
def built(check, tmp_path):
    """Folders of a release that is right: DIST with wheel and sdist, WHEEL with the wheel of the tree."""
    write_wheel(tmp_path / "dist/unhaze-0.1.0-py3-none-any.whl", GOOD)
    write_sdist(tmp_path / "dist/unhaze-0.1.0.tar.gz", check.IN_SDIST)
    write_wheel(tmp_path / "tree/unhaze-0.1.0-py3-none-any.whl", GOOD)
    return tmp_path / "dist", tmp_path / "tree"


def test_a_release_that_is_right_passes(check, built, capsys):
    assert check.main(["contents", *map(str, built)]) == 0
    assert "equal from sdist and tree" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(GOOD)[1:4])
def test_a_wheel_without_what_it_needs_is_refused(check, built, capsys, name):
    write_wheel(next(built[0].glob("*.whl")), {key: data for key, data in GOOD.items() if key != name})
    assert check.main(["contents", *map(str, built)]) == 1
    assert "lacks unhaze/" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["tests/test_x.py", "unhaze/tests/data.npz", "unhaze/__pycache__/a.pyc", "benchmarks/a.py"]
)
def test_a_wheel_with_tests_or_leftovers_is_refused(check, built, capsys, name):
    write_wheel(next(built[0].glob("*.whl")), {**GOOD, name: b""})
    assert check.main(["contents", *map(str, built)]) == 1
    assert name in capsys.readouterr().err


def test_a_wheel_that_grew_too_large_is_refused(check, built, capsys, monkeypatch):
    monkeypatch.setattr(check, "MEGABYTES", 0.0001)
    assert check.main(["contents", *map(str, built)]) == 1
    assert "MB, more than" in capsys.readouterr().err


def test_wheels_that_differ_are_refused(check, built, capsys):
    write_wheel(next(built[1].glob("*.whl")), {**GOOD, "unhaze/__init__.py": b"1"})
    assert check.main(["contents", *map(str, built)]) == 1
    assert capsys.readouterr().err.strip().endswith("differs from the tree's: unhaze/__init__.py")


def test_an_sdist_that_cannot_be_built_from_is_refused(check, built, capsys):
    write_sdist(next(built[0].glob("*.tar.gz")), ["README.md"])
    assert check.main(["contents", *map(str, built)]) == 1
    assert "lacks pyproject.toml" in capsys.readouterr().err


def test_a_folder_with_two_wheels_is_refused(check, built, capsys):
    write_wheel(built[0] / "unhaze-0.0.9-py3-none-any.whl", GOOD)
    assert check.main(["contents", *map(str, built)]) == 1
    assert "should hold one *.whl, not 2" in capsys.readouterr().err
