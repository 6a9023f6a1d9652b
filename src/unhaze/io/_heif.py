"""HEIF and HEIC through the optional pillow-heif, which brings libheif."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np

from unhaze.errors import MissingDependencyError
from unhaze.io._arrays import split_channels
from unhaze.io._model import Decoded, ImageInfo, Metadata, Source

__all__ = ["identify", "read"]


def identify(source: Source) -> ImageInfo:
    """Size and type; libheif parses the boxes and decodes no pixel."""
    image = _primary(_open(source))
    width, height = image.size
    dtype = "uint16" if ";16" in image.mode else "uint8"
    return ImageInfo("heif", width, height, 1 if image.mode[:1] == "L" else 3, image.has_alpha, dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode the primary picture; libheif applies the rotation."""
    file = _open(source)
    image = _primary(file)
    width, height = image.size
    source.check_size(width, height, max_pixels)
    try:
        stored = np.array(image)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise source.damaged() from error
    pixels, alpha = split_channels(stored, grey=image.mode[:1] == "L")
    exif = image.info.get("exif")
    metadata = Metadata(
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        xmp=image.info.get("xmp") or None,
        icc=image.info.get("icc_profile") or None,
    )
    return Decoded(pixels, alpha, orientation=1, metadata=metadata, notes=_notes(file, source))


def _notes(file: Any, source: Source) -> list[str]:
    notes = ["Only the main picture of the HEIF file was kept."] if len(file) > 1 else []
    start = source.start(1 << 16)
    if b"hdrgainmap" in start or b"tmap" in start:
        notes.append("The HDR gain map was dropped; the picture is kept in its standard range.")
    return notes


def _open(source: Source) -> Any:
    try:
        heif = import_module("pillow_heif")
    except ImportError as error:
        raise MissingDependencyError("pillow-heif", "heif", f"read {source.name}") from error
    try:
        return heif.open_heif(io.BytesIO(source.data()), convert_hdr_to_8bit=False)
    except (OSError, SyntaxError, ValueError, RuntimeError, EOFError) as error:
        raise source.damaged("its header cannot be read, or it is truncated") from error


def _primary(file: Any) -> Any:
    return file[file.primary_index]
