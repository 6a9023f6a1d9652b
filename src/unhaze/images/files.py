"""Picture files in and out, with everything about them that is not haze.

The rules for each kind of file are in ``docs/image-contract.md``; each row of its tables is a test.

>>> import io
>>> from PIL import Image
>>> file = io.BytesIO()
>>> Image.new("RGB", (6, 4), (10, 20, 30)).save(file, "PNG")
>>> identify(file.getvalue())
ImageInfo(format='png', width=6, height=4, channels=3, has_alpha=False, dtype='uint8')
>>> picture = read_image(file.getvalue())
>>> picture.pixels.shape
(4, 6, 3)
>>> encode_image(picture, "webp")[:4]
b'RIFF'
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unhaze.errors import (
    ImageEncodeError,
    ImageValueError,
    UnknownNameError,
    UsageError,
)
from unhaze.images import _arrays, _metadata
from unhaze.images._colourspace import HDR_TRANSFERS
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Picture, Source, open_source
from unhaze.images._signatures import format_of
from unhaze.images.atomic import atomic_output
from unhaze.images.budget import DEFAULT_MAX_PIXELS, METADATA_LIMIT, PART_LIMIT
from unhaze.images.levels import find_white, nominal_white

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "READ_SUFFIXES",
    "WRITE_FORMATS",
    "Encoding",
    "ImageInfo",
    "Metadata",
    "Picture",
    "conversion_notes",
    "default_output_format",
    "encode_image",
    "format_for_suffix",
    "identify",
    "read_image",
    "write_image",
]

WRITE_FORMATS: dict[str, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "tiff": ".tif",
    "webp": ".webp",
    "avif": ".avif",
    "bmp": ".bmp",
}

_WRITE_SUFFIXES = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
    ".avif": "avif",
    ".bmp": "bmp",
    ".dib": "bmp",
}
_HEIF_SUFFIXES = {".heic", ".heif", ".hif"}
_RAW_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
}
READ_SUFFIXES: frozenset[str] = frozenset(
    {*_WRITE_SUFFIXES, *_HEIF_SUFFIXES, *_RAW_SUFFIXES, ".gif", ".pbm", ".pgm", ".pnm", ".ppm"}
)

# format -> module of this package that reads (and where possible writes) it; loaded on first use
_CODECS = {
    "jpeg": "_jpeg",
    "png": "_png",
    "tiff": "_tiff",
    "webp": "_webp",
    "avif": "_avif",
    "bmp": "_bmp",
    "gif": "_gif",
    "ppm": "_ppm",
    "heif": "_heif",
    "raw": "_raw",
}
_OFTEN_PARTLY_USED = {"tiff", "png"}  # formats whose 16-bit and float values may have another white than their type's
_EIGHT_BIT_ONLY = {"jpeg", "webp", "avif", "bmp"}
_OUTPUT_OF_UNWRITABLE = {"gif": "png", "ppm": "png", "heif": "jpeg", "raw": "tiff"}
_SCREENS = {72, 96}  # [1/inch] what programs write that know no resolution
_HDR_FORMATS = {"png", "avif"}  # those that can say that the values are coded for HDR


def format_for_suffix(suffix: str) -> str | None:
    """Name of the format that is written for a suffix such as ``".jpg"``; ``None`` if there is none.

    >>> format_for_suffix(".TIFF")
    'tiff'
    """
    return _WRITE_SUFFIXES.get(suffix.lower())


def default_output_format(picture: Picture | ImageInfo) -> str:
    """The format in which a picture is stored if nobody says otherwise: its own wherever it can be written.

    HEIF becomes JPEG (PNG where its colours are coded for HDR), camera raw 16-bit TIFF, GIF and PPM become PNG.
    """
    hdr = picture.hdr if isinstance(picture, ImageInfo) else picture.metadata.cicp is not None
    if hdr and picture.format not in _HDR_FORMATS:
        return "png"
    return _OUTPUT_OF_UNWRITABLE.get(picture.format, picture.format)


def identify(source: str | Path | bytes) -> ImageInfo:
    """Size and type of a picture from its header, without decoding a pixel.

    Args:
        source: Path or content of a picture file.

    Raises:
        ImageDecodeError: There is no such file, it cannot be read, or its header is no picture's.
        UnsupportedImageError: It is a picture of a kind that is not handled.
        MissingDependencyError: It is HEIF or camera raw, and the package that reads it is not installed.
    """
    with open_source(source) as opened:
        info: ImageInfo = _codec(format_of(opened)).identify(opened)
        opened.check_size(info.width, info.height, None)
        return replace(info, file_bytes=opened.size)


def read_image(
    source: str | Path | bytes,
    *,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    max_metadata: int = METADATA_LIMIT,
    finite: bool = False,
) -> Picture:
    """Decode a picture, upright and with everything needed to store its restored form in the same class of file.

    The content decides about the format; a wrong suffix does not matter.

    Args:
        source: Path or content of a picture file.
        max_pixels: Largest width times height that is decoded; checked before decoding. ``None``: no limit.
        max_metadata: Most bytes of texts, profiles and the like, decompressed; what goes beyond is dropped with a note.
        finite: Whether to refuse float pictures with some NaN or infinite values; otherwise they are told in a note.

    Returns:
        The picture; see :class:`Picture` for shapes, types and ranges.

    Raises:
        ImageDecodeError: There is no such file, it cannot be read, is empty, truncated, damaged or no picture.
        UnsupportedImageError: It is a picture of a kind that is not handled, an animation for instance.
        ImageTooLargeError: It has more than ``max_pixels`` pixels, or directories far larger than a picture needs.
        ImageValueError: A float picture holds nothing but NaN and infinity, or some where ``finite``.
        MissingDependencyError: It is HEIF or camera raw, and the package that reads it is not installed.
    """
    with open_source(source, max_metadata) as opened:
        name = format_of(opened)
        info: ImageInfo = _codec(name).identify(opened)
        opened.check_size(info.width, info.height, max_pixels)
        decoded: Decoded = _codec(name).read(opened, max_pixels)
        picture = _finish(decoded, opened, name, finite=finite)
        if picture.info != info:
            said, found = (
                f"{each.width} x {each.height} {each.dtype} x {each.channels}{' and alpha' if each.has_alpha else ''}"
                for each in (info, picture.info)
            )
            raise opened.damaged(f"its header says {said}, its contents are {found}")
        return picture


def conversion_notes(
    picture: Picture, format: str | None = None, *, metadata: Literal["keep", "strip"] = "keep"
) -> tuple[str, ...]:
    """What storing a picture in a format changes or loses beyond ``picture.notes``, a short sentence each.

    Args:
        picture: What is to be stored.
        format: Name of a format of ``WRITE_FORMATS``; ``None`` for :func:`default_output_format`.
        metadata: As for :func:`encode_image`.
    """
    format, kept = _to_write(picture, format, metadata)
    notes = []
    if format in _EIGHT_BIT_ONLY and picture.pixels.dtype != np.uint8:
        kind = "16-bit" if picture.pixels.dtype == np.uint16 else "Float"
        notes.append(f"{kind} values were rounded to 8 bit, the most that is written as {format.upper()}.")
    if format == "png" and picture.pixels.dtype == np.float32:
        white = 1 if picture.white is None else picture.white
        notes.append(f"Float values were clipped to [0, {white:g}] and rounded to 16 bit, the most that PNG can store.")
    notes += _codec(format).notes(picture, kept)
    if format != "jpeg":
        notes += _codec("jpeg").segment_notes(kept)
    if kept.dpi and not kept.exif and format in ("webp", "avif") and round(kept.dpi[0]) not in _SCREENS:
        notes.append(f"The resolution ({kept.dpi[0]:.0f} dpi) was dropped; {format.upper()} has no place for it.")
    if kept.aspect and format not in ("jpeg", "png"):
        notes.append(f"The pixel aspect was dropped; {format.upper()} has no place for it.")
    return tuple(notes)


def encode_image(
    picture: Picture,
    format: str | None = None,
    *,
    metadata: Literal["keep", "strip"] = "keep",
    quality: int | None = None,
) -> bytes:
    """Encode a picture as the content of a file.

    Args:
        picture: What to encode.
        format: Name of a format of ``WRITE_FORMATS``; ``None`` for :func:`default_output_format`.
        metadata: ``"keep"``, or ``"strip"`` to drop EXIF, XMP, captions and texts. The colour profile stays, because
            the colours depend on it.
        quality: 1 to 100 for JPEG, WebP and AVIF; ``None`` keeps the quality class of the file the picture came from
            where the format tells it. It has no meaning for the lossless formats.

    Raises:
        UsageError: ``quality``, ``metadata`` or ``format`` has no meaning.
        ImageValueError: The arrays of the picture are not as :class:`Picture` says.
        ImageEncodeError: The format cannot hold the picture: transparency in a JPEG, a side too long.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"The quality must lie between 1 and 100, not {quality}.")
    format, kept = _to_write(picture, format, metadata)
    pixels, alpha = picture.pixels, picture.alpha
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or 0 in pixels.shape:
        raise ImageValueError(f"Pixels must have the shape (H, W) or (H, W, 3), not {pixels.shape}.")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise ImageValueError(f"Pixels must be uint8, uint16 or float32, not {pixels.dtype}.")
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
        raise ImageValueError(
            f"Alpha must have the shape {pixels.shape[:2]} and type {pixels.dtype} of the pixels, not {alpha.shape} "
            f"{alpha.dtype}."
        )
    if kept.cicp and format not in _HDR_FORMATS:
        name = HDR_TRANSFERS.get(kept.cicp[1], "unknown")
        raise ImageEncodeError(
            f"{format.upper()} cannot say that the colours are coded for HDR ({name}); choose PNG or AVIF."
        )
    if alpha is not None and format == "jpeg":  # where it says nothing it needs no place
        opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1.0
        alpha = None if (alpha == opaque).all() else alpha
    if format in _EIGHT_BIT_ONLY or format == "png":
        convert = _arrays.to_uint16 if format == "png" else _arrays.to_uint8
        alpha = None if alpha is None else convert(alpha, white=None)
        pixels = convert(pixels, white=picture.white)
    encoded: bytes = _codec(format).encode(pixels, alpha, picture.encoding, kept, quality)
    return encoded


