"""What ``run`` and ``watch`` share: settings, the dehazer they stand for, and telling what became of inputs."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from unhaze.cli import _console
from unhaze.errors import OutputError, OutputExistsError, UnknownNameError, UsageError
from unhaze.restore.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from unhaze.batch.planning import Existing
    from unhaze.batch.workers import Batch, BatchOptions, Job, Record, Summary
    from unhaze.images.manifest import ReportWriter
    from unhaze.restore.dehazer import Dehazer

__all__ = [
    "Reporter",
    "Settings",
    "clear_sentence",
    "log_engine",
    "log_names",
    "log_notes",
    "looks_clear",
    "with_name",
    "work_off",
    "work_through",
]

_POLL = 0.2  # [s]
_LONGEST_WRITE = 30.0  # how long the records of an interrupted batch are waited for [s]
_NAMED = 5  # pictures that a line names, and results whose name is told


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that ``run`` and ``watch`` share, as given on the command line."""

    output: str | None
    suffix: str | None
    format: str
    quality: int | None
    recursive: bool
    skip_existing: bool | None
    on_error: str
    compare: bool
    save: Sequence[str] | None
    metadata: str
    jobs: int | None
    options: Options

    def check(self) -> None:
        """Find mistakes before any file is looked at.

        Raises:
            UsageError: A value is not one of those that exist, or out of range.
        """
        from unhaze.models.catalogue import finds_haze, resolve_model
        from unhaze.restore.engines.onnx import ENGINES

        for kind, value, known in (
            ("reaction to an error", self.on_error, ("skip", "stop")),
            ("way to treat metadata", self.metadata, ("keep", "strip")),
            ("engine", self.options.engine, ENGINES),
        ):
            if value not in known:
                raise UnknownNameError(kind, value, known)
        model = None if self.options.model is None else resolve_model(self.options.model)
        is_network = not finds_haze(model) if model else self.options.weights is not None
        if is_network and set(self.sides) - {"compare", "depth"}:
            raise UsageError("A network makes no maps but depth, if it is told of it; change --save or --model.")

    @property
    def existing(self) -> Existing:
        """What to do with an output that exists."""
        return "error" if self.skip_existing is None else "skip" if self.skip_existing else "overwrite"

    @property
    def sides(self) -> list[str]:
        """Products to write beside the restored picture."""
        from unhaze.batch.planning import SIDE_PRODUCTS

        maps = [name.strip() for part in self.save or () for name in part.split(",") if name.strip()]
        known = sorted(set(SIDE_PRODUCTS) - {"compare"})
        for name in maps:
            if name not in known:
                raise UnknownNameError("map", name, known)
        return [*(["compare"] if self.compare else []), *dict.fromkeys(maps)]

    def planning(self) -> dict[str, Any]:
        """What planning is told beside inputs and output."""
        return {
            "suffix": self.suffix,
            "format": self.format,
            "recursive": self.recursive,
            "existing": self.existing,
            "sides": self.sides,
        }

    def batch_options(self) -> BatchOptions:
        """How to work off a batch."""
        from unhaze.batch.workers import BatchOptions
        from unhaze.restore.machine import usable_cores

        return BatchOptions(
            jobs=self.jobs or usable_cores(),
            on_error=cast("Literal['skip', 'stop']", self.on_error),
            metadata=cast("Literal['keep', 'strip']", self.metadata),
            quality=self.quality,
            max_memory=cast("int | None", self.options.max_memory),
            max_pixels=cast("int | None", self.options.max_pixels),
        )

    def create_dehazer(self, *, side_by_side: bool) -> Dehazer:
        """The dehazer for these settings.

        Args:
            side_by_side: Whether several pictures are worked on at once, each on one processor. A single picture gets
                all of them.
        """
        from unhaze.restore.dehazer import Dehazer

        dehazer = Dehazer(**{**vars(self.options), "threads": 1 if side_by_side else None})
        if "depth" in self.sides and not dehazer.knows_depth:
            raise UsageError(f"{dehazer.model} knows nothing of depth; leave out --save, or use NETWORK+FUSION.")
        return dehazer


