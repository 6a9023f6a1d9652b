"""Cutting a picture into tiles that overlap enough for the result to be that of the whole picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Tile", "cut", "rounded_up", "tile_around"]

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


def _intervals(whole: slice, size: int, multiple: int) -> list[slice]:
    length = whole.stop - whole.start
    count = -(-length // max(size // multiple * multiple, multiple))
    step = rounded_up(-(-length // count), multiple)
    return [slice(start, min(start + step, whole.stop)) for start in range(whole.start, whole.stop, step)]
