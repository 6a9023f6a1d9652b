"""Netpbm: headers, and values that are not as the header says."""

import time

import pytest

from unhaze.errors import ImageDecodeError
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
