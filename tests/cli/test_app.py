import subprocess
import sys

import pytest
from tests.patience import HUNG
from typer.testing import CliRunner

import unhaze as package
from unhaze.cli import _app, app
from unhaze.errors import MissingDependencyError, OutputError, UsageError

HEAVY = ("numpy", "cv2", "PIL", "tifffile", "torch", "rich", "unhaze.images.files", "unhaze.restore.dehazer")


def test_version(unhaze):
    result = unhaze("--version")
    assert result.exit_code == 0
    assert result.stdout == f"unhaze {package.__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command_in_full(unhaze, flag):
    result = unhaze(flag)
    assert result.exit_code == 0
    for name, (_, summary) in _app.COMMANDS.items():
        assert f"  {name} " in result.stdout
        assert summary in result.stdout  # not cut off by the width of the page


@pytest.mark.parametrize("name", sorted(_app.COMMANDS))
def test_every_command_is_there_and_explains_itself(unhaze, name):
    result = unhaze(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"unhaze {name}" in result.stdout or f"{name} [OPTIONS]" in result.stdout


def test_no_command_shows_the_help_as_wrong_usage(unhaze):
    result = unhaze()
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_an_unknown_command_names_a_near_one(unhaze):
    result = unhaze("rum")
    assert result.exit_code == 2
    assert "Did you mean 'run'" in result.stderr
    assert result.stdout == ""


def test_an_unknown_option_is_wrong_usage(unhaze):
    result = unhaze("run", "a.jpg", "--strenght", "1")
    assert result.exit_code == 2
    assert "--strength" in result.stderr


def raising(error, monkeypatch):
    """Make ``unhaze models list`` end with ``error``."""

    def fail(*_):
        raise error

    monkeypatch.setattr("unhaze.models.catalogue.list_models", fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("This cannot be."), 2),
        (MissingDependencyError("rawpy", "raw", "read raw files"), 3),
        (OutputError("The disk is full."), 1),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_exit_codes_of_errors(unhaze, monkeypatch, error, code):
    raising(error, monkeypatch)
    result = unhaze("models", "list")
    assert result.exit_code == code
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) <= 1


def test_an_unexpected_error_is_a_sentence_that_says_how_to_see_more(unhaze, monkeypatch):
    raising(ZeroDivisionError("division by zero\nin two lines"), monkeypatch)
    result = unhaze("models", "list")
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "-v" in result.stderr
    assert "Traceback" not in result.stderr


def test_verbose_shows_where_an_unexpected_error_comes_from(unhaze, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("unhaze.batch.planning.plan", fail)
    assert "Traceback" not in unhaze("run", tmp_path).stderr
    assert "Traceback" in unhaze("run", tmp_path, "-v").stderr
    assert "Traceback" not in unhaze("run", tmp_path).stderr  # the wish of one command is not that of the next


def test_control_characters_of_file_names_do_not_reach_the_terminal(unhaze, tmp_path):
    result = unhaze("run", tmp_path / "a\n\x1b[31mb.jpg")
    assert "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) == 2  # the failure and the summary


@pytest.mark.parametrize("statement", ["import unhaze", "import unhaze.cli"])
def test_importing_loads_nothing_heavy(environment, statement):
    loaded = _modules_after(statement, environment)
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["watch", "--help"]])
def test_help_loads_nothing_heavy(environment, arguments):
    statement = (
        "from unhaze.cli import app; import sys, typer\n"
        f"try: typer.main.get_command(app).main({arguments}, prog_name='unhaze')\n"
        "except SystemExit: pass"
    )
    assert _modules_after(statement, environment).isdisjoint(HEAVY)


def _modules_after(statement, environment):
    code = f"{statement}\nimport sys; print('MODULES', *sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return set(output.stdout.rpartition("MODULES ")[2].split())


def test_python_m_is_the_same_command(start_unhaze):
    process = start_unhaze("--version", text=True)
    assert process.communicate(timeout=HUNG)[0] == f"unhaze {package.__version__}\n"
    assert process.returncode == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_of_lists_that_goes_away_sees_no_error(start_unhaze, environment, monkeypatch, unbuffered):
    monkeypatch.setitem(environment, "PYTHONUNBUFFERED", unbuffered)
    process = start_unhaze("models", "list")
    process.stdout.close()
    process.stdout = None
    said = process.communicate(timeout=HUNG)[1].decode()
    assert [line for line in said.splitlines() if not line.startswith("Take one by --model")] == []


def test_completion_offers_commands_and_options(environment):
    def complete(words, word):
        variables = {"_UNHAZE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(word)}
        code = "from unhaze.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env={**environment, **variables}, capture_output=True, text=True, check=False
        )
        return done.stdout.split()

    assert "watch" in complete("unhaze wa", 1)
    assert "--strength" in complete("unhaze run --str", 2)


def test_the_summaries_come_without_loading_the_commands(monkeypatch):
    monkeypatch.setattr(_app, "import_module", lambda name: pytest.fail(f"{name} was loaded"))
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


def test_a_picture_in_the_place_of_a_command_gets_the_command(unhaze):
    result = unhaze("my photo.jpg")
    assert result.exit_code == 2
    assert result.stderr == "unhaze: my photo.jpg is no command; to dehaze it write: unhaze run 'my photo.jpg'\n"


@pytest.mark.parametrize(("option", "value"), [("--strength", "3"), ("--color-blend", "-1"), ("--keep-exposure", "2")])
def test_a_value_out_of_range_is_told_by_the_option_that_was_written(unhaze, option, value):
    result = unhaze("run", "a.jpg", option, value)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"unhaze: {option} is ")
