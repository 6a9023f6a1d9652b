"""TIFF: strips and tiles that do not end where they should, and directories that cannot be found."""

import io
import re
import struct
import time
import zlib
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from tests.images.test_files import lines, tiff_by_hand
from tests.pictures import exif, exif_facts, jpeg, jpeg_exif, noise, opened, row, scene

from unhaze import Dehazer
from unhaze.errors import ImageDecodeError, ImageValueError, OverBudgetError
from unhaze.images import _exif
from unhaze.images.files import encode_image, identify, read_image

HEIGHT, WIDTH, STRIP = 48, 64, 16
NO_END = "3 of 3 strips do not end where their part of the picture does; look at the result."
ONE_NO_END = NO_END.replace("3 of", "1 of")
COMPRESSIONS = [None, "lzw", "packbits", "deflate", "lzma", "zstd", "jpeg", "jpeg2000", "webp", "png", "lerc"]
SILENT = (None, "lzw", "packbits", "deflate", "lzma", "jpeg")  # what libtiff and tifffile decode without a word


def stored(compression, **options):
    """A picture in three strips."""
    if compression not in (None, "packbits", "deflate"):
        pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    file = io.BytesIO()
    tifffile.imwrite(
        file, scene(HEIGHT, WIDTH), photometric="rgb", metadata=None, rowsperstrip=STRIP, compression=compression,
        **options,
    )  # fmt: skip
    return bytearray(file.getvalue())