class Reporter:
    """Takes the records of a run: counts them, and passes them on to the report and to the user.

    Args:
        report: Where to append the records.
        keep: Whether to remember all records, for a summary in JSON.
    """

    def __init__(self, report: ReportWriter | None, *, keep: bool = False) -> None:
        from unhaze.batch.workers import Summary

        self.summary: Summary = Summary()
        self.records: list[Record] = []
        self.lost_report = False
        self._report, self._keep = report, keep
        self._last_output: str | None = None
        self._clear: dict[str, str | None] = {}  # inputs that hold little haze, and why they were left
        self._note_counts: list[int] = []  # how many notes each picture has that has any
        self._start = time.perf_counter()

    def __call__(self, record: Record) -> None:
        """Take one record."""
        self.summary.add(record)
        if self._keep:
            self.records.append(record)
        if record.status == "done":
            self._last_output = record.output
            if record.notes and looks_clear(record.notes):
                self._clear[record.input] = record.left_alone
            notes = count_notes(record.notes) if record.notes else 0
            self._note_counts += [notes] if notes else []
        if self._report is not None:
            try:
                self._report.write({"time": datetime.now(UTC).isoformat(timespec="seconds"), **record.as_dict()})
            except OutputError as error:  # the pictures matter more than the report
                _console.log.error(f"unhaze: {error}")
                self._report, self.lost_report = None, True
        if _console.is_verbose():
            _console.log.debug(_in_detail(record))

    def log_failures(self) -> None:
        """List what failed and why, on stderr, by name; where many failed for one reason, in one line."""
        there = [record for record in self.summary.failures if record.error_type == OutputExistsError.__name__]
        alike: dict[str | None, list[Record]] = {}
        for record in sorted(self.summary.failures, key=lambda record: record.input):
            if record.error_type != OutputExistsError.__name__ or len(there) == 1:
                alike.setdefault(record.reason, []).append(record)
        for records in alike.values():
            if len(records) <= _NAMED or _console.is_verbose():
                for record in records:
                    self.log_failure(record)
            else:
                _console.log.error(
                    f"failed: {len(records)} pictures, such as {records[0].input}: {records[0].reason} (-v and "
                    "--report list them)"
                )
        if len(there) > 1:
            _console.log.error(
                f"failed: {len(there)} pictures whose outputs exist, such as {there[0].output}; use --skip-existing to "
                "leave them out, or --overwrite to replace them (-v and --report list them)."
            )

    def log_interruption(self, total: int, existing: Existing) -> None:
        """Tell on stderr how far an interrupted run came, and how it goes on.

        Args:
            total: How many inputs there are.
            existing: What the run does with outputs that exist.
        """
        summary = self.summary
        again = {
            "error": "run again with --skip-existing to go on.",
            "skip": "the same command goes on.",
            "overwrite": "the same command does all anew.",
        }
        _console.log.info(
            f"Interrupted: {summary.done} of {total} pictures done, {summary.not_started} not started or given up "
            f"half-way; {again[existing]}"
        )

    def log_failure(self, record: Record) -> None:
        """Tell why one input failed, on stderr."""
        _console.log.error(f"failed: {with_name(record.input, record.reason)}")

    def log_summary(self) -> None:
        """On stderr a line on pictures left almost as they were and one on losses, if any, and one with the counts."""
        summary = self.summary
        line = f"{summary.done} done, {summary.skipped} skipped, {summary.failed} failed"
        if summary.not_started:
            line += f", {summary.not_started} not started"
        if self._last_output and summary.done == 1:
            line += f" ({self._last_output})"
        if self._clear:
            _console.log.info(clear_sentence(self._clear))
        if self._note_counts:
            log_losses(self._note_counts)
        _console.log.info(line)

    def as_json(self, *, interrupted: bool = False) -> dict[str, Any]:
        """The whole run."""
        summary = self.summary
        return {
            "done": summary.done,
            "skipped": summary.skipped,
            "failed": summary.failed,
            "not_started": summary.not_started,
            "interrupted": interrupted,
            "seconds": round(time.perf_counter() - self._start, 3),
            "records": [record.as_dict() for record in self.records],
        }

    def exit_code(self) -> int:
        """0 all done, 1 some failed, 3 some failed and all for want of something to install."""
        if self.summary.failures:
            return 3 if self.summary.only_missing else 1
        return int(self.lost_report)


def work_through(
    batch: Batch, total: int, settings: Settings, report: ReportWriter | None, *, json_output: bool
) -> int:
    """Work off a batch and tell what became of its inputs; at the end, however it comes, of all together.

    Args:
        batch: Gives the records.
        total: How many inputs there are.
        settings: Those of the command.
        report: Where to append the records; closed at the end.
        json_output: Whether to print the whole run on stdout.

    Returns:
        The exit code.
    """
    reporter = Reporter(report, keep=json_output)
    interrupted = True
    try:
        with _console.progress("Dehazing", total) as advance:
            work_off(batch, reporter, advance)
        interrupted = False
    finally:
        if report:
            report.close()
        summary = reporter.summary
        summary.not_started = total - summary.done - summary.skipped - summary.failed
        if summary.failures:
            reporter.log_failures()
        if interrupted:
            reporter.log_interruption(total, settings.existing)
        reporter.log_summary()
        if json_output:
            print(json.dumps(reporter.as_json(interrupted=interrupted), indent=2))
    return reporter.exit_code()


