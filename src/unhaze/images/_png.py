"""PNG: OpenCV decodes the pixels, 8 and 16 bit; the chunks around them are read in :mod:`unhaze.images._png_chunks`.

Pillow decodes what OpenCV does not: palettes, fewer than 8 bits, one transparent colour. The chunks follow the PNG
specification, third edition (W3C, 2025). What OpenCV gets is free of other chunks, and its data is inflated once
before: libpng tells its errors and warnings to the terminal alone.
"""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import PngImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images import _colourspace, _metadata, _opencv
from unhaze.images._arrays import split_channels
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Source
from unhaze.images._png_chunks import (
    COLOUR_SPACE,
    GREY,
    GREY_ALPHA,
    METRE,
    PALETTE,
    RAW_PROFILE,
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    UNDERSTOOD,
    XMP_KEYWORD,
    Layout,
    chunk,
    names_of,
    read_layout,
)
from unhaze.images._png_encoder import encode, notes
from unhaze.images.budget import TooMuchError

__all__ = ["encode", "identify", "notes", "read"]

_KEPT = {b"bKGD", b"oFFs", b"sCAL", b"sTER", b"mDCV"}  # true of the result too, though a stranger could not know
_OF_PLACES = {b"oFFs", b"sCAL"}  # across and down: not true of a picture that was turned
_OF_NO_USE = {b"hIST", b"iDOT", b"fcTL", b"fdAT"}  # of a palette, of this very stream, of an animation
_SAFE_TO_COPY = 32  # in the last letter of a name
_SRGB_GAMMA = (45455).to_bytes(4, "big")
_READ_RAW_PROFILES = {RAW_PROFILE + kind for kind in ("exif", "APP1", "xmp", "iptc", "8bim", "icc", "icm")}
_LONGEST_SIDE = 1_000_000  # [px] of libpng, which says so to the terminal alone
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PAETH = 4  # the highest filter type
_INFLATED_AT_A_TIME = 1 << 18  # [bytes]


