"""The directories of a TIFF: what they say of their pictures, and which of these is the one that is meant.

Tag numbers are those of TIFF 6.0 and its supplements; 42113 is GDAL's.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import TiffTags

from unhaze.errors import UnsupportedImageError
from unhaze.images import _exif, _metadata
from unhaze.images._exif import Directory, ExifError
from unhaze.images._picture import Source
from unhaze.images._tiff_segments import PREDICTED
from unhaze.images.budget import Budget

__all__ = ["RATIONAL", "STRUCTURE", "Choice", "Page", "Photometric", "Tag", "choose", "directories", "sub_directories"]


class Tag:
    """Numbers of tags."""

    SUBFILE = 254
    OLD_SUBFILE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DESCRIPTION = 270
    STRIPS = 273
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR = 284
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    COLORMAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILES = 324
    TILE_BYTES = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    JPEG_PREVIEW = 513
    YCBCR_COEFFICIENTS = 529
    SUBSAMPLING = 530
    REFERENCE = 532
    XMP = 700
    DEPTH = 32997
    IPTC = 33723
    PHOTOSHOP = 34377
    ICC = 34675
    LAYERS = 37724
    NODATA = 42113
    DNG_VERSION = 50706


class Photometric:
    """What the samples of a pixel stand for, by the numbers of the tag."""

    WHITE_IS_ZERO = 0
    BLACK_IS_ZERO = 1
    RGB = 2
    PALETTE = 3
    MASK = 4
    CMYK = 5
    YCBCR = 6
    LAB = 8
    CFA = 32803
    LINEAR_RAW = 34892


# tags that describe how the pixels lie in the file, or that Metadata holds apart; all others travel with the EXIF data
STRUCTURE = {
    *range(254, 270), *range(273, 274), *range(277, 282), *range(284, 296), 297, *range(301, 304), *range(317, 318),
    *range(320, 342), *range(347, 348), *range(512, 533), Tag.XMP, Tag.DEPTH, Tag.IPTC, Tag.PHOTOSHOP, Tag.ICC,
    Tag.LAYERS, 50838, 50839,
}  # fmt: skip
# by the first directory, where the picture is in another
_SAID_FOR_ALL_PAGES = {Tag.XMP, Tag.IPTC, Tag.PHOTOSHOP, Tag.ICC}
_COUNTS = {
    Tag.WIDTH, Tag.HEIGHT, Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.FILL_ORDER, Tag.SAMPLES,
    Tag.ROWS_PER_STRIP, Tag.PLANAR, Tag.PREDICTOR, Tag.TILE_WIDTH, Tag.TILE_HEIGHT,
    Tag.EXTRA_SAMPLES, Tag.SAMPLE_FORMAT,
}  # fmt: skip
RATIONAL = 5  # type of a tag: pairs of a number above and one below
_MAX_PAGES = 10_000
_MAX_SUB_DIRECTORIES = 64
_ALONE = 3  # depth at which a directory is read without those below it


@dataclass(frozen=True, slots=True)
class Page:
    """One directory of the file and what it says about its pixels."""

    tags: Directory
    start: int  # where the directory is in the file
    big: bool  # whether its fields are those of BigTIFF

    @property
    def size(self) -> tuple[int, int]:
        return self.tags.number(Tag.WIDTH), self.tags.number(Tag.HEIGHT)

    @property
    def area(self) -> int:
        width, height = self.size
        return width * height

    @property
    def photometric(self) -> int:
        return self.tags.number(Tag.PHOTOMETRIC, Photometric.BLACK_IS_ZERO)

    @property
    def compression(self) -> int:
        return self.tags.number(Tag.COMPRESSION, 1)

    @property
    def bits(self) -> int:
        return self.tags.number(Tag.BITS, 1)

    @property
    def is_float(self) -> bool:
        return self.tags.number(Tag.SAMPLE_FORMAT, 1) == 3

    @property
    def samples(self) -> int:
        return self.tags.number(Tag.SAMPLES, 1)

    @property
    def colours(self) -> int:
        return {Photometric.RGB: 3, Photometric.CMYK: 4, Photometric.YCBCR: 3, Photometric.LAB: 3}.get(
            self.photometric, 1
        )

    @property
    def extras(self) -> int:
        return self.samples - self.colours

    @property
    def transparency(self) -> bool:
        """Whether the extra channel says how much of a pixel shows."""
        return self.extras > 0 and self.numbers(Tag.EXTRA_SAMPLES)[:1] in ((1,), (2,))

    @property
    def lies_on_its_side(self) -> bool:
        return self.orientation in (5, 6, 7, 8)

    @property
    def is_thumbnail(self) -> bool:
        return bool(self.tags.number(Tag.SUBFILE) & 1) or self.tags.number(Tag.OLD_SUBFILE) == 2

    @property
    def is_mask(self) -> bool:
        return bool(self.tags.number(Tag.SUBFILE) & 4)

    @property
    def plain(self) -> bool:
        """Whether the samples are the values of grey or RGB pixels."""
        kinds = (Photometric.WHITE_IS_ZERO, Photometric.BLACK_IS_ZERO, Photometric.RGB)
        return self.photometric in kinds and self.bits in ((16, 32, 64) if self.is_float else (8, 16))

    @property
    def dtype(self) -> str:
        if not self.plain:
            return "uint8"
        return "float32" if self.is_float else f"uint{self.bits}"

    @property
    def stack_size(self) -> int:
        """How many pictures one directory stands for: volumes, and stacks as ImageJ writes them."""
        found = re.search(rb"\AImageJ=.*^images=(\d+)", self.value(Tag.DESCRIPTION) or b"", re.M | re.S)
        return max(self.tags.number(Tag.DEPTH, 1), int(found[1]) if found else 1)

    @property
    def orientation(self) -> int:
        """What the tag says, or else XMP."""
        if _exif.ORIENTATION in self.tags.entries:
            return self.tags.number(_exif.ORIENTATION, 1)
        return _metadata.orientation(None, self.value(Tag.XMP))

    @property
    def palette(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(3, N); index N is 2 to the bits of a value."""
        colours = np.array(self.numbers(Tag.COLORMAP)[: 3 << self.bits], np.uint16)
        colours = np.pad(colours, (0, (3 << self.bits) - len(colours))).reshape(3, -1)
        return (colours if colours.max(initial=0) < 256 else colours >> 8).astype(np.uint8)  # some write 8 bits

    @property
    def palette_is_grey(self) -> bool:
        if self.photometric != Photometric.PALETTE:
            return False
        colours = self.palette
        return bool((colours == colours[0]).all())

    @property
    def nodata(self) -> float | None:
        """The value of pixels that hold nothing, as GDAL writes it."""
        text = (self.value(Tag.NODATA) or b"").split(b"\0")[0]
        try:
            value = float(text)
        except ValueError:
            return None
        if not self.plain or self.photometric == Photometric.WHITE_IS_ZERO:
            return None
        if self.is_float:
            return value if abs(value) <= float(np.finfo(np.float32).max) else None
        return value if 0 <= value <= np.iinfo(self.dtype).max and value == int(value) else None

    def value(self, tag: int) -> bytes | None:
        """Bytes of a tag, if there are any."""
        entry = self.tags.entries.get(tag)
        return entry.value if entry and entry.value else None

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Values of an integer tag; none where it is missing or of another type."""
        entry = self.tags.entries.get(tag)
        code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(entry.type) if entry else None
        return struct.unpack(f"{self.tags.order}{entry.count}{code}", entry.value) if entry and code else ()

    def rationals(self, tag: int) -> tuple[float, ...]:
        """Values of a tag of fractions, or of integers; 0 for a fraction without a value."""
        entry = self.tags.entries.get(tag)
        if entry is None or entry.type != RATIONAL:
            return tuple(map(float, self.numbers(tag)))
        pairs = struct.iter_unpack(self.tags.order + "II", entry.value)
        return tuple(above / below if below else 0.0 for above, below in pairs)


def directories(source: Source, budget: Budget) -> Iterator[Page]:
    """The pages of a file, one after the other, each without the directories below it.

    Raises:
        ExifError: An offset leads out of the file.
    """
    start = source.start(4)
    order, big = "<" if start[:2] == b"II" else ">", start[2:4] in (b"+\0", b"\0+")
    seen: set[int] = set()
    place, code = (8, "Q") if big else (4, "I")
    while True:
        (offset,) = struct.unpack(
            order + code, source.read_at(place, struct.calcsize(code)).ljust(8, b"\0")[: 8 if big else 4]
        )
        if not offset or offset in seen or len(seen) >= _MAX_PAGES:
            return
        tags = _exif.read_directory(source.read_at, offset, order, big=big, depth=_ALONE, budget=budget)
        yield Page(tags, offset, big)
        seen.add(offset)
        place = tags.next_pointer


def sub_directories(source: Source, page: Page, budget: Budget) -> tuple[list[Page], int]:
    """Pictures below a page: pyramid levels, or the picture where the page is its thumbnail; and how many are lost."""
    found, lost = [], 0
    entry = page.tags.entries.get(_exif.SUB_IFDS)
    offsets = page.numbers(_exif.SUB_IFDS)
    for offset in offsets[:_MAX_SUB_DIRECTORIES]:
        try:
            tags = _exif.read_directory(
                source.read_at, offset, page.tags.order, big=page.big, depth=_ALONE, budget=budget
            )
        except ExifError:
            lost += 1
            continue
        general = {t: e for t, e in page.tags.entries.items() if t not in STRUCTURE or t in _SAID_FOR_ALL_PAGES}
        below = Page(replace(tags, entries=general | tags.entries), offset, page.big)
        if below.area and tags.entries.keys() & {Tag.STRIPS, Tag.TILES, Tag.JPEG_PREVIEW}:
            found.append(below)
        else:
            lost += 1
    return found, lost + (entry is not None and not offsets)


@dataclass(frozen=True, slots=True)
class Choice:
    """The page with the picture, its mask if it has one on a page of its own, and notes on the other pages."""

    page: Page
    mask: Page | None
    notes: list[str]


def choose(source: Source) -> Choice:
    """Find the one picture of a file.

    Raises:
        ImageDecodeError: There is none, or its directory cannot be followed or contradicts itself.
        UnsupportedImageError: There are several.
    """
    budget = Budget(source.budget.limit)
    try:
        pages = list(directories(source, budget))
    except ExifError as error:
        raise source.truncated() from error
    if not pages:
        raise source.truncated() if source.size < 16 else source.damaged("it holds no picture")
    full = [page for page in pages if not page.is_thumbnail and not page.is_mask] or pages[:1]
    if len(full) > 1 or full[0].stack_size > 1:
        count = max(len(full), full[0].stack_size)
        raise UnsupportedImageError(f"{source.name} holds {count} pictures; split the TIFF into single pages first.")
    chosen, notes = full[0], []
    below, lost = sub_directories(source, chosen, budget)
    below = [page for page in below if not page.is_thumbnail and not page.is_mask]
    if lost and chosen.is_thumbnail and not below:
        raise source.damaged("the picture below its thumbnail cannot be found")
    if lost:
        notes.append("Pictures below the first page cannot be found; look whether this is the one you mean.")
    largest = max(below, key=lambda page: page.area, default=chosen)
    if largest.area > chosen.area:
        if sum(page.area == largest.area for page in below) > 1:
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
    fitting = (page for page in masks if page.size == chosen.size and page.bits == page.samples == 1)
    mask = next((page for page in fitting if page.photometric == Photometric.MASK and chosen.extras <= 0), None)
    if mask is not None:
        notes.append("The transparency mask on a page of its own became an alpha channel.")
    elif masks:
        notes.append("The transparency mask on a page of its own was dropped.")
    if Tag.LAYERS in full[0].tags.entries:
        notes.append("The Photoshop layers were dropped; the flattened picture is kept.")
    for page in (chosen, mask):
        if page is not None:
            _refuse_nonsense(source, page)
    if chosen.is_thumbnail:
        notes.append("The file says of its only picture that it is a smaller copy of another.")
    large = [tag for page in pages for tag in page.tags.too_large if tag != Tag.LAYERS]
    if large:
        names = ", ".join(TiffTags.lookup(tag).name for tag in dict.fromkeys(large))
        notes.append(f"Tags of more than {_exif.LARGEST_VALUE >> 20} MB were dropped ({names}).")
    return Choice(chosen, mask, notes)


def _refuse_nonsense(source: Source, page: Page) -> None:
    """Refuse a directory of which readers show different pictures.

    A tag stands there twice, and they take one or the other; or a value means nothing, and each takes another of its
    own (but all take 0 for the usual).
    """
    head, entry = ("Q", "HHQQ") if page.big else ("H", "HHII")
    (count,) = struct.unpack(page.tags.order + head, source.read_at(page.start, struct.calcsize(head)))
    size = struct.calcsize("=" + entry)
    table = source.read_at(page.start + struct.calcsize(head), count * size)
    times = Counter(tag for tag, *_ in struct.iter_unpack(page.tags.order + entry, table[: len(table) // size * size]))
    twice = sorted(tag for tag in STRUCTURE & times.keys() if times[tag] > 1)
    if twice:
        raise source.damaged(f"its directory contradicts itself, with two entries {TiffTags.lookup(twice[0]).name}")
    for tag in sorted(_COUNTS & page.tags.entries.keys()):
        if not page.numbers(tag):
            raise source.damaged(f"its entry {TiffTags.lookup(tag).name} is no number")
    for tag, allowed in ((Tag.FILL_ORDER, (0, 1, 2)), (Tag.PLANAR, (0, 1, 2)), (Tag.PREDICTOR, (1, 2, 3))):
        value = page.tags.number(tag, 1)
        if value not in allowed:
            raise source.damaged(f"its entry {TiffTags.lookup(tag).name} is {value}, which means nothing")
    predictor = page.tags.number(Tag.PREDICTOR, 1)
    if page.compression in PREDICTED and ((predictor == 3) > page.is_float or (predictor == 2 and page.bits < 8)):
        raise source.damaged(f"its Predictor {predictor} does not fit values of {page.bits} bits")
    if page.photometric == Photometric.PALETTE and len(page.numbers(Tag.COLORMAP)) < 3 << page.bits:
        raise source.damaged("its palette is missing or too short")
