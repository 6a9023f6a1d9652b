"""PNG: OpenCV decodes and encodes the pixels, 8 and 16 bit; the chunks around them are read and written here.

Pillow decodes what OpenCV does not: palettes, fewer than 8 bits, one transparent colour. The chunks follow the PNG
specification, third edition (W3C, 2025).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import PngImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.io import _metadata, _opencv
from unhaze.io._arrays import split_channels
from unhaze.io._model import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source
from unhaze.io.budget import PART_LIMIT, Budget, TooMuchError

__all__ = ["encode", "identify", "notes", "read"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COMPRESSION_LEVEL = 4  # of zlib's 1 to 9: 6 takes twice the time for files 1 to 7 per cent smaller

_EFFORT = {  # by bytes a value
    1: [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION_LEVEL],
    # the low byte of a 16-bit photograph is noise: trying harder takes twice the time for 2 per cent
    2: [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB],
}

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_COLOUR_SPACE = {b"gAMA", b"cHRM", b"sRGB", b"cICP"}
_XMP_KEYWORD = "XML:com.adobe.xmp"
_METRE = 1 / 0.0254  # inches
_LONGEST_NAME = 200  # [bytes] of a keyword, the flags and the language of a text chunk


@dataclass(slots=True)
class _Layout:
    """The header, and the chunks other than the pixels."""

    width: int
    height: int
    depth: int
    kind: int
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)

    def first(self, name: bytes) -> bytes | None:
        """Content of the first chunk of this name."""
        return next((content for n, content in self.chunks if n == name), None)

    @property
    def exif(self) -> bytes | None:
        """EXIF data, also as ImageMagick stores it."""
        own = self.first(b"eXIf")
        if own is not None:
            return own
        for name, content in self.chunks:
            if name in (b"tEXt", b"zTXt") and content.startswith(b"Raw profile type exif\0"):
                pair = _parse_text(name, content, self.budget)
                return None if pair is None else _raw_profile(pair[1])
        return None

    @property
    def has_texts(self) -> bool:
        return any(name in (b"tEXt", b"zTXt", b"iTXt") for name, _ in self.chunks)

    @property
    def transparent(self) -> bool:
        return self.kind in (_GREY_ALPHA, _RGB_ALPHA) or self.first(b"tRNS") is not None

    @property
    def grey(self) -> bool:
        if self.kind != _PALETTE:
            return self.kind in (_GREY, _GREY_ALPHA)
        entries = np.frombuffer(self.first(b"PLTE") or b"", np.uint8).reshape(-1, 3)
        return bool((entries == entries[:, :1]).all())


def identify(source: Source) -> ImageInfo:
    """Size and type from the chunks before the pixels."""
    layout = _read_layout(source, headers_only=True)
    width, height = layout.width, layout.height
    if _metadata.exif_orientation(layout.exif) >= 5:
        width, height = height, width
    dtype = "uint16" if layout.depth == 16 else "uint8"
    return ImageInfo("png", width, height, 1 if layout.grey else 3, layout.transparent, dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a PNG that is not animated."""
    header = _read_layout(source, headers_only=True)
    source.check_size(header.width, header.height, max_pixels)
    layout = _read_layout(source, headers_only=False)
    frames = layout.first(b"acTL")
    if frames is not None and int.from_bytes(frames[:4], "big") > 1:
        raise UnsupportedImageError(f"{source.name} is an animated PNG; extract the frames first.")
    metadata = _read_metadata(layout)
    by_pillow = layout.kind == _PALETTE or layout.depth < 8 or (layout.depth == 8 and layout.first(b"tRNS") is not None)
    if source.budget.exceeded or (by_pillow and layout.has_texts):
        source = _pixels_only(source)  # the decoders would inflate the texts themselves, each with limits of its own
    decoded = _decode_with_pillow(source, layout) if by_pillow else _decode(source, layout)
    decoded.metadata = metadata
    decoded.encoding = Encoding(png_chunks=tuple(c for c in layout.chunks if c[0] in _COLOUR_SPACE))
    return decoded


