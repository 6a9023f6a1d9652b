"""Cutting a picture into tiles that overlap enough for the result to be that of the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unhaze.types import ImageContract

__all__ = ["Tile", "TileSizes", "cut", "rounded_up", "tile_around"]

_SMALLEST_TILE = 32  # below, nearly all of the work is overlap [px]

Box = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture and what has to be seen to restore it.

    Attributes:
        core: Rows and columns of the picture that the tile restores.
        context: Rows and columns of the picture that are looked at for it; they hold ``core``.
        inner: ``core`` as rows and columns of ``context``.
    """

    core: Box
    context: Box
    inner: Box


def rounded_up(number: int, multiple: int) -> int:
    """The smallest multiple that is not less than ``number``.

    >>> rounded_up(13, 8), rounded_up(16, 8), rounded_up(0, 8)
    (16, 16, 0)
    """
    return -(-number // multiple) * multiple


def cut(box: Box, size: int, multiple: int = 1) -> Iterator[Box]:
    """Cut a box into boxes of about equal sides, none longer than ``size``, row by row.

    Args:
        box: Rows and columns; they start at multiples of ``multiple``.
        size: Longest side [px]; at least ``multiple``.
        multiple: All boxes start at multiples of it.

    >>> [(rows.start, rows.stop) for rows, _ in cut((slice(0, 20), slice(0, 8)), 16, 4)]
    [(0, 12), (12, 20)]
    """
    rows, columns = box
    for row in _intervals(rows, size, multiple):
        for column in _intervals(columns, size, multiple):
            yield row, column


def tile_around(core: Box, shape: tuple[int, int], overlap: int) -> Tile:
    """The tile that restores ``core`` of a picture of ``shape`` (height, width), seeing ``overlap`` px around it.

    >>> tile_around((slice(8, 16), slice(0, 8)), (32, 9), 4).context
    (slice(4, 20, None), slice(0, 9, None))
    """
    around = [
        (max(0, part.start - overlap), min(side, part.stop + overlap)) for part, side in zip(core, shape, strict=True)
    ]
    inner = [slice(part.start - start, part.stop - start) for part, (start, _) in zip(core, around, strict=True)]
    return Tile(core, (slice(*around[0]), slice(*around[1])), (inner[0], inner[1]))


@dataclass(frozen=True, slots=True)
class TileSizes:
    """How large the tiles of a network can be.

    Attributes:
        contract: What the network expects of its pictures.
        memory_of: Bytes that it takes for a picture, or a part of one, of (height, width).
        tileable: Whether tiles give the result of the whole picture.
        wanted: Side of the tiles that was asked for [px]; ``None`` cuts only where memory demands it.
    """

    contract: ImageContract
    memory_of: Callable[[int, int], int]
    tileable: bool
    wanted: int | None

    @property
    def overlap(self) -> int:
        """How far tiles look beyond what they restore [px]."""
        assert self.contract.tiling is not None
        return rounded_up(max(self.contract.tiling, self.contract.minimum), self.contract.multiple_of)

    @property
    def smallest(self) -> int:
        """The smallest side of a tile that is worth while [px]."""
        return rounded_up(_SMALLEST_TILE, self.contract.multiple_of)

    def memory(self, height: int, width: int, size: int) -> int:
        """Bytes for the largest tile of side ``size`` of a picture; for all of it where it cannot be cut."""
        if self.tileable:
            seen = size + 2 * self.overlap
            height, width = min(height, seen), min(width, seen)
        return self.memory_of(height, width)

    def size(self, height: int, width: int, budget: int | None) -> int:
        """Side of the tiles: that asked for, or the largest, by halves, that fits ``budget`` [bytes]."""
        size = rounded_up(max(height, width), self.contract.multiple_of)
        if not self.tileable:
            return size
        if self.wanted is not None:
            return min(size, rounded_up(self.wanted, self.contract.multiple_of))
        while budget is not None and size > self.smallest and self.memory(height, width, size) > budget:
            size = self.halved(size)
        return size

    def halved(self, size: int) -> int:
        """Half of a side, but at least the smallest [px]."""
        return max(self.smallest, rounded_up(-(-size // 2), self.contract.multiple_of))


def _intervals(whole: slice, size: int, multiple: int) -> list[slice]:
    length = whole.stop - whole.start
    count = -(-length // max(size // multiple * multiple, multiple))
    step = rounded_up(-(-length // count), multiple)
    return [slice(start, min(start + step, whole.stop)) for start in range(whole.start, whole.stop, step)]
