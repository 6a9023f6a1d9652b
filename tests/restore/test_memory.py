"""The memory that a picture really takes, against what ``--max-memory`` promises."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from unhaze import Dehazer
from unhaze.batch.workers import BatchOptions, render
from unhaze.images.files import Encoding, Picture, identify, write_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc"),
]

HEIGHT, WIDTH = 2400, 3600
SCALES = {"uint8": 1, "uint16": 257, "float32": 1 / 255}
KINDS = [
    *((format, "uint8", alpha) for format in ("png", "tiff", "webp", "bmp", "avif") for alpha in ("", "straight")),
    ("jpeg", "uint8", ""),
    *((format, "uint16", alpha) for format in ("png", "tiff") for alpha in ("", "straight")),
    *(("tiff", "float32", alpha) for alpha in ("", "straight", "float64")),
    *(("tiff", dtype, "premultiplied") for dtype in SCALES),
]


def make(path, format, dtype, alpha):
    rng = np.random.default_rng(0)
    pixels = rng.integers(40, 220, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    pixels = pixels + rng.integers(0, 8, pixels.shape, dtype=np.uint8)
    if alpha == "float64":
        tifffile.imwrite(path, pixels / 255, photometric="rgb")
        return
    scaled = (pixels * np.float32(SCALES[dtype])).astype(dtype)
    opacity = (np.full((HEIGHT, WIDTH), 200) * SCALES[dtype]).astype(dtype) if alpha else None
    picture = Picture(scaled, opacity, format, encoding=Encoding(premultiplied=alpha == "premultiplied"))
    write_image(picture, path, format=format)


def peak_in_a_child(work):
    """Bytes; the child begins with what this process holds, which is more than a command does."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            lines = Path("/proc/self/status").read_text().splitlines()
            os.write(writer, next(line.split()[1] for line in lines if line.startswith("VmHWM")).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as answer:
        peak = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return int(peak) * 1024


@pytest.mark.parametrize("sides", [(), ("transmission", "depth", "confidence", "compare")], ids=["picture", "maps"])
@pytest.mark.parametrize(("format", "dtype", "alpha"), KINDS)
def test_a_picture_takes_no_more_than_was_promised(tmp_path, format, dtype, alpha, sides):
    path = tmp_path / "picture"
    peak_in_a_child(lambda: make(path, format, dtype, alpha))
    promised = Dehazer(threads=2).memory_needed(identify(path), maps=bool(sides))

    def restore():
        render(Dehazer(threads=2, max_memory=promised), path, None, BatchOptions(), sides=sides)

    assert peak_in_a_child(restore) <= promised
