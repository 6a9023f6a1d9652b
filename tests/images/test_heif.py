"""HEIF: colours that the file describes by numbers that no table knows."""

import io
import struct

import numpy as np
import pytest
from tests.pictures import row, scene

from unhaze.errors import ImageDecodeError
from unhaze.images.files import conversion_notes, encode_image, identify, read_image

heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")


def described(primaries, transfer, matrix, **options):
    """A picture of which the colour box says this."""
    pixels = scene()
    file = io.BytesIO()
    heif.from_bytes("RGB", pixels.shape[1::-1], pixels.tobytes()).save(file, quality=95, **options)
    data = file.getvalue()
    place = data.index(b"colrnclx") + 8
    return data[:place] + struct.pack(">3H", primaries, transfer, matrix) + data[place + 6 :]


def of_colours(picture):
    return [note for note in picture.notes if "CICP" in note or "HDR" in note]


@row("cicp")
@pytest.mark.parametrize(
    ("numbers", "note"),
    [
        ((200, 13, 6), "CICP 200/13, which is not handled; they count as sRGB"),
        ((0, 13, 6), "CICP 0/13, which is not handled; they count as sRGB"),
        ((1, 99, 6), "CICP 1/99, which is not handled; they count as sRGB"),
        ((1, 13, 77), "CICP 77, which means nothing"),
        ((65535, 3, 3), "CICP 65535/3, which is not handled; they count as sRGB"),
    ],
)
def test_reserved_colour_numbers_count_as_none(numbers, note):
    data = described(*numbers)
    plain, picture = read_image(described(1, 13, 6)), read_image(data)
    assert of_colours(plain) == []
    assert len(of_colours(picture)) == 1
    assert note in of_colours(picture)[0]
    assert identify(data) == picture.info
    assert picture.metadata.icc is None
    np.testing.assert_array_equal(picture.pixels, plain.pixels)
    assert read_image(encode_image(picture, "png")).metadata.cicp is None
    assert conversion_notes(picture, "png") == conversion_notes(plain, "png")


@row("cicp", "hdr")
def test_what_stands_beside_a_reserved_number_counts():
    p3 = read_image(described(12, 13, 77))
    assert p3.metadata.icc == read_image(described(12, 13, 6)).metadata.icc
    assert p3.metadata.icc
    pq = described(9, 16, 77)
    assert identify(pq).hdr
    assert read_image(pq).metadata.cicp == (9, 16)
    assert len(of_colours(read_image(pq))) == 1


@row("bad-damaged")
def test_a_damaged_file_with_reserved_numbers_stays_damaged():
    data = described(200, 201, 202)
    place = data.index(b"hvcC")
    with pytest.raises(ImageDecodeError, match="damaged"):
        read_image(data[:place] + b"none" + data[place + 4 :])
