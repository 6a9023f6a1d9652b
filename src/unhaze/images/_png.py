"""PNG: OpenCV decodes and encodes the pixels, 8 and 16 bit; the chunks around them are read and written here.

Pillow decodes what OpenCV does not: palettes, fewer than 8 bits, one transparent colour. The chunks follow the PNG
specification, third edition (W3C, 2025). What OpenCV gets is free of other chunks, and its data is inflated once
before: libpng tells its errors and warnings to the terminal alone.
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
from unhaze.images import _colourspace, _metadata, _opencv
from unhaze.images._arrays import split_channels
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source
from unhaze.images.budget import PART_LIMIT, Budget, TooMuchError

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
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_UNDERSTOOD = {*_COLOUR_SPACE, *_CRITICAL, b"tRNS", b"iCCP", b"eXIf", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"acTL"}
_KEPT = {b"bKGD", b"oFFs", b"sCAL", b"sTER", b"mDCV"}  # true of the result too, though a stranger could not know
_OF_PLACES = {b"oFFs", b"sCAL"}  # across and down: not true of a picture that was turned
_OF_NO_USE = {b"hIST", b"iDOT", b"fcTL", b"fdAT"}  # of a palette, of this very stream, of an animation
# the length that a chunk must have, if there is but one; what may stand but once; and what comes too late behind the
# pixels, where no other reader heeds it (sections 5.6 and 11.3)
_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"acTL": 8, b"tIME": 7, b"oFFs": 9}
_ONCE = {*_LENGTHS, b"iCCP", b"eXIf", b"sBIT", b"bKGD", b"hIST", b"mDCV", b"cLLI", b"sCAL", b"sTER", b"PLTE", b"tRNS"}
_BEFORE_PIXELS = {
    *_COLOUR_SPACE,
    b"iCCP",
    b"sBIT",
    b"bKGD",
    b"hIST",
    b"mDCV",
    b"cLLI",
    b"pHYs",
    b"acTL",
    b"PLTE",
    b"tRNS",
}
_SAFE_TO_COPY = 32  # in the last letter of a name
_SRGB_GAMMA = (45455).to_bytes(4, "big")
_KINDS = {
    *((depth, _GREY) for depth in (1, 2, 4, 8, 16)),
    *((depth, _PALETTE) for depth in (1, 2, 4, 8)),
    *((depth, kind) for depth in (8, 16) for kind in (_RGB, _GREY_ALPHA, _RGB_ALPHA)),
}
_XMP_KEYWORD, _RAW_PROFILE = "XML:com.adobe.xmp", "Raw profile type "
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_READ_RAW_PROFILES = {_RAW_PROFILE + kind for kind in ("exif", "APP1", "xmp", "iptc", "8bim", "icc", "icm")}
_METRE = 1 / 0.0254  # inches
_LONGEST_SIDE = 1_000_000  # [px] of libpng, which says so to the terminal alone
_MAX_CHUNKS = 1 << 16  # beside those of pixels, of which there may be one for each kB; libpng keeps 1000
_SMALLEST_PIECE = 1 << 10  # [bytes]
_LONGEST_NAME = 200  # [bytes] of a keyword, the flags and the language of a text chunk
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PAETH = 4  # the highest filter type
_INFLATED_AT_A_TIME = 1 << 18  # [bytes]


@dataclass(slots=True)
class _Layout:
    """The header, and the chunks other than the pixels."""

    width: int
    height: int
    depth: int
    kind: int
    interlaced: bool = False
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)
    behind: list[tuple[bytes, bytes]] = field(default_factory=list)  # behind the pixels
    damaged: list[bytes] = field(default_factory=list)  # names of chunks whose checksum does not match
    cut_off: list[bytes] = field(default_factory=list)  # names of chunks whose compressed data ends early
    pixel_data: list[tuple[int, int]] = field(default_factory=list)  # offset and length of the data chunks
    scattered: bool = False  # whether other chunks stand between those
    surplus: int = 0  # [bytes] in them behind the end of the compressed data
    end: int = 0  # of what was read
    other_profile: bool = False  # whether cICP says something else than the profile
    _texts: list[tuple[str, str]] = field(default_factory=list)
    _parsed: int = 0  # how many chunks have been looked through for texts

    def first(self, name: bytes) -> bytes | None:
        """Content of the first chunk of this name."""
        return next((content for n, content in self.chunks if n == name), None)

    @property
    def exif(self) -> bytes | None:
        """EXIF data, also as ImageMagick and ExifTool store it."""
        own = self.first(b"eXIf") or self.raw_profile("exif") or self.raw_profile("APP1")
        return own.removeprefix(b"Exif\0\0") if own and not own.startswith(_XMP_IN_JPEG) else None

    @property
    def xmp(self) -> bytes | None:
        """XMP packet."""
        for keyword, value in self.texts():
            if keyword == _XMP_KEYWORD:
                return value.encode()
        own = self.raw_profile("xmp") or self.raw_profile("APP1")
        return own.removeprefix(_XMP_IN_JPEG) if own and not own.startswith(b"Exif\0\0") else None

    @property
    def orientation(self) -> int:
        """What is said before the pixels; later it comes too late for who shows them (w3c/png#310)."""
        return _metadata.orientation(self.exif, self.xmp)

    def texts(self) -> list[tuple[str, str]]:
        """Keyword and text of each text chunk; each is inflated once."""
        pairs = (_parse_text(name, content, self) for name, content in self.chunks[self._parsed :])
        self._texts += [pair for pair in pairs if pair is not None]
        self._parsed = len(self.chunks)
        return self._texts

    def raw_profile(self, kind: str) -> bytes | None:
        """Data in a text chunk: a name, a length, and hexadecimal digits on several lines."""
        for keyword, value in self.texts():
            if keyword == _RAW_PROFILE + kind:
                return _parse_raw_profile(value)
        return None

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
    source.header = layout = _read_layout(source)
    width, height = layout.width, layout.height
    if layout.orientation >= 5:
        width, height = height, width
    dtype = "uint16" if layout.depth == 16 else "uint8"
    return ImageInfo("png", width, height, 1 if layout.grey else 3, layout.transparent, dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a PNG that is not animated."""
    header: _Layout = source.header or _read_layout(source)
    source.check_size(header.width, header.height, max_pixels)
    longest = max(header.width, header.height)
    if longest > _LONGEST_SIDE:
        raise UnsupportedImageError(
            f"{source.name} has a side of {longest} pixels, more than the {_LONGEST_SIDE} of a PNG that are read; cut "
            "it into parts first."
        )
    layout = _read_layout(source, header)
    frames = layout.first(b"acTL")
    if frames is not None and int.from_bytes(frames[:4], "big") > 1:
        raise UnsupportedImageError(f"{source.name} is an animated PNG; extract the frames first.")
    if layout.kind == _PALETTE and layout.first(b"PLTE") is None:
        raise source.damaged("its palette is missing")
    _check_pixel_data(source, layout)
    orientation = layout.orientation
    layout.chunks += layout.behind
    metadata = _read_metadata(layout)
    by_pillow = layout.kind == _PALETTE or layout.depth < 8 or (layout.depth == 8 and layout.first(b"tRNS") is not None)
    decoded = _decode_with_pillow(source, layout) if by_pillow else _decode(source, layout)
    decoded.orientation = orientation
    decoded.metadata = metadata
    decoded.encoding = Encoding(png_chunks=_chunks_to_keep(layout, turned=orientation != 1))
    _note_what_is_lost(source, layout, decoded)
    return decoded


def _read_layout(source: Source, header: _Layout | None = None) -> _Layout:
    """Walk the chunks up to the first with pixels; with what that gave, on through the others and their checksums."""
    position, layout = (len(SIGNATURE), None) if header is None else (header.end, header)
    count = 0  # of chunks other than those of pixels
    while True:
        head = source.read_at(position, 8)
        if len(head) < 8:
            raise source.truncated()
        length, name = struct.unpack(">I4s", head)
        if header is None and layout is not None and name in (b"IDAT", b"IEND"):
            layout.end = position
            return layout
        if position + 12 + length > source.size:
            raise source.truncated()
        if name == b"IDAT":
            _check(source, position, length)
            if layout is None:
                raise source.damaged("its header is missing")
            if layout.pixel_data and sum(layout.pixel_data[-1]) + 12 != position + 8:
                layout.scattered = True
            layout.pixel_data.append((position + 8, length))
            if len(layout.pixel_data) > max(_MAX_CHUNKS, source.size // _SMALLEST_PIECE):
                raise source.damaged("its picture data is cut into too many pieces")
        elif not name.isalpha():
            raise source.damaged("something else stands where a chunk should begin")
        else:
            count += 1
            if count > _MAX_CHUNKS:
                raise source.damaged("it has too many chunks")
            known = layout is None or name[0] & 32 == 0 or source.budget.admits(max(0, length - _LONGEST_NAME))
            if not known:
                position += 12 + length
                continue
            content = source.read_at(position + 8, length + 4)
            content, checksum = content[:length], content[length:]
            whole = zlib.crc32(content, zlib.crc32(name)) == int.from_bytes(checksum, "big")
            if not whole and (name in _CRITICAL or name == b"tRNS"):
                raise source.damaged("a checksum does not match")
            if layout is None:
                layout = _parse_header(source, name, content)
                layout.budget = source.budget
            elif name == b"IHDR":
                raise source.damaged("it has two headers")
            elif name == b"IEND":
                layout.end = position + 12 + length
                layout.damaged += [name] if length else []
                return layout
            elif not whole or not _makes_sense(name, content, layout):
                layout.damaged.append(name)
            elif name[0] & 32 == 0 and name not in _CRITICAL:
                kind = f"a PNG of a private kind ({_readable(name)})"
                raise UnsupportedImageError(f"{source.name} is {kind}, which is not read; convert it first.")
            else:
                (layout.behind if layout.pixel_data else layout.chunks).append((name, content))
        position += 12 + length


def _makes_sense(name: bytes, content: bytes, layout: _Layout) -> bool:
    """Whether a chunk stands where it may, as often as it may, and has a length of its kind."""
    if layout.pixel_data and name in _BEFORE_PIXELS:
        return False
    if name in _ONCE and any(name == other for other, _ in (*layout.chunks, *layout.behind)):
        return False
    if name == b"PLTE":
        return len(content) % 3 == 0 and 3 <= len(content) <= 768 and layout.kind not in (_GREY, _GREY_ALPHA)
    if name == b"tRNS":
        lengths = {_GREY: (2,), _RGB: (6,), _PALETTE: range(1, len(layout.first(b"PLTE") or b"") // 3 + 1)}
        return len(content) in lengths.get(layout.kind, ())
    return len(content) == _LENGTHS.get(name, len(content))


def _check(source: Source, position: int, length: int) -> None:
    data = memoryview(source.data())[position + 4 : position + length + 12]
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise source.damaged("a checksum does not match")


def _readable(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")


def _row_sizes(layout: _Layout) -> list[tuple[int, int]]:
    """Bytes a row with its filter, and rows, of each pass."""
    bits = layout.depth * {_RGB: 3, _GREY_ALPHA: 2, _RGB_ALPHA: 4}.get(layout.kind, 1)
    passes = _ADAM7 if layout.interlaced else ((0, 0, 1, 1),)
    sizes = []
    for x, y, across, down in passes:
        columns, rows = -(-(layout.width - x) // across), -(-(layout.height - y) // down)
        if columns > 0 and rows > 0:
            sizes.append((1 + -(-columns * bits // 8), rows))
    return sizes


def _check_pixel_data(source: Source, layout: _Layout) -> None:
    """Inflate the pixel data without keeping it; refuse what libpng would complain about."""
    sizes = _row_sizes(layout)
    wanted = sum(size * rows for size, rows in sizes)
    inflater, count, needed = zlib.decompressobj(), 0, []
    data = memoryview(source.data())
    for offset, length in layout.pixel_data:
        if inflater.eof:
            layout.surplus += length
            continue
        piece: memoryview | bytes = data[offset : offset + length]
        while len(piece) and not inflater.eof:
            try:
                rows = inflater.decompress(piece, _INFLATED_AT_A_TIME)
            except zlib.error as error:
                raise source.damaged("its compressed data is broken") from error
            if _has_unknown_filter(rows, count, sizes):
                raise source.damaged("a row has an unknown filter")
            count += len(rows)
            if count > wanted:
                raise source.damaged("it holds more pixels than its header says")
            piece = inflater.unconsumed_tail
        behind = len(inflater.unused_data)
        layout.surplus += behind
        needed.append((offset, length - behind))
    layout.pixel_data = needed
    if count < wanted or not inflater.eof:
        raise source.truncated()


def _has_unknown_filter(data: bytes, position: int, sizes: list[tuple[int, int]]) -> bool:
    """Whether a row that begins within these bytes, which stand at ``position`` of all, has a filter above 4."""
    start, values = 0, np.frombuffer(data, np.uint8)
    for size, rows in sizes:
        first = max(start, start + -(-(position - start) // size) * size)  # the first row that begins here
        last = min(start + size * rows, position + len(data))
        if first < last and (values[first - position : last - position : size] > _PAETH).any():
            return True
        start += size * rows
    return False


def _parse_header(source: Source, name: bytes, content: bytes) -> _Layout:
    if name != b"IHDR" or len(content) != 13:
        raise source.damaged("its header is missing")
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    if (depth, kind) not in _KINDS or content[10:12] != b"\0\0" or interlaced > 1:
        raise source.damaged("its header makes no sense")
    return _Layout(width, height, depth, kind, bool(interlaced))


def _decode(source: Source, layout: _Layout) -> Decoded:
    stored = _opencv.decode(_bare(source, layout), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.shape[:2] != (layout.height, layout.width):
        raise source.damaged()
    pixels, alpha = _opencv.split_alpha(stored, grey=layout.grey)
    key = layout.first(b"tRNS")
    if layout.kind == _GREY and key:
        alpha = np.where(pixels == int.from_bytes(key[:2], "big"), 0, 65535).astype(np.uint16)
    return Decoded(pixels, alpha)


def _bare(source: Source, layout: _Layout) -> Source:
    """The same picture without the chunks that say nothing of the pixels; decoders would inflate them without limit."""
    data = source.data()
    needed = {b"PLTE", b"tRNS"} if layout.kind == _PALETTE else {b"tRNS"}  # else a palette is a suggestion
    if (
        not source.budget.exceeded
        and not layout.behind
        and not layout.damaged
        and not layout.surplus
        and {name for name, _ in layout.chunks} <= needed
    ):
        return source
    parts: list[bytes | memoryview] = [data[: len(SIGNATURE) + 25]]
    parts += [_chunk(name, content) for name, content in layout.chunks if name in needed]
    view = memoryview(data)
    if layout.surplus:
        parts += [_chunk(b"IDAT", view[offset : offset + length]) for offset, length in layout.pixel_data]
    else:
        parts += [view[offset - 8 : offset + length + 4] for offset, length in layout.pixel_data]
    return Source(io.BytesIO(b"".join([*parts, _chunk(b"IEND", b"")])), source.name, source.suffix)


def _decode_with_pillow(source: Source, layout: _Layout) -> Decoded:
    key = layout.first(b"tRNS")
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(_bare(source, layout).data()))
        if layout.kind == _GREY:  # Pillow stretches the values, but not the transparent one among them
            pixels = np.array(image.convert("L"))
            top = (1 << layout.depth) - 1
            value = int.from_bytes((key or b"")[:2], "big") * 255 // top
            return Decoded(pixels, None if key is None else np.where(pixels == value, 0, 255).astype(np.uint8))
        missing = _missing_colours(image, layout)
        mode = ("L" if layout.grey else "RGB") + ("A" if layout.transparent else "")
        stored = np.array(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise source.damaged() from error
    return Decoded(*split_channels(stored, grey=layout.grey), notes=missing)


def _missing_colours(image: PngImagePlugin.PngImageFile, layout: _Layout) -> list[str]:
    """A note on pixels that name a colour behind the end of the palette; all decoders make them black."""
    if layout.kind != _PALETTE:
        return []
    count = int((np.asarray(image) >= len(layout.first(b"PLTE") or b"") // 3).sum())
    return [f"{count} pixels have a colour that the palette does not hold; they are shown black."] if count else []


def _read_metadata(layout: _Layout) -> Metadata:
    icc = _parse_icc(layout)  # first: the colours depend on it
    icc = icc or layout.raw_profile("icc") or layout.raw_profile("icm")
    hdr = _hdr_description(layout)
    if icc and (hdr or not _agrees(icc, layout)):  # cICP counts before iCCP (section 4.3), which is there for programs
        icc = None  # that do not know it
        layout.other_profile = True
    resources = layout.raw_profile("8bim") or layout.raw_profile("iptc")
    if resources and not resources.startswith(b"8BIM"):
        resources = b"8BIM\4\4\0\0" + struct.pack(">I", len(resources)) + resources + b"\0" * (len(resources) % 2)
    return Metadata(
        exif=layout.exif,
        xmp=layout.xmp,
        icc=icc or _described_profile(layout),
        photoshop=resources,
        dpi=_density(layout.first(b"pHYs")),
        text=tuple(pair for pair in layout.texts() if pair[0] != _XMP_KEYWORD and pair[0] not in _READ_RAW_PROFILES),
        aspect=_aspect(layout.first(b"pHYs")),
        cicp=hdr,
    )


def _cicp(layout: _Layout) -> tuple[int, int] | None:
    content = layout.first(b"cICP")
    return (content[0], content[1]) if content is not None and len(content) == 4 else None


def _agrees(icc: bytes, layout: _Layout) -> bool:
    """Whether a profile says what cICP says, as far as that says something; then the profile stays, to the byte."""
    cicp = _cicp(layout)
    if cicp is None or not _colourspace.is_known(*cicp):
        return True
    if _metadata.icc_space(icc) != ("GRAY" if layout.grey else "RGB"):
        return False
    described = _colourspace.profile_of_cicp(*cicp, grey=layout.grey) or _metadata.srgb_profile()
    return layout.grey or _metadata.same_colours(icc, described)


def _hdr_description(layout: _Layout) -> tuple[int, int] | None:
    cicp = _cicp(layout)
    return cicp if cicp is not None and _colourspace.is_hdr(cicp[1]) else None


def _described_profile(layout: _Layout) -> bytes | None:
    """A profile for what cICP, or else gAMA and cHRM, say; sRGB needs none."""
    cicp, gamma, chromaticities = _cicp(layout), layout.first(b"gAMA"), layout.first(b"cHRM")
    if cicp is not None:
        return _colourspace.profile_of_cicp(*cicp, grey=layout.grey)
    if layout.first(b"sRGB") is not None or gamma is None or len(gamma) != 4 or gamma == bytes(4):
        return None
    points = struct.unpack(">8I", chromaticities) if chromaticities and len(chromaticities) == 32 else None
    corners = tuple(value / 100_000 for value in points) if points else None
    alike = corners is None or layout.grey or np.allclose(corners, _colourspace.SRGB, atol=2e-3)
    if gamma == _SRGB_GAMMA and alike:
        return None
    exponent = 100_000 / int.from_bytes(gamma, "big")
    return _colourspace.profile_of_gamma(exponent, None if alike else corners, grey=layout.grey)


def _chunks_to_keep(layout: _Layout, *, turned: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Chunks that are as true of the result: of the colour space, and such as their names allow to copy."""
    return tuple(chunk for chunk in layout.chunks if _stays_true(chunk, layout, turned=turned))


def _stays_true(chunk: tuple[bytes, bytes], layout: _Layout, *, turned: bool) -> bool:
    name, content = chunk
    if name in _COLOUR_SPACE:
        return not (name == b"cICP" and _hdr_description(layout) and content[3])  # that becomes metadata
    if name == b"bKGD":
        return layout.kind != _PALETTE and layout.depth >= 8 and len(content) == (2 if layout.grey else 6)
    if name in _KEPT:
        return not (turned and name in _OF_PLACES)
    return name not in _UNDERSTOOD and name not in _OF_NO_USE and bool(name[3] & _SAFE_TO_COPY)


def _note_what_is_lost(source: Source, layout: _Layout, decoded: Decoded) -> None:
    notes, kept = decoded.notes, {name for name, _ in decoded.encoding.png_chunks}
    if layout.damaged:
        names = ", ".join(dict.fromkeys(map(_readable, layout.damaged)))
        notes.append(f"Chunks of the PNG are damaged or out of place and were dropped ({names}).")
    if layout.cut_off:
        names = ", ".join(dict.fromkeys(map(_readable, layout.cut_off)))
        notes.append(f"Chunks of the PNG end early; what they hold was kept ({names}).")
    if layout.scattered:
        notes.append("The picture data of the PNG stands in several places; look at the result.")
    if layout.surplus:
        notes.append(f"{layout.surplus} bytes of picture data behind its end were left out.")
    lost = {name: None for name, _ in layout.chunks if name not in _UNDERSTOOD | _OF_NO_USE | kept}
    if b"caBX" in lost:
        notes.append("The content credentials were dropped; they do not hold for changed pixels.")
        del lost[b"caBX"]
    if lost:
        names = ", ".join(map(_readable, lost))
        notes.append(f"Chunks of the PNG that do not hold for the result were dropped ({names}).")
    if any(name == b"iTXt" and content.partition(b"\0")[2][2:4] != b"\0\0" for name, content in layout.chunks):
        notes.append("The language and the translated keyword of PNG texts were dropped; the texts were kept.")
    if decoded.metadata.cicp:
        if layout.first(b"iCCP") is not None:
            notes.append(_metadata.HDR_BEFORE_ICC)
    elif layout.other_profile:
        notes.append("The colour profile was dropped; the cICP chunk beside it says something else, and counts.")
    notes += _metadata.cicp_notes(_cicp(layout), decoded.metadata.icc)
    if (layout.first(b"cICP") or b"")[3:] == b"\0":
        notes.append("The cICP chunk says that black is above 0 and white below the top; the values were left so.")
    notes += source.note_on_tail(layout.end)


def _parse_text(name: bytes, content: bytes, layout: _Layout) -> tuple[str, str] | None:
    if name not in (b"tEXt", b"zTXt", b"iTXt"):
        return None
    keyword, _, rest = content.partition(b"\0")
    try:
        if name == b"iTXt":
            compressed, (_, _, value) = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
            return keyword.decode("latin-1"), _decode_text(_inflate(name, value, layout) if compressed else value)
        value = _inflate(name, rest[1:], layout) if name == b"zTXt" else rest
    except TooMuchError:
        return None
    except (zlib.error, ValueError):
        layout.damaged.append(name)
        return None
    return keyword.decode("latin-1"), value.decode("latin-1")


def _inflate(name: bytes, data: bytes, layout: _Layout) -> bytes:
    """Decompress what a chunk holds; where it ends early, what there is is kept, and the chunk is told."""
    before = layout.budget.cut_off
    inflated = layout.budget.inflate(data)
    if layout.budget.cut_off > before:
        layout.cut_off.append(name)
    return inflated


def _decode_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:  # some writers put Latin-1 there; as such it does not grow when it is written
        return value.decode("latin-1")


def _parse_raw_profile(value: str) -> bytes | None:
    try:
        return bytes.fromhex("".join(value.split()[2:])) or None
    except ValueError:
        return None


def _parse_icc(layout: _Layout) -> bytes | None:
    content = layout.first(b"iCCP")
    if content is None:
        return None
    try:
        return _inflate(b"iCCP", content.partition(b"\0")[2][1:], layout)
    except TooMuchError:
        return None
    except zlib.error:
        layout.damaged.append(b"iCCP")
        return None


def _density(content: bytes | None) -> tuple[float, float] | None:
    if content is None or len(content) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", content)
    return (across / _METRE, down / _METRE) if unit == 1 and across and down else None


def _aspect(content: bytes | None) -> tuple[int, int] | None:
    """Densities without a unit: only their ratio means something."""
    if content is None or len(content) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", content)
    return (across, down) if unit == 0 and across and down and across != down else None


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as PNG will lose."""
    del picture
    if any(len(content) > PART_LIMIT + _LONGEST_NAME for _, content in _described(metadata)):
        return ["Metadata too large for other programs to read it in a PNG was dropped."]
    return []


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 or uint16 pixels; ``quality`` has no meaning here."""
    del quality
    plain = _encode_pixels(pixels, alpha)
    first_idat = len(SIGNATURE) + 25
    chunks = [chunk for chunk in encoding.png_chunks if _fits(chunk, pixels)]
    return b"".join((plain[:first_idat], _ancillary(chunks, metadata), plain[first_idat:]))


def _fits(chunk: tuple[bytes, bytes], pixels: Pixels) -> bool:
    """A background has the channels and the range of the pixels."""
    name, content = chunk
    if name != b"bKGD":
        return True
    levels = struct.unpack(f">{len(content) // 2}H", content)
    return len(levels) == (1 if pixels.ndim == 2 else 3) and max(levels) <= np.iinfo(pixels.dtype).max


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


def _chunk(name: bytes, content: bytes | memoryview) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(content)), name, content, struct.pack(">I", checksum)))


