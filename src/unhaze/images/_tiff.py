"""TIFF: from the directory of the picture to its pixels.

The directories are read in :mod:`unhaze.images._tiff_directories`, the strips and tiles in
:mod:`unhaze.images._tiff_segments`; :mod:`unhaze.images._tiff_encoder` writes. libtiff, in OpenCV and Pillow, is left
out: it gives pixels for what is damaged and tells only the terminal.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.images import _exif, _metadata, _tiff_codecs
from unhaze.images._arrays import split_channels, to_uint8, unpremultiply
from unhaze.images._exif import Directory, ExifError
from unhaze.images._geo import turn_georeference
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Pixels, Source
from unhaze.images._tiff_directories import (
    RATIONAL,
    STRUCTURE,
    Page,
    Photometric,
    Tag,
    choose,
    directories,
    sub_directories,
)
from unhaze.images._tiff_encoder import encode, notes
from unhaze.images._tiff_segments import Layout, read_samples
from unhaze.images.budget import Budget

__all__ = ["encode", "identify", "is_raw", "notes", "read"]

_SAYS_LITTLE = {_exif.ORIENTATION, Tag.X_RESOLUTION, Tag.Y_RESOLUTION, Tag.RESOLUTION_UNIT}
_BT601, _FULL_RANGE = (0.299, 0.587, 0.114), (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)  # what holds without the tags
_ROWS = 256  # of which floats are made together
_SEGMENT_COPIES = 3  # of a tile while it is decoded
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 50000: "zstd", 34926: "zstd"}
_LARGEST_TILE = 1 << 24  # [bytes] where it is far larger than the picture, the file is out for memory


def is_raw(source: Source) -> bool:
    """Whether a file that begins like a TIFF is camera raw: it has a picture straight from the sensor, or is a DNG."""
    if source.start()[8:12] == b"CR\2\0":
        return True
    try:
        budget = Budget(source.budget.limit)
        first = next(directories(source, budget), None)
        if first is None:
            return False
        below, unreadable = sub_directories(source, first, budget)
    except (ExifError, ImageDecodeError):
        return False
    kinds = {page.tags.number(Tag.PHOTOMETRIC) for page in (first, *below)}
    raw = Tag.DNG_VERSION in first.tags.entries or bool(kinds & {Photometric.CFA, Photometric.LINEAR_RAW})
    if raw and unreadable and all(page.is_thumbnail for page in (first, *below)):
        raise source.damaged("the picture below its thumbnail cannot be found")  # LibRaw would develop the thumbnail
    return raw


def identify(source: Source) -> ImageInfo:
    """Size and type from the directory of the picture."""
    chosen = choose(source)
    page = chosen.page
    width, height = page.size
    scratch = 0  # of decoding a tile that is larger than the picture; smaller ones are among the copies of the picture
    if Tag.TILES in page.tags.entries:
        area = page.tags.number(Tag.TILE_WIDTH) * page.tags.number(Tag.TILE_HEIGHT)
        scratch = max(0, area - page.area) * page.samples * max(page.bits, 8) // 8 * _SEGMENT_COPIES
    if page.lies_on_its_side:
        width, height = height, width
    grey = page.photometric in (Photometric.WHITE_IS_ZERO, Photometric.BLACK_IS_ZERO) or page.palette_is_grey
    has_alpha = page.extras > 0 or chosen.mask is not None
    return ImageInfo("tiff", width, height, 1 if grey else 3, has_alpha, page.dtype, scratch_bytes=scratch)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode the largest picture of a TIFF."""
    chosen = choose(source)
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
    decoded.orientation = page.orientation
    decoded.notes += turn_georeference(page.tags, decoded.orientation, *page.size)
    whole_range = (0.0, 2.0**page.bits - 1) * 3
    if page.photometric != Photometric.YCBCR and page.rationals(Tag.REFERENCE) not in ((), whole_range):
        decoded.notes.append("The tag ReferenceBlackWhite was dropped; it was not applied, as by other readers.")
    decoded.metadata = _read_metadata(page)
    decoded.encoding = Encoding(
        tiff_compression=_COMPRESSIONS.get(page.compression, _tiff_codecs.name_of(page.compression)),
        premultiplied=page.transparency and page.numbers(Tag.EXTRA_SAMPLES)[0] == 1,
        unspecified_alpha=page.extras > 0 and not page.transparency,
        nodata=page.nodata,
    )
    return decoded


