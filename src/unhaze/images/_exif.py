"""EXIF data: a TIFF structure of directories (EXIF 3.0, CIPA DC-008, section 4.6; TIFF 6.0, section 2).

Two ways to carry it. Between containers that hold a whole TIFF structure (JPEG, PNG, WebP, AVIF) the bytes stay where
they are and only the orientation is set and the thumbnail removed, so that the offsets inside maker notes keep their
meaning. To and from TIFF files, where the directories are part of the file, they are parsed and laid out anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from unhaze.images.budget import METADATA_LIMIT, Budget, TooMuchError

__all__ = [
    "EXIF_IFD",
    "GPS_IFD",
    "LARGEST_VALUE",
    "ORIENTATION",
    "SUB_IFDS",
    "Directory",
    "Entry",
    "ExifError",
    "blob_from_directory",
    "in_order",
    "make_upright",
    "mend",
    "orientation",
    "parse_blob",
    "read_directory",
    "serialise",
    "without_orientation",
]

ORIENTATION, SUB_IFDS, EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 274, 330, 34665, 34853, 40965
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 513, 514
_PIXEL_X, _PIXEL_Y = 40962, 40963

_LONG, _LONG8 = 4, 16
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_WORDS = {5: 4, 10: 4}  # rationals are pairs, so what is swapped is half an element
_DIRECTORY_TAGS = {EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD}
_POINTERS, _WIDE_POINTERS, _SHORT = {_LONG, 13}, {_LONG8, 18}, 3  # 13 and 18 as libtiff writes them
_NAMES = {EXIF_IFD: "camera data", GPS_IFD: "GPS", INTEROPERABILITY_IFD: "interoperability"}
_MAX_DEPTH = 3
LARGEST_VALUE = METADATA_LIMIT // 2  # [bytes] only Photoshop's layers are larger, and nobody asks for these
_ENTRY_BYTES = 200  # what an entry takes in memory beside its value

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
    too_large: list[int] = field(default_factory=list)  # tags whose values were left out

    def number(self, tag: int, default: int = 0) -> int:
        """First value of an integer tag."""
        entry = self.entries.get(tag)
        code = _INTEGERS.get(entry.type) if entry else None
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


def read_directory(
    read_at: ReadAt, offset: int, order: str, *, big: bool = False, depth: int = 0, budget: Budget | None = None
) -> Directory:
    """Read the directory at ``offset`` and those it points to.

    Args:
        read_at: Gives ``count`` bytes from ``offset`` on, fewer at the end.
        offset: Where the directory begins.
        order: ``"<"`` or ``">"``.
        big: Whether the fields are those of BigTIFF.
        depth: How many directories lead to this one.
        budget: For all values of all directories: they may share their bytes in the file.

    Raises:
        ExifError: An offset leads out of the data.
        TooMuchError: The values take more than the budget.
    """
    layout = _BIG if big else _CLASSIC
    directory, budget = Directory(order), budget or Budget()
    (count,) = _unpack(read_at, offset, order + layout.count)
    position = offset + struct.calcsize("=" + layout.count)
    head_size = struct.calcsize("=" + layout.entry)
    for _ in range(count):
        tag, kind, number = _unpack(read_at, position, order + layout.entry)
        place, size = position + head_size, _SIZES.get(kind, 0) * number
        if size > layout.inline:
            (place,) = _unpack(read_at, place, order + layout.pointer)
        if size > LARGEST_VALUE:
            number, size = 0, 0
            directory.too_large.append(tag)
        budget.take(size + _ENTRY_BYTES)
        value = read_at(place, size)
        if len(value) < size:
            raise ExifError(f"the value of tag {tag} lies outside")
        if kind in _SIZES:
            directory.entries.setdefault(tag, Entry(kind, number, value, place))  # of two, libtiff takes the first
        position += head_size + layout.inline
    directory.next_pointer = position
    for tag in _DIRECTORY_TAGS & directory.entries.keys():
        if depth < _MAX_DEPTH:
            child = directory.number(tag)
            directory.entries[tag].directory = read_directory(
                read_at, child, order, big=big, depth=depth + 1, budget=budget
            )
    return directory


def _unpack(read_at: ReadAt, offset: int, code: str) -> tuple[int, ...]:
    size = struct.calcsize(code)
    data = read_at(offset, size)
    if len(data) < size:
        raise ExifError("a directory lies outside")
    return struct.unpack(code, data)


def parse_blob(blob: bytes | bytearray) -> Directory:
    """The first directory of EXIF data (which begins with its byte order).

    Raises:
        ExifError: This is no EXIF data, or it is damaged.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(blob[:4]))
    if order is None or len(blob) < 8:
        raise ExifError("the header is missing")
    (offset,) = struct.unpack_from(order + "I", blob, 4)
    try:
        return read_directory(lambda place, count: bytes(blob[place : place + count]), offset, order)
    except TooMuchError as error:
        raise ExifError("its values are too large") from error


