"""JPEG: simplejpeg decodes (it hands over the warnings of libjpeg), Pillow encodes (it takes quantisation tables).

The marker structure (ITU-T T.81, Annex B) is walked here, because neither library tells a truncated file from a damaged
one, or keeps the segments that neither knows. The decoder gets a file of the segments it needs, so that its warnings
speak of the pixels alone.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin
from simplejpeg import decode_jpeg

from unhaze.errors import ImageEncodeError, UnsupportedImageError
from unhaze.images import _metadata
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source

__all__ = ["encode", "identify", "notes", "read", "segment_notes"]

DEFAULT_QUALITY = 95
MAX_SIDE = 65535
_MAX_SEGMENT = 65533
_MAX_EXIF = 4 << 20  # [bytes] in several segments; more is no camera's

_SOI, _EOI, _SOS, _DQT, _DHT, _DAC, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD, 0xFE
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_HUFFMAN_OR_ARITHMETIC = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # the others are lossless or hierarchical: no decoder at hand
_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_OTHER_KINDS = {0xF7: "JPEG-LS", 0xC3: "lossless JPEG", 0xC7: "lossless JPEG", 0xCB: "lossless JPEG"}
_DECODING = {_DQT, _DHT, _DAC, _DRI, *_FRAMES}  # segments without which there are no pixels
_MAX_SCANS = 500  # of a progressive JPEG: each goes through the whole picture; 10 are usual, and 500 djpeg's advice
_MAX_TABLES = 1 << 18  # [bytes] of all segments needed for decoding; a table of each kind at each place takes 3 kB
_MAX_STEPS = 1 << 18  # segments, fill bytes and bytes of junk before the first scan; cameras write some hundreds
_MAX_JUNK = 1 << 16  # [bytes] that may stand before the file and between its segments

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC, _MPF, _PHOTOSHOP = b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\0"
_GAIN_MAP, _ADOBE, _JFIF = b"urn:iso:std:iso:ts:21496:-1", b"Adobe", b"JFIF\0"
_UNDERSTOOD = (  # application segments that are read, written or spoken of one by one
    *((_APP1, prefix) for prefix in (_EXIF, _XMP, _XMP_EXTENSION)),
    *((_APP2, prefix) for prefix in (_ICC, _MPF, _GAIN_MAP)),
    *((_APP0, _JFIF), (_APP11, b"JP"), (_APP13, _PHOTOSHOP), (_APP13, b"Adobe_CM"), (_APP14, _ADOBE)),
)
_SEGMENT_BYTES = 200  # what a segment takes in memory beside its content
_LABEL = 64  # [bytes] in which a preview begins, behind the name of its maker
_THERMAL = (b"FLIR\0", b"DJI")  # measured values, whatever picture lies beside them

# inside entropy-coded data a marker is 0xFF followed by anything but a stuffed zero, a restart or a fill byte
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

# how many pixels across and down share a chroma value
_SUBSAMPLING: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
    (1, 4): "4:4:1",
}
_FACTORS = {name: (int(across), int(down)) for (across, down), name in _SUBSAMPLING.items()}
_OF_PILLOW = {"4:4:4", "4:2:2", "4:2:0"}
_UNUSUAL = "unusual"


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
    start: int = 0  # offset of the start-of-image marker
    scan: int = 0  # offset of the first scan header
    junk: int = 0  # [bytes] that belong to no segment
    decoding: list[tuple[int, bytes]] = field(default_factory=list)

    def first(self, marker: int, prefix: bytes) -> bytes | None:
        """Content of the first segment that begins with ``prefix``, without it."""
        return next((s[len(prefix) :] for m, s in self.segments if m == marker and s.startswith(prefix)), None)

    @property
    def exif(self) -> bytes | None:
        """EXIF data; what did not fit into one segment goes on in the next."""
        parts = [s[len(_EXIF) :] for m, s in self.segments if m == _APP1 and s.startswith(_EXIF)]
        starts = [i for i, part in enumerate(parts) if part[:4] in (b"II*\0", b"MM\0*")]
        if starts:  # what comes before the first is no EXIF, and a second one is a copy
            parts = parts[starts[0] : starts[1] if len(starts) > 1 else None]
        return b"".join(parts) or None

    @property
    def orientation(self) -> int:
        return _metadata.orientation(self.exif, self.first(_APP1, _XMP))


def identify(source: Source) -> ImageInfo:
    """Size and type from the frame header."""
    source.header = header = _read_header(source)
    width, height = header.width, header.height
    if header.orientation >= 5:
        width, height = height, width
    return ImageInfo("jpeg", width, height, 1 if len(header.components) == 1 else 3, False, "uint8")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a JPEG; of a multi-picture file the first picture."""
    header: _Header = source.header or _read_header(source)
    source.check_size(header.width, header.height, max_pixels)
    data = source.data()
    end = _find_end(data, header.scan)
    if end is None:
        raise source.truncated()
    scans = data[header.scan - 2 : end]  # from the first scan header to the end of the picture
    if header.frame not in _PROGRESSIVE:
        # some cameras leave the bounds of the spectrum at zero, of which libjpeg warns though they do not matter here
        behind = header.scan + int.from_bytes(data[header.scan : header.scan + 2], "big")
        scans = data[header.scan - 2 : behind - 3] + b"\0\x3f\0" + data[behind:end]
    missing = _check_scans(source, header, scans)
    decoded = _decode(source, header, scans)
    decoded.notes += missing
    tables = tuple(header.tables.get(component[3], ()) for component in header.components)
    decoded.encoding = Encoding(
        jpeg_tables=tables if all(tables) else None,
        jpeg_subsampling=_subsampling(header) if len(header.components) == 3 else None,
        jpeg_progressive=header.frame in _PROGRESSIVE,
    )
    decoded.metadata = _read_metadata(header, decoded)
    _note_what_is_lost(header, data, end, decoded)
    return decoded