def _read_layout(source: Source, *, headers_only: bool) -> _Layout:
    """Walk the chunks; up to the first with pixels, or through all with their checksums."""
    position, layout = len(SIGNATURE), None
    while True:
        head = source.read_at(position, 8)
        if len(head) < 8:
            raise source.truncated()
        length, name = struct.unpack(">I4s", head)
        if headers_only and layout is not None and name in (b"IDAT", b"IEND"):
            return layout
        if position + 12 + length > source.size:
            raise source.truncated()
        if name == b"IDAT":
            _check(source, position, length)
        else:
            known = layout is None or name[0] & 32 == 0 or source.budget.admits(max(0, length - _LONGEST_NAME))
            content = source.read_at(position + 8, length) if known else b""
            if name[0] & 32 == 0 and not headers_only:  # upper case: a chunk that cannot be done without
                _check(source, position, length)
            if layout is None:
                layout = _parse_header(source, name, content)
                layout.budget = source.budget
            elif name == b"IEND":
                return layout
            elif known:
                layout.chunks.append((name, content))
        position += 12 + length


def _pixels_only(source: Source) -> Source:
    """The file without its texts and profiles."""
    data, position, kept = memoryview(source.data()), len(SIGNATURE), [SIGNATURE]
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name = bytes(data[position + 4 : position + 8])
        if name[0] & 32 == 0 or name == b"tRNS":
            kept.append(bytes(data[position : position + 12 + length]))
        position += 12 + length
    return Source(io.BytesIO(b"".join(kept)), source.name, source.suffix)


def _check(source: Source, position: int, length: int) -> None:
    data = memoryview(source.data())[position + 4 : position + length + 12]
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise source.damaged("a checksum does not match")


def _parse_header(source: Source, name: bytes, content: bytes) -> _Layout:
    if name != b"IHDR" or len(content) != 13:
        raise source.damaged("its header is missing")
    width, height, depth, kind = struct.unpack_from(">IIBB", content)
    return _Layout(width, height, depth, kind)


def _decode(source: Source, layout: _Layout) -> Decoded:
    stored = _opencv.decode(source, cv2.IMREAD_UNCHANGED)
    if stored is None or stored.shape[:2] != (layout.height, layout.width):
        raise source.damaged()
    pixels, alpha = _opencv.split_alpha(stored, grey=layout.grey)
    key = layout.first(b"tRNS")
    if layout.kind == _GREY and key:
        alpha = np.where(pixels == int.from_bytes(key[:2], "big"), 0, 65535).astype(np.uint16)
    return Decoded(pixels, alpha)


