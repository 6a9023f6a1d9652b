"""TIFF from pixels: tifffile encodes.

No library writes the EXIF and GPS directories, so the one that tifffile wrote is laid out anew with them at the end of
the file.
"""

from __future__ import annotations

import io
import struct
import sys
from importlib import import_module

import tifffile

from unhaze.images import _exif
from unhaze.images._arrays import merge_alpha, premultiply
from unhaze.images._exif import Entry
from unhaze.images._picture import Encoding, Metadata, Picture, Pixels
from unhaze.images._tiff_directories import STRUCTURE, Tag

__all__ = ["encode", "notes"]

_DEFLATE_LEVEL = 4
_CLASSIC_LIMIT = 4_000_000_000  # [bytes] offsets of a TIFF have 32 bits, those of a BigTIFF 64


def _compression_to_write(encoding: Encoding) -> str:
    wanted = encoding.tiff_compression or "deflate"
    if wanted in ("none", "deflate"):
        return wanted
    if wanted not in ("lzw", "zstd"):
        return "deflate"
    try:
        import_module("imagecodecs")
    except ImportError:
        return wanted if wanted == "zstd" and sys.version_info >= (3, 14) else "deflate"
    return wanted


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as TIFF changes."""
    wanted, written = picture.encoding.tiff_compression, _compression_to_write(picture.encoding)
    changed = wanted is not None and wanted != written
    lines = [f"The TIFF is compressed with Deflate instead of {wanted.upper()}."] if changed and wanted else []
    if metadata.text or metadata.comment:
        lines.append("The comment and the PNG texts were dropped; TIFF has no place for them.")
    return lines


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8, uint16 or float32 pixels; ``quality`` has no meaning here."""
    del quality
    if alpha is not None and encoding.premultiplied:
        pixels = premultiply(pixels, alpha)
    stored = merge_alpha(pixels, alpha)
    kind = "assocalpha" if encoding.premultiplied else "unspecified" if encoding.unspecified_alpha else "unassalpha"
    compression = _compression_to_write(encoding)
    big = stored.nbytes > _CLASSIC_LIMIT
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<") as writer:
        writer.write(
            stored,
            photometric="minisblack" if pixels.ndim == 2 else "rgb",
            planarconfig="contig" if stored.ndim == 3 else None,
            extrasamples=None if alpha is None else [kind],
            compression={"none": None, "deflate": "zlib"}.get(compression, compression),
            compressionargs={"level": _DEFLATE_LEVEL} if compression == "deflate" else None,
            predictor=compression != "none" and stored.dtype.kind == "u",
            iccprofile=metadata.icc,
            resolution=metadata.dpi,
            resolutionunit="inch" if metadata.dpi else None,
            metadata=None,
            software=False,
        )
    _add_metadata(file, metadata, big=big)
    return file.getvalue()


def _add_metadata(file: io.BytesIO, metadata: Metadata, *, big: bool) -> None:
    """Lay out the directory anew at the end of the file, with the tags and directories that tifffile does not write."""
    added: dict[int, Entry] = {}
    if metadata.exif:
        source = _exif.parse_blob(metadata.exif)
        added.update(_exif.in_order(source, "<").entries)
        for tag in STRUCTURE:
            added.pop(tag, None)
    for tag, kind, value in ((Tag.XMP, 1, metadata.xmp), (Tag.PHOTOSHOP, 1, metadata.photoshop)):
        if value:
            added[tag] = Entry(kind, len(value), value)
    if not added:
        return

    def read_at(offset: int, count: int) -> bytes:
        file.seek(offset)
        return file.read(count)

    pointer, code = (8, "<Q") if big else (4, "<I")
    (offset,) = struct.unpack(code, read_at(pointer, struct.calcsize(code)))
    directory = _exif.read_directory(read_at, offset, "<", big=big)
    directory.entries = {**added, **directory.entries}
    end = file.seek(0, io.SEEK_END)
    end += file.write(b"\0" * (end % 2))
    file.write(_exif.serialise(directory, "<", end, big=big))
    file.seek(pointer)
    file.write(struct.pack(code, end))
