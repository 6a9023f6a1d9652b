"""HEIF and HEIC through the optional pillow-heif, which brings libheif."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np

from unhaze.errors import MissingDependencyError
from unhaze.images import _colourspace, _metadata
from unhaze.images._arrays import split_channels, unpremultiply
from unhaze.images._picture import Decoded, ImageInfo, Metadata, Source

__all__ = ["identify", "read"]


def identify(source: Source) -> ImageInfo:
    """Size and type; libheif parses the boxes and decodes no pixel."""
    image = _primary(_open(source))
    width, height = image.size
    dtype = "uint16" if ";16" in image.mode else "uint8"
    cicp = None if image.info.get("icc_profile") else _description(image)
    hdr = cicp is not None and _colourspace.is_hdr(cicp[1])
    return ImageInfo("heif", width, height, 1 if image.mode[:1] == "L" else 3, image.has_alpha, dtype, hdr)


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
    notes = _notes(file, source)
    if alpha is not None and "a" in image.mode:  # RGBa: the colours are stored multiplied by alpha
        pixels = unpremultiply(pixels, alpha)[0]  # how lossy codes round is nothing to tell
    exif, icc = image.info.get("exif"), image.info.get("icc_profile") or None
    cicp = None if icc else _description(image)
    hdr = cicp is not None and _colourspace.is_hdr(cicp[1])
    if cicp is not None and not hdr:
        icc = _colourspace.profile_of_cicp(*cicp, grey=pixels.ndim == 2)
    metadata = Metadata(
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        xmp=image.info.get("xmp") or None,
        icc=icc,
        cicp=cicp if hdr else None,
    )
    notes += _metadata.cicp_notes(cicp, icc)
    return Decoded(pixels, alpha, orientation=1, metadata=metadata, notes=notes)


def _description(image: Any) -> tuple[int, int] | None:
    """Colour primaries and transfer characteristics, where the file gives them by numbers."""
    described = image.info.get("nclx_profile") or {}
    primaries, transfer = described.get("color_primaries"), described.get("transfer_characteristics")
    return None if primaries is None or transfer is None else (int(primaries), int(transfer))


def _notes(file: Any, source: Source) -> list[str]:
    notes = ["Only the main picture of the HEIF file was kept."] if len(file) > 1 else []
    if any(image.info.get("depth_images") for image in file):
        notes.append("The depth map of the HEIF file was dropped.")
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