def _read_details(source: Source, page: Page) -> list[str]:
    """Read the EXIF and GPS directories of a page into its tags; one that is damaged goes, with a note."""
    budget = Budget(source.budget.limit)
    notes = []
    for tag, name in ((_exif.EXIF_IFD, "EXIF"), (_exif.GPS_IFD, "GPS")):
        entry = page.tags.entries.get(tag)
        if entry is None:
            continue
        try:
            offset = page.tags.number(tag)
            entry.directory = _exif.read_directory(
                source.read_at, offset, page.tags.order, big=page.big, depth=1, budget=budget
            )
        except ExifError:
            del page.tags.entries[tag]
            notes.append(f"The {name} data is damaged and was dropped.")
    return notes


def _refuse_unknown(source: Source, page: Page) -> None:
    bits, kind = page.bits, page.tags.number(Tag.SAMPLE_FORMAT, 1)
    advice = "convert it to 8 bit, 16 bit or 32-bit float first"
    if any(len(set(page.numbers(tag))) > 1 for tag in (Tag.BITS, Tag.SAMPLE_FORMAT)):
        raise UnsupportedImageError(f"{source.name} has channels of several kinds; {advice}.")
    if kind not in (1, 3, 4) or (kind == 3 and bits not in (16, 32, 64)):
        raise UnsupportedImageError(f"{source.name} has signed, complex or odd float values; {advice}.")
    if kind != 3 and bits > 16:
        raise UnsupportedImageError(f"{source.name} has {bits}-bit integer values; {advice}.")
    if kind != 3 and bits not in (1, 2, 4, 8, 16):
        raise UnsupportedImageError(f"{source.name} has {bits} bits per value; {advice}.")
    if page.photometric not in (
        Photometric.WHITE_IS_ZERO,
        Photometric.BLACK_IS_ZERO,
        Photometric.RGB,
        Photometric.PALETTE,
        Photometric.CMYK,
        Photometric.YCBCR,
        Photometric.LAB,
    ):
        raise UnsupportedImageError(f"{source.name} has colours of kind {page.photometric}; convert it to RGB first.")
    if page.photometric == Photometric.RGB and page.samples < 3:
        raise source.damaged("it says it is RGB but has fewer than three channels")
    if page.extras > (page.plain):
        raise UnsupportedImageError(
            f"{source.name} has {page.samples} channels; only grey or RGB with at most one more is handled: convert it "
            "first."
        )
    if page.photometric in (Photometric.YCBCR, Photometric.LAB) and bits != 8:
        raise UnsupportedImageError(
            f"{source.name} has YCbCr or Lab colours with {bits} bits; convert it to RGB first."
        )


