"""From the strips and tiles of a TIFF to an array of samples, one after the other.

tifffile would do the same, but leaves compressions to imagecodecs, and some of its results to chance where a file is
damaged or says too little.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unhaze.errors import UnsupportedImageError
from unhaze.images import _tiff_codecs as codecs
from unhaze.images._picture import Source

__all__ = ["PREDICTED", "Layout", "read_samples"]

_HORIZONTAL, _FLOATING = 2, 3
PREDICTED = {5, 8, 32946, 34925, 34926, 50000}  # libtiff's codecs that look at the tag
_HEADER = 8  # [bytes] with which a TIFF begins
_MOST_COPIES, _SEGMENT_HEAD = 4, 4096  # compressed bytes for each of the file or the picture; those of each header
_NO_END = "do not end where their part of the picture does"
_TURNED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples of a picture lie in its file.

    Attributes:
        width, height: Size of the picture [px].
        segment_width, segment_height: Size of a tile, or of a strip [px].
        tiled: Whether segments at the border are filled up to the full size, as tiles are and strips are not.
        samples: Values per pixel.
        planar: Whether each sample has segments of its own, all of the first before all of the second.
        bits: Number of bits of a value.
        is_float: Whether values are floats.
        byte_order: ``"<"`` or ``">"``.
        compression: Number of the compression.
        predictor: 1 none, 2 differences along a row, 3 those of floats.
        turned_bits: Whether the lowest bit of each byte comes first.
        ycc: Whether samples are YCbCr.
        subsampling: Columns and rows that share a pair of chroma values, where ``ycc`` and no JPEG.
        jpeg_tables: Content of the tag, empty if there is none.
        offsets, lengths: Places of the segments in the file [bytes]; both 0 for one that is not stored.
        blank: Value of the pixels of segments that are not stored; ``None`` where all must be there.
    """

    width: int
    height: int
    segment_width: int
    segment_height: int
    tiled: bool
    samples: int
    planar: bool
    bits: int
    is_float: bool
    byte_order: Literal["<", ">"]
    compression: int
    predictor: int
    turned_bits: bool
    ycc: bool
    subsampling: tuple[int, int]
    jpeg_tables: bytes
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    blank: float | None

    @property
    def depth(self) -> int:
        """Samples in one segment."""
        return 1 if self.planar else self.samples

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples in memory; fewer than 8 bits become a byte each."""
        return np.dtype(f"f{self.bits // 8}" if self.is_float else f"u{max(self.bits, 8) // 8}")

    @property
    def across(self) -> int:
        """Segments side by side."""
        return -(-self.width // self.segment_width)

    @property
    def down(self) -> int:
        """Segments from top to bottom."""
        return -(-self.height // self.segment_height)

    @property
    def count(self) -> int:
        """Segments in all."""
        return self.across * self.down * (self.samples if self.planar else 1)


def read_samples(source: Source, layout: Layout) -> tuple[NDArray[Any], list[str]]:
    """All samples, (H, W, S) in the byte order of the machine, and notes on what is wrong with them.

    Raises:
        ImageDecodeError: A strip or tile is damaged or cut off.
        UnsupportedImageError: The compression is not read, or needs a package that is not installed.
    """
    compression, name = layout.compression, codecs.name_of(layout.compression)
    known = compression in codecs.BYTE_CODECS or compression in codecs.PICTURE_CODECS or compression == codecs.JPEG
    if not known:
        raise UnsupportedImageError(f"{source.name} is compressed with {name}, which is not read; save it with LZW.")
    # segments that share so many bytes that decompressing them takes hours
    picture = layout.width * layout.height * layout.samples * layout.dtype.itemsize
    most = _MOST_COPIES * max(source.size, picture) + _SEGMENT_HEAD * layout.count
    if compression != 1 and sum(layout.lengths[: layout.count]) > most:
        raise source.damaged("its parts share their bytes so often that they cannot be those of a picture")
    result = np.empty((layout.height, layout.width, layout.samples), layout.dtype)
    faults: Counter[str] = Counter()
    for index in range(layout.count):
        plane, place = divmod(index, layout.across * layout.down)
        row, column = (n * s for n, s in zip(divmod(place, layout.across),
                                             (layout.segment_height, layout.segment_width), strict=True))  # fmt: skip
        rows, columns = (
            min(layout.segment_height, layout.height - row),
            min(layout.segment_width, layout.width - column),
        )
        target = result[row : row + rows, column : column + columns]
        if layout.planar:
            target = target[..., plane : plane + 1]
        if layout.blank is not None and not layout.offsets[index] and not layout.lengths[index]:
            target[...] = layout.blank
            continue
        height = layout.segment_height if layout.tiled else rows
        try:
            segment, fault = _read_segment(source, layout, index, height)
        except codecs.MissingCodecError as error:
            raise UnsupportedImageError(
                f"{source.name} is compressed with {name}, which is not read without imagecodecs; install it with: pip "
                "install 'unhaze[tiff]'"
            ) from error
        except codecs.DamagedSegmentError as error:
            part = f"{'tile' if layout.tiled else 'strip'} {index + 1} of {layout.count}"
            raise source.damaged(f"{part} cannot be decoded") from error
        target[...] = segment[:rows, :columns]
        if fault:
            faults[fault] += 1
    kind = "tiles" if layout.tiled else "strips"
    notes = [f"{n} of {layout.count} {kind} {fault}; look at the result." for fault, n in sorted(faults.items())]
    if _overlap(layout):
        notes.append(f"The {kind} of the picture overlap in the file; look at the result.")
    return result, notes


def _overlap(layout: Layout) -> bool:
    """Whether two segments share a part of their bytes (not all: writers store what repeats once), or the header's."""
    starts = np.array(layout.offsets[: layout.count], np.uint64)
    if layout.compression == 1:
        whole = np.full(len(starts), _size(layout, layout.segment_height), np.uint64)
        lengths = (
            whole
            if layout.tiled
            else np.minimum(whole, _size(layout, layout.height % layout.segment_height or layout.segment_height))
        )  # the shortest: the last strip
    else:
        lengths = np.array(layout.lengths[: layout.count], np.uint64)
    pairs = np.unique(np.stack([starts, lengths], axis=1)[lengths > 0], axis=0)
    starts, ends = pairs[:, 0], pairs.sum(axis=1)
    return bool((starts[1:] < ends[:-1]).any() or ((starts < _HEADER) & (starts > 0)).any())


