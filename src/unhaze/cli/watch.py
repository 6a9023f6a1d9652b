"""``unhaze watch``: dehaze every picture that arrives in a folder."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.cli._work import Reporter, Settings, log_engine, log_names, looks_clear, work_off
from unhaze.errors import ImageDecodeError, OutputError, UnhazeError, UsageError
from unhaze.images.atomic import signature_of

if TYPE_CHECKING:
    from unhaze.batch.arrivals import Arrival, Arrivals
    from unhaze.batch.history import History
    from unhaze.batch.planning import Existing, Planner
    from unhaze.batch.workers import Record
    from unhaze.images.atomic import Signature
    from unhaze.images.manifest import ReportWriter
    from unhaze.restore.dehazer import Dehazer

__all__ = ["watch"]

KEEP, DELETE, MOVE = "keep", "delete", "move:"


@opt.takes_options(before="metadata")
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
        float,
        typer.Option(
            help="How long a file must not change before it is taken.",
            min=0.02,
            metavar="SECONDS",
        ),
    ] = 1.0,
    poll: Annotated[
        bool,
        typer.Option(
            "--poll",
            help="Look for changes four times a second, where the system does not tell of them; network folders are "
            "recognised and need no option.",
        ),
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Process what is there, then end.")] = False,
    done: Annotated[
        str,
        typer.Option(
            help="What becomes of an input that was done: it stays, goes to another folder, or is deleted.",
            metavar="keep|move:DIR|delete",
        ),
    ] = KEEP,
    suffix: opt.Suffix = None,
    format: opt.Format = "keep",
    quality: opt.Quality = None,
    recursive: opt.Recursive = True,
    skip_existing: Annotated[
        bool | None,
        typer.Option(
            "--skip-existing/--overwrite",
            help="Never touch an output that exists, or do every input anew at the start; default is to leave out "
            "inputs that were done, and to replace the output of one that has changed since.",
            show_default=False,
        ),
    ] = None,
    on_error: opt.OnError = "skip",
    compare: opt.Compare = False,
    save: opt.Save = None,
    metadata: opt.MetadataChoice = "keep",
    jobs: opt.Jobs = None,
    report: opt.Report = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    **given: Any,
) -> None:
    """Dehaze every picture that arrives in a folder, until Ctrl-C.

    A file is taken when neither its size nor its time has changed for a second, so that files that are still being
    copied are left in peace. A file that changes later is done again, unless somebody has worked on its output since.
    What was done is remembered in the output folder: when the command is ended and started again, it goes on where it
    was. A termination signal ends it with exit code 0.

    Try:

      unhaze watch incoming/ -o clear/ --report log.jsonl

      unhaze watch incoming/ -o clear/ --done move:originals/
    """
    options = opt.collect(given)
    settings = Settings(
        output,
        suffix,
        format,
        quality,
        recursive,
        skip_existing,
        on_error,
        compare,
        save,
        metadata,
        jobs,
        options,
    )
    from unhaze.images.manifest import ReportWriter

    settings.check()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; watch looks at folders.")
    originals = _parse_done(done, folder, Path(output))
    with _termination_ends_well(), ExitStack() as stack:
        writer = None if report is None else stack.enter_context(ReportWriter(report))
        watcher = _Watcher(folder, settings, writer, done, originals, every, stack, notify=not poll)
        raise typer.Exit(watcher.run(once=once))


class _TerminationError(KeyboardInterrupt):
    """Somebody has asked the process to end."""


@contextmanager
def _termination_ends_well() -> Iterator[None]:
    """Tidy up on a termination signal, which is the usual end of a service, and end with exit code 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: Any) -> NoReturn:
        raise _TerminationError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _TerminationError:
        raise typer.Exit(0) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _parse_done(done: str, folder: Path, output: Path) -> Path | None:
    """The folder that ``--done move:DIR`` names.

    Raises:
        UsageError: The value is none of those that exist, or the folder is one of the other two.
    """
    if done in (KEEP, DELETE):
        return None
    if not done.removeprefix(MOVE) or not done.startswith(MOVE):
        raise UsageError(f"--done takes keep, move:DIR or delete, but was given {done!r}.")
    originals = Path(done.removeprefix(MOVE))
    if originals.resolve() in (folder.resolve(), output.resolve()):
        raise UsageError(f"{originals} is the watched folder or that of the results; name another one to move to.")
    if originals.exists() and not originals.is_dir():
        raise UsageError(f"{originals} is no folder; name another one to move to.")
    return originals


