"""TIFF: the directories are read here, the pixels by :mod:`unhaze.images._tiff_segments`; tifffile encodes.

libtiff, in OpenCV and Pillow, is left out: it gives pixels for what is damaged and tells only the terminal. No library
writes the EXIF and GPS directories, so the one that tifffile wrote is laid out anew with them at the end of the file.
Tag numbers are those of TIFF 6.0 and its supplements; 42113 is GDAL's.
"""

from __future__ import annotations

import io
import re
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms, TiffTags

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.images import _exif, _metadata, _tiff_codecs
from unhaze.images._arrays import merge_alpha, premultiply, split_channels, to_uint8, unpremultiply
from unhaze.images._exif import Directory, Entry, ExifError
from unhaze.images._geo import turn_georeference
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source
from unhaze.images._tiff_segments import PREDICTED, Layout, read_samples
from unhaze.images.budget import Budget

__all__ = ["encode", "identify", "is_raw", "notes", "read"]

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_DESCRIPTION, _STRIPS, _SAMPLES, _STRIP_BYTES, _PLANAR = 270, 273, 277, 279, 284
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _COLORMAP, _TILES, _TILE_BYTES = 282, 283, 296, 320, 324, 325
_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_JPEG_PREVIEW = 513
_FILL_ORDER, _PREDICTOR, _JPEG_TABLES, _SUBSAMPLING = 266, 317, 347, 530
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _XMP, _DEPTH = 338, 339, 700, 32997
_IPTC, _PHOTOSHOP, _ICC, _LAYERS, _DNG_VERSION, _NODATA = 33723, 34377, 34675, 37724, 50706, 42113

# tags that describe how the pixels lie in the file, or that Metadata holds apart; all others travel with the EXIF data
_STRUCTURE = {
    *range(254, 270), *range(273, 274), *range(277, 282), *range(284, 296), 297, *range(301, 304), *range(317, 318),
    *range(320, 342), *range(347, 348), *range(512, 533), _XMP, _DEPTH, _IPTC, _PHOTOSHOP, _ICC, _LAYERS,
    50838, 50839,
}  # fmt: skip
_SAID_FOR_ALL_PAGES = {_XMP, _IPTC, _PHOTOSHOP, _ICC}  # by the first directory, where the picture is in another
_COUNTS = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _ROWS_PER_STRIP, _PLANAR,
           _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT}  # fmt: skip
_SAYS_LITTLE = {_exif.ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT}

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 4, 5, 6, 8
_CFA, _LINEAR_RAW = 32803, 34892
_YCBCR_COEFFICIENTS, _REFERENCE = 529, 532
_BT601, _FULL_RANGE = (0.299, 0.587, 0.114), (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)  # what holds without the tags
_ROWS = 256  # of which floats are made together
_SEGMENT_COPIES = 3  # of a tile while it is decoded
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 50000: "zstd", 34926: "zstd"}
_DEFLATE_LEVEL = 4
_CLASSIC_LIMIT = 4_000_000_000  # [bytes] offsets of a TIFF have 32 bits, those of a BigTIFF 64
_MAX_PAGES = 10_000
_MAX_SUB_DIRECTORIES = 64
_ALONE = 3  # depth at which a directory is read without those below it
_LARGEST_TILE = 1 << 24  # [bytes] where it is far larger than the picture, the file is out for memory


@dataclass(frozen=True, slots=True)
class _Page:
    """One directory of the file and what it says about its pixels."""

    tags: Directory
    start: int  # where the directory is in the file

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
    def transparency(self) -> bool:
        """Whether the extra channel says how much of a pixel shows."""
        return self.extras > 0 and _numbers(self.tags, _EXTRA_SAMPLES)[:1] in ((1,), (2,))

    @property
    def lies_on_its_side(self) -> bool:
        return _orientation(self.tags) in (5, 6, 7, 8)

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
    if source.start()[8:12] == b"CR\2\0":
        return True
    try:
        budget = Budget(source.budget.limit)
        first = next(_directories(source, budget), None)
        if first is None:
            return False
        below, unreadable = _sub_directories(source, first, budget)
    except (ExifError, ImageDecodeError):
        return False
    kinds = {page.tags.number(_PHOTOMETRIC) for page in (first, *below)}
    raw = _DNG_VERSION in first.tags.entries or bool(kinds & {_CFA, _LINEAR_RAW})
    if raw and unreadable and all(page.is_thumbnail for page in (first, *below)):
        raise source.damaged("the picture below its thumbnail cannot be found")  # LibRaw would develop the thumbnail
    return raw


