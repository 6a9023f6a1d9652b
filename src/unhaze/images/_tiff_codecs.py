"""Decompression of the strips and tiles of a TIFF: all the bytes that belong to one, or an error.

The decoders that come with OpenCV and Pillow (libtiff) fill what is damaged with zeros or with what lay in memory, and
tell only the terminal. imagecodecs' LZW reads outside its buffers there. So LZW and PackBits are decoded here; what
needs a codec of pictures (JPEG, JPEG 2000, WebP, ...) goes to the library of that codec, which judges by itself.

LZW is that of TIFF 6.0, section 13; PackBits section 9; JPEG is TIFF Technical Note 2.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from unhaze.errors import ImageDecodeError, ImageTooLargeError, UnsupportedImageError
from unhaze.images import _png
from unhaze.images._arrays import merge_alpha
from unhaze.images._picture import Source

__all__ = [
    "BYTE_CODECS",
    "JPEG",
    "PICTURE_CODECS",
    "DamagedSegmentError",
    "MissingCodecError",
    "decode_jpeg",
    "decode_picture",
    "name_of",
]

Bytes = NDArray[np.uint8]
Plain = tuple[Any, bool]  # the bytes, and whether the compressed data ends with them and as it should

JPEG = 7
_WEBP, _LERC = "WebP", "LERC"
_NAMES = {
    1: "none", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 6: "old JPEG", JPEG: "JPEG", 8: "Deflate", 9: "JBIG",
    10: "JBIG", 22610: "JPEG XR", 32766: "NeXT RLE", 32771: "CCITT", 32773: "PackBits", 32809: "ThunderScan",
    32908: "PixarFilm", 32909: "PixarLog", 32946: "Deflate", 33003: "JPEG 2000", 33004: "JPEG 2000",
    33005: "JPEG 2000", 33007: "JPEG", 34661: "JBIG", 34676: "SGI Log", 34677: "SGI Log", 34712: "JPEG 2000",
    34715: "JBIG2", 34887: _LERC, 34892: "lossy JPEG", 34925: "LZMA", 34926: "Zstandard", 34927: _WEBP, 34933: "PNG",
    34934: "JPEG XR", 50000: "Zstandard", 50001: _WEBP, 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip


class DamagedSegmentError(Exception):
    """A strip or tile does not hold what it should."""


class MissingCodecError(Exception):
    """The decompressor is not installed."""


def name_of(compression: int) -> str:
    """How people call a compression, by the number in the file."""
    return _NAMES.get(compression, f"method {compression}")


# -- bytes ------------------------------------------------------------------------------------------------------------


def _stored(data: bytes, size: int) -> Plain:
    return _exactly(data[:size], size), True


def _exactly(data: Any, size: int) -> Any:
    if len(data) < size:
        raise DamagedSegmentError(f"{len(data)} of {size} bytes")
    return data


def _inflate(data: bytes, size: int) -> Plain:
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data, size)
        more = stream.decompress(stream.unconsumed_tail, 1)  # reads on to the checksum
    except zlib.error as error:
        raise DamagedSegmentError(str(error)) from error
    return _exactly(inflated, size), stream.eof and not more


def _unxz(data: bytes, size: int) -> Plain:
    stream = lzma.LZMADecompressor()
    try:
        plain = _exactly(stream.decompress(data, size), size)
        more = b"" if stream.eof else stream.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedSegmentError(str(error)) from error
    return plain, stream.eof and not more


def _unzstd(data: bytes, size: int) -> Plain:
    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        codecs = _imagecodecs()
        try:
            return _exactly(codecs.zstd_decode(data, out=bytearray(size)), size), True  # an error where more comes out
        except codecs.ZstdError as error:
            raise DamagedSegmentError(str(error)) from error
    stream = zstd.ZstdDecompressor()
    try:
        plain = _exactly(stream.decompress(data, size), size)
        more = b"" if stream.eof else stream.decompress(b"", 1)
    except (zstd.ZstdError, EOFError) as error:
        raise DamagedSegmentError(str(error)) from error
    return plain, stream.eof and not more


_MAX_PADDING = 4096  # [bytes] behind a strip that are looked at


def _unpack_bits(data: bytes, size: int) -> Plain:
    unpacked, position = bytearray(), 0
    data = data[: 2 * size + _MAX_PADDING]  # a byte of its own takes two; more are bytes that do nothing
    while len(unpacked) < size:
        if position + 1 >= len(data):
            raise DamagedSegmentError(f"{len(unpacked)} of {size} bytes")
        head = data[position]
        if head < 128:
            unpacked += data[position + 1 : position + 2 + head]
            position += 2 + head
        else:
            if head > 128:  # 128 does nothing
                unpacked += data[position + 1 : position + 2] * (257 - head)
            position += 1 + (head > 128)
    padding = (
        data[position + 1 :].strip(b"\x80") if position % 2 else data[position:].strip(b"\x80")
    )  # to an even place
    return bytes(unpacked[:size]), len(unpacked) == size and not padding


# -- LZW --------------------------------------------------------------------------------------------------------------

_CLEAR, _END, _FIRST = 256, 257, 258
_WINDOW = 4097  # codes looked at together; writers clear the table before
_MAX_CODES = 4096 + 1024  # as libtiff: codes after which a table must have been cleared
# Where the codes after a clear are depends on nothing but the place of the first: their widths [bit], their starts, and
# for each of the eight bits of a byte that the first may begin at, the byte and the shift that give a code of 24 bits.
_WIDTHS = np.repeat(np.array([9, 10, 11, 12], np.int32), (254, 512, 1024, _MAX_CODES - 1790))
_STARTS = np.concatenate([[0], np.cumsum(_WIDTHS)])
_MASKS = (1 << _WIDTHS) - 1
_BYTES = [((_STARTS[:-1] + phase) >> 3).astype(np.intp) for phase in range(8)]
_SHIFTS = [(24 - ((_STARTS[:-1] + phase) & 7) - _WIDTHS).astype(np.int32) for phase in range(8)]
_HIGHEST = np.minimum(np.arange(_MAX_CODES) + _END, 4095).astype(np.int32)  # code that may come: the one being made
_HIGHEST[0] = 255
_LONG_STRINGS = 32  # mean length from which strings are joined one after the other
_SHORT_BLOCK, _MAX_SHORT_BLOCKS = 64, 4096  # no writer clears its table so often; decoding that would take hours


def _unlzw(data: bytes, size: int) -> Plain:
    """LZW with the highest bit first, whole arrays at a time: 0.8 s for 12 million RGB pixels, libtiff takes 0.2 s.

    Between two clears the places of all codes are known beforehand. The string of a code is the output at the place
    where the code was made, so each byte of the output points to an earlier one, and following the pointers by
    doubling takes a few steps for all bytes together.
    """
    if data[:1] == b"\0" and data[1:2] and data[1] & 1:
        raise DamagedSegmentError("an LZW of before TIFF 5")
    raw = np.frombuffer(data + b"\0\0\0", np.uint8)
    result, filled, bit, short, ended = np.empty(size, np.uint8), 0, 0, 0, False
    while filled < size:
        count = min(int(np.searchsorted(_STARTS, 8 * len(data) - bit, "right")) - 1, _MAX_CODES)
        codes = _codes(raw, bit, min(count, _WINDOW))
        marks = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        if not marks.size and count > _WINDOW:
            codes = _codes(raw, bit, count)
            marks = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        stop = int(marks[0]) if marks.size else len(codes)
        if stop:
            strings, used = _strings(codes[:stop], size - filled)
            result[filled : filled + len(strings)] = strings
            filled += len(strings)
            if used < stop:
                return result, used >= 0 and _ends(raw, bit, used)
        if filled < size and (not marks.size or codes[stop] == _END):
            raise DamagedSegmentError(f"{filled} of {size} bytes")
        ended = _ends(raw, bit, stop)
        if marks.size:
            bit += int(_STARTS[stop + 1])
            ended = ended or _ends(raw, bit, 0)  # behind a clear
        short += stop < _SHORT_BLOCK
        if short > _MAX_SHORT_BLOCKS:
            raise DamagedSegmentError("the table is cleared too often")
    return result, ended


def _ends(raw: Bytes, bit: int, index: int) -> bool:
    """Whether the code of an index, counted from a clear at a place [bit], is the end; behind the data are zeros.

    libtiff before 4.1 wrote it with a bit less where the width changes with it.
    """
    place, width = bit + int(_STARTS[index]), int(_WIDTHS[min(index, _MAX_CODES - 1)])
    word = int.from_bytes(raw[place >> 3 : (place >> 3) + 3].tobytes(), "big")
    return any((word >> (24 - (place & 7) - w)) & ((1 << w) - 1) == _END for w in (width, width - 1))


def _codes(raw: Bytes, bit: int, count: int) -> NDArray[np.int32]:
    """The next codes from a place [bit]; behind the end there are three more bytes."""
    first, phase = bit >> 3, bit & 7
    near = raw[first : first + int(_BYTES[phase][count - 1]) + 3].astype(np.int32) if count else np.zeros(2, np.int32)
    words = (near[:-2] << 16) | (near[1:-1] << 8) | near[2:]
    codes: NDArray[np.int32] = (words.take(_BYTES[phase][:count]) >> _SHIFTS[phase][:count]) & _MASKS[:count]
    return codes


def _strings(codes: NDArray[np.int32], limit: int) -> tuple[Bytes, int]:
    """What codes after a clear stand for, at most ``limit`` bytes, and how many codes that takes; -1 for part of one.

    Code k may name the string that it completes.
    """
    unknown = np.flatnonzero(codes > _HIGHEST[: len(codes)])
    codes = codes[: unknown[0]] if unknown.size else codes  # behind the end of the strip anything may stand
    if not len(codes):
        raise DamagedSegmentError("a code not yet in the table")
    is_string = codes >= _FIRST
    # the code whose string this one lengthens by a byte
    parent = np.where(is_string, codes - _FIRST, np.arange(len(codes)))
    lengths, ancestor = is_string.astype(np.intp), parent
    while (more := lengths.take(ancestor)).any():
        lengths, ancestor = lengths + more, ancestor.take(ancestor)
    lengths += 1
    starts = np.cumsum(lengths) - lengths
    total = int(starts[-1] + lengths[-1])
    used = int(np.searchsorted(starts, limit))
    if total > limit:
        whole = used < len(codes) and int(starts[used]) == limit
        codes, is_string, parent = codes[:used], is_string[:used], parent[:used]
        lengths, starts = lengths[:used], starts[:used]
        total = limit
    else:
        whole = True
    if unknown.size and total < limit:
        raise DamagedSegmentError("a code not yet in the table")
    lengths[-1] = total - starts[-1]
    used = used if whole else -1
    if total > _LONG_STRINGS * len(codes):
        return _joined(codes, starts.take(parent).tolist(), lengths.tolist()), used
    origin = np.arange(total)
    origin -= np.repeat(starts - starts.take(parent), lengths)
    letters = np.zeros(total, np.uint8)
    letters[starts[~is_string]] = codes[~is_string]
    while not np.array_equal(further := origin.take(origin), origin):
        origin = further
    return letters.take(origin), used


def _joined(codes: NDArray[np.int32], origins: list[int], lengths: list[int]) -> Bytes:
    """The same one string after the other, which is faster where they are long, and takes no memory for pointers."""
    joined = bytearray()
    for code, origin, length in zip(codes.tolist(), origins, lengths, strict=True):
        string = joined[origin : origin + length] if code >= _FIRST else bytes((code,))
        joined += string
        if len(string) < length:  # the string that the code itself completes ends as it begins
            joined += string[:1]
    return np.frombuffer(joined, np.uint8)


BYTE_CODECS: dict[int, Callable[[bytes, int], Plain]] = {
    1: _stored,
    5: _unlzw,
    8: _inflate,
    32946: _inflate,
    32773: _unpack_bits,
    34925: _unxz,
    34926: _unzstd,
    50000: _unzstd,
}
"""By number: a decoder of bytes, called with the data and the size that they must give; more of them are left out, but
said, and so is an end that is missing: libtiff and tifffile read such files, in silence."""

# -- pictures ---------------------------------------------------------------------------------------------------------

PICTURE_CODECS = {
    33004: "jpeg2k",
    33005: "jpeg2k",
    34712: "jpeg2k",
    34887: "lerc",
    34927: "webp",
    34933: "png",
    50001: "webp",
    50002: "jpegxl",
    52546: "jpegxl",
}
"""By number: name of a decoder of imagecodecs that gives an array, or of the own one of PNG. The JPEG XR of imagecodecs
takes half a file for a whole one."""


def _imagecodecs() -> Any:
    try:
        return import_module("imagecodecs")
    except ImportError as error:
        raise MissingCodecError from error


def decode_picture(compression: int, data: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A strip or tile as (H, W, S), by one of ``PICTURE_CODECS``, which refuses another shape or type."""
    name = PICTURE_CODECS[compression]
    if name == "png":  # by the reader of PNG files, which knows what libpng tells the terminal alone
        try:
            decoded = _png.read(Source(io.BytesIO(data), "The PNG", ""), shape[0] * shape[1])
            samples = merge_alpha(decoded.pixels, decoded.alpha)
        except (ImageDecodeError, UnsupportedImageError, ImageTooLargeError) as error:
            raise DamagedSegmentError(str(error)) from error
        if samples.reshape(*samples.shape[:2], -1).shape != shape or samples.dtype != dtype:
            raise DamagedSegmentError(f"{samples.shape} {samples.dtype}")
        return samples.reshape(shape)
    codecs = _imagecodecs()
    if not getattr(codecs, name.upper()).available:
        raise MissingCodecError
    if name == "jpeg2k":
        # its decoder fills memory of its own with as much as the header claims (ISO/IEC 15444-1, A.5.1)
        place = data.find(b"\xff\x4f\xff\x51")
        if place < 0 or len(data) < place + 24:
            raise DamagedSegmentError("no header")
        right, bottom, left, top = struct.unpack_from(">4I", data, place + 8)
        if (bottom - top, right - left) != shape[:2]:
            raise DamagedSegmentError(f"{right - left} x {bottom - top}")
    array = np.empty(shape if shape[2] > 1 else shape[:2], dtype)
    try:
        getattr(codecs, f"{name}_decode")(data, out=array)
    except Exception as error:  # each codec has an error class of its own, and raises others too
        raise DamagedSegmentError(str(error)) from error
    return array.reshape(shape)


