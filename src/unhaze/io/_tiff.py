"""TIFF: tifffile decodes and encodes the pixels, the directories are read and written here.

tifffile alone needs the optional imagecodecs for LZW and other old compressions. These are left to OpenCV and
Pillow, which bring libtiff, even where imagecodecs is installed: its LZW decoder reads outside its
buffers when a file is damaged. No library writes the EXIF and GPS directories, so the one that tifffile
wrote is laid out anew with them at the end of the file. Tag numbers are those of TIFF 6.0 and its supplements.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import sys
from dataclasses import dataclass
from importlib import import_module
from itertools import zip_longest
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, TiffImagePlugin

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.io import _exif, _metadata, _opencv
from unhaze.io._arrays import merge_alpha, premultiply, split_channels, unpremultiply
from unhaze.io._exif import Directory, Entry, ExifError
from unhaze.io._model import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source
from unhaze.io.budget import Budget

__all__ = ["encode", "identify", "is_raw", "notes", "read"]

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_DESCRIPTION, _STRIPS, _SAMPLES, _STRIP_BYTES, _PLANAR = 270, 273, 277, 279, 284
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _COLORMAP, _TILES, _TILE_BYTES = 282, 283, 296, 320, 324, 325
_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _XMP, _DEPTH = 338, 339, 700, 32997
_IPTC, _PHOTOSHOP, _ICC, _LAYERS, _DNG_VERSION = 33723, 34377, 34675, 37724, 50706

# tags that describe how the pixels lie in the file, or that Metadata holds apart; all others travel with the EXIF data
_STRUCTURE = {
    *range(254, 270), *range(273, 274), *range(277, 282), *range(284, 296), 297, *range(301, 304), *range(317, 318),
    *range(320, 342), *range(347, 348), *range(512, 533), _XMP, _DEPTH, _IPTC, _PHOTOSHOP, _ICC, _LAYERS,
    50838, 50839,
}  # fmt: skip
_SAYS_LITTLE = {_exif.ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT}

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_CFA, _LINEAR_RAW = 32803, 34892
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 50000: "zstd", 34926: "zstd"}
_COMPRESSION_NAMES = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "JPEG", 7: "JPEG", 32773: "PackBits", 34925: "LZMA"}
_SAFE_IN_TIFFFILE = {1, 8, 32946, 34925, 34926, 50000}  # none, Deflate, LZMA, Zstandard
_DEFLATE_LEVEL = 4
_CLASSIC_LIMIT = 4_000_000_000  # [bytes] offsets of a TIFF have 32 bits, those of a BigTIFF 64
_MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class _Page:
    """One directory of the file and what it says about its pixels."""

    index: int
    tags: Directory
    byte_order: str

    @property
    def size(self) -> tuple[int, int]:
        return self.tags.number(_WIDTH), self.tags.number(_HEIGHT)

    @property
    def photometric(self) -> int:
        return self.tags.number(_PHOTOMETRIC, _BLACK_IS_ZERO)

    @property
    def compression(self) -> int:
        return self.tags.number(_COMPRESSION, 1)

    @property
    def bits(self) -> int:
        return self.tags.number(_BITS, 1)

    @property
    def is_float(self) -> bool:
        return self.tags.number(_SAMPLE_FORMAT, 1) == 3

    @property
    def samples(self) -> int:
        return self.tags.number(_SAMPLES, 1)

    @property
    def colours(self) -> int:
        return {_RGB: 3, _CMYK: 4, _YCBCR: 3, _LAB: 3}.get(self.photometric, 1)

    @property
    def extras(self) -> int:
        return self.samples - self.colours

    @property
    def lies_on_its_side(self) -> bool:
        return self.tags.number(_exif.ORIENTATION, 1) in (5, 6, 7, 8)

    @property
    def is_thumbnail(self) -> bool:
        return bool(self.tags.number(_SUBFILE) & 1) or self.tags.number(_OLD_SUBFILE) == 2

    @property
    def is_mask(self) -> bool:
        return bool(self.tags.number(_SUBFILE) & 4)

    @property
    def plain(self) -> bool:
        """Whether the samples are the values of grey or RGB pixels."""
        kinds = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        return self.photometric in kinds and self.bits in ((16, 32, 64) if self.is_float else (8, 16))

    @property
    def dtype(self) -> str:
        if not self.plain:
            return "uint8"
        return "float32" if self.is_float else f"uint{self.bits}"


def is_raw(source: Source) -> bool:
    """Whether a file that begins like a TIFF is camera raw: it has a picture straight from the sensor, or is a DNG."""
    if source.start()[8:10] == b"CR":
        return True
    try:
        first = next(_directories(source), None)
        if first is None:
            return False
        children = _numbers(first.tags, _exif.SUB_IFDS)[:16]
        order, big = _byte_order(source)
        budget = Budget(source.budget.limit)
        below = [
            _exif.read_directory(source.read_at, offset, order, big=big, depth=3, budget=budget) for offset in children
        ]
    except (ExifError, ImageDecodeError):
        return False
    kinds = {directory.number(_PHOTOMETRIC) for directory in (first.tags, *below)}
    return _DNG_VERSION in first.tags.entries or bool(kinds & {_CFA, _LINEAR_RAW})


def identify(source: Source) -> ImageInfo:
    """Size and type from the directory of the picture."""
    page, _ = _choose_page(source)
    width, height = page.size
    if page.lies_on_its_side:
        width, height = height, width
    colours = 1 if page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) or _palette_is_grey(page) else 3
    return ImageInfo("tiff", width, height, colours, page.extras > 0, page.dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode the only full-size picture of a TIFF."""
    page, notes = _choose_page(source)
    source.check_size(*page.size, max_pixels)
    _refuse_unknown(source, page)
    decoded = _decode(source, page) if page.plain else _decode_with_pillow(source, page)
    decoded.notes[:0] = notes
    decoded.metadata = _read_metadata(page, decoded)
    compression = _COMPRESSIONS.get(page.compression, _COMPRESSION_NAMES.get(page.compression, "unknown"))
    extra = _numbers(page.tags, _EXTRA_SAMPLES)[:1] or (0,)
    decoded.encoding = Encoding(
        tiff_compression=compression,
        premultiplied=decoded.alpha is not None and extra[0] == 1,
        unspecified_alpha=decoded.alpha is not None and extra[0] == 0,
    )
    return decoded


