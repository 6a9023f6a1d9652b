"""The image contract. Each row of docs/image-contract.md is a test here, named by the ``row`` mark of this file."""

import errno
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from unhaze.errors import (
    ImageDecodeError,
    ImageEncodeError,
    ImageError,
    ImageTooLargeError,
    ImageValueError,
    MissingDependencyError,
    OutputError,
    UnknownNameError,
    UnsupportedImageError,
    UsageError,
)
from unhaze.images import files as images
from unhaze.images.files import (
    READ_SUFFIXES,
    WRITE_FORMATS,
    Encoding,
    ImageInfo,
    Metadata,
    Picture,
    conversion_notes,
    default_output_format,
    encode_image,
    format_for_suffix,
    identify,
    read_image,
    write_image,
)
from unhaze.restore.dehazer import Dehazer

DOCUMENT = Path(__file__).parents[2] / "docs" / "image-contract.md"
ROWS = []


def row(*names):
    """Say which rows of the contract a test carries out."""

    def note(test):
        ROWS.extend(names)
        return test

    return note


# ---------------------------------------------------------------------------------------------------------- material


def values(*shape, dtype="uint8", seed=0):
    """Random values over the whole range of a type."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.random(shape, dtype=np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def smooth(height=48, width=64, grey=False):
    """A picture that lossy formats keep nearly as it is."""
    y, x = np.mgrid[0:height, 0:width]
    channels = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=-1)
    return (channels[..., 0] if grey else channels).astype(np.uint8)


def saved(image, format, **options):
    """What Pillow writes."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def tiff(array, **options):
    """What tifffile writes."""
    file = io.BytesIO()
    options = {"metadata": None, "software": False, **options}
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def opened(data):
    """The same picture through Pillow."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(array, kind, depth, *before):
    """A PNG written by hand: rows without filter, and chunks before the pixels."""
    height, width = array.shape[:2]
    samples = array.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    rows = b"".join(b"\0" + line.tobytes() for line in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_chunks(data):
    position, found = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def jpeg_with(data, *segments):
    """A JPEG with segments put in behind its start."""
    return data[:2] + b"".join(struct.pack(">BBH", 0xFF, m, len(c) + 2) + c for m, c in segments) + data[2:]


def exif_blob(orientation=1, **more):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model 7", orientation
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0x829A], details[0xA002], details[0xA003] = "2024:05:06 07:08:09", 1 / 250, 64, 48
    details[0x927C] = b"maker note \0\1\2" * 5
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (48.0, 8.0, 15.5), "E", (11.0, 34.0, 30.0)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def exif_facts(blob):
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + blob)
    details, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    return {
        "make": exif[0x010F],
        "model": exif[0x0110],
        "date": details[0x9003],
        "exposure": float(details[0x829A]),
        "note": details[0x927C],
        "latitude": tuple(map(float, gps[2])),
        "east": gps[3],
    }


XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/'
    b'1.0/" tiff:Orientation="6" tiff:Make="Maker"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


@cache
def profile(name="sRGB"):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def display_p3():
    """A profile whose primaries differ from sRGB's: the red and green colorants of an sRGB profile changed."""
    data = bytearray(profile())
    count = int.from_bytes(data[128:132], "big")
    for i in range(count):
        name, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * i)
        if name == b"rXYZ":
            struct.pack_into(">3i", data, offset + 8, *(round(v * 65536) for v in (0.5151, 0.2412, -0.0011)))
    return bytes(data)