def write_image(
    picture: Picture,
    path: str | Path,
    *,
    format: str | None = None,
    metadata: Literal["keep", "strip"] = "keep",
    quality: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Encode a picture into a file that appears whole or not at all.

    Args:
        picture: What to write.
        path: The file. Its suffix chooses the format unless ``format`` is given; with a suffix that says nothing
            :func:`default_output_format` holds.
        format: Name of a format of ``WRITE_FORMATS``.
        metadata: As for :func:`encode_image`.
        quality: As for :func:`encode_image`.
        overwrite: Whether an existing file may be replaced.

    Returns:
        ``path``.

    Raises:
        OutputError: The file exists and may not be replaced, or the file system refuses it.
        UsageError, ImageValueError, ImageEncodeError: As for :func:`encode_image`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if format is None:
        format = format_for_suffix(suffix)
        if format is None and suffix in READ_SUFFIXES:
            raise ImageEncodeError(f"{path}: {suffix} files can be read but not written; choose .jpg, .png or .tif.")
    with atomic_output(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(encode_image(picture, format, metadata=metadata, quality=quality))
    return path


def _codec(name: str) -> Any:
    return import_module(f"unhaze.images.{_CODECS[name]}")


def _finish(decoded: Decoded, source: Source, name: str, *, finite: bool) -> Picture:
    """Refuse floats that mean nothing, drop metadata beyond the budget, and turn all upright."""
    for what, values in (("pixels", decoded.pixels), ("alpha values", decoded.alpha)):
        if values is None or values.dtype.kind != "f":
            continue
        if np.isfinite(values.min()) and np.isfinite(values.max()):  # NaN shows in both; no array of flags is needed
            continue
        bad = np.asarray(~np.isfinite(values)).reshape(*values.shape[:2], -1).any(axis=2)
        count = int(bad.sum())
        if finite or count == bad.size or values is decoded.alpha:
            raise ImageValueError(
                f"{source.name} holds NaN or infinity in {count} of its {what}; replace them by numbers first."
            )
        decoded.notes.append(f"{count} pixels are NaN or infinite; they were left as they are.")
    limit = source.budget.limit  # readers that inflate have kept to it before
    dropped: dict[str, Any] = {}
    for part in ("icc", "exif", "xmp", "photoshop", "comment"):  # the colours depend on the first
        size = len(getattr(decoded.metadata, part) or b"")
        if size > limit:
            dropped[part] = None
        else:
            limit -= size
    if dropped:
        decoded.metadata = replace(decoded.metadata, **dropped)
    if dropped or source.budget.exceeded:
        decoded.notes.append(
            f"Metadata beyond {PART_LIMIT / 1e6:.0f} MB a piece or {source.budget.limit >> 20} MB in all was dropped."
        )
    orientation = decoded.orientation
    if orientation is None:
        orientation = _metadata.orientation(decoded.metadata.exif, decoded.metadata.xmp)
    pixels = np.require(_arrays.upright(decoded.pixels, orientation), requirements=["C", "W", "O"])
    decoded.pixels = pixels
    alpha = decoded.alpha
    if alpha is not None:
        alpha = np.require(_arrays.upright(alpha, orientation), requirements=["C", "W", "O"])
    metadata = _metadata.finish(decoded, turned=decoded.turned or orientation >= 5)
    picture = Picture(pixels, alpha, name, metadata, decoded.encoding, tuple(decoded.notes))
    if name in _OFTEN_PARTLY_USED and pixels.dtype != np.uint8:
        white = find_white(pixels, picture.hidden())
        picture.white = None if white == nominal_white(pixels.dtype) else white
    return picture


def _to_write(picture: Picture, format: str | None, metadata: str) -> tuple[str, Metadata]:
    """The format to write, and metadata for the pixels as they are now, which may not be those that were read."""
    format = default_output_format(picture) if format is None else format.lower()
    format = {"jpg": "jpeg", "tif": "tiff"}.get(format, format)
    if format in _OUTPUT_OF_UNWRITABLE:
        raise ImageEncodeError(f"{format.upper()} files can be read but not written; choose JPEG, PNG or TIFF.")
    if format not in WRITE_FORMATS:
        raise UnknownNameError("format", format, WRITE_FORMATS)
    if metadata not in ("keep", "strip"):
        raise UsageError(f"metadata must be 'keep' or 'strip', not {metadata!r}.")
    kept = picture.metadata
    space = "GRAY" if picture.pixels.ndim == 2 else "RGB"
    icc = kept.icc if kept.icc and _metadata.icc_space(kept.icc) == space else None
    if metadata == "strip":
        return format, Metadata(icc=icc, dpi=kept.dpi, aspect=kept.aspect, cicp=kept.cicp)
    return format, replace(kept, icc=icc)
