"""GIF with a single frame, read through Pillow."""

from __future__ import annotations

from PIL import GifImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images._picture import Decoded, ImageInfo, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["identify", "read"]

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
    # what is wrong behind the picture: blocks without an end, or bytes behind the end (GIF 89a, sections 18 to 27)
    data = source.data()
    place = 13 + _colours(data[10])
    while place < len(data) and data[place] in (_EXTENSION, _IMAGE):
        place += 2 if data[place] == _EXTENSION else 11 + (_colours(data[place + 9]) if place + 9 < len(data) else 0)
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    if data[place : place + 1] == bytes((_TRAILER,)):
        decoded.notes += source.note_on_tail(place + 1)
    else:
        decoded.notes.append("The GIF has no end mark, so it may have lost some of its end; look at the result.")
    return decoded


def _colours(flags: int) -> int:
    """Bytes of the palette that a descriptor announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