def _segments(source: Source, header: _Header) -> Iterator[tuple[int, int, bytes]]:
    """Marker, offset behind the marker and content of each segment, up to and including the first scan header."""
    header.start = max(source.read_at(0, _MAX_JUNK).find(b"\xff\xd8\xff"), 0)
    position, header.junk = header.start + 2, header.start
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
        if prefix[1] == _SOI:  # once more, which says nothing
            header.junk += 2
            continue
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
    raise source.damaged("there is no end to the segments before its picture")


def _read_header(source: Source) -> _Header:
    header, tables = _Header(), 0
    for marker, position, content in _segments(source, header):
        if marker in _DECODING:
            tables += len(content)
            if tables > _MAX_TABLES:
                raise source.damaged("it has more tables than a decoder can use")
            header.decoding.append((marker, content))
        if marker in _OTHER_KINDS:
            raise UnsupportedImageError(
                f"{source.name} is a {_OTHER_KINDS[marker]} file, which is not read; convert it to PNG or TIFF first."
            )
        if marker in _FRAMES:
            _parse_frame(header, marker, content, source)
        elif marker == _DQT:
            _parse_tables(header, content)
        elif marker == _SOS:
            header.scan = position
        elif marker == _COM or 0xE0 <= marker <= 0xEF:
            # there always is room for the first of those that say what the colours are
            of_colours = [prefix for of, prefix in ((_APP0, _JFIF), (_APP14, _ADOBE)) if of == marker]
            vital = any(content.startswith(each) and header.first(marker, each) is None for each in of_colours)
            if vital or source.budget.admits(len(content) + _SEGMENT_BYTES):
                header.segments.append((marker, content))
    if not header.frame:
        raise source.damaged("it has no frame header")
    if header.frame not in _HUFFMAN_OR_ARITHMETIC or header.precision != 8:
        raise UnsupportedImageError(
            f"{source.name} is a JPEG of a rare kind (hierarchical or {header.precision} bits per colour), which is "
            "not read; convert it to PNG or TIFF first."
        )
    if len(header.components) not in (1, 3, 4):
        raise UnsupportedImageError(
            f"{source.name} is a JPEG with {len(header.components)} colour components; convert it to PNG or TIFF first."
        )
    return header


def _parse_frame(header: _Header, marker: int, content: bytes, source: Source) -> None:
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        raise source.damaged("its frame header is too short")
    if header.frame:
        raise source.damaged("it has two frame headers")
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