def _layout(source: Source, page: Page) -> Layout:
    """Where the strips or tiles are. Pictures of which some are missing are refused."""
    width, height = page.size
    tiled = Tag.TILES in page.tags.entries
    segment_width = page.tags.number(Tag.TILE_WIDTH) if tiled else width
    segment_height = (
        page.tags.number(Tag.TILE_HEIGHT) if tiled else min(page.tags.number(Tag.ROWS_PER_STRIP, height), height)
    )
    area = segment_width * segment_height
    tile_bytes = area * page.samples * max(page.bits, 8) // 8
    if not area or (tiled and area > 4 * width * height and tile_bytes > _LARGEST_TILE):
        raise source.damaged(f"its parts are said to have {segment_width} x {segment_height} pixels")
    subsampling = page.numbers(Tag.SUBSAMPLING) or (2, 2)
    offsets = page.numbers(Tag.TILES if tiled else Tag.STRIPS)
    lengths = page.numbers(Tag.TILE_BYTES if tiled else Tag.STRIP_BYTES)
    layout = Layout(
        width, height, segment_width, segment_height, tiled,
        samples=page.samples,
        planar=page.tags.number(Tag.PLANAR, 1) == 2 and page.samples > 1,
        bits=page.bits,
        is_float=page.is_float,
        byte_order="<" if page.tags.order == "<" else ">",
        compression=page.compression,
        predictor=page.tags.number(Tag.PREDICTOR, 1),
        turned_bits=page.tags.number(Tag.FILL_ORDER, 1) == 2,
        ycc=page.photometric == Photometric.YCBCR,
        subsampling=(subsampling[0], subsampling[-1]),
        jpeg_tables=page.value(Tag.JPEG_TABLES) or b"",
        offsets=offsets,
        lengths=lengths,
        blank=page.nodata,
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


def _decode(values: Pixels, page: Page) -> Decoded:
    """Grey or RGB samples as pixels."""
    notes: list[str] = []
    if values.dtype.kind == "f" and values.dtype != np.float32:
        notes.append(f"{values.dtype} values are stored as 32-bit float.")
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is counted in a note
            values = values.astype(np.float32)
    pixels, alpha = (values[..., 0], None) if values.shape[2] == 1 else split_channels(values, grey=page.colours == 1)
    if page.photometric == Photometric.WHITE_IS_ZERO:
        top = 1.0 if page.is_float else np.iinfo(pixels.dtype).max
        pixels = np.subtract(pixels.dtype.type(top), pixels, out=pixels)
    if alpha is not None and page.numbers(Tag.EXTRA_SAMPLES)[:1] == (1,):
        pixels, lost = unpremultiply(pixels, alpha)
        notes += lost
    return Decoded(pixels, alpha, notes=notes)


def _convert(values: Pixels, page: Page) -> Decoded:
    """Samples that are not the values of pixels: few bits, palettes, and colours of other kinds."""
    notes = ["16-bit values were reduced to 8 bit."] if page.bits == 16 else []
    if page.bits < 8 and page.photometric != Photometric.PALETTE:
        values = values * np.uint8(255 // (2**page.bits - 1))
    if page.photometric in (Photometric.WHITE_IS_ZERO, Photometric.BLACK_IS_ZERO):
        return Decoded(255 - values[..., 0] if page.photometric == Photometric.WHITE_IS_ZERO else values[..., 0])
    if page.photometric == Photometric.RGB:
        return Decoded(values)
    if page.photometric == Photometric.PALETTE:
        colours = page.palette
        colours = colours[:1] if page.palette_is_grey else colours
        return Decoded(np.ascontiguousarray(colours.T[values[..., 0]].squeeze(2 if len(colours) == 1 else ())))
    if page.photometric == Photometric.CMYK:
        pixels, note = _metadata.cmyk_to_srgb(Image.fromarray(to_uint8(values), mode="CMYK"), page.value(Tag.ICC))
        return Decoded(pixels, notes=[*notes, note])
    size = values.shape[1::-1]
    if page.photometric == Photometric.LAB:
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = Image.frombytes("LAB", size, values.tobytes(), "raw", "LAB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return Decoded(np.array(converted), notes=["The Lab colours were converted to sRGB."])
    # shares of red, green and blue in brightness, and codes of black and white of each channel
    luma = page.rationals(Tag.YCBCR_COEFFICIENTS) or _BT601
    reference = page.rationals(Tag.REFERENCE) or _FULL_RANGE
    sound = len(luma) == 3 and min(luma) > 0 and abs(sum(luma) - 1) < 0.01
    if not sound or len(reference) != 6 or any(reference[i] == reference[i + 1] for i in (0, 2, 4)):
        raise ImageDecodeError("The YCbCr colours of the TIFF are described by numbers that mean nothing; repair it.")
    usual = np.allclose(luma, _BT601, atol=1e-3) and reference == _FULL_RANGE
    if page.compression == _tiff_codecs.JPEG:  # its decoder made RGB of YCbCr
        unusual = "The TIFF says that its JPEG has unusual YCbCr colours; they were read as those of any JPEG."
        notes = [] if usual else [unusual]
        return Decoded(values, notes=notes)
    if not usual:
        return Decoded(_rgb_of_ycbcr(values, luma, reference))
    return Decoded(np.array(Image.frombytes("YCbCr", size, values.tobytes()).convert("RGB")))


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


def _read_metadata(page: Page) -> Metadata:
    # the tags that describe the picture and not its storage, as EXIF data
    kept = {tag: entry for tag, entry in page.tags.entries.items() if tag not in STRUCTURE}
    if Tag.DESCRIPTION in kept and kept[Tag.DESCRIPTION].value.startswith(b'{"shape":'):
        del kept[Tag.DESCRIPTION]  # tifffile's own note on the array, no longer true once it is turned
    photoshop, iptc = page.value(Tag.PHOTOSHOP), page.value(Tag.IPTC)
    if photoshop is None and iptc is not None:  # bare, as the image resource 1028, the form that JPEG files hold
        photoshop = b"8BIM" + struct.pack(">HHI", 1028, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    unit = {2: 1.0, 3: 2.54}.get(page.tags.number(Tag.RESOLUTION_UNIT, 2), 0.0)  # per inch, per centimetre
    dpi = []
    for tag in (Tag.X_RESOLUTION, Tag.Y_RESOLUTION):
        entry = page.tags.entries.get(tag)
        if entry is not None and entry.type == RATIONAL and entry.count:
            above, below = struct.unpack_from(page.tags.order + "II", entry.value)
            dpi.append(above / below * unit if below else 0.0)
    return Metadata(
        exif=None if kept.keys() <= _SAYS_LITTLE else _exif.blob_from_directory(Directory(page.tags.order, kept)),
        xmp=page.value(Tag.XMP),
        icc=_metadata.srgb_profile()
        if page.photometric in (Photometric.CMYK, Photometric.LAB)
        else page.value(Tag.ICC),
        photoshop=photoshop,
        dpi=(dpi[0], dpi[1]) if len(dpi) == 2 and all(dpi) else None,
    )
