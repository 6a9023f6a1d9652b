"""JPEG: what libjpeg warns of, rare structures, and the segments and factors that must survive."""

import os
import re
import struct
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.pictures import (
    exif,
    jpeg,
    jpeg_exif,
    jpeg_segments,
    jpeg_xmp,
    noise,
    opened,
    row,
    saved,
    scene,
    segment,
    xmp,
)

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.images.files import Encoding, conversion_notes, encode_image, identify, read_image


def scan_start(data):
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="other systems have no files without a disk")
@pytest.mark.parametrize("progressive", [False, True])
def test_other_threads_run_while_a_jpeg_is_encoded(monkeypatch, progressive):
    """Pillow lets the interpreter lock go where it writes into a file that has a number."""
    numbers, save = [], Image.Image.save

    def saving(image, file, *rest, **options):
        numbers.append(file.fileno())
        save(image, file, *rest, **options)

    plain = read_image(jpeg(pixels=scene(), progressive=progressive))
    monkeypatch.setattr(Image.Image, "save", saving)
    data = encode_image(plain, "jpeg")
    assert numbers
    assert identify(data).width == scene().shape[1]


# ------------------------------------------------------------------------------------------------- damaged picture data


@row("bad-jpeg-data")
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
@pytest.mark.parametrize("channels", [0, 3])
def test_missing_rows_are_refused(channels, options, capfd):
    """The entropy-coded data ends early, but the end marker is there: only the decoder can tell."""
    data = jpeg(pixels=noise(48, 64, 3) if channels else noise(48, 64), **options)
    start = scan_start(data)
    for part in (0.2, 0.5, 0.9):
        cut = data[: start + int((len(data) - start) * part)].rstrip(b"\xff") + b"\xff\xd9"
        with pytest.raises(ImageDecodeError, match=r"ends too early|blocks of its picture are missing"):
            read_image(cut)
    assert capfd.readouterr() == ("", "")


