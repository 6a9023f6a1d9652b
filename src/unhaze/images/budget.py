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

from unhaze.errors import ImageTooLargeError

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "METADATA_COPIES",
    "METADATA_LIMIT",
    "PART_LIMIT",
    "Budget",
    "TooMuchError",
    "archive_limit",
    "check_pixels",
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

_UNHEARD_OF = 100_000_000_000  # pixels that no memory holds
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
        cut_off: How many streams ended before their end.
    """

    def __init__(self, limit: int = METADATA_LIMIT, part: int = PART_LIMIT) -> None:
        self.limit = self.left = limit
        self.part = part
        self.exceeded = False
        self.cut_off = 0

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
        stream = zlib.decompressobj()
        inflated = stream.decompress(data, limit + 1)
        self.left -= min(len(inflated), limit)  # also where it is too much: the work is done, and is not done for ever
        if len(inflated) > limit:
            self.exceeded = True
            raise TooMuchError
        self.cut_off += not stream.eof
        return inflated


def archive_limit(size: int) -> int:
    """Bytes that an archive of ``size`` bytes may unpack to."""
    return METADATA_LIMIT + _ARCHIVE_RATIO * size


def check_pixels(name: str, width: int, height: int, max_pixels: int | None) -> None:
    """Refuse pictures of too many pixels, and without a limit those that no memory holds.

    Args:
        name: How to call the picture.
        width: Columns [px].
        height: Rows [px].
        max_pixels: Most pixels; ``None`` for no limit.

    Raises:
        ImageTooLargeError: There are more.
    """
    size = f"{name} has {width} x {height} pixels"
    if max_pixels is not None and width * height > max_pixels:
        raise ImageTooLargeError(
            f"{size}, more than the limit of {max_pixels}; raise max_pixels if you trust the file."
        )
    if width * height > _UNHEARD_OF:
        raise ImageTooLargeError(f"{size}, more than any memory holds; its header is damaged, or the file hostile.")
