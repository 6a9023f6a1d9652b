"""A job for the pictures of a zip archive: an archive of results comes back."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
import zipfile
from collections.abc import Callable
from logging import ERROR
from pathlib import PurePosixPath
from typing import IO

from unhaze.batch.planning import SIDE_PRODUCTS
from unhaze.batch.workers import Rendered
from unhaze.images.files import WRITE_FORMATS, identify
from unhaze.web.archives import Archive, Member
from unhaze.web.job import Job, wait_to_the_end
from unhaze.web.parameters import Wanted
from unhaze.web.problems import ProblemError, problem_of
from unhaze.web.watching import log_event
from unhaze.web.work import Work

__all__ = ["ArchiveJob"]


class ArchiveJob(Job):
    """The pictures of a zip archive.

    Args:
        archive: They.
        source: Its file.
        wanted: How.
        work: Restores pictures.
        on_picture: Told of each picture; ``None`` for one that failed.
        seconds: The longest that it may take.
    """

    def __init__(
        self,
        archive: Archive,
        source: IO[bytes],
        wanted: Wanted,
        work: Work,
        on_picture: Callable[[Rendered | None], None],
        seconds: float,
    ) -> None:
        super().__init__("pictures", source, total=len(archive.members), seconds=seconds)
        self.ignored = archive.ignored
        self._archive, self._wanted, self._work, self._on_picture = archive, wanted, work, on_picture

    async def _restore(self) -> None:
        with zipfile.ZipFile(self._result, "w", zipfile.ZIP_STORED) as target:
            names = {member.name.lower() for member in self._archive.members}  # what is made beside takes none of them
            for place, member in enumerate(self._archive.members):
                rendered, waiting = None, time.monotonic()
                if waiting > self.deadline:
                    raise ProblemError(503, "The job took too long; send less at once.")
                try:
                    async with self._work.turn(patient=True) as turn:
                        self.deadline += time.monotonic() - waiting
                        data = await asyncio.to_thread(self._archive.read, member)
                        rendered = await self._work.restore(turn, data, self._wanted)
                except Exception as error:  # one picture that fails is a line of the report
                    problem = problem_of(error)
                    if problem is None:
                        trace = "".join(traceback.format_exception(error))
                        log_event("failure", level=ERROR, trace=trace, job="goes on")
                    why = "Something unexpected went wrong." if problem is None else problem.detail
                    self.failures.append({"index": place, "name": member.name, "error": why})
                    self.failed += 1
                else:
                    await wait_to_the_end(asyncio.to_thread(_add, target, names, member, rendered))
                    self.done += 1
                self._on_picture(rendered)
                self._tell()
            report = json.dumps({**self.as_dict(), "state": "done", "links": {}}, indent=2)
            target.writestr("unhaze.json", report)

    def _release(self) -> None:
        self._archive.close()
        super()._release()


def _add(target: zipfile.ZipFile, names: set[str], member: Member, rendered: Rendered) -> None:
    """Put a picture, and what goes with it, into the archive of results."""
    path = PurePosixPath(member.name)
    suffix = WRITE_FORMATS[identify(rendered.data).format]
    if path.suffix.lower() not in (suffix, *((".jpeg", ".jpe", ".jfif") if suffix == ".jpg" else (".tiff", ".dib"))):
        path = _free(path.with_suffix(suffix), names)  # a.heic and a.png may both become a.png
    target.writestr(str(path), rendered.data)
    for name, data in rendered.sides.items():
        target.writestr(str(_free(path.with_name(f"{path.stem}-{name}{SIDE_PRODUCTS[name]}"), names)), data)


def _free(path: PurePosixPath, names: set[str]) -> PurePosixPath:
    """A path, numbered where another file has its name; its name is taken then."""
    stem, number = path.stem, 1
    while str(path).lower() in names:
        number += 1
        path = path.with_name(f"{stem}-{number}{path.suffix}")
    names.add(str(path).lower())
    return path
