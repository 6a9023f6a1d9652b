"""The work of a service: so many pictures at once, so many that wait, and one engine that goes when nobody needs it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from unhaze.batch.workers import BatchOptions, Clock, GivenUpError, Rendered, render
from unhaze.images.files import ImageInfo, identify
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.engines.onnx import close_engines
from unhaze.restore.machine import MemoryTurns, usable_cores
from unhaze.web.fields import solve_packed
from unhaze.web.parameters import Wanted
from unhaze.web.problems import ProblemError, retry_later
from unhaze.web.settings import ServeSettings

__all__ = ["Turn", "Work"]

ResultT = TypeVar("ResultT")

_M_ARENA_MAX = -8  # of malloc.h
_TRIM_EVERY = 16  # pictures
_PAUSE = 1.0  # between looks at whether the engine is idle [s]


class Turn:
    """A turn that ends when both the request and the thread that works for it are done."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end, self._holders = end, 1

    def keep(self) -> None:
        """One more holds it."""
        self._holders += 1

    def leave(self) -> None:
        """One holds it no more."""
        self._holders -= 1
        if not self._holders:
            self._end()


class Work:
    """Restores pictures in threads. One event loop calls it.

    Attributes:
        workers: Pictures at once.
        waiting: Requests that wait for their turn.
        busy: Pictures that are being worked on.
        is_loaded: Whether an engine may be in memory.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.workers = settings.workers or usable_cores()
        self.waiting = self.busy = 0
        self.is_loaded = False
        self._settings = settings
        # glibc shall keep two heaps, not eight a core: threads come and go, and each heap keeps what a picture took;
        # measured half-way through a mixed load on two cores: about 250 MB resident instead of 308.
        with suppress(OSError, AttributeError):  # other systems have no such heaps
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
        self._turns = asyncio.Semaphore(self.workers)
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="unhaze-serve")
        self._videos = ThreadPoolExecutor(1, thread_name_prefix="unhaze-serve-video")
        # a number, once the options were checked
        self._memory = MemoryTurns(cast("int | None", settings.options.max_memory))
        self._last_end = time.monotonic()
        self._ended = 0

    @asynccontextmanager
    async def turn(self, *, patient: bool = False) -> AsyncIterator[Turn]:
        """Wait for a place among the pictures that are worked on.

        Args:
            patient: For a job, which waits however long it takes and is in nobody's way.

        Raises:
            ProblemError: 429, because so many wait already or waiting took too long.
        """
        if not patient and self._turns.locked() and self.waiting >= self._settings.queue:
            raise retry_later(429, "Too many requests are waiting; send it again later.", 2)
        self.waiting += not patient
        try:
            async with asyncio.timeout(None if patient else self._settings.max_wait):
                await self._turns.acquire()
        except TimeoutError as error:
            raise retry_later(429, "The request waited too long for its turn; send it again later.", 5) from error
        finally:
            self.waiting -= not patient
        self.busy += 1
        turn = Turn(self._end_turn)
        try:
            yield turn
        finally:
            turn.leave()

    def _end_turn(self) -> None:
        self._ended += 1
        if self._ended % _TRIM_EVERY == 0:
            with suppress(RuntimeError):  # no thread is there any more: the process ends
                self._pool.submit(_trim)
        self.busy -= 1
        self._last_end = time.monotonic()
        self._turns.release()

    async def restore(self, turn: Turn, data: bytes, wanted: Wanted, gone: asyncio.Event | None = None) -> Rendered:
        """Restore a picture.

        Args:
            turn: From :meth:`turn`.
            data: The file.
            wanted: How.
            gone: Set when nobody waits for it any more.

        Raises:
            ProblemError: It is too large, or took too long.
            UnhazeError: It cannot be read, restored or stored.
        """
        return await self._run(turn, gone, partial(self._restore, data, wanted))

    async def solve(self, turn: Turn, data: bytes, wanted: Wanted, gone: asyncio.Event | None = None) -> bytes:
        """Find the haze of a picture, see :func:`~unhaze.web.fields.solve_packed`; otherwise as :meth:`restore`."""
        return await self._run(turn, gone, partial(self._solve, data, wanted))

    async def _run(
        self, turn: Turn, gone: asyncio.Event | None, work: Callable[[bool, threading.Event], ResultT]
    ) -> ResultT:
        abandoned = threading.Event()
        alone = self.busy == 1 and not self.waiting
        self.is_loaded = True
        task = asyncio.get_running_loop().run_in_executor(self._pool, work, alone, abandoned)
        turn.keep()
        task.add_done_callback(lambda _: turn.leave())
        leaving = asyncio.ensure_future((gone or asyncio.Event()).wait())
        try:
            either: list[asyncio.Future[Any]] = [task, leaving]
            await asyncio.wait(either, timeout=self._settings.max_seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            leaving.cancel()
            self.give_up(abandoned)
            if not task.done():  # its thread stops at the end of the phase it is in, and nobody hears of it
                task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if gone is not None and gone.is_set():
            raise ProblemError(400, "The client has gone.")
        raise retry_later(
            503, f"The picture took longer than {self._settings.max_seconds:g} s; send a smaller one.", 10
        )

    async def run_video(self, work: Callable[[], None], stop: threading.Event) -> None:
        """Run the work on a video in a thread: one at a time, beside the pictures, which do not wait for it.

        One that is cancelled before its turn ends at once; one that has begun, when its thread has.

        Args:
            work: Does it, and looks at ``stop`` now and then.
            stop: Set where this is cancelled.
        """

        def begin() -> None:
            if not stop.is_set():
                self.is_loaded = True
                work()

        self.busy += 1
        task = self._videos.submit(begin)
        ended = asyncio.wrap_future(task)
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not task.cancel():  # its thread holds files of the job
                await asyncio.wait({ended})
                ended.exception()  # nobody asks for it any more, and the log is not to tell of it
            raise
        finally:
            self.busy -= 1
            self._last_end = time.monotonic()

    @contextmanager
    def memory_for_video(self, need: int, stop: threading.Event) -> Iterator[None]:
        """Wait in its thread until the memory for a video is free.

        Raises:
            ProblemError: It needs more than there is.
        """
        if need > self._memory.total:
            raise ProblemError(413, "The frames of the video need more memory than there is here; make them smaller.")
        with self._memory.reserved(need, stop):
            yield

    def give_up(self, stop: threading.Event) -> None:
        """Set an event for which threads that wait for memory look out."""
        with self._memory.change:
            stop.set()
            self._memory.change.notify_all()

    def _restore(self, data: bytes, wanted: Wanted, alone: bool, abandoned: threading.Event) -> Rendered:
        if abandoned.is_set():
            raise GivenUpError
        given = wanted.options.threads
        threads = (given or usable_cores()) if alone else 1
        info = identify(data)
        with Dehazer.from_options(replace(wanted.options, threads=threads)) as dehazer:
            needs_maps = bool(set(wanted.sides) - {"compare"})
            need = self._check(info, dehazer.memory_needed(info, maps=needs_maps))
            options = BatchOptions(
                metadata=wanted.metadata,
                quality=wanted.quality,
                max_pixels=cast("int | None", wanted.options.max_pixels),
            )
            with self._memory.reserved(need, abandoned):
                return render(dehazer, data, wanted.format, options, sides=wanted.sides, clock=Clock(abandoned))

    def _solve(self, data: bytes, wanted: Wanted, alone: bool, abandoned: threading.Event) -> bytes:
        if abandoned.is_set():
            raise GivenUpError
        given = wanted.options.threads
        # the page scales what is found by its own sliders
        options = replace(
            wanted.options, threads=(given or usable_cores()) if alone else 1, strength=1.0, keep_exposure=1.0
        )
        info = identify(data)
        with Dehazer.from_options(options) as dehazer:
            need = self._check(info, dehazer.memory_needed(info))
            with self._memory.reserved(need, abandoned):
                return solve_packed(dehazer, data)

    def _check(self, info: ImageInfo, need: int) -> int:
        limit = cast("int | None", self._settings.options.max_pixels)
        size = f"The picture has {info.width} x {info.height} pixels"
        if limit is not None and info.pixels > limit:
            raise ProblemError(413, f"{size}, more than the {limit} that are taken here; make it smaller.")
        if need > self._memory.total:
            raise ProblemError(413, f"{size}, which need more memory than there is here; make it smaller.")
        return need

    async def unload_when_idle(self) -> None:
        """Look now and then whether the engine can go; runs until it is cancelled."""
        while True:
            await asyncio.sleep(min(_PAUSE, self._settings.idle_seconds))
            if self.is_loaded and not self.busy and time.monotonic() - self._last_end >= self._settings.idle_seconds:
                self.is_loaded = False
                await asyncio.to_thread(_unload)

    def close(self) -> bool:
        """Take no further picture; whether all threads have ended."""
        for pool in (self._pool, self._videos):
            pool.shutdown(wait=not self.busy, cancel_futures=True)
        return not self.busy


def _unload() -> None:
    close_engines()
    gc.collect()
    _trim()


def _trim() -> None:
    """Give freed memory back: glibc keeps it in pieces between what is in use, and more of it with each mixed load.

    Measured over 2,000 mixed requests, trimmed after every 16th: 245 MB resident after 200 of them, and 12 % more after
    all. To let every large block come from the system and go back there (``M_MMAP_THRESHOLD``) took four times the
    processor time: 0.40 s against 0.10 s for a clear 1080p JPEG on one thread.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