def identify(source: Source) -> ImageInfo:
    """Size and type from the directory of the picture."""
    chosen = _choose(source)
    page = chosen.page
    width, height = page.size
    if page.lies_on_its_side:
        width, height = height, width
    colours = 1 if page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) or _palette_is_grey(page) else 3
    return ImageInfo(
        "tiff",
        width,
        height,
        colours,
        page.extras > 0 or chosen.mask is not None,
        page.dtype,
        scratch_bytes=_scratch(page),
    )


def _scratch(page: _Page) -> int:
    """Bytes of decoding a tile that is larger than the picture; smaller ones are among the copies of the picture."""
    if _TILES not in page.tags.entries:
        return 0
    area = page.tags.number(_TILE_WIDTH) * page.tags.number(_TILE_HEIGHT)
    return max(0, area - _area(page)) * page.samples * max(page.bits, 8) // 8 * _SEGMENT_COPIES


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode the largest picture of a TIFF."""
    chosen = _choose(source)
    page = chosen.page
    source.check_size(*page.size, max_pixels)
    _refuse_unknown(source, page)
    samples, faults = read_samples(source, _layout(source, page))
    decoded = _decode(samples, page) if page.plain else _convert(samples, page)
    del samples
    if chosen.mask is not None:
        shown, of_mask = read_samples(source, _layout(source, chosen.mask))
        faults += of_mask
        top = np.iinfo(decoded.pixels.dtype).max if decoded.pixels.dtype.kind == "u" else 1.0
        decoded.alpha = np.multiply(shown[..., 0], top, dtype=decoded.pixels.dtype)
    decoded.notes[:0] = chosen.notes + faults + _read_details(source, page)
    decoded.orientation = _orientation(page.tags)
    decoded.notes += turn_georeference(page.tags, decoded.orientation, *page.size)
    if page.photometric != _YCBCR and _rationals(page.tags, _REFERENCE) not in ((), (0.0, 2.0**page.bits - 1) * 3):
        decoded.notes.append("The tag ReferenceBlackWhite was dropped; it was not applied, as by other readers.")
    decoded.metadata = _read_metadata(page)
    decoded.encoding = Encoding(
        tiff_compression=_COMPRESSIONS.get(page.compression, _tiff_codecs.name_of(page.compression)),
        premultiplied=page.transparency and _numbers(page.tags, _EXTRA_SAMPLES)[0] == 1,
        unspecified_alpha=page.extras > 0 and not page.transparency,
        nodata=_nodata(page),
    )
    return decoded


def _byte_order(source: Source) -> tuple[str, bool]:
    start = source.start(4)
    return ("<" if start[:2] == b"II" else ">"), start[2:4] in (b"+\0", b"\0+")


def _directories(source: Source, budget: Budget) -> Iterator[_Page]:
    order, big = _byte_order(source)
    seen: set[int] = set()
    place, code = (8, "Q") if big else (4, "I")
    while True:
        (offset,) = struct.unpack(
            order + code, source.read_at(place, struct.calcsize(code)).ljust(8, b"\0")[: 8 if big else 4]
        )
        if not offset or offset in seen or len(seen) >= _MAX_PAGES:
            return
        tags = _exif.read_directory(source.read_at, offset, order, big=big, depth=_ALONE, budget=budget)
        yield _Page(tags, offset)
        seen.add(offset)
        place = tags.next_pointer


def _sub_directories(source: Source, page: _Page, budget: Budget) -> tuple[list[_Page], int]:
    """Pictures below a page: pyramid levels, or the picture where the page is its thumbnail; and how many are lost."""
    order, big = _byte_order(source)
    found, lost = [], 0
    entry = page.tags.entries.get(_exif.SUB_IFDS)
    offsets = _numbers(page.tags, _exif.SUB_IFDS)
    for offset in offsets[:_MAX_SUB_DIRECTORIES]:
        try:
            tags = _exif.read_directory(source.read_at, offset, order, big=big, depth=_ALONE, budget=budget)
        except ExifError:
            lost += 1
            continue
        general = {t: e for t, e in page.tags.entries.items() if t not in _STRUCTURE or t in _SAID_FOR_ALL_PAGES}
        below = _Page(replace(tags, entries=general | tags.entries), offset)
        if _area(below) and tags.entries.keys() & {_STRIPS, _TILES, _JPEG_PREVIEW}:
            found.append(below)
        else:
            lost += 1
    return found, lost + (entry is not None and not offsets)


def _read_details(source: Source, page: _Page) -> list[str]:
    """Read the EXIF and GPS directories of a page into its tags; one that is damaged goes, with a note."""
    order, big = _byte_order(source)
    budget = Budget(source.budget.limit)
    notes = []
    for tag, name in ((_exif.EXIF_IFD, "EXIF"), (_exif.GPS_IFD, "GPS")):
        entry = page.tags.entries.get(tag)
        if entry is None:
            continue
        try:
            offset = page.tags.number(tag)
            entry.directory = _exif.read_directory(source.read_at, offset, order, big=big, depth=1, budget=budget)
        except ExifError:
            del page.tags.entries[tag]
            notes.append(f"The {name} data is damaged and was dropped.")
    return notes


def _numbers(tags: Directory, tag: int) -> tuple[int, ...]:
    entry = tags.entries.get(tag)
    code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(entry.type) if entry else None
    return struct.unpack(f"{tags.order}{entry.count}{code}", entry.value) if entry and code else ()


@dataclass(frozen=True, slots=True)
class _Choice:
    """The page with the picture, its mask if it has one on a page of its own, and notes on the other pages."""

    page: _Page
    mask: _Page | None
    notes: list[str]


def _choose(source: Source) -> _Choice:
    budget = Budget(source.budget.limit)
    try:
        pages = list(_directories(source, budget))
    except ExifError as error:
        raise source.truncated() from error
    if not pages:
        raise source.truncated() if source.size < 16 else source.damaged("it holds no picture")
    full = [page for page in pages if not page.is_thumbnail and not page.is_mask] or pages[:1]
    if len(full) > 1 or _stack_size(full[0]) > 1:
        count = max(len(full), _stack_size(full[0]))
        raise UnsupportedImageError(f"{source.name} holds {count} pictures; split the TIFF into single pages first.")
    chosen, notes = full[0], []
    below, lost = _sub_directories(source, chosen, budget)
    below = [page for page in below if not page.is_thumbnail and not page.is_mask]
    if lost and chosen.is_thumbnail and not below:
        raise source.damaged("the picture below its thumbnail cannot be found")
    if lost:
        notes.append("Pictures below the first page cannot be found; look whether this is the one you mean.")
    largest = max(below, key=_area, default=chosen)
    if _area(largest) > _area(chosen):
        if sum(_area(page) == _area(largest) for page in below) > 1:
            raise UnsupportedImageError(
                f"{source.name} holds several pictures below its first page; save the one you mean alone first."
            )
        chosen = largest
        notes.append(
            "The largest picture of the file was taken, which lies below a smaller copy; the copy was dropped."
        )
    elif any(page.is_thumbnail for page in pages if page is not chosen) or _exif.SUB_IFDS in chosen.tags.entries:
        notes.append("The reduced-size copies of the picture were dropped.")
    masks = [page for page in pages if page.is_mask and not page.is_thumbnail]
    mask = next((page for page in masks if _fits_as_mask(page, chosen)), None)
    if mask is not None:
        notes.append("The transparency mask on a page of its own became an alpha channel.")
    elif masks:
        notes.append("The transparency mask on a page of its own was dropped.")
    if _LAYERS in full[0].tags.entries:
        notes.append("The Photoshop layers were dropped; the flattened picture is kept.")
    for page in (chosen, mask):
        if page is not None:
            _refuse_twice(source, page)
            _refuse_nonsense(source, page)
    if chosen.is_thumbnail:
        notes.append("The file says of its only picture that it is a smaller copy of another.")
    large = [tag for page in pages for tag in page.tags.too_large if tag != _LAYERS]
    if large:
        names = ", ".join(TiffTags.lookup(tag).name for tag in dict.fromkeys(large))
        notes.append(f"Tags of more than {_exif.LARGEST_VALUE >> 20} MB were dropped ({names}).")
    return _Choice(chosen, mask, notes)


def _refuse_nonsense(source: Source, page: _Page) -> None:
    """Refuse values that mean nothing: libtiff's readers take another, each its own; but all take 0 for the usual."""
    for tag in sorted(_COUNTS & page.tags.entries.keys()):
        if not _numbers(page.tags, tag):
            raise source.damaged(f"its entry {TiffTags.lookup(tag).name} is no number")
    for tag, allowed in ((_FILL_ORDER, (0, 1, 2)), (_PLANAR, (0, 1, 2)), (_PREDICTOR, (1, 2, 3))):
        value = page.tags.number(tag, 1)
        if value not in allowed:
            raise source.damaged(f"its entry {TiffTags.lookup(tag).name} is {value}, which means nothing")
    predictor = page.tags.number(_PREDICTOR, 1)
    if page.compression in PREDICTED and ((predictor == 3) > page.is_float or (predictor == 2 and page.bits < 8)):
        raise source.damaged(f"its Predictor {predictor} does not fit values of {page.bits} bits")
    if page.photometric == _PALETTE and len(_numbers(page.tags, _COLORMAP)) < 3 << page.bits:
        raise source.damaged("its palette is missing or too short")


