"""PNG: the meaning of chunks, and data that libpng would complain about."""

import struct
import time
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
from unhaze.images.budget import Budget
from unhaze.images.files import conversion_notes, encode_image, identify, read_image

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
    assert picture.notes == ("Chunks of the PNG are damaged or out of place and were dropped (tEXt, eXIf).",)
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
    assert picture.notes == ("Chunks of the PNG are damaged or out of place and were dropped (tRNS, PLTE).",)
    twice = chunk(b"tRNS", b"\0\1"), chunk(b"tRNS", b"\0\2")
    picture = read_image(png(scene(channels=0), *twice))
    np.testing.assert_array_equal(picture.alpha == 0, scene(channels=0) == 1)
    assert picture.notes == ("Chunks of the PNG are damaged or out of place and were dropped (tRNS).",)
    with pytest.raises(ImageDecodeError, match="palette is missing"):
        read_image(png(scene(channels=0) % 4, kind=3, depth=8))
    assert capfd.readouterr() == ("", "")


# ----------------------------------------------------------------------------------------- torn files, chunk by chunk

LOST, EARLY = "Chunks of the PNG are damaged or out of place and were dropped ({}).", "Chunks of the PNG end early"
ROWS = noise(9, 11, 3)
IHDR, IDAT, IEND = png_chunks(png(ROWS))
PLAIN = zlib.decompress(IDAT[1])
PIECES = [(b"IDAT", IDAT[1][start : start + 100]) for start in range(0, len(IDAT[1]), 100)]
INDEXED = png_chunks(png(noise(9, 11) % 16, chunk(b"PLTE", bytes(range(48))), kind=3, depth=4))
GREY_HEAD, GREY_DATA, _ = png_chunks(png(noise(9, 11)))
ALPHA_HEAD, ALPHA_DATA, _ = png_chunks(png(noise(9, 11, 4), kind=6))
TEXT, PALETTE = (b"tEXt", b"k\0v"), (b"PLTE", bytes(6))
GAMMA = (b"gAMA", struct.pack(">I", 100_000))
PROFILE = (b"iCCP", b"x\0\0" + zlib.compress(struct.pack(">I", 200) + bytes(12) + b"RGB " + bytes(180)))


def deflated(plain):
    return (b"IDAT", zlib.compress(plain))