def identify(source: Source) -> ImageInfo:
    """Size and type from the chunks before the pixels."""
    source.header = layout = read_layout(source)
    width, height = layout.width, layout.height
    if layout.orientation >= 5:
        width, height = height, width
    dtype = "uint16" if layout.depth == 16 else "uint8"
    return ImageInfo("png", width, height, 1 if layout.grey else 3, layout.transparent, dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a PNG that is not animated."""
    header: Layout = source.header or read_layout(source)
    source.check_size(header.width, header.height, max_pixels)
    longest = max(header.width, header.height)
    if longest > _LONGEST_SIDE:
        raise UnsupportedImageError(
            f"{source.name} has a side of {longest} pixels, more than the {_LONGEST_SIDE} of a PNG that are read; cut "
            "it into parts first."
        )
    layout = read_layout(source, header)
    frames = layout.first(b"acTL")
    if frames is not None and int.from_bytes(frames[:4], "big") > 1:
        raise UnsupportedImageError(f"{source.name} is an animated PNG; extract the frames first.")
    if layout.kind == PALETTE and layout.first(b"PLTE") is None:
        raise source.damaged("its palette is missing")
    _check_pixel_data(source, layout)
    orientation = layout.orientation
    layout.chunks += layout.behind
    metadata = _read_metadata(layout)
    by_pillow = layout.kind == PALETTE or layout.depth < 8 or (layout.depth == 8 and layout.first(b"tRNS") is not None)
    decoded = _decode_with_pillow(source, layout) if by_pillow else _decode(source, layout)
    decoded.orientation = orientation
    decoded.metadata = metadata
    kept = (each for each in layout.chunks if _stays_true(each, layout, turned=orientation != 1))
    decoded.encoding = Encoding(png_chunks=tuple(kept))
    _note_what_is_lost(source, layout, decoded)
    return decoded


def _check_pixel_data(source: Source, layout: Layout) -> None:
    """Inflate the pixel data without keeping it; refuse what libpng would complain about."""
    bits = layout.depth * {RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}.get(layout.kind, 1)
    sizes = []  # bytes a row with its filter, and rows, of each pass
    for x, y, across, down in _ADAM7 if layout.interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(layout.width - x) // across), -(-(layout.height - y) // down)
        if columns > 0 and rows > 0:
            sizes.append((1 + -(-columns * bits // 8), rows))
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
                plain = inflater.decompress(piece, _INFLATED_AT_A_TIME)
            except zlib.error as error:
                raise source.damaged("its compressed data is broken") from error
            if _has_unknown_filter(plain, count, sizes):
                raise source.damaged("a row has an unknown filter")
            count += len(plain)
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


def _decode(source: Source, layout: Layout) -> Decoded:
    stored = _opencv.decode(_bare(source, layout), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.shape[:2] != (layout.height, layout.width):
        raise source.damaged()
    pixels, alpha = _opencv.split_alpha(stored, grey=layout.grey)
    key = layout.first(b"tRNS")
    if layout.kind == GREY and key:
        alpha = np.where(pixels == int.from_bytes(key[:2], "big"), 0, 65535).astype(np.uint16)
    return Decoded(pixels, alpha)


def _bare(source: Source, layout: Layout) -> Source:
    """The same picture without the chunks that say nothing of the pixels; decoders would inflate them without limit."""
    data = source.data()
    needed = {b"PLTE", b"tRNS"} if layout.kind == PALETTE else {b"tRNS"}  # else a palette is a suggestion
    if (
        not source.budget.exceeded
        and not layout.behind
        and not layout.damaged
        and not layout.surplus
        and {name for name, _ in layout.chunks} <= needed
    ):
        return source
    parts: list[bytes | memoryview] = [data[: len(SIGNATURE) + 25]]
    parts += [chunk(name, content) for name, content in layout.chunks if name in needed]
    view = memoryview(data)
    if layout.surplus:
        parts += [chunk(b"IDAT", view[offset : offset + length]) for offset, length in layout.pixel_data]
    else:
        parts += [view[offset - 8 : offset + length + 4] for offset, length in layout.pixel_data]
    return Source(io.BytesIO(b"".join([*parts, chunk(b"IEND", b"")])), source.name, source.suffix)


def _decode_with_pillow(source: Source, layout: Layout) -> Decoded:
    key, notes = layout.first(b"tRNS"), []
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(_bare(source, layout).data()))
        if layout.kind == GREY:  # Pillow stretches the values, but not the transparent one among them
            pixels = np.array(image.convert("L"))
            top = (1 << layout.depth) - 1
            value = int.from_bytes((key or b"")[:2], "big") * 255 // top
            return Decoded(pixels, None if key is None else np.where(pixels == value, 0, 255).astype(np.uint8))
        if layout.kind == PALETTE:
            missing = int((np.asarray(image) >= len(layout.first(b"PLTE") or b"") // 3).sum())
            if missing:  # all decoders make them black
                notes.append(f"{missing} pixels have a colour that the palette does not hold; they are shown black.")
        mode = ("L" if layout.grey else "RGB") + ("A" if layout.transparent else "")
        stored = np.array(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise source.damaged() from error
    return Decoded(*split_channels(stored, grey=layout.grey), notes=notes)


def _read_metadata(layout: Layout) -> Metadata:
    icc = None
    profile = layout.first(b"iCCP")  # first: the colours depend on it
    if profile is not None:
        try:
            icc = layout.inflate(b"iCCP", profile.partition(b"\0")[2][1:])
        except zlib.error:
            layout.damaged.append(b"iCCP")
        except TooMuchError:
            pass  # of which the budget knows
    icc = icc or layout.raw_profile("icc") or layout.raw_profile("icm")
    if icc and (
        layout.hdr or not _agrees(icc, layout)
    ):  # cICP counts before iCCP (section 4.3), which is there for programs
        icc = None  # that do not know it
        layout.other_profile = True
    resources = layout.raw_profile("8bim") or layout.raw_profile("iptc")
    if resources and not resources.startswith(b"8BIM"):
        resources = b"8BIM\4\4\0\0" + struct.pack(">I", len(resources)) + resources + b"\0" * (len(resources) % 2)
    dpi = aspect = None
    density = layout.first(b"pHYs") or b""
    across, down, unit = struct.unpack(">IIB", density) if len(density) == 9 else (0, 0, 0)
    if across and down and unit == 1:  # per metre
        dpi = (across / METRE, down / METRE)
    elif across and down and unit == 0 and across != down:  # of densities without a unit only the ratio means something
        aspect = (across, down)
    return Metadata(
        exif=layout.exif,
        xmp=layout.xmp,
        icc=icc or _described_profile(layout),
        photoshop=resources,
        dpi=dpi,
        text=tuple(pair for pair in layout.texts() if pair[0] != XMP_KEYWORD and pair[0] not in _READ_RAW_PROFILES),
        aspect=aspect,
        cicp=layout.hdr,
    )


def _agrees(icc: bytes, layout: Layout) -> bool:
    """Whether a profile says what cICP says, as far as that says something; then the profile stays, to the byte."""
    cicp = layout.cicp
    if cicp is None or not _colourspace.is_known(*cicp):
        return True
    if _metadata.icc_space(icc) != ("GRAY" if layout.grey else "RGB"):
        return False
    described = _colourspace.profile_of_cicp(*cicp, grey=layout.grey) or _metadata.srgb_profile()
    return layout.grey or _metadata.same_colours(icc, described)


def _described_profile(layout: Layout) -> bytes | None:
    """A profile for what cICP, or else gAMA and cHRM, say; sRGB needs none."""
    cicp, gamma, chromaticities = layout.cicp, layout.first(b"gAMA"), layout.first(b"cHRM")
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


def _stays_true(chunk: tuple[bytes, bytes], layout: Layout, *, turned: bool) -> bool:
    name, content = chunk
    if name in COLOUR_SPACE:
        return not (name == b"cICP" and layout.hdr and content[3])  # that becomes metadata
    if name == b"bKGD":
        return layout.kind != PALETTE and layout.depth >= 8 and len(content) == (2 if layout.grey else 6)
    if name in _KEPT:
        return not (turned and name in _OF_PLACES)
    return name not in UNDERSTOOD and name not in _OF_NO_USE and bool(name[3] & _SAFE_TO_COPY)


def _note_what_is_lost(source: Source, layout: Layout, decoded: Decoded) -> None:
    notes, kept = decoded.notes, {name for name, _ in decoded.encoding.png_chunks}
    if layout.damaged:
        notes.append(f"Chunks of the PNG are damaged or out of place and were dropped ({names_of(layout.damaged)}).")
    if layout.cut_off:
        notes.append(f"Chunks of the PNG end early; what they hold was kept ({names_of(layout.cut_off)}).")
    if layout.scattered:
        notes.append("The picture data of the PNG stands in several places; look at the result.")
    if layout.surplus:
        notes.append(f"{layout.surplus} bytes of picture data behind its end were left out.")
    lost = {name: None for name, _ in layout.chunks if name not in UNDERSTOOD | _OF_NO_USE | kept}
    if b"caBX" in lost:
        notes.append("The content credentials were dropped; they do not hold for changed pixels.")
        del lost[b"caBX"]
    if lost:
        notes.append(f"Chunks of the PNG that do not hold for the result were dropped ({names_of(lost)}).")
    if any(name == b"iTXt" and content.partition(b"\0")[2][2:4] != b"\0\0" for name, content in layout.chunks):
        notes.append("The language and the translated keyword of PNG texts were dropped; the texts were kept.")
    if decoded.metadata.cicp:
        if layout.first(b"iCCP") is not None:
            notes.append(_metadata.HDR_BEFORE_ICC)
    elif layout.other_profile:
        notes.append("The colour profile was dropped; the cICP chunk beside it says something else, and counts.")
    notes += _metadata.cicp_notes(layout.cicp, decoded.metadata.icc)
    if (layout.first(b"cICP") or b"")[3:] == b"\0":
        notes.append("The cICP chunk says that black is above 0 and white below the top; the values were left so.")
    notes += source.note_on_tail(layout.end)
