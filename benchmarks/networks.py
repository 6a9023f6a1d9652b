"""Time and peak memory of every network, each in a process of its own.

    python benchmarks/networks.py [NAME ...] [--sizes 256x256 768x512] [--threads 2] [--repeats 5] [--json FILE]

A figure is the median of forward passes with random weights, folded and channels-last as pictures get them, after one
pass that is not timed. Memory is the most that the process held during the passes, less what it held before them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SIZES = ("256x256", "768x512")  # width x height
LIMIT = 1800  # [s] for one network at one size


def measure(name: str, size: str, threads: int, repeats: int) -> dict[str, Any]:
    """One row, measured in this process."""
    import torch

    from unhaze.evaluation.cost.network import time_network
    from unhaze.models.networks import create_network

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    width, height = map(int, size.split("x"))
    timing = time_network(create_network(name).eval(), height, width, repeats=repeats)
    return {"name": name, "size": size, "seconds": timing.seconds, "peak_memory": timing.peak_memory}


def measure_apart(name: str, size: str, threads: int, repeats: int) -> dict[str, Any]:
    """The same in a new process, so that no network inherits the memory of another."""
    command = [sys.executable, __file__, name, "--sizes", size, "--here"]
    command += ["--threads", str(threads), "--repeats", str(repeats)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"name": name, "size": size, "error": f"took longer than {LIMIT} s"}
    if done.returncode:
        return {"name": name, "size": size, "error": done.stderr.strip().splitlines()[-1]}
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def report(row: dict[str, Any]) -> None:
    """One line of the table."""
    if "error" in row:
        print(f"{row['name']:20} {row['size']:>9}  {row['error']}", flush=True)
        return
    memory = "-" if row["peak_memory"] is None else f"{row['peak_memory'] / 2**20:.0f}"
    print(f"{row['name']:20} {row['size']:>9} {row['seconds']:9.3f} s {memory:>6} MB", flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.names[0], options.sizes[0], options.threads, options.repeats)))
        return
    from unhaze.models.networks import list_networks

    rows = []
    for name in options.names or list_networks():
        for size in options.sizes:
            rows.append(measure_apart(name, size, options.threads, options.repeats))
            report(rows[-1])
    if options.json:
        options.json.write_text(json.dumps({"threads": options.threads, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
