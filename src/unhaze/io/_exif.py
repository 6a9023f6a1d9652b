"""EXIF data: a TIFF structure of directories (EXIF 3.0, CIPA DC-008, section 4.6; TIFF 6.0, section 2).

Two ways to carry it. Between containers that hold a whole TIFF structure (JPEG, PNG, WebP, AVIF) the bytes stay where
they are and only the orientation is set and the thumbnail removed, so that the offsets inside maker notes keep their
meaning. To and from TIFF files, where the directories are part of the file, they are parsed and laid out anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = [
    "EXIF_IFD",
    "GPS_IFD",
    "ORIENTATION",
    "SUB_IFDS",
    "Directory",
    "Entry",
    "ExifError",
    "blob_from_directory",
    "in_order",
    "make_upright",
    "orientation",
    "parse_blob",
    "read_directory",
    "serialise",
    "without_orientation",
]

ORIENTATION, SUB_IFDS, EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 274, 330, 34665, 34853, 40965
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 513, 514
_PIXEL_X, _PIXEL_Y = 40962, 40963

_SHORT, _LONG, _IFD, _LONG8, _IFD8 = 3, 4, 13, 16, 18
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_WORDS = {5: 4, 10: 4}  # rationals are pairs, so what is swapped is half an element
_DIRECTORY_TAGS = {EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD}
_MAX_DEPTH = 3
_LARGEST_VALUE = 64 << 20  # [bytes] only Photoshop's layers are larger, and nobody asks for these
_LARGEST_DIRECTORY = 4 << 30  # [bytes] a hostile file may say that each of 65535 values is the whole file

ReadAt = Callable[[int, int], bytes]


class ExifError(ValueError):
    """The structure cannot be followed."""


@dataclass(slots=True)
class Entry:
    """One tag of a directory; ``value`` is raw, in the byte order of the structure it came from."""

    type: int
    count: int
    value: bytes
    position: int = 0
    directory: Directory | None = None


@dataclass(slots=True)
class Directory:
    """Tags by number."""

    order: str
    entries: dict[int, Entry] = field(default_factory=dict)
    next_pointer: int = 0  # offset of the field that points to the next directory

    def number(self, tag: int, default: int = 0) -> int:
        """First value of an integer tag."""
        entry = self.entries.get(tag)
        code = {_SHORT: "H", _LONG: "I", _IFD: "I", _LONG8: "Q", _IFD8: "Q"}.get(entry.type) if entry else None
        if entry is None or code is None or len(entry.value) < struct.calcsize(code):
            return default
        return int(struct.unpack_from(self.order + code, entry.value)[0])


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes of the fields; those of BigTIFF are wider."""

    count: str
    entry: str
    pointer: str
    pointer_type: int

    @property
    def inline(self) -> int:
        return struct.calcsize("=" + self.pointer)


_CLASSIC = _Layout("H", "HHI", "I", _LONG)
_BIG = _Layout("Q", "HHQ", "Q", _LONG8)


def read_directory(read_at: ReadAt, offset: int, order: str, *, big: bool = False, depth: int = 0) -> Directory:
    """Read the directory at ``offset`` and those it points to.

    Args:
        read_at: Gives ``count`` bytes from ``offset`` on, fewer at the end.
        offset: Where the directory begins.
        order: ``"<"`` or ``">"``.
        big: Whether the fields are those of BigTIFF.
        depth: How many directories lead to this one.

    Raises:
        ExifError: An offset leads out of the data.
    """
    layout = _BIG if big else _CLASSIC
    directory, budget = Directory(order), _LARGEST_DIRECTORY
    (count,) = _unpack(read_at, offset, order + layout.count)
    position = offset + struct.calcsize("=" + layout.count)
    head_size = struct.calcsize("=" + layout.entry)
    for _ in range(count):
        tag, kind, number = _unpack(read_at, position, order + layout.entry)
        place, size = position + head_size, _SIZES.get(kind, 0) * number
        if size > layout.inline:
            (place,) = _unpack(read_at, place, order + layout.pointer)
        budget -= size
        if budget < 0:
            raise ExifError("its values are too large")
        if size > _LARGEST_VALUE:
            number, size = 0, 0
        value = read_at(place, size)
        if len(value) < size:
            raise ExifError(f"the value of tag {tag} lies outside")
        if kind in _SIZES:
            directory.entries[tag] = Entry(kind, number, value, place)
        position += head_size + layout.inline
    directory.next_pointer = position
    for tag in _DIRECTORY_TAGS & directory.entries.keys():
        if depth < _MAX_DEPTH:
            child = directory.number(tag)
            directory.entries[tag].directory = read_directory(read_at, child, order, big=big, depth=depth + 1)
    return directory


def _unpack(read_at: ReadAt, offset: int, code: str) -> tuple[int, ...]:
    size = struct.calcsize(code)
    data = read_at(offset, size)
    if len(data) < size:
        raise ExifError("a directory lies outside")
    return struct.unpack(code, data)


def _reader(blob: bytes | bytearray) -> ReadAt:
    return lambda offset, count: bytes(blob[offset : offset + count])