def grey_profile():
    """A grey profile with gamma 2.2, laid out by hand: header, three tags."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    tags, offset, body = [], 132 + 3 * 12, b""
    for name, content in ((b"wtpt", white), (b"kTRC", curve), (b"desc", text)):
        tags.append(name + struct.pack(">II", offset + len(body), len(content)))
        body += content + b"\0" * (-len(content) % 4)
    header = bytearray(128)
    header[8:12], header[12:16], header[16:20] = b"\2\x10\0\0", b"mntr", b"GRAY"
    header[20:24], header[36:40] = b"XYZ ", b"acsp"
    header[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    data = bytes(header) + struct.pack(">I", 3) + b"".join(tags) + body
    return struct.pack(">I", len(data)) + data[4:]


def raw_dng(orientation=1):
    """A mosaic of random values with the tags that LibRaw needs."""
    unit = [n for i in range(9) for n in (int(i % 4 == 0), 1)]
    tags = [
        (271, 2, None, "Maker", True),
        (272, 2, None, "Model 7", True),
        (274, 3, 1, orientation, True),
        (33421, 3, 2, (2, 2), True),  # the pattern repeats each 2 x 2
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # red green / green blue
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, None, "Maker Model 7", True),
        (50714, 4, 1, 0, True),
        (50717, 4, 1, 65535, True),
        (50721, 10, 9, tuple(unit), True),
        (50728, 5, 3, (1, 2, 1, 1, 3, 5), True),
        (50778, 3, 1, 21, True),
    ]
    mosaic = np.random.default_rng(0).integers(2000, 20000, (64, 96)).astype(np.uint16)
    return tiff(mosaic, photometric=32803, extratags=tags)


def round_trip(data, format=None, **options):
    return encode_image(read_image(data), format, **options)


# ---------------------------------------------------------------------------------------------------------- document


def test_document_and_tests_name_the_same_rows():
    if not DOCUMENT.exists():
        pytest.skip("docs/image-contract.md is not part of this installation")
    elsewhere = (file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    named = {
        name for text in elsewhere for line in re.findall(r"^@row\(([^)]*)\)", text, re.M) for name in _names(line)
    }
    documented = re.findall(r"^\| `([a-z0-9-]+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == set(ROWS) | named


def _names(line):
    return re.findall(r'"([a-z0-9-]+)"', line)


# ----------------------------------------------------------------------------------------------------------- formats

LOSSLESS = {
    ("png", "uint8"),
    ("png", "uint16"),
    ("tiff", "uint8"),
    ("tiff", "uint16"),
    ("tiff", "float32"),
    ("bmp", "uint8"),
    ("webp", "uint8"),
}


@row("format-png", "format-tiff", "format-bmp", "any-size", "depth-kept")
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(LOSSLESS)),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    grey=st.booleans(),
    alpha=st.booleans(),
    compression=st.sampled_from(["none", "deflate"]),
)
def test_lossless_formats_return_any_picture_bit_for_bit(kind, height, width, grey, alpha, compression):
    format, dtype = kind
    pixels = values(height, width, dtype=dtype) if grey else values(height, width, 3, dtype=dtype)
    mask = values(height, width, dtype=dtype, seed=1) if alpha else None
    encoding = Encoding(lossless=True, tiff_compression=compression)
    data = encode_image(Picture(pixels, mask, format, encoding=encoding))
    picture = read_image(data)
    expected = pixels
    if grey and (format == "webp" or (format == "bmp" and alpha)):
        expected = np.repeat(pixels[..., None], 3, axis=2)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.pixels.dtype == dtype
    assert picture.format == format
    if alpha and not (format == "webp" and (mask == 255).all()):  # libwebp leaves out what says nothing
        np.testing.assert_array_equal(picture.alpha, mask)
    else:
        assert picture.alpha is None
    assert identify(data) == picture.info
    for array in (picture.pixels, picture.alpha):
        assert array is None or (array.flags.c_contiguous and array.flags.writeable and array.flags.owndata)


@row("format-jpeg", "format-webp", "format-avif")
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_lossy_formats_stay_close(format, grey):
    pixels = smooth(grey=grey)
    data = encode_image(Picture(pixels, None, "png"), format)
    assert opened(data).format == format.upper()
    picture = read_image(data)
    expected = np.repeat(pixels[..., None], 3, axis=2) if grey and format == "webp" else pixels
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 1.5
    assert identify(data) == picture.info
    np.testing.assert_array_equal(picture.pixels, np.asarray(opened(data)))


@row("any-size")
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("format", sorted(WRITE_FORMATS))
def test_every_format_takes_one_pixel_rows_and_columns(format, shape):
    picture = read_image(encode_image(Picture(values(*shape, 3), None, "png"), format))
    assert picture.pixels.shape == (*shape, 3)


@row("format-jpeg")
def test_jpeg_of_another_source_is_stored_at_quality_95():
    data = encode_image(Picture(smooth(), None, "png"), "jpeg")
    reference = opened(saved(smooth(), "JPEG", quality=95))
    assert opened(data).quantization == reference.quantization


@row("format-gif", "format-ppm", "format-bmp", "palette")
@pytest.mark.parametrize(
    ("format", "image", "output"),
    [
        ("BMP", Image.fromarray(values(5, 7, 3)), "bmp"),
        ("BMP", Image.fromarray(values(5, 7)), "bmp"),
        ("BMP", Image.fromarray(values(5, 7, 3)).quantize(16), "bmp"),
        ("GIF", Image.fromarray(values(5, 7, 3)).quantize(16), "png"),
        ("GIF", Image.fromarray(values(5, 7)), "png"),
        ("PPM", Image.fromarray(values(5, 7, 3)), "png"),
        ("PPM", Image.fromarray(values(5, 7)), "png"),
        ("PPM", Image.fromarray(values(5, 7) > 99), "png"),
    ],
)
def test_simple_formats_read_as_pillow_does(format, image, output):
    data = saved(image, format)
    picture = read_image(data)
    reference = opened(data).convert("L" if picture.pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(picture.pixels, np.asarray(reference))
    assert (picture.pixels.ndim == 2) == (image.mode in ("L", "1"))
    assert identify(data) == picture.info
    assert picture.format == format.lower()
    assert default_output_format(picture) == default_output_format(picture.info) == output


@row("format-ppm")
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_netpbm_keeps_its_depth(channels):
    pixels = values(4, 6, dtype="uint16") if channels == 1 else values(4, 6, 3, dtype="uint16")
    header = f"P{5 if channels == 1 else 6}\n# made by hand\n6 4\n65535\n".encode()
    picture = read_image(header + pixels.astype(">u2").tobytes())
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert opened(encode_image(picture)).format == "PNG"


@row("format-heif")
def test_heif_is_read_and_becomes_jpeg():
    heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(smooth())).save(file, quality=95, exif=b"Exif\0\0" + exif_blob(6))
    data = file.getvalue()
    picture = read_image(data)
    # libheif turns the picture by the transformation that HEIF has for it; the tag has no say
    assert np.abs(picture.pixels.astype(int) - np.rot90(smooth(), -1)).mean() < 3
    assert identify(data) == picture.info
    assert default_output_format(picture) == "jpeg"
    written = opened(encode_image(picture))
    assert written.format == "JPEG"
    assert written.getexif()[0x0112] == 1
    assert exif_facts(picture.metadata.exif)["make"] == "Maker"


@row("format-heif")
def test_10_bit_heif_becomes_16_bit():
    heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    ramp = np.repeat(np.linspace(0, 65535, 600).astype(np.uint16)[None, :, None], 48, axis=0).repeat(3, axis=2)
    file = io.BytesIO()
    heif.from_bytes(mode="RGB;16", size=(600, 48), data=ramp.tobytes()).save(file, quality=-1, chroma=444)
    picture = read_image(file.getvalue())
    assert picture.pixels.dtype == np.uint16
    assert identify(file.getvalue()) == picture.info
    assert len(np.unique(picture.pixels)) > 256
    assert np.abs(picture.pixels.astype(int) - ramp).mean() < 400
    assert conversion_notes(picture) == ("16-bit values were rounded to 8 bit, the most that is written as JPEG.",)


@row("format-raw")
@pytest.mark.parametrize("orientation", [1, 6])
def test_raw_is_developed_to_16_bit(orientation):
    pytest.importorskip("rawpy", reason="the extra raw is not installed")
    data = raw_dng(orientation)
    picture = read_image(data)
    assert picture.info == identify(data)
    assert picture.format == "raw"
    assert (picture.info.width, picture.info.height) == ((64, 96) if orientation == 6 else (96, 64))
    assert len(np.unique(picture.pixels)) > 256
    assert default_output_format(picture) == "tiff"
    written = encode_image(picture)
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        np.testing.assert_array_equal(file.asarray(), picture.pixels)
        assert file.pages[0].tags["Make"].value == "Maker"
        assert file.pages[0].tags["Orientation"].value == 1
    with pytest.raises(ImageTooLargeError):
        read_image(data, max_pixels=100)


@row("format-extra-missing")
def test_missing_extras_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + bytes(100)
    for data, extra in ((raw_dng(), "raw"), (heic, "heif")):
        for function in (identify, read_image):
            with pytest.raises(MissingDependencyError, match=rf"unhaze\[{extra}\]"):
                function(data)


@row("format-unwritable")
@pytest.mark.parametrize("suffix", [".heic", ".dng", ".gif", ".ppm"])
def test_formats_that_are_only_read_are_refused_as_output(tmp_path, suffix):
    picture = Picture(smooth(), None, "png")
    with pytest.raises(ImageEncodeError, match="can be read but not written"):
        write_image(picture, tmp_path / f"out{suffix}")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImageEncodeError, match="can be read but not written"):
        encode_image(picture, "heif")


@row("format-suffix")
def test_the_suffix_chooses_the_format(tmp_path):
    picture = Picture(smooth(), None, "png")
    for format, suffix in WRITE_FORMATS.items():
        assert format_for_suffix(suffix) == format_for_suffix(suffix.upper()) == format
        assert suffix in READ_SUFFIXES
        assert opened(write_image(picture, tmp_path / f"out{suffix}").read_bytes()).format == format.upper()
    assert format_for_suffix(".xyz") is None
    assert opened(write_image(picture, tmp_path / "photo.v2").read_bytes()).format == "PNG"
    assert opened(write_image(picture, tmp_path / "photo").read_bytes()).format == "PNG"
    assert opened(write_image(picture, tmp_path / "x.png", format="jpg").read_bytes()).format == "JPEG"


@row("format-content-wins")
def test_content_decides_how_a_file_is_read(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(smooth(), "PNG"))
    picture = read_image(path)
    assert picture.format == identify(path).format == "png"
    np.testing.assert_array_equal(picture.pixels, smooth())
    assert opened(write_image(picture, tmp_path / "out.jpg").read_bytes()).format == "JPEG"


@row("format-other")
@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isommp41", "video"),
    ],
)
def test_other_formats_are_refused_by_name(start, name):
    for function in (identify, read_image):
        with pytest.raises(UnsupportedImageError, match=name):
            function(start + bytes(64))


# ------------------------------------------------------------------------------------------------------------ pixels


def ramp16(width=2000):
    line = np.linspace(0, 65535, width).astype(np.uint16)
    return np.stack([line, line[::-1], np.roll(line, 500)], axis=-1)[None].repeat(3, axis=0)


@row("depth-kept")
@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("source", ["png", "tiff"])
def test_16_bit_has_more_than_256_levels_out(source, format):
    made = png(ramp16(), 2, 16) if source == "png" else tiff(ramp16(), photometric="rgb")
    data = round_trip(made, format)
    independent = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(independent, ramp16())
    assert len(np.unique(independent[..., 0])) == 2000


@row("depth-16-to-8")
@pytest.mark.parametrize("format", ["jpeg", "webp", "avif", "bmp"])
def test_16_bit_and_float_are_rounded_where_the_format_has_8_bits(format):
    eight = smooth()
    sixteen = Picture(eight.astype(np.uint16) * 257, None, "tiff")
    floating = Picture((eight / np.float32(255)).astype(np.float32), None, "tiff")
    expected = encode_image(Picture(eight, None, "tiff"), format)
    assert encode_image(sixteen, format) == encode_image(floating, format) == expected
    assert "16-bit values were rounded to 8 bit" in conversion_notes(sixteen, format)[0]
    assert "Float values were rounded to 8 bit" in conversion_notes(floating, format)[0]
    assert conversion_notes(Picture(eight, None, "tiff"), format) == ()


@row("depth-16-to-8")
def test_rounding_to_8_bit_is_to_the_nearest():
    line = np.arange(65536, dtype=np.uint16)[None]
    out = read_image(encode_image(Picture(line, None, "png"), "bmp")).pixels
    np.testing.assert_array_equal(out[0], np.rint(np.arange(65536) / 257).astype(np.uint8))
    line = np.array([[-0.5, 0.0, 0.001, 0.0021, 0.5, 0.999, 1.0, 7.0]], np.float32)
    out = read_image(encode_image(Picture(line, None, "tiff"), "bmp")).pixels
    np.testing.assert_array_equal(out[0], [0, 0, 0, 1, 128, 255, 255, 255])


@row("depth-float-to-png")
def test_float_becomes_16_bit_png():
    pixels = values(5, 6, 3, dtype="float32")
    pixels[0, 0] = [-1.0, 2.0, 0.5]
    picture = Picture(pixels, None, "tiff")
    out = read_image(encode_image(picture, "png")).pixels
    np.testing.assert_array_equal(out, np.rint(np.clip(pixels, 0, 1) * np.float32(65535)).astype(np.uint16))
    assert "clipped to [0, 1]" in conversion_notes(picture, "png")[0]


@row("depth-float-kinds")
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_become_32_bit(dtype):
    pixels = values(5, 6, 3, dtype="float32").astype(dtype)
    data = tiff(pixels, photometric="rgb")
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, pixels.astype(np.float32))
    assert picture.notes == (f"{dtype} values are stored as 32-bit float.",)
    assert identify(data) == picture.info
    assert tifffile.imread(io.BytesIO(encode_image(picture))).dtype == np.float32


@row("depth-few-bits")
@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_one_bit_becomes_8_bit_grey(format):
    bits = values(9, 13) > 127
    data = saved(Image.fromarray(bits), format)
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, bits * np.uint8(255))
    assert identify(data) == picture.info
    assert opened(encode_image(picture)).mode == "L"


@row("depth-few-bits")
@pytest.mark.parametrize("depth", [2, 4])
def test_png_with_few_bits_becomes_8_bit(depth):
    levels = values(6, 8) >> (8 - depth)
    packed = np.packbits(np.unpackbits(levels[..., None], axis=-1)[..., -depth:].reshape(6, -1), axis=-1)
    made = png(packed, 0, depth)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, depth, 0, 0, 0, 0))
    picture = read_image(made[:8] + header + made[8 + len(header) :])
    np.testing.assert_array_equal(picture.pixels, levels * (255 // (2**depth - 1)))


@row("depth-few-bits")
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1, 2])
def test_tiff_with_few_bits_becomes_8_bit(depth, photometric):
    channels = 3 if photometric == 2 else 1
    levels = np.random.default_rng(depth).integers(0, 1 << depth, (6, 9, channels), np.uint8)
    bits = np.unpackbits(levels[..., None], axis=-1)[..., -depth:]
    packed = np.packbits(bits.reshape(6, -1), axis=-1).tobytes()
    entries = [
        (256, 3, [9]), (257, 3, [6]), (258, 3, [depth] * channels), (259, 3, [1]), (262, 3, [photometric]),
        (273, 4, "segments"), (277, 3, [channels]), (278, 3, [6]), (279, 4, "lengths"),
    ]  # fmt: skip
    data = tiff_by_hand(entries, [packed])
    expected = levels * np.uint8(255 // (2**depth - 1))
    picture = read_image(data)
    np.testing.assert_array_equal(
        picture.pixels, {0: 255 - expected[..., 0], 1: expected[..., 0], 2: expected}[photometric]
    )
    assert picture.notes == ()
    assert identify(data) == picture.info


@row("depth-few-bits")
def test_inks_of_few_bits_are_those_of_8():
    levels = np.random.default_rng(0).integers(0, 16, (6, 8, 4), np.uint8)

    def stored(depth, content):
        entries = [
            (256, 3, [8]), (257, 3, [6]), (258, 3, [depth] * 4), (259, 3, [1]), (262, 3, [5]),
            (273, 4, "segments"), (277, 3, [4]), (278, 3, [6]), (279, 4, "lengths"),
        ]  # fmt: skip
        return read_image(tiff_by_hand(entries, [content]))

    packed = (levels.reshape(6, -1, 2) @ np.array([16, 1], np.uint8)).astype(np.uint8)
    of_four, of_eight = stored(4, packed.tobytes()), stored(8, (levels * 17).tobytes())
    np.testing.assert_array_equal(of_four.pixels, of_eight.pixels)


@row("depth-integers")
@pytest.mark.parametrize("dtype", ["uint32", "int32", "int16", "int8", "uint64", "complex64"])
def test_odd_integers_are_refused(dtype):
    data = tiff(np.ones((4, 5), dtype), photometric="minisblack")
    with pytest.raises(UnsupportedImageError, match="convert it to 8 bit, 16 bit or 32-bit float"):
        read_image(data)


@row("depth-avif-10")
def test_10_bit_avif_is_read_with_a_note():
    sixteen = (smooth().astype(np.uint16) << 2)[..., ::-1]
    _, data = cv2.imencode(".avif", sixteen, [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 95])
    picture = read_image(data.tobytes())
    assert picture.pixels.dtype == np.uint8
    assert np.abs(picture.pixels.astype(int) - smooth()).mean() < 3
    assert picture.notes == ("The 10 or 12 bits per colour of the AVIF were reduced to 8.",)


@row("nan")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_and_are_counted(bad):
    pixels = values(6, 7, 3, dtype="float32")
    pixels[1, 2] = bad
    pixels[3, 4, 1] = bad
    picture = read_image(tiff(pixels, photometric="rgb"))
    assert picture.notes == ("2 pixels are NaN or infinite; they were left as they are.",)
    assert np.argwhere(picture.hidden()).tolist() == [[1, 2], [3, 4]]
    np.testing.assert_array_equal(read_image(encode_image(picture)).pixels, pixels)
    with pytest.raises(ImageValueError, match="in 2 of its pixels"):
        read_image(tiff(pixels, photometric="rgb"), finite=True)


def test_pictures_of_nothing_but_nan_and_infinity_are_refused():
    pixels = np.array([[np.inf, -np.inf, np.nan]], np.float32)
    with pytest.raises(ImageValueError, match="in 3 of its pixels"):
        read_image(tiff(pixels, photometric="minisblack"))
    alpha = np.dstack([values(2, 3, 3, dtype="float32"), np.full((2, 3), np.nan, np.float32)])
    with pytest.raises(ImageValueError, match="in 6 of its alpha values"):
        read_image(tiff(alpha, photometric="rgb", extrasamples=["unassalpha"]))


@row("grey")
@pytest.mark.parametrize("format", sorted(WRITE_FORMATS))
def test_grey_stays_grey(format):
    picture = Picture(smooth(grey=True), None, "png")
    data = encode_image(picture, format)
    image = opened(data)
    if format == "webp":
        assert image.mode == "RGB"
        assert "WebP has no grey" in conversion_notes(picture, format)[0]
    else:
        assert image.mode == "L"
        assert read_image(data).pixels.ndim == 2


@row("palette")
@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF"])
def test_palettes_become_rgb_and_palettes_of_greys_grey(format):
    colours = Image.fromarray(values(20, 20, 3)).quantize(32)
    data = saved(colours, format)
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, np.asarray(opened(data).convert("RGB")))
    assert identify(data) == picture.info
    greys = Image.fromarray(values(20, 20), "L").convert("P")
    greys.putpalette([v for i in range(256) for v in (i, i, i)])
    data = saved(greys, format)
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, np.asarray(opened(data).convert("L")))
    assert identify(data) == picture.info


@row("white-is-zero")
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_white_is_zero_is_turned_round(dtype):
    pixels = values(5, 6, dtype=dtype)
    picture = read_image(tiff(pixels, photometric="miniswhite"))
    np.testing.assert_array_equal(picture.pixels, np.iinfo(dtype).max - pixels)
    with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK


@row("planar")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "layout",
    [{"planarconfig": "separate"}, {"tile": (16, 16)}, {"byteorder": ">"}, {"bigtiff": True}, {"rowsperstrip": 1}],
    ids=["planes", "tiles", "big-endian", "bigtiff", "strips"],
)
def test_tiff_layouts_do_not_matter(layout, dtype):
    pixels = values(37, 29, 3, dtype=dtype)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in layout else pixels
    data = tiff(np.ascontiguousarray(stored), photometric="rgb", **layout)
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype.isnative
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(encode_image(picture))), pixels)


@row("cmyk")
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_with_a_note(format):
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    data = saved(cmyk, format)
    picture = read_image(data)
    assert np.abs(picture.pixels.astype(int) - smooth()).mean() < 3
    assert "have no profile" in picture.notes[0]
    assert identify(data) == picture.info
    written = opened(encode_image(picture))
    assert written.mode == "RGB"
    assert ImageCms.getOpenProfile(io.BytesIO(written.info["icc_profile"])).profile.xcolor_space.strip() == "RGB"


def cmyk_profile():
    """A printer whose cyan ink is red: a table with the Lab colours of the 16 combinations of full and no ink."""
    white, red, black = (255, 128, 128), (138, 208, 195), (0, 128, 128)
    inks = [(c, k) for c in (0, 1) for _ in range(4) for k in (0, 1)]  # cyan varies slowest, black fastest
    table = bytes(v for c, k in inks for v in (black if k else red if c else white))
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + table + ramp * 3
    header = bytearray(128)
    header[8:12], header[12:16], header[16:20], header[20:24] = b"\2\x10\0\0", b"prtr", b"CMYK", b"Lab "
    header[36:40], header[68:80] = b"acsp", struct.pack(">3i", 63190, 65536, 54061)
    data = bytes(header) + struct.pack(">I4sII", 1, b"A2B0", 144, len(lut)) + lut
    return struct.pack(">I", len(data)) + data[4:]


@row("cmyk")
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(format):
    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:32, 0], inks[:, 32:, 3] = 255, 255
    options = {"quality": 100} if format == "JPEG" else {}
    picture = read_image(saved(Image.fromarray(inks, "CMYK"), format, icc_profile=cmyk_profile(), **options))
    assert picture.notes == ("The CMYK colours were converted to sRGB through their profile.",)
    white, red, black = picture.pixels[8, 8], picture.pixels[8, 24], picture.pixels[8, 40]
    assert white.min() > 250
    assert red[0] > 240
    assert red[1:].max() < 30
    assert black.max() < 5


def test_srgb_profile_is_the_same_in_every_run():
    code = (
        "import hashlib; from unhaze.images._metadata import srgb_profile as p; print(hashlib.sha256(p()).hexdigest())"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


@row("lab")
def test_lab_becomes_srgb():
    lab = ImageCms.profileToProfile(
        Image.fromarray(smooth()), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    data = saved(lab, "TIFF")
    picture = read_image(data)
    assert np.abs(picture.pixels.astype(int) - smooth()).mean() < 4
    assert picture.notes == ("The Lab colours were converted to sRGB.",)
    assert identify(data) == picture.info


@row("many-channels")
def test_many_channels_are_refused():
    data = tiff(values(5, 6, 7), photometric="rgb", planarconfig="contig", extrasamples=["unspecified"] * 4)
    with pytest.raises(UnsupportedImageError, match="7 channels"):
        read_image(data)


# ------------------------------------------------------------------------------------------------------ transparency


@row("alpha")
@pytest.mark.parametrize("format", ["png", "tiff", "webp", "avif", "bmp"])
@pytest.mark.parametrize("lossless", [True, False])
def test_alpha_is_untouched(format, lossless):
    alpha = values(48, 64)
    picture = Picture(smooth(), alpha, "png", encoding=Encoding(lossless=lossless))
    data = encode_image(picture, format)
    np.testing.assert_array_equal(np.asarray(opened(data))[..., 3], alpha)
    np.testing.assert_array_equal(read_image(data).alpha, alpha)


@row("alpha-grey")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_grey_with_alpha_stays_so(format, dtype):
    pixels, alpha = values(7, 9, dtype=dtype), values(7, 9, dtype=dtype, seed=1)
    picture = Picture(pixels, alpha, "tiff")
    data = encode_image(picture, format)
    again = read_image(data)
    if (format, dtype) != ("png", "float32"):
        np.testing.assert_array_equal(again.pixels, pixels)
        np.testing.assert_array_equal(again.alpha, alpha)
    assert again.pixels.ndim == 2
    if dtype == "uint8":
        assert opened(data).mode == "LA"
        np.testing.assert_array_equal(np.asarray(opened(data)), np.dstack([pixels, alpha]))


@row("alpha-colour-key")
@pytest.mark.parametrize(("depth", "dtype"), [(8, "uint8"), (16, "uint16")])
def test_a_transparent_colour_becomes_alpha(depth, dtype):
    top = np.iinfo(dtype).max
    rgb = values(5, 6, 3, dtype=dtype)
    key = chunk(b"tRNS", struct.pack(">3H", *map(int, rgb[2, 3])))
    data = png(rgb, 2, depth, key)
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, rgb)
    np.testing.assert_array_equal(picture.alpha, np.where((rgb == rgb[2, 3]).all(axis=2), 0, top))
    assert identify(data) == picture.info
    grey = rgb[..., 0].copy()
    data = png(grey, 0, depth, chunk(b"tRNS", struct.pack(">H", int(grey[1, 1]))))
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, grey)
    np.testing.assert_array_equal(picture.alpha, np.where(grey == grey[1, 1], 0, top))
    assert identify(data) == picture.info


@row("alpha-colour-key")
@pytest.mark.parametrize("grey", [False, True])
def test_transparent_palettes_become_alpha(grey):
    palette = np.repeat(values(16, 1), 3, axis=1) if grey else values(16, 3)
    indices, opacity = values(5, 6) % 16, values(16, seed=3)
    data = png(indices, 3, 8, chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", opacity.tobytes()))
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, palette[indices][..., 0] if grey else palette[indices])
    np.testing.assert_array_equal(picture.alpha, opacity[indices])
    assert identify(data) == picture.info


@row("alpha-colour-key")
def test_transparent_gif_gets_alpha():
    image = Image.fromarray(values(5, 6, 3)).quantize(8)
    index = image.getpixel((2, 1))
    picture = read_image(saved(image, "GIF", transparency=index))
    np.testing.assert_array_equal(picture.alpha == 0, np.asarray(image) == index)


@row("alpha-premultiplied")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_premultiplied_colours_come_back(dtype):
    alpha = values(30, 40, dtype=dtype)
    alpha[0, :5] = 0
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    straight = values(30, 40, 3, dtype=dtype, seed=1)
    multiplied = straight * (alpha[..., None] / top)
    multiplied = (multiplied if dtype == "float32" else np.rint(multiplied)).astype(dtype)
    data = tiff(np.dstack([multiplied, alpha]), photometric="rgb", extrasamples=["assocalpha"])
    picture = read_image(data)
    solid = alpha > top / 2
    np.testing.assert_allclose(picture.pixels[solid], straight[solid], atol=1.01 if top > 1 else 1e-5)
    out = encode_image(picture)
    with tifffile.TiffFile(io.BytesIO(out)) as file:
        stored = file.asarray()
        assert file.pages[0].extrasamples == (1,)
    np.testing.assert_array_equal(stored[..., 3], alpha)
    if dtype == "float32":
        np.testing.assert_allclose(stored[..., :3], multiplied, atol=1e-6)
    else:
        np.testing.assert_array_equal(stored[..., :3], multiplied)


@row("alpha-premultiplied")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("grey", [False, True])
def test_colours_brighter_than_their_alpha_are_told(dtype, grey):
    """Integers have no room for what they are without alpha; floats have, and colours under alpha 0 stay."""
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    alpha = np.full((6, 8), top // 2 if top > 1 else 0.5, dtype)
    alpha[5] = 0
    colours = np.zeros((6, 8, 1 if grey else 3), dtype)
    colours[...] = alpha[..., None]  # white
    colours[2, 1:4, -1] = top
    colours[5] = top
    kind = "minisblack" if grey else "rgb"
    picture = read_image(tiff(np.dstack([colours, alpha]), photometric=kind, extrasamples=["assocalpha"]))
    with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
        stored = file.asarray()[..., :-1]
    told = "3 pixels are brighter than their alpha allows; they were darkened to what it does."
    assert picture.notes == (() if dtype == "float32" else (told,))
    kept = colours.copy()
    if dtype != "float32":
        kept[2, 1:4, -1] = top // 2
    np.testing.assert_array_equal(stored, kept)


@row("alpha-hidden")
@pytest.mark.parametrize("format", ["png", "tiff", "webp"])
def test_hidden_colours_do_not_show_in_the_rest(format):
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 20:] = 255
    results = []
    for seed in (1, 2):
        pixels = np.where(alpha[..., None] > 0, smooth(), values(48, 64, 3, seed=seed))
        picture = read_image(encode_image(Picture(pixels, alpha, format, encoding=Encoding(lossless=True))))
        np.testing.assert_array_equal(picture.hidden(), alpha == 0)
        restored = Dehazer("dcp").restore(picture).image.pixels
        np.testing.assert_array_equal(restored[:, :20], pixels[:, :20])
        results.append(restored[:, 20:])
    np.testing.assert_array_equal(*results)
    assert (results[0] != smooth()[:, 20:]).any()


@row("alpha-unspecified")
def test_an_unspecified_channel_stays_one():
    stored = values(6, 7, 4)
    picture = read_image(tiff(stored, photometric="rgb", extrasamples=["unspecified"]))
    with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
        np.testing.assert_array_equal(file.asarray(), stored)
        assert file.pages[0].extrasamples == (0,)


@row("alpha-to-jpeg")
def test_transparency_is_refused_by_jpeg_unless_it_says_nothing():
    picture = Picture(smooth(), values(48, 64), "png")
    with pytest.raises(ImageEncodeError, match="choose PNG, TIFF or WebP"):
        encode_image(picture, "jpeg")
    opaque = replace(picture, alpha=np.full((48, 64), 255, np.uint8))
    assert encode_image(opaque, "jpeg") == encode_image(replace(picture, alpha=None), "jpeg")


# ------------------------------------------------------------------------------------------ orientation and metadata

CARRIERS = ["jpeg", "png", "tiff", "webp", "avif"]


def with_orientation(format, orientation, alpha):
    stored = np.dstack([smooth(), smooth()[..., 1]]) if alpha else smooth()
    exif = b"Exif\0\0" + exif_blob(orientation)
    if format == "tiff":
        return tiff(
            stored,
            photometric="rgb",
            extrasamples=["unassalpha"] if alpha else None,
            extratags=[(274, 3, 1, orientation, True)],
        ), stored
    options = {"webp": {"lossless": True, "exact": True}, "avif": {"quality": 100}, "jpeg": {"quality": 95}}
    return saved(stored, format.upper(), exif=exif, **options.get(format, {})), stored


@row("orientation")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "alpha"),
    [("jpeg", False), ("png", False), ("png", True), ("tiff", False), ("tiff", True), ("webp", True), ("avif", False)],
)
def test_orientation_is_applied_once(format, alpha, orientation):
    data, stored = with_orientation(format, orientation, alpha)
    carrier = Image.fromarray(stored)
    tag = Image.Exif()
    tag[0x0112] = orientation
    carrier.info["exif"] = tag.tobytes()
    upright = np.asarray(ImageOps.exif_transpose(carrier))
    picture = read_image(data)
    tolerance = 6 if format in ("jpeg", "avif") else 0
    assert picture.pixels.shape == upright[..., :3].shape
    assert np.abs(picture.pixels.astype(int) - upright[..., :3]).max() <= tolerance
    assert not alpha or np.array_equal(picture.alpha, upright[..., 3])
    assert identify(data) == picture.info
    again = opened(encode_image(picture))
    assert again.getexif().get(0x0112, 1) == 1
    assert again.size == (upright.shape[1], upright.shape[0])
    if format != "tiff":
        details = again.getexif().get_ifd(0x8769)
        assert (details[0xA002], details[0xA003]) == ((48, 64) if orientation >= 5 else (64, 48))


@row("orientation", "xmp")
@pytest.mark.parametrize("form", [b'tiff:Orientation="8"', b"<tiff:Orientation>8</tiff:Orientation>"])
def test_orientation_in_xmp_is_set_to_1(form):
    data = saved(smooth(), "JPEG", xmp=XMP.replace(b'tiff:Orientation="6"', form))
    assert read_image(data).metadata.xmp == XMP.replace(b'tiff:Orientation="6"', form.replace(b"8", b"1"))


@row("exif", "exif-maker-note", "xmp", "icc")
@pytest.mark.parametrize("target", CARRIERS)
@pytest.mark.parametrize("source", CARRIERS)
def test_exif_xmp_and_profile_travel_between_all_carriers(source, target):
    metadata = Metadata(exif=exif_blob(), xmp=XMP, icc=display_p3())
    first = encode_image(Picture(smooth(), None, source, metadata))
    data = round_trip(first, target)
    again = read_image(data)
    assert again.notes == ()
    assert exif_facts(again.metadata.exif) == exif_facts(exif_blob())
    assert again.metadata.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert again.metadata.icc == display_p3()
    # what other programs see
    image = opened(data)
    assert image.info["icc_profile"] == display_p3()
    assert image.getexif().get_ifd(0x8825)[2] == (48.0, 8.0, 15.5)
    assert image.getexif().get_ifd(0x8769)[0x829A] == 1 / 250
    assert b"tiff:Make" in (image.info.get("xmp") or image.info.get("XML:com.adobe.xmp", "").encode())
    if "tiff" not in (source, target):
        # AVIF keeps the orientation elsewhere, so the tag goes; nothing else moves
        before = read_image(first).metadata.exif
        assert again.metadata.exif == before or "avif" in (source, target)
        assert again.metadata.exif.find(b"maker note") == before.find(b"maker note") == exif_blob().find(b"maker note")


@row("exif")
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_16_bit_files_carry_metadata_too(format):
    metadata = Metadata(exif=exif_blob(), xmp=XMP, icc=display_p3(), dpi=(300.0, 300.0))
    data = encode_image(Picture(values(5, 6, 3, dtype="uint16"), None, format, metadata))
    again = read_image(data)
    assert again.pixels.dtype == np.uint16
    assert exif_facts(again.metadata.exif) == exif_facts(exif_blob())
    assert again.metadata.icc == display_p3()
    assert again.metadata.dpi == pytest.approx((300, 300), abs=0.01)


@row("exif")
def test_big_endian_exif_survives_tiff():
    big = Image.Exif()
    big.endian = ">"
    big.load(exif_blob())
    order = struct.pack(">2sHI", b"MM", 42, 8)
    blob = convert_to_big_endian(exif_blob())
    assert blob[:8] == order
    assert exif_facts(blob) == exif_facts(exif_blob())
    through = round_trip(encode_image(Picture(smooth(), None, "tiff", Metadata(exif=blob))), "jpeg")
    assert exif_facts(read_image(through).metadata.exif) == exif_facts(exif_blob())


def convert_to_big_endian(blob):
    """A big-endian writer that shares nothing with the code under test: Pillow's."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    exif = Image.Exif()
    exif.load(b"Exif\0\0" + blob)
    main = ImageFileDirectory_v2(b"MM\0*\0\0\0\x08")
    for tag, value in exif.items():
        main[tag] = value
    main[0x8769] = dict(exif.get_ifd(0x8769))
    main[0x8825] = dict(exif.get_ifd(0x8825))
    return b"MM\0*\0\0\0\x08" + main.tobytes(8)