def _byte_order(source: Source) -> tuple[str, bool]:
    start = source.start(4)
    return ("<" if start[:2] == b"II" else ">"), start[2:4] in (b"+\0", b"\0+")


def _directories(source: Source) -> Any:
    order, big = _byte_order(source)
    seen: set[int] = set()
    budget = Budget(source.budget.limit)
    place, code = (8, "Q") if big else (4, "I")
    while True:
        (offset,) = struct.unpack(
            order + code, source.read_at(place, struct.calcsize(code)).ljust(8, b"\0")[: 8 if big else 4]
        )
        if not offset or offset in seen or len(seen) >= _MAX_PAGES:
            return
        tags = _exif.read_directory(source.read_at, offset, order, big=big, budget=budget)
        yield _Page(len(seen), tags, order)
        seen.add(offset)
        place = tags.next_pointer


def _numbers(tags: Directory, tag: int) -> tuple[int, ...]:
    entry = tags.entries.get(tag)
    code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(entry.type) if entry else None
    return struct.unpack(f"{tags.order}{entry.count}{code}", entry.value) if entry and code else ()


def _choose_page(source: Source) -> tuple[_Page, list[str]]:
    """The page with the picture, and notes on the other pages."""
    try:
        pages: list[_Page] = list(_directories(source))
    except ExifError as error:
        raise source.truncated() from error
    if not pages:
        raise source.truncated() if source.size < 16 else source.damaged("it holds no picture")
    full = [page for page in pages if not page.is_thumbnail and not page.is_mask] or pages[:1]
    if len(full) > 1 or _stack_size(full[0]) > 1:
        count = max(len(full), _stack_size(full[0]))
        raise UnsupportedImageError(f"{source.name} holds {count} pictures; split the TIFF into single pages first.")
    notes = []
    if any(page.is_mask for page in pages):
        notes.append("The transparency mask on a page of its own was dropped.")
    if any(page.is_thumbnail for page in pages if page is not full[0]) or _exif.SUB_IFDS in full[0].tags.entries:
        notes.append("The reduced-size copies of the picture were dropped.")
    if _LAYERS in full[0].tags.entries:
        notes.append("The Photoshop layers were dropped; the flattened picture is kept.")
    return full[0], notes


def _stack_size(page: _Page) -> int:
    """How many pictures one directory stands for: volumes, and stacks as ImageJ writes them."""
    description = page.tags.entries.get(_DESCRIPTION)
    found = re.search(rb"\AImageJ=.*^images=(\d+)", description.value, re.M | re.S) if description else None
    return max(page.tags.number(_DEPTH, 1), int(found[1]) if found else 1)


