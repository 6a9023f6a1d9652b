"""Jobs: an archive of pictures in, progress meanwhile, an archive of results out.

Results are kept for a while, on the disk and without a name there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from logging import ERROR
from pathlib import PurePosixPath
from typing import IO, Any, Literal

from unhaze.batch.planning import SIDE_PRODUCTS
from unhaze.batch.workers import Rendered
from unhaze.images.files import WRITE_FORMATS, identify
from unhaze.web.archives import Archive, Member, open_archive
from unhaze.web.parameters import Wanted
from unhaze.web.problems import ProblemError, problem_of, retry_later
from unhaze.web.settings import ServeSettings
from unhaze.web.watching import log_event
from unhaze.web.work import Work

__all__ = ["Job", "Jobs"]

_HEARTBEAT = 10.0  # [s] between signs of life to a listener
_PIECE = 1 << 18

State = Literal["running", "done", "cancelled", "failed"]


class Job:
    """One archive on its way.

    Attributes:
        id: Cannot be guessed; who knows it may see the result.
        state: What it does.
        total: Pictures in the archive.
        done: Pictures that are restored.
        failed: Pictures that could not be.
        failures: Place of a picture in the archive, and why it failed.
    """

    def __init__(self, archive: Archive, source: IO[bytes], wanted: Wanted) -> None:
        self.id = secrets.token_urlsafe(16)
        self.state: State = "running"
        self.total, self.done, self.failed = len(archive.members), 0, 0
        self.ignored = archive.ignored
        self.failures: list[dict[str, Any]] = []
        self.ended: float | None = None
        self._archive, self._source, self._wanted = archive, source, wanted
        self._result: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the job
        self._reading = threading.Lock()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Work, on_picture: Callable[[Rendered | None], None]) -> None:
        """Begin.

        Args:
            work: Restores pictures.
            on_picture: Told of each picture; ``None`` for one that failed.
        """
        self._task = asyncio.create_task(self._run(work, on_picture))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        links = {"self": f"/v1/jobs/{self.id}", "events": f"/v1/jobs/{self.id}/events"}
        if self.state == "done":
            links["result"] = f"/v1/jobs/{self.id}/result"
        return {
            "id": self.id,
            "state": self.state,
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "ignored": self.ignored,
            "failures": self.failures,
            "links": links,
        }

    async def events(self) -> AsyncIterator[bytes]:
        """Progress as server-sent events, until the job has ended."""
        told = None
        while True:
            changed = self._changed
            now = self.as_dict()
            if now != told:
                told = now
                kind = "progress" if self.state == "running" else "end"
                now = now if kind == "end" else {**now, "failures": []}  # a long list would come again each time
                yield f"event: {kind}\ndata: {json.dumps(now)}\n\n".encode()
            if self.state != "running":
                return
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await changed.wait()
            except TimeoutError:
                yield b": still at work\n\n"

    @property
    def size(self) -> int:
        """Bytes of the result."""
        with self._reading:
            return self._result.seek(0, 2)

    async def result(self) -> AsyncIterator[bytes]:
        """The archive of results, in pieces."""
        place = 0
        while piece := await asyncio.to_thread(self._read, place):
            place += len(piece)
            yield piece

    def _read(self, place: int) -> bytes:
        with self._reading:  # several may read at once, and the file has one position
            self._result.seek(place)
            return self._result.read(_PIECE)

    async def remove(self) -> None:
        """Stop, and let the files go."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        if self.state == "running":  # stopped before it had begun
            self.state = "cancelled"
            self._tell()
        self._release()
        self._result.close()

    async def wait(self) -> None:
        """Return when it has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self, work: Work, on_picture: Callable[[Rendered | None], None]) -> None:
        state: State = "cancelled"
        try:
            with zipfile.ZipFile(self._result, "w", zipfile.ZIP_STORED) as target:
                names: set[str] = set()
                for place, member in enumerate(self._archive.members):
                    rendered = None
                    try:
                        async with work.turn(patient=True) as turn:
                            data = await asyncio.to_thread(self._archive.read, member)
                            rendered = await work.restore(turn, data, self._wanted)
                    except Exception as error:  # one picture that fails is a line of the report
                        problem = problem_of(error)
                        if problem is None:
                            trace = "".join(traceback.format_exception(error))
                            log_event("failure", level=ERROR, trace=trace, job="goes on")
                        why = "Something unexpected went wrong." if problem is None else problem.detail
                        self.failures.append({"index": place, "error": why})
                        self.failed += 1
                    else:
                        await _to_the_end(asyncio.to_thread(_add, target, names, member, rendered))
                        self.done += 1
                    on_picture(rendered)
                    self._tell()
                report = json.dumps({**self.as_dict(), "state": "done", "links": {}}, indent=2)
                target.writestr("unhaze.json", report)
            state = "done"
        except Exception as error:  # the disk is full, for example
            state = "failed"
            log_event("failure", level=ERROR, error=type(error).__name__, job="cannot be written")
        finally:
            self.state, self.ended = state, time.monotonic()
            self._release()
            self._tell()

    def _release(self) -> None:
        self._archive.close()
        self._source.close()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for a thread even if the job is stopped: it holds the archive of results."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _add(target: zipfile.ZipFile, names: set[str], member: Member, rendered: Rendered) -> None:
    """Put a picture, and what goes with it, into the archive of results."""
    path = PurePosixPath(member.name)
    suffix = WRITE_FORMATS[identify(rendered.data).format]
    if path.suffix.lower() not in (suffix, *((".jpeg", ".jpe", ".jfif") if suffix == ".jpg" else (".tiff", ".dib"))):
        path = path.with_suffix(suffix)
    stem, number = path.stem, 1
    while str(path).lower() in names:  # a.heic and a.png may both become a.png
        number += 1
        path = path.with_name(f"{stem}-{number}{path.suffix}")
    names.add(str(path).lower())
    target.writestr(str(path), rendered.data)
    for name, data in rendered.sides.items():
        target.writestr(str(path.with_name(f"{path.stem}-{name}{SIDE_PRODUCTS[name]}")), data)


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
        """Begin a job with an archive, which is copied."""
        self.check_room()
        with ExitStack() as stack:
            source = stack.enter_context(tempfile.TemporaryFile())
            await asyncio.to_thread(_copy, file, source)
            archive = await asyncio.to_thread(open_archive, source, largest=self._settings.max_bytes)
            stack.callback(archive.close)
            self.check_room()
            job = Job(archive, source, wanted)
            stack.pop_all()
        self._jobs[job.id] = job
        job.start(self._work, on_picture)
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
        """Forget jobs whose time is over; runs until it is cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._settings.keep_seconds))
            limit = time.monotonic() - self._settings.keep_seconds
            for name in [job.id for job in self._jobs.values() if job.ended is not None and job.ended < limit]:
                await self.remove(name)

    async def wait(self) -> None:
        """Return when none is at work."""
        for job in list(self._jobs.values()):
            await job.wait()

    async def close(self) -> None:
        """Stop and forget all."""
        for name in list(self._jobs):
            await self.remove(name)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    while piece := source.read(_PIECE):
        target.write(piece)