def parse_blob(blob: bytes | bytearray) -> Directory:
    """The first directory of EXIF data (which begins with its byte order).

    Raises:
        ExifError: This is no EXIF data, or it is damaged.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(blob[:4]))
    if order is None or len(blob) < 8:
        raise ExifError("the header is missing")
    (offset,) = struct.unpack_from(order + "I", blob, 4)
    return read_directory(_reader(blob), offset, order)


def orientation(blob: bytes | None) -> int:
    """The orientation tag, 1 to 8; 1 where it is missing or has no meaning."""
    if not blob:
        return 1
    try:
        value = parse_blob(blob).number(ORIENTATION, 1)
    except ExifError:
        return 1
    return value if 1 <= value <= 8 else 1


def make_upright(blob: bytes, *, swap_sides: bool) -> bytes:
    """Set the orientation to 1 and drop the thumbnail; everything else stays at its place.

    Args:
        blob: EXIF data.
        swap_sides: Whether the picture was turned by a quarter, so that the stored width and height change places.

    Raises:
        ExifError: This is no EXIF data, or it is damaged.
    """
    directory = parse_blob(blob)
    patched = bytearray(blob)
    entry = directory.entries.get(ORIENTATION)
    if entry is not None and entry.type in (_SHORT, _LONG) and entry.count == 1:
        struct.pack_into(directory.order + ("H" if entry.type == _SHORT else "I"), patched, entry.position, 1)
    _drop_thumbnail(patched, directory)
    details = directory.entries[EXIF_IFD].directory if EXIF_IFD in directory.entries else None
    if swap_sides and details is not None:
        across, down = details.entries.get(_PIXEL_X), details.entries.get(_PIXEL_Y)
        if across and down and across.type == down.type and across.count == down.count == 1:
            patched[across.position : across.position + len(down.value)] = down.value
            patched[down.position : down.position + len(across.value)] = across.value
    return bytes(patched)


def without_orientation(blob: bytes) -> bytes:
    """EXIF data less the orientation tag; all values stay at their place.

    Args:
        blob: EXIF data.

    Raises:
        ExifError: This is no EXIF data, or it is damaged.
    """
    directory = parse_blob(blob)
    order = directory.order
    (start,) = struct.unpack_from(order + "I", blob, 4)
    (count,) = struct.unpack_from(order + "H", blob, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from(order + "H", blob, place) == (ORIENTATION,):
            end = directory.next_pointer + 4
            kept = blob[start + 2 : place] + blob[place + 12 : end] + bytes(12)
            return blob[:start] + struct.pack(order + "H", count - 1) + kept + blob[end:]
    return blob


def _drop_thumbnail(patched: bytearray, directory: Directory) -> None:
    """Cut the link to the second directory, and the thumbnail's bytes, which still show the unrestored picture."""
    order, position = directory.order, directory.next_pointer
    if position + 4 > len(patched):
        return  # some writers leave the link out
    (second,) = struct.unpack_from(order + "I", patched, position)
    struct.pack_into(order + "I", patched, position, 0)
    if not second:
        return
    try:
        thumbnail = read_directory(_reader(patched), second, order, depth=_MAX_DEPTH)
    except ExifError:
        return
    start, length = thumbnail.number(_THUMBNAIL_OFFSET), thumbnail.number(_THUMBNAIL_LENGTH)
    if start >= 8 and length and start + length == len(patched):
        del patched[start:]
    elif start >= 8 and start + length < len(patched):
        patched[start : start + length] = bytes(length)


def serialise(directory: Directory, order: str, start: int, *, big: bool = False) -> bytes:
    """Lay out a directory, its values and the directories below it as they will stand from offset ``start`` on."""
    layout = _BIG if big else _CLASSIC
    head, inline = struct.calcsize("=" + layout.entry), layout.inline
    values_at = struct.calcsize("=" + layout.count) + len(directory.entries) * (head + inline) + inline
    table, values = bytearray(), bytearray()
    for tag, entry in sorted(directory.entries.items()):
        place = start + values_at + len(values)
        if entry.directory is not None:
            values += _even(serialise(entry.directory, order, place, big=big))
            table += struct.pack(order + layout.entry + layout.pointer, tag, layout.pointer_type, 1, place)
            continue
        value = _swapped(entry, directory.order, order)
        table += struct.pack(order + layout.entry, tag, entry.type, entry.count)
        if len(value) <= inline:
            table += value.ljust(inline, b"\0")
        else:
            table += struct.pack(order + layout.pointer, place)
            values += _even(value)
    count = struct.pack(order + layout.count, len(directory.entries))
    return count + bytes(table) + bytes(inline) + bytes(values)


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def in_order(directory: Directory, order: str) -> Directory:
    """The same directory, with the values of its own tags (not those of the directories below) in a byte order."""
    entries = {
        tag: Entry(entry.type, entry.count, _swapped(entry, directory.order, order), 0, entry.directory)
        for tag, entry in directory.entries.items()
    }
    return Directory(order, entries)


def _swapped(entry: Entry, source: str, target: str) -> bytes:
    width = _WORDS.get(entry.type, _SIZES[entry.type])
    if source == target or width == 1:
        return entry.value
    parts = (entry.value[i : i + width][::-1] for i in range(0, len(entry.value), width))
    return b"".join(parts)


def blob_from_directory(directory: Directory) -> bytes:
    """EXIF data with this directory as its first."""
    header = (b"II*\0" if directory.order == "<" else b"MM\0*") + struct.pack(directory.order + "I", 8)
    return header + serialise(directory, directory.order, 8)
