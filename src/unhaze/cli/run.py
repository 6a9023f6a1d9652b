"""``unhaze run``: remove haze from pictures."""

from __future__ import annotations

import codecs
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.cli._streams import was_closed, write_bytes
from unhaze.cli._work import Settings, log_engine, log_names, log_notes, with_name, work_through
from unhaze.errors import OutputError, UnhazeError, UsageError
from unhaze.images.video_files import VIDEO_SUFFIXES, find_videos, videos_sentence

if TYPE_CHECKING:
    from unhaze.batch.workers import Job
    from unhaze.images.manifest import ReportWriter
    from unhaze.restore.dehazer import Dehazer

__all__ = ["run"]

_LONGEST_LIST = 256 << 20  # [bytes] of a list of files
_LONGEST_PICTURE = 4 << 30  # [bytes] of a picture that is piped in

STREAM = "-"


@opt.takes_options(before="metadata")
def run(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, quoted patterns such as 'photos/**/*.jpg', or - for stdin.",
            metavar="INPUT",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A folder, which repeats the tree of an input folder; a file, for a single picture; or - for stdout; "
            "folders may be s3://, gs:// or az://. "
            "Default is beside each input.",
            metavar="PATH",
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(help="Also take the files named in this list, one a line; - is stdin.", metavar="FILE"),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The names in --files-from end with NUL, as find -print0 writes them.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Take the I-th of N parts of the inputs, chosen by their names.", metavar="I/N"),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", help="Who does the work: this machine, or a cluster of Ray.", metavar="here|ray")
    ] = "here",
    address: Annotated[
        str | None, typer.Option(help="Of the cluster, or auto; default is one on this machine.", metavar="ADDRESS")
    ] = None,
    suffix: opt.Suffix = None,
    format: opt.Format = "keep",
    quality: opt.Quality = None,
    recursive: opt.Recursive = True,
    skip_existing: opt.SkipExisting = None,
    on_error: opt.OnError = "skip",
    compare: opt.Compare = False,
    save: opt.Save = None,
    metadata: opt.MetadataChoice = "keep",
    jobs: opt.Jobs = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and the memory it needs; write nothing.")
    ] = False,
    json_output: opt.JsonOutput = False,
    report: opt.Report = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    **given: Any,
) -> None:
    """Remove haze from pictures.

    Without further options the result of photo.jpg is photo-dehazed.jpg, in the same format, with the same bit depth,
    colour profile and metadata. Nothing that exists is overwritten unless you say --overwrite, and an input that cannot
    be read does not keep the others from being done.

    Try:

      unhaze run photo.jpg

      unhaze run photos/ -o clear/ --compare

      unhaze run - < hazy.png > clear.png
    """
    from unhaze.batch.planning import Shard, plan
    from unhaze.batch.workers import Batch

    options = opt.collect(given)
    settings = Settings(
        output, suffix, format, quality, recursive, skip_existing, on_error, compare, save, metadata, jobs, options
    )
    settings.check()
    named = inputs or []
    if not named and files_from is None:
        raise UsageError("Missing argument INPUT; name a file, a folder, a pattern, or a list with --files-from.")
    if "" in named or output == "":
        raise UsageError("An input or the output is an empty name; is a variable not set?")
    if STREAM in (*named, output):
        if files_from is not None or shard is not None:
            raise UsageError("--files-from and --shard are for files; leave them out where - is input or output.")
        _run_stream(named, settings, dry_run=dry_run, json_output=json_output, report=report)
        return
    if null and files_from is None:
        raise UsageError("--null says how the names in a list end; add --files-from FILE.")
    if on != "here" or address is not None or any("://" in name for name in (*named, output or "")):
        from unhaze.cli._elsewhere import run_elsewhere

        if dry_run:
            raise UsageError("--dry-run is for files of this machine; leave it out.")
        listed = [] if files_from is None else _read_list(files_from, null=null)
        run_elsewhere(named, listed, settings, shard, on=on, address=address, json_output=json_output, report=report)
        return
    films = [each for each in named if Path(each).suffix.lower() in VIDEO_SUFFIXES - {".y4m"} and Path(each).is_file()]
    special = dry_run or json_output or report or save or shard or files_from or format != "keep"
    if films and not special and find_spec("av"):
        code = _run_films(films, settings)
        named = [name for name in named if name not in films]
        if code or not named:
            raise typer.Exit(code)
    listed = [] if files_from is None else _read_list(files_from, null=null)
    part = None if shard is None else Shard.parse(shard)
    planned = plan(named, listed=listed, output=output, **settings.planning(), shard=part)
    if not planned:
        within = "" if shard is None else f"part {shard} of "
        _console.log.error(f"No pictures were found in {within}{', '.join([*named, *filter(None, [files_from])])}.")
    folders = [Path(name) for name in named if os.path.isdir(name)]  # noqa: PTH112 - that of Path may raise
    if folders and (videos := _videos_among(folders, settings)):
        _console.log.log(logging.INFO if planned else logging.ERROR, videos_sentence(videos))
    workers = settings.batch_options()
    at_once = max(1, min(workers.jobs, sum(job.ready for job in planned)))
    dehazer = settings.create_dehazer(side_by_side=at_once > 1)
    log_names(planned)
    if dry_run:
        raise typer.Exit(_print_plan(planned, dehazer, settings, json_output=json_output))
    log_engine(dehazer, f"pictures at once: {at_once}, threads for each: {dehazer.threads}")
    writer = None if report is None else _open_report(report, planned)
    code = work_through(Batch(dehazer, planned, workers), len(planned), settings, writer, json_output=json_output)
    dehazer.close()  # only now: an interrupted run must not wait for what is under way
    raise typer.Exit(code)


