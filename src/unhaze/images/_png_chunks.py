"""The chunks of a PNG file (PNG specification, third edition, W3C 2025): how they are read, judged and written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from unhaze.errors import UnsupportedImageError
from unhaze.images import _colourspace, _metadata
from unhaze.images._picture import Source
from unhaze.images.budget import Budget, TooMuchError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
COLOUR_SPACE = {b"gAMA", b"cHRM", b"sRGB", b"cICP"}
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
UNDERSTOOD = {*COLOUR_SPACE, *_CRITICAL, b"tRNS", b"iCCP", b"eXIf", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"acTL"}
# the length that a chunk must have, if there is but one; what may stand but once; and what comes too late behind the
# pixels, where no other reader heeds it (sections 5.6 and 11.3)
_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"acTL": 8, b"tIME": 7, b"oFFs": 9}
_ONCE = {*_LENGTHS, b"iCCP", b"eXIf", b"sBIT", b"bKGD", b"hIST", b"mDCV", b"cLLI", b"sCAL", b"sTER", b"PLTE", b"tRNS"}
_BEFORE_PIXELS = {
    *COLOUR_SPACE,
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
_KINDS = {
    *((depth, GREY) for depth in (1, 2, 4, 8, 16)),
    *((depth, PALETTE) for depth in (1, 2, 4, 8)),
    *((depth, kind) for depth in (8, 16) for kind in (RGB, GREY_ALPHA, RGB_ALPHA)),
}
XMP_KEYWORD, RAW_PROFILE = "XML:com.adobe.xmp", "Raw profile type "
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
METRE = 1 / 0.0254  # inches
_MAX_CHUNKS = 1 << 16  # beside those of pixels, of which there may be one for each kB; libpng keeps 1000
_SMALLEST_PIECE = 1 << 10  # [bytes]
LONGEST_NAME = 200  # [bytes] of a keyword, the flags and the language of a text chunk


@dataclass(slots=True)
class Layout:
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
    names: set[bytes] = field(default_factory=set)  # of all chunks that make sense
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
            if keyword == XMP_KEYWORD:
                return value.encode()
        own = self.raw_profile("xmp") or self.raw_profile("APP1")
        return own.removeprefix(_XMP_IN_JPEG) if own and not own.startswith(b"Exif\0\0") else None

    @property
    def orientation(self) -> int:
        """What is said before the pixels; later it comes too late for who shows them (w3c/png#310)."""
        return _metadata.orientation(self.exif, self.xmp)

    def inflate(self, name: bytes, data: bytes) -> bytes:
        """Decompress what a chunk holds; where it ends early, what there is is kept, and the chunk is told."""
        before = self.budget.cut_off
        inflated = self.budget.inflate(data)
        if self.budget.cut_off > before:
            self.cut_off.append(name)
        return inflated

    def texts(self) -> list[tuple[str, str]]:
        """Keyword and text of each text chunk; each is inflated once."""
        chunks, self._parsed = self.chunks[self._parsed :], len(self.chunks)
        for name, content in chunks:
            if name not in (b"tEXt", b"zTXt", b"iTXt"):
                continue
            keyword, _, value = content.partition(b"\0")
            try:
                if name == b"iTXt":
                    compressed, (_, _, value) = value[:1] == b"\1", value[2:].split(b"\0", 2)
                    value = self.inflate(name, value) if compressed else value
                elif name == b"zTXt":
                    value = self.inflate(name, value[1:])
            except TooMuchError:
                continue
            except (zlib.error, ValueError):
                self.damaged.append(name)
                continue
            try:
                text = value.decode("utf-8" if name == b"iTXt" else "latin-1")
            except UnicodeDecodeError:  # some writers put Latin-1 there; as such it does not grow when it is written
                text = value.decode("latin-1")
            self._texts.append((keyword.decode("latin-1"), text))
        return self._texts

    def raw_profile(self, kind: str) -> bytes | None:
        """Data in a text chunk: a name, a length, and hexadecimal digits on several lines."""
        for keyword, value in self.texts():
            if keyword == RAW_PROFILE + kind:
                try:
                    return bytes.fromhex("".join(value.split()[2:])) or None
                except ValueError:
                    return None
        return None

    @property
    def cicp(self) -> tuple[int, int] | None:
        """Colour primaries and transfer characteristics (ITU-T H.273)."""
        content = self.first(b"cICP")
        return (content[0], content[1]) if content is not None and len(content) == 4 else None

    @property
    def hdr(self) -> tuple[int, int] | None:
        """The same, where they say that the values are coded for HDR."""
        cicp = self.cicp
        return cicp if cicp is not None and _colourspace.is_hdr(cicp[1]) else None

    @property
    def transparent(self) -> bool:
        return self.kind in (GREY_ALPHA, RGB_ALPHA) or self.first(b"tRNS") is not None

    @property
    def grey(self) -> bool:
        if self.kind != PALETTE:
            return self.kind in (GREY, GREY_ALPHA)
        entries = np.frombuffer(self.first(b"PLTE") or b"", np.uint8).reshape(-1, 3)
        return bool((entries == entries[:, :1]).all())


def read_layout(source: Source, header: Layout | None = None) -> Layout:
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
            data = memoryview(source.data())[position + 4 : position + length + 12]
            if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
                raise source.damaged("a checksum does not match")
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
            known = layout is None or name[0] & 32 == 0 or source.budget.admits(max(0, length - LONGEST_NAME))
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
                kind = f"a PNG of a private kind ({names_of([name])})"
                raise UnsupportedImageError(f"{source.name} is {kind}, which is not read; convert it first.")
            else:
                (layout.behind if layout.pixel_data else layout.chunks).append((name, content))
                layout.names.add(name)
        position += 12 + length


def _makes_sense(name: bytes, content: bytes, layout: Layout) -> bool:
    """Whether a chunk stands where it may, as often as it may, and has a length of its kind."""
    if layout.pixel_data and name in _BEFORE_PIXELS:
        return False
    if name in _ONCE and name in layout.names:
        return False
    if name == b"PLTE":
        return len(content) % 3 == 0 and 3 <= len(content) <= 768 and layout.kind not in (GREY, GREY_ALPHA)
    if name == b"tRNS":
        lengths = {GREY: (2,), RGB: (6,), PALETTE: range(1, len(layout.first(b"PLTE") or b"") // 3 + 1)}
        return len(content) in lengths.get(layout.kind, ())
    return len(content) == _LENGTHS.get(name, len(content))


def _parse_header(source: Source, name: bytes, content: bytes) -> Layout:
    if name != b"IHDR" or len(content) != 13:
        raise source.damaged("its header is missing")
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    if (depth, kind) not in _KINDS or content[10:12] != b"\0\0" or interlaced > 1:
        raise source.damaged("its header makes no sense")
    return Layout(width, height, depth, kind, bool(interlaced))


def names_of(names: Iterable[bytes]) -> str:
    """Names of chunks for a sentence, each once."""
    return ", ".join(dict.fromkeys(name.decode("ascii", "backslashreplace") for name in names))


def chunk(name: bytes, content: bytes | memoryview) -> bytes:
    """A chunk as it stands in a file."""
    checksum = zlib.crc32(content, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(content)), name, content, struct.pack(">I", checksum)))
