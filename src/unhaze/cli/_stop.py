"""Ctrl-C while a video is made: once is enough, and it comes where nothing is lost."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from unhaze.cli import _console

__all__ = ["Stop", "ToldInterrupt"]

_TIDYING = 3.0  # after a signal that stops the work further ones are ignored for so long [s]
_CODING = ("unhaze.video.segments", ("add", "finish_piece"))


class ToldInterrupt(KeyboardInterrupt):
    """An interruption of which the user knows what it left."""


class Stop:
    """One Ctrl-C or SIGTERM stops the work; what comes while that is tidied up is ignored for some seconds."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.default_int_handler:  # else somebody else has a use for it
                    self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._first is None:  # else the command ends, which is to be tidy, too
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if kind is KeyboardInterrupt:
            _console.log.error("Stopped; no video was under way, so nothing is left of it.")

    def _stop(self, _: int, frame: FrameType | None) -> None:
        if self._first is not None and time.monotonic() - self._first <= _TIDYING:
            return
        self._first = self._first or time.monotonic()
        while frame is not None:  # by names: a signal that comes during the imports must not import anything
            if frame.f_globals.get("__name__") == _CODING[0] and frame.f_code.co_name in _CODING[1]:
                self._waits = True  # there a frame would be lost
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    def check(self) -> None:
        """Stop now, if that was to wait."""
        if self._waits:
            self._waits = False
            raise KeyboardInterrupt
