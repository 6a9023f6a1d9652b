"""JPEG from pixels: Pillow encodes (it takes quantisation tables); the segments around the scans are written here."""

from __future__ import annotations

import io
import os
import struct
from typing import IO

import cv2
from PIL import Image, JpegImagePlugin

from unhaze.errors import ImageEncodeError
from unhaze.images._jpeg_segments import (
    APP0,
    APP1,
    APP2,
    APP13,
    COM,
    DHT,
    DQT,
    EOI,
    EXIF,
    FRAMES,
    ICC,
    JFIF,
    MARKER_IN_SCAN,
    PHOTOSHOP,
    SOS,
    SUBSAMPLING,
    UNUSUAL,
    XMP,
    Segment,
    joined,
    names_of,
)
from unhaze.images._picture import Encoding, Metadata, Picture, Pixels

__all__ = ["encode", "notes", "segment_notes"]

DEFAULT_QUALITY = 95
MAX_SIDE = 65535
_MAX_SEGMENT = 65533
_MAX_EXIF = 4 << 20  # [bytes] in several segments; more is no camera's
_FACTORS = {name: (int(across), int(down)) for (across, down), name in SUBSAMPLING.items()}
_OF_PILLOW = {"4:4:4", "4:2:2", "4:2:0"}


def segment_notes(metadata: Metadata) -> list[str]:
    """What every format but JPEG loses of a JPEG."""
    if not metadata.segments:
        return []
    return [f"The camera's own data ({names_of(metadata.segments)}) was dropped; only JPEG has a place for it."]


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as JPEG will lose."""
    lines = []
    if metadata.exif and len(metadata.exif) > _MAX_EXIF:
        lines.append("The EXIF data is too large for a JPEG and was dropped.")
    if metadata.comment and len(metadata.comment) > _MAX_SEGMENT:
        lines.append(f"The comment was cut at {_MAX_SEGMENT} bytes, the most that a JPEG has place for.")
    if metadata.xmp and len(XMP) + len(metadata.xmp) > _MAX_SEGMENT:
        lines.append("The XMP data is too large for a JPEG and was dropped.")
    if picture.encoding.jpeg_subsampling == UNUSUAL and picture.pixels.ndim == 3:
        lines.append("The colour subsampling of the JPEG is unusual and was replaced by none (4:4:4).")
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
    options: dict[str, object] = {"progressive": encoding.jpeg_progressive}
    if quality is None and encoding.jpeg_tables:
        wanted = encoding.jpeg_tables[: 1 if pixels.ndim == 2 else 3]
        if wanted[1:2] == wanted[2:3]:
            wanted = wanted[:2]  # Pillow takes the second table for both chroma components
        options["qtables"] = [list(table) for table in wanted]
    else:
        options["quality"] = DEFAULT_QUALITY if quality is None else quality
    subsampling = encoding.jpeg_subsampling
    if pixels.ndim == 2 or subsampling not in _FACTORS or subsampling in _OF_PILLOW:
        if pixels.ndim == 3:
            options["subsampling"] = subsampling if subsampling in _OF_PILLOW else "4:4:4"
        plain = _save(Image.fromarray(pixels), options)
    else:
        plain = _encode_in_planes(pixels, _FACTORS[subsampling], options)
    # the JFIF segment, with the resolution or the pixel aspect, and what else is said about the picture
    unit, across, down = 0, 1, 1
    if metadata.dpi:
        unit, (across, down) = 1, (min(max(round(value), 1), 65535) for value in metadata.dpi)
    elif metadata.aspect and max(metadata.aspect) <= 65535:
        across, down = metadata.aspect
    segments = [(APP0, JFIF + struct.pack(">BBBHHBB", 1, 1, unit, across, down, 0, 0))]
    if metadata.exif and len(metadata.exif) <= _MAX_EXIF:
        room = _MAX_SEGMENT - len(EXIF)
        segments += [(APP1, EXIF + metadata.exif[i : i + room]) for i in range(0, len(metadata.exif), room)]
    if metadata.xmp and len(XMP) + len(metadata.xmp) <= _MAX_SEGMENT:
        segments.append((APP1, XMP + metadata.xmp))
    if metadata.icc:
        room = _MAX_SEGMENT - len(ICC) - 2
        parts = [metadata.icc[i : i + room] for i in range(0, len(metadata.icc), room)]
        segments += [(APP2, ICC + bytes((i + 1, len(parts))) + part) for i, part in enumerate(parts)]
    if metadata.photoshop:
        room = _MAX_SEGMENT - len(PHOTOSHOP)
        parts = [metadata.photoshop[i : i + room] for i in range(0, len(metadata.photoshop), room)]
        segments += [(APP13, PHOTOSHOP + part) for part in parts]
    segments += metadata.segments
    if metadata.comment:
        segments.append((COM, metadata.comment[:_MAX_SEGMENT]))
    start = 20 if plain[2:4] == b"\xff\xe0" else 2  # behind Pillow's own JFIF segment
    return b"".join((plain[:2], joined(segments), plain[start:]))


def _encode_in_planes(pixels: Pixels, factors: tuple[int, int], options: dict[str, object]) -> bytes:
    """Any subsampling, though Pillow knows three: each component is encoded as a grey JPEG, and gets scans of its own.

    Scans need not be interleaved (T.81, A.2.2); what they hold is then what a grey picture of that size holds.
    """
    height, width = pixels.shape[:2]
    across, down = factors
    small = (-(-width // across), -(-height // down))
    whole = cv2.copyMakeBorder(pixels, 0, small[1] * down - height, 0, small[0] * across - width, cv2.BORDER_REPLICATE)
    luma, *chroma = Image.fromarray(whole).convert("YCbCr").split()
    planes = [luma.crop((0, 0, width, height)), *(plane.reduce(factors) for plane in chroma)]
    tables = options.get("qtables")
    head, scans = [], []
    for i, plane in enumerate(planes):
        own = dict(options)
        if isinstance(tables, list):
            own["qtables"] = [tables[min(i, len(tables) - 1)]]
        elif i:
            file = io.BytesIO()
            Image.new("RGB", (8, 8)).save(file, "JPEG", quality=options["quality"])
            file.seek(0)
            own["qtables"] = [list(JpegImagePlugin.JpegImageFile(file).quantization[1])]
        segments, frame, data = _take_apart(_save(plane, own), i)
        head += segments
        scans.append(data)
    components = b"".join(bytes((i + 1, across << 4 | down if i == 0 else 0x11, i)) for i in range(3))
    head.append((frame, struct.pack(">BHHB", 8, height, width, 3) + components))
    return b"\xff\xd8" + joined(head) + b"".join(scans) + b"\xff\xd9"


def _take_apart(grey: bytes, component: int) -> tuple[list[Segment], int, bytes]:
    """Quantisation table, frame marker and scans of a grey JPEG, renamed to a component of a colour JPEG."""
    tables, frame, parts, position = [], 0, [], 2
    while grey[position + 1] != EOI:
        marker, length = grey[position + 1], int.from_bytes(grey[position + 2 : position + 4], "big")
        content, position = grey[position + 4 : position + 2 + length], position + 2 + length
        if marker == DQT:
            tables.append((DQT, bytes((content[0] & 0xF0 | component,)) + content[1:]))
        elif marker in FRAMES:
            frame = marker
        elif marker == DHT:
            parts.append(joined([(marker, content)]))
        elif marker == SOS:
            found = MARKER_IN_SCAN.search(grey, position)
            assert found is not None
            parts.append(joined([(marker, content[:1] + bytes((component + 1,)) + content[2:])]))
            parts.append(grey[position : found.start()])
            position = found.start()
    return tables, frame, b"".join(parts)


def _save(image: Image.Image, options: dict[str, object]) -> bytes:
    file: IO[bytes]
    try:
        # into a file that the system knows Pillow encodes without the interpreter lock, so that other threads go on
        file = os.fdopen(os.memfd_create("jpeg"), "w+b")
    except (AttributeError, OSError):
        file = io.BytesIO()
    with file:
        try:
            image.save(file, "JPEG", **options)
        except OSError:
            # Pillow's buffer for progressive files has 2 bytes a pixel; noise at the best quality needs more
            if not options["progressive"]:
                raise
            return _save(image, options | {"progressive": False})
        file.seek(0)
        return file.read()
