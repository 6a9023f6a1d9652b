"""Where the time and the bytes of one call go, step by step, against what this machine can do.

    python benchmarks/roofline.py [--repeats 7] [--sizes 1080p "12 MP"] [--json FILE]

Everything is in processor time of all threads, which other programs disturb least; wall-clock time is shown beside it.
The compiled pass is measured at each level of instructions that ``unhaze-kernels`` has here, and in NumPy.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dehaze import SIZES, make_picture

COPIED = 256 << 20  # bytes, far beyond every cache


def measure(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Least processor time and least wall-clock time [ms], after one call that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        started, cpu = time.perf_counter(), time.process_time()
        work()
        taken.append((time.process_time() - cpu, time.perf_counter() - started))
    processor, wall = zip(*taken, strict=True)
    return 1e3 * min(processor), 1e3 * min(wall)


def machine(repeats: int) -> dict[str, float]:
    """Bandwidth of memory and peak of multiplications and additions of one core."""
    import cv2

    cv2.setNumThreads(1)
    source = np.ones(COPIED, np.uint8)
    target = np.empty_like(source)
    copying, _ = measure(lambda: np.copyto(target, source), repeats)
    side = 512
    left, right = np.ones((2, side, side), np.float32)
    product, _ = measure(lambda: cv2.gemm(left, right, 1.0, None, 0.0), repeats)
    cv2.setNumThreads(-1)
    return {
        "copy_gb_s": round(2 * COPIED / copying / 1e6, 1),  # read and written
        "gflop_s": round(2 * side**3 / product / 1e6, 1),
    }


def steps(source: Path, repeats: int) -> dict[str, tuple[float, float]]:
    """Time of each step of a call: (processor, wall-clock) [ms]."""
    import simplejpeg

    from unhaze.restore.dehazer import Dehazer
    from unhaze.restore.haze_field import solve_field, working_view
    from unhaze.restore.kernels import KERNELS_VARIABLE, installed_kernels

    coded = source.read_bytes()
    pixels = simplejpeg.decode_jpeg(coded)
    out = np.empty_like(pixels)
    dehazer = Dehazer()
    model, options = dehazer._haze_model, dehazer.restoration
    view = working_view(pixels, 255.0)
    field = dehazer.solve(pixels)
    times = {
        "decode": measure(lambda: simplejpeg.decode_jpeg(coded), repeats),
        "view": measure(lambda: working_view(pixels, 255.0), repeats),
        "network": measure(lambda: model.maps(view), repeats),
        "network and field": measure(lambda: solve_field(view, model, options), repeats),
    }
    for level in ("off", *installed_kernels()[1]):
        os.environ[KERNELS_VARIABLE] = level
        times[f"full resolution, {'NumPy' if level == 'off' else level}"] = measure(
            lambda: dehazer.apply(pixels, field, out=out), repeats
        )
    os.environ.pop(KERNELS_VARIABLE)
    times["encode"] = measure(lambda: simplejpeg.encode_jpeg(out, quality=92), repeats)
    return times


def main() -> None:
    """Measure and print."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(options.repeats)}
    print("memory {copy_gb_s} GB/s, one core {gflop_s} GFLOP/s".format(**results["machine"]))
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            width, height = SIZES[size]
            source = Path(folder) / f"{width}.jpg"
            make_picture(width, height, source)
            results[size] = steps(source, options.repeats)
            print(f"\n{size:32} processor [ms]  wall-clock [ms]  megapixels/s of one core")
            for step, (processor, wall) in results[size].items():
                print(f"  {step:30} {processor:14.1f} {wall:16.1f} {width * height / processor / 1e3:16.0f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