def work_off(batch: Batch, receive: Callable[[Record], None], advance: Callable[[], None] | None = None) -> None:
    """Hand every record of a batch to ``receive``, in a thread of its own, one at a time.

    Ctrl-C reaches the main thread anywhere, also between a record and its telling; here nothing is torn apart.

    Args:
        batch: Gives the records.
        receive: Takes one.
        advance: Called after each.

    Raises:
        KeyboardInterrupt: Passed on as soon as no file is half-written; every picture that was finished has had its
            record. What ``receive`` raises ends the batch, too.
    """
    failures: list[BaseException] = []
    ended = threading.Event()  # Thread.join takes a thread for ended once Ctrl-C has interrupted it

    def listen() -> None:
        try:
            with closing(iter(batch)) as records:
                for record in records:
                    receive(record)
                    if advance is not None:
                        advance()
        except BaseException as failure:
            failures.append(failure)
        finally:
            ended.set()

    listener = threading.Thread(target=listen, name="unhaze-batch-listener", daemon=True)
    try:
        listener.start()
        while not ended.wait(_POLL):  # a wait without end would not hear Ctrl-C on every system
            pass
    finally:
        batch.stop()  # after a good end there is nothing left to stop
        if listener.ident is not None:  # otherwise no worker has begun either
            ended.wait(_LONGEST_WRITE)
    if failures:
        raise failures[0]


def clear_sentence(reasons: Mapping[str, str | None]) -> str:
    """What is told of pictures that were left almost as they were, and of the option that would act on them.

    Args:
        reasons: Name of a picture to why it was left.
    """
    from unhaze.restore.dehazer import SPARED

    names = sorted(reasons)
    hint = " (--spare-clear 0 removes what there is, --model dcp finds more)" if SPARED in reasons.values() else ""
    if len(names) == 1:
        return f"{names[0]} looks clear: left almost as it was{hint}"
    some = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return f"{len(names)} pictures look clear: left almost as they were{hint}: {some}"


def looks_clear(notes: Iterable[str]) -> bool:
    """Whether the notes on a picture say that it holds little haze."""
    from unhaze.restore.dehazer import LOOKS_CLEAR

    return LOOKS_CLEAR in notes


def count_notes(notes: Iterable[str]) -> int:
    """How many notes on a picture speak of something that was lost or changed."""
    return sum(not looks_clear([note]) for note in notes)


def log_losses(counts: Sequence[int]) -> None:
    """Say in one line how much could not be kept, unless the notes themselves are told.

    Args:
        counts: Number of notes on each picture that has any.
    """
    if not counts or _console.is_verbose():
        return
    pictures = f"{len(counts)} picture{'s' if len(counts) > 1 else ''}"
    notes = f"{sum(counts)} note{'s' if sum(counts) > 1 else ''}"
    _console.log.info(f"{notes} on {pictures} about what was lost or changed on the way (-v lists them)")


def log_notes(notes: Sequence[str]) -> None:
    """Tell the notes on a picture without a name, on stderr."""
    from unhaze.restore.dehazer import LOOKS_CLEAR

    log_losses([count_notes(notes)] if count_notes(notes) else [])
    for note in notes:
        if note == LOOKS_CLEAR:
            _console.log.info(f"The picture {note}")
        else:
            _console.log.debug(f"note: {note}")


def log_engine(dehazer: Dehazer, more: str = "") -> None:
    """Tell what does the work, on stderr, if details are wanted."""
    if not _console.is_verbose():
        return
    from unhaze.restore.kernels import describe_kernels

    engine = f"engine {dehazer.engine}" if dehazer.engine else ""
    parts = [f"model {dehazer.model}", engine, f"full resolution by {describe_kernels()}", more]
    _console.log.debug(", ".join(filter(None, parts)))


def log_names(jobs: Iterable[Job]) -> None:
    """Tell of results that could not have the name one would expect, on stderr."""
    noted = [job for job in jobs if job.note and job.ready]
    for job in noted[:_NAMED]:
        _console.log.info(f"{job.source}: {job.note}")
    if len(noted) > _NAMED:
        _console.log.info(f"{len(noted) - _NAMED} more were named so; --dry-run and --report tell all.")


def with_name(name: str, sentence: str | None) -> str:
    """``sentence`` about an input, headed by its name unless it holds that already."""
    return f"{name}: {sentence}" if sentence is None or name not in sentence else sentence


def _in_detail(record: Record) -> str:
    if record.status != "done":
        return _console.one_line(f"{record.status}: {with_name(record.input, record.reason)}") + (
            f"\n{record.trace}" if record.trace else ""
        )
    times = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in record.seconds.items())
    line = f"done: {record.input} -> {record.output} ({record.width} x {record.height}; {times})"
    return "\n".join(map(_console.one_line, [line, *(f"  note: {note}" for note in record.as_dict()["notes"])]))