@row("exif-thumbnail")
@pytest.mark.parametrize("at_end", [True, False])
def test_thumbnails_are_dropped(at_end):
    thumbnail = values(200, seed=9).tobytes()
    # one directory without entries, then one that points to the thumbnail
    offset = 8 + 6 + 2 + 24 + 4
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, offset, 514, 4, 1, len(thumbnail), 0)
    blob = b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + second + thumbnail + (b"" if at_end else b"behind")
    data = jpeg_with(saved(smooth(), "JPEG"), (0xE1, b"Exif\0\0" + blob))
    assert thumbnail[20:60] in data
    for format in ("jpeg", "png"):
        out = round_trip(data, format)
        assert thumbnail[20:60] not in out
        assert not opened(out).getexif().get_ifd(1)


@row("exif-thumbnail", "iptc")
def test_photoshop_thumbnail_goes_and_captions_stay():
    caption = b"8BIM" + struct.pack(">HHI", 1028, 0, 11) + b"\x1c\x02\x78\0\x06Autumn" + b"\0"
    thumb = b"8BIM" + struct.pack(">HHI", 1036, 0, 8) + b"JPEGDATA"
    data = jpeg_with(saved(smooth(), "JPEG"), (0xED, b"Photoshop 3.0\0" + thumb + caption))
    picture = read_image(data)
    assert picture.metadata.photoshop == caption
    for format in ("jpeg", "tiff", "png"):
        again = encode_image(picture, format)
        assert format == "png" or caption in again
        assert b"JPEGDATA" not in again
        assert read_image(again).metadata.photoshop == caption
        assert conversion_notes(picture, format) == ()
    for format in ("webp", "avif"):
        assert "IPTC" in conversion_notes(picture, format)[0]