@row("bad-jpeg-data")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("channels", [0, 3])
def test_blocks_between_restart_markers_that_are_not_there_are_refused(channels, progressive):
    pixels = noise(41, 67, 3) if channels else noise(41, 67)
    data = jpeg(pixels=pixels, restart_marker_blocks=3, progressive=progressive)
    assert read_image(data).notes == ()
    marks = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    assert len(marks) > 3
    for mark in marks[:: len(marks) // 4]:
        with pytest.raises(ImageDecodeError, match=r"blocks of its picture are missing|ends too early"):
            read_image(data[:mark] + data[mark + 2 :])
    # an interval is announced, and no marker follows
    plain = jpeg(pixels=pixels, progressive=progressive)
    with pytest.raises(ImageDecodeError, match="blocks of its picture are missing"):
        read_image(plain[:2] + b"\xff\xdd\0\4\0\1" + plain[2:])
    # an interval of 0, or one as long as the picture, asks for none
    for interval in (b"\0\0", b"\xff\xff"):
        announced = plain[:2] + b"\xff\xdd\0\4" + interval + plain[2:]
        np.testing.assert_array_equal(read_image(announced).pixels, read_image(plain).pixels)


@row("bad-jpeg-data")
def test_data_that_the_decoder_leaves_over_is_refused_unless_it_is_padding():
    plain = jpeg(pixels=noise(48, 64, 3))
    shorter = bytearray(plain)
    frame = plain.index(b"\xff\xc0")
    shorter[frame + 5 : frame + 7] = (16).to_bytes(2, "big")  # 16 of 48 rows
    with pytest.raises(ImageDecodeError, match="does not fit its headers"):
        read_image(bytes(shorter))
    arithmetic = plain[: frame + 1] + b"\xc9" + plain[frame + 2 :]  # Huffman codes, taken for arithmetic ones
    with pytest.raises(ImageDecodeError, match="does not fit its headers"):
        read_image(arithmetic)
    padded = plain[:-2] + b"\0" * len(plain) + plain[-2:]
    np.testing.assert_array_equal(read_image(padded).pixels, read_image(plain).pixels)


@row("bad-jpeg-data")
def test_codes_that_do_not_exist_are_a_note_or_a_refusal(capfd):
    """Bytes of the data changed: whatever the reference decoder warns of must not pass in silence."""
    data, seen = jpeg(pixels=noise(48, 64)), set()
    start = scan_start(data)
    for i in range(60):
        changed = bytearray(data)
        place = start + 7 * i
        changed[place] ^= 1 << i % 8
        if 0xFF in changed[place - 1 : place + 1]:
            continue
        changed = bytes(changed)
        cv2.imdecode(np.frombuffer(changed, np.uint8), cv2.IMREAD_GRAYSCALE)  # libjpeg writes its warning to stderr
        warned = capfd.readouterr().err
        try:
            reported = read_image(changed).notes
        except ImageDecodeError:
            reported = ("refused",)
        assert capfd.readouterr() == ("", "")
        assert bool(reported) == ("Corrupt JPEG" in warned), (i, warned, reported)
        seen.add(reported[0].split(" (")[0] if reported else "")
    assert seen >= {"", "The picture data is damaged in places"}


@row("bad-jpeg-data")
def test_unusual_factors_with_missing_rows_are_refused():
    data = encode_image(read_image(_resampled(jpeg(pixels=noise(48, 64, 3), subsampling=0), "4:1:0")))
    start = scan_start(data)
    assert read_image(data).notes == ()
    with pytest.raises(ImageDecodeError, match=r"ends too early|colour component"):
        read_image(data[: start + 100].rstrip(b"\xff") + b"\xff\xd9")


@row("bad-jpeg-junk")
@pytest.mark.parametrize("place", [0, 20])
@pytest.mark.parametrize("junk", [b"\0\0\0", b"\r\n", b"\0" * 40, b"\xff\xd8", b"\xff\xd8" * 3])
def test_bytes_that_belong_to_nothing_are_passed_over(place, junk, capfd):
    plain = jpeg()
    data = plain[:place] + junk + plain[place:]
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, read_image(plain).pixels)
    assert picture.notes == (f"{len(junk)} bytes that belong to nothing were left out.",)
    assert identify(data) == picture.info
    assert capfd.readouterr() == ("", "")


@row("bad-tail")
def test_what_stands_behind_the_picture_is_reported():
    assert read_image(jpeg() + bytes(500)).notes == ()
    assert read_image(jpeg() + b"garbage").notes == ("7 bytes behind the picture were dropped.",)
    behind = read_image(jpeg() + b"garbage" + jpeg())
    assert behind.notes == ("Only the first picture was kept; another one stands behind it in the file.",)
    np.testing.assert_array_equal(behind.pixels, read_image(jpeg()).pixels)


# ---------------------------------------------------------------------------------------------------------------- kinds


@row("bad-kind")
@pytest.mark.parametrize(("marker", "kind"), [(0xF7, "JPEG-LS"), (0xC3, "lossless JPEG")])
def test_other_kinds_are_refused_by_name(marker, kind):
    data = jpeg().replace(b"\xff\xc0", bytes((0xFF, marker)), 1)
    for function in (identify, read_image):
        with pytest.raises(UnsupportedImageError, match=f"a {kind} file, which is not read"):
            function(data)


def test_headers_that_libjpeg_warns_of_without_need_are_no_damage(capfd):
    """A JFIF version of the future, and the spectral bounds of a sequential scan left at zero, as some cameras do."""
    data = bytearray(jpeg())
    data[data.index(b"JFIF\0") + 5] = 2
    start = scan_start(bytes(data))
    data[start - 3 : start] = b"\0\0\0"
    picture = read_image(bytes(data))
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, read_image(jpeg()).pixels)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_is_read_as_pillow_does(adobe):
    inks = Image.fromarray(noise(24, 32, 4), "CMYK")
    data = saved(inks, "JPEG", quality=95, subsampling=0)  # Pillow marks it as Adobe's, with ink as 0
    if not adobe:
        place = data.index(b"\xff\xee")
        data = data[:place] + data[place + 16 :]
    expected = np.asarray(opened(data).convert("RGB"))
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert "CMYK" in picture.notes[0]


