"""The jobs of a service: what came becomes one, and those whose time is over are forgotten."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO

from unhaze.batch.workers import Rendered
from unhaze.images.video_files import VIDEO_HEAD, is_video
from unhaze.web.archive_jobs import ArchiveJob
from unhaze.web.archives import open_archive
from unhaze.web.job import Job
from unhaze.web.parameters import Wanted
from unhaze.web.problems import ProblemError, retry_later
from unhaze.web.settings import ServeSettings
from unhaze.web.video_jobs import VideoJob
from unhaze.web.work import Work

__all__ = ["Jobs"]

_PIECE = 1 << 18


class Jobs:
    """The jobs of a service."""

    def __init__(self, settings: ServeSettings, work: Work) -> None:
        self._settings, self._work = settings, work
        self._jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def running(self) -> int:
        """How many are at work."""
        return sum(job.state == "running" for job in self._jobs.values())

    def check_room(self) -> None:
        """Refuse where no further job has a place.

        Raises:
            ProblemError: 429.
        """
        if len(self._jobs) >= self._settings.jobs:
            raise retry_later(429, "Too many jobs are kept; delete one that is done, or send it again later.", 10)

    async def create(self, file: IO[bytes], wanted: Wanted, on_picture: Callable[[Rendered | None], None]) -> Job:
        """Begin a job with an archive or a video, which is copied.

        Raises:
            ProblemError: There is no room for it, or it is neither.
        """
        self.check_room()
        seconds = self._settings.job_seconds
        job: Job
        with ExitStack() as stack:
            source = stack.enter_context(tempfile.TemporaryFile())
            file.seek(0)
            await asyncio.to_thread(shutil.copyfileobj, file, source, _PIECE)
            source.seek(0)
            head = source.read(VIDEO_HEAD)
            if is_video(head):
                self.check_room()  # others came meanwhile
                job = VideoJob(source, head, wanted, self._work, seconds)
            else:
                if wanted.temporal is not None:
                    raise ProblemError(422, "temporal is for videos; leave it out for pictures.")
                archive = await asyncio.to_thread(open_archive, source, largest=self._settings.max_bytes)
                stack.callback(archive.close)
                self.check_room()
                job = ArchiveJob(archive, source, wanted, self._work, on_picture, seconds)
            stack.pop_all()
        self._jobs[job.id] = job
        job.start()
        return job

    def find(self, name: str) -> Job:
        """The job of an id.

        Raises:
            ProblemError: 404.
        """
        job = self._jobs.get(name)
        if job is None:
            raise ProblemError(404, "There is no job of this id; it may have been deleted, or its time is over.")
        return job

    async def remove(self, name: str) -> None:
        """Stop a job, and forget it."""
        job = self.find(name)
        del self._jobs[name]
        await job.remove()

    async def forget_old_ones(self) -> None:
        """Forget jobs whose time is over."""
        limit = time.monotonic() - self._settings.keep_seconds
        for name in [job.id for job in self._jobs.values() if job.ended is not None and job.ended < limit]:
            await self.remove(name)

    async def wait(self) -> None:
        """Return when none is at work."""
        for job in list(self._jobs.values()):
            await job.wait()

    async def stop(self) -> None:
        """End those at work where they stand; they are kept, so that who listens hears of it."""
        for job in list(self._jobs.values()):
            await job.stop()

    async def close(self) -> None:
        """Stop and forget all."""
        for name in list(self._jobs):
            await self.remove(name)
