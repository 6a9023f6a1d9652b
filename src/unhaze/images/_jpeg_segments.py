"""The segments of a JPEG file (ITU-T T.81, Annex B): how they are told apart, found before the picture, and written."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from unhaze.images._picture import Source

SOI, EOI, SOS, DQT, DHT, DAC, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD, 0xFE
APP0, APP1, APP2, APP11, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_MAX_STEPS = 1 << 18  # segments, fill bytes and bytes of junk before the first scan; cameras write some hundreds
_MAX_JUNK = 1 << 16  # [bytes] that may stand before the file and between its segments

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
ICC, MPF, PHOTOSHOP = b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\0"
GAIN_MAP, ADOBE, JFIF = b"urn:iso:std:iso:ts:21496:-1", b"Adobe", b"JFIF\0"
_UNDERSTOOD = (  # application segments that are read, written or spoken of one by one
    *((APP1, prefix) for prefix in (EXIF, XMP, XMP_EXTENSION)),
    *((APP2, prefix) for prefix in (ICC, MPF, GAIN_MAP)),
    *((APP0, JFIF), (APP11, b"JP"), (APP13, PHOTOSHOP), (APP13, b"Adobe_CM"), (APP14, ADOBE)),
)
_LABEL = 64  # [bytes] in which a preview begins, behind the name of its maker
_THERMAL = (b"FLIR\0", b"DJI")  # measured values, whatever picture lies beside them

# inside entropy-coded data a marker is 0xFF followed by anything but a stuffed zero, a restart or a fill byte
MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

# how many pixels across and down share a chroma value
SUBSAMPLING: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
    (1, 4): "4:4:1",
}
UNUSUAL = "unusual"

Segment = tuple[int, bytes]
"""Marker and content."""


@dataclass(slots=True)
class Header:
    """What the segments before the first scan say."""

    width: int = 0
    height: int = 0
    precision: int = 8
    frame: int = 0
    components: list[tuple[int, int, int, int]] = field(default_factory=list)  # id, horizontal, vertical, table
    segments: list[Segment] = field(default_factory=list)  # comments and those of applications
    scan: int = 0  # offset of the first scan header
    junk: int = 0  # [bytes] that belong to no segment
    decoding: list[Segment] = field(default_factory=list)  # those without which there are no pixels
    exif: bytes | None = None
    orientation: int = 1

    def first(self, marker: int, prefix: bytes) -> bytes | None:
        """Content of the first segment that begins with ``prefix``, without it."""
        return next((s[len(prefix) :] for m, s in self.segments if m == marker and s.startswith(prefix)), None)


def find_segments(source: Source, header: Header) -> Iterator[tuple[int, int, bytes]]:
    """Marker, offset behind the marker and content of each segment, up to and including the first scan header.

    Bytes that belong to none are counted in ``header.junk``.
    """
    header.junk = max(source.read_at(0, _MAX_JUNK).find(b"\xff\xd8\xff"), 0)
    position = header.junk + 2
    for _ in range(_MAX_STEPS):
        prefix = source.read_at(position, 2)
        if len(prefix) < 2:
            raise source.truncated()
        if prefix[0] != 0xFF or prefix[1] == 0:  # libjpeg passes over junk too
            position += 1
            header.junk += 1
            if header.junk > _MAX_JUNK:
                raise source.damaged("there is something else where a JPEG segment should begin")
            continue
        if prefix[1] == 0xFF:  # fill byte
            position += 1
            continue
        position += 2
        if prefix[1] == SOI:  # once more, which says nothing
            header.junk += 2
            continue
        if prefix[1] in _STANDALONE:
            continue
        if prefix[1] == EOI:
            raise source.damaged("it holds no picture")
        length = int.from_bytes(source.read_at(position, 2), "big")
        content = source.read_at(position + 2, max(length - 2, 0))
        if length < 2 or len(content) < length - 2:
            raise source.truncated()
        yield prefix[1], position, content
        if prefix[1] == SOS:
            return
        position += length
    raise source.damaged("there is no end to the segments before its picture")


def camera_segments(header: Header) -> tuple[list[Segment], list[Segment]]:
    """Application segments that only the maker of the camera knows, and those among them that hold a preview.

    The first are thermal values, flight data, settings; the others would show the picture as it was.
    """
    unknown = [
        (marker, content)
        for marker, content in header.segments
        if marker != COM and not any(marker == m and content.startswith(prefix) for m, prefix in _UNDERSTOOD)
    ]
    # a preview goes on in the next segments of its number
    of_previews = {
        m
        for m, c in unknown
        if not c.startswith(_THERMAL) and (c.startswith(b"JFXX\0") or b"\xff\xd8\xff" in c[:_LABEL])
    }
    previews = [(m, c) for m, c in unknown if m in of_previews and not c.startswith(_THERMAL)]
    return [segment for segment in unknown if segment not in previews], previews


def names_of(segments: Iterable[Segment]) -> str:
    """``"APP3, APP6 GoPro"``."""
    names = []
    for marker, content in segments:
        label = re.match(rb"([A-Za-z][A-Za-z0-9_ ]{2,15})\0", content)
        names.append(f"APP{marker - APP0}" + (f" {label[1].decode()}" if label else ""))
    return ", ".join(dict.fromkeys(names))


def joined(segments: Iterable[Segment]) -> bytes:
    """Segments as they stand in a file."""
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
