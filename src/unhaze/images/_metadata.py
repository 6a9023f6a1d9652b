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

from unhaze.images import _exif
from unhaze.images._colourspace import HDR_TRANSFERS, has_no_profile
from unhaze.images._picture import Decoded, Metadata

__all__ = [
    "HDR_BEFORE_ICC",
    "cicp_notes",
    "cmyk_to_srgb",
    "finish",
    "icc_space",
    "orientation",
    "same_colours",
    "srgb_profile",
]

_XMP_ORIENTATION = rb"(\b%s:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])"
_TIFF_PREFIX = re.compile(rb"\bxmlns:([\w.-]{1,64})\s*=\s*[\"']http://ns\.adobe\.com/tiff/1\.0/[\"']")
_OTHER_SIDE = {
    b"tiff:ImageWidth": b"tiff:ImageLength",
    b"tiff:ImageLength": b"tiff:ImageWidth",
    b"exif:PixelXDimension": b"exif:PixelYDimension",
    b"exif:PixelYDimension": b"exif:PixelXDimension",
}
_XMP_SIDE = re.compile(b"|".join(_OTHER_SIDE))
_PHOTOSHOP_THUMBNAILS = {1033, 1036}
HDR_BEFORE_ICC = "The colour profile for programs that do not know HDR was dropped; the HDR tag beside it counts."
_NAMED = 8  # damaged tags that a note names

