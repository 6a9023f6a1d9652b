"""AVIF: how it lies, and EXIF as it stands in the file."""

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