def _decode(source: Source, header: _Header, scans: bytes) -> Decoded:
    """Decode the scans with the verdict of libjpeg: missing rows refuse the file, other damage becomes a note."""
    kind = {1: "GRAY", 3: "RGB", 4: "CMYK"}[len(header.components)]
    # the segments before the first scan that matter to the pixels
    segments = [(_APP0, _JFIF + b"\1\1\0\0\1\0\1\0\0")] if header.first(_APP0, _JFIF) is not None else []
    segments += [(m, s[:12]) for m, s in header.segments if m == _APP14 and s.startswith(_ADOBE)]
    plain = b"\xff\xd8" + _joined([*segments, *header.decoding])
    notes = []
    if header.junk:
        notes.append(f"{header.junk} bytes that belong to nothing were left out.")
    subsampling = _subsampling(header)
    if subsampling == _UNUSUAL or (subsampling == "4:1:0" and kind == "RGB"):
        pixels = _decode_unusual(source, plain, scans, kind)
    else:
        try:
            pixels = decode_jpeg(plain + scans, kind)
        except ValueError as error:
            pixels = _decode_damaged(source, plain, scans, kind, str(error))
            notes.append(f"The picture data is damaged in places ({error}); look at the result.")
    if pixels.shape[:2] != (header.height, header.width):
        raise source.damaged()
    if kind != "CMYK":
        return Decoded(pixels[..., 0] if kind == "GRAY" else pixels, notes=notes)
    np.subtract(255, pixels, out=pixels)  # as Adobe stores it: full ink is 0
    image = Image.fromarray(pixels, "CMYK")
    converted, note = _metadata.cmyk_to_srgb(image, _join_icc(header))
    return Decoded(converted, notes=[*notes, note])


def _check_scans(source: Source, header: _Header, scans: bytes) -> list[str]:
    """A note where a progressive JPEG lacks scans, of which libjpeg says nothing; refuses thousands of them.

    A sequential one in which a component has no scan is refused: its colours are wrong. In a progressive one each scan
    gives some coefficients of some components down to a bit (ITU-T T.81, G.1.1.1); all are needed to bit 0.
    """
    progressive = header.frame in _PROGRESSIVE
    missing = {component[0]: set(range(64)) for component in header.components}
    position = count = 0
    while (found := _MARKER_IN_SCAN.search(scans, position)) is not None:
        marker, start = scans[found.end() - 1], found.end()
        if marker == _EOI:
            break
        length = int.from_bytes(scans[start : start + 2], "big")
        content, position = scans[start + 2 : start + length], start + max(length, 2)
        if marker != _SOS or len(content) < 4 or len(content) < 4 + 2 * content[0]:
            continue
        count += 1
        if count > _MAX_SCANS:
            raise source.damaged(f"it is made of more than {_MAX_SCANS} scans")
        first, last, bits = content[-3:] if progressive else (0, 63, 0)
        if bits & 15 == 0:
            for identity in content[1 : 1 + 2 * content[0] : 2]:
                missing.get(identity, set()).difference_update(range(first, last + 1))
    if any(missing.values()):
        if not progressive:
            raise source.damaged("the scan of one of its colour components is missing")
        return ["Scans of the progressive JPEG are missing: it is less fine than it was; look at the result."]
    return []


def _decode_damaged(source: Source, plain: bytes, scans: bytes, kind: str, warning: str) -> Pixels:
    """The pixels of a file for which libjpeg has a warning or an error; refused where a part is missing."""
    if "remature end" in warning:
        raise source.damaged("its picture data ends too early")
    try:
        pixels: Pixels = decode_jpeg(plain + scans, kind, strict=False)
        padded = decode_jpeg(plain + _padded(scans), kind, strict=False)
    except ValueError as error:
        raise source.damaged() from error
    if not np.array_equal(pixels, padded):
        raise source.damaged("its picture data ends too early")
    return pixels


def _padded(scans: bytes) -> bytes:
    """Scans with more data behind the last; they decode alike unless the decoder had run out of data."""
    return scans.removesuffix(b"\xff\xd9") + b"\x55\xaa" * (1 << 12) + b"\xff\xd9"


def _decode_unusual(source: Source, plain: bytes, scans: bytes, kind: str) -> Pixels:
    """Subsampling that TurboJPEG has no name for: Pillow decodes; it has no warnings, but missing rows show."""
    decoded = []
    for data in (scans, _padded(scans)):
        try:
            picture = JpegImagePlugin.JpegImageFile(io.BytesIO(plain + data))
            decoded.append(np.array(picture))
        except (OSError, SyntaxError, ValueError) as error:
            raise source.damaged() from error
    if not np.array_equal(decoded[0], decoded[1]):
        raise source.damaged("its picture data ends too early")
    pixels = decoded[0]
    if kind == "CMYK":
        np.subtract(255, pixels, out=pixels)  # as it is stored
    return pixels[..., None] if kind == "GRAY" else pixels


