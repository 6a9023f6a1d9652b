"""Small picture files laid out by hand, so that no writer decides what is in them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

SHORT, LONG, ASCII, RATIONAL, UNDEFINED, POINTER = 3, 4, 2, 5, 7, 13


def row(*names):
    """Say which rows of docs/image-contract.md a test carries out; test_images.py looks for these lines."""
    assert names
    return lambda test: test


def scene(height=48, width=64, channels=3):
    """A smooth picture that lossy formats keep nearly as it is; grey for 0 channels."""
    y, x = np.mgrid[0:height, 0:width]
    planes = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=-1).astype(np.uint8)
    return planes[..., 0] if channels == 0 else planes[..., :channels]


def noise(*shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def saved(image, format, **options):
    """What Pillow writes."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


def opened(data):
    """The same picture through Pillow."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(*segments, pixels=None, **options):
    """A JPEG with segments (marker, content) behind its JFIF header."""
    data = saved(scene() if pixels is None else pixels, "JPEG", **{"quality": 90, **options})
    return data[:20] + b"".join(segment(*pair) for pair in segments) + data[20:]


def jpeg_segments(data):
    """Marker and content of the segments before the first scan."""
    found, position = [], 2
    while data[position + 1] != 0xDA:
        marker, length = struct.unpack_from(">xBH", data, position)
        found.append((marker, data[position + 4 : position + 2 + length]))
        position += 2 + length
    return found


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(pixels=None, *chunks, kind=None, depth=None, behind=()):
    """A PNG with chunks before and behind its pixels; rows may be packed already (then give kind and depth)."""
    pixels = scene() if pixels is None else pixels
    height, width = pixels.shape[:2]
    kind = {2: 0, 3: 2}[pixels.ndim] if kind is None else kind
    depth = 8 * pixels.itemsize if depth is None else depth
    if depth < 8:
        bits = (pixels[..., None] >> np.arange(depth - 1, -1, -1, dtype=np.uint8)) & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    else:
        rows = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    end = b"".join(behind) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", data) + end


def png_chunks(data):
    """Name and content of all chunks."""
    position, found = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def directory(entries, start, order="<", following=0):
    """A directory as it stands at an offset: entries (tag, type, count, value), values too long for it behind it."""
    table = struct.pack(order + "H", len(entries))
    values, place = b"", start + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        table += struct.pack(order + "HHI", tag, kind, count)
        if isinstance(value, int):
            table += struct.pack(order + ("I" if kind in (LONG, POINTER) else "Hxx"), value)
        elif len(value) <= 4:
            table += value.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", place + len(values))
            values += value + b"\0" * (len(value) % 2)
    return table + struct.pack(order + "I", following) + values


def exif(orientation=6, order="<", pointer=LONG, orientation_type=SHORT, more=()):
    """EXIF data with a make, an orientation, a date and a latitude."""
    latitude = struct.pack(order + "6I", 46, 1, 57, 1, 1234, 100)
    details = [(36867, ASCII, 20, b"2026:05:01 10:11:12\0")]
    gps = [(1, ASCII, 2, b"N\0"), (2, RATIONAL, 3, latitude)]

    def first(at_details, at_gps):
        own = [
            (271, ASCII, 6, b"Maker\0"),
            *([] if orientation is None else [(274, orientation_type, 1, orientation)]),
            *more,
            (34665, pointer, 1, at_details),
            (34853, pointer, 1, at_gps),
        ]
        return directory(sorted(own, key=lambda entry: entry[0]), 8, order)

    at_details = 8 + len(first(0, 0))
    laid_out = directory(details, at_details, order)
    at_gps = at_details + len(laid_out)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + first(at_details, at_gps) + laid_out + directory(gps, at_gps, order)


def exif_facts(blob):
    """What an independent reader finds."""
    read = Image.Exif()
    read.load(b"Exif\0\0" + blob)
    latitude = read.get_ifd(34853).get(2)
    return {
        "make": read.get(271),
        "orientation": read.get(274),
        "date": read.get_ifd(34665).get(36867),
        "latitude": None if latitude is None else tuple(map(float, latitude)),
    }


FACTS = {"make": "Maker", "orientation": 1, "date": "2026:05:01 10:11:12", "latitude": (46.0, 57.0, 12.34)}


def xmp(body="", attributes="", namespaces=""):
    """An XMP packet with one description."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {namespaces} {attributes}>{body}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def jpeg_xmp(packet):
    return 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet


def png_xmp(packet):
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


def jpeg_exif(blob):
    return 0xE1, b"Exif\0\0" + blob
