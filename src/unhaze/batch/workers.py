"""Many pictures: workers that each take a whole picture, so that reading, dehazing and writing overlap.

Decoding, restoring and encoding spend their time in libraries that release the interpreter lock, which is why threads
are enough. A picture is started only when the memory it needs fits beside those that are under way.

Several processes, on one machine or on several with a shared folder, may work on the same inputs: each claims a picture
before it begins (:mod:`unhaze.images.claims`), passes over what others have claimed, and comes back to it at the end in
case the other has died.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import cv2

from unhaze.batch._records import BatchOptions, Record, Summary, describe_failure, failure_record
from unhaze.batch.planning import Job, plan
from unhaze.batch.side_products import compare_picture, encode_map, half_of_compare
from unhaze.errors import OutputError
from unhaze.images.atomic import Signature, atomic_output, find_leftovers, make_folder, signature_of, temporary_stem
from unhaze.images.claims import Claims, claim_path
from unhaze.images.files import conversion_notes, encode_image, format_for_suffix
from unhaze.restore.machine import MemoryTurns

if TYPE_CHECKING:
    from unhaze.restore.dehazer import Dehazer

__all__ = [
    "WORKER_PREFIX",
    "Batch",
    "BatchOptions",
    "Clock",
    "GivenUpError",
    "Job",
    "Record",
    "Rendered",
    "Summary",
    "describe_failure",
    "failure_record",
    "plan",
    "render",
    "write_products",
]

WORKER_PREFIX = "unhaze-batch"
"""How the names of worker threads begin."""

_POLL = 0.2  # [s]
_RETRY = 0.5  # until a picture that another process has claimed is looked at again [s]
_LONGEST_WRITE = 30.0  # how long an interrupted run waits for files that are being written [s]

# -- one picture ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rendered:
    """A restored picture, encoded.

    Attributes:
        data: The picture file.
        sides: Name of a side product to its file.
        size: Width and height [px].
        notes: Sentences for the user.
        haze, left_alone: See :class:`Record`.
    """

    data: bytes
    sides: Mapping[str, bytes]
    size: tuple[int, int]
    notes: tuple[str, ...]
    haze: Mapping[str, Any] = field(default_factory=dict)
    left_alone: str | None = None


class GivenUpError(Exception):
    """Nobody waits for the picture any more; raised in the thread that works on it only."""


@dataclass
class Clock:
    """Adds up wall time by phase, and begins no phase of a picture that was given up.

    Attributes:
        given_up: Set when nobody waits for the picture any more.
        seconds: By phase.
    """

    given_up: threading.Event | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time a block as ``phase``.

        Raises:
            GivenUpError: Instead.
        """
        if self.given_up is not None and self.given_up.is_set():
            raise GivenUpError
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


def render(
    dehazer: Dehazer,
    source: Path | bytes,
    format: str | None,
    options: BatchOptions,
    *,
    sides: Sequence[str] = (),
    clock: Clock | None = None,
) -> Rendered:
    """Restore one picture, from file content to file content.

    Args:
        dehazer: Does it.
        source: A path, or the content of a file.
        format: Format of the result; ``None`` for that of the source.
        options: Options, of which how to read and to write is taken.
        sides: Names of side products to make too.
        clock: Told how long each phase takes.

    Raises:
        ImageError: The picture cannot be read, restored or stored.
        OverBudgetError: It does not fit into the memory limit of the dehazer.
    """
    clock = clock or Clock()
    wants_maps = bool(set(sides) - {"compare"})
    with clock("decode"):
        picture = dehazer.read(source, maps=wants_maps, max_pixels=options.max_pixels)
        before = half_of_compare(picture) if "compare" in sides else None
    info = picture.info
    with clock("dehaze"):
        result = dehazer.restore(picture, maps=wants_maps, in_place=True)
    del picture  # the restored picture may share its pixels, but need not
    with clock("encode"):
        restored = result.image
        data = encode_image(restored, format, metadata=options.metadata, quality=options.quality)
        made = {
            name: compare_picture(before, half_of_compare(restored), restored.metadata.icc)
            if name == "compare" and before is not None
            else encode_map(result, name)
            for name in sides
        }
    notes = dict.fromkeys(
        [
            *restored.notes,
            *result.info.get("notes", ()),
            *conversion_notes(restored, format, metadata=options.metadata),
        ]
    )
    haze, left_alone = result.info.get("haze") or {}, result.info.get("left_alone")
    return Rendered(data, made, (info.width, info.height), tuple(notes), haze, left_alone)


