"""``unhaze pipe``: dehaze video frames between two programs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.cli._work import log_engine
from unhaze.errors import UsageError
from unhaze.restore.machine import MOST_WORKERS
from unhaze.restore.options import DEFAULT_TEMPORAL

if TYPE_CHECKING:
    from unhaze.restore.dehazer import Dehazer
    from unhaze.video.frames import Frame, FrameConverter, FrameReader, InputFormat, Matrix

__all__ = ["pipe"]

_FORMATS = "auto|y4m|rgb24|bgr24|gray|rgb48le|gray16le"
_INTERLACED = (
    "The stream is interlaced, and frames are dehazed as whole pictures; "
    "deinterlace it before, for example with: ffmpeg -vf bwdif"
)


@opt.takes_options(
    before="jobs", without=("threads", "max_memory", "depth", "depth_weights", "backbone_weights", "prompts", "white")
)
def pipe(
    input_format: Annotated[str, typer.Option(help="What comes in; auto recognises y4m.", metavar=_FORMATS)] = "auto",
    size: Annotated[str | None, typer.Option(help="Frame size of a raw format, as 1280x720.", metavar="WxH")] = None,
    temporal: Annotated[
        float | None,
        typer.Option(
            help="How much of the haze of a frame is taken from the frames before, 0 to 0.98, where nothing moves; "
            f"more flickers less. Default {DEFAULT_TEMPORAL:g}, but 0 for a network. Begins anew at scene cuts.",
            show_default=False,
            metavar="X",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="How many frames to work on at once; default is the number of processors.",
            min=1,
            max=MOST_WORKERS,
            show_default=False,
            metavar="N",
        ),
    ] = None,
    matrix: Annotated[
        str,
        typer.Option(
            help="Colour matrix of y4m frames; auto is bt709 from 720 lines on.", metavar="auto|bt601|bt709|bt2020"
        ),
    ] = "auto",
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    **given: Any,
) -> None:
    """Dehaze video frames from stdin to stdout.

    Takes YUV4MPEG2 (y4m) or raw frames and gives back the same kind, without audio. With the sound of the original:

      ffmpeg -v error -i in.mp4 -f yuv4mpegpipe -pix_fmt yuv420p - | unhaze pipe |
        ffmpeg -v error -i - -i in.mp4 -map 0:v -map '1:a?' -c:a copy out.mp4
    """
    options = opt.collect(given)
    _refuse_terminal("input", sys.stdin.isatty())
    _refuse_terminal("output", sys.stdout.isatty())
    from unhaze.restore.dehazer import Dehazer
    from unhaze.video.frames import FrameConverter, FrameReader, FrameWriter, parse_size
    from unhaze.video.smoothing import check_temporal

    weight = None if temporal is None else check_temporal(temporal)
    # one thread per frame: frames side by side share the cores better than strips of one frame
    with Dehazer.from_options(replace(options, threads=1)) as dehazer:
        if weight is None:
            weight = DEFAULT_TEMPORAL if dehazer.has_field else 0.0
        log_engine(dehazer)
        frame_size = parse_size(size) if size else None
        kind, limit = cast("InputFormat", input_format), cast("int | None", options.max_pixels)
        reader = FrameReader(sys.stdin.buffer, kind, frame_size, max_pixels=limit)
        converter = FrameConverter(reader.info, cast("Matrix", matrix))
        if reader.info.interlaced:
            _console.log.info(_INTERLACED)
        frames: Iterable[Frame] = reader
        if options.strength != 0:
            frames = _dehazed(dehazer, reader, converter, weight, jobs)
        with _meter(quiet) as count_frame:
            try:
                writer = FrameWriter(sys.stdout.buffer, reader.info)
                for frame in frames:
                    writer.write(frame)
                    count_frame()
            except BrokenPipeError:
                _console.log.debug("The next program closed the pipe.")  # it has seen enough


def _refuse_terminal(direction: str, is_terminal: bool) -> None:
    if is_terminal:
        from unhaze.images.video_files import video_command

        example = video_command("in.mp4", "out.mp4")
        raise UsageError(f"The {direction} is a terminal; put `unhaze pipe` between two programs: {example}")


def _dehazed(
    dehazer: Dehazer, reader: FrameReader, converter: FrameConverter, temporal: float, jobs: int | None
) -> Iterator[Frame]:
    import cv2

    frames = dehazer.stream(reader, temporal=temporal, decode=converter.to_pixels, encode=converter.to_frame, jobs=jobs)
    before = cv2.getNumThreads()
    if jobs != 1:
        cv2.setNumThreads(1)  # the threads of all frames together would get in one another's way
    try:
        yield from frames
    finally:
        cv2.setNumThreads(before)


@contextlib.contextmanager
def _meter(quiet: bool) -> Iterator[Callable[[], None]]:
    """Count frames; tell the pace on stderr while it goes on, if that is a terminal, and at the end."""
    started, shown, count = time.perf_counter(), 0.0, 0
    is_live = sys.stderr.isatty() and not quiet

    def pace() -> str:
        seconds = time.perf_counter() - started
        return f"{count} {'frame' if count == 1 else 'frames'}, {count / max(seconds, 1e-9):.1f} frames/s"

    def count_frame() -> None:
        nonlocal count, shown
        count += 1
        if is_live and (now := time.perf_counter()) - shown > 0.5:
            shown = now
            print(f"\r{pace()}   ", end="", flush=True, file=sys.stderr)

    try:
        yield count_frame
    finally:
        if is_live:
            print("\r", end="", file=sys.stderr)
        _console.log.info(pace())