def _ancillary(kept: list[tuple[bytes, bytes]], metadata: Metadata) -> bytes:
    chunks = [chunk for chunk in kept if not (metadata.icc and chunk[0] == b"sRGB")]
    if metadata.cicp and not any(name == b"cICP" for name, _ in kept):  # one of narrow range is among them
        chunks.append((b"cICP", bytes((*metadata.cicp, 0, 1))))  # RGB, full range
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value * _METRE) for value in metadata.dpi), 1)))
    elif metadata.aspect:
        chunks.append((b"pHYs", struct.pack(">IIB", *metadata.aspect, 0)))
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
    if metadata.photoshop:
        yield _raw_profile_chunk("iptc", metadata.photoshop)
    for keyword, value in metadata.text:
        yield _text_chunk(keyword, value)


def _raw_profile_chunk(kind: str, data: bytes) -> tuple[bytes, bytes]:
    """Data as ImageMagick stores it, and ExifTool reads it."""
    digits = data.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    value = f"\n{kind}\n{len(data):8d}\n{lines}\n"
    return b"zTXt", (_RAW_PROFILE + kind).encode() + b"\0\0" + zlib.compress(value.encode())


def _text_chunk(keyword: str, value: str) -> tuple[bytes, bytes]:
    name = keyword.encode("latin-1", "replace")[:79] + b"\0"
    try:
        return b"tEXt", name + value.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", name + b"\0\0\0\0" + value.encode()