def _refuse_unknown(source: Source, page: _Page) -> None:
    bits, kind = page.bits, page.tags.number(_SAMPLE_FORMAT, 1)
    advice = "convert it to 8 bit, 16 bit or 32-bit float first"
    if kind not in (1, 3, 4) or (kind == 3 and bits not in (16, 32, 64)):
        raise UnsupportedImageError(f"{source.name} has signed, complex or odd float values; {advice}.")
    if kind != 3 and bits > 16:
        raise UnsupportedImageError(f"{source.name} has {bits}-bit integer values; {advice}.")
    if kind != 3 and bits not in (1, 2, 4, 8, 16):
        raise UnsupportedImageError(f"{source.name} has {bits} bits per value; {advice}.")
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB):
        raise UnsupportedImageError(f"{source.name} has colours of kind {page.photometric}; convert it to RGB first.")
    if page.photometric == _RGB and page.samples < 3:
        raise source.damaged("it says it is RGB but has fewer than three channels")
    if page.extras > (page.plain):
        raise UnsupportedImageError(
            f"{source.name} has {page.samples} channels; only grey or RGB with at most one more is handled: convert it "
            "first."
        )
    if page.photometric in (_YCBCR, _LAB) and bits != 8:
        raise UnsupportedImageError(
            f"{source.name} has YCbCr or Lab colours with {bits} bits; convert it to RGB first."
        )


def _check_complete(source: Source, page: _Page) -> None:
    """Refuse pictures of which strips or tiles are missing; the decoders would fill them with zeros."""
    width, height = page.size
    tiled = _TILES in page.tags.entries
    offsets = _numbers(page.tags, _TILES if tiled else _STRIPS)
    lengths = _numbers(page.tags, _TILE_BYTES if tiled else _STRIP_BYTES)
    across = -(-width // max(page.tags.number(_TILE_WIDTH, width), 1)) if tiled else 1
    rows = page.tags.number(_TILE_HEIGHT if tiled else _ROWS_PER_STRIP, height)
    planes = page.samples if page.tags.number(_PLANAR, 1) == 2 else 1
    expected = across * -(-height // max(rows, 1)) * planes
    if len(offsets) < expected or (len(lengths) < expected and page.compression != 1):
        raise source.damaged("parts of the picture are missing")
    if not all(offsets[:expected]) or not all(lengths[:expected]):
        raise source.damaged("parts of the picture are missing")
    if max(a + b for a, b in zip_longest(offsets, lengths, fillvalue=0)) > source.size:
        raise source.truncated()


def _decode(source: Source, page: _Page) -> Decoded:
    _check_complete(source, page)
    notes: list[str] = []
    by_libtiff = page.compression not in _SAFE_IN_TIFFFILE
    if not by_libtiff:
        try:
            values = _samples(source, page)
        except _NeedsAnotherDecoderError:
            by_libtiff = True
    if by_libtiff:
        values = _samples_by_libtiff(source, page)
    if values.dtype.kind == "f" and values.dtype != np.float32:
        notes.append(f"{values.dtype} values are stored as 32-bit float.")
        values = values.astype(np.float32)
    pixels, alpha = _split(values, page)
    if page.photometric == _WHITE_IS_ZERO and not (by_libtiff and _pillow_is_needed(page)):  # Pillow turns it round
        top = 1.0 if page.is_float else np.iinfo(pixels.dtype).max
        pixels = np.subtract(pixels.dtype.type(top), pixels, out=pixels)
    if alpha is not None and _numbers(page.tags, _EXTRA_SAMPLES)[:1] == (1,):
        pixels = unpremultiply(pixels, alpha)
    if by_libtiff:
        return Decoded(pixels, alpha, 1, page.lies_on_its_side, notes=notes)
    return Decoded(pixels, alpha, page.tags.number(_exif.ORIENTATION, 1), notes=notes)


# without any handler its warnings about odd files would go to the standard error stream of the host program
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class _NeedsAnotherDecoderError(Exception):
    """tifffile lacks the decompressor."""


def _samples(source: Source, page: _Page) -> Pixels:
    """(H, W) or (H, W, S) as stored."""
    source.file.seek(0)
    try:
        with tifffile.TiffFile(source.file, is_ome=False, is_imagej=False) as file:
            values = file.pages[page.index].asarray(squeeze=False)
    except MemoryError:
        raise
    except Exception as error:
        # tifffile and the decompressors below it raise errors of many kinds
        if "imagecodecs" in str(error) or isinstance(error, ImportError | NotImplementedError):
            raise _NeedsAnotherDecoderError from error
        raise source.damaged() from error
    if values.ndim != 5 or values.shape[2:4] != page.size[::-1]:
        raise source.damaged("its directory contradicts itself")
    values = values[:, 0]  # (separate channels, H, W, channels side by side)
    values = values[0] if values.shape[0] == 1 else np.moveaxis(values[..., 0], 0, -1)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _pillow_is_needed(page: _Page) -> bool:
    """Whether OpenCV would multiply 8-bit colours by alpha, drop the alpha of grey, or take another page."""
    straight_alpha = page.extras > 0 and _numbers(page.tags, _EXTRA_SAMPLES)[:1] == (2,)
    grey_alpha = page.colours == 1 and page.extras > 0
    return page.bits == 8 and (straight_alpha or grey_alpha or page.photometric == _WHITE_IS_ZERO or page.index > 0)


def _samples_by_libtiff(source: Source, page: _Page) -> Pixels:
    """As :func:`_samples`, but upright: Pillow and OpenCV apply the orientation."""
    if _pillow_is_needed(page):
        return np.array(_open_with_pillow(source, page))
    stored = None
    if page.index == 0 and page.samples != 2:
        stored = _opencv.decode(source, cv2.IMREAD_UNCHANGED)
    if stored is None and page.samples <= 4 and page.samples != 2:
        raise source.damaged()
    if stored is not None and stored.shape[:2] not in (page.size, page.size[::-1]):
        raise source.damaged("its directory contradicts itself")
    if stored is None or stored.itemsize * 8 != page.bits:
        raise UnsupportedImageError(
            f"{source.name} is compressed in a way that is not read for its kind of pixels; save it uncompressed."
        )
    if stored.ndim == 2:
        return stored
    return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB if stored.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=stored)


def _open_with_pillow(source: Source, page: _Page) -> Image.Image:
    try:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(source.data()))
        image.seek(page.index)
        if image.size not in (page.size, page.size[::-1]):
            raise source.damaged("its directory contradicts itself")
        image.load()
    except Image.DecompressionBombError as error:  # Pillow applies its limit to the strips of a TIFF
        raise UnsupportedImageError(f"{source.name} has strips too large to decode; save it uncompressed.") from error
    except (OSError, SyntaxError, ValueError, EOFError, KeyError) as error:
        raise source.damaged() from error
    return image


