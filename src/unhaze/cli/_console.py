"""What the user reads while a command runs. All of it goes to stderr: stdout carries data only.

Messages are records of the logger ``unhaze.cli``: failures are errors, results infos, details debugs. What the library
logs beneath ``unhaze`` comes out the same way.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial

from typer import CallbackParam

__all__ = ["is_verbose", "log", "one_line", "progress", "set_level", "show_log"]

log = logging.getLogger("unhaze.cli")

_package_log = logging.getLogger("unhaze")
_COLOURS = {logging.WARNING: "yellow", logging.ERROR: "red"}


@contextlib.contextmanager
def show_log() -> Iterator[None]:
    """While a command runs, show what it logs on stderr; what an earlier command in this process asked for is over."""
    handler, level = _StderrHandler(), _package_log.level
    _package_log.addHandler(handler)
    _package_log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _package_log.removeHandler(handler)
        _package_log.setLevel(level)


def set_level(option: CallbackParam, value: bool) -> bool:
    """Callback of ``--quiet`` and ``--verbose``, which counts where both are given.

    From now on only warnings and failures are shown, or details and tracebacks of errors that nobody expected, too.
    """
    if value and option.name == "verbose":
        _package_log.setLevel(logging.DEBUG)
    elif value and not is_verbose():
        _package_log.setLevel(logging.WARNING)
    return value


def is_verbose() -> bool:
    """Whether details are wanted."""
    return log.isEnabledFor(logging.DEBUG)


class _StderrHandler(logging.Handler):
    """Writes to the stderr of the moment, which tests and progress bars exchange; in colour only on a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; a stream that cannot be written raises, as ``print`` does."""
        text = record.getMessage()
        if record.levelno > logging.DEBUG:  # details are tracebacks, too, which have lines
            text = one_line(text)
        if record.levelno in _COLOURS and sys.stderr.isatty():
            from rich.console import Console

            style = _COLOURS[record.levelno]
            Console(stderr=True).print(text, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr)


def one_line(text: str) -> str:
    """``text`` without control characters, which file names may contain and terminals obey."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@contextlib.contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Show a bar with the time that is left, where stderr is a terminal and nobody asked for quiet.

    Args:
        label: What is being done.
        total: How many steps there are; ``None`` if nobody knows.

    Yields:
        What counts one step as done.
    """
    if not (sys.stderr.isatty() and log.isEnabledFor(logging.INFO)):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    left = (TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *left)
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)
    with bar:
        yield partial(bar.advance, task)
