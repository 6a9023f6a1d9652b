"""Mutated picture files: no crash, no hang, no raw exception, no memory beyond the promise, no damage in silence.

Every mutant is read, and stored again where it was read, in a worker process with a memory limit and a time limit each.
The seeds are small files of every format, made here. ``-m slow`` runs 20,000 mutants.
"""

from __future__ import annotations

import io
import json
import os
import random
import select
import struct
import subprocess
import sys
import zlib
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests import pictures
from tests.pictures import chunk, exif, jpeg, jpeg_exif, jpeg_xmp, noise, png, png_xmp, saved, xmp

SEED = 20
SECONDS = 20  # for one mutant
MAX_PIXELS = 1_000_000
# 1 M pixels of 4 channels: 16 MB of floats, and what the formats allow themselves for texts and EXIF, several times
MEMORY = 600 << 20  # [bytes] above what the worker holds before its first mutant
HEIGHT, WIDTH = 17, 24


# ---------------------------------------------------------------------------------------------------------------- seeds


@cache
def seeds():
    """Name with suffix -> content."""
    colour, grey, alpha = noise(HEIGHT, WIDTH, 3), noise(HEIGHT, WIDTH), noise(HEIGHT, WIDTH, 4)
    deep = noise(HEIGHT, WIDTH, 3, dtype="uint16")
    key, words = chunk(b"tRNS", b"\0\2"), chunk(b"zTXt", b"Title\0\0" + zlib.compress(b"words " * 20))
    marks = chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"pHYs", bytes(8) + b"\1"), chunk(b"eXIf", exif(6)), words
    found = {
        "plain.jpg": jpeg(jpeg_exif(exif(6)), jpeg_xmp(xmp("<hdrgm:Version>1</hdrgm:Version>")), pixels=colour),
        "progressive.jpg": jpeg(pixels=colour, progressive=True, subsampling=0),
        "restart.jpg": jpeg((0xE6, b"GoPro\0"), pixels=colour, restart_marker_blocks=1),
        "grey.jpg": jpeg(pixels=grey, comment=b"words"),
        "cmyk.jpg": saved(Image.fromarray(alpha, "CMYK"), "JPEG"),
        "colour.png": png(colour, *marks, png_xmp(xmp('tiff:Orientation="6"'))),
        "deep.png": png(deep, behind=[chunk(b"tEXt", b"k\0v")]),
        "grey2.png": png(grey % 4, key, depth=2),
        "palette.png": png(grey % 4, chunk(b"PLTE", bytes(range(12))), key, kind=3, depth=4),
        "alpha.png": png(alpha, chunk(b"cICP", b"\x0c\x0d\0\1"), kind=6),
        "lossy.webp": saved(colour, "WEBP", exif=exif(6), xmp=xmp("<a/>")),
        "lossless.webp": saved(alpha, "WEBP", lossless=True),
        "colour.avif": saved(colour, "AVIF", speed=10, exif=exif(6)),
        "alpha.avif": saved(alpha, "AVIF", speed=10),
        "colour.bmp": saved(colour, "BMP"),
        "palette.bmp": saved(Image.fromarray(colour).quantize(16), "BMP"),
        "alpha.bmp": cv2.imencode(".bmp", alpha)[1].tobytes(),
        "palette.gif": saved(Image.fromarray(colour).quantize(16), "GIF", comment=b"words"),
        "colour.ppm": saved(colour, "PPM"),
        "deep.pgm": b"P5\n# words\n24 17\n65535\n" + deep[..., 0].astype(">u2").tobytes(),
        "text.ppm": b"P3\n4 4\n255\n" + b" ".join(b"%d" % i for i in range(48)) + b"\n",
    }
    for name, array, options in (
        ("plain.tif", colour, {}),
        ("lzw.tif", colour, {"compression": "lzw", "predictor": True}),
        ("deflate.tif", deep, {"compression": "deflate", "tile": (16, 16)}),
        ("float.tif", (deep / 65535).astype(np.float32), {}),
        ("planes.tif", np.moveaxis(colour, -1, 0), {"planarconfig": "separate", "compression": "packbits"}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, array, photometric="rgb", metadata=None, **options)
        found[name] = file.getvalue()
    try:
        import pillow_heif
    except ImportError:
        return found
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(noise(64, 64, 3))).save(file, quality=50, exif=exif(6))
    return {**found, "colour.heic": file.getvalue()}


