"""Pictures dehazed by a cluster of Ray, with Ray Data.

The driver plans and reports; actors read, dehaze and write. Each writes its outputs itself, so that the object store of
Ray holds names and records only. A lost actor is started again and its pictures are done again; what was finished
stays.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
from collections.abc import Generator, Sequence
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from unhaze.batch.planning import Existing, Job
from unhaze.batch.remote import RemoteJob, restore_remote
from unhaze.batch.workers import BatchOptions, Record, failure_record
from unhaze.distributed.rows import Worker
from unhaze.errors import MissingDependencyError, UnhazeError, UsageError
from unhaze.images.files import READ_SUFFIXES
from unhaze.images.storage import join
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.options import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Columns = dict[str, NDArray[np.object_]]

__all__ = ["RayBatch", "WorkerLostError", "dehaze_dataset"]

_PER_TASK = 8  # pictures that an actor is given at once, and that are done again where it is lost
_RETRIES = 3  # of a task whose actor was lost; a picture that kills every actor must not do so for ever
_MOST_BLOCKS = 10_000  # of so many Ray keeps track with ease; beyond, a task holds more pictures
_LONGEST_KNOCK = 10.0  # until a cluster answers [s]
_OBJECT_STORE = 128 << 20  # of a cluster that is started here [bytes]


class WorkerLostError(UnhazeError):
    """Every process that worked on a picture died, its last one alone with it."""


class RayBatch:
    """Planned jobs and the actors that share them; iterating starts the work and gives a record of each as it comes.

    Args:
        options: How pictures are dehazed.
        jobs: Made by :func:`unhaze.batch.planning.plan` or :func:`unhaze.batch.remote.plan_remote`. Paths must mean the
            same on every machine.
        batch: How they are read and written; ``jobs`` is how many actors there are.
        address: The cluster's, or ``"auto"``; ``None`` starts one on this machine.

    Raises:
        MissingDependencyError: Ray is not installed.
        UsageError: The cluster cannot be reached.
    """

    def __init__(
        self,
        options: Options,
        jobs: Sequence[Job | RemoteJob],
        batch: BatchOptions | None = None,
        *,
        address: str | None = None,
    ) -> None:
        self._ray = _import_ray()
        Dehazer.from_options(options).close()  # a mistake is told here, rather than by every actor
        self._options, self._batch = options, batch or BatchOptions()
        self._jobs = list(jobs)
        self._owns = not self._ray.is_initialized()
        self._stopping = False
        if self._owns:
            try:
                host, _, port = (address or "").removeprefix("ray://").rpartition(":")
                if host and port.isdecimal():  # fail at once where nothing listens; Ray itself would try for minutes
                    socket.create_connection((host.strip("[]"), int(port)), timeout=_LONGEST_KNOCK).close()
                where = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
                given = where if address is None else {"address": address}
                self._ray.init(**given, log_to_driver=False, logging_level="ERROR")
            except (OSError, OverflowError, ValueError, RuntimeError) as error:
                reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
                raise UsageError(
                    f"No cluster of Ray answers at {address or 'this machine'} ({reason}); check --address."
                ) from error

    def __iter__(self) -> Generator[Record, None, None]:
        try:
            left: dict[str, Job | RemoteJob] = {str(job.source): job for job in self._jobs}
            for per_task in (_PER_TASK, 1):  # whoever died with others is tried again alone
                for record in self._records(list(left.values()), per_task) if left else ():
                    left.pop(record.input, None)
                    yield record
                    if self._stopping or (record.status == "failed" and self._batch.on_error == "stop"):
                        return
            for source in left:
                lost = WorkerLostError(
                    f"{source} ended every process that worked on it, perhaps for want of memory; try it by itself."
                )
                yield failure_record(source, None, lost, {})
        finally:
            if self._owns:
                self._ray.shutdown()

    def stop(self) -> None:
        """Start nothing any more."""
        self._stopping = True

    def _records(self, jobs: Sequence[Job | RemoteJob], per_task: int) -> Generator[Record, None, None]:
        context = self._ray.data.DataContext.get_current()
        context.max_errored_blocks = -1  # what is lost with a block is tried again above
        context.enable_progress_bars = False
        rows = [{"job": pickle.dumps(job)} for job in jobs]
        blocks = min(_MOST_BLOCKS, -(-len(rows) // per_task))
        dataset = self._ray.data.from_items(rows, override_num_blocks=blocks)
        done = _map(self._ray, dataset, _JobActor, (self._options, self._batch), per_task, self._batch.jobs)
        for row in done.iter_rows():
            yield pickle.loads(row["record"])  # made by our own actors


def dehaze_dataset(
    dataset: Any,
    output: str,
    *,
    root: str = "",
    options: Options | None = None,
    batch: BatchOptions | None = None,
    suffix: str = "",
    format: str = "keep",
    sides: Sequence[str] = (),
    existing: Existing = "skip",
    workers: int | None = None,
) -> Any:
    """Dehaze the pictures of a dataset of Ray Data and write them; lazy, like everything there.

    Args:
        dataset: Rows with ``path``, and with ``bytes`` where the content has been read already
            (``ray.data.read_binary_files(..., include_paths=True)``).
        output: Folder or address of the outputs, the same for every machine.
        root: What is taken off the beginning of each path; the rest is repeated below ``output``. By default the name
            of the file alone stays.
        options: How pictures are dehazed.
        batch: How they are encoded, and how many pixels they may have.
        suffix: Added to the name of each output.
        format: As for ``unhaze run``.
        sides: Further products.
        existing: What to do with an output that exists.
        workers: How many actors; by default one for each processor of the cluster.

    Returns:
        A dataset with a row for each picture: ``input``, ``output``, ``status`` (``"done"``, ``"skipped"``,
        ``"failed"``), ``error``, and ``record``, the line of a report as JSON. A picture that fails leaves the others
        alone.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    ray = _import_ray()
    arguments = (options or Options(), batch or BatchOptions(), output, root, suffix, format, tuple(sides), existing)
    return _map(ray, dataset, _RowActor, arguments, _PER_TASK, workers)


