"""One job: an upload on its way, what is told of it meanwhile, and its result.

The result is kept for a while, on the disk and without a name there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from logging import ERROR
from typing import IO, Any, Literal

from unhaze.web.problems import BrokenOffError, ProblemError, problem_of
from unhaze.web.watching import log_event

__all__ = ["Job", "JobState", "wait_to_the_end"]

_HEARTBEAT = 10.0  # [s] between signs of life to a listener
_PIECE = 1 << 18

JobState = Literal["running", "done", "cancelled", "failed"]


class Job(ABC):
    """One upload on its way.

    Args:
        kind: What came.
        source: The upload; closed with the job.
        total: Pictures or frames in it; ``None`` where that is not known.
        seconds: The longest that it may take, in which waiting for others does not count.

    Attributes:
        id: Cannot be guessed; who knows it may see the result.
        state: What it does.
        done: Pictures or frames that are restored.
        failed: Those that could not be.
        failures: Place of each among them, its name, and why it failed.
        reason: Why the job as a whole failed, in a sentence.
        seconds: The longest that it may work.
        deadline: When that is over; moved on by the time that it waits [s].
        media_type, filename: What the result is.
    """

    media_type, filename = "application/zip", "dehazed.zip"

    def __init__(
        self, kind: Literal["pictures", "video"], source: IO[bytes], *, total: int | None, seconds: float
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.state: JobState = "running"
        self.kind, self.total, self.done, self.failed, self.ignored = kind, total, 0, 0, 0
        self.failures: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.reason: str | None = None
        self.ended: float | None = None
        self.seconds, self.deadline = seconds, time.monotonic() + seconds
        self._source = source
        self._result: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the job
        self._reading = threading.Lock()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self.deadline = time.monotonic() + self.seconds
        self._task = asyncio.create_task(self._run())

    @abstractmethod
    async def _restore(self) -> None:
        """Write the result.

        Raises:
            ProblemError: The job as a whole cannot be done, in a sentence.
        """

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        links = {"self": f"/v1/jobs/{self.id}", "events": f"/v1/jobs/{self.id}/events"}
        if self.state == "done":
            links["result"] = f"/v1/jobs/{self.id}/result"
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "ignored": self.ignored,
            "failures": self.failures,
            "notes": self.notes,
            "error": self.reason,
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
        """The file of results, in pieces.

        Raises:
            BrokenOffError: The job was removed meanwhile.
        """
        place = 0
        try:
            while piece := await asyncio.to_thread(self._read, place):
                place += len(piece)
                yield piece
        except ValueError as error:  # the file is closed
            raise BrokenOffError("The job was removed meanwhile.") from error

    def _read(self, place: int) -> bytes:
        with self._reading:  # several may read at once, and the file has one position
            self._result.seek(place)
            return self._result.read(_PIECE)

    async def stop(self) -> None:
        """End it where it stands; who listens is told that it was cancelled."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        if self.state == "running":  # stopped before it had begun
            self.state = "cancelled"
            self._tell()

    async def remove(self) -> None:
        """Stop, and let the files go."""
        await self.stop()
        self._release()
        self._let_result_go()

    async def wait(self) -> None:
        """Return when it has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        state: JobState = "cancelled"
        try:
            await self._restore()
            state = "done"
        except ProblemError as problem:
            state, self.reason = "failed", problem.detail
        except Exception as error:
            known = problem_of(error)  # a disk that is full, for example
            state = "failed"
            self.reason = "The result cannot be written; send it again later." if known is None else known.detail
            log_event("failure", level=ERROR, error=type(error).__name__, job="cannot be written")
        finally:
            self.state, self.ended = state, time.monotonic()
            self._release()
            if state != "done":
                self._let_result_go()  # nobody may have it, and others need the room
            self._tell()

    def _let_result_go(self) -> None:
        with suppress(OSError):  # on a full disk, what is still in the buffer has no place; it is closed all the same
            self._result.close()

    def _release(self) -> None:
        self._source.close()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def wait_to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for a thread even if the job is stopped: it holds files of the job."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
