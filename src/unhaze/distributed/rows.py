"""What a worker of a cluster does with a few pictures. Nothing here knows the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unhaze.batch.planning import Job
from unhaze.batch.remote import RemoteJob, restore_remote
from unhaze.batch.workers import Batch, BatchOptions, Record
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.machine import MemoryTurns
from unhaze.restore.options import Options

__all__ = ["Worker"]


class Worker:
    """Keeps a dehazer from picture to picture. Its outputs are those of ``unhaze run``, byte for byte.

    Args:
        options: How pictures are dehazed.
        batch: How they are read and written; one picture at a time, whatever ``jobs`` says.
        threads: Processor cores for a picture.

    Attributes:
        dehazer: Dehazes.
        options: How pictures are read and written.
        turns: Memory that pictures share.
    """

    def __init__(self, options: Options, batch: BatchOptions, threads: int = 1) -> None:
        self.dehazer = Dehazer.from_options(replace(options, threads=threads))
        self.options = replace(batch, jobs=1, on_error="skip")
        self.turns = MemoryTurns(batch.max_memory)

    def __call__(self, jobs: Sequence[Job | RemoteJob]) -> list[Record]:
        """Do all jobs; a record for each, whatever happens to it."""
        here = [job for job in jobs if isinstance(job, Job)]
        records = list(Batch(self.dehazer, here, self.options)) if here else []
        far = [job for job in jobs if isinstance(job, RemoteJob)]
        return [*records, *(restore_remote(self.dehazer, job, self.options, self.turns) for job in far)]
