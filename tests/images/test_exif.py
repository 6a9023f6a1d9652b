"""EXIF data that is damaged or laid out in rare ways, in the files that carry it."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pictures import (
    ASCII,
    FACTS,
    LONG,
    POINTER,
    RATIONAL,
    UNDEFINED,
    chunk,
    exif,
    exif_facts,
    jpeg,
    jpeg_exif,
    jpeg_segments,
    jpeg_xmp,
    opened,
    png,
    png_xmp,
    row,
    saved,
    scene,
    xmp,
)

from unhaze.images._exif import mend, parse_blob
from unhaze.images.files import encode_image, identify, read_image

TURNED, UPRIGHT = (64, 48, 3), (48, 64, 3)


def carried(blob, format):
    """A picture file with this EXIF data."""
    if format == "jpeg":
        return jpeg(jpeg_exif(blob))
    if format == "png":
        return png(None, chunk(b"eXIf", blob))
    return saved(scene(), "WEBP", lossless=True, exif=blob)


@row("exif-damaged")
@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ((315, ASCII, 40, struct.pack("<I", 0xFF00)), "tag 315"),  # a value outside
        ((315, ASCII, 1 << 30, b"\0\0\0\1"), "tag 315"),  # a value of a gigabyte
        ((315, 99, 1, b"abcd"), "tag 315"),  # a type that does not exist
        ((271, ASCII, 6, b"Other\0"), "tag 271"),  # twice
    ],
)
def test_a_bad_entry_is_dropped_and_the_rest_stays(format, entry, name):
    data = carried(exif(more=[entry]), format)
    picture = read_image(data)
    assert picture.pixels.shape == TURNED
    assert identify(data) == picture.info
    assert picture.notes == (f"Parts of the EXIF data are damaged and were dropped ({name}); the rest was kept.",)
    again = encode_image(picture)
    found = opened(again).getexif()
    assert exif_facts(read_image(again).metadata.exif) == FACTS
    assert (found[271], found[274]) == ("Maker", 1)


@row("exif-damaged")
@pytest.mark.parametrize("pointer", [0, 0xFFFF, 8, 20])  # no place, outside, the first directory itself, values
@pytest.mark.parametrize("tag", [34665, 34853])
def test_a_bad_directory_is_dropped_and_the_rest_stays(tag, pointer):
    blob = bytearray(exif())
    place = blob.index(struct.pack("<HHI", tag, LONG, 1)) + 8
    struct.pack_into("<I", blob, place, pointer)
    picture = read_image(jpeg(jpeg_exif(bytes(blob))))
    assert picture.pixels.shape == TURNED
    lost = {34665: ("camera data", "date"), 34853: ("GPS", "latitude")}[tag]
    assert picture.notes == (f"Parts of the EXIF data are damaged and were dropped ({lost[0]}); the rest was kept.",)
    assert exif_facts(picture.metadata.exif) == FACTS | {lost[1]: None}


@row("exif-damaged")
def test_a_pointer_that_is_text_is_dropped():
    blob = exif().replace(struct.pack("<HHI", 34853, LONG, 1), struct.pack("<HHI", 34853, ASCII, 4))
    picture = read_image(jpeg(jpeg_exif(blob)))
    assert picture.pixels.shape == TURNED
    assert exif_facts(picture.metadata.exif) == FACTS | {"latitude": None}


@row("exif-damaged")
def test_exif_that_ends_too_early_gives_its_orientation():
    blob = exif()
    whole = read_image(jpeg(jpeg_exif(blob)))
    for end in range(40, len(blob), 3):
        picture = read_image(jpeg(jpeg_exif(blob[:end])))
        assert picture.pixels.shape == TURNED, end
        np.testing.assert_array_equal(picture.pixels, whole.pixels)
        assert picture.notes


@row("exif-pointers")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pointer", [LONG, POINTER])
@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_pointers_of_both_types_are_followed(format, pointer, order):
    picture = read_image(carried(exif(order=order, pointer=pointer), format))
    assert picture.notes == ()
    assert picture.pixels.shape == TURNED
    for target in ("jpeg", "png", "webp", "tiff"):
        kept = read_image(encode_image(picture, target)).metadata.exif
        assert exif_facts(kept) == FACTS, target


def test_pointers_of_eight_bytes_are_followed():
    wide = exif().replace(struct.pack("<HHI", 34853, LONG, 1), struct.pack("<HHI", 34853, 18, 1))
    place = wide.index(struct.pack("<HHI", 34853, 18, 1)) + 8
    (at_gps,) = struct.unpack_from("<I", wide, place)
    wide = wide[:place] + struct.pack("<I", len(wide)) + wide[place + 4 :] + struct.pack("<Q", at_gps)
    mended, dropped = mend(wide)
    assert dropped == []
    assert 2 in parse_blob(mended).entries[34853].directory.entries


@row("orientation-types")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(1, "B"), (3, "H"), (4, "I"), (6, "b"), (8, "h"), (9, "i")])
def test_orientation_is_read_from_any_integer(kind, code, order):
    blob = exif(orientation=None, order=order, more=[(274, kind, 1, struct.pack(order + code, 6))])
    picture = read_image(jpeg(jpeg_exif(blob)))
    assert picture.pixels.shape == TURNED
    again = encode_image(picture)
    assert read_image(again).pixels.shape == TURNED
    assert opened(again).getexif()[274] in (1, b"\1")


def test_orientation_that_stands_there_twice_is_applied_once():
    data = jpeg(jpeg_exif(exif(more=[(274, 3, 1, 8)])))
    picture = read_image(data)
    again = encode_image(picture)
    np.testing.assert_array_equal(read_image(again).pixels.shape, picture.pixels.shape)
    assert opened(again).getexif()[274] == 1


@row("exif-segments")
def test_exif_in_several_segments_is_joined_and_written_so():
    blob = exif(more=[(37510, UNDEFINED, 90_000, bytes(range(250)) * 360)])
    parts = [blob[i : i + 65_000] for i in range(0, len(blob), 65_000)]
    picture = read_image(jpeg(*map(jpeg_exif, parts)))
    assert picture.pixels.shape == TURNED
    assert picture.notes == ()
    assert exif_facts(picture.metadata.exif) == FACTS
    assert bytes(range(250)) * 360 in picture.metadata.exif
    again = encode_image(picture)
    assert sum(content.startswith(b"Exif\0\0") for _, content in jpeg_segments(again)) == 2
    assert opened(again).info["exif"] == b"Exif\0\0" + picture.metadata.exif
    assert read_image(again).metadata.exif == picture.metadata.exif


def test_a_second_exif_segment_that_begins_anew_is_a_copy():
    picture = read_image(jpeg(jpeg_exif(exif(6)), jpeg_exif(exif(3))))
    assert picture.metadata.exif == read_image(jpeg(jpeg_exif(exif(6)))).metadata.exif


@row("orientation-xmp")
@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("form", ["attribute", "element", "other prefix"])
def test_orientation_that_only_xmp_gives_is_applied(form, format):
    packet = (
        xmp("<tiff:Orientation>6</tiff:Orientation>") if form == "element" else xmp(attributes='tiff:Orientation="6"')
    )
    if form == "other prefix":
        packet = packet.replace(b"tiff:", b"t.f:").replace(b"xmlns:tiff", b"xmlns:t.f")
    data = {
        "jpeg": lambda: jpeg(jpeg_xmp(packet)),
        "png": lambda: png(None, png_xmp(packet)),
        "webp": lambda: saved(scene(), "WEBP", lossless=True, xmp=packet),
    }[format]()
    picture = read_image(data)
    plain = read_image(
        saved(scene(), "WEBP", lossless=True) if format == "webp" else jpeg() if format == "jpeg" else png()
    )
    np.testing.assert_array_equal(picture.pixels, np.rot90(plain.pixels, -1))
    assert identify(data) == picture.info
    again = read_image(encode_image(picture))
    assert again.pixels.shape == TURNED
    assert b"6" not in again.metadata.xmp.split(b":Orientation")[1][:4]


@row("orientation-xmp")
def test_sides_that_xmp_gives_change_places_with_the_picture():
    sides = "<tiff:ImageWidth>64</tiff:ImageWidth><tiff:ImageLength>48</tiff:ImageLength>"
    kept = read_image(jpeg(jpeg_xmp(xmp(sides, 'tiff:Orientation="6" exif:PixelXDimension="64"')))).metadata.xmp
    assert b"<tiff:ImageLength>64</tiff:ImageLength><tiff:ImageWidth>48</tiff:ImageWidth>" in kept
    assert b'tiff:Orientation="1" exif:PixelYDimension="64"' in kept
    assert sides.encode() in read_image(jpeg(jpeg_xmp(xmp(sides, 'tiff:Orientation="3"')))).metadata.xmp


@row("orientation-xmp")
def test_exif_comes_before_xmp():
    packet = xmp(attributes='tiff:Orientation="6"')
    assert read_image(jpeg(jpeg_exif(exif(1)), jpeg_xmp(packet))).pixels.shape == UPRIGHT
    assert read_image(jpeg(jpeg_exif(exif(None)), jpeg_xmp(packet))).pixels.shape == TURNED


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mending_leads_to_exif_that_is_read_strictly(data):
    blob = bytearray(exif(more=[(282, RATIONAL, 1, bytes(8)), (33434, RATIONAL, 1, bytes(8))]))
    for _ in range(data.draw(st.integers(0, 6))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        mended, dropped = mend(bytes(blob[: data.draw(st.integers(0, len(blob)))]))
    except ValueError:
        return
    parse_blob(mended)  # raises where something cannot be followed
    assert mend(mended) == (mended, []) or dropped


@pytest.mark.parametrize("before", [b"", b"XX*\0aaaaaaaa"])
def test_an_empty_or_strange_segment_before_the_exif_costs_nothing(before):
    data = jpeg(jpeg_exif(before), jpeg_exif(exif()))
    assert identify(data) == read_image(data).info
    picture = read_image(data)
    assert picture.pixels.shape == TURNED
    assert exif_facts(read_image(encode_image(picture)).metadata.exif) == FACTS