# ---------------------------------------------------------------------------------------------------------- subsampling


def _factors(data):
    frame = next(content for marker, content in jpeg_segments(data) if marker in (0xC0, 0xC1, 0xC2))
    return [(frame[7 + 3 * i] >> 4, frame[7 + 3 * i] & 15) for i in range(frame[5])]


def _tables(data):
    return {n: tuple(table) for n, table in opened(data).quantization.items()}


def _resampled(data, subsampling):
    """The same picture written with another subsampling."""
    picture = read_image(data)
    picture.encoding = replace(picture.encoding, jpeg_subsampling=subsampling)
    return encode_image(picture, "jpeg")


@row("jpeg-subsampling")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(48, 64), (41, 53), (1, 1), (8, 3)])
@pytest.mark.parametrize(
    ("name", "factors"), [("4:1:1", (4, 1)), ("4:1:0", (4, 2)), ("4:4:0", (1, 2)), ("4:4:1", (1, 4))]
)
def test_rare_subsampling_is_kept(name, factors, size, progressive, capfd):
    colours = scene(*size)
    first = _resampled(jpeg(pixels=colours, subsampling=0, progressive=progressive), name)
    assert _factors(first) == [factors, (1, 1), (1, 1)]
    assert opened(first).info.get("progressive", 0) == progressive
    expected = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR_RGB)  # libjpeg itself reads it
    picture = read_image(first)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.encoding.jpeg_subsampling == name
    assert picture.notes == conversion_notes(picture) == ()
    again = encode_image(picture)
    assert _factors(again) == _factors(first)
    assert _tables(again) == _tables(first)
    assert capfd.readouterr() == ("", "")


@row("jpeg-subsampling")
def test_what_rare_subsampling_writes_is_as_close_as_what_libjpeg_writes():
    """OpenCV writes 4:1:1 through libjpeg: same tables, same factors; the planes must lie in the same places."""
    colours = cv2.GaussianBlur(noise(96, 128, 3), (0, 0), 6)
    colours = cv2.normalize(colours, None, 0, 255, cv2.NORM_MINMAX)
    options = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]
    reference = cv2.imencode(".jpg", colours[..., ::-1], options)[1].tobytes()
    picture = read_image(reference)
    picture.pixels[...] = colours
    ours = encode_image(picture)
    error = [np.abs(read_image(data).pixels.astype(int) - colours).mean() for data in (reference, ours)]
    assert error[1] < 1.03 * error[0]
    assert len(ours) < 1.1 * len(reference)


@row("jpeg-subsampling")
def test_factors_without_a_name_become_444_with_a_note():
    data = bytearray(jpeg(subsampling=0, pixels=scene(8, 8)))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x31  # the first component three times as wide: 8 pixels are one unit of 3 blocks
    note = "The colour subsampling of the JPEG is unusual and was replaced by none (4:4:4)."
    with pytest.raises(ImageDecodeError, match="ends too early"):
        read_image(bytes(data))  # the data of one block is not that of three
    picture = read_image(jpeg())
    picture.encoding = replace(picture.encoding, jpeg_subsampling="unusual")
    assert conversion_notes(picture) == (note,)
    assert _factors(encode_image(picture)) == [(1, 1)] * 3


# ------------------------------------------------------------------------------------------------------------- segments

CAMERA = [
    (0xE3, bytes(range(256)) * 40),
    (0xE4, b"\xaa\x55DJI_THERMAL" + bytes(200)),
    (0xE1, b"FLIR\0\1\0\0FFF\0" + bytes(50) + b"\xff\xd8\xff"),
    (0xE6, b"GoPro\0" + bytes(120)),
    (0xEC, b"[picture info]TimeDate=1"),
]


