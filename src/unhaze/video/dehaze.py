"""From a video file to a dehazed one.

    reader thread: decode -> workers: to RGB, solve, smooth in turn, apply, back -> caller: encode into pieces -> join

The encoder has threads of its own. At most two frames for each worker wait between any two steps, so memory does not
grow with the length of a video.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze import __version__
from unhaze.errors import ImageError, OutputError, OutputExistsError, UnknownNameError, UsageError
from unhaze.images.atomic import atomic_output
from unhaze.images.claims import Claims
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.options import Options
from unhaze.video.containers import TimedFrame, VideoReader
from unhaze.video.encoding import can_be_written, choose_encoding, container_for, describe
from unhaze.video.line import DehazeLine
from unhaze.video.live import open_reader
from unhaze.video.muxing import KEEPS_DISPLAY_MATRIX, Cut, write_video
from unhaze.video.pixels import turned
from unhaze.video.plan import VideoPlan, View
from unhaze.video.segments import FramesFormat, Workshop, parts_folder, segment_length
from unhaze.video.sources import find_pictures, is_address, is_pattern, numbered
from unhaze.video.times import format_time
from unhaze.video.transmission import TransmissionVideo, transmission_target
from unhaze.video.trial import comes_back

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

__all__ = ["VideoPlan", "VideoResult", "View", "default_output", "dehaze_video", "dehazed_frames"]

_SUFFIXES = {"after": "-dehazed", "split": "-compare", "beside": "-preview"}
_LONGEST_NAME = 255  # bytes that the kernel allows
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
    """Where the video goes if nobody says: beside the input, numbered pictures of a folder into a folder.

    What cannot be written as it was read, such as ``.mxf``, becomes Matroska.

    >>> default_output(Path("films/in.mp4")).name
    'in-dehazed.mp4'
    """
    ending = source.suffix
    if is_pattern(source) or source.is_dir():
        pictures = find_pictures(source)
        if pictures is not None and source.is_dir():
            return source.with_name(source.name + _SUFFIXES[view]) / pictures.pattern
    elif not can_be_written(ending):
        ending = ".mkv"
    return source.with_name(f"{source.stem}{_SUFFIXES[view]}{ending}")


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
        path: The video; numbered pictures, as ``frame_%05d.png`` or their folder; or the address of a live source.
        output: Where the result goes; by default beside it, ``in-dehazed.mp4``. Its ending decides on the kind of file;
            ``clear_%05d.png`` writes numbered pictures.
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
        KeyboardInterrupt: It was stopped; the argument is the path of a video of what was done, or ``None``.
    """
    plan, rest = _split_options(plan, options)
    source = str(path)
    if output is None and is_address(source):
        raise UsageError(f"{source} is no file beside which a result could lie; name the output.")
    target = default_output(Path(path), plan.view) if output is None else Path(output)
    _check_target(Path(path), target, plan)
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
        open_reader(path, deinterlace=plan.deinterlace, rate=plan.exact_rate) as reader,
        Dehazer.from_options(Options(**{"threads": 1, **rest})) as dehazer,
    ):
        line = DehazeLine(reader, plan, dehazer, reader.info.pixels(dehazer.max_pixels))
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
    if not is_pattern(target):
        container_for(target.suffix)
    if len(os.fsencode(f"{target.stem}.stopped{target.suffix}.parts")) > _LONGEST_NAME:
        raise OutputError(f"The name {target.name} is too long for a file; name a shorter one with -o.")
    pictures = None if is_address(str(source)) or not is_pattern(target) else find_pictures(source)
    read = {_identity(each) for each in [source, *([] if pictures is None else pictures.paths)]}
    written = [target, *([] if pictures is None else (numbered(target, number) for number in pictures.numbers))]
    if not read.isdisjoint(map(_identity, written)):
        raise OutputError(f"{target} is the input itself; name another output.")
    second = transmission_target(target) if plan.save_transmission else target
    if harmed := [each for each in (second, _stopped(target)) if _identity(each) in read]:
        raise OutputError(f"{harmed[0]} is the input, and would be written to; name another output than {target}.")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a file in it.")
    begun = plan.resume and is_pattern(target) and parts_folder(target).is_dir()  # some pictures may be there
    if (target.exists() or find_pictures(target) is not None) and not plan.overwrite and not begun:
        raise OutputExistsError(f"{target} exists already; use --overwrite to replace it, or -o for another name.")
    finished = plan.resume and parts_folder(second).is_dir()  # just before the run was stopped
    if second != target and second.exists() and not plan.overwrite and not finished:
        raise OutputExistsError(f"{second} exists already; use --overwrite to replace it.")
    if not target.parent.is_dir():
        raise OutputError(f"The folder {target.parent} does not exist; create it first.")


def _identity(path: Path) -> Any:  # the same for all names of one file, hard links among them
    status = path.stat() if path.exists() else None
    return os.path.realpath(path) if status is None else (status.st_dev, status.st_ino)


