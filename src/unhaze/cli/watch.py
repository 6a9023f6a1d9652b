"""``unhaze watch``: dehaze every picture that arrives in a folder."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.cli._work import NetworkSettings, Settings, Teller, looks_clear, tell_engine
from unhaze.errors import UsageError
from unhaze.inference.options import DehazeOptions

if TYPE_CHECKING:
    from unhaze.inference.batch import Record
    from unhaze.inference.dehazer import Dehazer
    from unhaze.inference.planning import Existing, Found, Planner
    from unhaze.io.manifest import ReportWriter

__all__ = ["watch"]

Signature = tuple[int, int]  # size [bytes] and time of the last change [ns] of a file


def watch(
    folder: Annotated[Path, typer.Argument(help="The folder to watch, with its folders.", show_default=False)],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the results; repeats the tree of FOLDER.",
            metavar="PATH",
            show_default=False,
        ),
    ],
    every: Annotated[
        float, typer.Option(help="Seconds between two looks at the folder.", min=0.02, metavar="SECONDS")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Process what is there, then end.")] = False,
    suffix: opt.Suffix = None,
    format: opt.Format = "keep",
    quality: opt.Quality = None,
    recursive: opt.Recursive = True,
    skip_existing: Annotated[
        bool | None,
        typer.Option(
            "--skip-existing/--overwrite",
            help="Never touch an output that exists, or do every input anew at the start; default is to leave out "
            "inputs whose output is newer.",
            show_default=False,
        ),
    ] = None,
    on_error: opt.OnError = "skip",
    compare: opt.Compare = False,
    save: opt.Save = None,
    method: opt.MethodName = opt.DEFAULT_METHOD,
    strength: opt.Strength = DehazeOptions.strength,
    color_blend: opt.ColorBlend = DehazeOptions.color_blend,
    protect_sky: opt.ProtectSky = DehazeOptions.protect_sky,
    keep_exposure: opt.KeepExposure = DehazeOptions.keep_exposure,
    spare_clear: opt.SpareClear = DehazeOptions.spare_clear,
    engine: opt.Engine = "auto",
    model: opt.ModelName = None,
    weights: opt.Weights = None,
    device: opt.Device = NetworkSettings.device,
    precision: opt.Precision = NetworkSettings.precision,
    tile: opt.TileSize = None,
    compile: opt.Compile = False,
    depth: opt.Depth = None,
    depth_weights: opt.DepthWeights = None,
    backbone_weights: opt.BackboneWeights = None,
    prompts: opt.Prompts = NetworkSettings.prompts,
    metadata: opt.MetadataChoice = "keep",
    max_memory: opt.MaxMemory = None,
    max_pixels: opt.MaxPixels = "500M",
    jobs: opt.Jobs = None,
    report: opt.Report = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Dehaze every picture that arrives in a folder, until Ctrl-C.

    A file is taken when neither its size nor its time has changed between two looks, so that files that are still being
    copied are left in peace. A file that changes later is done again.

    Try:

      unhaze watch incoming/ -o clear/ --report log.jsonl
    """
    settings = Settings(
        output,
        suffix,
        format,
        quality,
        recursive,
        skip_existing,
        on_error,
        compare,
        tuple(save or ()),
        metadata,
        method,
        DehazeOptions(strength, color_blend, protect_sky, keep_exposure, spare_clear),
        max_memory,
        max_pixels,
        jobs,
        NetworkSettings(
            model, weights, device, precision, tile, compile, depth, depth_weights, backbone_weights, prompts
        ),
        engine,
    )
    settings.check()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; watch looks at folders.")
    with _open_report(report) as writer:
        raise typer.Exit(_Watcher(folder, settings, writer).run(every, once=once))


def _open_report(path: Path | None) -> Any:
    from contextlib import nullcontext

    from unhaze.io.manifest import ReportWriter

    return nullcontext() if path is None else ReportWriter(path)


