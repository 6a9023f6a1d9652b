"""AVIF through Pillow, which brings libavif."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import AvifImagePlugin, Image, _avif

from unhaze.errors import ImageEncodeError, UnsupportedImageError
from unhaze.images import _colourspace, _exif, _metadata
from unhaze.images._arrays import grey_to_rgb, merge_alpha, split_channels
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source

__all__ = ["encode", "identify", "notes", "read"]

DEFAULT_QUALITY = 85
MAX_SIDE = 65535
_SPEED = 9  # of 0 to 10: five times as fast as Pillow's 6, for files a quarter larger at equal quality
_HIGH_BIT_DEPTH, _MONOCHROME = 0x40, 0x10  # flags in the third byte of av1C (AV1 in ISOBMFF, section 2.3.3)
_NCLX = b"colrnclx"  # box and kind of a colour description by numbers (ISO/IEC 14496-12, section 12.1.5)


class _AvifFile(AvifImagePlugin.AvifImageFile):
    """Pillow's reader, but for EXIF: it would lay it out anew, and complain of damage through the module warnings."""

    def _open(self) -> None:
        assert self.fp is not None
        threads = AvifImagePlugin._get_default_max_threads()
        self._decoder = _avif.AvifDecoder(self.fp.read(), AvifImagePlugin.DECODE_CODEC_CHOICE, threads)
        self._size, self.n_frames, self._mode, icc, exif, turn, xmp = self._decoder.get_info()
        self.is_animated = self.n_frames > 1
        self.info |= {"icc_profile": icc, "exif": exif, "orientation": turn, "xmp": xmp}
        self.seek(0)


def identify(source: Source) -> ImageInfo:
    """Size and type; libavif parses the boxes and decodes no pixel."""
    image = _open(source)
    width, height = image.size
    if image.info["orientation"] >= 5:
        width, height = height, width
    grey = bool(_configuration(_primary_properties(source)) & _MONOCHROME)
    return ImageInfo("avif", width, height, 1 if grey else 3, image.mode == "RGBA", "uint8")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode an AVIF with a single picture."""
    image = _open(source)
    source.check_size(*image.size, max_pixels)
    if getattr(image, "n_frames", 1) > 1:
        raise UnsupportedImageError(f"{source.name} is an animated AVIF; extract the frames first.")
    icc, exif = image.info.get("icc_profile"), _read_exif(image)
    properties = _primary_properties(source)
    configuration, cicp = _configuration(properties), _description(properties)
    grey = bool(configuration & _MONOCHROME)
    hdr = cicp is not None and _colourspace.is_hdr(cicp[1])
    notes = [_metadata.HDR_BEFORE_ICC] if hdr and icc else []
    if hdr:
        icc = None
    elif cicp is not None and not icc:
        icc = _colourspace.profile_of_cicp(*cicp, grey=grey)
    metadata = Metadata(exif=exif, xmp=image.info["xmp"] or None, icc=icc or None, cicp=cicp if hdr else None)
    try:
        stored = np.array(image)
    except (OSError, SyntaxError, RuntimeError, ValueError) as error:
        raise source.damaged() from error
    pixels, alpha = split_channels(stored, grey=grey)
    if configuration & _HIGH_BIT_DEPTH:
        notes.append("The 10 or 12 bits per colour of the AVIF were reduced to 8.")
    if b"urn:iso:std:iso:ts:21496:-1" in _meta(source) or b"tmap" in source.data()[:64]:
        notes.append("The HDR gain map was dropped; the picture is kept in its standard range.")
    notes += _metadata.cicp_notes(cicp, metadata.icc)
    # only the boxes irot and imir say how it lies, neither EXIF nor XMP (ISO/IEC 23000-22, section 7.3.6.7)
    return Decoded(pixels, alpha, image.info["orientation"], metadata=metadata, notes=notes)


def _open(source: Source) -> _AvifFile:
    try:
        return _AvifFile(io.BytesIO(source.data()))
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:
        raise source.damaged("its header cannot be read, or it is truncated") from error


def _read_exif(image: _AvifFile) -> bytes | None:
    exif: bytes | None = image.info.get("exif")
    return exif.removeprefix(b"Exif\0\0") if exif else None


def _description(properties: list[tuple[bytes, bytes]]) -> tuple[int, int] | None:
    """Colour primaries and transfer characteristics, where a property of the picture gives them by numbers."""
    for kind, content in properties:
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            return primaries, transfer
    return None


def _configuration(properties: list[tuple[bytes, bytes]]) -> int:
    """Flags of the AV1 configuration of the picture."""
    return next((content[2] for kind, content in properties if kind == b"av1C" and len(content) > 2), 0)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes that follow each other (ISO/IEC 14496-12, section 4.2)."""
    view, place = memoryview(data), 0
    while place + 8 <= len(view):
        size, kind = struct.unpack_from(">I4s", view, place)
        head = 8
        if size == 1 and place + 16 <= len(view):
            (size,) = struct.unpack_from(">Q", view, place + 8)
            head = 16
        size = len(view) - place if size == 0 else size
        if size < head:
            return
        yield kind, view[place + head : place + size].tobytes() if kind != b"mdat" else b""
        place += size