# ------------------------------------------------------------------------------------------------------------ mutations

NUMBERS = [0, 1, 2, 7, 8, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def flip_bits(r, data):
    changed = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 8, 40])):
        changed[r.randrange(len(changed))] ^= 1 << r.randrange(8)
    return bytes(changed)


def truncate(r, data):
    return data[: r.randrange(len(data))]


def remove(r, data):
    start = r.randrange(len(data))
    return data[:start] + data[start + r.choice([1, 2, 4, 12, 100]) :]


def repeat(r, data):
    start = r.randrange(len(data))
    end = start + r.choice([1, 4, 12, 64])
    return data[:end] + data[start:end] * r.choice([1, 2, 100]) + data[end:]


def splice(r, data):
    other = seeds()[r.choice(sorted(seeds()))]
    start, place, count = r.randrange(len(other)), r.randrange(len(data)), r.choice([4, 12, 64, 512])
    return data[:place] + other[start : start + count] + data[place + count :]


def set_number(r, data):
    changed, size = bytearray(data), r.choice([1, 2, 4, 8])
    place = r.randrange(min(len(data), r.choice([32, 128, 1024])))
    value = r.choice(NUMBERS) & ((1 << 8 * size) - 1)
    changed[place : place + size] = value.to_bytes(size, r.choice(["little", "big"]))
    return bytes(changed)


def blank(r, data):
    start, count = r.randrange(len(data)), r.choice([4, 16, 64, 512])
    return data[:start] + r.choice([b"\0", b"\xff"]) * min(count, len(data) - start) + data[start + count :]


def append(r, data):
    return data + r.choice([b"\0" * 9, b"garbage", r.randbytes(200), data])


def shuffle_parts(r, parts):
    """Remove, repeat or move a part; or change a byte or the length of its content."""
    parts, i = list(parts), r.randrange(len(parts))
    name, content = parts[i]
    match r.randrange(6):
        case 0:
            del parts[i]
        case 1:
            parts[i:i] = [parts[i]] * r.choice([1, 2, 50])
        case 2:
            r.shuffle(parts)
        case 3:
            parts.insert(r.randrange(len(parts) + 1), parts.pop(i))
        case 4 if content:
            changed = bytearray(content)
            changed[r.randrange(len(changed))] = r.randrange(256)
            parts[i] = (name, bytes(changed))
        case _:
            parts[i] = (name, content[: r.randrange(len(content) + 1)] + r.randbytes(r.choice([0, 1, 30])))
    return parts


def png_chunks(r, data):
    parts = pictures.png_chunks(data)
    if r.random() < 0.3:
        strange = [
            (b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 20))),
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1 << 20))),
            (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 9\n" + b"49" * 5000)),
            (b"tRNS", r.randbytes(r.choice([0, 1, 5, 300]))),
            (b"PLTE", r.randbytes(r.choice([0, 1, 769]))),
            (b"acTL", r.randbytes(8)),
            (b"cHRM", r.randbytes(32)),
            (b"gAMA", r.randbytes(4)),
            (b"cICP", r.randbytes(4)),
            (b"bKGD", r.randbytes(r.choice([0, 1, 2, 6]))),
            (b"eXIf", flip_bits(r, exif(6))),
        ]
        parts.insert(1, r.choice(strange))
    return data[:8] + b"".join(chunk(*part) for part in shuffle_parts(r, parts))


def jpeg_parts(r, data):
    parts = pictures.jpeg_segments(data)
    place = data.index(b"\xff\xda")
    if r.random() < 0.3:
        strange = [
            (0xE2, b"ICC_PROFILE\0" + r.randbytes(r.choice([0, 1, 200]))),
            (0xE1, b"Exif\0\0" + flip_bits(r, exif(6))),
            (0xEE, b"Adobe" + r.randbytes(7)),
            (0xDD, r.randbytes(2)),
            (0xED, b"Photoshop 3.0\x008BIM" + r.randbytes(30)),
            (0xF7, r.randbytes(12)),
        ]
        parts.insert(r.randrange(len(parts)), r.choice(strange))
    return b"\xff\xd8" + b"".join(pictures.segment(*part) for part in shuffle_parts(r, parts)) + data[place:]