@row("iptc")
def test_bare_iptc_of_a_tiff_is_kept():
    iptc = b"\x1c\x02\x78\0\x06Autumn"
    data = tiff(smooth(), photometric="rgb", extratags=[(33723, 7, len(iptc), iptc, True)])
    assert iptc in round_trip(data, "jpeg")
    assert iptc in round_trip(data, "tiff")


@row("exif-damaged")
@pytest.mark.parametrize("blob", [b"", b"garbage", b"II*\0\xff\xff\0\0", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40)])
def test_damaged_exif_is_dropped(blob):
    picture = read_image(jpeg_with(saved(smooth(), "JPEG"), (0xE1, b"Exif\0\0" + blob)))
    assert picture.metadata.exif is None
    assert picture.notes == (("The EXIF data is damaged and was dropped.",) if blob else ())


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 400), byte=st.integers(0, 255))
def test_exif_with_any_byte_changed_never_stops_the_picture(place, byte):
    blob = bytearray(exif_blob(6))
    blob[place % len(blob)] = byte
    data = jpeg_with(saved(smooth(8, 8), "JPEG"), (0xE1, b"Exif\0\0" + blob))
    picture = read_image(data)
    assert identify(data) == picture.info
    for format in CARRIERS[:3]:
        read_image(encode_image(picture, format))


@row("exif-too-large")
def test_exif_too_large_for_jpeg_is_dropped_with_a_note():
    exif = Image.Exif()
    exif[0x010E] = "x" * 5_000_000
    metadata = Metadata(exif=exif.tobytes().removeprefix(b"Exif\0\0"), xmp=XMP + b" " * 70000)
    picture = Picture(smooth(), None, "png", metadata)
    assert conversion_notes(picture, "jpeg") == (
        "The EXIF data is too large for a JPEG and was dropped.",
        "The XMP data is too large for a JPEG and was dropped.",
    )
    assert read_image(encode_image(picture, "jpeg")).metadata == Metadata()
    assert read_image(encode_image(picture, "png")).metadata.exif == metadata.exif


@row("icc")
def test_a_profile_of_several_jpeg_segments_is_whole():
    large = bytearray(display_p3())
    large += values(150_000).tobytes()
    large[:4] = struct.pack(">I", len(large))
    data = encode_image(Picture(smooth(), None, "jpeg", Metadata(icc=bytes(large))))
    assert opened(data).info["icc_profile"] == bytes(large)
    assert read_image(data).metadata.icc == bytes(large)


@row("dpi")
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff"])
def test_resolution_is_kept_and_turns_with_the_picture(format):
    picture = Picture(smooth(), None, format, Metadata(dpi=(300.0, 150.0)))
    data = encode_image(picture)
    assert opened(data).info["dpi"] == pytest.approx((300, 150), abs=0.02)
    assert read_image(data).metadata.dpi == pytest.approx((300, 150), abs=0.02)
    turned = read_image(saved(smooth(), "JPEG", dpi=(300, 150), exif=b"Exif\0\0" + exif_blob(6)))
    assert opened(encode_image(turned, format)).info["dpi"] == pytest.approx((150, 300), abs=0.02)


@row("text")
def test_texts_and_comments_are_kept_where_there_is_a_place():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "Fog over the bay")
    info.add_text("Author", "Zoë", zip=True)
    info.add_itxt("Description", "Туман 霧", zip=True)
    data = saved(smooth(), "PNG", pnginfo=info)
    picture = read_image(data)
    assert dict(picture.metadata.text) == {"Title": "Fog over the bay", "Author": "Zoë", "Description": "Туман 霧"}
    assert opened(encode_image(picture)).text == opened(data).text
    assert "texts were dropped" in conversion_notes(picture, "tiff")[0]
    assert "texts were dropped" in conversion_notes(picture, "jpeg")[0]
    assert "texts" in conversion_notes(picture, "webp")[0]
    comment = read_image(saved(smooth(), "JPEG", comment=b"By the sea"))
    assert opened(encode_image(comment)).info["comment"] == b"By the sea"
    assert opened(encode_image(comment, "png")).text == {"Comment": "By the sea"}


@row("exif")
def test_exif_as_imagemagick_stores_it_in_png_is_found():
    blob = b"Exif\0\0" + exif_blob(6)
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(blob):8}\n{blob.hex()}\n", zip=True)
    data = saved(smooth(), "PNG", pnginfo=info)
    picture = read_image(data)
    assert picture.pixels.shape == (64, 48, 3)
    assert identify(data) == picture.info
    assert exif_facts(picture.metadata.exif)["make"] == "Maker"
    assert picture.metadata.text == ()


@row("strip")
@pytest.mark.parametrize("format", CARRIERS)
def test_strip_leaves_only_the_profile_and_the_resolution(format):
    caption = b"8BIM\x04\x04\0\0\0\0\0\x02hi"
    full = Metadata(exif_blob(), XMP, display_p3(), caption, (72.0, 72.0), b"note", (("a", "b"),))
    data = encode_image(Picture(smooth(), None, "png", full), format, metadata="strip")
    again = read_image(data).metadata
    assert (again.exif, again.xmp, again.photoshop, again.comment, again.text) == (None, None, None, None, ())
    assert again.icc == display_p3()
    for trace in (b"Maker", b"note", b"2024:05:06"):
        assert trace not in data


@row("bmp-metadata")
def test_bmp_says_what_it_drops():
    picture = Picture(smooth(), None, "png", Metadata(exif=exif_blob(), icc=display_p3()))
    assert len(conversion_notes(picture, "bmp")) == 2
    assert b"Maker" not in encode_image(picture, "bmp")
    assert conversion_notes(Picture(smooth(), None, "png"), "bmp") == ()