def _subsampling(header: _Header) -> str:
    """How the chroma components are sampled, compared with the first."""
    (_, across, down, _), *others = header.components
    if not others:
        return "4:4:4"
    factors = {(across / max(h, 1), down / max(v, 1)) for _, h, v, _ in others[:2]}
    return _SUBSAMPLING.get(factors.pop(), _UNUSUAL) if len(factors) == 1 else _UNUSUAL


def _join_icc(header: _Header) -> bytes | None:
    """The profile, if all its parts are there: each says which it is, and how many there are."""
    parts = sorted(s[len(_ICC) :] for m, s in header.segments if m == _APP2 and s.startswith(_ICC))
    whole = all(part[:2] == bytes((i + 1, len(parts) & 255)) for i, part in enumerate(parts))
    return b"".join(part[2:] for part in parts) or None if whole else None


def _read_metadata(header: _Header, decoded: Decoded) -> Metadata:
    cmyk = len(header.components) == 4
    photoshop = b"".join(s[len(_PHOTOSHOP) :] for m, s in header.segments if m == _APP13 and s.startswith(_PHOTOSHOP))
    dpi, aspect = _density(header.first(_APP0, _JFIF))
    return Metadata(
        exif=header.exif,
        xmp=header.first(_APP1, _XMP),
        icc=_metadata.srgb_profile() if cmyk else _join_icc(header),
        photoshop=photoshop or None,
        dpi=dpi,
        aspect=aspect,
        comment=b"\n".join(s for m, s in header.segments if m == _COM) or None,
        segments=tuple(_camera_segments(header)[0]),
    )


def _camera_segments(header: _Header) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    """Application segments that only the maker of the camera knows, and those among them that hold a preview.

    The first are thermal values, flight data, settings; the others would show the picture as it was.
    """
    unknown = [
        (marker, content)
        for marker, content in header.segments
        if marker != _COM and not any(marker == m and content.startswith(prefix) for m, prefix in _UNDERSTOOD)
    ]
    # a preview goes on in the next segments of its number
    of_previews = {
        m
        for m, c in unknown
        if not c.startswith(_THERMAL) and (c.startswith(b"JFXX\0") or b"\xff\xd8\xff" in c[:_LABEL])
    }
    previews = [(m, c) for m, c in unknown if m in of_previews and not c.startswith(_THERMAL)]
    return [segment for segment in unknown if segment not in previews], previews


def _density(jfif: bytes | None) -> tuple[tuple[float, float] | None, tuple[int, int] | None]:
    """Resolution [1/inch], or, for densities without a unit, of which only the ratio means something, that ratio."""
    if jfif is None or len(jfif) < 7:
        return None, None
    unit, across, down = struct.unpack_from(">BHH", jfif, 2)
    if not across or not down:
        return None, None
    scale = {1: 1.0, 2: 2.54}.get(unit)
    return (across * scale, down * scale) if scale else None, (across, down) if unit == 0 and across != down else None


def _note_what_is_lost(header: _Header, data: bytes, end: int, decoded: Decoded) -> None:
    xmp = decoded.metadata.xmp or b""
    if header.first(_APP2, _ICC) is not None and _join_icc(header) is None:
        decoded.notes.append("Parts of the embedded colour profile are missing; it was dropped.")
    video = data.find(b"ftyp", end) >= 0
    gain_map = header.first(_APP2, _GAIN_MAP) is not None
    if gain_map or b"hdrgm:Version" in xmp or b"apple.com/HDRGainMap" in xmp:
        decoded.notes.append("The HDR gain map was dropped; the picture is kept in its standard range.")
    elif header.first(_APP2, _MPF) is not None:
        decoded.notes.append("Only the first picture of the multi-picture file was kept.")
    elif not video and data.find(b"\xff\xd8\xff", end) >= 0:
        decoded.notes.append("Only the first picture was kept; another one stands behind it in the file.")
    elif not video and data[end:].strip(b"\0\xff \r\n"):
        decoded.notes.append(f"{len(data) - end} bytes behind the picture were dropped.")
    if video:
        decoded.notes.append("The video of the motion photo was dropped.")
    previews = _camera_segments(header)[1]
    if previews:
        decoded.notes.append(f"Previews of the picture as it was were dropped ({_names(previews)}).")
    if decoded.metadata.segments and header.orientation != 1:
        names = _names(decoded.metadata.segments)
        decoded.notes.append(f"The picture was turned upright; the camera's own data ({names}) was kept as it is.")
    if header.first(_APP1, _XMP_EXTENSION) is not None:
        decoded.notes.append("The extended part of the XMP data (depth map, previews) was dropped.")
    if any(m == _APP11 and s[:2] == b"JP" for m, s in header.segments):
        decoded.notes.append("The content credentials were dropped; they do not hold for changed pixels.")


