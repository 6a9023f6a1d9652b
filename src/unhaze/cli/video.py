"""``unhaze video``: dehaze video files."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.cli._stop import Stop, ToldInterrupt
from unhaze.cli._work import log_engine
from unhaze.errors import MissingError, OutputError, UnhazeError, UsageError
from unhaze.images.atomic import make_folder
from unhaze.images.video_files import find_videos
from unhaze.restore.machine import MOST_WORKERS
from unhaze.restore.options import DEFAULT_TEMPORAL, Options

if TYPE_CHECKING:
    from unhaze.video.dehaze import VideoResult
    from unhaze.video.plan import VideoPlan

__all__ = ["dehaze_files", "video"]

_OURS = (
    "-dehazed",
    "-compare",
    "-preview",
    "-transmission",
    ".stopped",
)  # what a folder holds after an earlier run is no input


@opt.takes_options(
    before="recursive",
    without=("threads", "max_memory", "depth", "depth_weights", "backbone_weights", "prompts", "white"),
)
def video(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Video files, or folders of such; numbered pictures (frame_%05d.png, or a folder that holds them); "
            "or the address of a live source (rtsp://...).",
            metavar="INPUT",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A file, for a single video, whose ending decides on the container; or a folder, which repeats the "
            "tree of an input folder. Default is beside each input, as NAME-dehazed.",
            metavar="PATH",
        ),
    ] = None,
    preview: Annotated[
        str | None,
        typer.Option(
            help="Write only a few seconds, before and after side by side, to NAME-preview: 00:01:10+5 is five "
            "seconds from 1 min 10 s on.",
            metavar="TIME+SECONDS",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Write NAME-compare: the left half as it was, the right half dehazed."),
    ] = False,
    codec: Annotated[
        str | None,
        typer.Option(
            help="How to code the pictures; default is as in the input.", metavar="h264|hevc|av1|vp9|prores|ffv1"
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(
            help="Quality: lower is better and larger. Default 18 for H.264, 20 for HEVC, 24 for AV1 and VP9."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Pace of the encoder: ultrafast to veryslow for H.264 and HEVC, a number for AV1 (0 slowest to 13) "
            "and VP9 (0 to 8). Default veryfast, 8, 5.",
            metavar="NAME",
        ),
    ] = None,
    start: Annotated[str | None, typer.Option(help="Begin here: seconds, or 00:01:10.", metavar="TIME")] = None,
    duration: Annotated[str | None, typer.Option(help="Take only so much.", metavar="TIME")] = None,
    rate: Annotated[
        str | None,
        typer.Option(help="Frames per second of numbered pictures; default 25.", metavar="N", show_default=False),
    ] = None,
    temporal: Annotated[
        float | None,
        typer.Option(
            help="How much of the haze of a frame is taken from the frames before, 0 to 0.98, where nothing moves; "
            f"more flickers less. Default {DEFAULT_TEMPORAL:g}, but 0 for a network. Begins anew at scene cuts.",
            show_default=False,
            metavar="X",
        ),
    ] = None,
    lookahead: Annotated[
        int,
        typer.Option(
            help="Smooth with so many later frames, too, 0 to 25: no lag, slower, more memory.",
            metavar="N",
            show_default=False,
        ),
    ] = 0,
    save: Annotated[
        Literal["transmission"] | None,
        typer.Option(
            help="Write the transmission, too, as a second video NAME-transmission: white where the air is clear.",
            metavar="transmission",
            show_default=False,
        ),
    ] = None,
    deinterlace: Annotated[
        bool, typer.Option("--deinterlace", help="Make whole pictures of interlaced frames, as old cameras write.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run was stopped.")] = False,
    recursive: opt.Recursive = True,
    skip_existing: opt.SkipExisting = None,
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
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    **given: Any,
) -> None:
    """Remove haze from video files and keep everything else: sound, subtitles, times, rotation, metadata.

    The result of in.mp4 is in-dehazed.mp4. Ctrl-C leaves what is done as in-dehazed.stopped.mp4, and --resume goes on.

    Try:

      unhaze video in.mp4 --preview 00:00:10+5

      unhaze video in.mp4

      unhaze video films/ -o clear/ --codec hevc
    """
    options = opt.collect(given)
    from unhaze.video.plan import VideoPlan

    view: Literal["after", "split", "beside"] = "split" if compare else "after"
    if preview is not None:
        if compare or start is not None or duration is not None:
            raise UsageError("--preview says what is shown and how; leave out --compare, --start and --duration.")
        start, plus, duration = preview.partition("+")
        view, duration = "beside", duration if plus else "5"
    plan = VideoPlan(
        codec=codec,
        crf=crf,
        preset=preset,
        start=start,
        duration=duration,
        view=view,
        temporal=temporal,
        deinterlace=deinterlace,
        resume=resume,
        overwrite=skip_existing is False,
        jobs=jobs,
        rate=rate,
        lookahead=lookahead,
        save_transmission=save is not None,
    )
    raise typer.Exit(dehaze_files(inputs, output, plan, options, recursive=recursive, skip=skip_existing is True))


def dehaze_files(
    inputs: Sequence[str], output: str | None, plan: VideoPlan, options: Options, *, recursive: bool, skip: bool
) -> int:
    """Dehaze several videos, one after the other; returns the exit code."""
    from unhaze.restore.dehazer import Dehazer
    from unhaze.video.containers import import_av

    if output == "-" or "-" in inputs:
        raise UsageError(
            "A video cannot be read from standard input or written to standard output; name a file, or use "
            "`unhaze pipe`, which takes frames from one program to another."
        )
    with Stop() as stop:
        import_av()  # its absence must be told before anything is made ready
        enters = _looks_into(output, recursive=recursive)
        pairs = _named_apart(list(_pairs(inputs, output, plan, enters)))
        _tell_of_pictures(inputs, enters)
        if not pairs:
            _console.log.error(f"No videos were found in {', '.join(inputs)}.")
            return 1
        failures: list[UnhazeError] = []
        skipped = 0
        with Dehazer.from_options(replace(options, threads=1)) as dehazer:
            log_engine(dehazer)
            for source, target in pairs:
                if skip and target.exists():
                    _console.log.info(f"{target} exists; nothing was written.")
                    skipped += 1
                    continue
                try:
                    if any(_is_same(target, each) for each, _ in pairs if each != source):
                        raise OutputError(f"{target} is an input, too; name another folder than its own with -o.")
                    make_folder(target.parent)
                    result = _dehaze(source, target, plan, dehazer, stop)
                except (
                    UsageError,
                    MissingError,
                ) as error:  # the same for every video, unless one of several is missing
                    if isinstance(error, MissingError) or len(pairs) == 1 or not _is_missing(source):
                        raise
                    failures.append(error)
                    _console.log.error(f"unhaze: {error}")
                    continue
                except UnhazeError as error:
                    failures.append(error)
                    _console.log.error(f"unhaze: {error}")
                    continue
                for note in result.notes:
                    _console.log.info(f"{result.path}: {note}")
                pace = result.frames / max(result.seconds, 1e-9)
                frames = "frame" if result.frames == 1 else "frames"
                _console.log.info(f"{result.path}: {result.frames} {frames}, {pace:.1f} frames/s")
                stop.check()
                if result.broken:
                    failures.append(UnhazeError(result.broken))
                    _console.log.error(f"unhaze: {result.broken}")
    if len(pairs) > 1:
        passed = f", {skipped} skipped" if skipped else ""
        _console.log.info(f"{len(pairs) - len(failures) - skipped} done{passed}, {len(failures)} failed")
    return 1 if failures else 0


def _looks_into(output: str | None, *, recursive: bool) -> Callable[[Path], bool]:
    """Whether videos in a folder within an input are meant: not in hidden ones, and not in what unhaze made."""
    ours = None if output is None else Path(output).absolute()

    def enters(inner: Path) -> bool:
        is_ours = inner.suffix == ".parts" or inner.absolute() == ours
        return recursive and not inner.name.startswith(".") and not is_ours

    return enters


def _tell_of_pictures(inputs: Iterable[str], enters: Callable[[Path], bool]) -> None:
    """Say how many pictures lie among the videos of folders."""
    from unhaze.images.files import READ_SUFFIXES

    for folder in (name for name in inputs if Path(name).is_dir() and find_videos(Path(name), enters)):
        count = 0
        for here, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if enters(Path(here, name))]
            for path in (Path(here, name) for name in names if not name.startswith(".")):
                count += path.suffix.lower() in READ_SUFFIXES and not path.stem.endswith(_OURS)
        if count:
            pictures = "1 picture was" if count == 1 else f"{count} pictures were"
            _console.log.info(f"{pictures} passed over; dehaze pictures with: unhaze run {shlex.quote(folder)}")


def _pairs(
    inputs: Iterable[str], output: str | None, plan: VideoPlan, enters: Callable[[Path], bool]
) -> Iterable[tuple[str, Path]]:
    """Every video and where its result goes."""
    from unhaze.video.dehaze import default_output
    from unhaze.video.sources import find_pictures, is_address, is_pattern

    named = list(inputs)
    folder = None if output is None else Path(output)
    single = len(named) == 1 and not Path(named[0]).is_dir()
    if folder is not None and single and folder.suffix and not folder.is_dir():
        yield named[0], folder
        return
    if addresses := [name for name in named if is_address(name)]:
        raise UsageError(f"Name the file that {addresses[0]} is written to with -o; one address at a time.")
    alone = len(named) == 1 and not any(find_videos(Path(named[0]), enters))
    if folder is not None and folder.suffix and not folder.is_dir() and not alone:
        raise UsageError(f"{output} is one file, but there are several videos; name a folder with -o.")

    for name in named:
        path = Path(name)
        found = [path]
        if path.is_dir():
            found = [each for each in find_videos(path, enters) if not each.stem.endswith(_OURS)]
        pictures = None if found and found != [path] else find_pictures(path)
        if pictures is not None:  # which are one video
            if folder is None or (folder.suffix and not folder.is_dir()):
                yield name, folder or default_output(path, plan.view)
            else:
                yield name, folder / (path.name if is_pattern(path) else pictures.pattern)
            continue
        for each in found:
            if folder is None:
                yield str(each), default_output(each, plan.view)
            else:
                below = each.relative_to(path).parent if path.is_dir() else Path()
                default = default_output(each, plan.view)
                name_there = f"{each.stem}{default.suffix}" if plan.view == "after" else default.name
                yield str(each), folder / below / name_there


def _is_missing(source: str) -> bool:
    from unhaze.video.sources import find_pictures, is_address

    return not is_address(source) and not Path(source).exists() and find_pictures(Path(source)) is None


def _named_apart(pairs: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Where videos of one folder compete for a name, leave it to one and take the endings of others into theirs.

    The name goes to the file that bears its ending, else to the first by name, so that it does not depend on the order.
    """
    owners: dict[Path, str] = {}
    apart: list[tuple[str, Path]] = []
    for source, target in sorted(pairs, key=lambda pair: (Path(pair[0]).suffix != pair[1].suffix, pair[0])):
        owner, path = owners.setdefault(target, source), Path(source)
        if owner != source:
            if path.parent != Path(owner).parent or not (path.suffix and target.name.startswith(path.stem)):
                raise UsageError(f"{owner} and {source} would both become {target}; process them one by one.")
            apart.append((source, target))
    named: dict[str, Path] = {}
    for source, target in apart:
        stem, rest = Path(source).stem, target.name.removeprefix(Path(source).stem)
        ending, number = Path(source).suffix[1:], 1
        while (own := target.with_name(f"{stem}-{ending}{'' if number == 1 else f'-{number}'}{rest}")) in owners:
            number += 1
        owners[own], named[source] = source, own
        _console.log.info(
            f"{source}: named {own.name}, because {target.name} is the name for {Path(owners[target]).name}"
        )
    return [(source, named.get(source, target)) for source, target in pairs]