@row("camera-segments")
def test_segments_of_cameras_are_kept_by_jpeg_and_named_elsewhere():
    data = jpeg(*CAMERA)
    picture = read_image(data)
    assert picture.notes == ()
    assert [pair for pair in jpeg_segments(encode_image(picture)) if pair in CAMERA] == CAMERA
    for format in ("png", "tiff", "webp"):
        (note,) = conversion_notes(picture, format)
        assert re.search(r"APP3, APP4.*APP1 FLIR, APP6 GoPro, APP12", note)
    stripped = encode_image(picture, metadata="strip")
    assert not [pair for pair in jpeg_segments(stripped) if pair in CAMERA]
    assert conversion_notes(picture, "png", metadata="strip") == ()


@row("camera-segments")
def test_segments_with_previews_are_dropped_with_a_note():
    preview = (0xE2, b"SAMSUNG\0" + jpeg(pixels=noise(8, 8, 3)))
    picture = read_image(jpeg(preview, (0xE0, b"JFXX\0\x10" + jpeg(pixels=scene(8, 8)))))
    assert picture.metadata.segments == ()
    (note,) = picture.notes
    assert "APP2 SAMSUNG, APP0 JFXX" in note
    assert jpeg(pixels=noise(8, 8, 3))[-20:] not in encode_image(picture)


@row("camera-segments")
def test_a_preview_goes_on_in_the_next_segment_and_thermal_values_may_hold_anything():
    thermal = (0xE3, bytes(100) + b"\xff\xd8\xff\xe0" + bytes(100))
    preview = jpeg(pixels=noise(8, 8, 3))
    picture = read_image(jpeg(thermal, (0xE2, preview[:300]), (0xE2, preview[300:])))
    assert picture.metadata.segments == (thermal,)
    assert picture.notes == ("Previews of the picture as it was were dropped (APP2).",)


@row("camera-segments")
def test_camera_segments_of_a_turned_picture_are_reported():
    picture = read_image(jpeg(jpeg_exif(exif(6)), (0xE6, b"GoPro\0" + bytes(9))))
    assert picture.notes == ("The picture was turned upright; the camera's own data (APP6 GoPro) was kept as it is.",)


@row("aspect")
def test_pixel_aspect_is_kept_by_jpeg_and_png():
    data = bytearray(jpeg(jpeg_exif(exif(6))))
    struct.pack_into(">BHH", data, data.index(b"JFIF\0") + 7, 0, 2, 1)
    picture = read_image(bytes(data))
    assert (picture.metadata.aspect, picture.metadata.dpi) == ((1, 2), None)  # across and down changed places
    for format in ("jpeg", "png"):
        assert read_image(encode_image(picture, format)).metadata.aspect == (1, 2)
        assert conversion_notes(picture, format) == ()
    assert opened(encode_image(picture)).info["jfif_density"] == (1, 2)
    for format in ("webp", "tiff"):
        assert conversion_notes(picture, format) == (
            f"The pixel aspect was dropped; {format.upper()} has no place for it.",
        )


# ------------------------------------------------------------------------------------------------------------------ XMP

SPACES = (
    'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
)
PARTS = (
    '<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic="GainMap"/></rdf:li></rdf:Seq>'
    "</Container:Directory>"
)


