"""What the user reads while a command runs. All of it goes to stderr: stdout carries data only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = [
    "ProgressBar",
    "complain",
    "detail",
    "is_verbose",
    "one_line",
    "reset",
    "say",
    "set_quiet",
    "set_verbose",
]

_state = {"quiet": False, "verbose": False}


def reset() -> None:
    """Forget what an earlier command in this process asked for."""
    _state.update(quiet=False, verbose=False)


def set_quiet(value: bool) -> bool:
    """Callback of ``--quiet``: from now on only failures are told."""
    _state["quiet"] = _state["quiet"] or value
    return value


def set_verbose(value: bool) -> bool:
    """Callback of ``--verbose``: from now on details are told, and tracebacks of what nobody foresaw."""
    _state["verbose"] = _state["verbose"] or value
    return value


def is_verbose() -> bool:
    """Whether details are wanted."""
    return _state["verbose"]


def complain(text: str) -> None:
    """Tell of a failure; also when told to be quiet."""
    print(one_line(text), file=sys.stderr)


def say(text: str) -> None:
    """Tell a result."""
    if not _state["quiet"]:
        print(one_line(text), file=sys.stderr)


def detail(text: str) -> None:
    """Tell what helps to understand a run."""
    if _state["verbose"]:
        print(text, file=sys.stderr)


def one_line(text: str) -> str:
    """``text`` without control characters, which file names may contain and terminals obey."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class ProgressBar:
    """A bar with the time that is left; shown only where stderr is a terminal and nobody asked for quiet.

    Args:
        label: What is being done.
        total: How many steps there are; ``None`` if nobody knows.
    """

    def __init__(self, label: str, total: int | None) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if sys.stderr.isatty() and not _state["quiet"]:
            self._bar = _create_bar()
            self._task = self._bar.add_task(label, total=total)

    def advance(self, steps: float = 1) -> None:
        """Count ``steps`` as done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, steps)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _create_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    return Progress(*columns, console=Console(stderr=True), transient=True)