def entry(data, tag):
    """Where the entry of a tag is."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    return next(place for place in places if struct.unpack_from("<H", data, place) == (tag,))


def set_tag(data, tag, value):
    struct.pack_into("<HII", data, entry(data, tag) + 2, 4, 1, value)


def change_lengths(data, change):
    """Change the length of the first strip."""
    kind, _, place = struct.unpack_from("<HII", data, entry(data, 279) + 2)
    code = {3: "<H", 4: "<I", 16: "<Q"}[kind]
    (length,) = struct.unpack_from(code, data, place)
    struct.pack_into(code, data, place, length + change)


# --------------------------------------------------------------------------------------------- strips without their end


@row("tiff-no-end")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_strips_that_hold_more_than_the_picture(compression):
    data = stored(compression)
    set_tag(data, 257, 36)
    set_tag(data, 278, 12)
    if compression not in SILENT:
        with pytest.raises(ImageDecodeError, match="strip 1 of 3 cannot be decoded"):
            read_image(bytes(data))
        return
    picture = read_image(bytes(data))
    assert picture.notes == (NO_END,)
    if compression != "jpeg":  # the rest is what libtiff and tifffile give
        np.testing.assert_array_equal(picture.pixels[:12], scene(HEIGHT, WIDTH)[:12])
        np.testing.assert_array_equal(picture.pixels[12:24], scene(HEIGHT, WIDTH)[16:28])


@row("tiff-no-end")
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("height", [HEIGHT, 47, 40, 33])
def test_a_last_strip_filled_up_is_as_good_as_one_cut(compression, height):
    data = stored(compression)
    set_tag(data, 257, height)
    if compression not in SILENT and height < HEIGHT:
        with pytest.raises(ImageDecodeError, match="strip 3 of 3 cannot be decoded"):
            read_image(bytes(data))
        return
    picture = read_image(bytes(data))
    assert picture.notes == ()
    assert np.abs(picture.pixels.astype(int) - scene(HEIGHT, WIDTH)[:height]).max() <= (8 if compression else 0)


@row("tiff-no-end")
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("cut", [1, 4])
def test_a_strip_that_loses_its_end(compression, cut):
    """The mark of the end, a checksum: what libtiff and tifffile do not miss."""
    data = stored(compression)
    change_lengths(data, -cut)
    with suppress(ImageDecodeError):
        picture = read_image(bytes(data))
        assert compression in SILENT
        assert picture.notes == (ONE_NO_END,)
        np.testing.assert_array_equal(picture.pixels, scene(HEIGHT, WIDTH))


@row("tiff-no-end")
@pytest.mark.parametrize("levels", [2, 256])
def test_the_end_of_lzw_is_found_at_every_length(levels):
    """Of two writers; libtiff before 4.1 wrote an end of too few bits where the width changes."""
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    values = np.random.default_rng(levels).integers(0, levels, 6000, np.uint8)
    for count in (*range(1, 20), *range(250, 262), *range(500, 520, 3), *range(1000, 6000, 313)):
        line = values[:count][None]
        packed = codecs.lzw_encode(line.tobytes())
        data = tiff_by_hand(lines(line, 5), [packed])
        assert read_image(data).notes == ()
        if count > 1:
            shorter = tiff_by_hand(lines(line[:, :-1], 5), [packed])
            assert read_image(shorter).notes == (ONE_NO_END.replace("of 3", "of 1"),)
    old = [256, *([7] * 254)]  # then the reader expects 10 bits
    bits = "".join(f"{code:09b}" for code in [*old, 257])
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    line = np.full((1, 254), 7, np.uint8)
    assert read_image(tiff_by_hand(lines(line, 5), [packed])).notes == ()


@row("tiff-no-end")
def test_a_jpeg_strip_that_libjpeg_warns_of():
    data = stored("jpeg")
    (place,) = struct.unpack_from("<I", data, entry(data, 273) + 8)
    (start,) = struct.unpack_from("<I", data, place)
    end = data.index(b"\xff\xd9", data.index(b"\xff\xda", start))
    data[end - 8 : end] = bytes(8)
    (note,) = read_image(bytes(data)).notes
    assert re.fullmatch(r"1 of 3 strips are damaged in places \(.*extraneous bytes.*\); look at the result\.", note)


@row("tiff-no-end")
def test_strips_that_share_a_part_of_their_bytes():
    data = stored(None)
    kind, count, place = struct.unpack_from("<HII", data, entry(data, 273) + 2)
    assert (kind, count) == (4, 3)
    first, second, third = struct.unpack_from("<3I", data, place)
    for places, overlap in (
        ((first, second - 100, third), True),
        ((first, first, third), False),  # what repeats may be stored once
        ((first, second, 4), True),
        ((third, second, first), False),
    ):
        struct.pack_into("<3I", data, place, *places)
        assert any("overlap" in note for note in read_image(bytes(data)).notes) == overlap


# ---------------------------------------------------------------------------------------------------------- directories


def below_a_thumbnail(first_type, pointers, kind=4):
    small, large = scene(12, 16), scene(HEIGHT, WIDTH)
    strips = [small.tobytes(), large.tobytes()]
    tail = [(tag, *value) for tag, value in {256: (3, [WIDTH]), 257: (3, [HEIGHT])}.items()]
    full = [*tail, *[e for e in lines(large) if e[0] not in (256, 257, 273, 279)],
            (273, 4, [8 + len(strips[0])]), (279, 4, [len(strips[1])])]  # fmt: skip
    entries = [e for e in lines(small, _254=(4, [first_type]), _330=(kind, pointers)) if e[0] not in (273, 279)]
    entries += [(273, 4, [8]), (279, 4, [len(strips[0])])]
    return tiff_by_hand(sorted(entries), strips, below=[sorted(full)])


@row("tiff-largest-below")
@pytest.mark.parametrize(("pointers", "kind"), [([10**6], 4), ([9], 4), ([0], 4), ([7.0], 12), ([70], 3)])
def test_a_thumbnail_is_not_taken_for_the_picture_that_cannot_be_found(pointers, kind):
    found = read_image(below_a_thumbnail(1, "below"))
    assert found.pixels.shape == (HEIGHT, WIDTH, 3)
    torn = below_a_thumbnail(1, pointers, kind)
    for look in (identify, read_image):
        with pytest.raises(ImageDecodeError, match="the picture below its thumbnail cannot be found"):
            look(torn)
    told = read_image(below_a_thumbnail(0, pointers, kind))
    assert told.pixels.shape == (12, 16, 3)
    assert "look whether this is the one you mean" in told.notes[0]


@row("tiff-largest-below")
def test_a_dng_whose_picture_cannot_be_found_is_refused():
    small = scene(12, 16)
    entries = lines(small, _254=(4, [1]), _330=(4, [10**6]), _50706=(1, [1, 4, 0, 0]))
    with pytest.raises(ImageDecodeError, match="the picture below its thumbnail cannot be found"):
        read_image(tiff_by_hand(entries, [small.tobytes()]))


@row("tiff-largest-below")
def test_a_page_that_says_it_is_a_copy_is_told():
    pixels = scene(12, 16)
    picture = read_image(tiff_by_hand(lines(pixels, _254=(4, [1])), [pixels.tobytes()]))
    assert picture.notes == ("The file says of its only picture that it is a smaller copy of another.",)


@row("tiff-huge-tag")
@pytest.mark.parametrize(("tag", "name"), [(270, "ImageDescription"), (65000, "unknown")])
def test_a_huge_tag_is_told(tag, name, monkeypatch):
    monkeypatch.setattr(_exif, "LARGEST_VALUE", 2 << 20)
    pixels = scene(12, 16)
    entries = sorted([*lines(pixels), (tag, 2, b"x" * (3 << 20))])
    assert read_image(tiff_by_hand(entries, [pixels.tobytes()])).notes == (
        f"Tags of more than 2 MB were dropped ({name}).",
    )


# ----------------------------------------------------------------------------------------------------------------- EXIF


@row("exif-short-pointer")
@pytest.mark.parametrize("order", ["<", ">"])
def test_short_pointers_of_exif_are_followed_and_written_as_they_should_be(order):
    blob = exif(6, order, pointer=3)
    picture = read_image(jpeg(jpeg_exif(blob)))
    assert picture.notes == ()
    assert picture.pixels.shape == (64, 48, 3)
    for format in ("jpeg", "png", "tiff"):
        again = encode_image(picture, format)
        read = opened(again).getexif()
        assert read.get_ifd(34665)[36867] == "2026:05:01 10:11:12", format
        assert tuple(map(float, read.get_ifd(34853)[2])) == (46.0, 57.0, 12.34), format
    assert exif_facts(picture.metadata.exif)["latitude"] == (46.0, 57.0, 12.34)


@row("exif-short-pointer")
def test_short_pointers_of_a_tiff_are_followed():
    pixels = scene(12, 16)
    entries = lines(pixels, _34665=(3, "below"), _34853=(3, "below"))
    below = [[(36867, 2, b"2026:05:01 10:11:12\0"), (40965, 3, "below")], [(1, 2, b"N\0")], [(1, 2, b"R98\0")]]
    below[1], below[2] = below[2], below[1]
    picture = read_image(tiff_by_hand(entries, [pixels.tobytes()], below=below))
    assert picture.notes == ()
    read = opened(encode_image(picture)).getexif()
    assert read.get_ifd(34665)[36867] == "2026:05:01 10:11:12"
    assert read.get_ifd(34853)[1] == "N"


# ------------------------------------------------------------------------------------------- values that mean nothing


@row("tiff-contradiction")
@pytest.mark.parametrize(
    ("tag", "value", "what"),
    [
        (259, (2, b"ab\0"), "Compression is no number"),
        (262, (12, [2.0]), "PhotometricInterpretation is no number"),
        (266, (3, [7]), "FillOrder is 7"),
        (284, (3, [65535]), "PlanarConfiguration is 65535"),
        (317, (3, [9]), "Predictor is 9"),
        (317, (3, [3]), "Predictor 3 does not fit"),
    ],
)
def test_values_that_mean_nothing_are_refused(tag, value, what):
    pixels = scene(12, 16)
    entries = lines(pixels, 8, **{f"_{tag}": value})
    with pytest.raises(ImageDecodeError, match=what):
        read_image(tiff_by_hand(entries, [zlib.compress(pixels.tobytes())]))


@row("tiff-contradiction")
@pytest.mark.parametrize("more", [{}, {"_320": (3, [7] * 10)}])
def test_a_palette_that_is_missing_is_not_taken_for_black(more):
    indices = scene(12, 16, 0)
    with pytest.raises(ImageDecodeError, match="palette is missing"):
        read_image(tiff_by_hand(lines(indices, _262=(3, [3]), **more), [indices.tobytes()]))


# ------------------------------------------------------------------------------------------- endless, or for memory


@row("tiff-damaged-strip")
@pytest.mark.parametrize(
    ("copies", "what"), [(1, "strip 1 of 1 cannot be decoded"), (2000, "share their bytes so often")]
)
def test_bytes_that_do_nothing_take_no_time(copies, what):
    noop = b"\x80" * 500_000 + b"\0\x40"
    pixels = np.zeros((copies, 1), np.uint8)
    entries = lines(pixels, 32773, _278=(3, [1]), _273=(4, [8] * copies), _279=(4, [len(noop)] * copies))
    before = time.process_time()
    with pytest.raises(ImageDecodeError, match=what):
        read_image(tiff_by_hand(entries, [noop]))
    assert time.process_time() - before < 1


@row("tiff-damaged-strip")
def test_a_tile_is_measured_in_bytes():
    pixels = scene(16, 16, 0)
    entries = [row for row in lines(pixels, 8, _322=(3, [4096]), _323=(3, [4096])) if row[0] not in (273, 278, 279)]
    entries = sorted([*entries, (324, 4, "segments"), (325, 4, "lengths")])
    tile = zlib.compress(bytes(4096 * 4096))
    assert not read_image(tiff_by_hand(entries, [tile])).pixels.any()
    floats = [(258, 3, [64]) if row[0] == 258 else row for row in entries] + [(339, 3, [3])]
    with pytest.raises(ImageDecodeError, match="4096 x 4096"):
        read_image(tiff_by_hand(floats, [tile]))


def test_a_first_pixel_does_not_make_a_raw_file():
    pixels = scene(12, 16)
    pixels[0, 0] = (67, 82, 90)
    picture = read_image(tiff_by_hand(lines(pixels), [pixels.tobytes()]))
    assert picture.format == "tiff"
    np.testing.assert_array_equal(picture.pixels, pixels)


# ------------------------------------------------------------------------------------------------------------- colours


def spec_rgb(codes, luma, reference):
    """RGB of TIFF 6.0, sections 20 (ReferenceBlackWhite) and 21 (YCbCrCoefficients), in float64."""
    black, white = np.reshape(reference, (3, 2)).astype(np.float64).T
    y, cb, cr = np.moveaxis((codes - black) * [255, 127, 127] / (white - black), -1, 0)
    red, green, blue = luma
    r, b = cr * (2 - 2 * red) + y, cb * (2 - 2 * blue) + y
    return np.clip(np.rint(np.stack([r, (y - blue * b - red * r) / green, b], axis=-1)), 0, 255)


def ycbcr(codes, luma, reference):
    rationals = {
        529: [number for share in luma for number in (round(share * 10_000), 10_000)],
        532: [number for code in reference for number in (code, 1)],
    }
    more = {f"_{tag}": (5, numbers) for tag, numbers in rationals.items()}
    entries = lines(codes, _262=(3, [6]), _530=(3, [1, 1]), **more)
    return tiff_by_hand(entries, [codes.tobytes()])


@row("tiff-ycbcr")
@pytest.mark.parametrize("luma", [(0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)])
@pytest.mark.parametrize("reference", [(0, 255, 128, 255, 128, 255), (16, 235, 128, 240, 128, 240)])
def test_ycbcr_is_read_as_the_file_describes_it(luma, reference):
    codes = noise(40, 31, 3)
    pixels = read_image(ycbcr(codes, luma, reference)).pixels
    assert np.abs(pixels - spec_rgb(codes, luma, reference)).max() <= 1  # Pillow rounds otherwise
    if reference[0]:
        grey = np.full((2, 2, 3), (16, 128, 128), np.uint8)
        assert not read_image(ycbcr(grey, luma, reference)).pixels.any()


@row("tiff-ycbcr")
@pytest.mark.parametrize(
    ("luma", "reference"), [((0.5, 0.0, 0.5), (0, 255, 128, 255, 128, 255)), ((0.299, 0.587, 0.114), (9,) * 6)]
)
def test_ycbcr_described_by_nonsense_is_refused(luma, reference):
    with pytest.raises(ImageDecodeError, match="YCbCr"):
        read_image(ycbcr(noise(4, 4, 3), luma, reference))


@row("tiff-ycbcr")
def test_reference_of_rgb_is_told():
    pixels = noise(4, 5, 3)
    reference = (5, [16, 1, 235, 1] * 3)
    picture = read_image(tiff_by_hand(lines(pixels, _532=reference), [pixels.tobytes()]))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert "ReferenceBlackWhite" in picture.notes[-1]


@row("alpha-faint")
@pytest.mark.parametrize("faint", [0.0, 1e-30, 1e-6, 1e-3])
def test_float_colours_under_next_to_no_alpha_stay_and_decide_nothing(faint):
    alpha = np.ones((32, 40), np.float32)
    alpha[:, :9] = faint
    colours = np.full((32, 40, 3), 0.5, np.float32)
    colours[:, :9] = 0.25
    file = io.BytesIO()
    tifffile.imwrite(file, np.dstack([colours, alpha]), photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    picture = read_image(file.getvalue())
    assert picture.pixels.max() == 0.5
    assert picture.white is None
    np.testing.assert_array_equal(picture.hidden(), alpha < 1)
    again = tifffile.imread(io.BytesIO(encode_image(picture)))
    np.testing.assert_array_equal(again, np.dstack([colours, alpha]))


# ------------------------------------------------------------------------------------------------------------- memory


@row("tiff-huge-tile")
def test_a_tile_larger_than_the_picture_counts_before_it_is_decoded():
    side = 2048
    packed = zlib.compress(bytes(side * side * 3), 1)
    tile = {"_322": (4, [side]), "_323": (4, [side]), "_324": (4, "segments"), "_325": (4, "lengths")}

    def tiled(height, width):
        entries = lines(np.empty((height, width, 3), np.uint8), 8, **tile)
        return tiff_by_hand([e for e in entries if e[0] not in (273, 278, 279)], [packed])

    data = tiled(1100, 1100)
    info = identify(data)
    assert info.scratch_bytes >= (side * side - info.pixels) * 3
    assert read_image(data).info == info
    assert identify(tiled(side, side)).scratch_bytes == 0
    plain = Dehazer("dcp").memory_needed(replace(info, scratch_bytes=0))
    with pytest.raises(OverBudgetError):
        Dehazer("dcp", max_memory=plain).check_budget(info)


@row("tiff-huge-tile")
def test_a_tile_far_larger_than_the_picture_is_refused():
    pixels = noise(16, 16, 3)
    tile = {"_322": (4, [20_000]), "_323": (4, [20_000]), "_324": (4, "segments"), "_325": (4, "lengths")}
    entries = [e for e in lines(pixels, 8, **tile) if e[0] not in (273, 278, 279)]
    with pytest.raises(ImageDecodeError, match="20000 x 20000"):
        read_image(tiff_by_hand(entries, [zlib.compress(pixels.tobytes())]))


@row("tiff-huge-tile")
def test_a_strip_of_more_rows_than_the_picture_takes_no_more_memory():
    pixels = noise(16, 16, 3)
    data = tiff_by_hand(lines(pixels, 8, _278=(4, [20_000])), [zlib.compress(pixels.tobytes())])
    assert identify(data).scratch_bytes == 0
    np.testing.assert_array_equal(read_image(data).pixels, pixels)


@row("nan", "alpha-premultiplied")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("colour", "weight"), [(np.inf, 0.5), (np.inf, np.inf), (3e38, 0.01), (np.nan, np.nan)])
def test_what_becomes_infinite_under_alpha_is_told_without_a_warning(colour, weight):
    pixels = np.full((4, 4, 4), 0.5, np.float32)
    pixels[1, 2] = colour, 0.25, 0.25, weight
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=[1])
    if np.isfinite(weight):
        picture = read_image(file.getvalue())
        assert "1 pixels are NaN or infinite; they were left as they are." in picture.notes
        encode_image(picture)
    else:
        with pytest.raises(ImageValueError, match="in 1 of its alpha values"):
            read_image(file.getvalue())
