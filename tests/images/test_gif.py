"""GIF: what is missing at the end, what stands behind it, and what its extensions hold."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from tests.pictures import noise, row, saved

from unhaze.errors import ImageDecodeError
from unhaze.images.files import identify, read_image


@row("bad-tail-simple")
def test_the_end_of_a_gif():
    data = saved(Image.fromarray(noise(17, 24, 3)).quantize(16), "GIF", comment=b"words")
    assert read_image(data).notes == ()
    assert "no end mark" in read_image(data[:-1]).notes[-1]
    assert read_image(data + b"garbage").notes[-1] == "7 bytes behind the picture were dropped."
    assert read_image(data + bytes(9)).notes == ()


@row("bad-tail-simple")
def test_a_gif_cut_anywhere_is_refused_or_noted():
    data = saved(Image.fromarray(noise(17, 24, 3)).quantize(16), "GIF")
    for length in range(7, len(data)):
        try:
            assert read_image(data[:length]).notes, length
        except ImageDecodeError:
            assert length < len(data) - 1
    with pytest.raises(ImageDecodeError):
        read_image(data[: len(data) // 2])


def extended(extensions, behind=b""):
    """A GIF with extensions before its picture, and behind it."""
    data = saved(Image.fromarray(noise(17, 24, 3)).quantize(16), "GIF")
    start = 13 + (3 << (data[10] & 7) + 1)
    return data[:start] + extensions + data[start:-1] + behind + b";"


def test_comments_are_read_wherever_they_stand_and_however_they_are_cut():
    plain = read_image(extended(b""))
    comments = b"!\xfe\3one\0" + b"!\xfe" + b"".join(b"\1%c" % letter for letter in b"two") + b"\0" + b"!\xfe\0"
    picture = read_image(extended(comments + b"!\xff\x0bXMP DataXMP\4<x/>\0!\x01\0", b"!\xfe\2th\3ree\0"))
    assert picture.metadata.comment == b"one\ntwo\nthree"
    assert picture.notes == ()
    assert np.array_equal(picture.pixels, plain.pixels)


def test_the_last_graphic_control_before_the_picture_counts():
    clear = b"!\xf9\4\1\0\0\0\0"
    assert identify(extended(b"!\xf9\4\0\0\0\0\0" + clear)).has_alpha
    assert not identify(extended(clear + b"!\xf9\4\0\0\0\0\0")).has_alpha
    assert not identify(extended(b"", clear)).has_alpha


@pytest.mark.parametrize("kind", [b"\xfe", b"\xff\x0bXMP DataXMP", b"\x01", b"\xf9\4\0\0\0\0", b"\x77"])
def test_extensions_of_many_parts_take_little_memory(kind):
    data = extended(b"!" + kind + b"\1x" * 100_000 + b"\0")
    tracemalloc.start()
    picture = read_image(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(data)
    assert picture.metadata.comment == (b"x" * 100_000 if kind == b"\xfe" else None)
    assert picture.notes == ()


def test_comments_keep_to_the_budget():
    picture = read_image(extended(b"!\xfe\3one\0!\xfe" + b"\xff" * 256 * 20 + b"\0!\xfe\3two\0"), max_metadata=1000)
    assert picture.metadata.comment == b"one\ntwo"
    assert "was dropped" in picture.notes[-1]
    with pytest.raises(ImageDecodeError, match="too many blocks"):
        read_image(extended(b"!\xfe\1x\0" * 70_000))
