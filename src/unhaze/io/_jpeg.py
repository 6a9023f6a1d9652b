"""JPEG: OpenCV decodes (half the time and memory of Pillow), Pillow encodes (it takes quantisation tables).

The marker structure (ITU-T T.81, Annex B) is walked here, because neither library tells a truncated file from a damaged
one, or keeps the segments that neither knows.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from unhaze.errors import ImageEncodeError, UnsupportedImageError
from unhaze.io import _metadata, _opencv
from unhaze.io._model import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source

__all__ = ["encode", "identify", "notes", "read"]

DEFAULT_QUALITY = 95
MAX_SIDE = 65535
_MAX_SEGMENT = 65533

_SOI, _EOI, _SOS, _DQT, _COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xFE
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_HUFFMAN_OR_ARITHMETIC = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # the others are lossless or hierarchical: no decoder at hand
_STANDALONE = {0x01, *range(0xD0, 0xD8)}

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC, _MPF, _PHOTOSHOP = b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\0"

# inside entropy-coded data a marker is 0xFF followed by anything but a stuffed zero, a restart or a fill byte
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

_SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}


@dataclass(slots=True)
class _Header:
    """What the segments before the first scan say."""

    width: int = 0
    height: int = 0
    precision: int = 8
    frame: int = 0
    components: list[tuple[int, int, int, int]] = field(default_factory=list)  # id, horizontal, vertical, table
    tables: dict[int, tuple[int, ...]] = field(default_factory=dict)
    segments: list[tuple[int, bytes]] = field(default_factory=list)
    scan: int = 0  # offset of the first scan header

    def first(self, marker: int, prefix: bytes) -> bytes | None:
        """Content of the first segment that begins with ``prefix``, without it."""
        return next((s[len(prefix) :] for m, s in self.segments if m == marker and s.startswith(prefix)), None)


def identify(source: Source) -> ImageInfo:
    """Size and type from the frame header."""
    header = _read_header(source)
    width, height = header.width, header.height
    if _metadata.exif_orientation(header.first(_APP1, _EXIF)) >= 5:
        width, height = height, width
    return ImageInfo("jpeg", width, height, 1 if len(header.components) == 1 else 3, False, "uint8")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a JPEG; of a multi-picture file the first picture."""
    header = _read_header(source)
    source.check_size(header.width, header.height, max_pixels)
    data = source.data()
    end = _find_end(data, header.scan)
    if end is None:
        raise source.truncated()
    decoded = _decode_cmyk(source, header) if len(header.components) == 4 else _decode(source, header)
    decoded.encoding = _encoding(header)
    decoded.metadata = _read_metadata(header, decoded)
    _note_what_is_lost(header, data, end, decoded)
    return decoded


def _segments(source: Source) -> Iterator[tuple[int, int, bytes]]:
    """Marker, offset behind the marker and content of each segment, up to and including the first scan header."""
    position = 2
    while True:
        prefix = source.read_at(position, 2)
        if len(prefix) < 2:
            raise source.truncated()
        if prefix[0] != 0xFF:
            raise source.damaged("there is something else where a JPEG segment should begin")
        if prefix[1] == 0xFF:  # fill byte
            position += 1
            continue
        position += 2
        if prefix[1] in _STANDALONE:
            continue
        if prefix[1] == _EOI:
            raise source.damaged("it holds no picture")
        length = int.from_bytes(source.read_at(position, 2), "big")
        content = source.read_at(position + 2, max(length - 2, 0))
        if length < 2 or len(content) < length - 2:
            raise source.truncated()
        yield prefix[1], position, content
        if prefix[1] == _SOS:
            return
        position += length


def _read_header(source: Source) -> _Header:
    header = _Header()
    for marker, position, content in _segments(source):
        if marker in _FRAMES:
            _parse_frame(header, marker, content, source)
        elif marker == _DQT:
            _parse_tables(header, content)
        elif marker == _SOS:
            header.scan = position
        elif marker == _COM or 0xE0 <= marker <= 0xEF:
            header.segments.append((marker, content))
    if not header.frame:
        raise source.damaged("it has no frame header")
    if header.frame not in _HUFFMAN_OR_ARITHMETIC or header.precision != 8:
        raise UnsupportedImageError(
            f"{source.name} is a JPEG of a rare kind (lossless or {header.precision} bits per colour); convert it to "
            "PNG or TIFF first."
        )
    if len(header.components) not in (1, 3, 4):
        raise UnsupportedImageError(
            f"{source.name} is a JPEG with {len(header.components)} colour components; convert it to PNG or TIFF first."
        )
    return header


