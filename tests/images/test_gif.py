"""GIF: what stands behind the picture is told, and so is a missing end."""

import io

import numpy as np
import pytest
from PIL import Image

from unhaze.errors import ImageError
from unhaze.images.files import read_image


def gif(colours=32, **options):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, colours, (30, 40), np.uint8), "P")
    image.putpalette(bytes(rng.integers(0, 256, 3 * colours, np.uint8)))
    file = io.BytesIO()
    image.save(file, "GIF", **options)
    return file.getvalue()


@pytest.mark.parametrize("data", [gif(), gif(2), gif(comment=b"taken at noon" * 40), gif(interlace=1)])
def test_whole_files_have_no_note(data):
    assert read_image(data).notes == ()
    assert read_image(data + b"\0\0").notes == ()


def test_what_stands_behind_is_told():
    assert read_image(gif() + b"garbage").notes == ("7 bytes behind the picture were dropped.",)


def test_a_missing_end_is_told():
    (note,) = read_image(gif()[:-1]).notes
    assert note.startswith("The file ends before its end is marked")


def test_missing_pixels_are_an_error():
    with pytest.raises(ImageError, match="truncated"):
        read_image(gif()[:-40])
