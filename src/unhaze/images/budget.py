"""How much a file may inflate to: the one place that sets it, for every reader.

Pixels are counted before they are decoded (``max_pixels``). Everything else that a few bytes can blow up is counted
here: compressed texts and profiles, tags that share their bytes, headers that claim a size, archives.

>>> import zlib
>>> budget = Budget(1000)
>>> len(budget.inflate(zlib.compress(bytes(900))))
900
>>> budget.inflate(zlib.compress(bytes(900)))
Traceback (most recent call last):
    ...
unhaze.images.budget.TooMuchError
"""

from __future__ import annotations

import zlib

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "METADATA_COPIES",
    "METADATA_LIMIT",
    "PART_LIMIT",
    "Budget",
    "TooMuchError",
    "archive_limit",
]

DEFAULT_MAX_PIXELS = 500_000_000
"""Width times height of a picture, of a video frame, and of a depth map."""

PART_LIMIT = 7_900_000
"""Bytes of one text, profile or header once decompressed; with its name it stays below the 8,000,000 of a chunk that
libpng reads, so what is written can be read again."""

METADATA_LIMIT = 64 << 20
"""Bytes of everything that a file says beside its pixels, once decompressed; Pillow reads no more."""

METADATA_COPIES = 6
"""Bytes of memory set aside for a byte of metadata; 3.5 were measured from reading texts of a PNG to writing them."""

_ARCHIVE_RATIO = 8  # trained numbers hardly compress; what shrinks further is mostly zeros


class TooMuchError(Exception):
    """Something inflates beyond the budget; each reader says in its own words what."""


class Budget:
    """Counts down what one file may inflate to.

    Args:
        limit: Bytes of everything together.
        part: Bytes of one thing.

    Attributes:
        exceeded: Whether something was too much.
    """

    def __init__(self, limit: int = METADATA_LIMIT, part: int = PART_LIMIT) -> None:
        self.limit = self.left = limit
        self.part = part
        self.exceeded = False

    def take(self, count: int) -> None:
        """Count bytes that are about to be held.

        Raises:
            TooMuchError: They are more than what is left, which stays as it is.
        """
        if count > self.left:
            self.exceeded = True
            raise TooMuchError
        self.left -= count

    def admits(self, count: int) -> bool:
        """Count one thing, unless it is too much by itself or beside the others."""
        if count > min(self.part, self.left):
            self.exceeded = True
            return False
        self.left -= count
        return True

    def inflate(self, data: bytes) -> bytes:
        """Decompress a zlib stream that may end early.

        Raises:
            TooMuchError: More would come out than may.
            zlib.error: The stream is damaged.
        """
        limit = min(self.left, self.part)
        inflated = zlib.decompressobj().decompress(data, limit + 1)
        self.left -= min(len(inflated), limit)  # also where it is too much: the work is done, and is not done for ever
        if len(inflated) > limit:
            self.exceeded = True
            raise TooMuchError
        return inflated


def archive_limit(size: int) -> int:
    """Bytes that an archive of ``size`` bytes may unpack to."""
    return METADATA_LIMIT + _ARCHIVE_RATIO * size
