"""PNG: the meaning of chunks, and data that libpng would complain about."""

import struct
import zlib

import numpy as np
import pytest
from tests.pictures import (
    FACTS,
    chunk,
    exif,
    exif_facts,
    jpeg,
    noise,
    opened,
    png,
    png_chunks,
    png_xmp,
    row,
    scene,
    xmp,
)

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.io.budget import Budget
from unhaze.io.images import conversion_notes, encode_image, identify, read_image

UPRIGHT, TURNED = (48, 64, 3), (64, 48, 3)


def kept_chunks(picture):
    return dict(png_chunks(encode_image(picture, "png")))


# --------------------------------------------------------------------------------------------------------- transparency


@row("alpha-colour-key")
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_transparent_grey_at_any_depth(depth):
    top = (1 << depth) - 1
    stored = (np.mgrid[0:6, 0:16][1] % min(top + 1, 256)).astype(np.uint16 if depth == 16 else np.uint8)
    for key in {0, 1, top // 2, top}:
        data = png(stored, chunk(b"tRNS", struct.pack(">H", key)), depth=depth)
        picture = read_image(data)
        full = 65535 if depth == 16 else 255
        np.testing.assert_array_equal(picture.pixels, stored.astype(int) * full // top)
        np.testing.assert_array_equal(picture.alpha, np.where(stored == key, 0, full))
        assert identify(data) == picture.info
        np.testing.assert_array_equal(read_image(encode_image(picture)).alpha, picture.alpha)


@row("alpha-colour-key")
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_one_transparent_colour_at_8_and_16_bit(dtype):
    pixels = noise(9, 11, 3, dtype=dtype)
    key = pixels[4, 5]
    picture = read_image(png(pixels, chunk(b"tRNS", struct.pack(">3H", *key))))
    np.testing.assert_array_equal(picture.pixels, pixels)
    np.testing.assert_array_equal(picture.alpha == 0, (pixels == key).all(axis=2))


@row("alpha-colour-key")
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_with_transparency_at_any_depth(depth):
    count = min(1 << depth, 16)
    palette, opacity = noise(count, 3), noise(count, seed=1)
    stored = (np.arange(60).reshape(5, 12) % count).astype(np.uint8)
    chunks = chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", opacity[:-1].tobytes())
    picture = read_image(png(stored, *chunks, kind=3, depth=depth))
    opacity[-1] = 255  # what is left out is opaque
    np.testing.assert_array_equal(picture.pixels, palette[stored])
    np.testing.assert_array_equal(picture.alpha, opacity[stored])


# ----------------------------------------------------------------------------------------------------------------- EXIF


def raw_profile(kind, data, name=b"zTXt"):
    text = f"\n{kind}\n{len(data):8d}\n".encode() + b"\n".join(
        data.hex().encode()[i : i + 72] for i in range(0, 2 * len(data), 72)
    )
    keyword = b"Raw profile type " + kind.encode() + b"\0"
    return chunk(b"tEXt", keyword + text) if name == b"tEXt" else chunk(b"zTXt", keyword + b"\0" + zlib.compress(text))


@row("png-exif")
@pytest.mark.parametrize(
    "carrier",
    [
        lambda blob: chunk(b"eXIf", blob),
        lambda blob: chunk(b"eXIf", b"Exif\0\0" + blob),
        lambda blob: raw_profile("exif", blob),
        lambda blob: raw_profile("exif", b"Exif\0\0" + blob, b"tEXt"),
        lambda blob: raw_profile("APP1", b"Exif\0\0" + blob),
    ],
)
def test_exif_is_read_from_wherever_it_stands(carrier):
    data = png(None, carrier(exif(6)))
    picture = read_image(data)
    assert picture.pixels.shape == TURNED
    assert identify(data) == picture.info
    again = encode_image(picture)
    assert exif_facts(dict(png_chunks(again))[b"eXIf"]) == FACTS
    assert b"Raw profile" not in again
    assert picture.notes == ()


@row("png-exif")
def test_exif_behind_the_pixels_is_kept_but_does_not_turn():
    for late in (chunk(b"eXIf", exif(6)), png_xmp(xmp(attributes='tiff:Orientation="6"'))):
        data = png(None, behind=[late])
        picture = read_image(data)
        assert picture.pixels.shape == UPRIGHT
        assert identify(data) == picture.info
        again = read_image(encode_image(picture))
        assert again.pixels.shape == UPRIGHT
        assert picture.metadata.exif is None or exif_facts(again.metadata.exif) == FACTS
        assert again.metadata.exif or b'tiff:Orientation="1"' in again.metadata.xmp


@row("iptc", "png-exif")
def test_raw_profiles_of_captions_and_xmp_are_read():
    iim = b"\x1c\x02\x78\0\x07caption"
    resources = b"8BIM\4\4\0\0" + struct.pack(">I", len(iim)) + iim
    for kind, stored in (("iptc", iim), ("iptc", resources), ("8bim", resources)):
        picture = read_image(png(None, raw_profile(kind, stored), raw_profile("xmp", xmp("<a/>"))))
        assert picture.metadata.photoshop == resources
        assert picture.metadata.xmp == xmp("<a/>")
        assert picture.metadata.text == ()
        assert read_image(encode_image(picture)).metadata.photoshop == resources
        assert read_image(encode_image(picture, "jpeg")).metadata.photoshop == resources


# --------------------------------------------------------------------------------------------------------------- chunks


@row("png-chunks")
def test_chunks_that_hold_for_the_result_are_kept_and_the_others_named():
    kept = {
        b"bKGD": struct.pack(">3H", 255, 0, 7),
        b"oFFs": struct.pack(">iiB", 5, 6, 0),
        b"mDCV": bytes(range(24)),
        b"vpAg": bytes(9),  # unknown here; the last letter says that it may be copied
    }
    lost = {b"sBIT": b"\5\6\5", b"tIME": bytes(7), b"cLLI": bytes(8), b"prIV": b"private"}
    picture = read_image(png(None, *(chunk(*pair) for pair in [*kept.items(), *lost.items()]), chunk(b"caBX", b"c2pa")))
    found = kept_chunks(picture)
    assert {name: found.get(name) for name in kept} == kept
    assert not set(found) & {*lost, b"caBX"}
    assert picture.notes == (
        "The content credentials were dropped; they do not hold for changed pixels.",
        "Chunks of the PNG that do not hold for the result were dropped (sBIT, tIME, cLLI, prIV).",
    )


@row("png-chunks")
def test_chunks_about_across_and_down_do_not_outlive_a_turn():
    picture = read_image(png(None, chunk(b"eXIf", exif(6)), chunk(b"oFFs", bytes(9))))
    assert b"oFFs" not in kept_chunks(picture)
    assert picture.notes == ("Chunks of the PNG that do not hold for the result were dropped (oFFs).",)


@row("png-chunks")
def test_a_background_that_does_not_fit_the_stored_pixels_is_left_out():
    picture = read_image(png(noise(5, 6, 3, dtype="uint16"), chunk(b"bKGD", struct.pack(">3H", 60000, 0, 7))))
    assert b"bKGD" in kept_chunks(picture)
    picture.pixels = (picture.pixels // 257).astype(np.uint8)
    assert b"bKGD" not in kept_chunks(picture)


@row("png-chunks")
def test_languages_of_texts_are_reported():
    title = chunk(b"iTXt", b"Title\0\0\0de\0Titel\0" + "Über den Wolken".encode())
    picture = read_image(png(None, title))
    assert picture.metadata.text == (("Title", "Über den Wolken"),)
    (note,) = picture.notes
    assert "language" in note


def test_texts_are_inflated_once(monkeypatch):
    inflated = []
    original = Budget.inflate
    monkeypatch.setattr(Budget, "inflate", lambda self, data: inflated.append(len(data)) or original(self, data))
    title = chunk(b"zTXt", b"Title\0\0" + zlib.compress(b"words"))
    assert read_image(png(None, *[title] * 20, behind=[title])).metadata.text == (("Title", "words"),) * 21
    assert len(inflated) == 21


@row("png-critical")
def test_unknown_critical_chunks_are_a_kind():
    data = png(None, chunk(b"CgBI", bytes(4)))
    for function in (identify, read_image):
        with pytest.raises(UnsupportedImageError, match=r"a PNG of a private kind \(CgBI\), which is not read"):
            function(data)


@row("aspect")
def test_pixel_aspect_of_a_png_is_kept():
    picture = read_image(png(None, chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0))))
    assert picture.notes == ()
    assert kept_chunks(picture)[b"pHYs"] == struct.pack(">IIB", 2, 1, 0)
    assert opened(encode_image(picture, "jpeg")).info["jfif_density"] == (2, 1)
    assert "aspect" in conversion_notes(picture, "webp")[0]


# --------------------------------------------------------------------------------------------------------- damaged data


def with_data(data, name):
    """The PNG with other compressed data, and a right checksum."""
    changed = {
        "short": zlib.compress(zlib.decompress(data)[:-50]),
        "cut": data[: len(data) // 2],
        "unfinished": data[:-4],
        "checksum": data[:-4] + b"abcd",
        "long": zlib.compress(zlib.decompress(data) + bytes(5000)),
        "broken": data[: len(data) // 2] + b"\xff\xff\xff\xff" + data[len(data) // 2 + 4 :],
        "filter": zlib.compress(b"\x09" + zlib.decompress(data)[1:]),
        "method": b"\0\0" + data[2:],
        "none": b"",
    }
    return changed[name]


@row("bad-png-data")
@pytest.mark.parametrize(
    "fault", ["short", "cut", "unfinished", "checksum", "long", "broken", "filter", "method", "none"]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_broken_pixel_data_with_right_checksums_is_refused(dtype, interlaced, fault, capfd):
    pixels = noise(17, 24, 3, dtype=dtype)
    chunks = dict(png_chunks(png(pixels)))
    if interlaced:
        data = b"".join(
            b"\0" + line.astype(line.dtype.newbyteorder(">")).tobytes()
            for x, y, across, down in (
                (0, 0, 8, 8),
                (4, 0, 8, 8),
                (0, 4, 4, 8),
                (2, 0, 4, 4),
                (0, 2, 2, 4),
                (1, 0, 2, 2),
                (0, 1, 1, 2),
            )
            for line in pixels[y::down, x::across]
        )
        chunks[b"IHDR"], chunks[b"IDAT"] = chunks[b"IHDR"][:-1] + b"\1", zlib.compress(data)
    laid_out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", chunks[b"IHDR"])
    whole = laid_out + chunk(b"IDAT", chunks[b"IDAT"]) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read_image(whole).pixels, pixels)
    with pytest.raises(ImageDecodeError, match=r"damaged|truncated"):
        read_image(laid_out + chunk(b"IDAT", with_data(chunks[b"IDAT"], fault)) + chunk(b"IEND", b""))
    assert capfd.readouterr() == ("", "")


@row("bad-png-data")
def test_chunks_with_a_wrong_checksum_are_dropped_with_a_note(capfd):
    bad = [chunk(b"tEXt", b"Title\0words")[:-1] + b"x", chunk(b"eXIf", exif(6))[:-4] + b"abcd"]
    picture = read_image(png(None, *bad))
    assert picture.pixels.shape == UPRIGHT
    assert picture.notes == ("Chunks of the PNG are damaged and were dropped (tEXt, eXIf).",)
    with pytest.raises(ImageDecodeError, match="checksum"):
        read_image(png(None, chunk(b"tRNS", bytes(6))[:-1] + b"x"))
    assert capfd.readouterr() == ("", "")


def test_chunks_that_libpng_warns_of_do_not_reach_the_terminal(capfd):
    strange = [
        chunk(b"gAMA", bytes(4)),
        chunk(b"cHRM", bytes(3)),
        chunk(b"eXIf", b"??"),
        chunk(b"iTXt", b"x"),
        chunk(b"pHYs", b""),
    ]
    np.testing.assert_array_equal(read_image(png(None, *strange)).pixels, scene())
    assert capfd.readouterr() == ("", "")


@row("bad-tail")
def test_what_stands_behind_a_png_is_reported():
    assert read_image(png() + b"\0" * 9).notes == ()
    assert read_image(png() + jpeg()).notes == (f"{len(jpeg())} bytes behind the picture were dropped.",)


@row("bad-png-data")
def test_chunks_on_which_pixels_depend_must_make_sense(capfd):
    senseless = chunk(b"tRNS", b"\0"), chunk(b"PLTE", b"\0")
    picture = read_image(png(noise(5, 6, 3, dtype="uint16"), *senseless))
    assert picture.alpha is None
    assert picture.notes == ("Chunks of the PNG are damaged and were dropped (tRNS, PLTE).",)
    twice = chunk(b"tRNS", b"\0\1"), chunk(b"tRNS", b"\0\2")
    picture = read_image(png(scene(channels=0), *twice))
    np.testing.assert_array_equal(picture.alpha == 0, scene(channels=0) == 1)
    assert picture.notes == ("Chunks of the PNG are damaged and were dropped (tRNS).",)
    with pytest.raises(ImageDecodeError, match="palette is missing"):
        read_image(png(scene(channels=0) % 4, kind=3, depth=8))
    assert capfd.readouterr() == ("", "")