# name: chunks, and what becomes of them: a refusal's or a note's words, or None where nothing is wrong. libpng refuses
# what is refused here and warns of what is told here; where it says nothing of damage, the comment says why it is told.
TABLE = {
    "whole": ([IHDR, IDAT, IEND], None),
    "in pieces": ([IHDR, *PIECES, IEND], None),
    "an empty piece": ([IHDR, (b"IDAT", b""), *PIECES, (b"IDAT", b""), IEND], None),
    "no header": ([IDAT, IEND], "!header is missing"),
    "no pixels": ([IHDR, IEND], "!truncated"),
    "no end": ([IHDR, IDAT], "!truncated"),
    "end first": ([IEND, IHDR, IDAT], "!header is missing"),
    "end before pixels": ([IHDR, IEND, IDAT], "!truncated"),
    "end with content": ([IHDR, IDAT, (b"IEND", b"abc")], LOST.format("IEND")),
    "end twice": ([IHDR, IDAT, IEND, IEND], "12 bytes behind the picture"),  # the file is not what it was
    "header not first": ([TEXT, IHDR, IDAT, IEND], "!header is missing"),
    "header twice": ([IHDR, IHDR, IDAT, IEND], "!two headers"),
    "header behind pixels": ([IHDR, IDAT, IHDR, IEND], "!two headers"),
    "header too long": ([(b"IHDR", IHDR[1] + b"\0"), IDAT, IEND], "!header is missing"),
    "header too short": ([(b"IHDR", IHDR[1][:12]), IDAT, IEND], "!header is missing"),
    "palette twice": ([IHDR, PALETTE, PALETTE, IDAT, IEND], LOST.format("PLTE")),
    "palette behind pixels": ([IHDR, IDAT, PALETTE, IEND], LOST.format("PLTE")),
    "palette of a wrong length": ([IHDR, (b"PLTE", bytes(7)), IDAT, IEND], LOST.format("PLTE")),
    "palette too long": ([IHDR, (b"PLTE", bytes(771)), IDAT, IEND], LOST.format("PLTE")),
    "palette of a grey picture": ([GREY_HEAD, PALETTE, GREY_DATA, IEND], LOST.format("PLTE")),
    "palette missing": ([INDEXED[0], *INDEXED[2:]], "!palette is missing"),
    "palette too short": ([INDEXED[0], PALETTE, *INDEXED[2:]], "that the palette does not hold"),
    "transparency before palette": ([INDEXED[0], (b"tRNS", b"\0"), *INDEXED[1:]], LOST.format("tRNS")),
    "transparency behind pixels": ([IHDR, IDAT, (b"tRNS", bytes(6)), IEND], LOST.format("tRNS")),
    "transparency twice": ([IHDR, (b"tRNS", bytes(6)), (b"tRNS", bytes(6)), IDAT, IEND], LOST.format("tRNS")),
    "transparency beside alpha": ([ALPHA_HEAD, (b"tRNS", bytes(6)), ALPHA_DATA, IEND], LOST.format("tRNS")),
    "pixels scattered": ([IHDR, PIECES[0], TEXT, *PIECES[1:], IEND], "stands in several places"),
    "surplus in the chunk": ([IHDR, (b"IDAT", IDAT[1] + b"abc"), IEND], "3 bytes of picture data behind its end"),
    "surplus chunk": ([IHDR, IDAT, (b"IDAT", b"abcdef"), IEND], "6 bytes of picture data behind its end"),
    "two streams": ([IHDR, IDAT, IDAT, IEND], f"{len(IDAT[1])} bytes of picture data behind its end"),
    "a byte too many": ([IHDR, deflated(PLAIN + b"\0"), IEND], "!more pixels than its header says"),
    "a row too many": ([IHDR, deflated(PLAIN + bytes(34)), IEND], "!more pixels than its header says"),
    "a byte missing": ([IHDR, deflated(PLAIN[:-1]), IEND], "!truncated"),
    "checksum of the stream wrong": ([IHDR, (b"IDAT", IDAT[1][:-1] + b"?"), IEND], "!compressed data is broken"),
    "checksum of the stream missing": ([IHDR, (b"IDAT", IDAT[1][:-4]), IEND], "!truncated"),
    "checksum of the stream cut": ([IHDR, (b"IDAT", IDAT[1][:-2]), IEND], "!truncated"),
    "a piece missing": ([IHDR, PIECES[0], *PIECES[2:], IEND], "!damaged"),
    "a piece twice": ([IHDR, *PIECES[:2], *PIECES[1:], IEND], "!damaged"),
    "pieces swapped": ([IHDR, PIECES[1], PIECES[0], *PIECES[2:], IEND], "!damaged"),
    "stream without its head": ([IHDR, (b"IDAT", IDAT[1][2:]), IEND], "!compressed data is broken"),
    "unknown filter": ([IHDR, deflated(b"\5" + PLAIN[1:]), IEND], "!unknown filter"),
    "gamma behind pixels": ([IHDR, IDAT, GAMMA, IEND], LOST.format("gAMA")),
    "gamma twice": ([IHDR, GAMMA, GAMMA, IDAT, IEND], LOST.format("gAMA")),
    "gamma too short": ([IHDR, (b"gAMA", b"abc"), IDAT, IEND], LOST.format("gAMA")),
    "primaries too short": ([IHDR, (b"cHRM", b"abc"), IDAT, IEND], LOST.format("cHRM")),
    "resolution too short": ([IHDR, (b"pHYs", b"abc"), IDAT, IEND], LOST.format("pHYs")),
    "code points too short": ([IHDR, (b"cICP", b"\1"), IDAT, IEND], LOST.format("cICP")),
    "profile behind pixels": ([IHDR, IDAT, PROFILE, IEND], LOST.format("iCCP")),
    "profile twice": ([IHDR, PROFILE, PROFILE, IDAT, IEND], LOST.format("iCCP")),
    "profile cut": ([IHDR, (b"iCCP", PROFILE[1][:-6]), IDAT, IEND], EARLY),
    "profile garbled": ([IHDR, (b"iCCP", b"x\0\0garbage"), IDAT, IEND], LOST.format("iCCP")),
    "text cut": ([IHDR, (b"zTXt", b"k\0\0" + zlib.compress(b"words" * 50)[:-6]), IDAT, IEND], EARLY),
    "text garbled": ([IHDR, (b"zTXt", b"k\0\0garbage"), IDAT, IEND], LOST.format("zTXt")),
    "EXIF garbled": ([IHDR, (b"eXIf", b"abc"), IDAT, IEND], "EXIF data is damaged"),
    "EXIF twice": ([IHDR, (b"eXIf", exif(1)), (b"eXIf", exif(6)), IDAT, IEND], LOST.format("eXIf")),
    "animation behind pixels": ([IHDR, IDAT, (b"acTL", bytes(8)), IEND], LOST.format("acTL")),
    "private critical chunk": ([IHDR, (b"ABCD", b"x"), IDAT, IEND], "!private kind"),
    "no name": ([IHDR, (b"a\0b1", b"x"), IDAT, IEND], "!where a chunk should begin"),
}


