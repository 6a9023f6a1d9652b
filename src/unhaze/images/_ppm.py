"""Netpbm: PGM and PPM in binary form with 8 or 16 bit directly, the other forms through Pillow."""

from __future__ import annotations

import re
from itertools import islice

import numpy as np
from PIL import ImageFile, PpmImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images._picture import Decoded, ImageInfo, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["identify", "read"]

_GAP = rb"(?:\s|#[^\n\r]*+[\n\r])++"  # possessive: what does not match is found out in one pass
_BINARY = re.compile(rb"P([56])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")
_HEADER = 4096  # [bytes] with comments


def _parse(source: Source) -> tuple[int, int, int, str, int] | None:
    """Width, height, channels, value type and where the values begin; ``None`` for what Pillow shall decode."""
    found = _BINARY.match(source.start(_HEADER))
    dtype = {b"255": "uint8", b"65535": "uint16"}.get(found[4]) if found else None
    if found is None or dtype is None:
        return None
    return int(found[2]), int(found[3]), 1 if found[1] == b"5" else 3, dtype, found.end()


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    header = _parse(source)
    if header is None:
        return simple_info("ppm", open_simple(source, PpmImagePlugin.PpmImageFile))
    width, height, channels, dtype, _ = header
    return ImageInfo("ppm", width, height, channels, False, dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a PBM, PGM or PPM."""
    header = _parse(source)
    if header is None:
        image = open_simple(source, PpmImagePlugin.PpmImageFile)
        if image.mode not in ("1", "L", "RGB"):
            raise UnsupportedImageError(
                f"{source.name} has an unusual range of values; convert it to a largest value of 255 or 65535 first."
            )
        end = _end_for_pillow(source, image)
        decoded = decode_simple(source, image, max_pixels)
        decoded.notes += source.note_on_tail(end)
        if end == source.size and source.start(2) in (b"P2", b"P3"):
            decoded.notes.append("No blank follows the last number of the file, which may have lost digits.")
        return decoded
    width, height, channels, dtype, start = header
    source.check_size(width, height, max_pixels)
    stored = np.dtype(dtype).newbyteorder(">")
    count = width * height * channels
    if source.size < start + count * stored.itemsize:
        raise source.truncated()
    values = np.frombuffer(source.data(), stored, count, start).astype(dtype)
    decoded = Decoded(values.reshape((height, width) if channels == 1 else (height, width, channels)))
    decoded.notes += source.note_on_tail(start + count * stored.itemsize)
    return decoded


def _end_for_pillow(source: Source, image: ImageFile.ImageFile) -> int:
    """Where the values end that Pillow reads, which need not be those of all the file."""
    kind, start, (width, height) = source.start(2)[1:], image.tile[0].offset, image.size
    count = width * height * len(image.getbands())
    if kind == b"4":
        return start + -(-width // 8) * height
    if kind in b"56":
        found = _BINARY.match(source.start(_HEADER))
        return start + count * (2 if found and int(found[4]) > 255 else 1)
    value = rb"[01]" if kind == b"1" else rb"\d+"
    numbers = re.compile(rb"#[^\n\r]*|(" + value + rb")").finditer(source.data(), start)
    last = next(islice((match for match in numbers if match[1]), count - 1, None), None)
    return last.end() if last else source.size
