"""Camera raw through the optional rawpy, which brings LibRaw."""

from __future__ import annotations

import io
import struct
from importlib import import_module
from typing import Any

import numpy as np

from unhaze.errors import MissingDependencyError
from unhaze.images import _exif, _metadata
from unhaze.images._picture import Decoded, ImageInfo, Metadata, Source
from unhaze.images.budget import TooMuchError

__all__ = ["identify", "read"]

# maker, model, orientation, software, date, author, copyright, EXIF and GPS; the rest is about the sensor
_DESCRIPTIVE = {270, 271, 272, 274, 305, 306, 315, 33432, _exif.EXIF_IFD, _exif.GPS_IFD}


def identify(source: Source) -> ImageInfo:
    """Size of the picture that developing will give."""
    with _open(source) as raw:
        width, height = _size(raw)
        channels = 1 if raw.num_colors == 1 else 3
    return ImageInfo("raw", width, height, channels, False, "uint16")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Develop with the white balance of the camera into 16-bit sRGB; LibRaw turns the picture upright."""
    with _open(source) as raw:
        source.check_size(*_size(raw), max_pixels)
        try:
            pixels = raw.postprocess(use_camera_wb=True, output_bps=16)
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            raise source.damaged() from error
    icc = _metadata.srgb_profile() if pixels.ndim == 3 else None
    metadata = Metadata(exif=_read_exif(source), icc=icc)
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels  # cameras without a colour filter
    return Decoded(np.ascontiguousarray(pixels), orientation=1, metadata=metadata)


def _read_exif(source: Source) -> bytes | None:
    """EXIF data of the kinds of raw file that are built like a TIFF (DNG, NEF, CR2, ARW, ...)."""
    order = {b"II": "<", b"MM": ">"}.get(source.start(2))
    if order is None:
        return None
    try:
        (offset,) = struct.unpack(order + "I", source.read_at(4, 4))
        directory = _exif.read_directory(source.read_at, offset, order)
    except (_exif.ExifError, TooMuchError, struct.error):
        return None
    kept = {tag: entry for tag, entry in directory.entries.items() if tag in _DESCRIPTIVE}
    return _exif.blob_from_directory(_exif.Directory(order, kept)) if kept else None


def _size(raw: Any) -> tuple[int, int]:
    sizes = raw.sizes
    size = (sizes.iwidth, sizes.iheight)
    return size[::-1] if sizes.flip in (5, 6) else size


def _open(source: Source) -> Any:
    try:
        rawpy = import_module("rawpy")
    except ImportError as error:
        raise MissingDependencyError("rawpy", "raw", f"read {source.name}") from error
    try:
        return rawpy.imread(io.BytesIO(source.data()))
    except rawpy.LibRawError as error:
        raise source.damaged(f"LibRaw says: {str(error).strip(chr(39))}") from error
