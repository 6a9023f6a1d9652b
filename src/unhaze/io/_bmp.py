"""BMP: Pillow decodes, OpenCV encodes (it stores transparency so that other programs see it)."""

from __future__ import annotations

from PIL import BmpImagePlugin

from unhaze.io import _opencv
from unhaze.io._arrays import grey_to_rgb
from unhaze.io._model import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source
from unhaze.io._pillow import decode_simple, open_simple, simple_info

__all__ = ["encode", "identify", "notes", "read"]


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    return simple_info("bmp", open_simple(source, BmpImagePlugin.BmpImageFile))


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a BMP."""
    return decode_simple(source, open_simple(source, BmpImagePlugin.BmpImageFile), max_pixels)


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as BMP loses."""
    lost = any((metadata.exif, metadata.xmp, metadata.photoshop, metadata.text, metadata.comment))
    lines = ["All metadata was dropped; BMP has no place for it."] if lost else []
    if metadata.icc:
        lines.append("The colour profile was dropped; BMP has no place for it, so colours may look different.")
    return lines


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 pixels; ``quality`` has no meaning here."""
    grey = pixels.ndim == 2 and alpha is None
    stored = pixels if grey else _opencv.merge_bgr(grey_to_rgb(pixels), alpha)
    return _opencv.encode(".bmp", stored).tobytes()
