"""Netpbm: headers, and values that are not as the header says."""

import time

import pytest

from unhaze.errors import ImageDecodeError, ImageError
from unhaze.images.files import read_image


@pytest.mark.parametrize("gap", [b" " * 30, b"#\n" * 2000, b" #" * 2000, b" " * 4000 + b"\n"])
def test_a_header_that_goes_nowhere_takes_no_time(gap):
    before = time.process_time()
    with pytest.raises(ImageDecodeError):
        read_image(b"P6" + b"\n" + gap + b"x")
    assert time.process_time() - before < 1


def test_comments_and_blanks_stand_anywhere_in_a_header():
    picture = read_image(b"P5 #a\n# b\r\n\t2 \n#c 9\n 1#d\n255\n\x03\x04")
    assert picture.pixels.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    "data",
    [
        b"P5 2 2 255\n\x01\x02\x03\x04",
        b"P5 2 2 65535\n" + bytes(8),
        b"P6 2 2 100\n" + bytes(12),
        b"P4 9 2\n" + bytes(4),
    ],
)
def test_what_stands_behind_is_told(data):
    def notes(tail):
        return read_image(data + tail).notes

    assert notes(b"") == notes(b"\n") == ()
    assert notes(b"garbage") == ("7 bytes behind the picture were dropped.",)
    assert notes(b"P5 1 1 255\nx") == ("Only the first picture was kept; another one stands behind it in the file.",)
    with pytest.raises(ImageError):
        read_image(data[:-1])