def _decode_with_pillow(source: Source, page: _Page) -> Decoded:
    _check_complete(source, page)
    image = _open_with_pillow(source, page)
    if image.mode == "CMYK":
        pixels, note = _metadata.cmyk_to_srgb(image, _bytes(page, _ICC))
        return Decoded(pixels, orientation=1, turned=page.lies_on_its_side, notes=[note])
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return Decoded(np.array(converted), orientation=1, notes=["The Lab colours were converted to sRGB."])
    grey = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) or _palette_is_grey(page)
    notes = ["16-bit values were reduced to 8 bit."] if page.bits == 16 else []
    pixels = np.array(image.convert("L" if grey else "RGB"))
    return Decoded(pixels, orientation=1, turned=page.lies_on_its_side, notes=notes)


def _palette_is_grey(page: _Page) -> bool:
    if page.photometric != _PALETTE:
        return False
    colours = np.array(_numbers(page.tags, _COLORMAP)).reshape(3, -1)
    return bool((colours == colours[0]).all())


def _split(values: Pixels, page: _Page) -> tuple[Pixels, Pixels | None]:
    if values.ndim == 3 and values.shape[2] == 1:
        return values[..., 0], None
    return split_channels(values, grey=page.colours == 1)


def _bytes(page: _Page, tag: int) -> bytes | None:
    entry = page.tags.entries.get(tag)
    return entry.value if entry and entry.value else None


def _read_metadata(page: _Page, decoded: Decoded) -> Metadata:
    converted = page.photometric in (_CMYK, _LAB)
    return Metadata(
        exif=_read_exif(page),
        xmp=_bytes(page, _XMP),
        icc=_metadata.srgb_profile() if converted else _bytes(page, _ICC),
        photoshop=_bytes(page, _PHOTOSHOP) or _iptc_resource(_bytes(page, _IPTC)),
        dpi=_resolution(page),
    )


