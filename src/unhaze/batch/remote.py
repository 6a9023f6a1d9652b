"""Pictures that lie in object storage, or shall go there.

Names follow the rules of :mod:`unhaze.batch.planning`: the tree of a folder is repeated, and of inputs that compete for
one name all but one take their ending into it. Nothing is claimed: two programs that do one picture write the same
bytes.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from unhaze.batch.planning import SIDE_PRODUCTS, Existing, Found, Shard, output_ending
from unhaze.batch.workers import BatchOptions, Clock, Record, failure_record, render
from unhaze.errors import ImageDecodeError, OutputExistsError, UnhazeError, UnknownNameError, UsageError
from unhaze.images.files import READ_SUFFIXES, WRITE_FORMATS, format_for_suffix, identify
from unhaze.images.storage import exists, join, list_files, read_file, write_file
from unhaze.restore.machine import MemoryTurns

if TYPE_CHECKING:
    from unhaze.restore.dehazer import Dehazer

__all__ = ["RemoteBatch", "RemoteJob", "plan_remote", "restore_remote"]

_LONGEST = 4 << 30  # [bytes] of a picture file


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """One input and what is to become of it.

    Attributes:
        source: Address or path of the input.
        stem: Address of its output without the ending, which is known when the picture is.
        side_stem: The same for side products.
        format: As for :func:`unhaze.batch.planning.plan`.
        sides: Names of further products.
        skip, error: As in :class:`unhaze.batch.planning.Job`.
    """

    source: str
    stem: str
    side_stem: str
    format: str = "keep"
    sides: tuple[str, ...] = ()
    skip: str | None = None
    error: UnhazeError | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to do, and nothing against it."""
        return self.skip is None and self.error is None


def plan_remote(
    inputs: Sequence[str],
    output: str | None,
    *,
    suffix: str | None = None,
    format: str = "keep",
    recursive: bool = True,
    existing: Existing = "error",
    sides: Sequence[str] = (),
    shard: Shard | None = None,
) -> list[RemoteJob]:
    """List what is to be done, where inputs or the output are addresses; arguments as for ``plan``.

    Raises:
        UsageError: There is no output folder, or it is an input.
        ImageError: A storage cannot be reached.
    """
    if output is None:
        raise UsageError("Name the folder of the outputs with -o where inputs lie in object storage.")
    if format != "keep" and format not in WRITE_FORMATS:
        raise UnknownNameError("format", format, ["keep", *WRITE_FORMATS])
    if any(join(output, "") == join(name, "") for name in inputs) and not suffix:
        raise UsageError(f"{output} is input and output folder at once; name another folder, or a suffix.")
    found = [each for name in inputs for each in _find(name, recursive, alone=len(inputs) == 1)]
    rivals: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, below in found:
        stem = str(PurePosixPath(below).with_suffix(""))
        rivals[stem.casefold()].append((source, below))
    there = set(list_files(output)) if found else set()
    jobs = []
    for group in rivals.values():
        group.sort(key=lambda each: (format_for_suffix(_ending(each[1])) is None, each[1]))
        for number, (source, below) in enumerate(group):
            path = PurePosixPath(below)
            stem = str(path.with_suffix("")) if number == 0 else str(path.with_name(f"{path.stem}-{path.suffix[1:]}"))
            if shard is not None and not shard.holds(Found(Path(below), Path(below).parent)):
                continue
            named = f"{stem}{suffix or ''}"
            # what the name of the output may end with, which is not known before the picture is
            endings = [path.suffix, *WRITE_FORMATS.values()]
            if format != "keep":
                own = [path.suffix] if format_for_suffix(path.suffix.lower()) == format else []
                endings = [*own, WRITE_FORMATS[format]]
            done = next((name for ending in endings if (name := named + ending) in there), None)
            skip = error = None
            if done is not None and existing == "skip":
                skip = f"{join(output, done)} exists."
            elif done is not None and existing == "error":
                error = OutputExistsError(
                    f"{join(output, done)} exists; use --overwrite to replace it, or --skip-existing."
                )
            jobs.append(RemoteJob(source, join(output, named), join(output, stem), format, tuple(sides), skip, error))
    return sorted(jobs, key=lambda job: job.source)


