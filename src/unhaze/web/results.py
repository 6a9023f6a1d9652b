"""Results that are kept for a while, so that JSON can link to them; on the disk and without a name there."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from threading import Lock
from typing import IO

from unhaze.batch.planning import SIDE_PRODUCTS
from unhaze.batch.workers import Rendered
from unhaze.images.files import WRITE_FORMATS, identify
from unhaze.web.problems import BrokenOffError, ProblemError

__all__ = ["Part", "Results"]

_MOST = 32  # results; the oldest goes for a new one
_PIECE = 1 << 17
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a result.

    Attributes:
        media_type: What it is.
        filename: What a browser may call it.
        start, size: Where it lies in the file of the result [bytes].
    """

    media_type: str
    filename: str
    start: int
    size: int


class _Result:
    """A picture and what goes with it, one behind the other in a file."""

    def __init__(self, rendered: Rendered) -> None:
        format = identify(rendered.data).format
        named = {"picture": (f"image/{format}", f"dehazed{WRITE_FORMATS[format]}", rendered.data)}
        for name, data in rendered.sides.items():
            suffix = SIDE_PRODUCTS[name]
            named[name] = (_TYPES[suffix], f"dehazed-{name}{suffix}", data)
        self.made = time.monotonic()
        self.parts: dict[str, Part] = {}
        self._reading = Lock()
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is forgotten
        try:
            for name, (kind, filename, data) in named.items():
                self.parts[name] = Part(kind, filename, self.file.tell(), len(data))
                self.file.write(data)
            self.file.flush()
        except BaseException:
            self.file.close()
            raise

    def read(self, part: Part, place: int) -> bytes:
        """Some bytes of a part, from ``place`` on."""
        with self._reading:  # several may read at once, and the file has one position
            self.file.seek(part.start + place)
            return self.file.read(min(_PIECE, part.size - place))


class Results:
    """The results that are kept.

    Args:
        keep_seconds: How long.
    """

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._results: dict[str, _Result] = {}

    def __len__(self) -> int:
        return len(self._results)

    async def add(self, rendered: Rendered) -> dict[str, str]:
        """Keep a result; its links by name, ``picture`` the first."""
        result = await asyncio.to_thread(_Result, rendered)
        while len(self._results) >= _MOST:
            self._forget(next(iter(self._results)))
        name = secrets.token_urlsafe(16)
        self._results[name] = result
        return {part: f"/v1/results/{name}/{part}" for part in result.parts}

    def find(self, name: str, part: str) -> tuple[Part, AsyncIterator[bytes]]:
        """A file of a result, and its content in pieces.

        Raises:
            ProblemError: 404.
        """
        result = self._results.get(name)
        found = None if result is None else result.parts.get(part)
        if result is None or found is None:
            raise ProblemError(404, "There is no result of this name; its time is over, or newer ones took its place.")
        return found, _pieces(result, found)

    def forget_old_ones(self) -> None:
        """Forget those whose time is over."""
        limit = time.monotonic() - self._keep_seconds
        for name in [name for name, result in self._results.items() if result.made < limit]:
            self._forget(name)

    def close(self) -> None:
        """Forget all."""
        for name in list(self._results):
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._results.pop(name).file.close()


async def _pieces(result: _Result, part: Part) -> AsyncIterator[bytes]:
    place = 0
    while place < part.size:
        try:
            piece = await asyncio.to_thread(result.read, part, place)
        except ValueError as error:
            raise BrokenOffError("The result was forgotten meanwhile.") from error
        place += len(piece)
        yield piece
