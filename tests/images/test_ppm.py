"""Netpbm: headers, and values that are not as the header says."""

import time

import pytest
from tests.pictures import row

from unhaze.errors import ImageDecodeError
from unhaze.images.files import read_image


@pytest.mark.parametrize("gap", [b" " * 30, b"#\n" * 2000, b" #" * 2000, b" " * 4000 + b"\n"])
def test_a_header_that_goes_nowhere_takes_no_time(gap):
    before = time.process_time()
    with pytest.raises(ImageDecodeError):
        read_image(b"P6" + b"\n" + gap + b"x")
    assert time.process_time() - before < 1


@pytest.mark.parametrize(("kind", "values"), [(b"1", b"0 1\n"), (b"2", b"3 4\n"), (b"4", b"\x40")])
@pytest.mark.parametrize("lines", [1, 250_000])
def test_long_comments_take_no_time(kind, values, lines):
    most = b"" if kind in b"14" else b" 9"
    comment = b"#" + b"x" * (1_000_000 // lines - 2) + b"\n"
    before = time.process_time()
    picture = read_image(b"P" + kind + b"\n" + comment * lines + b"2 1" + most + b"\n" + values)
    assert picture.pixels.shape == (1, 2)
    if kind in b"12":
        same = read_image(b"P" + kind + b" 2 1" + most + b"\n" + comment * lines * 2 + values)
        assert same.pixels.tolist() == picture.pixels.tolist()
        assert same.notes == ()
    with pytest.raises(ImageDecodeError, match="longer than 1 MB"):
        read_image(b"P" + kind + b"\n" + comment * lines * 12 + b"2 1" + most + b"\n" + values)
    assert time.process_time() - before < 3


def test_a_comment_ends_a_number():
    assert read_image(b"P2 3 1 255\n1#a\n2 #b\r3\n").pixels.tolist() == [[1, 2, 3]]
    assert read_image(b"P1 2 1\n1#0\n0#1\n").pixels.tolist() == read_image(b"P1 2 1\n1 0\n").pixels.tolist()


def test_comments_and_blanks_stand_anywhere_in_a_header():
    picture = read_image(b"P5 #a\n# b\r\n\t2 \n#c 9\n 1#d\n255\n\x03\x04")
    assert picture.pixels.tolist() == [[3, 4]]


@row("bad-tail-simple")
@pytest.mark.parametrize("data", [
    b"P6\n1 1\n255\nabc", b"P5\n2 1\n65535\nabcd", b"P5\n2 1\n15\n\1\2", b"P4\n9 1\n\1\x80", b"P3\n1 1\n255\n1 2 3\n",
    b"P2\n2 1\n9\n#c\n1 2\n",
])  # fmt: skip
def test_the_end_of_a_netpbm(data):
    assert read_image(data).notes == ()
    assert "behind the picture were dropped" in read_image(data + b" 77 7").notes[-1]
    if data[1:2] in b"456":
        with pytest.raises(ImageDecodeError):
            read_image(data[:-1])
    else:
        assert "may have lost digits" in read_image(data[:-1]).notes[-1]
