"""GIF with a single frame: its blocks are walked here, its pixels decoded by Pillow (GIF 89a, sections 18 to 27).

Pillow would hold an object for each part of a comment, of which a small file can have millions.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field, replace

from PIL import GifImagePlugin, ImageFile

from unhaze.errors import UnsupportedImageError
from unhaze.images._picture import Decoded, ImageInfo, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["identify", "read"]

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT = b"\xf9", b"\xfe"  # kinds of extensions
_MAX_BLOCKS = 1 << 16  # pictures and extensions; what is not animated has some ten
_BLOCK = re.compile(rb"[!,;]")
# sub-blocks, a byte of length before each; possessive: millions are walked in a blink and leave nothing behind
_PARTS = re.compile(b"(?:%b)*+" % b"|".join(b"\\x%02x.{%d}" % (length, length) for length in range(1, 256)), re.DOTALL)


@dataclass(slots=True)
class _Layout:
    """What the blocks of a file hold."""

    picture: io.BytesIO = field(default_factory=io.BytesIO)  # the file without what says nothing about pixels
    comments: list[tuple[int, int]] = field(default_factory=list)  # from where to where their sub-blocks reach
    end: int | None = None  # behind the end mark; None without one


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    source.header = layout = _read_layout(source)
    return simple_info("gif", _open(source, layout))


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a GIF that is not animated."""
    layout: _Layout = source.header or _read_layout(source)
    image = _open(source, layout)
    source.check_size(*image.size, max_pixels)
    if getattr(image, "is_animated", False):
        raise UnsupportedImageError(f"{source.name} is an animated GIF; extract the frames first.")
    decoded = decode_simple(source, image, max_pixels)
    decoded.metadata = replace(decoded.metadata, comment=_read_comment(source, layout) or None)
    if layout.end is not None:
        decoded.notes += source.note_on_tail(layout.end)
    else:
        decoded.notes.append("The GIF has no end mark, so it may have lost some of its end; look at the result.")
    return decoded


def _open(source: Source, layout: _Layout) -> ImageFile.ImageFile:
    return open_simple(source, GifImagePlugin.GifImageFile, layout.picture)


def _read_layout(source: Source) -> _Layout:
    data, layout, control, torn, count = source.data(), _Layout(), b"", False, 0
    place = 13 + (_colours(data[10]) if len(data) > 10 else 0)
    view = memoryview(data)
    layout.picture.write(view[:place])
    while (found := _BLOCK.search(data, place)) is not None:
        start, count = found.start(), count + 1
        if count > _MAX_BLOCKS:
            raise source.damaged("it has too many blocks")
        torn |= start > place  # something else lies between the blocks
        if data[start] == _TRAILER:
            layout.picture.write(view[start : start + 1])
            layout.end = None if torn else start + 1
            break
        kind = data[start + 1 : start + 2] if data[start] == _EXTENSION else None
        flags = data[start + 9] if kind is None and start + 9 < len(data) else 0
        parts = _PARTS.match(data, start + 11 + _colours(flags) if kind is None else start + 2)
        assert parts is not None  # though there may be none of them
        first, place = parts.span()
        place = place + 1 if data[place : place + 1] == b"\0" else len(data)
        if kind is None:
            layout.picture.write(control)
            layout.picture.write(view[start:place])
            control = b""
        elif kind == _CONTROL:
            control = data[start : first + 1 + data[first]] + b"\0" if place > first + 1 else b""
        elif kind == _COMMENT and place > first + 1:
            layout.comments.append((first, place))
    return layout


def _read_comment(source: Source, layout: _Layout) -> bytes:
    """All comments, each on a line of its own; those that are more than may be are left out."""
    data, comment = source.data(), bytearray()
    for place, end in layout.comments:
        before, most = len(comment), min(source.budget.part, len(comment) + source.budget.left)
        comment += b"\n" if comment else b""
        while place < end and data[place] and len(comment) <= most:
            comment += data[place + 1 : place + 1 + data[place]]
            place += 1 + data[place]
        if len(comment) > most:
            source.budget.exceeded = True
            del comment[before:]
        source.budget.take(len(comment) - before)
    return bytes(comment)


def _colours(flags: int) -> int:
    """Bytes of the palette that a descriptor announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