def riff_chunks(r, data):
    parts, position = [], 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        parts.append((name, data[position + 8 : position + 8 + size]))
        position += 8 + size + size % 2
    body = b"".join(n + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for n, c in shuffle_parts(r, parts))
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def boxes(r, data):
    parts, position = [], 0
    while position + 8 <= len(data):
        size = max(int.from_bytes(data[position : position + 4], "big"), 8)
        parts.append((data[position + 4 : position + 8], data[position + 8 : position + size]))
        position += size
    return b"".join(struct.pack(">I", len(c) + 8) + n + c for n, c in shuffle_parts(r, parts))


def tiff_tags(r, data):
    """Change the tag, type, count or value of an entry, or write it over its neighbour: a tag twice."""
    changed, (offset,) = bytearray(data), struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    place = offset + 2 + 12 * r.randrange(count)
    match r.randrange(5):
        case 0:
            struct.pack_into(
                "<H", changed, place, r.choice([256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 330, 34665])
            )
        case 1:
            struct.pack_into("<H", changed, place + 2, r.choice([0, 1, 2, 3, 4, 5, 12, 13, 16, 99]))
        case 2:
            struct.pack_into("<I", changed, place + 4, r.choice(NUMBERS))
        case 3:
            struct.pack_into("<I", changed, place + 8, r.choice(NUMBERS))
        case _:
            changed[place + 12 : place + 24] = changed[place : place + 12]
    return bytes(changed)


ANYWHERE = [flip_bits, truncate, remove, repeat, splice, set_number, blank, append]
STRUCTURE = {
    ".png": png_chunks,
    ".jpg": jpeg_parts,
    ".webp": riff_chunks,
    ".avif": boxes,
    ".heic": boxes,
    ".tif": tiff_tags,
}


def mutant(number):
    """Name, mutation and content of one mutant; always the same for a number."""
    r = random.Random(SEED * 1_000_003 + number)
    name = sorted(seeds())[number % len(seeds())]
    own = STRUCTURE.get(Path(name).suffix)
    mutation = own if own and r.random() < 0.5 else r.choice(ANYWHERE)
    return name, mutation.__name__, mutation(r, seeds()[name])


# --------------------------------------------------------------------------------------------- independent verdict


def is_sound_png(data):
    """Whether a PNG is whole by its checksums, those of the chunks and that of the pixels."""
    position, stream, ended = 8, b"", False
    while not ended:
        if position + 12 > len(data):
            return False
        length, name = struct.unpack_from(">I4s", data, position)
        content = data[position + 4 : position + 8 + length]
        if len(content) < length + 4 or data[position + 8 + length : position + 12 + length] != struct.pack(
            ">I", zlib.crc32(content)
        ):
            return False
        stream += content[4:] if name == b"IDAT" else b""
        ended = name == b"IEND"
        position += 12 + length
    try:
        zlib.decompress(stream)
    except zlib.error:
        return False
    return True


def must_be_reported(name, mutation, data):
    """Whether a mutant may not be taken in silence."""
    original = seeds()[name]
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return not is_sound_png(data)
    if mutation == "truncate" and original.startswith(data):
        # what may be missing without a loss: a directory of TIFF needs no end, and text may end without a new line
        return len(original) - len(data) > 4 and not name.endswith((".tif", ".gif"))
    return False


# -------------------------------------------------------------------------------------------------------------- workers

WORKER = """
import json, resource, sys
from pathlib import Path
from unhaze.errors import UnhazeError
from unhaze.images.files import default_output_format, encode_image, identify, read_image

def attempt(path):
    try:
        info = identify(path)
    except UnhazeError as error:
        info = None
        told = str(error)
    try:
        picture = read_image(path, max_pixels=MAX_PIXELS)
    except UnhazeError as error:
        return {"result": "refused", "told": str(error)}
    if info is None:
        return {"result": "read, but not identified", "told": told}
    if picture.format not in ("heif",) and (info.width, info.height) != (picture.info.width, picture.info.height):
        return {"result": "read in another size than identified"}
    try:
        data = encode_image(picture)
    except UnhazeError as error:
        return {"result": "not stored", "told": str(error)}
    try:
        again = read_image(data, max_pixels=MAX_PIXELS)
    except UnhazeError as error:
        return {"result": "what was stored cannot be read", "told": str(error)}
    if again.pixels.shape[:2] != picture.pixels.shape[:2]:
        return {"result": "what was stored has another size"}
    return {"result": "read", "notes": picture.notes}

for name in ("warm.png", "warm.jpg", "warm.tif", "warm.avif", "warm.heic", "warm.webp", "warm.gif", "warm.bmp"):
    try:
        attempt(name)
    except Exception:
        pass
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
print("ready", flush=True)
for line in sys.stdin:
    try:
        answer = attempt(line.rstrip("\\n"))
    except MemoryError:
        answer = {"result": "out of memory"}
    except BaseException as error:
        answer = {"result": "raw", "told": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(answer), flush=True)
"""