def _is_same(target: Path, source: str) -> bool:
    try:
        return target.samefile(source)
    except (OSError, ValueError):  # one of them is not there, or no file
        return False


def _dehaze(source: str, target: Path, plan: VideoPlan, dehazer: Any, stop: Stop) -> VideoResult:
    from unhaze.video.dehaze import dehaze_video
    from unhaze.video.segments import parts_folder

    try:
        with _Meter() as meter:

            def progress(done: int, total: int | None, moment: Fraction) -> None:
                meter(done, total, moment)
                stop.check()

            return dehaze_video(source, target, plan=plan, dehazer=dehazer, progress=progress)
    except KeyboardInterrupt as error:
        shown = error.args[0] if error.args else None
        if parts_folder(target).is_dir():
            plays = f"{shown} plays what is done. " if shown else ""
            _console.log.error(f"Stopped; {plays}Go on with the same command and --resume.")
        else:
            left = f"{shown} plays what is done" if shown else "nothing is left of this run"
            begun = "Stopped before the first part, about six seconds, was whole"
            _console.log.error(f"{begun}: {left}, and the same command begins anew.")
        raise ToldInterrupt from error


class _Meter:
    """Shows on a terminal how far a video is: the present time, the pace and the time that is left."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and _console.log.isEnabledFor(logging.INFO)
        self._began, self._shown, self._first = time.perf_counter(), 0.0, 0

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._shown:
            print("\r\x1b[K", end="", flush=True, file=sys.stderr)

    def __call__(self, done: int, total: int | None, moment: Fraction) -> None:
        """Frame number ``done`` of about ``total`` is written; it is shown at ``moment`` [s]."""
        if not self._live:
            return
        from unhaze.video.times import format_time

        now = time.perf_counter()
        if not self._first:  # a resumed video begins in its middle
            self._first, self._began = done, now
        if now - self._shown < 0.5 or done == self._first:
            return
        self._shown = now
        pace = (done - self._first) / (now - self._began)
        left = "" if total is None else f", {format_time(max(0, total - done) / pace, 0)} left"
        share = "" if total is None else f" ({min(100, 100 * done // total)} %)"
        print(
            f"\r\x1b[K{format_time(moment, 1)}{share}, {pace:.1f} frames/s{left}", end="", flush=True, file=sys.stderr
        )
