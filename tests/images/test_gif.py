"""GIF: what is missing at the end, and what stands behind it."""

import pytest
from PIL import Image
from tests.pictures import noise, row, saved

from unhaze.errors import ImageDecodeError
from unhaze.images.files import read_image


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
