"""WebP: OpenCV decodes, Pillow encodes; the container is walked for size, transparency, losslessness and metadata.

The layout is that of the "WebP Container Specification" (RFC 9649).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

import cv2
from PIL import Image

from unhaze.errors import ImageEncodeError, UnsupportedImageError
from unhaze.images import _metadata, _opencv
from unhaze.images._arrays import grey_to_rgb, merge_alpha
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source

__all__ = ["encode", "identify", "notes", "read"]

DEFAULT_QUALITY = 90
MAX_SIDE = 16383
_EFFORT = 4  # libwebp's "method": 0 fast to 6 small

_PIXEL_CHUNKS = {b"VP8 ", b"VP8L"}
_KNOWN_CHUNKS = {*_PIXEL_CHUNKS, b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"ICCP"}
_ANIMATION_FLAG, _ALPHA_FLAG = 0x02, 0x10

_NAMED = 20  # unknown chunks that a note names
_SHORTEST = 32  # [bytes] of a header; of less OpenCV complains to the terminal


@dataclass(slots=True)
class _Layout:
    width: int = 0
    height: int = 0
    alpha: bool = False
    lossless: bool = False
    frames: int = 0
    end: int = 0
    unknown: list[bytes] = field(default_factory=list)  # their names, each once
    metadata: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def exif(self) -> bytes | None:
        exif = self.metadata.get(b"EXIF")
        return exif.removeprefix(b"Exif\0\0") if exif else None


def identify(source: Source) -> ImageInfo:
    """Size and type from the chunk headers."""
    source.header = layout = _read_layout(source)
    width, height = layout.width, layout.height
    if _metadata.orientation(layout.exif, layout.metadata.get(b"XMP ")) >= 5:
        width, height = height, width
    return ImageInfo("webp", width, height, 3, layout.alpha, "uint8")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a WebP that is not animated."""
    layout: _Layout = source.header or _read_layout(source)
    source.check_size(layout.width, layout.height, max_pixels)
    if layout.frames:
        raise UnsupportedImageError(f"{source.name} is an animated WebP; extract the frames first.")
    if source.size < _SHORTEST:
        raise source.truncated()
    stored = _opencv.decode(source, cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise source.damaged()
    pixels, alpha = _opencv.split_alpha(stored, grey=False)
    metadata = Metadata(exif=layout.exif, xmp=layout.metadata.get(b"XMP "), icc=layout.metadata.get(b"ICCP"))
    notes = []
    if layout.unknown:
        names = ", ".join(name.decode("ascii", "backslashreplace").strip() for name in layout.unknown[:_NAMED])
        names += ", ..." if len(layout.unknown) > _NAMED else ""
        notes.append(f"Chunks of the WebP that nothing is known of were dropped ({names}).")
    notes += source.note_on_tail(layout.end)
    return Decoded(pixels, alpha, metadata=metadata, encoding=Encoding(lossless=layout.lossless), notes=notes)


def _read_layout(source: Source) -> _Layout:
    (length,) = struct.unpack("<I", source.read_at(4, 4))
    end = length + 8
    if end > source.size:
        raise source.truncated()
    layout, position = _Layout(end=end), 12
    while position + 8 <= end:
        name, size = struct.unpack("<4sI", source.read_at(position, 8))
        if position + 8 + size > source.size:
            raise source.truncated()
        place = position + 8
        start = source.read_at(place, min(size, 16))
        if name == b"VP8X" and size >= 10:
            layout.width = int.from_bytes(start[4:7], "little") + 1
            layout.height = int.from_bytes(start[7:10], "little") + 1
            layout.alpha = bool(start[0] & _ALPHA_FLAG)
            layout.frames += bool(start[0] & _ANIMATION_FLAG)
        elif name == b"VP8L" and size >= 5:
            (bits,) = struct.unpack_from("<I", start, 1)
            layout.lossless = True
            layout.alpha = layout.alpha or (not layout.width and bool(bits >> 28 & 1))
            layout.width = layout.width or (bits & 0x3FFF) + 1
            layout.height = layout.height or (bits >> 14 & 0x3FFF) + 1
        elif name == b"VP8 " and size >= 10 and not layout.width:
            width, height = struct.unpack_from("<HH", start, 6)
            layout.width, layout.height = width & 0x3FFF, height & 0x3FFF
        elif name in (b"EXIF", b"XMP ", b"ICCP"):
            if source.budget.admits(size):
                layout.metadata.setdefault(name, source.read_at(place, size))
        elif name not in _KNOWN_CHUNKS and len(layout.unknown) <= _NAMED and name not in layout.unknown:
            layout.unknown.append(name)
        position += 8 + size + size % 2
    if not layout.width:
        raise source.damaged("it holds no picture")
    return layout


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as WebP changes."""
    lines = ["WebP has no grey; the value was stored in all three channels."] if picture.pixels.ndim == 2 else []
    if metadata.photoshop or metadata.text or metadata.comment:
        lines.append("The comment, texts and IPTC data were dropped; WebP has no place for them.")
    return lines


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 pixels; lossless where the source was, unless ``quality`` is given.

    Raises:
        ImageEncodeError: A side is longer than WebP can count.
    """
    if max(pixels.shape[:2]) > MAX_SIDE:
        raise ImageEncodeError(f"WebP cannot store a side of more than {MAX_SIDE} pixels; choose PNG or TIFF.")
    options: dict[str, object] = {"exact": True}  # keep colours where they are transparent
    if quality is None and encoding.lossless:
        options |= {"lossless": True, "quality": 50}  # here the quality is the effort
    else:
        options |= {"quality": DEFAULT_QUALITY if quality is None else quality, "method": _EFFORT}
    if metadata.icc and pixels.ndim == 3:
        options["icc_profile"] = metadata.icc
    if metadata.exif:
        options["exif"] = metadata.exif
    if metadata.xmp:
        options["xmp"] = metadata.xmp
    file = io.BytesIO()
    Image.fromarray(merge_alpha(grey_to_rgb(pixels), alpha)).save(file, "WEBP", **options)
    return file.getvalue()
