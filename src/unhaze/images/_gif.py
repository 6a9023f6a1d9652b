"""GIF with a single frame, read through Pillow."""

from __future__ import annotations

from PIL import GifImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images._picture import Decoded, ImageInfo, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["identify", "read"]

_SCREEN, _DESCRIPTOR = 13, 10  # [bytes]
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    return simple_info("gif", open_simple(source, GifImagePlugin.GifImageFile))


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a GIF that is not animated."""
    image = open_simple(source, GifImagePlugin.GifImageFile)
    source.check_size(*image.size, max_pixels)
    if getattr(image, "is_animated", False):
        raise UnsupportedImageError(f"{source.name} is an animated GIF; extract the frames first.")
    decoded = decode_simple(source, image, max_pixels)
    data = source.data()
    end = _end(data)
    if end is None:
        decoded.notes.append("The file ends before its end is marked; the picture itself is whole.")
    elif data[end:].strip(b"\0"):
        decoded.notes.append(f"{len(data) - end} bytes behind the picture were dropped.")
    return decoded


def _end(data: bytes) -> int | None:
    """Offset behind the trailer (GIF89a, 27); ``None`` if the blocks before it do not lead to one."""
    at = _SCREEN + _table(data[10])
    while at < len(data):
        kind = data[at]
        if kind == _TRAILER:
            return at + 1
        if kind == _EXTENSION:
            at += 2
        elif kind == _IMAGE and at + _DESCRIPTOR < len(data):
            at += _DESCRIPTOR + _table(data[at + _DESCRIPTOR - 1]) + 1
        else:
            return None
        while at < len(data) and data[at]:  # sub-blocks, each behind its length
            at += data[at] + 1
        at += 1
    return None


def _table(flags: int) -> int:
    """Bytes of the table of colours that these flags promise."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