@row("png-torn")
@pytest.mark.parametrize("name", TABLE)
def test_torn_files_are_refused_or_told(name, capfd):
    chunks, wanted = TABLE[name]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)
    if wanted and wanted.startswith("!"):
        with pytest.raises((ImageDecodeError, UnsupportedImageError), match=wanted[1:]):
            read_image(data)
    else:
        picture = read_image(data)
        assert (picture.notes == ()) if wanted is None else (wanted in picture.notes[0])
        if chunks[0] == IHDR:
            np.testing.assert_array_equal(picture.pixels, ROWS)
        read_image(encode_image(picture))
    assert capfd.readouterr() == ("", "")


@row("png-torn")
def test_every_cut_and_every_wrong_checksum_is_refused_or_told():
    chunks = [IHDR, TEXT, *PIECES, (b"tIME", bytes(7)), IEND]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)
    for end in range(8, len(data)):
        with pytest.raises(ImageDecodeError, match="truncated"):
            read_image(data[:end])
    place = 8
    for name, content in chunks:
        place += 12 + len(content)
        torn = data[: place - 1] + bytes((data[place - 1] ^ 1,)) + data[place:]
        if name in (b"tEXt", b"tIME"):
            assert read_image(torn).notes[0] == LOST.format(name.decode())
        else:
            with pytest.raises(ImageDecodeError, match="checksum"):
                read_image(torn)


@row("png-torn")
def test_chunks_without_end_take_neither_time_nor_memory():
    def built(*chunks):
        return b"\x89PNG\r\n\x1a\n" + chunk(*IHDR) + b"".join(chunks) + chunk(*IEND)

    with pytest.raises(ImageDecodeError, match="too many chunks"):
        read_image(built(chunk(b"tEXt", b"") * 70_000, chunk(*IDAT)))
    with pytest.raises(ImageDecodeError, match="too many pieces"):
        read_image(built(chunk(b"IDAT", b"") * 70_000, chunk(*IDAT)))


@row("png-torn")
@pytest.mark.parametrize("size", [(1, 1_000_001), (1_000_001, 1)])
def test_a_side_longer_than_libpng_takes_is_told(size, capfd):
    data = png(np.zeros(size[::-1], np.uint8))
    with pytest.raises(UnsupportedImageError, match="a side of 1000001 pixels"):
        read_image(data)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------------------------- endless XMP


def test_many_different_marks_that_are_never_closed_take_no_time():
    marks = "".join(f"<hdrgm:a{i}>" for i in range(100_000))
    data = png(None, png_xmp(xmp(marks + "<hdrgm:b>1<hdrgm:b>2</hdrgm:b></hdrgm:b>")))
    before = time.process_time()
    kept = read_image(data).metadata.xmp
    assert time.process_time() - before < 4
    assert marks.encode() + b"</hdrgm:b>" in kept


def test_tens_of_thousands_of_chunks_take_no_time():
    chunks = [chunk(b"abCd", b"")] * 30_000 + [chunk(b"gAMA", (45455).to_bytes(4, "big"))] * 30_000
    before = time.process_time()
    picture = read_image(png(noise(4, 4), *chunks))
    assert time.process_time() - before < 5
    assert any("(gAMA)" in note for note in picture.notes)
