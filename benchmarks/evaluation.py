"""How fast folders are scored, and how much a second core helps.

    python benchmarks/evaluation.py --pairs 500 --size 620x460 --jobs 1,2

Writes synthetic pairs to a temporary folder, scores them with each number of processes from scratch, start of the
processes included, and prints one line per number.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from unhaze.evaluation.benchmark import Benchmark, Run, plan_benchmark, run_benchmark


def write_pairs(folder: Path, pairs: int, width: int, height: int) -> None:
    """``gt/`` and ``out/`` with pictures that compress about as well as photographs."""
    rng = np.random.default_rng(0)
    for name in ("gt", "out"):
        (folder / name).mkdir()
    for index in range(pairs):
        coarse = rng.integers(20, 235, (12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        clear = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255)
        restored = np.clip(0.95 * clear + rng.normal(0, 3, clear.shape), 0, 255)
        cv2.imwrite(str(folder / "gt" / f"{index}.png"), clear.astype(np.uint8))
        cv2.imwrite(str(folder / "out" / f"{index}.png"), restored.astype(np.uint8))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--size", default="620x460")
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--protocol", default="dcmpnet")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder, options.pairs, width, height)
        plan = plan_benchmark(
            Benchmark((Run("out", results=folder / "out"),), targets=folder / "gt", protocol=options.protocol)
        )
        print(f"{options.pairs} pairs of {options.size}, protocol {plan.protocol.id}: {', '.join(plan.metrics)}")
        single = None
        for jobs in map(int, options.jobs.split(",")):
            started = time.perf_counter()
            outcome = run_benchmark(plan, folder / f"scores-{jobs}", workers=jobs)
            seconds = time.perf_counter() - started
            assert len(outcome.scores) == options.pairs
            single = single or seconds
            print(f"jobs {jobs}: {seconds:.1f} s, {options.pairs / seconds:.1f} pairs/s, {single / seconds:.2f} x")


if __name__ == "__main__":
    main()
