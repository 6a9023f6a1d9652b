"""Large pictures stay within the memory they were promised."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from unhaze.images.files import identify
from unhaze.restore.dehazer import Dehazer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read the peak memory"),
]

PROBE = """
import sys
from pathlib import Path
from unhaze.cli import main
try:
    main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    print("PEAK", next(line for line in lines if line.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


def peak_of_run(*arguments):
    """Peak resident memory [bytes] of ``unhaze run`` in a process of its own."""
    command = [sys.executable, "-c", PROBE, "run", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split("PEAK")[1]) * 1024


def make(path, width, height, dtype=np.uint8):
    rng = np.random.default_rng(0)
    small = rng.integers(60, 230, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.imwrite(str(path), pixels if dtype == np.uint8 else pixels.astype(np.uint16) * 257)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_100_megapixels_within_2_gigabytes(tmp_path, suffix):
    make(tmp_path / f"in{suffix}", 12000, 8334)
    peak = peak_of_run(tmp_path / f"in{suffix}", "-o", tmp_path / f"out{suffix}", "--max-memory", "2G")
    assert peak <= 2 << 30
    assert identify(tmp_path / f"out{suffix}").pixels == 12000 * 8334


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif", ".bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_estimate_is_not_below_what_is_used(tmp_path, suffix, dtype):
    if dtype == np.uint16 and suffix not in (".png", ".tif"):
        pytest.skip(f"{suffix} has 8 bits only")
    source = tmp_path / f"in{suffix}"
    make(source, 8000, 6000, dtype)
    promised = Dehazer().memory_needed(identify(source))
    assert peak_of_run(source, "-o", tmp_path / f"out{suffix}") <= promised
