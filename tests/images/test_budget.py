"""What a small file may inflate to beside its pixels, by every reader."""

from __future__ import annotations

import io
import os
import socket
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.errors import ImageDecodeError, ImageError, ImageTooLargeError
from unhaze.images.budget import METADATA_LIMIT, PART_LIMIT, Budget, TooMuchError
from unhaze.images.files import encode_image, identify, read_image


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks, size=(8, 8), kind=2):
    width, height = size
    row = bytes(1 + width * {2: 3, 3: 1}[kind])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    palette = chunk(b"PLTE", bytes((0, 0, 0, 200, 100, 50))) if kind == 3 else b""
    pixels = chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + palette + b"".join(chunks) + pixels


def text(size, kind=b"zTXt", keyword=b"k"):
    value = zlib.compress(b"a" * size, 9)
    return chunk(kind, keyword + (b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0") + value)


def test_pieces_count_beside_each_other():
    budget = Budget(100, part=60)
    assert budget.admits(60)
    assert not budget.admits(41)
    assert budget.exceeded
    budget.take(40)
    with pytest.raises(TooMuchError):
        budget.take(1)


def test_inflating_what_is_too_much_is_not_tried_for_ever():
    budget, bomb = Budget(), zlib.compress(bytes(PART_LIMIT + 1))
    tries = 0
    while budget.left:
        tries += 1
        with pytest.raises(TooMuchError):
            budget.inflate(bomb)
    assert tries == -(-METADATA_LIMIT // PART_LIMIT)


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("name", [b"zTXt", b"iTXt"])
def test_texts_up_to_the_limit_are_kept_and_read_again(name, kind):
    content = png(text(PART_LIMIT, name), text(2_000_000, name, b"second"), kind=kind)
    picture = read_image(content)
    assert [len(value) for _, value in picture.metadata.text] == [PART_LIMIT, 2_000_000]
    again = encode_image(picture)
    assert (read_image(again).metadata.text == picture.metadata.text) is True
    assert not read_image(again).notes
    Image.open(io.BytesIO(again)).load()


@pytest.mark.parametrize(
    "chunks",
    [
        [text(PART_LIMIT + 1)],
        [text(16 << 20)] * 50,
        [text(16 << 20, b"iTXt")] * 20,
        [chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(16 << 20)))],
        [chunk(b"tEXt", b"k\0" + b"a" * 2 * PART_LIMIT)],
        [text(16 << 20, keyword=b"Raw profile type exif")] * 5,
        [text(9_000_000, b"iTXt", b"XML:com.adobe.xmp")],
    ],
)
@pytest.mark.parametrize("kind", [2, 3])
def test_more_is_dropped_with_a_note_and_the_picture_is_kept(chunks, kind):
    content = png(*chunks, kind=kind)
    assert identify(content).width == 8
    picture = read_image(content)
    assert picture.pixels.shape == (8, 8, 3)
    assert any("was dropped" in note and "Metadata" in note for note in picture.notes)
    again = encode_image(picture)
    assert len(again) < 20_000
    assert not read_image(again).notes


def test_the_limit_of_a_caller_holds():
    content = png(text(500_000), text(600_000, keyword=b"second"))
    assert len(read_image(content).metadata.text) == 2
    picture = read_image(content, max_metadata=1_000_000)
    assert [keyword for keyword, _ in picture.metadata.text] == ["k"]
    assert picture.notes


def test_metadata_of_every_format_counts():
    blob = os.urandom(3_000_000)
    for format in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, format, icc_profile=b"\0" * 16 + b"RGB " + blob)
        content = file.getvalue()
        if format == "TIFF":  # its directories are read whole or not at all
            with pytest.raises(ImageTooLargeError, match="max_memory"):
                read_image(content, max_metadata=1_000_000)
            continue
        assert read_image(content).metadata.icc, format
        picture = read_image(content, max_metadata=1_000_000)
        assert picture.metadata.icc is None, format
        assert any("Metadata" in note for note in picture.notes), format


def tiff(entries, data=b"", pages=1):
    """A TIFF whose directory is ``entries``: (tag, type, count, value or offset)."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    directory = struct.pack("<H", len(entries)) + table
    start = 8 + len(data)
    chained = b"".join(
        directory + struct.pack("<I", 0 if page == pages - 1 else start + (page + 1) * (len(directory) + 4))
        for page in range(pages)
    )
    return b"II*\0" + struct.pack("<I", start) + data + chained


@pytest.mark.parametrize("pages", [1, 40])
def test_tags_that_share_their_bytes_count_each(pages):
    data = bytes(4_000_000 // pages)
    entries = [(256, 4, 1, 8), (257, 4, 1, 8)]
    entries += [(tag, 7, len(data), 8) for tag in range(1000, 1060)]
    content = tiff(entries, data, pages)
    for read in (identify, read_image):
        with pytest.raises(ImageTooLargeError, match="MB"):
            read(content)


def test_many_directories_of_many_entries_count():
    entries = [(tag, 3, 1, 0) for tag in range(60_000)]
    # each directory begins one entry further and points to the next by an entry of the last one
    content = tiff(entries, pages=8)
    with pytest.raises(ImageError):
        identify(content)


def test_two_widths_are_refused_by_all():
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(file, "TIFF")
    content = bytearray(file.getvalue())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    table = content[start + 2 : start + 2 + 12 * count]
    doubled = struct.pack("<HHII", 256, 4, 1, 6) + struct.pack("<HHII", 256, 4, 1, 3000)
    rest = b"".join(table[i : i + 12] for i in range(0, len(table), 12) if table[i : i + 2] != struct.pack("<H", 256))
    place = len(content) + len(content) % 2
    content += bytes(len(content) % 2) + struct.pack("<H", count + 1) + doubled + rest + bytes(4)
    struct.pack_into("<I", content, 4, place)
    for read in (identify, read_image):
        with pytest.raises(ImageDecodeError, match="two entries ImageWidth"):
            read(bytes(content))


def test_a_large_file_around_a_small_picture_is_known():
    content = png(chunk(b"prVt", bytes(5000)))
    assert identify(content).file_bytes == len(content)


# -- what is no file --------------------------------------------------------------------------------------------------


@pytest.fixture
def oddities(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket.png"))  # a socket's name is short
        yield [
            tmp_path / "pipe.png",
            tmp_path / "socket.png",
            "/dev/zero",
            "/dev/null",
            tmp_path,
            tmp_path / "gone.png",
        ]


def test_what_is_no_file_is_refused_at_once(oddities):
    for path in oddities:
        for read in (identify, read_image):
            started = time.perf_counter()
            with pytest.raises(ImageDecodeError, match=r"^[^\n]+\.$"):
                read(path)
            assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "command",
    [
        ["run", "{pipe}", "-o", "{out}"],
        ["metric", "niqe", "{pipe}"],
        ["metric", "psnr", "{pipe}", "{pipe}"],
        ["metric", "niqe", "/dev/zero"],
        ["depth", "{pipe}"],
        ["synth", "{pipe}"],
    ],
)
def test_commands_never_wait_for_a_pipe(tmp_path, command):
    pytest.importorskip("torch")
    os.mkfifo(tmp_path / "pipe.png")
    arguments = [part.format(pipe=tmp_path / "pipe.png", out=tmp_path / "out.png") for part in command]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "pipe" in done.stderr
    assert "unexpected" not in done.stderr
    assert not (tmp_path / "out.png").exists()
