"""The workflows, the hooks and the Makefile run the same checks, with the same tools, under names that exist."""

import re
import shlex
import subprocess
import tomllib

import pytest
import yaml
from tests.docs.blocks import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
PROGRAMS = {"make", "python", "gh", "sudo"}  # what the machines of the workflows have


def load(path):
    """A workflow; YAML 1.1 reads the key ``on`` as True."""
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): value for key, value in read.items()}


def jobs():
    return [
        pytest.param(load(path), job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in load(path)["jobs"].items()
    ]


def commands(job):
    """Every command of a job, as words."""
    for step in job.get("steps", []):
        for line in step.get("run", "").splitlines():
            for command in line.split("&&"):
                if command.strip():
                    yield shlex.split(command, comments=True)


def recipe(target):
    """The words of each line that ``make TARGET`` runs."""
    done = subprocess.run(["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]


def test_there_is_a_workflow_for_each_promise():
    assert {path.stem for path in WORKFLOWS} == {"tests", "lint", "package", "docs", "release", "kernels"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_the_form_that_its_schema_asks_for(path):
    pytest.importorskip("check_jsonschema")
    from check_jsonschema import main

    assert main.callback is not None
    with pytest.raises(SystemExit) as ended:
        main(["--builtin-schema", "vendor.github-workflows", str(path)])
    assert ended.value.code == 0


@pytest.mark.parametrize(("workflow", "job"), jobs())
def test_a_job_runs_only_what_exists(workflow, job):
    for command in commands(job):
        assert command[0] in PROGRAMS, command
        if command[0] == "make":
            assert set(command[1:]) <= TARGETS, command
        if command[0] == "python":
            assert (ROOT / command[1]).is_file(), command
    if "uses" in job:
        assert job["uses"].startswith("$/")  # this repository, at this commit, whatever a step has checked out
        assert (ROOT / job["uses"].removeprefix("$/")).is_file()


@pytest.mark.parametrize(("workflow", "job"), jobs())
def test_a_job_has_no_more_rights_than_it_names(workflow, job):
    assert workflow["permissions"] == {}
    granted = {right for right, level in job.get("permissions", {}).items() if level == "write"}
    runs_checkout = any(step.get("uses", "").startswith("actions/checkout@") for step in job.get("steps", []))
    assert not (runs_checkout and "id-token" in granted), (
        "a job that holds a signing identity runs code of the repository"
    )
    for step in job.get("steps", []):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    assert "uses" in job or job["timeout-minutes"] <= 60


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_of_others_are_pinned_by_hash_and_name_their_release(path):
    used = re.findall(r"uses: (?!\$/)(.*)$", path.read_text(encoding="utf-8"), re.M)
    assert all(re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)+", line) for line in used), used


def test_an_action_has_one_hash_everywhere():
    pins = {}
    for path in WORKFLOWS:
        for action, pin in re.findall(r"uses: ([\w./-]+)@(.*)$", path.read_text(encoding="utf-8"), re.M):
            pins.setdefault(action, set()).add(pin)
    assert len(pins) >= 6
    assert all(len(found) == 1 for found in pins.values()), pins


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_runs_of_one_branch_do_not_pile_up(path):
    """The group has the file's own name: ``github.workflow`` is the caller's in a workflow that is called."""
    assert load(path)["concurrency"]["group"] == f"{path.stem}-${{{{ github.ref }}}}"


def test_every_python_and_system_that_is_promised_is_tested():
    matrix = load(GITHUB / "workflows/tests.yml")["jobs"]["test"]["strategy"]["matrix"]
    declared = [line.split()[-1] for line in PYPROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert matrix["python"] == declared
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]


def test_a_release_is_tested_built_once_and_uploaded_without_a_token():
    release = load(GITHUB / "workflows/release.yml")["jobs"]
    assert set(release["publish"]["needs"]) == {"tests", "package"}
    assert release["publish"]["environment"] == "pypi"
    assert "secrets." not in (GITHUB / "workflows/release.yml").read_text(encoding="utf-8")
    publish = next(step for step in release["publish"]["steps"] if "pypi-publish" in step["uses"])
    assert publish["with"] == {"attestations": True}


def test_hooks_are_pinned_to_the_versions_of_the_environment():
    pins = set((ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n"))
    pinned = [hook for hook in HOOKS if hook["language"] == "python"]
    assert len(pinned) >= 4
    for hook in pinned:
        assert hook["additional_dependencies"], hook
        assert set(hook["additional_dependencies"]) <= pins, hook["id"]


def test_hooks_and_lint_run_the_same_tools():
    lint = {words[0].rpartition("/")[2] for words in recipe("lint") if words[0].startswith(".venv/")}
    assert lint - {"python"} == {shlex.split(hook["entry"])[0] for hook in HOOKS}


def test_coverage_counts_branches_and_has_a_gate():
    settings = PYPROJECT["tool"]["coverage"]
    assert settings["run"]["branch"] is True
    assert settings["report"]["fail_under"] >= 92
    assert any("--cov" in words for words in recipe("coverage"))
    assert not any("--cov" in words for words in recipe("test"))  # `make test` stays fast


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_forms_ask_for_something_and_use_every_id_once(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids))
    assert any(part.get("validations", {}).get("required") for part in form["body"])