def _area(page: _Page) -> int:
    width, height = page.size
    return width * height


def _fits_as_mask(mask: _Page, page: _Page) -> bool:
    one_bit = mask.bits == 1 and mask.samples == 1 and mask.photometric == _MASK
    return one_bit and mask.size == page.size and page.extras <= 0


def _refuse_twice(source: Source, page: _Page) -> None:
    """Refuse a tag that stands twice in a directory: readers take one or the other, and show different pictures."""
    order, big = _byte_order(source)
    head, entry = ("Q", "HHQQ") if big else ("H", "HHII")
    (count,) = struct.unpack(order + head, source.read_at(page.start, struct.calcsize(head)))
    size = struct.calcsize("=" + entry)
    table = source.read_at(page.start + struct.calcsize(head), count * size)
    times = Counter(tag for tag, *_ in struct.iter_unpack(order + entry, table[: len(table) // size * size]))
    twice = sorted(tag for tag in _STRUCTURE & times.keys() if times[tag] > 1)
    if twice:
        raise source.damaged(f"its directory contradicts itself, with two entries {TiffTags.lookup(twice[0]).name}")


def _stack_size(page: _Page) -> int:
    """How many pictures one directory stands for: volumes, and stacks as ImageJ writes them."""
    description = page.tags.entries.get(_DESCRIPTION)
    found = re.search(rb"\AImageJ=.*^images=(\d+)", description.value, re.M | re.S) if description else None
    return max(page.tags.number(_DEPTH, 1), int(found[1]) if found else 1)


def _refuse_unknown(source: Source, page: _Page) -> None:
    bits, kind = page.bits, page.tags.number(_SAMPLE_FORMAT, 1)
    advice = "convert it to 8 bit, 16 bit or 32-bit float first"
    if any(len(set(_numbers(page.tags, tag))) > 1 for tag in (_BITS, _SAMPLE_FORMAT)):
        raise UnsupportedImageError(f"{source.name} has channels of several kinds; {advice}.")
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


def _layout(source: Source, page: _Page) -> Layout:
    """Where the strips or tiles are. Pictures of which some are missing are refused."""
    width, height = page.size
    tiled = _TILES in page.tags.entries
    segment_width = page.tags.number(_TILE_WIDTH) if tiled else width
    segment_height = page.tags.number(_TILE_HEIGHT) if tiled else min(page.tags.number(_ROWS_PER_STRIP, height), height)
    area = segment_width * segment_height
    tile_bytes = area * page.samples * max(page.bits, 8) // 8
    if not area or (tiled and area > 4 * width * height and tile_bytes > _LARGEST_TILE):
        raise source.damaged(f"its parts are said to have {segment_width} x {segment_height} pixels")
    subsampling = _numbers(page.tags, _SUBSAMPLING) or (2, 2)
    offsets = _numbers(page.tags, _TILES if tiled else _STRIPS)
    lengths = _numbers(page.tags, _TILE_BYTES if tiled else _STRIP_BYTES)
    layout = Layout(
        width, height, segment_width, segment_height, tiled,
        samples=page.samples,
        planar=page.tags.number(_PLANAR, 1) == 2 and page.samples > 1,
        bits=page.bits,
        is_float=page.is_float,
        byte_order="<" if page.tags.order == "<" else ">",
        compression=page.compression,
        predictor=page.tags.number(_PREDICTOR, 1),
        turned_bits=page.tags.number(_FILL_ORDER, 1) == 2,
        ycc=page.photometric == _YCBCR,
        subsampling=(subsampling[0], subsampling[-1]),
        jpeg_tables=_bytes(page, _JPEG_TABLES) or b"",
        offsets=offsets,
        lengths=lengths,
        blank=_nodata(page),
    )  # fmt: skip
    count = layout.count
    if len(offsets) < count or (len(lengths) < count and page.compression != 1):
        raise source.damaged("parts of the picture are missing")
    lengths = lengths[:count] + (0,) * (count - len(lengths)) if page.compression == 1 else lengths
    if layout.blank is None and (not all(offsets[:count]) or (page.compression != 1 and not all(lengths[:count]))):
        raise source.damaged("parts of the picture are missing")
    if page.compression != 1 and max(map(sum, zip(offsets[:count], lengths, strict=False))) > source.size:
        raise source.truncated()
    return replace(layout, lengths=lengths)


def _decode(values: Pixels, page: _Page) -> Decoded:
    """Grey or RGB samples as pixels."""
    notes: list[str] = []
    if values.dtype.kind == "f" and values.dtype != np.float32:
        notes.append(f"{values.dtype} values are stored as 32-bit float.")
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is counted in a note
            values = values.astype(np.float32)
    pixels, alpha = (values[..., 0], None) if values.shape[2] == 1 else split_channels(values, grey=page.colours == 1)
    if page.photometric == _WHITE_IS_ZERO:
        top = 1.0 if page.is_float else np.iinfo(pixels.dtype).max
        pixels = np.subtract(pixels.dtype.type(top), pixels, out=pixels)
    if alpha is not None and _numbers(page.tags, _EXTRA_SAMPLES)[:1] == (1,):
        pixels, lost = unpremultiply(pixels, alpha)
        notes += lost
    return Decoded(pixels, alpha, notes=notes)


def _convert(values: Pixels, page: _Page) -> Decoded:
    """Samples that are not the values of pixels: few bits, palettes, and colours of other kinds."""
    notes = ["16-bit values were reduced to 8 bit."] if page.bits == 16 else []
    if page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        pixels = values[..., 0] * np.uint8(255 // (2**page.bits - 1))
        return Decoded(255 - pixels if page.photometric == _WHITE_IS_ZERO else pixels)
    if page.photometric == _PALETTE:
        colours = _palette(page)
        colours = colours[:1] if _palette_is_grey(page) else colours
        return Decoded(np.ascontiguousarray(colours.T[values[..., 0]].squeeze(2 if len(colours) == 1 else ())))
    if page.photometric == _CMYK:
        pixels, note = _metadata.cmyk_to_srgb(Image.fromarray(to_uint8(values), mode="CMYK"), _bytes(page, _ICC))
        return Decoded(pixels, notes=[*notes, note])
    size = values.shape[1::-1]
    if page.photometric == _LAB:
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = Image.frombytes("LAB", size, values.tobytes(), "raw", "LAB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return Decoded(np.array(converted), notes=["The Lab colours were converted to sRGB."])
    luma, reference = _ycbcr_of(page)
    usual = np.allclose(luma, _BT601, atol=1e-3) and reference == _FULL_RANGE
    if page.compression == _tiff_codecs.JPEG:  # its decoder made RGB of YCbCr
        return Decoded(values, notes=[] if usual else [_YCBCR_IN_JPEG])
    if not usual:
        return Decoded(_rgb_of_ycbcr(values, luma, reference))
    return Decoded(np.array(Image.frombytes("YCbCr", size, values.tobytes()).convert("RGB")))


_YCBCR_IN_JPEG = "The TIFF says that its JPEG has unusual YCbCr colours; they were read as those of any JPEG."


def _ycbcr_of(page: _Page) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shares of red, green and blue in brightness, and codes of black and white of each channel."""
    luma = _rationals(page.tags, _YCBCR_COEFFICIENTS) or _BT601
    reference = _rationals(page.tags, _REFERENCE) or _FULL_RANGE
    sound = len(luma) == 3 and min(luma) > 0 and abs(sum(luma) - 1) < 0.01
    if not sound or len(reference) != 6 or any(reference[i] == reference[i + 1] for i in (0, 2, 4)):
        raise ImageDecodeError("The YCbCr colours of the TIFF are described by numbers that mean nothing; repair it.")
    return luma, reference


def _rationals(tags: Directory, tag: int) -> tuple[float, ...]:
    entry = tags.entries.get(tag)
    if entry is None or entry.type != 5:
        return tuple(map(float, _numbers(tags, tag)))
    pairs = struct.iter_unpack(tags.order + "II", entry.value)
    return tuple(above / below if below else 0.0 for above, below in pairs)


def _rgb_of_ycbcr(values: Pixels, luma: tuple[float, ...], reference: tuple[float, ...]) -> Pixels:
    """RGB from 8-bit YCbCr (TIFF 6.0, sections 20 and 21)."""
    red, green, blue = luma
    result = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS):
        codes = np.moveaxis(values[row : row + _ROWS].astype(np.float32), -1, 0)
        y, cb, cr = (
            (code - black) * np.float32(top / (white - black))
            for code, black, white, top in zip(codes, reference[::2], reference[1::2], (255, 127, 127), strict=True)
        )
        r, b = cr * (2 - 2 * red) + y, cb * (2 - 2 * blue) + y
        g = (y - blue * b - red * r) / green
        result[row : row + _ROWS] = np.clip(np.rint(np.stack([r, g, b], axis=-1)), 0, 255)
    return result


def _palette(page: _Page) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(3, N); index N is 2 to the bits of a value."""
    colours = np.array(_numbers(page.tags, _COLORMAP)[: 3 << page.bits], np.uint16)
    colours = np.pad(colours, (0, (3 << page.bits) - len(colours))).reshape(3, -1)
    return (colours if colours.max(initial=0) < 256 else colours >> 8).astype(np.uint8)  # some write 8 bits


def _nodata(page: _Page) -> float | None:
    """The value of pixels that hold nothing, as GDAL writes it."""
    text = (_bytes(page, _NODATA) or b"").split(b"\0")[0]
    try:
        value = float(text)
    except ValueError:
        return None
    if not page.plain or page.photometric == _WHITE_IS_ZERO:
        return None
    if page.is_float:
        return value if abs(value) <= float(np.finfo(np.float32).max) else None
    return value if 0 <= value <= np.iinfo(page.dtype).max and value == int(value) else None


def _palette_is_grey(page: _Page) -> bool:
    if page.photometric != _PALETTE:
        return False
    colours = _palette(page)
    return bool((colours == colours[0]).all())


def _orientation(tags: _exif.Directory) -> int:
    """What the tag says, or else XMP."""
    if _exif.ORIENTATION in tags.entries:
        return tags.number(_exif.ORIENTATION, 1)
    packet = tags.entries.get(_XMP)
    return _metadata.orientation(None, packet.value if packet else None)


def _bytes(page: _Page, tag: int) -> bytes | None:
    entry = page.tags.entries.get(tag)
    return entry.value if entry and entry.value else None


def _read_metadata(page: _Page) -> Metadata:
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
