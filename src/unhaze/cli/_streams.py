"""Standard streams that are closed, or whose reader goes away: the work goes on, and its outcome is the exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

from unhaze.errors import OutputError

__all__ = ["give_up_stdout", "leave_streams", "prepare_streams", "was_closed", "write_bytes"]

_closed: set[str] = set()

_GONE = (errno.EPIPE, errno.EBADF, errno.ESHUTDOWN, errno.EINVAL)  # the last: what Windows says of a broken pipe


def prepare_streams() -> None:
    """Give closed streams a place to go, and let text outlive its reader.

    A closed descriptor would be that of the next file that is opened, and messages of libraries would land in it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(name)
            place = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if place != number:
                os.dup2(place, number)
                os.close(place)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            kept = {each: getattr(stream, each) for each in ("encoding", "errors", "line_buffering", "write_through")}
            binary = stream.detach()
            whole = _Whole(binary) if isinstance(binary, io.RawIOBase) else binary
            setattr(sys, name, _TolerantStream(whole, **kept))


def leave_streams(code: int) -> int:
    """Hand over what is still on its way; returns the exit code, which tells of output that was lost.

    Messages that are lost change nothing: what was said to be done is done.
    """
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as error:
            _give_up(stream)
            if stream is sys.stdout and error.errno not in _GONE:  # a full disk, for example
                with contextlib.suppress(OSError):
                    print(f"unhaze: {_cannot_write(error)}", file=sys.stderr)
                code = code or 1
        except ValueError:  # closed meanwhile
            pass
    return code


def was_closed(name: str) -> bool:
    """Whether ``"stdin"``, ``"stdout"`` or ``"stderr"`` was closed when the command began."""
    return name in _closed


def give_up_stdout() -> None:
    """Let what stdout still holds go nowhere: its disk is full."""
    _give_up(sys.stdout)


def write_bytes(data: bytes) -> None:
    """Write to stdout; a reader that has gone has seen enough.

    Raises:
        OutputError: They cannot be written.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        _give_up(sys.stdout)
        if error.errno not in _GONE:
            raise _cannot_write(error) from error


def _cannot_write(error: OSError) -> OutputError:
    return OutputError(f"The output cannot be written: {error.strerror}; free some space.")


class _Whole(io.BufferedWriter):
    """Passes all on at once, as Python does where it is told not to buffer, but never a part without a word."""

    def write(self, data: Any) -> int:
        """As of any stream of bytes."""
        written = super().write(data)
        self.flush()
        return written


class _TolerantStream(io.TextIOWrapper):
    """Text that is for nobody once the reader of a pipe has gone; messages are for nobody on a full disk, too."""

    def _is_lost(self, error: OSError) -> bool:
        """Whether there is nobody left to tell of this error."""
        return self is sys.stderr or error.errno in _GONE

    def write(self, text: str) -> int:
        """As of any text stream.

        Raises:
            OutputError: It cannot be written, though somebody reads it.
        """
        try:
            return super().write(text)
        except OSError as error:
            _give_up(self)
            if not self._is_lost(error):
                raise _cannot_write(error) from error
            return len(text)

    def flush(self) -> None:
        """As of any text stream."""
        try:
            super().flush()
        except OSError as error:
            if not self._is_lost(error):
                raise
            _give_up(self)


def _give_up(stream: TextIO) -> None:
    """Let all that follows, and what is left in the buffer, go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        place = os.open(os.devnull, os.O_WRONLY)
        os.dup2(place, stream.fileno())
        os.close(place)