def _iptc_resource(iptc: bytes | None) -> bytes | None:
    """Bare IPTC data as the Photoshop image resource 1028, the form that JPEG files hold."""
    if iptc is None:
        return None
    return b"8BIM" + struct.pack(">HHI", 1028, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _read_exif(page: _Page) -> bytes | None:
    """The tags that describe the picture and not its storage, as EXIF data."""
    kept = {tag: entry for tag, entry in page.tags.entries.items() if tag not in _STRUCTURE}
    description = kept.get(_DESCRIPTION)
    if description is not None and description.value.startswith(b'{"shape":'):
        del kept[_DESCRIPTION]  # tifffile's own note on the array, no longer true once it is turned
    if kept.keys() <= _SAYS_LITTLE:
        return None
    return _exif.blob_from_directory(Directory(page.tags.order, kept))


def _resolution(page: _Page) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(page.tags.number(_RESOLUTION_UNIT, 2))
    values = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        entry = page.tags.entries.get(tag)
        if entry is None or entry.type != 5 or len(entry.value) < 8:
            return None
        above, below = struct.unpack_from(page.tags.order + "II", entry.value)
        values.append(above / below if below else 0.0)
    return (values[0] * unit, values[1] * unit) if unit and all(values) else None


def _compression_to_write(encoding: Encoding) -> str:
    wanted = encoding.tiff_compression or "deflate"
    if wanted in ("none", "deflate"):
        return wanted
    has_codecs = _has_imagecodecs()
    can = {"lzw": has_codecs, "zstd": has_codecs or sys.version_info >= (3, 14)}.get(wanted, False)
    return wanted if can else "deflate"


def _has_imagecodecs() -> bool:
    try:
        import_module("imagecodecs")
    except ImportError:
        return False
    return True


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as TIFF changes."""
    wanted, written = picture.encoding.tiff_compression, _compression_to_write(picture.encoding)
    changed = wanted is not None and wanted != written
    lines = [f"The TIFF is compressed with Deflate instead of {wanted.upper()}."] if changed and wanted else []
    if metadata.text or metadata.comment:
        lines.append("The comment and the PNG texts were dropped; TIFF has no place for them.")
    return lines


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8, uint16 or float32 pixels; ``quality`` has no meaning here."""
    del quality
    if alpha is not None and encoding.premultiplied:
        pixels = premultiply(pixels, alpha)
    stored = merge_alpha(pixels, alpha)
    kind = "assocalpha" if encoding.premultiplied else "unspecified" if encoding.unspecified_alpha else "unassalpha"
    compression = _compression_to_write(encoding)
    big = stored.nbytes > _CLASSIC_LIMIT
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<") as writer:
        writer.write(
            stored,
            photometric="minisblack" if pixels.ndim == 2 else "rgb",
            planarconfig="contig" if stored.ndim == 3 else None,
            extrasamples=None if alpha is None else [kind],
            compression={"none": None, "deflate": "zlib"}.get(compression, compression),
            compressionargs={"level": _DEFLATE_LEVEL} if compression == "deflate" else None,
            predictor=compression != "none" and stored.dtype.kind == "u",
            iccprofile=metadata.icc,
            resolution=metadata.dpi,
            resolutionunit="inch" if metadata.dpi else None,
            metadata=None,
            software=False,
        )
    _add_metadata(file, metadata, big=big)
    return file.getvalue()


def _add_metadata(file: io.BytesIO, metadata: Metadata, *, big: bool) -> None:
    """Lay out the directory anew at the end of the file, with the tags and directories that tifffile does not write."""
    added = _entries_to_add(metadata)
    if not added:
        return

    def read_at(offset: int, count: int) -> bytes:
        file.seek(offset)
        return file.read(count)

    pointer, code = (8, "<Q") if big else (4, "<I")
    (offset,) = struct.unpack(code, read_at(pointer, struct.calcsize(code)))
    directory = _exif.read_directory(read_at, offset, "<", big=big)
    directory.entries = {**added, **directory.entries}
    end = file.seek(0, io.SEEK_END)
    end += file.write(b"\0" * (end % 2))
    file.write(_exif.serialise(directory, "<", end, big=big))
    file.seek(pointer)
    file.write(struct.pack(code, end))


def _entries_to_add(metadata: Metadata) -> dict[int, Entry]:
    added: dict[int, Entry] = {}
    if metadata.exif:
        source = _exif.parse_blob(metadata.exif)
        added.update(_exif.in_order(source, "<").entries)
        for tag in _STRUCTURE:
            added.pop(tag, None)
    for tag, kind, value in ((_XMP, 1, metadata.xmp), (_PHOTOSHOP, 1, metadata.photoshop)):
        if value:
            added[tag] = Entry(kind, len(value), value)
    return added