def write_products(
    rendered: Rendered, output: Path, sides: Mapping[str, Path], *, overwrite: bool | Mapping[Path, Signature]
) -> None:
    """Put all files of a picture in place, the restored picture last; if it cannot be written, none is new.

    Args:
        rendered: What to write.
        output: Where the restored picture goes.
        sides: Where the side products go.
        overwrite: Whether files that exist may be replaced, or which ones, as long as they look like that.

    Raises:
        OutputError: A file cannot be written or would replace another.
    """
    products = (output, *sides.values())
    may_replace = {path: overwrite if isinstance(overwrite, bool) else overwrite.get(path, False) for path in products}
    make_folder(output.parent)
    new: list[Path] = []
    try:
        with atomic_output(output, overwrite=may_replace[output]) as temporary:
            temporary.write_bytes(rendered.data)
            for name, path in sides.items():
                is_new = not os.path.lexists(path)
                with atomic_output(path, overwrite=may_replace[path]) as side:
                    side.write_bytes(rendered.sides[name])
                new += [path] if is_new else []
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise


# -- many pictures ----------------------------------------------------------------------------------------------------


class Batch:
    """Jobs and the worker threads that share them; iterating starts the work and gives a record of each as it comes.

    An input that fails leaves the others alone. Whoever may be interrupted iterates in a thread of its own and calls
    :meth:`stop` from another: then the iteration ends with what was finished.

    Args:
        dehazer: Shared by all workers. With several jobs at once it should be limited to one thread each.
        jobs: Made by :func:`plan`.
        options: How.
    """

    def __init__(self, dehazer: Dehazer, jobs: Sequence[Job], options: BatchOptions | None = None) -> None:
        self.dehazer, self.options = dehazer, options or BatchOptions()
        self.size = max(1, min(self.options.jobs, sum(job.ready for job in jobs)))
        self.claims = Claims()
        self._todo = iter(jobs)
        self._deferred: deque[tuple[float, Job]] = deque()  # claimed by others; when to look again
        # temporary files of runs that were killed, or that run right now, by product; and claims, by themselves
        self._leftovers: dict[Path, list[Path]] = {}
        wanted: dict[Path, dict[str, list[Path]]] = {}  # folder -> stem of a temporary file -> products it may be for
        for job in jobs:
            for path in job.products:
                wanted.setdefault(path.parent, {}).setdefault(temporary_stem(path.name), []).append(path)
            if job.output is not None and not job.ready and (claim := claim_path(job.output)).exists():
                self._leftovers[claim] = []
        for folder, stems in wanted.items():
            for stem, leftovers in find_leftovers(folder).items():
                self._leftovers.update(dict.fromkeys(stems.get(stem, ()), leftovers))
        self._results: SimpleQueue[Record | None] = SimpleQueue()  # None: a worker has gone
        self._memory = MemoryTurns(self.options.max_memory)
        self._change = self._memory.change  # one for all that workers wait for
        self._writing = self._gone = 0
        self._abandoned = threading.Event()
        self._stopping = self._hurry = False

    def __iter__(self) -> Generator[Record, None, None]:
        opencv_threads = cv2.getNumThreads()
        try:
            if self.size > 1:  # workers that occupy the processors already
                cv2.setNumThreads(1)
            for number in range(self.size):  # as daemons, so that an abandoned one does not keep the program alive
                threading.Thread(target=self._work, name=f"{WORKER_PREFIX}-{number}", daemon=True).start()
            while self._gone < self.size and not (self._hurry and self._results.empty()):
                try:
                    record = self._results.get(timeout=_POLL)
                except Empty:
                    continue
                if record is None:
                    self._gone += 1
                else:
                    yield record
        finally:
            self.stop()
            if self.size > 1:
                cv2.setNumThreads(opencv_threads)

    def stop(self) -> None:
        """Start nothing any more, and wait until no worker has a temporary file on the disk.

        Pictures under way are abandoned: their threads stop at the end of the phase they are in. Every picture that was
        finished still comes up in the iteration.
        """
        with self._change:
            self._abandoned.set()
            self._change.notify_all()
            self._change.wait_for(lambda: not self._writing, timeout=_LONGEST_WRITE)
        self.claims.close()
        self._hurry = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A stretch that is not left half-way: :meth:`stop` waits for its end."""
        with self._change:
            if self._abandoned.is_set():
                raise GivenUpError
            self._writing += 1
        try:
            yield
        finally:
            with self._change:
                self._writing -= 1
                self._change.notify_all()

    def _work(self) -> None:
        """Take jobs until there are none; whatever goes wrong with one becomes its record."""
        try:
            while (job := self._next_job()) is not None:
                clock = Clock(self._abandoned)
                try:
                    self._process(job, clock)
                    if job.skip is not None:
                        self._results.put(Record(str(job.source), "skipped", str(job.output), reason=job.skip))
                    elif job.error is not None:
                        self._fail(job, job.error, clock)
                except GivenUpError:
                    raise
                except Exception as error:  # whatever it is, it becomes the record, and the other jobs go on
                    self._fail(job, error, clock)
        except GivenUpError:
            pass
        finally:
            self._results.put(None)

    def _next_job(self) -> Job | None:
        """The next job; those that others have claimed come last, again and again until they are settled."""
        with self._change:
            while not (self._stopping or self._abandoned.is_set()):
                job = next(self._todo, None)
                if job is not None or not self._deferred:
                    return job
                wait = self._deferred[0][0] - time.monotonic()
                if wait <= 0:
                    return self._deferred.popleft()[1]
                self._change.wait(wait)
        return None

    def _defer(self, job: Job) -> None:
        with self._change:
            self._deferred.append((time.monotonic() + _RETRY, job))

    def _process(self, job: Job, clock: Clock) -> None:
        """Make the products of a job, and delete what a run that was killed left of it, unless another is at it."""
        if not job.ready and (
            job.output is None or self._leftovers.keys().isdisjoint((*job.products, claim_path(job.output)))
        ):
            return
        assert job.output is not None
        claim = self.claims.acquire(job.output)
        if claim is None:
            if job.ready:
                self._defer(job)
            return
        with claim:
            for path in job.products:
                for leftover in self._leftovers.pop(path, ()):
                    leftover.unlink(missing_ok=True)
            if not job.ready:
                return
            assert job.info is not None
            if self._skip_overtaken(job):
                return
            needs_maps = bool(set(job.sides) - {"compare"})
            self.dehazer.check_budget(job.info, maps=needs_maps, max_pixels=self.options.max_pixels)
            needed = self.dehazer.memory_needed(job.info, maps=needs_maps)
            with self._memory.reserved(needed, self._abandoned):
                format = format_for_suffix(job.output.suffix.lower())
                rendered = render(self.dehazer, job.source, format, self.options, sides=tuple(job.sides), clock=clock)
            with self.writing():
                if not claim.holds():  # this process was asleep, and another took the picture over
                    self._defer(job)
                    return
                with clock("write"):
                    try:
                        write_products(
                            rendered, job.output, job.sides, overwrite=job.existing if job.overwrite else False
                        )
                    except OutputError:
                        if self._skip_overtaken(job):
                            return
                        raise
                # within the stretch, so that an interrupted run knows of every file it wrote
                width, height = rendered.size
                self._results.put(
                    Record(
                        str(job.source),
                        "done",
                        str(job.output),
                        sides=tuple(map(str, job.sides.values())),
                        seconds=clock.seconds,
                        width=width,
                        height=height,
                        notes=rendered.notes,
                        naming=job.note,
                        haze=rendered.haze,
                        left_alone=rendered.left_alone,
                    )
                )

    def _skip_overtaken(self, job: Job) -> bool:
        """Pass over a job whose output has come, or was made anew, since it was planned; returns whether it was."""
        assert job.output is not None
        now = signature_of(job.output)
        if now is None or now == job.existing.get(job.output):
            return False
        reason = f"{job.output} was written by another process meanwhile."
        self._results.put(Record(str(job.source), "skipped", str(job.output), reason=reason))
        return True

    def _fail(self, job: Job, error: Exception, clock: Clock) -> None:
        if self.options.on_error == "stop":
            self._stopping = True
        record = failure_record(str(job.source), None if job.output is None else str(job.output), error, clock.seconds)
        if job.info is not None:
            record = replace(record, width=job.info.width, height=job.info.height)
        self._results.put(record)
