"""``unhaze train`` up to where the recipe takes over."""

import json

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")

from unhaze.cli.train import train
from unhaze.errors import UnknownNameError, UsageError
from unhaze.recipes import field as recipe


@pytest.fixture(scope="module")
def run():
    app = typer.Typer()
    app.command()(train)

    def call(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_list(run):
    assert "field-default" in run("--list").stdout.splitlines()


def test_dry_run_prints_the_resolved_settings(run, tmp_path):
    described = json.loads(run("field-default", "--dry-run", "--set", "optimizer.lr=2e-4", "--set", "seed=9").stdout)
    assert described["config"]["optimizer"]["lr"] == 2e-4
    assert described["config"]["seed"] == 9
    assert described["samples"] == 8 * described["steps"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), UsageError, "field-default"),
        (("field-defalt",), UnknownNameError, "did you mean field-default"),
        (("field-default",), UsageError, "--data"),
        (("field-default", "--set", "seed"), UsageError, "KEY=VALUE"),
        (("field-default", "--set", "sed=1", "--dry-run"), UnknownNameError, "did you mean seed"),
        (("field-default", "--data", "/nonexistent/folder"), UsageError, "no folder"),
    ],
)
def test_wrong_usage_is_explained(run, arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run(*arguments)


def test_a_run_gets_what_was_asked_for(run, tmp_path, monkeypatch):
    calls = []

    def fake(config, data, out, *, resume):
        calls.append((config.seed, data, out, resume))
        return out / "field.onnx"

    monkeypatch.setattr(recipe, "main", fake)
    run("field-default", "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--set", "seed=3", "--resume", "auto")
    assert calls == [(3, tmp_path, tmp_path / "run", "auto")]