def _names(segments: Iterable[tuple[int, bytes]]) -> str:
    """``"APP3, APP6 GoPro"``."""
    names = []
    for marker, content in segments:
        label = re.match(rb"([A-Za-z][A-Za-z0-9_ ]{2,15})\0", content)
        names.append(f"APP{marker - _APP0}" + (f" {label[1].decode()}" if label else ""))
    return ", ".join(dict.fromkeys(names))


def segment_notes(metadata: Metadata) -> list[str]:
    """What every format but JPEG loses of a JPEG."""
    if not metadata.segments:
        return []
    return [f"The camera's own data ({_names(metadata.segments)}) was dropped; only JPEG has a place for it."]


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as JPEG will lose."""
    lines = []
    if metadata.exif and len(metadata.exif) > _MAX_EXIF:
        lines.append("The EXIF data is too large for a JPEG and was dropped.")
    if metadata.comment and len(metadata.comment) > _MAX_SEGMENT:
        lines.append(f"The comment was cut at {_MAX_SEGMENT} bytes, the most that a JPEG has place for.")
    if metadata.xmp and len(_XMP) + len(metadata.xmp) > _MAX_SEGMENT:
        lines.append("The XMP data is too large for a JPEG and was dropped.")
    if picture.encoding.jpeg_subsampling == _UNUSUAL and picture.pixels.ndim == 3:
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
    start = 20 if plain[2:4] == b"\xff\xe0" else 2  # behind Pillow's own JFIF segment
    return b"".join((plain[:2], _metadata_segments(metadata), plain[start:]))


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
    return b"\xff\xd8" + _joined(head) + b"".join(scans) + b"\xff\xd9"


def _take_apart(grey: bytes, component: int) -> tuple[list[tuple[int, bytes]], int, bytes]:
    """Quantisation table, frame marker and scans of a grey JPEG, renamed to a component of a colour JPEG."""
    tables, frame, parts, position = [], 0, [], 2
    while grey[position + 1] != _EOI:
        marker, length = grey[position + 1], int.from_bytes(grey[position + 2 : position + 4], "big")
        content, position = grey[position + 4 : position + 2 + length], position + 2 + length
        if marker == _DQT:
            tables.append((_DQT, bytes((content[0] & 0xF0 | component,)) + content[1:]))
        elif marker in _FRAMES:
            frame = marker
        elif marker == _DHT:
            parts.append(_joined([(marker, content)]))
        elif marker == _SOS:
            found = _MARKER_IN_SCAN.search(grey, position)
            assert found is not None
            parts.append(_joined([(marker, content[:1] + bytes((component + 1,)) + content[2:])]))
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


def _metadata_segments(metadata: Metadata) -> bytes:
    """The JFIF segment, with the resolution or the pixel aspect, and what else is said about the picture."""
    unit, across, down = 0, 1, 1
    if metadata.dpi:
        unit, (across, down) = 1, (min(max(round(value), 1), 65535) for value in metadata.dpi)
    elif metadata.aspect and max(metadata.aspect) <= 65535:
        across, down = metadata.aspect
    segments = [(_APP0, _JFIF + struct.pack(">BBBHHBB", 1, 1, unit, across, down, 0, 0))]
    if metadata.exif and len(metadata.exif) <= _MAX_EXIF:
        room = _MAX_SEGMENT - len(_EXIF)
        segments += [(_APP1, _EXIF + metadata.exif[i : i + room]) for i in range(0, len(metadata.exif), room)]
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
    segments += metadata.segments
    if metadata.comment:
        segments.append((_COM, metadata.comment[:_MAX_SEGMENT]))
    return _joined(segments)


def _joined(segments: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