def decode_jpeg(
    data: bytes, tables: bytes, shape: tuple[int, int, int], most: int, *, ycc: bool
) -> tuple[NDArray[np.uint8], str | None]:
    """A strip or tile in JPEG as (H, W, S), with all rows it has, and what libjpeg has to say against it.

    Args:
        data: Abbreviated or whole JPEG.
        tables: Content of the tag JPEGTables; empty if there is none.
        shape: H, W and S; the JPEG may have more rows.
        most: The highest H of any strip.
        ycc: Whether three components are YCbCr, which become RGB; otherwise they stay what they are.
    """
    # what the file says of its colours counts, not markers of the stream: these go, and one that agrees comes
    transform = struct.pack(">BBH5sHHHB", 0xFF, 0xEE, 14, b"Adobe", 100, 0, 0, ycc)
    head, components = _jpeg_segments(tables)[0], 0
    stream, components = _jpeg_segments(data)
    whole = b"\xff\xd8" + (transform if components == 3 else b"") + head + stream
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(whole))
        width, height = image.size
        if width != shape[1] or not shape[0] <= height <= max(most, shape[0] + 16) or len(image.getbands()) != shape[2]:
            raise DamagedSegmentError(f"{width} x {height} x {len(image.getbands())}")
        pixels = np.array(image).reshape(height, *shape[1:])
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, KeyError, IndexError) as error:
        raise DamagedSegmentError(str(error)) from error
    # what Pillow keeps to itself: the warning of libjpeg about data that it decodes all the same
    kind = "CMYK" if shape[2] == 4 else "GRAY"  # of others brightness says enough
    try:
        simplejpeg.decode_jpeg(whole, kind)
    except ValueError as warning:
        with suppress(ValueError):  # a kind of JPEG that TurboJPEG does not read
            simplejpeg.decode_jpeg(whole, kind, strict=False)
            if "remature end" in str(warning):
                raise DamagedSegmentError(str(warning)) from warning
            return pixels, str(warning)
    return pixels, None


def _jpeg_segments(data: bytes) -> tuple[bytes, int]:
    """What lies between start and end of a JPEG without its application segments, and its number of components."""
    kept: list[bytes] = []
    position, components = 2, 0
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:  # scans follow, to the end
            return b"".join(kept) + data[position:], components
        if marker in (0xC0, 0xC1, 0xC2) and position + 10 <= len(data):
            components = data[position + 9]
        if not (0xE0 <= marker <= 0xEF or marker in (0xFE, 0xD9)):
            kept.append(data[position : position + 2 + length])
        position += 2 + length
    return b"".join(kept), components