def _meta(source: Source) -> bytes:
    """Content of the box that describes the pictures, wherever in the file it is."""
    return next((content[4:] for kind, content in _boxes(source.data()) if kind == b"meta"), b"")


def _primary_properties(source: Source) -> list[tuple[bytes, bytes]]:
    """The properties of the picture that is shown, and behind them those of its first tile, if it is made of tiles.

    The file also holds those of alpha, of thumbnails and of gain maps, in any order (ISO/IEC 23008-12, section 9.3).
    """
    parts = dict(_boxes(_meta(source)))
    try:
        primary = _primary_item(parts[b"pitm"])
        items = [primary, *_made_of(parts.get(b"iref", b""), primary)[:1]]
        groups = list(_boxes(parts[b"iprp"]))
        properties = [pair for kind, content in groups if kind == b"ipco" for pair in _boxes(content)]
        owned: dict[int, list[int]] = {}
        for kind, content in groups:
            if kind == b"ipma":
                _associate(content, owned)
    except (KeyError, struct.error, IndexError):
        return []  # libavif has read the same boxes, and would have refused what is damaged
    return [properties[i - 1] for item in items for i in owned.get(item, ()) if 0 < i <= len(properties)]


def _primary_item(content: bytes) -> int:
    (item,) = struct.unpack_from(">I" if content[0] else ">H", content, 4)
    return int(item)


def _made_of(content: bytes, item: int) -> list[int]:
    """The items that a picture is derived from (section 8.11.12 of ISO/IEC 14496-12)."""
    code = "I" if content[:1] == b"\1" else "H"
    for kind, reference in _boxes(content[4:]):
        origin, count = struct.unpack_from(f">{code}H", reference)
        if kind == b"dimg" and origin == item:
            return list(struct.unpack_from(f">{count}{code}", reference, struct.calcsize(f">{code}H")))
    return []


def _associate(content: bytes, owned: dict[int, list[int]]) -> None:
    """Read which properties, counted from 1, each item has; the highest bit says whether it is essential."""
    code = ">IB" if content[0] else ">HB"
    wide = content[3] & 1
    (entries,) = struct.unpack_from(">I", content, 4)
    place = 8
    for _ in range(entries):
        item, count = struct.unpack_from(code, content, place)
        place += struct.calcsize(code)
        indices = struct.unpack_from(f">{count}{'H' if wide else 'B'}", content, place)
        place += count * (2 if wide else 1)
        owned.setdefault(item, []).extend(index & (0x7FFF if wide else 0x7F) for index in indices)


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as AVIF changes."""
    lost = metadata.photoshop or metadata.text or metadata.comment
    return ["The comment, texts and IPTC data were dropped; AVIF has no place for them."] if lost else []


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 pixels.

    Raises:
        ImageEncodeError: A side is longer than AVIF can count.
    """
    if max(pixels.shape[:2]) > MAX_SIDE:
        raise ImageEncodeError(f"AVIF cannot store a side of more than {MAX_SIDE} pixels; choose PNG or TIFF.")
    grey = pixels.ndim == 2
    options: dict[str, object] = {
        "quality": DEFAULT_QUALITY if quality is None else quality,
        "subsampling": "4:0:0" if grey else "4:4:4",
        "speed": _SPEED,
    }
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if metadata.exif:
        # Pillow would take the orientation out itself, and lay out all the rest anew
        options["exif"] = _exif.without_orientation(metadata.exif)
    if metadata.xmp:
        options["xmp"] = metadata.xmp
    if alpha is not None:
        options["advanced"] = {"alpha:lossless": "1"}
        pixels = grey_to_rgb(pixels)
    file = io.BytesIO()
    Image.fromarray(merge_alpha(pixels, alpha)).save(file, "AVIF", **options)
    return file.getvalue() if metadata.cicp is None else _described(file.getvalue(), metadata.cicp)


def _described(encoded: bytes, cicp: tuple[int, int]) -> bytes:
    """Exchange what Pillow says of the colours, sRGB; the box counts, not the stream (AV1 in ISOBMFF, 2.3.4)."""
    place = encoded.index(_NCLX) + len(_NCLX)
    return encoded[:place] + struct.pack(">HH", *cicp) + encoded[place + 4 :]