@row("credentials")
def test_content_credentials_are_dropped():
    data = jpeg_with(saved(smooth(), "JPEG"), (0xEB, b"JP\0\x01\0\0\0\x01" + b"jumb" * 5))
    picture = read_image(data)
    assert picture.notes == ("The content credentials were dropped; they do not hold for changed pixels.",)
    assert b"jumb" not in encode_image(picture)


# ------------------------------------------------------------------------------------------------------------ colour


@row("icc-grey")
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "avif"])
def test_grey_profiles_stay_with_grey_pictures(format):
    data = encode_image(Picture(smooth(grey=True), None, "png", Metadata(icc=grey_profile())), format)
    assert read_image(data).metadata.icc == grey_profile()
    assert opened(data).info["icc_profile"] == grey_profile()


@row("icc-mismatch")
def test_profiles_of_another_kind_are_dropped():
    grey = read_image(saved(smooth(grey=True), "JPEG", icc_profile=profile()))
    colour = read_image(saved(smooth(), "PNG", icc_profile=grey_profile()))
    for picture in (grey, colour):
        assert picture.metadata.icc is None
        assert picture.notes == ("The embedded colour profile does not fit the kind of picture and was dropped.",)
    changed = Picture(smooth(grey=True), None, "png", Metadata(icc=display_p3()))
    assert "icc_profile" not in opened(encode_image(changed)).info
    changed = Picture(smooth(grey=True), None, "webp", Metadata(icc=grey_profile()))
    assert "icc_profile" not in opened(encode_image(changed)).info