@row("xmp-stale", "gain-map", "motion-photo")
@pytest.mark.parametrize(
    ("packet", "marks"),
    [
        (xmp(f"<hdrgm:Version>1.0</hdrgm:Version>{PARTS}<dc:format>a</dc:format>", "", SPACES), ("hdrgm:V", "GainMap")),
        (xmp(f"{PARTS}<dc:format>a</dc:format>", 'hdrgm:Version="1.0"', SPACES), ("hdrgm:V", "GainMap")),
        (
            xmp("<dc:format>a</dc:format>", "GCamera:MotionPhoto=\"1\" GCamera:MicroVideoOffset='9'", SPACES),
            ("Motion", "Micro"),
        ),
        (xmp("<GCamera:MotionPhoto>1</GCamera:MotionPhoto><dc:format>a</dc:format>", "", SPACES), ("MotionPhoto>",)),
        (
            xmp(
                '<hdrgm:GainMapMax rdf:parseType="x"><a/></hdrgm:GainMapMax><hdrgm:Version/><dc:format>a</dc:format>',
                "",
                SPACES,
            ),
            ("hdrgm:G", "hdrgm:V"),
        ),
    ],
)
def test_marks_of_parts_that_are_gone_go_too(packet, marks):
    picture = read_image(jpeg(jpeg_xmp(packet)))
    kept = picture.metadata.xmp.decode()
    assert not [mark for mark in marks if mark in kept]
    assert "<dc:format>a</dc:format>" in kept
    assert kept.endswith("</rdf:Description></rdf:RDF></x:xmpmeta>")


def test_an_iso_gain_map_is_reported():
    data = jpeg((0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")) + jpeg(pixels=scene(8, 8))
    assert read_image(data).notes == ("The HDR gain map was dropped; the picture is kept in its standard range.",)


@row("motion-photo")
def test_a_video_is_reported_once_whatever_its_bytes_are():
    video = struct.pack(">I", 24) + b"ftypmp42\0\0\0\0mp42isom" + b"\xff\xd8\xff" + bytes(99)
    assert read_image(jpeg() + video).notes == ("The video of the motion photo was dropped.",)


def test_many_unclosed_marks_take_no_time():
    packet = xmp("<hdrgm:a>" * 6000 + "<hdrgm:b>" * 500)[:64_000]
    assert read_image(jpeg(jpeg_xmp(packet))).metadata.xmp


def test_segments_are_bytes_of_the_file():
    assert jpeg((0xE6, b"GoPro\0")).count(segment(0xE6, b"GoPro\0")) == 1


# -------------------------------------------------------------------------------------------------- endless, incomplete


def profile(size):
    return struct.pack(">I", size) + bytes(12) + b"RGB " + bytes(size - 20)


@row("jpeg-icc-parts")
@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ([(1, 2, 0, 300), (2, 2, 300, 500)], True),
        ([(2, 2, 300, 500), (1, 2, 0, 300)], True),
        ([(1, 2, 0, 300)], False),
        ([(2, 2, 300, 500)], False),
        ([(1, 3, 0, 300), (3, 3, 400, 500)], False),
        ([(1, 1, 0, 300), (1, 1, 0, 300)], False),
    ],
)
def test_a_profile_counts_only_if_all_its_parts_are_there(parts, kept):
    whole = profile(500)
    segments = [(0xE2, b"ICC_PROFILE\0" + bytes((i, n)) + whole[start:end]) for i, n, start, end in parts]
    picture = read_image(jpeg(*segments))
    assert picture.metadata.icc == (whole if kept else None)
    assert picture.notes == (() if kept else ("Parts of the embedded colour profile are missing; it was dropped.",))


@row("jpeg-icc-parts")
def test_a_profile_that_is_shorter_than_it_says_is_dropped():
    picture = read_image(jpeg((0xE2, b"ICC_PROFILE\0\1\1" + profile(500)[:400])))
    assert picture.metadata.icc is None
    assert picture.notes == ("The embedded colour profile is cut off and was dropped.",)


@pytest.mark.parametrize(
    "head",
    [
        struct.pack(">BBH", 0xFF, 0xFE, 2) * 400_000,
        b"\xff" * 400_000,
        b"\xff\x01" * 400_000,
        (struct.pack(">BBH", 0xFF, 0xC4, 65_000) + bytes(64_998)) * 5,
    ],
    ids=["empty comments", "fill bytes", "standalone markers", "tables"],
)
def test_segments_without_end_take_no_time(head):
    plain = jpeg()
    with pytest.raises(ImageDecodeError, match=r"no end to the segments|more tables than"):
        read_image(plain[:20] + head + plain[20:])


