"""BMP with bit fields, laid out by hand, and kinds that nobody reads."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.pictures import noise, row, saved, scene

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.images.files import conversion_notes, encode_image, identify, read_image


def bit_fields(pixels, masks, bits, *, header=108, compression=3, top_down=True):
    """A BMP of (H, W, 4) values, each of as many bits as its mask has."""
    height, width = pixels.shape[:2]
    words = np.zeros((height, width), np.uint64)
    for channel, mask in enumerate(masks):
        low = mask & -mask
        words |= pixels[..., channel].astype(np.uint64) * np.uint64(low)
    row_size = (width * bits // 8 + 3) // 4 * 4
    rows = [line.astype(f"<u{bits // 8}").tobytes().ljust(row_size, b"\0") for line in words]
    body = b"".join(rows if top_down else rows[::-1])
    info = struct.pack(
        "<IiiHHIIiiII", header, width, -height if top_down else height, 1, bits, compression, 0, 3780, 3780, 0, 0
    )
    info += struct.pack("<4I", *masks)
    info = info[:52] if header == 40 and compression == 3 else info if header == 40 else info.ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


LAYOUTS = {
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "565": (16, (0xF800, 0x7E0, 0x1F, 0)),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "8888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "rgba": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "1010102": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    "333": (16, (0x1C0, 0x38, 0x7, 0)),
}


@row("bmp-bit-fields")
@pytest.mark.parametrize("top_down", [True, False])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_any_bit_fields_are_read(layout, top_down):
    bits, masks = LAYOUTS[layout]
    tops = np.array([(1 << mask.bit_count()) - 1 for mask in masks])
    stored = (noise(7, 5, 4, dtype="uint16") % (tops + 1)).astype(np.int64)
    data = bit_fields(stored, masks, bits, top_down=top_down)
    picture = read_image(data)
    expected = np.rint(stored * 255 / np.maximum(tops, 1))
    np.testing.assert_array_equal(picture.pixels, expected[..., :3])
    if masks[3]:
        np.testing.assert_array_equal(picture.alpha, expected[..., 3])
    else:
        assert picture.alpha is None
    assert identify(data) == picture.info
    assert bool(picture.notes) == (layout == "1010102")
    assert np.allclose(picture.metadata.dpi, 96, atol=0.1)
    np.testing.assert_array_equal(read_image(encode_image(picture)).pixels, picture.pixels)


@row("bmp-bit-fields")
@pytest.mark.parametrize("compression", [3, 6])
def test_masks_behind_an_old_header(compression):
    stored = noise(4, 6, 4).astype(int) % 16
    picture = read_image(bit_fields(stored, LAYOUTS["4444"][1], 16, header=40, compression=compression))
    np.testing.assert_array_equal(picture.pixels, stored[..., :3] * 17)
    assert (picture.alpha is not None) == (compression == 6)


@row("bmp-bit-fields")
def test_bit_fields_that_are_cut_off_or_make_no_sense_are_damaged():
    data = bit_fields(noise(7, 5, 4).astype(int) % 16, LAYOUTS["4444"][1], 16)
    with pytest.raises(ImageDecodeError, match="truncated"):
        read_image(data[:-1])
    with pytest.raises(ImageDecodeError, match="bit fields make no sense"):
        read_image(bit_fields(noise(7, 5, 4).astype(int), (0xF0F, 0xF0, 0xF000, 0), 16))


@row("bmp-rare")
@pytest.mark.parametrize(
    ("compression", "kind"), [(4, "holds a JPEG"), (5, "holds a PNG"), (11, "is a BMP of a rare kind")]
)
def test_other_kinds_are_refused_by_name(compression, kind):
    data = bytearray(saved(scene(), "BMP"))
    struct.pack_into("<I", data, 30, compression)
    for function in (identify, read_image):
        with pytest.raises(UnsupportedImageError, match=f"{kind}, which is not read"):
            function(bytes(data))


@row("dpi")
def test_the_resolution_is_kept():
    picture = read_image(saved(scene(), "BMP", dpi=(300, 150)))
    np.testing.assert_allclose(read_image(encode_image(picture)).metadata.dpi, (300, 150), rtol=1e-3)
    assert conversion_notes(picture, "webp") == ("The resolution (300 dpi) was dropped; WEBP has no place for it.",)


def test_a_profile_in_the_header_is_kept():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(bit_fields(noise(7, 5, 4).astype(int), LAYOUTS["8888"][1], 32, header=124))
    data[70:74] = b"DEBM"  # MBED, least byte first
    struct.pack_into("<II", data, 14 + 112, len(data) - 14, len(icc))
    assert read_image(bytes(data) + icc).metadata.icc == icc


def test_pixels_that_begin_within_the_header_are_refused():
    data = bytearray(saved(scene(), "BMP"))
    struct.pack_into("<I", data, 10, 5)
    with pytest.raises(ImageDecodeError, match="begin within its header"):
        read_image(bytes(data))


@row("bad-tail-simple")
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_the_end_of_a_bmp(mode):
    data = saved(Image.fromarray(noise(7, 5, 3)).convert(mode), "BMP")
    assert read_image(data).notes == ()
    assert read_image(data + b"garbage").notes[-1] == "7 bytes behind the picture were dropped."
    for cut in range(1, 9):
        try:
            assert "lost its last bytes" in read_image(data[:-cut]).notes[-1]
        except ImageDecodeError:
            continue
    with pytest.raises(ImageDecodeError):
        read_image(data[:-4])