@row("png-colour-chunks")
@pytest.mark.parametrize("depth", [8, 16])
def test_png_colour_chunks_are_kept(depth):
    corners = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)  # of Adobe RGB
    gamma, primaries = chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"cHRM", corners)
    pixels = values(5, 6, 3, dtype=f"uint{depth}")
    data = round_trip(png(pixels, 2, depth, gamma, primaries))
    kept = png_chunks(data)
    assert (b"gAMA", struct.pack(">I", 100000)) in kept
    assert (b"cHRM", corners) in kept
    np.testing.assert_array_equal(read_image(data).pixels, pixels)
    assert conversion_notes(read_image(data), "tiff") == ()
    said = ImageCms.ImageCmsProfile(io.BytesIO(read_image(encode_image(read_image(data), "tiff")).metadata.icc)).profile
    np.testing.assert_allclose(
        said.red_primary[1][:2], (0.64851, 0.33087), atol=2e-4
    )  # Adobe RGB (1998), adapted to D50
    np.testing.assert_allclose(said.green_primary[1][:2], (0.23007, 0.70157), atol=2e-4)
    usual = read_image(png(pixels, 2, depth, chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sRGB", b"\0")))
    assert conversion_notes(usual, "tiff") == ()


# ----------------------------------------------------------------------------------------------------- quality class


@row("jpeg-quality")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [25, 75, 92, 100])
def test_jpeg_keeps_its_quality_class(quality, subsampling, progressive):
    data = saved(smooth(), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    again = round_trip(data)
    before, after = opened(data), opened(again)
    assert after.quantization == before.quantization
    assert after.layer == before.layer
    assert bool(after.info.get("progressive")) == progressive
    assert len(again) == pytest.approx(len(data), rel=0.1)


@row("jpeg-quality")
def test_jpeg_with_three_tables_and_grey_jpeg_keep_them():
    tables = [[3 + i] * 64 for i in range(3)]
    data = saved(smooth(), "JPEG", qtables=tables, subsampling=0)
    assert opened(round_trip(data)).quantization == opened(data).quantization
    data = saved(smooth(grey=True), "JPEG", quality=60)
    assert opened(round_trip(data)).quantization == opened(data).quantization


@row("jpeg-quality-given")
def test_given_quality_overrides():
    data = saved(smooth(), "JPEG", quality=95, subsampling=1, progressive=True)
    after = opened(round_trip(data, quality=40))
    assert after.quantization == opened(saved(smooth(), "JPEG", quality=40)).quantization
    assert after.layer == opened(data).layer
    assert after.info.get("progressive")
    noise = Picture(values(64, 64, 3), None, "png")
    for format in ("webp", "avif"):
        assert len(encode_image(noise, format, quality=20)) < len(encode_image(noise, format, quality=90))


def test_noise_at_the_finest_jpeg_tables_fits_its_buffer():
    tables = ((1,) * 64,) * 3
    encoding = Encoding(jpeg_tables=tables, jpeg_subsampling="4:4:4", jpeg_progressive=True)
    data = encode_image(Picture(values(300, 300, 3), None, "jpeg", Metadata(icc=display_p3()), encoding))
    assert np.abs(read_image(data).pixels.astype(int) - values(300, 300, 3)).mean() < 2


@row("webp-lossless")
def test_lossless_webp_stays_lossless():
    pixels = values(20, 30, 3)
    data = saved(pixels, "WEBP", lossless=True)
    picture = read_image(data)
    assert picture.encoding.lossless is True
    again = encode_image(picture)
    np.testing.assert_array_equal(np.asarray(opened(again)), pixels)
    assert b"VP8L" in again
    assert b"VP8L" not in encode_image(picture, quality=80)
    lossy = read_image(saved(pixels, "WEBP", quality=80))
    assert lossy.encoding.lossless is False
    assert b"VP8L" not in encode_image(lossy)
    assert b"VP8L" not in encode_image(read_image(saved(pixels, "PNG")), "webp")


@row("tiff-compression")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", ["none", "deflate", "lzw", "zstd"])
def test_tiff_compression_is_kept(compression, dtype):
    if compression in ("lzw", "zstd"):
        pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    pixels = values(20, 30, 3, dtype=dtype)
    name = {"none": None, "deflate": "zlib"}.get(compression, compression)
    picture = read_image(tiff(pixels, photometric="rgb", compression=name))
    assert conversion_notes(picture) == ()
    with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
        np.testing.assert_array_equal(file.asarray(), pixels)
        assert int(file.pages[0].compression) == {"none": 1, "deflate": 8, "lzw": 5, "zstd": 50000}[compression]


@row("tiff-other-compression")
@pytest.mark.parametrize("compression", ["jpeg", "packbits"])
def test_other_tiff_compressions_are_read_and_become_deflate(compression):
    image = Image.fromarray(smooth())
    picture = read_image(saved(image, "TIFF", compression=compression))
    assert np.abs(picture.pixels.astype(int) - smooth()).mean() < 3
    assert "Deflate instead of" in conversion_notes(picture)[0]
    with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE


@row("tiff-compression", "white-is-zero", "orientation")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", ["grey", "white-is-zero", "rgb", "rgba", "premultiplied"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_lzw_is_read_like_an_uncompressed_file(orientation, kind, dtype):
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    channels = {"rgb": 3, "rgba": 4, "premultiplied": 4}.get(kind)
    pixels = values(9, 14, channels, dtype=dtype) if channels else values(9, 14, dtype=dtype)
    options = {
        "photometric": "rgb" if channels else {"grey": "minisblack"}.get(kind, "miniswhite"),
        "extrasamples": {"rgba": ["unassalpha"], "premultiplied": ["assocalpha"]}.get(kind),
        "extratags": [(274, 3, 1, orientation, True), (271, 2, None, "Maker", True)],
        "resolution": (300, 150),
        "resolutionunit": "inch",
    }
    if kind == "premultiplied":
        pixels[..., :3] = np.minimum(pixels[..., :3], pixels[..., 3:])
    plain, packed = (read_image(tiff(pixels, compression=c, **options)) for c in (None, "lzw"))
    np.testing.assert_array_equal(packed.pixels, plain.pixels)
    np.testing.assert_array_equal(packed.alpha, plain.alpha)
    assert packed.metadata == plain.metadata
    assert identify(tiff(pixels, compression="lzw", **options)) == packed.info


@row("bad-damaged")
def test_a_damaged_lzw_stream_does_not_end_the_process():
    """The LZW decoder of imagecodecs 2026.3.6 reads outside its buffer here and takes the interpreter with it."""
    code = """
import sys
import numpy as np
from unhaze.errors import ImageError
from unhaze.images.files import read_image
data = open(sys.argv[1], "rb").read()
rng = np.random.default_rng(0)
for _ in range(300):
    changed = bytearray(data)
    for place in rng.integers(8, 8 + 400, 4):
        changed[place] = rng.integers(256)
    try:
        read_image(bytes(changed))
    except ImageError:
        pass
print("alive")
"""
    with tempfile.NamedTemporaryFile(suffix=".tif") as file:
        file.write(FILES["tiff-lzw"])
        file.flush()
        done = subprocess.run([sys.executable, "-c", code, file.name], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "alive", done.stderr


WITHOUT_IMAGECODECS = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "imagecodecs":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocker())
import io, cv2, numpy as np
from unhaze.errors import UnsupportedImageError
from unhaze.images.files import Encoding, Picture, conversion_notes, encode_image, read_image
rng = np.random.default_rng(0)
for dtype in ("uint8", "uint16", "float32"):
    for shape in ((20, 30), (20, 30, 3), (20, 30, 4)):
        for compression in (5, 32773):
            pixels = (rng.random(shape) * (1 if dtype == "float32" else np.iinfo(dtype).max)).astype(dtype)
            stored = pixels if len(shape) == 2 else pixels[..., [2, 1, 0, 3][: shape[2]]]
            _, data = cv2.imencode(".tif", np.ascontiguousarray(stored), [cv2.IMWRITE_TIFF_COMPRESSION, compression])
            picture = read_image(data.tobytes())
            if len(shape) == 3 and shape[2] == 4:
                assert np.array_equal(picture.alpha, pixels[..., 3]), (dtype, shape)
                pixels = pixels[..., :3]
            assert np.array_equal(picture.pixels, pixels), (dtype, shape, compression)
            assert np.array_equal(read_image(encode_image(picture)).pixels, pixels)
            assert "Deflate instead of" in conversion_notes(picture)[0]
print("all read")
"""


@row("tiff-without-imagecodecs")
def test_lzw_is_read_without_imagecodecs():
    done = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_IMAGECODECS], capture_output=True, text=True)
    assert done.stdout.strip() == "all read", done.stderr


# ------------------------------------------------------------------------------------------------------ kinds of TIFF

IMAGECODECS = pytest.mark.skipif(find_spec("imagecodecs") is None, reason="imagecodecs is not installed")


def tiff_by_hand(entries, segments, order="<", below=(), big=False):
    """A TIFF of one directory: entries (tag, type, values), strips or tiles, and directories that tags point to.

    A value of ``"segments"`` stands for their places, ``"lengths"`` for their lengths, ``"below"`` for the place of
    the next directory of ``below``, each a list of entries.
    """
    codes = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 12: "d", 13: "I", 16: "Q", 18: "Q"}
    head, entry, inline, start = ("Q", "HHQ", 8, 16) if big else ("H", "HHI", 4, 8)
    pointer = "Q" if big else "I"
    body, places = bytearray(), []
    for segment in segments:
        places.append(start + len(body))
        body += segment + bytes(len(segment) % 2)
    below = list(below)

    def directory(rows):
        made = []
        for tag, kind, value in rows:
            if isinstance(value, str):
                if value == "below":
                    value = [directory(below.pop(0))]
                else:
                    value = places if value == "segments" else [len(s) for s in segments]
            number = len(value) if kind != 5 else len(value) // 2
            raw = value if kind == 2 else struct.pack(f"{order}{len(value)}{codes[kind]}", *value)
            if len(raw) > inline:
                place = start + len(body)
                body.extend(raw + bytes(len(raw) % 2))
                raw = struct.pack(order + pointer, place)
            made.append(struct.pack(order + entry, tag, kind, number) + raw.ljust(inline, b"\0"))
        place = start + len(body)
        body.extend(struct.pack(order + head, len(made)) + b"".join(made) + bytes(inline))
        return place

    first = directory(entries)
    mark = {"<": b"II", ">": b"MM"}[order]
    version = struct.pack(order + "HHHQ", 43, 8, 0, first) if big else struct.pack(order + "HI", 42, first)
    return mark + version + bytes(body)


def lines(pixels, compression=1, **more):
    """Entries for one strip of 8-bit grey or RGB, by tag; more of them by name."""
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    entries = {
        256: (3, [width]), 257: (3, [height]), 258: (3, [8] * samples), 259: (3, [compression]),
        262: (3, [2 if samples == 3 else 1]), 273: (4, "segments"), 277: (3, [samples]), 278: (3, [height]),
        279: (4, "lengths"),
    }  # fmt: skip
    entries |= {int(tag[1:]): value for tag, value in more.items()}
    return [(tag, *value) for tag, value in sorted(entries.items())]


@row("tiff-planes")
@pytest.mark.parametrize("compression", [None, "lzw", "packbits", "deflate", "zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("shape", "planes"), [((21, 30, 3), True), ((21, 30, 4), True), ((21, 30, 2), False)])
@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
@IMAGECODECS
def test_planes_are_read_whatever_the_compression(compression, dtype, shape, planes, tile):
    """OpenCV gives what lay in memory for many of these."""
    pixels = values(*shape, dtype=dtype)
    data = tiff(
        np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planes else pixels,
        photometric="rgb" if planes else "minisblack",
        planarconfig="separate" if planes else "contig",
        extrasamples=["unassalpha"] if shape[2] != 3 else None,
        compression=compression,
        predictor=dtype != "float32" and compression in ("lzw", "deflate", "zstd"),
        tile=tile,
        rowsperstrip=None if tile else 8,
    )
    picture = read_image(data)
    colours = pixels if shape[2] == 3 else pixels[..., :-1]
    np.testing.assert_array_equal(picture.pixels.reshape(colours.shape), colours)
    if shape[2] != 3:
        np.testing.assert_array_equal(picture.alpha, pixels[..., -1])
    assert identify(data) == picture.info


@row("tiff-predictor")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint16"])
@IMAGECODECS
def test_differences_along_rows_are_undone(dtype, order):
    pixels = np.cumsum(values(9, 40, 3, dtype="float32"), axis=1) / 40
    pixels = (pixels * 65535).astype("uint16") if dtype == "uint16" else pixels.astype(dtype)
    data = tiff(pixels, photometric="rgb", compression="deflate", predictor=True, byteorder=order, rowsperstrip=4)
    np.testing.assert_array_equal(read_image(data).pixels, pixels.astype("float32" if dtype != "uint16" else dtype))


@row("tiff-picture-codecs")
@pytest.mark.parametrize("compression", ["jpeg2000", "jpegxl", "webp", "lerc", "png"])
@IMAGECODECS
def test_compressions_of_pictures_are_read_with_imagecodecs(compression):
    pixels = smooth(32, 48)
    lossless = {"compressionargs": {"level": 100, "lossless": True}} if compression == "webp" else {}
    picture = read_image(tiff(pixels, photometric="rgb", compression=compression, tile=(32, 48), **lossless))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert "Deflate instead of" in conversion_notes(picture)[0]


@row("tiff-picture-codecs")
@IMAGECODECS
@pytest.mark.parametrize(("compression", "name"), [("jpeg2000", "JPEG 2000"), ("webp", "WebP"), ("lerc", "LERC")])
def test_compressions_of_pictures_are_named_without_imagecodecs(compression, name, monkeypatch, capfd):
    data = tiff(smooth(32, 48), photometric="rgb", compression=compression, tile=(32, 48))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UnsupportedImageError, match=rf"compressed with {name}, which is not read without imagecodecs"):
        read_image(data)
    assert capfd.readouterr() == ("", "")


@row("tiff-unread-compression")
@pytest.mark.parametrize(
    ("compression", "name"), [(4, "CCITT"), (6, "old JPEG"), (34661, "JBIG"), (34676, "SGI Log"), (777, "method 777")]
)
def test_compressions_that_are_not_read_are_named(compression, name, capfd):
    with pytest.raises(UnsupportedImageError, match=f"compressed with {name}, which is not read"):
        read_image(tiff_by_hand(lines(smooth(grey=True), compression), [b"\1" * 300]))
    assert capfd.readouterr() == ("", "")


@row("tiff-damaged-strip")
@pytest.mark.parametrize(
    ("compression", "damage"),
    [
        *((name, "zeros") for name in ("lzw", "packbits", "deflate", "zstd", "lzma", "jpeg", "jpeg2000", "png")),
        *((name, "half") for name in ("lzw", "packbits", "deflate", "lzma", "png")),  # others do not tell noise so
        *((name, "noise") for name in ("lzw", "deflate", "zstd", "lzma", "jpeg", "jpeg2000", "png")),
    ],
)
@IMAGECODECS
def test_a_damaged_strip_is_refused_and_nothing_reaches_the_terminal(compression, damage, capfd):
    data = bytearray(tiff(values(48, 64, 3), photometric="rgb", compression=compression, tile=(16, 64)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, length = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    part = slice(start, start + length) if damage != "half" else slice(start + length // 2, start + length)
    size = part.stop - part.start
    data[part] = values(size).tobytes() if damage == "noise" else bytes(size)
    with pytest.raises(ImageDecodeError, match=r"damaged: tile 2 of 3|truncated"):
        read_image(bytes(data))
    assert capfd.readouterr() == ("", "")


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=3000), st.integers(1, 40), st.integers(0, 10**6))
def test_lzw_gives_what_was_compressed_or_an_error(seed, repeat, place):
    """As the C decoder does where the data is sound, and never anything where it is not whole."""
    imagecodecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    plain = (seed * repeat)[:40_000]
    line = np.frombuffer(plain, np.uint8)[None]
    packed = imagecodecs.lzw_encode(plain)
    np.testing.assert_array_equal(read_image(tiff_by_hand(lines(line, 5), [packed])).pixels, line)
    with suppress(ImageDecodeError):  # what is cut off may have been the mark of the end only
        cut = tiff_by_hand(lines(line, 5), [packed[: place % len(packed)]])
        np.testing.assert_array_equal(read_image(cut).pixels, line)
    with pytest.raises(ImageDecodeError):
        read_image(tiff_by_hand(lines(line, 5), [packed[: len(packed) // 3]]))


def test_an_lzw_table_cleared_again_and_again_does_not_take_hours():
    clears = int("100000000" * 80_000, 2).to_bytes(90_000, "big")
    with pytest.raises(ImageDecodeError, match="strip 1 of 1 cannot be decoded"):
        read_image(tiff_by_hand(lines(smooth(grey=True), 5), [clears]))


def test_long_lzw_strings_are_joined():
    imagecodecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    flat = np.full((300, 1000), 7, np.uint8)
    flat[200:] = np.arange(1000) // 100
    data = tiff_by_hand(lines(flat, 5), [imagecodecs.lzw_encode(flat.tobytes())])
    np.testing.assert_array_equal(read_image(data).pixels, flat)


@row("tiff-contradiction")
@pytest.mark.parametrize("tag", [256, 257, 258, 259, 277, 273, 322])
def test_two_entries_of_one_kind_are_refused(tag):
    """Identified as one pixel, 20,000 x 20,000 for a decoder that takes the other entry."""
    pixels = smooth(grey=True)
    entries = lines(pixels)
    kind, value = next(((kind, value) for number, kind, value in entries if number == tag), (3, [16]))
    entries = sorted([*entries, (tag, kind, value), *([(322, 3, [16])] if tag == 322 else [])], key=lambda e: e[0])
    data = tiff_by_hand(entries, [pixels.tobytes()])
    for look in (identify, read_image):
        with pytest.raises(ImageDecodeError, match="contradicts itself"):
            look(data)


@pytest.mark.parametrize("format", ["tiff", "png", "jpeg", "webp", "avif", "bmp"])
def test_what_was_identified_is_what_is_decoded(format, monkeypatch):
    data = encode_image(Picture(smooth(), None, format), format)
    codec = images._codec(format)
    honest = codec.identify
    monkeypatch.setattr(codec, "identify", lambda source: replace(honest(source), width=20, height=30))
    with pytest.raises(ImageDecodeError, match="its header says 20 x 30 uint8 x 3, its contents are 64 x 48"):
        read_image(data)


@row("tiff-exif-pointer")
@pytest.mark.parametrize(("big", "kind"), [(False, 4), (False, 13), (True, 13), (True, 16), (True, 18)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pointers_to_exif_and_gps_are_followed(kind, big, order):
    if kind == 13 and big and order == ">":
        pytest.skip("a pointer of 4 bytes; enough in one order")
    pixels = smooth()
    exif = [(36867, 2, b"2026:05:01 10:11:12\0")]
    gps = [(1, 2, b"N\0"), (2, 5, [46, 1, 57, 1, 12, 1])]
    entries = lines(pixels, _271=(2, b"Maker\0"), _34665=(kind, "below"), _34853=(kind, "below"))
    picture = read_image(tiff_by_hand(entries, [pixels.tobytes()], order, [exif, gps], big))
    for carrier in ("tiff", "jpeg"):
        written = Image.open(io.BytesIO(encode_image(picture, carrier))).getexif()
        assert written[271] == "Maker"
        assert written.get_ifd(34665)[36867] == "2026:05:01 10:11:12"
        assert written.get_ifd(34853)[2] == (46.0, 57.0, 12.0)


@row("tiff-exif-pointer")
def test_a_pointer_to_nothing_costs_only_what_it_points_to():
    pixels = smooth()
    entries = lines(pixels, _271=(2, b"Maker\0"), _34665=(4, [10**6]), _34853=(4, "below"))
    picture = read_image(tiff_by_hand(entries, [pixels.tobytes()], below=[[(1, 2, b"N\0")]]))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.notes == ("The EXIF data is damaged and was dropped.",)
    written = Image.open(io.BytesIO(encode_image(picture))).getexif()
    assert (written[271], written.get_ifd(34853)[1]) == ("Maker", "N")


@row("tiff-largest-below")
def test_the_picture_below_its_thumbnail_is_taken():
    pixels = smooth()
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        options = {"photometric": "rgb", "metadata": None, "software": False}
        tags = [(271, 2, None, "Maker", True), (274, 3, 1, 6, True)]
        writer.write(pixels[::4, ::4], subifds=2, subfiletype=1, extratags=tags, **options)
        writer.write(pixels, **options)
        writer.write(pixels[::2, ::2], subfiletype=1, **options)
    picture = read_image(file.getvalue())
    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels, -1))
    assert identify(file.getvalue()) == picture.info
    assert "lies below a smaller copy" in picture.notes[0]
    assert Image.open(io.BytesIO(encode_image(picture))).getexif()[271] == "Maker"


@row("tiff-largest-below")
def test_two_large_pictures_below_a_thumbnail_are_refused():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(smooth()[::4, ::4], photometric="rgb", subifds=2, subfiletype=1, metadata=None)
        for _ in range(2):
            writer.write(smooth(), photometric="rgb", metadata=None)
    with pytest.raises(UnsupportedImageError, match="several pictures below"):
        read_image(file.getvalue())


GEO = [
    (33550, 12, 3, (10.0, 10.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 5.2e6, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32632), True),
]


@row("geo")
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"bigtiff": True}])
def test_georeference_and_nodata_are_kept(layout):
    tags = [*GEO, (42112, 2, None, '<GDALMetadata><Item name="SENSOR">P4</Item></GDALMetadata>', True),
            (42113, 2, None, "0", True)]  # fmt: skip
    pixels = values(30, 40, 3, dtype="uint16") | 1
    pixels[:5] = 0
    picture = read_image(tiff(pixels, photometric="rgb", extratags=tags, **layout))
    assert picture.encoding.nodata == 0
    hidden = np.zeros((30, 40), bool)
    hidden[:5] = True
    np.testing.assert_array_equal(picture.hidden(), hidden)
    with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
        written = {tag.code: tag.value for tag in file.pages[0].tags}
    for code, _, _, value, _ in tags:
        assert written[code] == value


@row("geo-mask")
@IMAGECODECS
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_mask_on_a_page_of_its_own_becomes_alpha(dtype):
    shown = np.zeros((48, 64), bool)
    shown[10:, 5:] = True
    pixels = smooth().astype(dtype)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pixels, photometric="rgb", metadata=None, extratags=[(274, 3, 1, 3, True)])
        writer.write(shown, photometric="mask", subfiletype=4, metadata=None)
        writer.write(pixels[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    picture = read_image(file.getvalue())
    np.testing.assert_array_equal(picture.alpha, np.rot90(shown, 2) * np.iinfo(dtype).max)
    np.testing.assert_array_equal(picture.hidden(), ~np.rot90(shown, 2))
    assert identify(file.getvalue()) == picture.info
    assert "The transparency mask on a page of its own became an alpha channel." in picture.notes
    np.testing.assert_array_equal(read_image(encode_image(picture)).alpha, picture.alpha)


@row("geo-sparse")
def test_tiles_that_are_not_stored_hold_nodata():
    pixels = values(16, 32, seed=3) | 1
    tags = {"_322": (3, [16]), "_323": (3, [16]), "_324": (4, "segments"), "_325": (4, "lengths")}
    entries = [e for e in lines(pixels, **tags, _42113=(2, b"9\0")) if e[0] not in (273, 278, 279)]
    whole = tiff_by_hand(entries, [pixels[:, :16].tobytes(), pixels[:, 16:].tobytes()])
    np.testing.assert_array_equal(read_image(whole).pixels, pixels)
    one = [(tag, kind, {324: [8, 0], 325: [256, 0]}.get(tag, value)) for tag, kind, value in entries]
    picture = read_image(tiff_by_hand(one, [pixels[:, :16].tobytes()]))
    np.testing.assert_array_equal(picture.pixels, np.hstack([pixels[:, :16], np.full((16, 16), 9, np.uint8)]))


@row("geo-near-infrared")
def test_a_fourth_channel_that_is_no_alpha_hides_nothing():
    stored = values(6, 7, 4, dtype="uint16")
    stored[2:, :, 3] = 0
    picture = read_image(tiff(stored, photometric="rgb", extrasamples=["unspecified"]))
    assert picture.hidden() is None
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(encode_image(picture))), stored)


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("grey", [False, True])
@IMAGECODECS
def test_jpeg_tiles_are_the_colours_that_the_directory_names(photometric, grey):
    pixels = smooth(grey=grey)
    kind = "minisblack" if grey else photometric
    stored = np.array(Image.fromarray(pixels).convert("YCbCr")) if kind == "ycbcr" else pixels
    data = tiff(stored, photometric=kind, compression="jpeg", compressionargs={"level": 98}, tile=(16, 32),
                subsampling=None if grey else (1, 1))  # fmt: skip
    picture = read_image(data)
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 2
    assert identify(data) == picture.info


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (2, 2), (4, 2)])
def test_ycbcr_with_shared_chroma_is_read(across, down):
    pixels = cv2.resize(smooth(), (64, 48))
    y, cb, cr = (np.asarray(plane) for plane in Image.fromarray(pixels).convert("YCbCr").split())
    rows, columns = 48 // down, 64 // across
    luma = y.reshape(rows, down, columns, across).swapaxes(1, 2).reshape(rows, columns, -1)
    chroma = [plane.reshape(rows, down, columns, across).mean(axis=(1, 3)).round()[..., None] for plane in (cb, cr)]
    blocks = np.concatenate([luma, *chroma], axis=2).astype(np.uint8)
    entries = lines(pixels, _262=(3, [6]), _530=(3, [across, down]))
    picture = read_image(tiff_by_hand(entries, [blocks.tobytes()]))
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 4


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_bits_from_the_low_end_of_a_byte_are_read(bits):
    levels = values(5, 16) >> (8 - bits)
    packed = np.packbits(np.unpackbits(levels[..., None], axis=2)[..., -bits:].reshape(5, -1), axis=1)
    turned = np.packbits(np.unpackbits(packed[..., None], axis=2)[..., ::-1], axis=2)[..., 0]
    for order, stored in ((1, packed), (2, turned)):
        entries = lines(levels, _258=(3, [bits]), _266=(3, [order]))
        picture = read_image(tiff_by_hand(entries, [stored.tobytes()]))
        np.testing.assert_array_equal(picture.pixels, levels * (255 // (2**bits - 1)))


@pytest.mark.parametrize(
    ("entries", "segment", "sentence"),
    [
        ({"_322": (4, [2**31]), "_323": (4, [2**31]), "_324": (4, "segments"), "_325": (4, "lengths")}, b"", "parts"),
        ({"_278": (4, [0])}, b"\0" * 3072, "parts are said to have"),
        ({"_258": (3, [8, 8, 16]), "_277": (3, [3]), "_262": (3, [2])}, b"\0" * 9999, "several kinds"),
    ],
)
def test_absurd_directories_are_refused(entries, segment, sentence):
    with pytest.raises(ImageError, match=sentence):
        read_image(tiff_by_hand(lines(smooth(grey=True), **entries), [segment]))


# -------------------------------------------------------------------------------------------------------- white level


@row("white-level")
@pytest.mark.parametrize("format", ["tiff", "png"])
@pytest.mark.parametrize(("top", "white"), [(1769, 2047), (3800, 4095), (9000, 10000), (16000, 16383), (40000, None)])
def test_the_white_of_16_bit_pictures_is_found(format, top, white):
    ramp = np.linspace(0, top, 60 * 80 * 3).astype(np.uint16).reshape(60, 80, 3)
    ramp[7, 9] = 65535  # a hot pixel
    data = tiff(ramp, photometric="rgb") if format == "tiff" else png(ramp, 2, 16)
    picture = read_image(data)
    assert picture.white == white
    np.testing.assert_array_equal(read_image(encode_image(picture)).pixels, ramp)
    eight = read_image(encode_image(picture, "bmp")).pixels
    assert eight[7, 9].tolist() == [255, 255, 255]
    eight[7, 9] = ramp[7, 9] = 0
    np.testing.assert_allclose(eight, ramp * (255 / (white or 65535)), atol=0.51)


@row("white-level")
def test_floats_are_scaled_to_their_white_where_they_lose_their_type():
    ramp = np.linspace(0, 230, 60 * 80 * 3).astype(np.float32).reshape(60, 80, 3)
    picture = read_image(tiff(ramp, photometric="rgb"))
    assert picture.white == 255
    np.testing.assert_allclose(read_image(encode_image(picture, "png")).pixels / 257, ramp, atol=0.01)
    assert "clipped to [0, 255]" in conversion_notes(picture, "png")[0]


def test_nan_becomes_black_where_the_format_has_no_nan():
    pixels = values(6, 7, dtype="float32")
    pixels[2, 3] = np.nan
    picture = read_image(tiff(pixels, photometric="minisblack"))
    for format in ("png", "bmp"):
        assert read_image(encode_image(picture, format)).pixels[2, 3] == 0


# ----------------------------------------------------------------------------------------- several pictures in a file


@row("mpo")
def test_the_first_picture_of_an_mpo_is_kept():
    second = Image.fromarray(smooth()[::-1].copy())
    data = saved(Image.fromarray(smooth()), "MPO", save_all=True, append_images=[second], quality=95)
    picture = read_image(data)
    assert np.abs(picture.pixels.astype(int) - smooth()).mean() < 2
    assert picture.notes == ("Only the first picture of the multi-picture file was kept.",)
    assert len(encode_image(picture)) < 0.7 * len(data)


@row("gain-map")
def test_the_gain_map_of_an_ultra_hdr_jpeg_is_dropped():
    xmp = b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
    base = jpeg_with(saved(smooth(), "JPEG", xmp=xmp), (0xE2, b"MPF\0II*\0\x08\0\0\0\0\0"))
    picture = read_image(base + saved(smooth(12, 16, grey=True), "JPEG"))
    assert picture.notes == ("The HDR gain map was dropped; the picture is kept in its standard range.",)
    again = encode_image(picture)
    assert b"hdrgm:Version" not in again
    assert b"MPF\0" not in again
    assert len(re.findall(rb"\xff\xd8\xff", again)) == 1


@row("motion-photo")
def test_the_video_of_a_motion_photo_is_dropped():
    video = b"\0\0\0\x18ftypmp42" + bytes(200)
    picture = read_image(saved(smooth(), "JPEG") + video)
    assert picture.notes == ("The video of the motion photo was dropped.",)
    assert b"ftypmp42" not in encode_image(picture)


@row("animation")
@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_are_refused(format):
    frames = [Image.fromarray(values(8, 9, 3, seed=i)) for i in range(3)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(UnsupportedImageError, match="animated"):
        read_image(data)


@row("animation")
@pytest.mark.parametrize("format", ["GIF", "PNG"])
def test_an_animation_of_one_frame_is_a_picture(format):
    data = saved(Image.fromarray(values(8, 9, 3)).quantize(), format, save_all=True)
    assert read_image(data).pixels.shape == (8, 9, 3)


@row("tiff-pages")
def test_tiffs_with_several_pages_are_refused():
    pages = [Image.fromarray(values(8, 9, 3, seed=i)) for i in range(3)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(UnsupportedImageError, match="holds 3 pictures"):
        read_image(data)
    with pytest.raises(UnsupportedImageError, match="holds 4 pictures"):
        read_image(tiff(values(4, 8, 9), imagej=True, metadata={}))


@row("tiff-thumbnails")
@pytest.mark.parametrize("first", [True, False])
def test_reduced_copies_in_a_tiff_are_dropped(first):
    file = io.BytesIO()
    full, small = values(32, 40, 3), values(8, 10, 3)
    with tifffile.TiffWriter(file) as writer:
        if first:
            writer.write(small, photometric="rgb", subfiletype=1, metadata=None)
        writer.write(full, photometric="rgb", metadata=None)
        if not first:
            writer.write(small, photometric="rgb", subfiletype=1, metadata=None)
    picture = read_image(file.getvalue())
    np.testing.assert_array_equal(picture.pixels, full)
    assert identify(file.getvalue()) == picture.info
    assert picture.notes == ("The reduced-size copies of the picture were dropped.",)


@row("tiff-thumbnails")
def test_pyramid_levels_below_the_page_are_dropped():
    file = io.BytesIO()
    full = values(64, 64, 3)
    with tifffile.TiffWriter(file) as writer:
        writer.write(full, photometric="rgb", subifds=1, metadata=None)
        writer.write(full[::2, ::2].copy(), photometric="rgb", subfiletype=1, metadata=None)
    picture = read_image(file.getvalue())
    np.testing.assert_array_equal(picture.pixels, full)
    assert picture.notes == ("The reduced-size copies of the picture were dropped.",)


# --------------------------------------------------------------------------------------------------------- bad input


def whole_files():
    rgb, rgba = smooth(), np.dstack([smooth(), smooth()[..., 0]])
    metadata = Metadata(exif=exif_blob(), xmp=XMP, icc=display_p3())
    sixteen = Picture(values(40, 50, 3, dtype="uint16"), None, "png", metadata)
    return {
        "jpeg": saved(rgb, "JPEG", exif=b"Exif\0\0" + exif_blob()),
        "jpeg-progressive": saved(rgb, "JPEG", progressive=True),
        "png": saved(rgba, "PNG"),
        "png-palette": saved(Image.fromarray(rgb).quantize(9), "PNG"),
        "png-16": encode_image(sixteen),
        "tiff": tiff(rgb, photometric="rgb"),
        "tiff-deflate": tiff(values(40, 50, 3, dtype="uint16"), photometric="rgb", compression="zlib", rowsperstrip=8),
        "tiff-lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-metadata": encode_image(sixteen, "tiff"),
        "webp": saved(rgb, "WEBP"),
        "webp-lossless": saved(rgba, "WEBP", lossless=True, exif=b"Exif\0\0" + exif_blob()),
        "avif": saved(rgb, "AVIF"),
        "bmp": saved(rgb, "BMP"),
        "gif": saved(Image.fromarray(rgb).quantize(9), "GIF"),
        "ppm": saved(rgb, "PPM"),
    }


FILES = whole_files()


@row("bad-truncated")
@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
def test_files_cut_off_anywhere_are_refused(name, share, capfd):
    data = FILES[name][: max(int(len(FILES[name]) * share), 20)]
    with pytest.raises(ImageDecodeError, match=r"truncated|damaged"):
        read_image(data)
    assert capfd.readouterr().out == ""


@row("bad-truncated")
@pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "png", "png-16", "tiff", "webp", "bmp", "ppm"])
def test_a_missing_last_byte_is_noticed(name):
    with pytest.raises(ImageDecodeError, match="truncated"):
        read_image(FILES[name][: -2 if name.startswith("webp") else -1])


@row("bad-damaged")
@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_wrong_bytes_never_crash(name, edits):
    data = bytearray(FILES[name])
    for place, byte in edits:
        data[int(place * len(data))] = byte
    for function in (identify, lambda content: read_image(content, max_pixels=10**7)):
        with suppress(ImageError, MissingDependencyError):
            function(bytes(data))


@row("bad-damaged")
@pytest.mark.parametrize("tag", [273, 279])
@pytest.mark.parametrize("fault", ["zero", "fewer"])
def test_a_tiff_with_missing_strips_is_refused(tag, fault):
    data = bytearray(tiff(values(40, 50, dtype="uint16"), photometric="minisblack", compression="zlib", rowsperstrip=8))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        entry = file.pages[0].tags[tag]
        assert entry.count == 5
        place, start = entry.valueoffset, entry.offset
    if fault == "zero":
        data[place + 4 : place + 8] = bytes(4)
    else:
        data[start + 4 : start + 8] = struct.pack("<I", 3)
    with pytest.raises(ImageDecodeError, match="parts of the picture are missing"):
        read_image(bytes(data))


@row("bad-damaged")
def test_a_wrong_checksum_is_noticed():
    data = bytearray(FILES["png-16"])
    place = data.find(b"IDAT") + 400
    data[place] ^= 1
    with pytest.raises(ImageDecodeError, match="checksum"):
        read_image(bytes(data))


@row("bad-empty", "bad-text")
def test_empty_files_and_texts_are_refused(tmp_path):
    path = tmp_path / "photo.jpg"
    texts = (b"", "is empty"), (b"Dear diary,\nit was foggy.\n", "not a picture"), (b"x", "not a picture")
    for content, message in texts:
        path.write_bytes(content)
        for function in (identify, read_image):
            with pytest.raises(ImageDecodeError, match=rf"photo\.jpg.*{message}"):
                function(path)


@row("bad-size")
def test_headers_without_pixels_are_refused():
    jpeg = bytearray(FILES["jpeg"])
    frame = jpeg.find(b"\xff\xc0")
    jpeg[frame + 5 : frame + 7] = b"\0\0"
    empty_png = png(values(1, 1, 3), 2, 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0))
    for data in (bytes(jpeg), empty_png[:8] + header + empty_png[8 + len(header) :], b"P6 0 5 255\n"):
        for function in (identify, read_image):
            with pytest.raises(ImageDecodeError, match="damaged"):
                function(data)


@row("bad-bomb")
@pytest.mark.parametrize("name", sorted(FILES))
def test_the_limit_is_checked_before_decoding(name):
    info = identify(FILES[name])
    with pytest.raises(ImageTooLargeError, match=f"more than the limit of {info.pixels - 1}"):
        read_image(FILES[name], max_pixels=info.pixels - 1)
    assert read_image(FILES[name], max_pixels=info.pixels).info.pixels == info.pixels
    assert read_image(FILES[name], max_pixels=None).info.pixels == info.pixels


@row("bad-bomb")
def test_a_bomb_is_refused_fast_and_small():
    made = png(values(1, 1), 0, 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0))
    with pytest.raises(ImageTooLargeError, match="200000 x 200000"):
        read_image(made[:8] + header + made[8 + len(header) :])


@row("bad-bomb")
@pytest.mark.parametrize("name", sorted(FILES))
def test_the_limit_of_pillow_plays_no_part(name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture = read_image(FILES[name])
    assert identify(FILES[name]) == picture.info
    for format in WRITE_FORMATS:
        if format != "jpeg" or picture.alpha is None:
            encode_image(picture, format)
    assert Image.MAX_IMAGE_PIXELS == 100


@row("bad-missing")
def test_files_that_cannot_be_opened_are_refused(tmp_path, monkeypatch):
    for function in (identify, read_image):
        with pytest.raises(ImageDecodeError, match="does not exist"):
            function(tmp_path / "none.jpg")
        with pytest.raises(ImageDecodeError, match="is a folder"):
            function(tmp_path)
    path = tmp_path / "photo.jpg"
    path.write_bytes(FILES["jpeg"])

    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # root may read everything, so the mode of the file would not do
    with pytest.raises(ImageDecodeError, match="permission denied"):
        read_image(path)


@row("bad-kind")
def test_rare_jpegs_are_refused():
    data = bytearray(FILES["jpeg"])
    frame = data.find(b"\xff\xc0")
    twelve, lossless, two = bytearray(data), bytearray(data), bytearray(data)
    twelve[frame + 4] = 12
    lossless[frame + 1] = 0xC3
    two[frame + 9] = 2
    for changed in (twelve, lossless, two):
        for function in (identify, read_image):
            with pytest.raises(UnsupportedImageError, match="convert it to PNG or TIFF"):
                function(bytes(changed))


# ------------------------------------------------------------------------------------------------------------ output


@row("out-atomic")
@pytest.mark.parametrize("format", sorted(WRITE_FORMATS))
def test_writing_leaves_one_file(tmp_path, format):
    path = tmp_path / f"out{WRITE_FORMATS[format]}"
    picture = Picture(smooth(), None, "png")
    assert write_image(picture, path) == path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == encode_image(picture, format)
    np.testing.assert_array_equal(read_image(str(path)).pixels, read_image(path.read_bytes()).pixels)


@row("out-exists")
def test_existing_outputs_are_replaced_only_on_demand(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"precious")
    picture = Picture(smooth(), None, "png")
    with pytest.raises(OutputError, match="exists already"):
        write_image(picture, path)
    assert path.read_bytes() == b"precious"
    write_image(picture, path, overwrite=True)
    np.testing.assert_array_equal(read_image(path).pixels, smooth())
    assert len(list(tmp_path.iterdir())) == 1


@row("out-full")
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"precious")

    def fill(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OutputError, match="no space left"):
        write_image(Picture(smooth(), None, "png"), path, overwrite=True)
    assert path.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


@row("out-read-only")
def test_folders_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    picture = Picture(smooth(), None, "png")
    with pytest.raises(OutputError, match="does not exist"):
        write_image(picture, tmp_path / "none" / "out.png")
    (tmp_path / "out.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_image(picture, tmp_path / "out.png", overwrite=True)
    for number, message in ((errno.EACCES, "may not write"), (errno.EROFS, "read-only")):

        def refuse(*_args, number=number, **_options):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            with pytest.raises(OutputError, match=message):
                write_image(picture, tmp_path / "other.png")


@row("out-too-long")
@pytest.mark.parametrize(("format", "limit"), [("jpeg", 65535), ("webp", 16383), ("avif", 65535)])
def test_sides_beyond_a_format_are_refused(format, limit):
    with pytest.raises(ImageEncodeError, match=str(limit)):
        encode_image(Picture(np.zeros((1, limit + 1, 3), np.uint8), None, "png"), format)


@row("out-arrays")
def test_arguments_without_meaning_are_refused():
    good = Picture(smooth(), None, "png")
    for quality in (0, 101, -5):
        with pytest.raises(UsageError, match="between 1 and 100"):
            encode_image(good, "jpeg", quality=quality)
    with pytest.raises(UnknownNameError, match="jpeg"):
        encode_image(good, "jpag")
    with pytest.raises(UsageError, match="'keep' or 'strip'"):
        encode_image(good, metadata="drop")
    for pixels in (np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5), np.float64), np.zeros((0, 5), np.uint8)):
        with pytest.raises(ImageValueError):
            encode_image(Picture(pixels, None, "png"))
    for alpha in (np.zeros((4, 5), np.uint8), np.zeros((48, 64), np.uint16)):
        with pytest.raises(ImageValueError, match="Alpha"):
            encode_image(Picture(smooth(), alpha, "png"))


# ------------------------------------------------------------------------------------------------------------- other


def test_info_counts_pixels_and_bytes():
    info = ImageInfo("png", 30, 20, 3, True, "uint16")
    assert info.pixels == 600
    assert info.nbytes == 600 * 4 * 2
    assert Picture(values(20, 30, 3, dtype="uint16"), values(20, 30, dtype="uint16"), "png").info == info


def test_identify_decodes_no_pixel(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    monkeypatch.setattr(Image.Image, "load", refuse)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    for data in FILES.values():
        assert identify(data).pixels > 0


def test_identify_reads_little_of_a_large_jpeg(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(FILES["jpeg"] + bytes(5_000_000))
    read = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            read.append(len(data))
            return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: Counting(self, mode))
        assert identify(path).width == 64
    assert sum(read) < 100_000


def test_paths_and_bytes_like_objects_are_read_alike(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(FILES["png"])
    for source in (path, str(path), FILES["png"], bytearray(FILES["png"]), memoryview(FILES["png"])):
        assert read_image(source).pixels.shape == (48, 64, 3)


def test_encoding_is_deterministic():
    picture = Picture(smooth(), None, "png", Metadata(exif=exif_blob(), xmp=XMP, icc=display_p3()))
    for format in WRITE_FORMATS:
        assert encode_image(picture, format) == encode_image(picture, format)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read the peak memory")
def test_100_megapixels_stay_within_a_gigabyte(tmp_path):
    code = """
import sys
from pathlib import Path
import numpy as np
from unhaze.images.files import Picture, read_image, write_image
if sys.argv[1] == "write":
    line = np.linspace(0, 255, 12000).astype(np.uint8)
    write_image(Picture(np.broadcast_to(line[None, :, None], (8500, 12000, 3)).copy(), None, "jpeg"), sys.argv[2])
else:
    write_image(read_image(sys.argv[2]), sys.argv[2] + ".jpg")
# getrusage would count what the parent held when it started this process
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""
    path = tmp_path / "large.jpg"
    for action in ("write", "read"):
        command = [sys.executable, "-c", code, action, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) < 1100  # MB: 306 of pixels, 408 in Pillow, the interpreter and libraries


def test_module_says_what_it_exports():
    assert all(hasattr(images, name) for name in images.__all__)