def _read_segment(source: Source, layout: Layout, index: int, height: int) -> tuple[NDArray[Any], str]:
    """One segment as (height, segment_width, depth), and what is wrong with it."""
    width, depth = layout.segment_width, layout.depth
    shape = (height, width, depth)
    size = _size(layout, height)
    length = size if layout.compression == 1 else layout.lengths[index]
    if layout.offsets[index] + length > source.size:
        raise source.truncated()
    data = source.read_at(layout.offsets[index], length)
    if layout.compression == codecs.JPEG:
        most = layout.segment_height
        pixels, warning = codecs.decode_jpeg(data, layout.jpeg_tables, shape, most, ycc=layout.ycc)
        fault = "" if len(pixels) in (height, most) else _NO_END
        return pixels, f"are damaged in places ({warning})" if warning else fault
    if layout.compression in codecs.PICTURE_CODECS:
        return codecs.decode_picture(layout.compression, data, shape, layout.dtype), ""
    if layout.turned_bits:
        data = data.translate(_TURNED_BITS)
    decode = codecs.BYTE_CODECS[layout.compression]
    plain, ended = decode(data, size)
    if not ended and height < layout.segment_height:  # some writers fill the last strip up to the height of the others
        with suppress(codecs.DamagedSegmentError):
            _, ended = decode(data, _size(layout, layout.segment_height))
    if layout.compression == 1:
        ended = layout.lengths[index] in (0, size, _size(layout, layout.segment_height))
    fault = "" if ended else _NO_END
    if layout.ycc and layout.subsampling != (1, 1):
        return _without_subsampling(np.frombuffer(plain, np.uint8), layout, height), fault
    if layout.bits < 8:  # values of 1, 2 or 4 bits, one in each byte; rows begin at a byte
        rows = np.unpackbits(np.frombuffer(plain, np.uint8).reshape(height, -1), axis=1)
        weights = (1 << np.arange(layout.bits - 1, -1, -1)).astype(np.uint8)
        return np.asarray(
            rows[:, : width * depth * layout.bits].reshape(*shape, layout.bits) @ weights, np.uint8
        ), fault
    return _samples(plain, layout, shape), fault


def _size(layout: Layout, height: int) -> int:
    """Bytes of a segment of ``height`` rows."""
    if layout.ycc and layout.subsampling != (1, 1):
        across, down = layout.subsampling
        return -(-height // down) * -(-layout.segment_width // across) * (across * down + 2)
    return height * (-(-layout.segment_width * layout.depth * layout.bits // 8))


def _samples(plain: Any, layout: Layout, shape: tuple[int, int, int]) -> NDArray[Any]:
    predictor = layout.predictor if layout.compression in PREDICTED else 1
    dtype = layout.dtype
    if predictor == _FLOATING:  # bytes of a row by significance, the highest of all values first, and differences
        height, width, depth = shape
        planes = np.frombuffer(plain, np.uint8).reshape(height, -1, depth)
        planes = np.cumsum(planes, axis=1, dtype=np.uint8).reshape(height, dtype.itemsize, width * depth)
        joined = np.ascontiguousarray(np.moveaxis(planes, 1, 2))
        return joined.view(dtype.newbyteorder(">")).reshape(shape)
    values = np.frombuffer(plain, dtype.newbyteorder(layout.byte_order)).reshape(shape)
    if predictor != _HORIZONTAL:
        return values
    whole = np.dtype(f"u{dtype.itemsize}")  # differences are those of integers, also where the values are floats
    native = values.astype(dtype, copy=False).view(whole)
    return np.cumsum(native, axis=1, dtype=whole).view(dtype)


def _without_subsampling(plain: NDArray[np.uint8], layout: Layout, height: int) -> NDArray[np.uint8]:
    """YCbCr stored as blocks of brightness with one pair of chroma each (TIFF 6.0, section 21)."""
    across, down = layout.subsampling
    rows, columns = -(-height // down), -(-layout.segment_width // across)
    blocks = plain.reshape(rows, columns, across * down + 2)
    luma = blocks[..., :-2].reshape(rows, columns, down, across).swapaxes(1, 2).reshape(rows * down, columns * across)
    chroma = np.repeat(np.repeat(blocks[..., -2:], down, axis=0), across, axis=1)
    return np.dstack([luma, chroma])[:height, : layout.segment_width]
