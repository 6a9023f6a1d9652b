"""The summaries in the documentation are those of the commands."""

import re
from pathlib import Path

import pytest

from unhaze.cli._app import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def section(name):
    """The text of ``## name``."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section on {name}"
    return found[1]


@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["watch"],
        ["models", "list"],
        ["models", "info"],
        ["models", "verify"],
        ["convert"],
        ["bench", "models"],
        ["train"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_every_option_is_explained(unhaze, command):
    reported = unhaze(*command, "--help").stdout.partition("Options:")[2]
    options = set(
        re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", "\n".join(re.findall(r"^  (-.*?)(?:  |$)", reported, re.MULTILINE)))
    )
    assert "--help" in options
    text = section(command[0])
    missing = {name for name in options - {"--help", "-h"} if not re.search(rf"`{name}[` ]", text)}
    assert not missing


def test_every_option_that_is_explained_exists(unhaze):
    for command in ("run", "watch"):
        explained = set(re.findall(r"`(--[a-z][a-z-]*)", section(command)))
        reported = unhaze(command, "--help").stdout
        assert explained
        hidden = {"--method"}  # the former name of --model
        assert not {name for name in explained - hidden if name not in reported}


def test_every_command_is_in_the_table():
    named = set(re.findall(r"^\| \[?`(\w+)`", PAGE.read_text(), re.MULTILINE))
    assert set(COMMANDS) <= named


def test_the_exit_codes_are_those_of_the_help(unhaze):
    codes = set(re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE))
    assert codes == {"0", "1", "2", "3", "130"}
    reported = " ".join(unhaze("--help").stdout.split())
    assert all(re.search(rf"\b{code} \w", reported) for code in codes)
