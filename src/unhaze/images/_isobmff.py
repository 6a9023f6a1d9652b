"""The boxes of AVIF and HEIF files (ISO/IEC 14496-12), as far as they say what the libraries keep to themselves."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

__all__ = ["boxes", "described_colours", "meta_box", "primary_properties"]

_MAX_PROPERTIES = 0x7FFF  # more cannot be numbered


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes that follow each other (section 4.2); that of ``mdat`` is left out."""
    view, place = memoryview(data), 0
    while place + 8 <= len(view):
        size, kind = struct.unpack_from(">I4s", view, place)
        head = 8
        if size == 1 and place + 16 <= len(view):
            (size,) = struct.unpack_from(">Q", view, place + 8)
            head = 16
        size = len(view) - place if size == 0 else size
        if size < head:
            return
        yield kind, view[place + head : place + size].tobytes() if kind != b"mdat" else b""
        place += size


def meta_box(data: bytes) -> bytes:
    """Content of the box that describes the pictures, wherever in the file it is."""
    return next((content[4:] for kind, content in boxes(data) if kind == b"meta"), b"")


def primary_properties(meta: bytes) -> list[tuple[bytes, bytes]]:
    """The properties of the picture that is shown, and behind them those of its first tile, if it is made of tiles.

    The file also holds those of alpha, of thumbnails and of gain maps, in any order (ISO/IEC 23008-12, section 9.3).

    Args:
        meta: Content of the box that describes the pictures.
    """
    parts = dict(boxes(meta))
    properties: list[tuple[bytes, bytes]] = []
    owned: dict[int, list[int]] = {}  # which properties, counted from 1, each picture has
    try:
        (primary,) = struct.unpack_from(">I" if parts[b"pitm"][0] else ">H", parts[b"pitm"], 4)
        items = [primary]
        code = "I" if parts.get(b"iref", b"")[:1] == b"\1" else "H"
        for kind, reference in boxes(parts.get(b"iref", b"")[4:]):  # 14496-12, section 8.11.12
            origin, count = struct.unpack_from(f">{code}H", reference)
            if kind == b"dimg" and origin == primary:  # what it is derived from
                items += struct.unpack_from(f">{count}{code}", reference, struct.calcsize(f">{code}H"))[:1]
                break
        for kind, content in boxes(parts[b"iprp"]):
            if kind == b"ipco":
                properties += islice(boxes(content), _MAX_PROPERTIES)
            elif kind == b"ipma":
                head, index = ">IB" if content[0] else ">HB", "H" if content[3] & 1 else "B"
                place = 8
                for _ in range(*struct.unpack_from(">I", content, 4)):
                    item, count = struct.unpack_from(head, content, place)
                    place += struct.calcsize(head)
                    indices = struct.unpack_from(f">{count}{index}", content, place)
                    place += struct.calcsize(f">{count}{index}")
                    # the highest bit says whether the property is essential
                    owned.setdefault(item, []).extend(i & (0x7FFF if index == "H" else 0x7F) for i in indices)
    except (KeyError, struct.error, IndexError):
        return []  # the library has read the same boxes, and would have refused what is damaged
    return [properties[i - 1] for item in items for i in owned.get(item, ()) if 0 < i <= len(properties)]


def described_colours(properties: list[tuple[bytes, bytes]]) -> tuple[int, int, int] | None:
    """Primaries, transfer characteristics and matrix (ITU-T H.273), where a property gives them by numbers (12.1.5)."""
    for kind, content in properties:
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
            primaries, transfer, matrix = struct.unpack_from(">3H", content.ljust(10, b"\0"), 4)
            return primaries, transfer, matrix
    return None