def orientation(blob: bytes | None) -> int | None:
    """The orientation tag, 1 to 8, also of damaged EXIF data; ``None`` where it is missing or has no meaning."""
    if not blob:
        return None
    try:
        value = parse_blob(mend(blob)[0]).number(ORIENTATION)
    except ExifError:
        return None
    return value if 1 <= value <= 8 else None


def mend(blob: bytes) -> tuple[bytes, list[str]]:
    """Take out what cannot be followed, so that the rest can; all that stays is left at its place.

    Args:
        blob: EXIF data, possibly damaged: values or directories that lie outside, pointers that are none, an unknown
            type, a tag that stands there twice (the first counts), an end that is missing.

    Returns:
        EXIF data that :func:`parse_blob` reads, and what was dropped: ``"tag 315"``, ``"GPS"``.

    Raises:
        ExifError: The header is missing, or there is no first directory.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(blob[:2]))
    if order is None or len(blob) < 10:
        raise ExifError("the header is missing")
    mended = bytearray(blob)
    struct.pack_into(order + "H", mended, 2, 42)
    (start,) = struct.unpack_from(order + "I", mended, 4)
    dropped: list[str] = []
    if not _mend_table(mended, order, start, dropped, set(), depth=0):
        raise ExifError("a directory lies outside")
    return bytes(mended), dropped


def _mend_table(blob: bytearray, order: str, start: int, dropped: list[str], visited: set[int], *, depth: int) -> bool:
    """Take the bad entries out of the table at ``start`` and of those below it, in place, and name them in ``dropped``.

    Returns:
        Whether there is a table.
    """
    if start < 8 or start + 2 > len(blob) or start in visited:
        return False
    visited.add(start)
    (count,) = struct.unpack_from(order + "H", blob, start)
    whole = min(count, (len(blob) - start - 2) // 12)
    before = bytes(blob[start + 2 : start + 2 + 12 * whole])
    kept, bad, seen, budget = [], [], set(), METADATA_LIMIT
    for place in range(start + 2, start + 2 + 12 * whole, 12):
        entry = bytes(blob[place : place + 12])
        tag, kind, number, pointer = struct.unpack(order + "HHII", entry)
        size = _SIZES.get(kind, 0) * number
        inside = kind in _SIZES and size <= budget and (size <= 4 or pointer + size <= len(blob))
        good = inside and tag not in seen
        budget -= size if inside else 0
        if good and tag in _DIRECTORY_TAGS and depth < _MAX_DEPTH:
            if kind == _SHORT and number == 1:  # a short pointer; readers expect a long one
                (pointer,) = struct.unpack_from(order + "H", entry, 8)
                kind, entry = _LONG, struct.pack(order + "HHII", tag, _LONG, 1, pointer)
            good = number == 1 and (kind in _POINTERS or kind in _WIDE_POINTERS)
            if good and kind in _WIDE_POINTERS:
                (pointer,) = struct.unpack_from(order + "Q", blob, pointer)
            good = good and _mend_table(blob, order, pointer, dropped, visited, depth=depth + 1)
        seen.add(tag)
        kept += [entry] if good else []
        bad += [] if good else [_NAMES.get(tag, f"tag {tag}")]
    # what a stray pointer leads to is no directory: it must not be written over
    if len(kept) < (1 if depth == 0 else max(whole / 2, 1)):
        return False
    if whole < count:
        bad.append(f"{count - whole} tags behind the end")
    end = start + 2 + 12 * count
    if b"".join(kept) != before or end + 4 > len(blob):
        following = bytes(blob[end : end + 4]).ljust(4, b"\0")
        table = struct.pack(order + "H", len(kept)) + b"".join(kept) + following
        table += bytes(12 * (whole - len(kept))) if whole == count else b""
        blob[start : start + len(table)] = table
    dropped += bad
    return True


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
    if entry is not None and entry.type in _INTEGERS and entry.value:
        struct.pack_into(directory.order + _INTEGERS[entry.type], patched, entry.position, 1)
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
        _mend_table(patched, order, second, [], set(), depth=_MAX_DEPTH)
        thumbnail = read_directory(
            lambda place, count: bytes(patched[place : place + count]), second, order, depth=_MAX_DEPTH
        )
    except (ExifError, TooMuchError):
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
            value, kind, number = serialise(entry.directory, order, place, big=big), layout.pointer_type, 1
        else:
            value, kind, number = _swapped(entry, directory.order, order), entry.type, entry.count
        table += struct.pack(order + layout.entry, tag, kind, number)
        if entry.directory is None and len(value) <= inline:
            table += value.ljust(inline, b"\0")
        else:
            table += struct.pack(order + layout.pointer, place)
            values += value + b"\0" * (len(value) % 2)
    count = struct.pack(order + layout.count, len(directory.entries))
    return count + bytes(table) + bytes(inline) + bytes(values)


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
