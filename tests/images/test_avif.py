"""AVIF: how it lies, and EXIF as it stands in the file."""

import struct
import tracemalloc

import numpy as np
import pytest
from tests.pictures import FACTS, exif, exif_facts, noise, row, saved, scene

from unhaze.images.files import encode_image, identify, read_image


@row("orientation")
def test_the_boxes_of_the_file_say_how_it_lies():
    plain = saved(scene(), "AVIF", quality=100)
    turned = saved(scene(), "AVIF", quality=100, exif=exif(6))  # Pillow makes boxes of the orientation
    picture = read_image(turned)
    np.testing.assert_array_equal(picture.pixels, np.rot90(read_image(plain).pixels, -1))
    assert identify(turned) == picture.info
    assert exif_facts(picture.metadata.exif)["make"] == FACTS["make"]
    assert read_image(encode_image(picture)).pixels.shape == picture.pixels.shape


@row("exif-damaged")
@pytest.mark.filterwarnings("error")
def test_damaged_exif_of_an_avif_is_mended_in_silence(capfd):
    data = saved(scene(), "AVIF", exif=exif(None))
    place = data.index(b"II*\0") + 8
    damaged = data[: place + 2] + b"\xff" + data[place + 3 :]  # the tag of the first entry
    assert read_image(damaged).pixels.shape == (48, 64, 3)
    damaged = data[: place + 4] + b"\x63\0" + data[place + 6 :]  # its type
    assert "EXIF" in read_image(damaged).notes[0]
    assert capfd.readouterr() == ("", "")


@row("grey", "alpha")
def test_grey_and_alpha_are_kept():
    grey = read_image(encode_image(read_image(saved(scene(channels=0), "PNG")), "avif"))
    assert grey.pixels.ndim == 2
    clear = read_image(encode_image(read_image(saved(noise(17, 24, 4), "PNG")), "avif"))
    np.testing.assert_array_equal(clear.alpha, noise(17, 24, 4)[..., 3])


def boxes(data, start, end):
    """Kind, beginning and size of each box."""
    found = []
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        found.append((kind, start, size))
        start += size
    return found


def properties_swapped(data):
    """The same file with its two AV1 configurations in the other order; what they belong to stays."""
    data = bytearray(data)
    place = data.index(b"ipco")
    (size,) = struct.unpack_from(">I", data, place - 4)
    stored = boxes(data, place + 4, place - 4 + size)
    first, second = (i for i, (kind, _, _) in enumerate(stored) if kind == b"av1C")
    order = list(range(len(stored)))
    order[first], order[second] = second, first
    data[place + 4 : place - 4 + size] = b"".join(bytes(data[stored[i][1] :][: stored[i][2]]) for i in order)
    place = data.index(b"ipma") + 8
    (entries,) = struct.unpack_from(">I", data, place)
    place += 4
    for _ in range(entries):
        count = data[place + 2]
        for at in range(place + 3, place + 3 + count):
            data[at] = data[at] & 128 | order.index((data[at] & 127) - 1) + 1
        place += 3 + count
    return bytes(data)


def with_late_meta(data, free=1 << 20):
    """The same file with its pixels before the description, and both behind room that is free."""
    parts = {kind: data[start : start + size] for kind, start, size in boxes(data, 0, len(data))}
    shift = len(parts[b"ftyp"]) + 8 + free - data.index(b"mdat") + 4
    meta = bytearray(parts[b"meta"])
    place = meta.index(b"iloc") + 4
    assert meta[place : place + 6] == b"\0\0\0\0\x44\0"  # offsets and lengths of 4 bytes, as libavif writes
    (count,) = struct.unpack_from(">H", meta, place + 6)
    place += 8
    for _ in range(count):
        (extents,) = struct.unpack_from(">H", meta, place + 4)
        place += 6
        for _ in range(extents):
            struct.pack_into(">I", meta, place, struct.unpack_from(">I", meta, place)[0] + shift)
            place += 8
    return parts[b"ftyp"] + struct.pack(">I4s", 8 + free, b"free") + bytes(free) + parts[b"mdat"] + bytes(meta)


@row("grey", "alpha")
def test_colour_is_that_of_the_picture_in_whatever_order_its_properties_stand():
    data = saved(noise(17, 24, 4), "AVIF", quality=100, subsampling="4:4:4")
    before, after = read_image(data), read_image(properties_swapped(data))
    assert before.pixels.ndim == 3
    assert identify(properties_swapped(data)) == before.info
    np.testing.assert_array_equal(after.pixels, before.pixels)
    np.testing.assert_array_equal(after.alpha, before.alpha)


@row("grey", "cicp", "hdr")
def test_what_stands_far_behind_in_the_file_is_read():
    grey = saved(scene(channels=0), "AVIF", subsampling="4:0:0")
    assert read_image(with_late_meta(grey)).pixels.ndim == 2
    data = saved(scene(), "AVIF")
    place = data.index(b"colrnclx") + 8
    p3 = data[:place] + struct.pack(">HH", 12, 13) + data[place + 4 :]
    assert read_image(p3).metadata.icc
    assert read_image(with_late_meta(p3)).metadata.icc == read_image(p3).metadata.icc
    pq = data[:place] + struct.pack(">HH", 9, 16) + data[place + 4 :]
    assert read_image(with_late_meta(pq)).metadata.cicp == (9, 16)


@row("hdr")
def test_hdr_counts_before_a_profile():
    from unhaze.images import _metadata

    data = saved(scene(), "AVIF", icc_profile=_metadata.srgb_profile())
    place = data.index(b"colrnclx") + 8
    picture = read_image(data[:place] + struct.pack(">HH", 9, 16) + data[place + 4 :])
    assert picture.metadata.cicp == (9, 16)
    assert picture.metadata.icc is None
    assert any("HDR (PQ)" in note for note in picture.notes)
    assert _metadata.HDR_BEFORE_ICC in picture.notes
    assert read_image(encode_image(picture)).metadata.cicp == (9, 16)


def test_properties_beyond_those_that_can_be_numbered_take_no_memory_each():
    data = bytearray(saved(scene(), "AVIF"))
    boxes = [data.index(kind) - 4 for kind in (b"meta", b"iprp", b"ipco")]
    end = boxes[-1] + int.from_bytes(data[boxes[-1] : boxes[-1] + 4], "big")
    more = (struct.pack(">I", 8) + b"free") * 300_000
    data[end:end] = more
    for place in boxes:
        data[place : place + 4] = struct.pack(">I", int.from_bytes(data[place : place + 4], "big") + len(more))
    tracemalloc.start()
    info = identify(bytes(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert info.channels == 3
    assert peak < 9 * len(data)
