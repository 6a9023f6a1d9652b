import io
import logging
import sys
from types import SimpleNamespace

import pytest

from unhaze.cli import _console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def pretend_a_terminal(monkeypatch):
    """Give stderr, for the rest of a test, a terminal of 20 columns with colours."""
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "20"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def speak():
    _console.log.debug("detail")
    _console.log.info("result")
    logging.getLogger("unhaze.depth").warning("warning")
    _console.log.error("failure")


@pytest.mark.parametrize(
    ("quiet", "verbose", "shown"),
    [
        (False, False, ["result", "warning", "failure"]),
        (True, False, ["warning", "failure"]),
        (False, True, ["detail", "result", "warning", "failure"]),
    ],
)
def test_what_is_shown_depends_on_quiet_and_verbose(capsys, quiet, verbose, shown):
    with _console.show_log():
        for name, value in (("quiet", quiet), ("verbose", verbose)):
            _console.set_level(SimpleNamespace(name=name), value)
        speak()
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", shown)


def test_an_earlier_command_leaves_nothing_behind(capsys):
    before = logging.getLogger("unhaze").level
    with _console.show_log():
        _console.set_level(SimpleNamespace(name="quiet"), True)
    assert (logging.getLogger("unhaze").level, logging.getLogger("unhaze").handlers) == (before, [])
    with _console.show_log():
        _console.log.info("once")
    assert capsys.readouterr().err == "once\n"


def test_messages_keep_their_words_and_cannot_steer_a_terminal(capsys):
    text = "a%sb [red]c[/red] :smile: " + "long " * 60 + "\x1b[2J\nsecond"
    with _console.show_log():
        _console.log.error(text)
        _console.log.info(text)
    expected = text.replace("\x1b", "\\x1b").replace("\n", "\\n")
    assert capsys.readouterr().err == f"{expected}\n" * 2


def test_colours_are_for_terminals_and_lines_are_not_broken(monkeypatch):
    terminal = pretend_a_terminal(monkeypatch)
    with _console.show_log():
        _console.log.error("a long line that is [red]wider[/red] than the terminal")
        _console.log.info("plain")
    failure, plain = terminal.getvalue().splitlines()
    assert failure == "\x1b[31ma long line that is [red]wider[/red] than the terminal\x1b[0m"
    assert plain == "plain"


def test_no_color_is_obeyed(monkeypatch):
    terminal = pretend_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with _console.show_log():
        _console.log.error("failure")
    assert terminal.getvalue() == "failure\n"


def test_a_stream_that_cannot_be_written_is_no_silent_loss(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    with _console.show_log(), pytest.raises(OSError, match="No space"):
        _console.log.info("result")