class _Watcher:
    """Remembers what it saw and did, and takes what is new and at rest."""

    def __init__(self, folder: Path, settings: Settings, report: ReportWriter | None) -> None:
        from unhaze.inference.planning import Planner

        self._settings = settings
        self._planner: Planner = Planner(
            [folder],
            output=settings.output,
            suffix=settings.suffix,
            format=settings.format,
            recursive=settings.recursive,
            existing=self._decide,
            sides=settings.sides,
        )
        self._teller = Teller(report)
        self._dehazers: dict[bool, Dehazer] = {}
        tell_engine(self._dehazer(1))  # what is missing shall be told at once, not when the first picture comes
        self._seen: dict[Path, Signature] = {}
        self._settled: dict[Path, Signature] = {}  # done, skipped or failed; not looked at until it changes
        self._written: set[Path] = set()

    def run(self, every: float, *, once: bool) -> int:
        """Look, work, wait; returns the exit code."""
        if not once:
            _console.say("Watching; Ctrl-C ends it.")
        try:
            self._look()
            while True:
                time.sleep(every)
                self._work_off(self._arrivals())
                if once or self._should_stop():
                    break
        finally:
            self._teller.tell_summary()
        for dehazer in self._dehazers.values():
            dehazer.close()
        return self._teller.exit_code()

    def _should_stop(self) -> bool:
        return self._settings.on_error == "stop" and self._teller.summary.failed > 0

    def _look(self) -> list[tuple[Found, Signature]]:
        """What is there and has not been settled, with its size and time."""
        there = [(item, signature) for item in self._planner.find() if (signature := _signature(item.source))]
        self._settled = {item.source: self._settled[item.source] for item, _ in there if item.source in self._settled}
        fresh = [(item, signature) for item, signature in there if self._settled.get(item.source) != signature]
        self._seen = {item.source: signature for item, signature in fresh}
        return fresh

    def _arrivals(self) -> list[Found]:
        """What has not changed since the look before."""
        before = self._seen
        ready = [(item, signature) for item, signature in self._look() if before.get(item.source) == signature]
        # settled by how it was before it is read: what is written into it from now on counts as a change
        self._settled.update((item.source, signature) for item, signature in ready)
        return [item for item, _ in ready]

    def _work_off(self, arrivals: Iterable[Found]) -> None:
        from unhaze.inference.batch import run_batch

        jobs = [job for job in self._planner.jobs(arrivals) if job.source.exists()]
        if jobs:
            dehazer = self._dehazer(sum(job.ready for job in jobs))
            run_batch(dehazer, jobs, self._settings.batch_options(), self._on_record)

    def _dehazer(self, count: int) -> Dehazer:
        """The dehazer for so many pictures at a time."""
        side_by_side = min(count, self._settings.batch_options().jobs) > 1
        if side_by_side not in self._dehazers:
            self._dehazers[side_by_side] = self._settings.create_dehazer(side_by_side=side_by_side)
        return self._dehazers[side_by_side]

    def _on_record(self, record: Record) -> None:
        self._teller(record)
        if record.status == "done":
            self._written.update(Path(name) for name in (record.output, *record.sides) if name)
            clear = " (looks clear: left almost as it was)" if looks_clear(record.notes) else ""
            _console.say(f"done: {record.input} -> {record.output}{clear}")
        elif record.status == "failed":
            self._teller.tell_failure(record)

    def _decide(self, source: Path, output: Path) -> Existing:
        """What to do with an output that exists."""
        if output in self._written:
            return "overwrite"  # made by us from an earlier state of the source
        if self._settings.skip_existing is not None:
            return self._settings.existing
        made, changed = _signature(output), _signature(source)
        is_newer = made is not None and changed is not None and made[1] >= changed[1]
        return "skip" if is_newer else "error"


def _signature(path: Path) -> Signature | None:
    """Size and time of the last change; ``None`` for what has gone, is empty yet or is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size and path.is_file() else None
