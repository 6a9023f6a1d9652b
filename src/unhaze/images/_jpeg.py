"""JPEG: simplejpeg decodes (it hands over the warnings of libjpeg); :mod:`unhaze.images._jpeg_encoder` encodes.

The marker structure (ITU-T T.81, Annex B) is walked here, because neither simplejpeg nor Pillow tells a truncated file
from a damaged one, or keeps the segments that neither knows. The decoder gets a file of the segments it needs, so that
its warnings speak of the pixels alone.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, JpegImagePlugin
from simplejpeg import decode_jpeg

from unhaze.errors import UnsupportedImageError
from unhaze.images import _metadata
from unhaze.images._jpeg_encoder import encode, notes, segment_notes
from unhaze.images._jpeg_segments import (
    ADOBE,
    APP0,
    APP1,
    APP2,
    APP11,
    APP13,
    APP14,
    COM,
    DAC,
    DHT,
    DQT,
    DRI,
    EOI,
    EXIF,
    FRAMES,
    GAIN_MAP,
    ICC,
    JFIF,
    MARKER_IN_SCAN,
    MPF,
    PHOTOSHOP,
    SOS,
    SUBSAMPLING,
    UNUSUAL,
    XMP,
    XMP_EXTENSION,
    Header,
    camera_segments,
    find_segments,
    joined,
    names_of,
)
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Pixels, Source

__all__ = ["encode", "identify", "notes", "read", "segment_notes"]

_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_HUFFMAN_OR_ARITHMETIC = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # the others are lossless or hierarchical: no decoder at hand
_OTHER_KINDS = {0xF7: "JPEG-LS", 0xC3: "lossless JPEG", 0xC7: "lossless JPEG", 0xCB: "lossless JPEG"}
_DECODING = {DQT, DHT, DAC, DRI, *FRAMES}  # segments without which there are no pixels
_OF_COLOURS = {APP0: JFIF, APP14: ADOBE}  # those that say what the colours are
_MAX_SCANS = 500  # of a progressive JPEG: each goes through the whole picture; 10 are usual, and 500 djpeg's advice
_MAX_TABLES = 1 << 18  # [bytes] of all segments needed for decoding; a table of each kind at each place takes 3 kB
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")  # a warning of libjpeg
_SEGMENT_BYTES = 200  # what a segment takes in memory beside its content


def identify(source: Source) -> ImageInfo:
    """Size and type from the frame header; what the segments before the first scan say is kept for :func:`read`."""
    header, tables = Header(), 0
    for marker, position, content in find_segments(source, header):
        if marker in _DECODING:
            tables += len(content)
            if tables > _MAX_TABLES:
                raise source.damaged("it has more tables than a decoder can use")
            header.decoding.append((marker, content))
        if marker in _OTHER_KINDS:
            raise UnsupportedImageError(
                f"{source.name} is a {_OTHER_KINDS[marker]} file, which is not read; convert it to PNG or TIFF first."
            )
        if marker in FRAMES:
            if len(content) < 6 or len(content) < 6 + 3 * content[5]:
                raise source.damaged("its frame header is too short")
            if header.frame:
                raise source.damaged("it has two frame headers")
            header.frame = marker
            header.precision, header.height, header.width, count = struct.unpack_from(">BHHB", content)
            components = struct.iter_unpack("3B", content[6 : 6 + 3 * count])
            header.components = [(identity, both >> 4, both & 15, table) for identity, both, table in components]
        elif marker == SOS:
            header.scan = position
        elif marker == COM or 0xE0 <= marker <= 0xEF:
            # there always is room for the first of those that say what the colours are
            prefix = _OF_COLOURS.get(marker)
            vital = prefix is not None and content.startswith(prefix) and header.first(marker, prefix) is None
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
    source.header = header
    parts = [s[len(EXIF) :] for m, s in header.segments if m == APP1 and s.startswith(EXIF)]
    starts = [i for i, part in enumerate(parts) if part[:4] in (b"II*\0", b"MM\0*")]
    if starts:  # what does not fit into one segment goes on in the next; before the first is no EXIF, a second a copy
        parts = parts[starts[0] : starts[1] if len(starts) > 1 else None]
    header.exif = b"".join(parts) or None
    header.orientation = _metadata.orientation(header.exif, header.first(APP1, XMP))
    width, height = (header.height, header.width) if header.orientation >= 5 else (header.width, header.height)
    return ImageInfo("jpeg", width, height, 1 if len(header.components) == 1 else 3, False, "uint8")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a JPEG that was identified; of a multi-picture file the first picture."""
    header: Header = source.header
    source.check_size(header.width, header.height, max_pixels)
    data, position, end = source.data(), header.scan, 0
    while not end:  # behind the end-of-image marker that ends the first picture
        found = MARKER_IN_SCAN.search(data, position)
        if found is None:
            raise source.truncated()
        # tables and further scan headers stand between the scans of a progressive JPEG
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        position = found.end() + max(length, 2)
        end = found.end() if data[found.end() - 1] == EOI else 0
    scans = data[header.scan - 2 : end]  # from the first scan header to the end of the picture
    if header.frame not in _PROGRESSIVE:
        # some cameras leave the bounds of the spectrum at zero, of which libjpeg warns though they do not matter here
        behind = header.scan + int.from_bytes(data[header.scan : header.scan + 2], "big")
        scans = data[header.scan - 2 : behind - 3] + b"\0\x3f\0" + data[behind:end]
    missing = _check_scans(source, header, scans)
    # the profile, if all its parts are there: each says which it is, and how many there are
    parts = sorted(s[len(ICC) :] for m, s in header.segments if m == APP2 and s.startswith(ICC))
    whole = all(part[:2] == bytes((i + 1, len(parts) & 255)) for i, part in enumerate(parts))
    icc = b"".join(part[2:] for part in parts) or None if whole else None
    # how the chroma components are sampled, compared with the first
    (_, across, down, _), *others = header.components
    factors = {(across / max(h, 1), down / max(v, 1)) for _, h, v, _ in others[:2]}
    subsampling = SUBSAMPLING.get(factors.pop(), UNUSUAL) if len(factors) == 1 else UNUSUAL if others else "4:4:4"
    decoded = _decode(source, header, scans, icc, subsampling)
    decoded.notes += missing
    if parts and icc is None:
        decoded.notes.append("Parts of the embedded colour profile are missing; it was dropped.")
    tables: dict[int, tuple[int, ...]] = {}
    for content in (content for marker, content in header.decoding if marker == DQT):
        while content:  # one segment may hold several
            wide, index = content[0] >> 4, content[0] & 15
            size = 128 if wide else 64
            if len(content) > size:
                values = np.frombuffer(content, ">u2" if wide else "u1", 64, 1)
                tables[index] = tuple(int(values[i]) for i in JpegImagePlugin.zigzag_index)
            content = content[1 + size :]
    of_components = tuple(tables.get(component[3], ()) for component in header.components)
    decoded.encoding = Encoding(
        jpeg_tables=of_components if all(of_components) else None,
        jpeg_subsampling=subsampling if len(header.components) == 3 else None,
        jpeg_progressive=header.frame in _PROGRESSIVE,
    )
    _describe(decoded, header, icc, data, end)
    return decoded


