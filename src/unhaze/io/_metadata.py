"""What is said about a picture beside its pixels, made to fit the pixels that are written."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from unhaze.io import _exif
from unhaze.io._model import Decoded, Metadata

__all__ = ["cmyk_to_srgb", "exif_orientation", "finish", "icc_space", "srgb_profile"]

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))\s*[1-8]")
_XMP_STALE = re.compile(rb"\s(?:hdrgm:Version|xmpNote:HasExtendedXMP)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_PHOTOSHOP_THUMBNAILS = {1033, 1036}

exif_orientation = _exif.orientation


def finish(decoded: Decoded, *, turned: bool) -> Metadata:
    """Metadata for the upright picture: orientation 1, no thumbnail, no profile of another colour space.

    Adds a note to ``decoded`` for what has to go.

    Args:
        decoded: What a reader returned, with the pixels upright by now.
        turned: Whether width and height have changed places.
    """
    metadata = decoded.metadata
    return replace(
        metadata,
        exif=_finish_exif(metadata.exif, decoded.notes, turned=turned),
        xmp=_finish_xmp(metadata.xmp),
        icc=_finish_icc(metadata.icc, decoded),
        photoshop=_finish_photoshop(metadata.photoshop),
        dpi=metadata.dpi[::-1] if metadata.dpi and turned else metadata.dpi,
    )


def _finish_exif(exif: bytes | None, notes: list[str], *, turned: bool) -> bytes | None:
    if not exif:
        return None
    try:
        return _exif.make_upright(exif, swap_sides=turned)
    except _exif.ExifError:
        notes.append("The EXIF data is damaged and was dropped.")
        return None


def _finish_xmp(xmp: bytes | None) -> bytes | None:
    if not xmp:
        return None
    return _XMP_STALE.sub(b"", _XMP_ORIENTATION.sub(rb"\g<1>1", xmp))


def _finish_icc(icc: bytes | None, decoded: Decoded) -> bytes | None:
    if not icc:
        return None
    if icc_space(icc) != ("GRAY" if decoded.pixels.ndim == 2 else "RGB"):
        decoded.notes.append("The embedded colour profile does not fit the kind of picture and was dropped.")
        return None
    return icc


def _finish_photoshop(resources: bytes | None) -> bytes | None:
    """Image resources without the thumbnail (Adobe Photoshop File Formats, "Image Resource Blocks")."""
    kept, position, data = [], 0, resources or b""
    while data[position : position + 4] == b"8BIM" and position + 12 <= len(data):
        (identity,) = struct.unpack_from(">H", data, position + 4)
        name = (data[position + 6] + 2) & ~1  # length byte and name, padded to even
        if position + 10 + name > len(data):
            break
        (size,) = struct.unpack_from(">I", data, position + 6 + name)
        end = position + 10 + name + size + size % 2
        if identity not in _PHOTOSHOP_THUMBNAILS:
            kept.append(data[position:end])
        position = end
    return b"".join(kept) or None


def icc_space(icc: bytes) -> str:
    """Colour space of a profile: ``"RGB"``, ``"GRAY"``, ``"CMYK"``, ... (ICC.1:2022, header bytes 16 to 19)."""
    return icc[16:20].decode("ascii", "replace").strip()


@cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # the time of making, else no two runs write equal files
    return bytes(profile)


def cmyk_to_srgb(picture: Image.Image, icc: bytes | None) -> tuple[np.ndarray[Any, Any], str]:
    """Convert CMYK, through its profile where it has one.

    Returns:
        (H, W, 3) uint8 in sRGB, and a note.
    """
    from PIL import ImageCms

    if icc and icc_space(icc) == "CMYK":
        try:
            source = ImageCms.getOpenProfile(io.BytesIO(icc))
            target = ImageCms.createProfile("sRGB")
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            rgb = ImageCms.profileToProfile(picture, source, target, intent, "RGB", flags=flags)
            assert rgb is not None
            return np.array(rgb), "The CMYK colours were converted to sRGB through their profile."
        except (ImageCms.PyCMSError, OSError):
            pass  # a profile that cannot be used is as good as none
    return np.array(
        picture.convert("RGB")
    ), "The CMYK colours have no profile and were converted to sRGB by a rule of thumb."
