"""WebP: chunks that nothing is known of."""

import struct
import tracemalloc

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


@row("webp-chunks")
def test_many_unknown_chunks_take_no_memory_and_some_are_named():
    data = saved(scene(), "WEBP")
    data += b"".join(b"%04x" % number + bytes(4) for number in range(20_000))
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    read_image(data)
    tracemalloc.start()
    notes = read_image(data).notes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(data)
    assert notes[-1].endswith("(" + ", ".join(f"{number:04x}" for number in range(20)) + ", ...).")