def _decode_with_pillow(source: Source, layout: _Layout) -> Decoded:
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(source.data()))
        mode = ("L" if layout.grey else "RGB") + ("A" if layout.transparent else "")
        stored = np.array(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise source.damaged() from error
    return Decoded(*split_channels(stored, grey=layout.grey))


def _read_metadata(layout: _Layout) -> Metadata:
    icc = _parse_icc(layout.first(b"iCCP"), layout.budget)  # first: the colours depend on it
    texts = (_parse_text(name, content, layout.budget) for name, content in layout.chunks)
    text = [pair for pair in texts if pair is not None]
    xmp = next((value.encode() for keyword, value in text if keyword == _XMP_KEYWORD), None)
    return Metadata(
        exif=layout.exif,
        xmp=xmp,
        icc=icc,
        dpi=_density(layout.first(b"pHYs")),
        text=tuple(pair for pair in text if pair[0] != _XMP_KEYWORD and not pair[0].startswith("Raw profile type")),
    )


def _parse_text(name: bytes, content: bytes, budget: Budget) -> tuple[str, str] | None:
    if name not in (b"tEXt", b"zTXt", b"iTXt"):
        return None
    keyword, _, rest = content.partition(b"\0")
    try:
        if name == b"iTXt":
            compressed, (_, _, value) = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
            return keyword.decode("latin-1"), _decode_text(budget.inflate(value) if compressed else value)
        value = budget.inflate(rest[1:]) if name == b"zTXt" else rest
    except (zlib.error, ValueError, TooMuchError):
        return None
    return keyword.decode("latin-1"), value.decode("latin-1")


def _decode_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:  # some writers put Latin-1 there; as such it does not grow when it is written
        return value.decode("latin-1")


def _raw_profile(value: str) -> bytes | None:
    """EXIF data as ImageMagick stores it: a name, a length, and hexadecimal digits on several lines."""
    try:
        data = bytes.fromhex("".join(value.split()[2:]))
    except ValueError:
        return None
    return data.removeprefix(b"Exif\0\0")


def _parse_icc(content: bytes | None, budget: Budget) -> bytes | None:
    if content is None:
        return None
    try:
        return budget.inflate(content.partition(b"\0")[2][1:])
    except (zlib.error, TooMuchError):
        return None


def _density(content: bytes | None) -> tuple[float, float] | None:
    if content is None or len(content) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", content)
    return (across / _METRE, down / _METRE) if unit == 1 and across and down else None


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as PNG will lose."""
    lines = ["The Photoshop and IPTC data was dropped; PNG has no place for it."] if metadata.photoshop else []
    if any(len(content) > PART_LIMIT + _LONGEST_NAME for _, content in _described(metadata)):
        lines.append("Metadata too large for other programs to read it in a PNG was dropped.")
    return lines


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 or uint16 pixels; ``quality`` has no meaning here."""
    del quality
    plain = _encode_pixels(pixels, alpha)
    first_idat = len(SIGNATURE) + 25
    return b"".join((plain[:first_idat], _ancillary(encoding, metadata), plain[first_idat:]))


def _encode_pixels(pixels: Pixels, alpha: Pixels | None) -> memoryview:
    """A PNG without metadata. A function of its own, so that the copy in BGR is gone when the parts are joined."""
    if alpha is not None and pixels.ndim == 2:
        return _encode_grey_alpha(pixels, alpha)
    stored = pixels if pixels.ndim == 2 else _opencv.merge_bgr(pixels, alpha)
    return _opencv.encode(".png", stored, _EFFORT[pixels.itemsize])


def _encode_grey_alpha(pixels: Pixels, alpha: Pixels) -> memoryview:
    """OpenCV knows no PNG with grey and alpha only."""
    height, width = pixels.shape
    depth = 8 * pixels.itemsize
    rows = np.dstack([pixels, alpha]).astype(pixels.dtype.newbyteorder(">"), copy=False)
    rows = rows.view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # filter "Up": each byte minus the one above
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, depth, _GREY_ALPHA, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, COMPRESSION_LEVEL)), (b"IEND", b"")
    return memoryview(SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _ancillary(encoding: Encoding, metadata: Metadata) -> bytes:
    chunks = [(n, c) for n, c in encoding.png_chunks if not (metadata.icc and n == b"sRGB")]
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value * _METRE) for value in metadata.dpi), 1)))
    chunks += [(n, c) for n, c in _described(metadata) if len(c) <= PART_LIMIT + _LONGEST_NAME]
    return b"".join(_chunk(name, content) for name, content in chunks)


def _described(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of EXIF, XMP and texts."""
    if metadata.exif:
        yield b"eXIf", metadata.exif
    if metadata.xmp:
        yield b"iTXt", _XMP_KEYWORD.encode() + b"\0\0\0\0\0" + metadata.xmp
    if metadata.comment:
        yield _text_chunk("Comment", metadata.comment.decode("utf-8", "replace"))
    for keyword, value in metadata.text:
        yield _text_chunk(keyword, value)


def _text_chunk(keyword: str, value: str) -> tuple[bytes, bytes]:
    name = keyword.encode("latin-1", "replace")[:79] + b"\0"
    try:
        return b"tEXt", name + value.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", name + b"\0\0\0\0" + value.encode()
