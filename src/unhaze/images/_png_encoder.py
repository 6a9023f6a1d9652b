"""PNG from pixels: OpenCV encodes them; the chunks around them are written here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from unhaze.images import _opencv
from unhaze.images._picture import Encoding, Metadata, Picture, Pixels
from unhaze.images._png_chunks import GREY_ALPHA, LONGEST_NAME, METRE, RAW_PROFILE, SIGNATURE, XMP_KEYWORD, chunk
from unhaze.images.budget import PART_LIMIT

__all__ = ["encode", "notes"]

COMPRESSION_LEVEL = 4  # of zlib's 1 to 9: 6 takes twice the time for files 1 to 7 per cent smaller

_EFFORT = {  # by bytes a value
    1: [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION_LEVEL],
    # the low byte of a 16-bit photograph is noise: trying harder takes twice the time for 2 per cent
    2: [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB],
}


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as PNG will lose."""
    del picture
    if any(len(content) > PART_LIMIT + LONGEST_NAME for _, content in _described(metadata)):
        return ["Metadata too large for other programs to read it in a PNG was dropped."]
    return []


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 or uint16 pixels; ``quality`` has no meaning here."""
    del quality
    plain = _encode_pixels(pixels, alpha)
    first_idat = len(SIGNATURE) + 25
    chunks = []
    for name, content in encoding.png_chunks:
        if name == b"bKGD":  # a background has the channels and the range of the pixels
            levels = struct.unpack(f">{len(content) // 2}H", content)
            if len(levels) != (1 if pixels.ndim == 2 else 3) or max(levels) > np.iinfo(pixels.dtype).max:
                continue
        if not (name == b"sRGB" and metadata.icc):
            chunks.append((name, content))
    if metadata.cicp and not any(name == b"cICP" for name, _ in chunks):  # one of narrow range is among them
        chunks.append((b"cICP", bytes((*metadata.cicp, 0, 1))))  # RGB, full range
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value * METRE) for value in metadata.dpi), 1)))
    elif metadata.aspect:
        chunks.append((b"pHYs", struct.pack(">IIB", *metadata.aspect, 0)))
    chunks += [(n, c) for n, c in _described(metadata) if len(c) <= PART_LIMIT + LONGEST_NAME]
    ancillary = b"".join(chunk(name, content) for name, content in chunks)
    return b"".join((plain[:first_idat], ancillary, plain[first_idat:]))


def _encode_pixels(pixels: Pixels, alpha: Pixels | None) -> memoryview:
    """A PNG without metadata. A function of its own, so that the copy in BGR is gone when the parts are joined."""
    if alpha is None or pixels.ndim == 3:
        stored = pixels if pixels.ndim == 2 else _opencv.merge_bgr(pixels, alpha)
        return _opencv.encode(".png", stored, _EFFORT[pixels.itemsize])
    # OpenCV knows no PNG with grey and alpha only
    height, width = pixels.shape
    depth = 8 * pixels.itemsize
    rows = np.dstack([pixels, alpha]).astype(pixels.dtype.newbyteorder(">"), copy=False)
    rows = rows.view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # filter "Up": each byte minus the one above
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, depth, GREY_ALPHA, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, COMPRESSION_LEVEL)), (b"IEND", b"")
    return memoryview(SIGNATURE + b"".join(chunk(name, content) for name, content in chunks))


def _described(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of EXIF, XMP and texts."""
    if metadata.exif:
        yield b"eXIf", metadata.exif
    if metadata.xmp:
        yield b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + metadata.xmp
    if metadata.comment:
        yield _text_chunk("Comment", metadata.comment.decode("utf-8", "replace"))
    if metadata.photoshop:
        # as ImageMagick stores it, and ExifTool reads it
        digits = metadata.photoshop.hex()
        rows = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
        value = f"\niptc\n{len(metadata.photoshop):8d}\n{rows}\n"
        yield b"zTXt", f"{RAW_PROFILE}iptc".encode() + b"\0\0" + zlib.compress(value.encode())
    for keyword, value in metadata.text:
        yield _text_chunk(keyword, value)


def _text_chunk(keyword: str, value: str) -> tuple[bytes, bytes]:
    name = keyword.encode("latin-1", "replace")[:79] + b"\0"
    try:
        return b"tEXt", name + value.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", name + b"\0\0\0\0" + value.encode()
