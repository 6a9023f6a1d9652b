"""From a video file to a dehazed one.

    reader thread: decode -> workers: to RGB, solve, smooth in turn, apply, back -> caller: encode into pieces -> join

The encoder has threads of its own. At most two frames for each worker wait between any two steps, so memory does not
grow with the length of a video.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze import __version__
from unhaze.errors import ImageError, OutputError, OutputExistsError, UnhazeError, UnknownNameError, UsageError
from unhaze.images.atomic import atomic_output
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.options import DEFAULT_TEMPORAL, Options
from unhaze.video.containers import TimedFrame, VideoReader
from unhaze.video.encoding import choose_encoding, container_for, describe
from unhaze.video.muxing import KEEPS_DISPLAY_MATRIX, Cut, write_video
from unhaze.video.pixels import FramePixels, turned
from unhaze.video.plan import VideoPlan, View
from unhaze.video.segments import FramesFormat, Workshop, segment_length
from unhaze.video.smoothing import TemporalSmoother, check_temporal
from unhaze.video.stream import DehazeStream, WholeFrames

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

    from unhaze.restore.haze_field import HazeField

    Pixels = NDArray[Any]

__all__ = ["VideoPlan", "VideoResult", "View", "default_output", "dehaze_video", "dehazed_frames"]

_SUFFIXES = {"after": "-dehazed", "split": "-compare", "beside": "-preview"}
_LINE = 2  # width of the line between before and after [px]


@dataclass(frozen=True, slots=True)
class VideoResult:
    """A video that was made.

    Attributes:
        path: Where it is.
        frames: How many frames it has.
        seconds: How long it took [s].
        broken: Where and how the input was damaged, in a sentence; ``None`` if it was sound.
        notes: Sentences on what could not stay as it was.
    """

    path: Path
    frames: int
    seconds: float
    broken: str | None = None
    notes: tuple[str, ...] = ()


def default_output(source: Path, view: View = "after") -> Path:
    """Where the video goes if nobody says: beside the input.

    >>> default_output(Path("films/in.mp4")).name
    'in-dehazed.mp4'
    """
    return source.with_name(f"{source.stem}{_SUFFIXES[view]}{source.suffix}")


def dehaze_video(
    path: str | Path,
    output: str | Path | None = None,
    *,
    plan: VideoPlan | None = None,
    dehazer: Dehazer | None = None,
    progress: Callable[[int, int | None, Fraction], None] | None = None,
    **options: Any,
) -> VideoResult:
    """Dehaze a video file and keep all of it that is no haze.

    Sound, subtitles, data and attachments are copied bit for bit; chapters, metadata, colour tags, pixel aspect,
    rotation and the exact time of each frame are kept.

    Args:
        path: The video.
        output: Where the result goes; by default beside it, ``in-dehazed.mp4``. Its ending decides on the kind of file.
        plan: How, as a whole; else its attributes may be given as ``options``.
        dehazer: What dehazes, best with ``threads=1``; else made from ``options``.
        progress: Called after each frame with the number of frames done, about how many there are, and its time [s].
        **options: Attributes of :class:`VideoPlan` and of :class:`~unhaze.restore.options.Options`.

    Returns:
        What was made. A damaged input gives all frames that could be decoded, and ``broken`` says where it ends.

    Raises:
        ImageError: The video cannot be read, or a frame cannot be dehazed.
        OutputError: The output exists or cannot be written. What was made so far is kept for ``resume``.
        UsageError: An option does not exist or is out of range.
        MissingDependencyError: PyAV is not installed.
    """
    plan, rest = _split_options(plan, options)
    source = Path(path)
    target = default_output(source, plan.view) if output is None else Path(output)
    _check_target(source, target, plan)
    if dehazer is not None:
        return _make(source, target, plan, dehazer, progress)
    with Dehazer.from_options(Options(**{"threads": 1, **rest})) as made:
        return _make(source, target, plan, made, progress)


def dehazed_frames(path: str | Path, **options: Any) -> Iterator[tuple[float, Pixels]]:
    """The dehazed frames of a video, one after the other, with the time of each [s].

    Args:
        path: The video.
        **options: As for :func:`dehaze_video`.

    Yields:
        Seconds since the first frame, and the frame: (H, W, 3) RGB or (H, W) grey, uint8, or uint16 where the video has
        more than 8 bits.

    Raises:
        ImageError: The video cannot be read; or it is damaged, raised after the last whole frame.
    """
    plan, rest = _split_options(None, options)
    with (
        VideoReader(path, deinterlace=plan.deinterlace) as reader,
        Dehazer.from_options(Options(**{"threads": 1, **rest})) as dehazer,
    ):
        line = _Line(reader, plan, dehazer, reader.info.pixels(dehazer.max_pixels))
        for timed, pixels in line.run(lambda pixels, timed: (timed, pixels)):
            yield float((timed.pts - reader.info.start) * reader.info.time_base), pixels
        if reader.broken:
            raise ImageError(reader.broken)


def _split_options(plan: VideoPlan | None, options: dict[str, Any]) -> tuple[VideoPlan, dict[str, Any]]:
    known = {each.name for each in fields(VideoPlan)}
    mine = {name: value for name, value in options.items() if name in known}
    rest = {name: value for name, value in options.items() if name not in known}
    names = {each.name for each in fields(Options)}
    for name in rest:
        if name not in names:
            raise UnknownNameError("option", name, sorted({*known, *names}))
    return replace(plan or VideoPlan(), **mine), rest


def _check_target(source: Path, target: Path, plan: VideoPlan) -> None:
    container_for(target.suffix)
    if os.path.realpath(source) == os.path.realpath(target):
        raise OutputError(f"{target} is the input itself; name another output.")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a file in it.")
    if target.exists() and not plan.overwrite:
        raise OutputExistsError(f"{target} exists already; use --overwrite to replace it, or -o for another name.")
    if not target.parent.is_dir():
        raise OutputError(f"The folder {target.parent} does not exist; create it first.")


def _make(source: Path, target: Path, plan: VideoPlan, dehazer: Dehazer, progress: Any) -> VideoResult:
    began = time.perf_counter()
    with VideoReader(source, deinterlace=plan.deinterlace) as reader:
        work = _Work(reader, target, plan, dehazer, progress)
        try:
            work.run()
            notes = work.join()
        except KeyboardInterrupt:
            work.rescue()
            raise
        work.workshop.remove()
        if plan.resume:
            _stopped(target).unlink(missing_ok=True)
        seconds = time.perf_counter() - began
        return VideoResult(target, work.workshop.frames, seconds, reader.broken, (*work.encoding.notes, *notes))


def _stopped(target: Path) -> Path:
    """Where the video of an interrupted run lies."""
    return target.with_name(f"{target.stem}.stopped{target.suffix}")


class _Work:
    """One video while it is made."""

    def __init__(
        self,
        reader: VideoReader,
        target: Path,
        plan: VideoPlan,
        dehazer: Dehazer,
        progress: Callable[[int, int | None, Fraction], None] | None,
    ) -> None:
        self.reader, self.target, self.plan = reader, target, plan
        info, self._progress = reader.info, progress
        self.pixels = info.pixels(dehazer.max_pixels)
        self.kind = container_for(target.suffix)
        self.encoding = choose_encoding(info, plan.codec, plan.crf, plan.preset)
        # a file that cannot say how it is turned for display is turned itself
        self._turns = 0 if self.kind in KEEPS_DISPLAY_MATRIX else -info.rotation // 90 % 4
        self._line = _Line(reader, plan, dehazer, self.pixels)
        width, height = info.width * (2 if plan.view == "beside" else 1), info.height
        aspect = info.pixel_aspect
        if self._turns % 2:
            width, height, aspect = height, width, aspect and 1 / aspect
        self._form = FramesFormat(width, height, info.rate, info.time_base, aspect, describe(info))
        self._written = self.pixels if plan.view != "beside" else self.pixels.widened(2)
        self._length = segment_length(info.rate)
        self.workshop = Workshop(target, self._job(dehazer), resume=plan.resume, overwrite=plan.overwrite)

    def _job(self, dehazer: Dehazer) -> dict[str, Any]:
        """What must be the same for a resumed run."""
        status = self.reader.path.stat() if self.reader.path.exists() else None
        return {
            "program": f"unhaze {__version__}",
            "input": [self.reader.path.name, *([status.st_size, status.st_mtime_ns] if status else [])],
            "encoder": [self.encoding.encoder, self.encoding.pixel_format, self.encoding.options],
            "part": [str(self.plan.start), str(self.plan.duration)],
            "view": [self.plan.view, self.kind, self.plan.deinterlace],
            "haze": [dehazer.model, self._line.temporal, repr(dehazer.options.given())],
        }

    def run(self) -> None:
        workshop, info = self.workshop, self.reader.info
        done = workshop.frames
        after = workshop.pieces[-1].times[-1] if workshop.pieces else None
        total = info.expected_frames
        if total is not None and (self.plan.start is not None or self.plan.duration is not None):
            assert info.duration is not None
            start, length = Fraction(self.plan.start or 0), self.plan.duration
            total = round((min(info.duration - start, Fraction(length or info.duration))) * info.rate)
        results = self._line.run(self._encoded, after=after, state=workshop.state(), done=done)
        try:
            for timed, frame in results:
                workshop.add(frame, timed.pts, self.encoding, self._form)
                done += 1
                if self._progress is not None:
                    self._progress(done, total, (timed.pts - info.start) * info.time_base)
                if workshop.begun == self._length:
                    workshop.finish_piece(self._line.state_after(done))
            workshop.finish_piece(self._line.state_after(done))
        except UnhazeError:
            workshop.abandon()
            raise
        finally:
            results.close()
        if not workshop.pieces:
            workshop.remove()
            raise UsageError(f"There are no frames in this part of {self.reader.path}; check --start and --duration.")

    def _encoded(self, pixels: Pixels, timed: TimedFrame) -> tuple[TimedFrame, VideoFrame]:
        if self._line.is_identity and self.plan.view == "after":
            frame = self.pixels.copy(timed.frame)
        elif self.plan.view == "after":
            frame = self.pixels.to_frame(pixels, timed.frame)
        else:
            frame = self._written.to_frame(_composed(self.pixels.to_pixels(timed.frame), pixels, self.plan.view))
        return timed, turned(frame, self._turns)

    def join(self) -> list[str]:
        """Make the video of all pieces; notes on what could not stay as it was."""
        info, plan = self.reader.info, self.plan
        cut = None
        if plan.start is not None or plan.duration is not None:
            # the first frame that is shown becomes the start
            start = self.workshop.pieces[0].times[0] * info.time_base
            end = None if plan.duration is None else start + Fraction(plan.duration)
            cut = Cut(start, end)
        return self._write(self.target, cut, overwrite=plan.overwrite)

    def rescue(self) -> None:
        """Make a video of what there is, so that an interrupted run leaves something to look at."""
        whole = list(self.workshop.pieces)
        self.workshop.finish_piece(whole=False)
        pieces, info = self.workshop.pieces, self.reader.info
        if pieces:
            start = None if self.plan.start is None else pieces[0].times[0] * info.time_base
            end = pieces[-1].times[-1] * info.time_base + 1 / info.rate
            self._write(_stopped(self.target), Cut(start, end), overwrite=True)
        if not whole:
            self.workshop.remove()

    def _write(self, path: Path, cut: Cut | None, *, overwrite: bool) -> list[str]:
        info = self.reader.info
        with atomic_output(path, overwrite=overwrite) as temporary:
            return write_video(
                self.workshop,
                info,
                temporary,
                self.kind,
                source=self.reader.path,
                time_base=info.time_base,
                cut=cut,
                display_matrix=None if self._turns else info.display_matrix,
                codec_tag=self.encoding.quicktime_tag if self.kind == "mov" else None,
            )


class _Line:
    """Frames through the dehazer, with what smooths them over time."""

    def __init__(self, reader: VideoReader, plan: VideoPlan, dehazer: Dehazer, pixels: FramePixels) -> None:
        self._reader, self._plan, self._dehazer, self._pixels = reader, plan, dehazer, pixels
        default = DEFAULT_TEMPORAL if dehazer.has_field else 0.0
        self.temporal = default if plan.temporal is None else check_temporal(plan.temporal)
        if self.temporal and not dehazer.has_field:
            raise UsageError("temporal smooths the haze that a model finds; a network has none, so leave it out.")
        self.is_identity = dehazer.restoration.strength == 0
        self._smoother = TemporalSmoother(self.temporal)
        self._states: dict[int, Any] = {}
        self._every = segment_length(reader.info.rate)
        self._seen = 0

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
        stream: DehazeStream[TimedFrame, Any] = DehazeStream(
            self._dehazer if self._dehazer.has_field else WholeFrames(self._dehazer),
            decode=lambda timed: self._pixels.to_pixels(timed.frame),
            encode=encode,
            field_filter=self._smooth if self.temporal else None,
            jobs=self._plan.jobs,
        )
        threads = cv2.getNumThreads()
        if stream.jobs > 1:
            cv2.setNumThreads(1)  # the threads of all frames together would get in one another's way
        try:
            if self.is_identity:
                yield from (encode(np.empty(0), timed) for timed in frames)
            else:
                yield from stream(_ahead(frames, 2 * stream.jobs))
        finally:
            cv2.setNumThreads(threads)

    def _smooth(self, field: HazeField, pixels: Pixels) -> HazeField:
        smoothed = self._smoother(field, pixels)
        self._seen += 1
        if self._seen % self._every == 0:
            self._states[self._seen] = self._smoother.state
        return smoothed

    def state_after(self, frames: int) -> Any:
        """What frame number ``frames`` left for the one after it."""
        return self._states.pop(frames, None)


def _ahead(frames: Iterator[TimedFrame], depth: int) -> Iterator[TimedFrame]:
    """The same frames, decoded in a thread of its own up to ``depth`` ahead."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
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


def _composed(before: Pixels, after: Pixels, view: View) -> Pixels:
    """Before and after in one picture."""
    if not after.size:
        after = before
    if view == "beside":
        return np.concatenate([before, after], axis=1)
    middle = before.shape[1] // 2
    composed = after.copy()
    composed[:, :middle] = before[:, :middle]
    composed[:, max(0, middle - _LINE // 2) : middle + _LINE // 2] = np.iinfo(before.dtype).max
    return composed