def restore_remote(
    dehazer: Dehazer,
    job: RemoteJob,
    options: BatchOptions,
    turns: MemoryTurns | None = None,
    *,
    data: bytes | None = None,
    existing: Existing = "overwrite",
) -> Record:
    """Do one job; whatever goes wrong becomes its record.

    Args:
        dehazer: Does it.
        job: What.
        options: How.
        turns: Memory that several share.
        data: Content of the input where it has been read already.
        existing: What to do with an output that exists now, for jobs that were not planned.
    """
    if job.skip is not None:
        return Record(job.source, "skipped", job.stem, reason=job.skip)
    clock = Clock()
    try:
        if job.error is not None:
            raise job.error
        with clock("read"):
            data = read_file(job.source, _LONGEST) if data is None else data
        info = identify(data)
        ending = output_ending(Path(PurePosixPath(job.source).name), info, job.format)
        output = job.stem + ending
        if existing != "overwrite" and exists(output):
            if existing == "error":
                raise OutputExistsError(f"{output} exists; allow overwriting it, or skip it.")
            return Record(job.source, "skipped", output, reason=f"{output} exists.")
        maps = bool(set(job.sides) - {"compare"})
        dehazer.check_budget(info, maps=maps, max_pixels=options.max_pixels)
        turns = turns or MemoryTurns(options.max_memory)
        with turns.reserved(dehazer.memory_needed(info, maps=maps), threading.Event()):
            rendered = render(dehazer, data, format_for_suffix(ending.lower()), options, sides=job.sides, clock=clock)
        side_files = {name: f"{job.side_stem}-{name}{SIDE_PRODUCTS[name]}" for name in job.sides}
        with clock("write"):
            for name, address in side_files.items():
                write_file(address, rendered.sides[name])
            write_file(output, rendered.data)  # last: it says that all is there
    except Exception as error:
        return failure_record(job.source, job.stem, error, clock.seconds)
    return Record(
        job.source,
        "done",
        output,
        sides=tuple(side_files.values()),
        seconds=clock.seconds,
        width=rendered.size[0],
        height=rendered.size[1],
        notes=rendered.notes,
        haze=rendered.haze,
        left_alone=rendered.left_alone,
    )


class RemoteBatch:
    """Jobs and threads that share them; iterating starts the work and gives a record of each as it comes.

    Args:
        dehazer: Shared by all.
        jobs: Made by :func:`plan_remote`.
        options: How.
    """

    def __init__(self, dehazer: Dehazer, jobs: Sequence[RemoteJob], options: BatchOptions | None = None) -> None:
        self.dehazer, self.options = dehazer, options or BatchOptions()
        self._jobs = iter(jobs)
        self._turns = MemoryTurns(self.options.max_memory)
        self._stopping = False

    def __iter__(self) -> Generator[Record, None, None]:
        with ThreadPoolExecutor(self.options.jobs, thread_name_prefix="unhaze-remote") as pool:
            under_way: set[Future[Record]] = set()
            while True:
                # no more than can be worked on: a million futures would take memory
                while len(under_way) < 2 * self.options.jobs and not self._stopping:
                    job = next(self._jobs, None)
                    if job is None:
                        break
                    under_way.add(pool.submit(restore_remote, self.dehazer, job, self.options, self._turns))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for each in done:
                    record = each.result()
                    if record.status == "failed" and self.options.on_error == "stop":
                        self._stopping = True
                    yield record

    def stop(self) -> None:
        """Start nothing any more; what is under way is finished."""
        self._stopping = True


def _find(name: str, recursive: bool, *, alone: bool) -> Iterator[tuple[str, str]]:
    """Pictures that a name stands for, and their paths below the output folder."""
    if _ending(name) in READ_SUFFIXES and exists(name):
        yield name, name.rstrip("/").rpartition("/")[2]
        return
    top = "" if alone else name.rstrip("/").rpartition("/")[2] + "/"
    files = list_files(name, recursive=recursive)
    if not files:
        raise ImageDecodeError(f"There is nothing at {name}; check the name.")
    for below in files:
        hidden = any(part.startswith(".") for part in below.split("/"))
        if _ending(below) in READ_SUFFIXES and not hidden:
            yield join(name, below), top + below


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