class _Watcher:
    """Takes what arrives, has it dehazed, and remembers what was done.

    Args:
        folder: The watched folder.
        settings: How to dehaze.
        report: Where to append the records.
        done: What becomes of inputs that were done.
        originals: Where they are moved, if so.
        every: How long a file must be at rest [s].
        stack: Closes what is open at the end.
        notify: Whether to let the system tell of changes where it can.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        report: ReportWriter | None,
        done: str,
        originals: Path | None,
        every: float,
        stack: ExitStack,
        *,
        notify: bool,
    ) -> None:
        from unhaze.batch.arrivals import Arrivals
        from unhaze.batch.planning import Planner

        self._folder, self._settings, self._every = folder, settings, every
        self._deletes, self._originals = done == DELETE, originals
        self._planner: Planner = Planner(
            [folder],
            output=settings.output,
            suffix=settings.suffix,
            format=settings.format,
            recursive=settings.recursive,
            existing=self._decide,
            sides=settings.sides,
            maker=self._maker,
            apart=[] if originals is None else [originals],
        )
        self._reporter = Reporter(report)
        self._dehazers: dict[bool, Dehazer] = {}
        log_engine(self._dehazer(1))  # what is missing shall be told at once, not when the first picture comes
        self._history: History | None = self._open_history(Path(str(settings.output)), stack)
        assert self._history is not None
        if self._history.note:
            _console.log.error(f"unhaze: {self._history.note}")
        gone = self._history.missing()
        if gone and self._settings.existing != "overwrite":
            _console.log.info(f"{gone} results of earlier are gone, and not made again; --overwrite makes all anew.")
        self._arrivals: Arrivals = Arrivals(folder, self._planner, every, self._is_settled, notify=notify)
        stack.callback(self._arrivals.close)
        self._taken: dict[str, Signature] = {}  # inputs under way, as they were before they were read
        self._is_troubled = False
        self._done_before = 0

    def run(self, *, once: bool) -> int:
        """Look, work, wait; returns the exit code."""
        if not once:
            _console.log.info("Watching; Ctrl-C ends it.")
        try:
            self._arrivals.sweep()
            if self._done_before:
                _console.log.info(f"{self._done_before} done before")
            if once:
                time.sleep(self._every)
                self._work_off(self._arrivals.take_all())
                for path in self._arrivals.restless:
                    _console.log.info(f"{path} is still being written; it is left for the next time.")
            while not once and not (self._settings.on_error == "stop" and self._reporter.summary.failed > 0):
                self._arrivals.wait()
                self._work_off(self._arrivals.look())
        finally:
            self._reporter.log_summary()
        for dehazer in self._dehazers.values():
            dehazer.close()
        return self._reporter.exit_code() or int(self._is_troubled)

    # -- the work -----------------------------------------------------------------------------------------------------

    def _work_off(self, arrivals: Sequence[Arrival]) -> None:
        from unhaze.batch.workers import Batch, Record

        for arrival in arrivals:
            if arrival.is_empty:
                sentence = f"{arrival.found.source} is empty and stayed so; copy it again."
                record = Record(
                    str(arrival.found.source), "failed", reason=sentence, error_type=ImageDecodeError.__name__
                )
                self._on_record(record)
        whole = [arrival for arrival in arrivals if not arrival.is_empty]
        jobs = [job for job in self._planner.jobs([arrival.found for arrival in whole]) if job.source.exists()]
        if jobs:
            self._taken = {str(arrival.found.source): arrival.signature for arrival in whole}
            log_names(jobs)
            dehazer = self._dehazer(sum(job.ready for job in jobs))
            work_off(Batch(dehazer, jobs, self._settings.batch_options()), self._on_record)

    def _dehazer(self, count: int) -> Dehazer:
        """The dehazer for so many pictures at a time."""
        side_by_side = min(count, self._settings.batch_options().jobs) > 1
        if side_by_side not in self._dehazers:
            self._dehazers[side_by_side] = self._settings.create_dehazer(side_by_side=side_by_side)
        return self._dehazers[side_by_side]

    def _on_record(self, record: Record) -> None:
        self._reporter(record)
        if record.status == "done":
            clear = " (looks clear: left almost as it was)" if looks_clear(record.notes) else ""
            _console.log.info(f"done: {record.input} -> {record.output}{clear}")
            self._remember(record)
        elif record.status == "failed":
            self._reporter.log_failure(record)
        else:
            self._remember(record)

    # -- inputs that were done ----------------------------------------------------------------------------------------

    def _open_history(self, output: Path, stack: ExitStack) -> History:
        """The history of the output folder, which one process at a time may write.

        Raises:
            OutputError: Another process watches into this folder, or it cannot be written to.
        """
        from unhaze.batch.history import HISTORY_NAME, History
        from unhaze.images.claims import STALE_AFTER, Claims

        claim = stack.enter_context(Claims()).acquire(output / HISTORY_NAME)
        if claim is None:
            raise OutputError(
                f"Another watch writes to {output}; end it, or name another folder with -o. If it has died on another "
                f"machine, try again in {STALE_AFTER / 60:.0f} minutes."
            )
        naming = f"{self._settings.suffix or ''}|{self._settings.format}|{','.join(self._settings.sides)}"
        return stack.enter_context(History(output, naming))

    def _is_settled(self, source: Path, signature: Signature) -> bool:
        """Whether an input needs no work; one that was done and not yet put away is put away now."""
        if (
            self._history is None
            or self._settings.existing == "overwrite"
            or not self._history.is_done(source, signature)
        ):
            return False
        self._done_before += 1
        self._put_away(source, signature)
        return True

    def _remember(self, record: Record) -> None:
        source = Path(record.input)
        signature = self._taken.get(record.input)
        if self._history is None or signature is None:
            return
        outputs = [Path(name) for name in (record.output, *record.sides) if name] if record.status == "done" else []
        try:
            self._history.add(source, signature, outputs)
        except OutputError as error:  # the pictures matter more
            _console.log.error(f"unhaze: {error}")
            self._history, self._is_troubled = None, True
        if record.status == "done":
            self._put_away(source, signature)

    def _put_away(self, source: Path, signature: Signature) -> None:
        """Move or delete an input that was done, if that is wanted and its result is there."""
        from unhaze.batch.history import move_away

        entry = None if self._history is None else self._history.entry(source)
        if entry is None or (self._originals is None and not self._deletes):
            return
        if (
            not entry.outputs
            or any(signature_of(path) is None for path in entry.outputs)
            or signature_of(source) != signature
        ):
            return
        assert self._history is not None
        try:
            if self._originals is not None:
                left = str(move_away(source, self._originals / source.relative_to(self._folder)).absolute())
            else:
                source.unlink()
                left = "deleted"
            self._history.leave(source, left)
        except (OSError, OutputError) as error:
            reason = error if isinstance(error, OutputError) else f"{source} stays, for {error.strerror or error}."
            _console.log.error(f"unhaze: {reason}")
            self._is_troubled = True

    def _maker(self, output: Path) -> Path | None:
        """The input that made an output, as far as it is still there to claim the name."""
        made = None if self._history is None else self._history.maker(output)
        if made is None or not made.exists():
            return None
        top = self._folder.absolute()
        return self._folder / made.relative_to(top) if made.is_relative_to(top) else made

    def _decide(self, source: Path, output: Path) -> Existing | UnhazeError:
        """What to do with an output that exists."""
        if self._settings.skip_existing is not None:
            return self._settings.existing
        maker = None if self._history is None else self._history.maker(output)
        if maker is None:
            made, changed = signature_of(output), signature_of(source)
            is_newer = made is not None and changed is not None and made[1] >= changed[1]
            return "skip" if is_newer else "error"
        assert self._history is not None
        entry = self._history.entry(maker)
        if maker != source.absolute() or entry is None or entry.left is not None:
            return OutputError(
                f"{output} is the result of an earlier picture of this name, which has left; rename {source}, or move "
                "that result away."
            )
        changed_output = entry.changed_output()
        if changed_output is not None:
            return OutputError(
                f"{changed_output} was changed after it was written, and is kept; move it away to have {source} done "
                "again, or use --overwrite."
            )
        return "overwrite"
