"""WebP: chunks that nothing is known of."""

import struct

import pytest
from tests.pictures import row, saved, scene

from unhaze.errors import ImageDecodeError
from unhaze.images.files import read_image


@row("webp-chunks", "bad-tail")
def test_unknown_chunks_and_what_stands_behind_are_reported():
    data = saved(scene(), "WEBP", exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    more = data + b"C2PA" + struct.pack("<I", 4) + b"what"
    more = more[:4] + struct.pack("<I", len(more) - 8) + more[8:]
    assert read_image(data).notes == read_image(data + bytes(5)).notes
    assert "Chunks of the WebP that nothing is known of were dropped (C2PA)." in read_image(more).notes
    assert "7 bytes behind the picture were dropped." in read_image(data + b"garbage").notes


def test_a_header_alone_is_refused_and_nothing_reaches_the_terminal(capfd):
    head = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(10)
    with pytest.raises(ImageDecodeError):
        read_image(head)
    assert capfd.readouterr() == ("", "")
