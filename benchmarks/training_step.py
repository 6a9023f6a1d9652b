"""Time and peak memory of a training step of DCMPNet.

    python benchmarks/training_step.py [--variant official|paper] [--batch 2] [--crop 128] [--threads 1] [--repeats 5]
                                       [--inert] [--json FILE]

Frozen networks (RA-Depth, VGG19) have random weights, which cost what trained ones cost; pictures are noise. Steps are
timed after one that is not. The time is the median; the processor's own time is given, too, since it suffers less from
other work on the machine. Memory is the most that the process held, and what of that the steps added.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any


def measure(variant: str, batch: int, crop: int, threads: int, repeats: int, inert: bool) -> dict[str, Any]:
    """One row."""
    import torch

    from unhaze.data.batch import Batch
    from unhaze.depth.ra_depth import ra_depth
    from unhaze.losses import untrained_vgg19
    from unhaze.recipes import mutual_promotion, mutual_promotion_official
    from unhaze.training.pairs import DataConfig

    data = DataConfig(crop=crop, batch=batch)
    recipe: Any = mutual_promotion_official if variant == "official" else mutual_promotion
    config = recipe.Config(data=data, threads=threads, inert_terms=inert, device="cpu")
    teacher = ra_depth(untrained=True, longest=crop).eval().requires_grad_(False)
    state = recipe.setup(config, teacher=teacher, vgg19=untrained_vgg19("raw"))
    generator = torch.Generator().manual_seed(0)
    hazy, clear = torch.rand(2, batch, 3, crop, crop, generator=generator)
    pairs = Batch(hazy, clear, hazy[:, :1], torch.ones(batch, dtype=torch.bool), ())
    before = peak_memory()
    walls, processors = [], []
    for _ in range(repeats + 1):
        wall, processor = time.perf_counter(), time.process_time()
        recipe.step(state, pairs, config)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return {
        "variant": variant,
        "batch": batch,
        "crop": crop,
        "threads": threads,
        "seconds": statistics.median(walls[1:]),
        "processor_seconds": statistics.median(processors[1:]),
        "peak_memory": peak_memory(),
        "added_memory": peak_memory() - before,
    }


def peak_memory() -> int:
    """The most that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # KiB on Linux


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=("official", "paper"), default="official")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--inert", action="store_true", help="compute the official code's terms without effect, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    row = measure(options.variant, options.batch, options.crop, options.threads, options.repeats, inert=options.inert)
    print(
        f"{row['variant']}: {row['seconds']:.2f} s per step ({row['processor_seconds']:.2f} s of processor), "
        f"peak {row['peak_memory'] / 2**20:.0f} MB, of which steps {row['added_memory'] / 2**20:.0f} MB"
    )
    if options.json:
        options.json.write_text(json.dumps(row, indent=1), "utf-8")


if __name__ == "__main__":
    main()