def _parse_frame(header: _Header, marker: int, content: bytes, source: Source) -> None:
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        raise source.damaged("its frame header is too short")
    header.frame = marker
    header.precision, header.height, header.width, count = struct.unpack_from(">BHHB", content)
    for i in range(count):
        identity, sampling, table = content[6 + 3 * i : 9 + 3 * i]
        header.components.append((identity, sampling >> 4, sampling & 15, table))


def _parse_tables(header: _Header, content: bytes) -> None:
    while content:
        wide, index = content[0] >> 4, content[0] & 15
        size = 128 if wide else 64
        if len(content) > size:
            values = np.frombuffer(content, ">u2" if wide else "u1", 64, 1)
            header.tables[index] = tuple(int(values[i]) for i in JpegImagePlugin.zigzag_index)
        content = content[1 + size :]


def _find_end(data: bytes, position: int) -> int | None:
    """Offset behind the end-of-image marker that ends the first picture; ``None`` if there is none."""
    while True:
        found = _MARKER_IN_SCAN.search(data, position)
        if found is None:
            return None
        marker = data[found.end() - 1]
        if marker == _EOI:
            return found.end()
        # tables and further scan headers stand between the scans of a progressive JPEG
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        position = found.end() + max(length, 2)


def _decode(source: Source, header: _Header) -> Decoded:
    grey = len(header.components) == 1
    flags = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB
    pixels = _opencv.decode(source, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise source.damaged()
    return Decoded(pixels)


def _decode_cmyk(source: Source, header: _Header) -> Decoded:
    try:
        picture = JpegImagePlugin.JpegImageFile(io.BytesIO(source.data()))
        picture.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise source.damaged() from error
    pixels, note = _metadata.cmyk_to_srgb(picture, _join_icc(header))
    return Decoded(pixels, notes=[note])


def _encoding(header: _Header) -> Encoding:
    tables = tuple(header.tables.get(component[3], ()) for component in header.components)
    subsampling = None
    if len(header.components) == 3:
        (_, across, down, _), *chroma = header.components
        factors = {(across // max(h, 1), down // max(v, 1)) for _, h, v, _ in chroma}
        subsampling = _SUBSAMPLING.get(factors.pop(), "4:4:4") if len(factors) == 1 else "4:4:4"
    return Encoding(
        jpeg_tables=tables if all(tables) else None,
        jpeg_subsampling=subsampling,
        jpeg_progressive=header.frame in _PROGRESSIVE,
    )


def _join_icc(header: _Header) -> bytes | None:
    parts = sorted(s[len(_ICC) :] for m, s in header.segments if m == _APP2 and s.startswith(_ICC))
    return b"".join(part[2:] for part in parts) or None


def _read_metadata(header: _Header, decoded: Decoded) -> Metadata:
    cmyk = len(header.components) == 4
    photoshop = b"".join(s[len(_PHOTOSHOP) :] for m, s in header.segments if m == _APP13 and s.startswith(_PHOTOSHOP))
    return Metadata(
        exif=header.first(_APP1, _EXIF),
        xmp=header.first(_APP1, _XMP),
        icc=_metadata.srgb_profile() if cmyk else _join_icc(header),
        photoshop=photoshop or None,
        dpi=_density(header.first(_APP0, b"JFIF\0")),
        comment=b"\n".join(s for m, s in header.segments if m == _COM) or None,
    )


def _density(jfif: bytes | None) -> tuple[float, float] | None:
    if jfif is None or len(jfif) < 7:
        return None
    unit, across, down = struct.unpack_from(">BHH", jfif, 2)
    scale = {1: 1.0, 2: 2.54}.get(unit)
    return (across * scale, down * scale) if scale and across and down else None


def _note_what_is_lost(header: _Header, data: bytes, end: int, decoded: Decoded) -> None:
    xmp = decoded.metadata.xmp or b""
    if b"hdrgm:Version" in xmp or b"apple.com/HDRGainMap" in xmp:
        decoded.notes.append("The HDR gain map was dropped; the picture is kept in its standard range.")
    elif header.first(_APP2, _MPF) is not None:
        decoded.notes.append("Only the first picture of the multi-picture file was kept.")
    if data.find(b"ftyp", end) >= 0:
        decoded.notes.append("The video of the motion photo was dropped.")
    if header.first(_APP1, _XMP_EXTENSION) is not None:
        decoded.notes.append("The extended part of the XMP data (depth map, previews) was dropped.")
    if any(m == _APP11 and s[:2] == b"JP" for m, s in header.segments):
        decoded.notes.append("The content credentials were dropped; they do not hold for changed pixels.")


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as JPEG will lose."""
    lines = [
        f"The {name} data is too large for a JPEG and was dropped."
        for name, prefix, value in (("EXIF", _EXIF, metadata.exif), ("XMP", _XMP, metadata.xmp))
        if value and len(prefix) + len(value) > _MAX_SEGMENT
    ]
    return [*lines, "The PNG texts were dropped; JPEG has no place for them."] if metadata.text else lines


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 pixels.

    Raises:
        ImageEncodeError: There is an alpha channel, or a side is longer than JPEG can count.
    """
    if alpha is not None:
        raise ImageEncodeError("JPEG cannot store transparency; choose PNG, TIFF or WebP.")
    if max(pixels.shape[:2]) > MAX_SIDE:
        raise ImageEncodeError(f"JPEG cannot store a side of more than {MAX_SIDE} pixels; choose PNG or TIFF.")
    options: dict[str, object] = {"progressive": encoding.jpeg_progressive, "extra": _metadata_segments(metadata)}
    if quality is None and encoding.jpeg_tables:
        options["qtables"] = _tables_for(pixels, encoding.jpeg_tables)
    else:
        options["quality"] = DEFAULT_QUALITY if quality is None else quality
    if pixels.ndim == 3:
        options["subsampling"] = encoding.jpeg_subsampling or "4:4:4"
    if metadata.dpi:
        options["dpi"] = tuple(min(value, 65535) for value in metadata.dpi)
    return _save(Image.fromarray(pixels), options)


def _tables_for(pixels: Pixels, tables: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    wanted = tables[:1] if pixels.ndim == 2 else tables[:3]
    if wanted[1:2] == wanted[2:3]:
        wanted = wanted[:2]  # Pillow takes the second table for both chroma components
    return [list(table) for table in wanted]


def _save(image: Image.Image, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    try:
        image.save(file, "JPEG", **options)
    except OSError:
        # Pillow's buffer for progressive files has 2 bytes a pixel; noise at the best quality needs more
        if not options["progressive"]:
            raise
        return _save(image, options | {"progressive": False})
    return file.getvalue()


def _metadata_segments(metadata: Metadata) -> bytes:
    segments = []
    if metadata.exif and len(_EXIF) + len(metadata.exif) <= _MAX_SEGMENT:
        segments.append((_APP1, _EXIF + metadata.exif))
    if metadata.xmp and len(_XMP) + len(metadata.xmp) <= _MAX_SEGMENT:
        segments.append((_APP1, _XMP + metadata.xmp))
    if metadata.icc:
        room = _MAX_SEGMENT - len(_ICC) - 2
        parts = [metadata.icc[i : i + room] for i in range(0, len(metadata.icc), room)]
        segments += [(_APP2, _ICC + bytes((i + 1, len(parts))) + part) for i, part in enumerate(parts)]
    if metadata.photoshop:
        room = _MAX_SEGMENT - len(_PHOTOSHOP)
        parts = [metadata.photoshop[i : i + room] for i in range(0, len(metadata.photoshop), room)]
        segments += [(_APP13, _PHOTOSHOP + part) for part in parts]
    if metadata.comment:
        segments.append((_COM, metadata.comment[:_MAX_SEGMENT]))
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