class _JobActor:
    """Does planned jobs."""

    def __init__(self, options: Options, batch: BatchOptions) -> None:
        self._worker = Worker(options, batch)

    def __call__(self, columns: Columns) -> dict[str, list[bytes]]:
        jobs = [pickle.loads(each) for each in columns["job"]]  # made by our own driver
        return {"record": [pickle.dumps(record) for record in self._worker(jobs)]}


class _RowActor:
    """Does rows of paths and bytes."""

    def __init__(
        self,
        options: Options,
        batch: BatchOptions,
        output: str,
        root: str,
        suffix: str,
        format: str,
        sides: tuple[str, ...],
        existing: Existing,
    ) -> None:
        self._worker = Worker(options, batch)
        self._output, self._root, self._suffix = output, root, suffix
        self._format, self._sides, self._existing = format, sides, existing

    def __call__(self, columns: Columns) -> dict[str, list[Any]]:
        contents = columns.get("bytes", [None] * len(columns["path"]))
        records = [self._do(str(path), data) for path, data in zip(columns["path"], contents, strict=True)]
        lines = [record.as_dict() for record in records]
        return {
            "input": [line["input"] for line in lines],
            "output": [line["output"] or "" for line in lines],
            "status": [line["status"] for line in lines],
            "error": [line["error"] or "" for line in lines],
            "record": [json.dumps(line) for line in lines],
        }

    def _do(self, path: str, data: bytes | None) -> Record:
        below = PurePosixPath(path.removeprefix(self._root).lstrip("/") if self._root else PurePosixPath(path).name)
        stem = str(below.with_suffix(""))
        job = RemoteJob(
            path, join(self._output, stem + self._suffix), join(self._output, stem), self._format, self._sides
        )
        if below.suffix.lower() not in READ_SUFFIXES:
            return Record(path, "skipped", None, reason=f"{path} is no picture by its ending.")
        return restore_remote(
            self._worker.dehazer, job, self._worker.options, self._worker.turns, data=data, existing=self._existing
        )


def _map(ray: Any, dataset: Any, actor: type, arguments: tuple[Any, ...], per_task: int, workers: int | None) -> Any:
    """The dataset after every row has gone through actors of a class."""
    size = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    options: Any = arguments[0]
    limits = {"memory": options.max_memory} if options.max_memory else {}
    return dataset.map_batches(
        actor,
        fn_constructor_args=arguments,
        batch_size=per_task,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size),
        num_cpus=1,
        max_restarts=-1,
        max_task_retries=_RETRIES,
        **limits,
    )


def _import_ray() -> Any:
    """The package ray, with Ray Data and without its statistics."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise MissingDependencyError("ray", "ray", "work on several machines with Ray") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is lost is tried again, and told by us
    return ray
