"""Dehazing a sequence of frames: in order, several at a time.

    frame -> decode -> solve -> [turn] smooth [/turn] -> apply -> encode -> result

Every step of a frame runs in one worker thread. The step between solving and applying may look at the frames before,
so it takes turns: it sees the fields one at a time and in the order of the frames, whichever worker is faster.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from unhaze.errors import ImageError
from unhaze.restore.machine import check_workers, usable_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.restore.haze_field import HazeField
    from unhaze.types import DehazeResult

    Pixels = NDArray[Any]

__all__ = ["DehazeStream", "FieldDehazer", "FieldFilter", "WholeFrames"]

FrameT = TypeVar("FrameT")
ResultT = TypeVar("ResultT")

FieldFilter = Callable[[Any, "Pixels"], "HazeField"]
"""Called with the field of each frame and its pixels, in the order of the frames, never twice at a time.

The field is ``None`` where a stream was told not to estimate it beforehand.
"""


class FieldWindow(Protocol):
    """Smooths with frames that come later; called in the order of the frames."""

    def push(self, field: HazeField, pixels: Pixels) -> list[HazeField]:
        """Take the field of the next frame; the fields that are ready, in order."""

    def flush(self) -> list[HazeField]:
        """The fields of all frames that are left."""


class FieldDehazer(Protocol):
    """The part of :class:`~unhaze.Dehazer` that a stream needs; safe to call from several threads."""

    def solve(self, pixels: Pixels) -> HazeField:
        """Estimate the haze of a picture (H, W, 3) or (H, W)."""

    def apply(self, pixels: Pixels, field: HazeField) -> Pixels:
        """Remove the haze that ``field`` describes from (H, W, 3) or (H, W); same shape and type."""


class WholeFrames:
    """Lets a network that has no haze field take the place of a method in a stream.

    Args:
        dehazer: Restores whole pictures; any thread may call it.
    """

    def __init__(self, dehazer: Callable[..., DehazeResult[Any]]) -> None:
        self._dehazer = dehazer

    def solve(self, pixels: Pixels) -> Any:
        """Nothing, whatever the frame (H, W, 3): all the work is in :meth:`apply`."""
        return None

    def apply(self, pixels: Pixels, field: Any) -> Pixels:
        """Restore a frame (H, W, 3); same shape and type."""
        restored: Pixels = self._dehazer(pixels, maps=False).image
        return restored


class DehazeStream(Generic[FrameT, ResultT]):
    """Dehazes frames in order with a bounded number of them under way.

    Args:
        dehazer: What solves and applies.
        decode: Makes pixels, (H, W, 3) RGB or (H, W) grey, of a frame.
        encode: Makes the result of the restored pixels and the frame.
        field_filter: Changes the field of each frame before it is applied, for example smooths it over time.
        solves: Whether the field of a frame, counted from 1, is estimated before its turn; where it is not, the filter
            is called with ``None`` in its place. Of all frames by default.
        window: Takes the place of ``field_filter`` where later frames are to be known.
        jobs: Frames worked on at the same time; by default one per processor core.

    Raises:
        UsageError: ``jobs`` is out of range.
    """

    def __init__(
        self,
        dehazer: FieldDehazer,
        *,
        decode: Callable[[FrameT], Pixels] | None = None,
        encode: Callable[[Pixels, FrameT], ResultT] | None = None,
        field_filter: FieldFilter | None = None,
        solves: Callable[[int], bool] | None = None,
        window: FieldWindow | None = None,
        jobs: int | None = None,
    ) -> None:
        if jobs is not None:
            check_workers(jobs, "jobs")
        self.jobs = jobs or usable_cores()
        # One frame waits for each frame in work, so that no worker idles while the results before it are written.
        self.lookahead = 2 * self.jobs
        self._dehazer = dehazer
        self._decode = decode or (lambda frame: cast("Pixels", frame))
        self._encode = encode or (lambda pixels, _: cast("ResultT", pixels))
        self._filter, self._solves, self._window = field_filter, solves, window

    def __call__(self, frames: Iterable[FrameT]) -> Iterator[ResultT]:
        """Yield the result of every frame, in order.

        A result is yielded at the latest when the next frame arrives after it is done, so a live stream lags little.

        Raises:
            ImageError: A frame cannot be processed; the message tells its number, counted from 1. All results before
                it have been yielded. The same holds for an error that ``frames`` raises.
        """
        if self._window is not None:
            yield from self._looking_ahead(frames, self._window)
            return
        pending: deque[Future[ResultT]] = deque()
        turns = _Turns()
        pool = ThreadPoolExecutor(self.jobs, thread_name_prefix="unhaze-frame")
        try:
            incoming = iter(frames)
            number, failure = 0, None
            while True:
                try:
                    frame = next(incoming)
                except StopIteration:
                    break
                except Exception as error:  # raised below, after the frames that came before it
                    failure = error
                    break
                number += 1
                pending.append(pool.submit(self._process, frame, number, turns))
                while pending and (pending[0].done() or len(pending) > self.lookahead):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
            if failure is not None:
                raise failure
        finally:
            turns.stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _process(self, frame: FrameT, number: int, turns: _Turns) -> ResultT:
        with _named(number, turns):
            pixels = self._decode(frame)
            field: Any = None
            if self._solves is None or self._solves(number):
                field = self._dehazer.solve(pixels)
            if self._filter is not None:
                with turns.turn(number):
                    field = self._filter(field, pixels)
            return self._encode(self._dehazer.apply(pixels, field), frame)

    def _looking_ahead(self, frames: Iterable[FrameT], window: FieldWindow) -> Iterator[ResultT]:
        """As :meth:`__call__`, where a frame is applied only when those after it in the window are solved."""
        solving: deque[tuple[FrameT, int, Future[tuple[Pixels, HazeField]]]] = deque()
        waiting: deque[tuple[FrameT, int, Pixels]] = deque()
        applying: deque[Future[ResultT]] = deque()

        def solve(frame: FrameT, number: int) -> tuple[Pixels, HazeField]:
            with _named(number):
                pixels = self._decode(frame)
                return pixels, self._dehazer.solve(pixels)

        def apply(frame: FrameT, number: int, pixels: Pixels, field: HazeField) -> ResultT:
            with _named(number):
                return self._encode(self._dehazer.apply(pixels, field), frame)

        def leave(fields: Iterable[HazeField]) -> None:
            for field in fields:
                applying.append(pool.submit(apply, *waiting.popleft(), field))

        pool = ThreadPoolExecutor(self.jobs, thread_name_prefix="unhaze-frame")
        try:
            incoming, failure, ends = iter(frames), None, False
            number = 0
            while not ends or solving:
                try:
                    if not ends:
                        frame = next(incoming)
                        number += 1
                        solving.append((frame, number, pool.submit(solve, frame, number)))
                    if ends or len(solving) > self.jobs:
                        frame, index, solved = solving.popleft()
                        pixels, field = solved.result()
                        waiting.append((frame, index, pixels))
                        leave(window.push(field, pixels))
                except StopIteration:
                    ends = True
                except Exception as error:  # raised below, after the frames that came before it
                    failure = error
                    break
                while applying and (applying[0].done() or len(applying) > self.jobs):
                    yield applying.popleft().result()
            leave(window.flush())
            while applying:
                yield applying.popleft().result()
            if failure is not None:
                raise failure
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _named(number: int, turns: _Turns | None = None) -> Iterator[None]:
    """Errors name the frame, and the frames after it get no more turns."""
    try:
        yield
    except BaseException as error:
        if turns is not None:
            turns.stop(number)
        if isinstance(error, ImageError):
            raise ImageError(f"Frame {number} cannot be dehazed: {error}") from error
        error.add_note(f"while dehazing frame {number}")
        raise


class _StoppedError(Exception):
    """A frame before this one failed, so the turn of this one will never come; nobody gets to see this."""


class _Turns:
    """Lets frames pass one at a time, by number from 1.

    Workers take frames in order, so the frame whose turn it is always has a worker, and nobody waits for ever.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._next = 1
        self._last = math.inf

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait until all frames before ``number`` have had their turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == number or number > self._last)
            if number > self._last:
                raise _StoppedError
        try:
            yield
        finally:
            with self._changed:
                self._next += 1
                self._changed.notify_all()

    def stop(self, last: int = 0) -> None:
        """Give no turns after frame ``last``; frames before it still get theirs."""
        with self._changed:
            self._last = min(self._last, last)
            self._changed.notify_all()