class Worker:
    """A process that reads files one by one; a new one where it died or hung."""

    def __init__(self, folder):
        self.folder, self.process, self.log = folder, None, folder / "stderr"

    def start(self):
        for name in ("plain.png", "plain.jpg", "plain.tif", "colour.avif", "colour.heic", "lossy.webp", "palette.gif"):
            if name in seeds():
                (self.folder / f"warm{Path(name).suffix}").write_bytes(seeds()[name])
        code = f"MAX_PIXELS, MEMORY = {MAX_PIXELS}, {MEMORY}\n" + WORKER
        paths = [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
        limits = {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1", "PYTHONPATH": os.pathsep.join(paths)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=self.folder,
                env={**os.environ, **limits},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, path):
        if self.process is None:
            self.start()
        try:
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self.stop("crashed")
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        answer = self.process.stdout.readline() if ready else None
        if answer:
            return json.loads(answer)
        return self.stop("crashed" if ready else "hung")

    def stop(self, result="ended"):
        """End the process; the next question starts another."""
        status = None
        if self.process is not None:
            status = self.process.poll()
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with suppress(BrokenPipeError):
                    pipe.close()
            self.process = None
        return {"result": result, "told": f"status {status}"}


def faults_of(name, mutation, data, answer):
    """What is wrong with what became of a mutant."""
    if answer["result"] not in ("read", "refused", "not stored"):
        return [answer["result"]]
    reported = answer.get("told") or answer.get("notes")
    return ["damage in silence"] if not reported and must_be_reported(name, mutation, data) else []


def fuzz(numbers, worker):
    """Counts of results, and of faults by kind with the mutants of each."""
    results, faults = Counter(), {}
    for number in numbers:
        name, mutation, data = mutant(number)
        path = worker.folder / name
        path.write_bytes(data)
        answer = worker.ask(path)
        results[answer["result"]] += 1
        found = faults_of(name, mutation, data, answer)
        if path.read_bytes() != data:
            found.append("the input was changed")
        said = worker.log.read_bytes()
        if said:
            found.append("something reached the terminal")
            answer["terminal"] = said[-300:].decode("utf-8", "replace")
        os.truncate(worker.log, 0)
        for fault in found:
            faults.setdefault(fault, []).append((number, name, mutation, answer))
    return results, faults


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc and limits of memory")
    worker = Worker(tmp_path_factory.mktemp("fuzz"))
    yield worker
    worker.stop()


def test_the_seeds_are_sound(worker):
    for name, data in seeds().items():
        (worker.folder / name).write_bytes(data)
        assert worker.ask(worker.folder / name)["result"] == "read", name


def test_320_mutants(worker):
    results, faults = fuzz(range(320), worker)
    assert faults == {}
    assert results["read"] > 100
    assert results["refused"] > 100


@pytest.mark.slow
def test_20_000_mutants(worker):
    results, faults = fuzz(range(320, 20_320), worker)
    print(dict(results), {fault: len(found) for fault, found in faults.items()})
    assert {fault: found[:3] for fault, found in faults.items()} == {}


def test_the_job_sees_faults(worker):
    """A job that finds nothing must be able to find something."""
    data = seeds()["colour.png"]
    broken = data[:-20] + bytes((data[-20] ^ 1,)) + data[-19:]
    assert is_sound_png(data)
    assert not is_sound_png(broken)
    assert faults_of("colour.png", "flip_bits", broken, {"result": "read", "notes": []}) == ["damage in silence"]
    assert faults_of("colour.png", "flip_bits", broken, {"result": "raw"}) == ["raw"]
    if worker.process is None:
        worker.start()
    worker.process.kill()
    assert worker.ask("any.png")["result"] == "crashed"