def test_segments_stay_within_the_budget():
    plain = jpeg()
    parts = [(0xFE, b"c" * 60_000), (0xE6, b"GoPro\0" + bytes(60_000)), (0xED, b"Photoshop 3.0\0" + bytes(60_000))]
    for part in parts:
        data = plain[:20] + segment(*part) * 40 + plain[20:]
        picture = read_image(data, max_metadata=300_000)
        assert any("beyond" in note for note in picture.notes)
        held = picture.metadata
        assert sum(len(c) for _, c in held.segments) + len(held.comment or b"") + len(held.photoshop or b"") < 300_000
        np.testing.assert_array_equal(picture.pixels, read_image(plain).pixels)


def test_a_comment_too_long_for_a_jpeg_is_told():
    picture = read_image(jpeg((0xFE, b"a" * 60_000), (0xFE, b"b" * 60_000)))
    assert conversion_notes(picture) == ("The comment was cut at 65533 bytes, the most that a JPEG has place for.",)


def scans_of(data):
    """What stands before the first scan, and the scans with the tables before each."""
    start = data.index(b"\xff\xda")
    pieces = re.split(rb"(?=\xff\xda|\xff\xc4)", data[start:-2])[1:]
    scans = [b""]
    for piece in pieces:
        scans[-1] += piece
        scans += [b""] if piece.startswith(b"\xff\xda") else []
    return data[:start], scans[:-1]


@row("bad-jpeg-data")
@pytest.mark.parametrize("channels", [0, 3])
def test_a_progressive_jpeg_without_all_its_scans_is_told(channels):
    data = jpeg(pixels=scene(channels=channels), progressive=True)
    head, scans = scans_of(data)
    assert read_image(data).notes == ()
    assert head + b"".join(scans) + b"\xff\xd9" == data
    for count in range(1, len(scans)):
        picture = read_image(head + b"".join(scans[:count]) + b"\xff\xd9")
        assert any("Scans of the progressive JPEG are missing" in note for note in picture.notes), count


@row("bad-jpeg-data")
@pytest.mark.parametrize("kept", [(0,), (0, 1), (0, 2), (1, 2)])
def test_a_sequential_jpeg_without_the_scan_of_a_component_is_refused(kept):
    picture = read_image(jpeg(subsampling="4:2:0"))
    data = encode_image(replace(picture, encoding=replace(picture.encoding, jpeg_subsampling="4:1:1")), "jpeg")
    head, first, *others = re.split(rb"(?=\xff\xda)", data[:-2])
    scans = [first, *others]
    assert len(scans) == 3
    assert read_image(data).notes == ()
    # the tables of a component stand behind the scan before it: all of them go to the front
    tables = b"".join(segment(0xC4, content) for marker, content in jpeg_segments(data) if marker == 0xC4)
    bare = [re.split(rb"\xff[\xc4\xdb]", scan)[0] for scan in scans]
    with pytest.raises(ImageDecodeError, match="colour component"):
        read_image(head + tables + b"".join(bare[i] for i in kept) + b"\xff\xd9")


@row("jpeg-subsampling")
def test_rare_subsampling_without_tables_takes_those_of_a_quality():
    picture = replace(read_image(jpeg()), encoding=Encoding(jpeg_subsampling="4:1:0"))
    again = read_image(encode_image(picture, "jpeg"))
    assert again.encoding.jpeg_subsampling == "4:1:0"
    assert np.abs(again.pixels.astype(int) - picture.pixels).mean() < 6


def test_thousands_of_scans_take_no_time():
    head, scans = scans_of(jpeg(progressive=True))
    with pytest.raises(ImageDecodeError, match="more than 500 scans"):
        read_image(head + b"".join(scans) * 200 + b"\xff\xd9")
