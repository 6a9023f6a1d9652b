"""A job for a video: a video of the same kind comes back, with its sound and all else that is no haze.

FFmpeg knows kinds of files that are lists of addresses, which it would open. So only such files are taken as cannot be
taken for one: those lists are text, and a file that is taken here begins like no text.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from unhaze.errors import UnhazeError
from unhaze.restore.dehazer import Dehazer
from unhaze.web.job import Job
from unhaze.web.parameters import Wanted
from unhaze.web.private import private_folder
from unhaze.web.problems import ProblemError, problem_of
from unhaze.web.work import Work

__all__ = ["VideoJob"]

_MATROSKA = b"\x1aE\xdf\xa3"
_KINDS = {"mp4": ("mov,mp4", "video/mp4"), "mov": ("mov,mp4", "video/quicktime"), "avi": ("avi", "video/x-msvideo")}
_KINDS |= {"mkv": ("matroska", "video/x-matroska"), "webm": ("matroska", "video/webm")}  # names that FFmpeg has, ours
_NO_TEXT = 64  # [bytes] from the start of which one is zero, as in every true file of these kinds
_BASE, _PER_PIXEL = 190 << 20, 100  # [bytes], engine and libraries; and the frames under way, those of the encoder too
_TOLD_EVERY = 0.3  # [s]


class _StoppedError(UnhazeError):
    """The job was stopped or took too long; raised in its thread only."""


class VideoJob(Job):
    """A video on its way.

    Args:
        source: Its file.
        head: How that begins.
        wanted: How.
        work: Has the engine and the memory.
        seconds: The longest that it may take.

    Raises:
        ProblemError: The file is of another kind, or options are for pictures alone.
    """

    def __init__(self, source: IO[bytes], head: bytes, wanted: Wanted, work: Work, seconds: float) -> None:
        self._suffix = _kind_of(head)
        if find_spec("av") is None:
            raise ProblemError(
                415, "Videos are not taken here; the operator can install what they need (unhaze[video])."
            )
        if wanted.format is not None or wanted.quality is not None or wanted.metadata != "keep" or wanted.sides:
            raise ProblemError(422, "format, quality, metadata, save and compare are for pictures; leave them out.")
        super().__init__("video", source, total=None, seconds=seconds)
        self.media_type, self.filename = _KINDS[self._suffix][1], f"dehazed.{self._suffix}"
        self._wanted, self._work = wanted, work
        self._stop = threading.Event()
        self._told = 0.0

    async def _restore(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._work.run_video(lambda: self._dehaze(loop), self._stop)
        except _StoppedError as error:
            raise ProblemError(503, str(error)) from error
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            raise problem from error

    async def stop(self) -> None:
        """End it where it stands."""
        self._work.give_up(self._stop)
        await super().stop()

    def _dehaze(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: from the upload to the result."""
        from unhaze.video.containers import VideoReader
        from unhaze.video.dehaze import VideoPlan, dehaze_video

        self.deadline = time.monotonic() + self.seconds  # others may have had the turn before it for long
        with private_folder() as folder:
            path, output = folder / f"in.{self._suffix}", folder / f"out.{self._suffix}"
            try:
                with path.open("wb") as file:
                    self._source.seek(0)
                    shutil.copyfileobj(self._source, file)
                with Dehazer.from_options(replace(self._wanted.options, threads=1)) as dehazer:
                    with VideoReader(path) as reader:
                        info = reader.info
                        info.pixels(dehazer.max_pixels)
                        if not info.container.startswith(_KINDS[self._suffix][0]):
                            raise ProblemError(415, "The video is of another kind than it begins like; convert it.")
                    self.total = info.expected_frames
                    waiting = time.monotonic()
                    with self._work.memory_for_video(_BASE + _PER_PIXEL * info.width * info.height, self._stop):
                        self.deadline += time.monotonic() - waiting
                        plan = VideoPlan(jobs=1, temporal=self._wanted.temporal)

                        def progress(done: int, total: int | None, moment: Fraction) -> None:
                            now = time.monotonic()
                            if self._stop.is_set():
                                raise _StoppedError("The job was stopped.")
                            if now > self.deadline:
                                raise _StoppedError("The job took too long; send a shorter video.")
                            self.done = done
                            if now - self._told > _TOLD_EVERY:
                                self._told = now
                                loop.call_soon_threadsafe(self._tell)

                        made = dehaze_video(path, output, plan=plan, dehazer=dehazer, progress=progress)
            except UnhazeError as error:
                problem = None if isinstance(error, _StoppedError) else problem_of(error)
                if problem is None:
                    raise
                detail = _named(problem.detail, path, output)
                raise ProblemError(problem.status, detail, problem.headers) from error
            self.done = self.total = made.frames
            self.notes = [_named(note, path, output) for note in (*filter(None, [made.broken]), *made.notes)]
            with output.open("rb") as result:
                shutil.copyfileobj(result, self._result)
            self._result.flush()


def _kind_of(head: bytes) -> str:
    """The ending of a video by its first bytes.

    Raises:
        ProblemError: It is of no kind that is taken.
    """
    suffix = None
    if head[4:8] == b"ftyp":
        suffix = "mov" if head[8:12] == b"qt  " else "mp4"
    elif head[4:8] in (b"moov", b"mdat", b"wide"):
        suffix = "mov"
    elif head.startswith(_MATROSKA):
        suffix = "webm" if b"webm" in head[:_NO_TEXT] else "mkv"
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        suffix = "avi"
    text, zero, _ = head[:_NO_TEXT].partition(b"\0")
    if suffix is None or not zero or b"<" in text:
        raise ProblemError(415, "A video of this kind is not taken; send it as MP4, MOV, MKV, WebM or AVI.")
    return suffix


def _named(sentence: str, path: Path, output: Path) -> str:
    """A sentence about files of ours, for one who does not know them."""
    return sentence.replace(str(path), "The video").replace(str(output), "The result")