# -- files ------------------------------------------------------------------------------------------------------------


def _run_films(films: Sequence[str], settings: Settings) -> int:
    """Do what ``unhaze video`` does with them; returns the exit code."""
    from unhaze.cli.video import dehaze_files
    from unhaze.video.plan import VideoPlan

    plan = VideoPlan(
        view="split" if settings.compare else "after", overwrite=settings.existing == "overwrite", jobs=settings.jobs
    )
    recursive, skip = settings.recursive, settings.existing == "skip"
    return dehaze_files(films, settings.output, plan, settings.options, recursive=recursive, skip=skip)


def _read_list(name: str, *, null: bool) -> list[str]:
    """The names in a list of files.

    Raises:
        UsageError: It cannot be read, or is no such list.
    """
    try:
        if name == STREAM:
            data = _read_stdin(_LONGEST_LIST)
        else:
            with Path(name).open("rb") as file:
                data = file.read(_LONGEST_LIST + 1)
    except OSError as error:
        raise UsageError(f"The list {name} cannot be read ({error.strerror or error}); check its name.") from error
    if len(data) > _LONGEST_LIST:
        raise UsageError(f"The list {name} is longer than any list of files; check its name.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what PowerShell writes
        data = data.decode("utf-16", errors="replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    if null:
        names = data.split(b"\0")
    elif b"\0" in data:
        raise UsageError(f"The list {name} is no text of one name a line; add --null if its names end with NUL.")
    else:
        names = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(each) for each in names if each]


def _videos_among(folders: Sequence[Path], settings: Settings) -> list[Path]:
    """Videos in the folders that are inputs, where pictures would be found."""
    output = None if settings.output is None else Path(settings.output).absolute()

    def enters(folder: Path) -> bool:
        return settings.recursive and not folder.name.startswith(".") and folder.absolute() != output

    return [video for folder in folders for video in find_videos(folder, enters)]


def _open_report(path: Path, jobs: Sequence[Job]) -> ReportWriter:
    from unhaze.images.manifest import ReportWriter

    for job in jobs:
        if path in (job.source, *job.products):
            raise OutputError(f"The report {path} would get in the way of a picture; name another file for it.")
    return ReportWriter(path)


def _print_plan(jobs: Sequence[Job], dehazer: Dehazer, settings: Settings, *, json_output: bool) -> int:
    """Print what would be done to stdout; returns the exit code that can be foreseen."""
    from unhaze.restore.machine import format_bytes

    planned = [_expected_record(job, dehazer, settings) for job in jobs]
    if json_output:
        print(json.dumps({"dry_run": True, "records": planned}, indent=2))
    else:
        for entry in planned:
            line = f"{entry['status']}: {with_name(entry['input'], entry['error'] or entry['reason'])}"
            if entry["status"] == "planned":
                size = f"{entry['width']} x {entry['height']}, about {format_bytes(entry['memory'])}"
                line = f"{' + '.join([entry['output'], *entry['sides']])} <- {entry['input']} ({size})"
            print(_console.one_line(line))
    failed = sum(entry["status"] == "failed" for entry in planned)
    skipped = sum(entry["status"] == "skipped" for entry in planned)
    _console.log.info(f"{len(planned) - failed - skipped} to do, {skipped} to skip, {failed} cannot be done")
    return 1 if failed else 0


def _expected_record(job: Job, dehazer: Dehazer, settings: Settings) -> dict[str, Any]:
    from unhaze.errors import ImageTooLargeError

    maps = bool(set(job.sides) - {"compare"})
    error, limit = job.error, settings.batch_options().max_pixels
    if job.ready and job.info is not None and limit is not None and job.info.pixels > limit:
        size = f"{job.info.width} x {job.info.height}"
        error = ImageTooLargeError(f"{job.source} has {size} pixels, more than --max-pixels allows ({limit}).")
    elif job.ready and job.info is not None:
        try:
            dehazer.check_budget(job.info, maps=maps)
        except UnhazeError as failure:
            error = failure
    return {
        "input": str(job.source),
        "output": None if job.output is None else str(job.output),
        "sides": [str(path) for path in job.sides.values()],
        "status": "failed" if error else "skipped" if job.skip else "planned",
        "error": str(error) if error else None,
        "reason": job.skip,
        "notes": [] if job.note is None else [job.note],
        "width": job.info.width if job.info else None,
        "height": job.info.height if job.info else None,
        "memory": dehazer.memory_needed(job.info, maps=maps) if job.info else None,
    }


# -- stdin and stdout -------------------------------------------------------------------------------------------------


def _run_stream(
    inputs: Sequence[str], settings: Settings, *, dry_run: bool, json_output: bool, report: Path | None
) -> None:
    """One picture, from stdin or to stdout or both."""
    if dry_run or json_output or report:
        raise UsageError("--dry-run, --json and --report are for files; leave them out where - is input or output.")
    if len(inputs) != 1:
        raise UsageError("- stands for one picture; process the other inputs in a command of their own.")
    target = _stream_target(inputs[0], settings)
    from unhaze.batch.planning import side_paths
    from unhaze.batch.workers import render, write_products
    from unhaze.images.files import format_for_suffix, identify

    source = (
        _read_stdin(cast("int | None", settings.options.max_memory) or _LONGEST_PICTURE)
        if inputs[0] == STREAM
        else Path(inputs[0])
    )
    dehazer = settings.create_dehazer(side_by_side=False)
    log_engine(dehazer)
    sides = settings.sides
    dehazer.check_budget(identify(source), maps=bool(set(sides) - {"compare"}))
    format = None if settings.format == "keep" else settings.format
    if target is not None:
        format = format_for_suffix(target.suffix)
    rendered = render(dehazer, source, format, settings.batch_options(), sides=sides)
    log_notes(rendered.notes)
    if target is None:
        write_bytes(rendered.data)
    elif settings.existing == "skip" and target.exists():
        _console.log.info(f"{target} exists; nothing was written.")
    else:
        overwrite = settings.existing == "overwrite"
        write_products(rendered, target, side_paths(target, target.stem, sides), overwrite=overwrite)


def _stream_target(name: str, settings: Settings) -> Path | None:
    """The file to write, or ``None`` for stdout."""
    from unhaze.batch.planning import Planner

    if settings.output not in (None, STREAM):
        assert settings.output is not None
        if not Path(settings.output).suffix or Path(settings.output).is_dir():
            raise UsageError(f"A picture from stdin has no name; name a file with -o instead of {settings.output}.")
        Planner([name], output=settings.output, suffix=settings.suffix, format=settings.format, sides=settings.sides)
        return Path(settings.output)
    Planner([name], format=settings.format)
    if settings.sides:
        raise UsageError("stdout holds one picture; name a file with -o to get --compare or --save.")
    if was_closed("stdout"):
        raise UsageError("stdout is closed, so the picture has nowhere to go; name a file with -o.")
    if sys.stdout.isatty():
        raise UsageError("A picture cannot be shown in a terminal; name a file with -o, or redirect with > FILE.")
    return None


def _read_stdin(limit: int) -> bytes:
    from unhaze.restore.machine import format_bytes

    if sys.stdin.isatty():
        raise UsageError("Nothing is piped in; write for example: unhaze run - < hazy.jpg > clear.jpg")
    pieces, size = [], 0
    while piece := sys.stdin.buffer.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise UsageError(f"More than {format_bytes(limit)} came in, which is too much; name a file instead of '-'.")
        if size == len(piece) and not piece.strip(b"\0"):
            raise UsageError("What came in begins with a megabyte of zeros; that is no picture and no list.")
    return b"".join(pieces)