def _make(source: str, target: Path, plan: VideoPlan, dehazer: Dehazer, progress: Any) -> VideoResult:
    began = time.perf_counter()
    with open_reader(source, deinterlace=plan.deinterlace, rate=plan.exact_rate) as reader:
        with Claims() as claims:  # two programs would write into one another's parts
            if claims.acquire(target) is None:
                raise OutputError(
                    f"Another program makes {target} right now; wait for it, or choose another name with -o."
                )
            work = _Work(reader, target, plan, dehazer, progress)
            try:
                work.run()
                notes = work.join()
            except KeyboardInterrupt as error:
                error.args = (work.rescue(),)
                raise
            work.remove()
        _stopped(target).unlink(missing_ok=True)  # what an earlier run could not finish
        seconds = time.perf_counter() - began
        notes = [*work.notes, *reader.notes, *notes]
        return VideoResult(target, work.workshop.frames, seconds, reader.broken, tuple(notes))


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
        self.kind = "image2" if is_pattern(target) else container_for(target.suffix)
        # a file that cannot say how it is turned for display is turned itself
        self._turns = 0 if self.kind in KEEPS_DISPLAY_MATRIX else -info.rotation // 90 % 4
        width, height, aspect = info.width * (2 if plan.view == "beside" else 1), info.height, info.pixel_aspect
        if self._turns % 2:
            width, height, aspect = height, width, aspect and 1 / aspect
        self.encoding = choose_encoding(
            info,
            plan.codec,
            plan.crf,
            plan.preset,
            pictures=target.suffix if self.kind == "image2" else None,
            container=self.kind,
            works=lambda encoding: comes_back(info, encoding, self.kind, width, height),
        )
        if self.kind in ("avi", "flv") and self.encoding.encoder in ("libx264", "libx264rgb", "libx265"):
            # AVI has no times, and FLV none below zero, so frames must be stored in the order they are shown
            self.encoding.options["bf"] = "0"
        self._line = DehazeLine(reader, plan, dehazer, self.pixels)
        self._form = FramesFormat(width, height, info.rate, info.time_base, aspect, describe(info, self.encoding))
        self._written = self.encoding.pixels(info) or self.pixels
        if plan.view == "beside":
            self._written = self._written.widened(2)
        self._length = segment_length(info.rate)
        self.workshop = Workshop(target, self._job(dehazer), resume=plan.resume, overwrite=plan.overwrite)
        self.second: TransmissionVideo | None = None
        if plan.save_transmission:
            self.second = TransmissionVideo(info, target, plan, self._form, self._job(dehazer), self._turns)
            whole = min(len(self.workshop.pieces), len(self.second.workshop.pieces))
            self.workshop.keep(whole)  # fewer, where the state after so many is lost
            self.second.workshop.keep(len(self.workshop.pieces))
        self.notes = [*self.encoding.notes, *self.workshop.notes]
        if reader.pictures is not None and plan.rate is None and self.kind != "image2":
            self.notes.append(f"The pictures are shown at {info.rate} frames/s; --rate sets another pace.")
        if reader.is_live and info.container != "image2":
            self.notes.append("The sound of a live source is not recorded.")

    def _job(self, dehazer: Dehazer) -> dict[str, Any]:
        """What must be the same for a resumed run."""
        pictures = self.reader.pictures
        files = [self.reader.path] if pictures is None else [pictures.paths[0], pictures.paths[-1]]
        states = [each.stat() for each in files if each.exists()]
        return {
            "program": f"unhaze {__version__}",
            "input": [
                self.reader.path.name,
                *(part for each in states for part in (each.st_size, each.st_mtime_ns)),
                *([] if pictures is None else [len(pictures.paths), str(self.plan.rate)]),
            ],
            "encoder": [self.encoding.encoder, self.encoding.pixel_format, self.encoding.options],
            "part": [str(self.plan.start), str(self.plan.duration)],
            "view": [self.plan.view, self.kind, self.plan.deinterlace, self.plan.save_transmission],
            "haze": [dehazer.model, self._line.temporal, self.plan.lookahead, repr(dehazer.options.given())],
        }

    def run(self) -> None:
        workshop, info = self.workshop, self.reader.info
        done = workshop.frames
        after = workshop.pieces[-1].times[-1] if workshop.pieces else None
        total = info.expected_frames
        if total is not None and (self.plan.start is not None or self.plan.duration is not None):
            assert info.duration is not None
            start, length = Fraction(self.plan.start or 0), self.plan.duration
            total = max(1, round((min(info.duration - start, Fraction(length or info.duration))) * info.rate))
        results = self._line.run(self._encoded, after=after, state=workshop.state(), done=done)
        try:
            for timed, frame, haze in results:
                shown = timed.frame.duration or 0
                workshop.add(frame, timed.pts, self.encoding, self._form, shown)
                if self.second is not None:
                    self.second.add(haze, timed.pts, shown)
                done += 1
                if self._progress is not None:
                    self._progress(done, total, (timed.pts - info.start) * info.time_base)
                if workshop.begun == self._length:
                    self._finish_piece(done)
            self._finish_piece(done)
            if self._line.dropped:
                self.notes.append(f"{self._line.dropped} frames were left out: they came faster than they were done.")
        except KeyboardInterrupt:
            if not self.reader.is_live:
                raise
            self._finish_piece(done)  # the way to end what has no end
        except Exception:
            useful = workshop.pieces or workshop.begun
            workshop.abandon()
            if self.second is not None:
                self.second.workshop.abandon()
            if not useful:
                self.remove()
            raise
        finally:
            results.close()
        if not workshop.pieces:
            self.remove()
            length = "" if info.duration is None else f", which is {format_time(info.duration)} long"
            raise ImageError(
                f"There are no frames in this part of {self.reader.path}{length}; choose another --start, --duration "
                "or --preview."
            )

    def _finish_piece(self, done: int) -> None:
        if self.second is not None:
            self.second.workshop.finish_piece()
        self.workshop.finish_piece(self._line.state_after(done))

    def _encoded(self, pixels: Any, timed: TimedFrame) -> tuple[TimedFrame, VideoFrame, VideoFrame | None]:
        haze = None
        if self.second is not None:
            pixels, transmission = pixels
            haze = self.second.frame(transmission)
        same, view = self._written is self.pixels, self.plan.view
        if self._line.is_identity and view == "after" and same:
            frame = self.pixels.copy(timed.frame)
        elif view == "after" and same:
            frame = self.pixels.to_frame(pixels, timed.frame)
        else:
            if view != "after" or not pixels.size:
                pixels = _composed(self.pixels.to_pixels(timed.frame), pixels, view)
            alpha = None  # what lends it to a frame of another layout
            if not same and self._written.has_alpha and view == "after":
                alpha = timed.frame.reformat(format=self._written.name)
            frame = self._written.to_frame(self._written.fitted(pixels), alpha)
        return timed, turned(frame, self._turns), haze

    def join(self) -> list[str]:
        """Make the video of all pieces; notes on what could not stay as it was.

        Pictures are made of one packet each, and numbered as those of the input, or from 1 on.
        """
        info, plan = self.reader.info, self.plan
        if self.kind == "image2":
            pictures, base = self.reader.pictures, self.workshop.folder / "picture.part"
            for count, packet in enumerate(self.workshop.packets(), 1):
                target = numbered(self.target, count if pictures is None else pictures.numbers[packet.pts])
                if target.exists() and not (plan.overwrite or plan.resume):
                    raise OutputExistsError(
                        f"{target} exists already; use --overwrite to replace it, or another folder."
                    )
                try:
                    base.write_bytes(bytes(packet))
                    base.replace(target)
                except OSError as error:
                    raise OutputError(
                        f"{target} cannot be written: {error.strerror or error}; free some space, and use --resume."
                    ) from error
            return []
        cut = None
        if plan.start is not None or plan.duration is not None:
            # the first frame that is shown becomes the start
            start = self.workshop.pieces[0].times[0] * info.time_base
            end = None if plan.duration is None else start + Fraction(plan.duration)
            cut = Cut(start, end)
        if self.second is not None:
            self.second.write(cut, display_matrix=None if self._turns else info.display_matrix)
        return self._write(self.target, cut, overwrite=plan.overwrite)

    def rescue(self) -> Path | None:
        """Make a video of what there is, so that an interrupted run leaves something to look at; where that is."""
        whole, shown = list(self.workshop.pieces), None
        self.workshop.finish_piece(whole=False)
        pieces, info = self.workshop.pieces, self.reader.info
        if pieces and self.kind != "image2":
            start = None if self.plan.start is None else pieces[0].times[0] * info.time_base
            end = pieces[-1].times[-1] * info.time_base + 1 / info.rate
            shown = _stopped(self.target)
            self._write(shown, Cut(start, end), overwrite=True)
        if not whole:
            self.remove()
        return shown

    def _write(self, path: Path, cut: Cut | None, *, overwrite: bool) -> list[str]:
        info = self.reader.info
        alone = self.reader.is_live or self.reader.pictures is not None
        with atomic_output(path, overwrite=overwrite) as temporary:
            return write_video(
                self.workshop,
                info,
                temporary,
                self.kind,
                source=None if alone else self.reader.name,
                time_base=info.time_base,
                cut=cut,
                display_matrix=None if self._turns else info.display_matrix,
                codec_tag=self.encoding.quicktime_tag if self.kind == "mov" else None,
                pixel_aspect=self._form.pixel_aspect,
            )

    def remove(self) -> None:
        """The video is whole: its pieces are of no more use."""
        self.workshop.remove()
        if self.second is not None:
            self.second.workshop.remove()


def _composed(before: Pixels, after: Pixels, view: View) -> Pixels:
    """Before and after in one picture."""
    if not after.size:
        after = before
    if view == "after":
        return after
    if view == "beside":
        return np.concatenate([before, after], axis=1)
    middle = before.shape[1] // 2
    composed = after.copy()
    composed[:, :middle] = before[:, :middle]
    composed[:, max(0, middle - _LINE // 2) : middle + _LINE // 2] = np.iinfo(before.dtype).max
    return composed
