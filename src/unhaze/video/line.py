"""Frames of a reader through the dehazer: decoded ahead, solved, smoothed over time, applied; in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import UsageError
from unhaze.restore.options import DEFAULT_TEMPORAL
from unhaze.video.containers import TimedFrame, VideoReader
from unhaze.video.pixels import FramePixels
from unhaze.video.plan import VideoPlan
from unhaze.video.segments import segment_length
from unhaze.video.smoothing import LookaheadSmoother, TemporalSmoother, check_temporal, estimate_step
from unhaze.video.stream import DehazeStream, WholeFrames
from unhaze.video.transmission import WithTransmission

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.restore.dehazer import Dehazer
    from unhaze.restore.haze_field import HazeField

    Pixels = NDArray[Any]

__all__ = ["DehazeLine", "decoded_ahead"]


class DehazeLine:
    """Frames through the dehazer, with what smooths them over time."""

    def __init__(self, reader: VideoReader, plan: VideoPlan, dehazer: Dehazer, pixels: FramePixels) -> None:
        self._reader, self._plan, self._dehazer, self._pixels = reader, plan, dehazer, pixels
        default = DEFAULT_TEMPORAL if dehazer.has_field else 0.0
        self.temporal = default if plan.temporal is None else check_temporal(plan.temporal)
        if self.temporal and not dehazer.has_field:
            raise UsageError("temporal smooths the haze that a model finds; a network has none, so leave it out.")
        if plan.lookahead and not self.temporal:
            raise UsageError("lookahead is part of the smoothing, which is off; leave it out, or give temporal.")
        if plan.save_transmission and not dehazer.has_field:
            raise UsageError("A network finds no transmission that could be saved; choose another model.")
        self.is_identity = dehazer.restoration.strength == 0 and not plan.save_transmission
        self._smoother = TemporalSmoother(self.temporal)
        self.dropped = 0  # frames of a live source that came faster than they could be worked on
        self._states: dict[int, Any] = {}
        self._every = segment_length(reader.info.rate)
        self._seen = 0
        self._step = estimate_step(reader.info.rate)

    def run(
        self,
        encode: Callable[[Pixels, TimedFrame], Any],
        *,
        after: int | None = None,
        state: Any = None,
        done: int = 0,
    ) -> Generator[Any, None, None]:
        """Yield what ``encode`` makes of each dehazed frame, in order."""
        self._seen = done
        self._smoother.restore(state or {})
        start, end = self._plan.start, None
        if self._plan.duration is not None:
            end = Fraction(start or 0) + Fraction(self._plan.duration)
        frames = self._reader.frames(after=after, start=None if start is None else Fraction(start), end=end)
        found: Any = WithTransmission(self._dehazer) if self._plan.save_transmission else self._dehazer
        ahead = LookaheadSmoother(self.temporal, self._plan.lookahead) if self._plan.lookahead else None
        if ahead is not None:
            ahead.before = self._smoother
        stream: DehazeStream[TimedFrame, Any] = DehazeStream(
            found if self._dehazer.has_field else WholeFrames(self._dehazer),
            decode=lambda timed: self._pixels.to_pixels(timed.frame),
            encode=encode,
            field_filter=self._smooth if self.temporal else None,
            solves=(lambda number: (done + number - 1) % self._step == 0) if self.temporal else None,
            window=None if ahead is None else _Recorded(ahead, self._record),
            jobs=self._plan.jobs,
        )
        threads = cv2.getNumThreads()
        if stream.jobs > 1:
            cv2.setNumThreads(1)  # the threads of all frames together would get in one another's way
        try:
            if self.is_identity:
                yield from (encode(np.empty(0), timed) for timed in frames)
            else:
                dropped = self._drop if self._reader.is_live else None
                # the thread that decodes must have ended before the file is closed, also where this was interrupted
                with closing(decoded_ahead(frames, 2 * stream.jobs, dropped=dropped)) as decoded:
                    yield from stream(decoded)
        finally:
            cv2.setNumThreads(threads)

    def _drop(self) -> None:
        self.dropped += 1

    def _smooth(self, field: HazeField | None, pixels: Pixels) -> HazeField:
        smoothed = self._smoother.follow(pixels) if field is None else None
        if smoothed is None:
            smoothed = self._smoother(self._dehazer.solve(pixels) if field is None else field, pixels)
        self._record()
        return smoothed

    def _record(self) -> None:
        self._seen += 1
        if self._seen % self._every == 0:
            self._states[self._seen] = self._smoother.state

    def state_after(self, frames: int) -> Any:
        """What frame number ``frames`` left for the one after it."""
        return self._states.pop(frames, None)


class _Recorded:
    """A window that tells of each frame it has taken."""

    def __init__(self, window: LookaheadSmoother, record: Callable[[], None]) -> None:
        self._window, self._record, self.flush = window, record, window.flush

    def push(self, field: HazeField, pixels: Pixels) -> list[HazeField]:
        ready = self._window.push(field, pixels)
        self._record()
        return ready


def decoded_ahead(
    frames: Iterator[TimedFrame], depth: int, *, dropped: Callable[[], None] | None = None
) -> Generator[TimedFrame, None, None]:
    """The same frames, decoded in a thread of its own up to ``depth`` ahead.

    Args:
        frames: What is decoded.
        depth: How many frames may wait.
        dropped: Called for each frame that is left out, since there was no room for it and a live source does not
            wait; ``None`` lets the source wait.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1 if dropped is None or item[0] is None else 0.001)
                return True
            except queue.Full:
                if dropped is not None and item[0] is not None:
                    dropped()
                    return True

        return False

    def read() -> None:
        try:
            for frame in frames:
                if not put((frame, None)):
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=read, name="unhaze-reader", daemon=True)
    thread.start()
    try:
        while True:
            frame, error = ready.get()
            if error is not None:
                raise error
            if frame is None:
                return
            yield frame
    finally:
        stop.set()
        thread.join()