# Names in XMP that speak of parts no output has: gain maps (Adobe, Apple), videos of motion photos, the directory of
# the parts of the file, and what stood in the extended part: depth maps and second views.
_STALE_NAMES = (
    rb"(?:hdrgm:\w+|HDRGainMap:\w+|apdi:AuxiliaryImageType|Container:Directory|xmpNote:HasExtendedXMP"
    rb"|G?Camera:(?:MotionPhoto|MicroVideo)\w*|GDepth:\w+|GImage:\w+|GAudio:\w+)"
)
_STALE_ATTRIBUTE = re.compile(rb"\s" + _STALE_NAMES + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_STALE_ELEMENT = re.compile(rb"<(" + _STALE_NAMES + rb")(?:[\s/][^<>]*)?>")
_STALE_END = re.compile(rb"</(" + _STALE_NAMES + rb")>")


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """How the picture lies, 1 to 8: what EXIF says, else XMP, else 1."""
    value = _exif.orientation(exif) if exif else None
    if value is None and xmp:
        found = _xmp_orientation(xmp).search(xmp)
        value = int(found[2]) if found else None
    return value or 1


def _xmp_orientation(xmp: bytes) -> re.Pattern[bytes]:
    """Finds the orientation, under whatever prefix the packet gives to its namespace."""
    prefix = _TIFF_PREFIX.search(xmp)
    return re.compile(_XMP_ORIENTATION % re.escape(prefix[1] if prefix else b"tiff"))


def finish(decoded: Decoded, *, turned: bool) -> Metadata:
    """Metadata for the upright picture: orientation 1, no thumbnail, no profile of another colour space.

    Adds a note to ``decoded`` for what has to go.

    Args:
        decoded: What a reader returned, with the pixels upright by now.
        turned: Whether width and height have changed places.
    """
    metadata = decoded.metadata
    exif, icc = metadata.exif or None, metadata.icc or None
    if exif:
        try:
            exif, dropped = _exif.mend(exif)
            exif = _exif.make_upright(exif, swap_sides=turned)
        except _exif.ExifError:
            exif, dropped = None, []
            decoded.notes.append("The EXIF data is damaged and was dropped.")
        if dropped:
            names = ", ".join(dict.fromkeys(dropped[:_NAMED])) + (", ..." if len(dropped) > _NAMED else "")
            decoded.notes.append(f"Parts of the EXIF data are damaged and were dropped ({names}); the rest was kept.")
    if icc and icc_space(icc) != ("GRAY" if decoded.pixels.ndim == 2 else "RGB"):
        icc = None
        decoded.notes.append("The embedded colour profile does not fit the kind of picture and was dropped.")
    elif icc and int.from_bytes(icc[:4], "big") > len(icc):
        icc = None
        decoded.notes.append("The embedded colour profile is cut off and was dropped.")
    return replace(
        metadata,
        exif=exif,
        xmp=_finish_xmp(metadata.xmp, turned=turned) if metadata.xmp else None,
        icc=icc,
        photoshop=_finish_photoshop(metadata.photoshop, decoded.notes) if metadata.photoshop else None,
        dpi=metadata.dpi[::-1] if metadata.dpi and turned else metadata.dpi,
        aspect=metadata.aspect[::-1] if metadata.aspect and turned else metadata.aspect,
    )


def _finish_xmp(xmp: bytes, *, turned: bool) -> bytes:
    """XMP of the upright picture, less the attributes, and the elements with all they hold, of parts that are gone."""
    if turned:
        xmp = _XMP_SIDE.sub(lambda found: _OTHER_SIDE[found[0]], xmp)
    xmp = _STALE_ATTRIBUTE.sub(b"", _xmp_orientation(xmp).sub(rb"\g<1>1", xmp))
    ends: dict[bytes, list[int]] = {}  # of each name, the last first: the text may hold millions, closed or not
    for closed in _STALE_END.finditer(xmp):
        ends.setdefault(closed[1], []).append(closed.end())
    for places in ends.values():
        places.reverse()
    kept, position = [], 0
    while (found := _STALE_ELEMENT.search(xmp, position)) is not None:
        end = found.end()
        if not found[0].endswith(b"/>"):
            places = ends.get(found[1], [])
            while places and places[-1] <= end:
                places.pop()
            if not places:
                kept.append(xmp[position:end])
                position = end
                continue
            end = places.pop()
        kept.append(xmp[position : found.start()])
        position = end
    return b"".join(kept) + xmp[position:]


def _finish_photoshop(data: bytes, notes: list[str]) -> bytes | None:
    """Image resources without the thumbnail (Adobe Photoshop File Formats, "Image Resource Blocks")."""
    kept, position = [], 0
    while data[position : position + 4] == b"8BIM" and position + 12 <= len(data):
        (identity,) = struct.unpack_from(">H", data, position + 4)
        name = (data[position + 6] + 2) & ~1  # length byte and name, padded to even
        if position + 10 + name > len(data):
            break
        (size,) = struct.unpack_from(">I", data, position + 6 + name)
        end = position + 10 + name + size + size % 2
        if end - size % 2 > len(data):
            notes.append("A part of the Photoshop resources (IPTC captions) is cut off and was dropped.")
            break
        if identity not in _PHOTOSHOP_THUMBNAILS:
            kept.append(data[position:end])
        position = end
    return b"".join(kept) or None


def cicp_notes(cicp: tuple[int, int] | None, icc: bytes | None) -> list[str]:
    """What is said about colours given by numbers: those of HDR, and those that no profile was made or found for."""
    if cicp is None:
        return []
    primaries, transfer = cicp
    if transfer in HDR_TRANSFERS:
        name = HDR_TRANSFERS[transfer]
        return [f"The colours are coded for HDR ({name}): they are worked on as they are coded, and keep their tag."]
    if icc is None and has_no_profile(primaries, transfer):
        return [f"The colours are described as CICP {primaries}/{transfer}, which is not handled; they count as sRGB."]
    return []


def icc_space(icc: bytes) -> str:
    """Colour space of a profile: ``"RGB"``, ``"GRAY"``, ``"CMYK"``, ... (ICC.1:2022, header bytes 16 to 19)."""
    return icc[16:20].decode("ascii", "replace").strip()


@cache
def same_colours(first: bytes, second: bytes) -> bool:
    """Whether two RGB profiles mean the same colours, to two levels of 8 bits of sRGB."""
    from PIL import ImageCms

    steps = np.array([0, 60, 120, 180, 255], np.uint8)
    probe = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(25, 5, 3))
    shown = []
    for icc in (first, second):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            shown.append(ImageCms.profileToProfile(probe, source, ImageCms.createProfile("sRGB")))
        except (ImageCms.PyCMSError, OSError, ValueError):
            return False
    return bool(np.abs(np.subtract(*(np.asarray(image, np.int16) for image in shown))).max() <= 2)


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