def _decode(source: Source, header: Header, scans: bytes, icc: bytes | None, subsampling: str) -> Decoded:
    """Decode the scans with the verdict of libjpeg: missing rows refuse the file, other damage becomes a note."""
    kind = {1: "GRAY", 3: "RGB", 4: "CMYK"}[len(header.components)]
    # the segments before the first scan that matter to the pixels
    segments = [(APP0, JFIF + b"\1\1\0\0\1\0\1\0\0")] if header.first(APP0, JFIF) is not None else []
    segments += [(m, s[:12]) for m, s in header.segments if m == APP14 and s.startswith(ADOBE)]
    plain = b"\xff\xd8" + joined([*segments, *header.decoding])
    notes = []
    if header.junk:
        notes.append(f"{header.junk} bytes that belong to nothing were left out.")
    unusual = subsampling == UNUSUAL or (subsampling == "4:1:0" and kind == "RGB")
    if unusual:  # TurboJPEG has no name for it: Pillow decodes; it has no warnings, but missing rows show
        pixels = _decode_twice(
            source, plain, scans, lambda data: np.array(JpegImagePlugin.JpegImageFile(io.BytesIO(data)))
        )
    else:
        try:
            pixels = decode_jpeg(plain + scans, kind)
        except ValueError as warning:
            if "remature end" in str(warning):
                raise source.damaged("its picture data ends too early") from warning
            left = _LEFT_OVER.search(str(warning))
            unread = scans[-2 - int(left[1]) : -2] if left else b""
            # data that the decoder had no use for; zeros and ones are padding, and a little of others is a small damage
            if 4 * len(unread) > len(scans) and unread.strip(b"\0\xff"):
                raise source.damaged("its picture data does not fit its headers") from warning
            pixels = _decode_twice(source, plain, scans, lambda data: decode_jpeg(data, kind, strict=False))
            notes.append(f"The picture data is damaged in places ({warning}); look at the result.")
    if pixels.shape[:2] != (header.height, header.width):
        raise source.damaged()
    if kind != "CMYK":
        return Decoded(pixels[..., 0] if kind == "GRAY" else pixels, notes=notes)
    if not unusual:
        np.subtract(255, pixels, out=pixels)  # as Adobe stores it: full ink is 0
    converted, note = _metadata.cmyk_to_srgb(Image.fromarray(pixels, "CMYK"), icc)
    return Decoded(converted, notes=[*notes, note])


