"""HEIF and HEIC through the optional pillow-heif, which brings libheif."""

from __future__ import annotations

import io
import re
import struct
from importlib import import_module
from itertools import islice
from typing import Any

import numpy as np

from unhaze.errors import MissingDependencyError
from unhaze.images import _colourspace, _metadata
from unhaze.images._arrays import split_channels, unpremultiply
from unhaze.images._isobmff import described_colours, meta_box, primary_properties
from unhaze.images._picture import Decoded, ImageInfo, Metadata, Source

__all__ = ["identify", "read"]


_NCLX = re.compile(rb"\0\0\0[\x12\x13]colrnclx(.{6})", re.DOTALL)  # box of colour numbers (ISO/IEC 14496-12, 12.1.5)
# primaries, transfer characteristics and matrices that libheif knows (ITU-T H.273, Tables 2 to 4); 3 is reserved
_KNOWN = ({*range(1, 13), 22} - {3}, {*range(1, 19)} - {3}, {*range(15)} - {3})
_UNSPECIFIED = 2
_MAX_BOXES = 1 << 12  # of colour numbers that are looked at; each picture of a file has one


def identify(source: Source) -> ImageInfo:
    """Size and type; libheif parses the boxes and decodes no pixel."""
    file, cicp, _ = _open(source)
    image = file[file.primary_index]
    width, height = image.size
    dtype = "uint16" if ";16" in image.mode else "uint8"
    hdr = cicp is not None and _colourspace.is_hdr(cicp[1])
    return ImageInfo("heif", width, height, 1 if image.mode[:1] == "L" else 3, image.has_alpha, dtype, hdr)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode the primary picture; libheif applies the rotation."""
    file, cicp, unknown_matrix = _open(source)
    image = file[file.primary_index]
    width, height = image.size
    source.check_size(width, height, max_pixels)
    try:
        stored = np.array(image)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise source.damaged() from error
    pixels, alpha = split_channels(stored, grey=image.mode[:1] == "L")
    notes = ["Only the main picture of the HEIF file was kept."] if len(file) > 1 else []
    if any(each.info.get("depth_images") for each in file):
        notes.append("The depth map of the HEIF file was dropped.")
    start = source.start(1 << 16)
    if b"hdrgainmap" in start or b"tmap" in start:
        notes.append("The HDR gain map was dropped; the picture is kept in its standard range.")
    if alpha is not None and "a" in image.mode:  # RGBa: the colours are stored multiplied by alpha
        pixels = unpremultiply(pixels, alpha)[0]  # how lossy codes round is nothing to tell
    exif, icc = image.info.get("exif"), image.info.get("icc_profile") or None
    hdr = cicp is not None and _colourspace.is_hdr(cicp[1])
    if cicp is not None and not hdr:
        icc = _colourspace.profile_of_cicp(*cicp, grey=pixels.ndim == 2)
    metadata = Metadata(
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        xmp=image.info.get("xmp") or None,
        icc=icc,
        cicp=cicp if hdr else None,
    )
    of_colours = _metadata.cicp_notes(cicp, icc)
    if unknown_matrix is not None and not of_colours:
        of_colours.append(
            f"The colour matrix is described as CICP {unknown_matrix}, which means nothing; it was left out."
        )
    return Decoded(pixels, alpha, orientation=1, metadata=metadata, notes=notes + of_colours)


def _open(source: Source) -> tuple[Any, tuple[int, int] | None, int | None]:
    """The file, the primaries and transfer characteristics if they count, and the matrix if its number is reserved.

    libheif refuses a file for a reserved number in a colour box; such a box is read as one that says nothing.
    """
    try:
        heif = import_module("pillow_heif")
    except ImportError as error:
        raise MissingDependencyError("pillow-heif", "heif", f"read {source.name}") from error
    mended: bytearray | None = None
    for box in islice(_NCLX.finditer(source.data()), _MAX_BOXES):
        numbers = struct.unpack(">3H", box[1])
        said = [number if number in table else _UNSPECIFIED for number, table in zip(numbers, _KNOWN, strict=True)]
        if [*numbers] != said:
            mended = mended or bytearray(source.data())
            struct.pack_into(">3H", mended, box.start(1), *said)
    try:
        file = heif.open_heif(io.BytesIO(mended or source.data()), convert_hdr_to_8bit=False)
    except (OSError, SyntaxError, ValueError, RuntimeError, EOFError) as error:
        raise source.damaged("its header cannot be read, or it is truncated") from error
    info = file[file.primary_index].info
    given = info.get("nclx_profile") or {}
    numbers = tuple(given.get(name) for name in ("color_primaries", "transfer_characteristics", "matrix_coefficients"))
    if mended is not None:
        numbers = described_colours(primary_properties(meta_box(source.data()))) or (None, None, None)
    primaries, transfer, matrix = numbers
    counts = not info.get("icc_profile") and primaries is not None and transfer is not None
    return file, (int(primaries), int(transfer)) if counts else None, None if matrix in (None, *_KNOWN[2]) else matrix