def _decode_twice(source: Source, plain: bytes, scans: bytes, decode: Callable[[bytes], Pixels]) -> Pixels:
    """Decode, and once more with more data behind the last scan: both are alike unless the decoder had run out of it.

    Args:
        source: The file.
        plain: All that stands before the first scan.
        scans: The scans and the end mark.
        decode: A decoder that fills up what is missing.

    Raises:
        ImageDecodeError: The decoder refuses, or a part of the picture is missing.
    """
    try:
        pixels = decode(plain + scans)
        padded = decode(plain + scans.removesuffix(b"\xff\xd9") + b"\x55\xaa" * (1 << 12) + b"\xff\xd9")
    except (OSError, SyntaxError, ValueError) as error:
        raise source.damaged() from error
    if not np.array_equal(pixels, padded):
        raise source.damaged("its picture data ends too early")
    return pixels


def _check_scans(source: Source, header: Header, scans: bytes) -> list[str]:
    """A note where a progressive JPEG lacks scans, of which libjpeg says nothing; refuses thousands of them.

    Refused, too, is a scan with fewer restart markers than it is to have: libjpeg leaves out what lies between them.

    A sequential one in which a component has no scan is refused: its colours are wrong. In a progressive one each scan
    gives some coefficients of some components down to a bit (ITU-T T.81, G.1.1.1); all are needed to bit 0.
    """
    progressive = header.frame in _PROGRESSIVE
    missing = {component[0]: set(range(64)) for component in header.components}
    interval = next((int.from_bytes(content[:2], "big") for m, content in header.decoding[::-1] if m == DRI), 0)
    position = count = restarts = 0
    while (found := MARKER_IN_SCAN.search(scans, position)) is not None:
        if restarts:
            between = np.frombuffer(scans, np.uint8, found.start() - position, position)
            if np.count_nonzero((between[:-1] == 0xFF) & (between[1:] & 0xF8 == 0xD0)) < restarts:
                raise source.damaged("blocks of its picture are missing")
        marker, start, restarts = scans[found.end() - 1], found.end(), 0
        if marker == EOI:
            break
        length = int.from_bytes(scans[start : start + 2], "big")
        content, position = scans[start + 2 : start + length], start + max(length, 2)
        if marker == DRI:
            interval = int.from_bytes(content[:2], "big")
        if marker != SOS or len(content) < 4 or len(content) < 4 + 2 * content[0]:
            continue
        count += 1
        if count > _MAX_SCANS:
            raise source.damaged(f"it is made of more than {_MAX_SCANS} scans")
        if interval:
            restarts = -(-_units(header, content[1 : 1 + 2 * content[0] : 2]) // interval) - 1
        first, last, bits = content[-3:] if progressive else (0, 63, 0)
        if bits & 15 == 0:
            for identity in content[1 : 1 + 2 * content[0] : 2]:
                missing.get(identity, set()).difference_update(range(first, last + 1))
    if any(missing.values()):
        if not progressive:
            raise source.damaged("the scan of one of its colour components is missing")
        return ["Scans of the progressive JPEG are missing: it is less fine than it was; look at the result."]
    return []


def _units(header: Header, identities: bytes) -> int:
    """How many units a scan of these components is made of: blocks of one, or groups of blocks of several (A.2)."""
    largest_h = max(component[1] for component in header.components)
    largest_v = max(component[2] for component in header.components)
    if len(identities) > 1:
        return -(-header.width // (8 * largest_h)) * -(-header.height // (8 * largest_v))
    h, v = next(((h, v) for identity, h, v, _ in header.components if identity == identities[0]), (0, 0))
    blocks = 1
    for side, factor, largest in ((header.width, h, largest_h), (header.height, v, largest_v)):
        samples = -(-side * factor // largest)
        blocks *= -(-samples // 8)
    return blocks


def _describe(decoded: Decoded, header: Header, icc: bytes | None, data: bytes, end: int) -> None:
    """Add the metadata, and notes on what is lost of the file ``data``, whose first picture ends at ``end``."""
    kept, previews = camera_segments(header)
    photoshop = b"".join(s[len(PHOTOSHOP) :] for m, s in header.segments if m == APP13 and s.startswith(PHOTOSHOP))
    dpi = aspect = None
    jfif = header.first(APP0, JFIF) or b""
    unit, across, down = struct.unpack_from(">BHH", jfif, 2) if len(jfif) >= 7 else (0, 0, 0)
    if across and down and unit in (1, 2):  # per inch, per centimetre
        dpi = (across * (1.0, 2.54)[unit - 1], down * (1.0, 2.54)[unit - 1])
    elif across and down and unit == 0 and across != down:  # of densities without a unit only the ratio means something
        aspect = (across, down)
    decoded.metadata = Metadata(
        exif=header.exif,
        xmp=header.first(APP1, XMP),
        icc=_metadata.srgb_profile() if len(header.components) == 4 else icc,
        photoshop=photoshop or None,
        dpi=dpi,
        aspect=aspect,
        comment=b"\n".join(s for m, s in header.segments if m == COM) or None,
        segments=tuple(kept),
    )
    xmp = decoded.metadata.xmp or b""
    video = data.find(b"ftyp", end) >= 0
    gain_map = header.first(APP2, GAIN_MAP) is not None
    if gain_map or b"hdrgm:Version" in xmp or b"apple.com/HDRGainMap" in xmp:
        decoded.notes.append("The HDR gain map was dropped; the picture is kept in its standard range.")
    elif header.first(APP2, MPF) is not None:
        decoded.notes.append("Only the first picture of the multi-picture file was kept.")
    elif not video and data.find(b"\xff\xd8\xff", end) >= 0:
        decoded.notes.append("Only the first picture was kept; another one stands behind it in the file.")
    elif not video and data[end:].strip(b"\0\xff \r\n"):
        decoded.notes.append(f"{len(data) - end} bytes behind the picture were dropped.")
    if video:
        decoded.notes.append("The video of the motion photo was dropped.")
    if previews:
        decoded.notes.append(f"Previews of the picture as it was were dropped ({names_of(previews)}).")
    if decoded.metadata.segments and header.orientation != 1:
        names = names_of(decoded.metadata.segments)
        decoded.notes.append(f"The picture was turned upright; the camera's own data ({names}) was kept as it is.")
    if header.first(APP1, XMP_EXTENSION) is not None:
        decoded.notes.append("The extended part of the XMP data (depth map, previews) was dropped.")
    if any(m == APP11 and s[:2] == b"JP" for m, s in header.segments):
        decoded.notes.append("The content credentials were dropped; they do not hold for changed pixels.")
