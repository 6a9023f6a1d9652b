"""How fast data sets are read and made, against what a training step takes.

    python benchmarks/data.py [--data FOLDER] [--pairs 200] [--seconds 6] [--workers 1 2] [--json FILE]

Three questions. What does packing gain: full pairs and crops, from loose PNG and JPEG files and from shards of both
kinds. What does synthesis cost. And is the loader fast enough: a training step takes so much CPU time per crop, loading
the crop so much; the quotient is how many times faster than the step the same cores load, and the aim is 1.5. The step
runs in one thread, so its rate on more cores is overstated, never understated.

Pictures are crops of 620x460 px (the size of RESIDE's indoor set) of two photographs that scikit-learn brings. All
figures are medians of three runs; files are in the page cache. Workers are processes of a torch DataLoader, which
hands over batches of 8. CPU time is that of this process and its workers, per sample; on a machine with other work the
rates mean little, and CPU time is what to go by.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from unhaze.data import create_dataset
from unhaze.data.batch import collate
from unhaze.data.dataset import Series
from unhaze.data.shards import pack
from unhaze.data.synthetic.dataset import SyntheticDataset
from unhaze.data.synthetic.scenes import Scene, SceneBank, SynthesisConfig
from unhaze.data.transforms import random_view

BATCH = 8
CROP = 256
SHAPE = (460, 620)
SCENES = 24
RUNS = 3
AIM = 1.5
# network, crop and batch of its training step: the lightest of the catalogue
STEPS = (("aodnet-base", 256, 8), ("dehazeformer-t", 256, 2), ("coa-train_rb1", 256, 2), ("gcanet-base", 256, 2))


def photographs() -> list[np.ndarray]:
    """Two photographs, (427, 640, 3) uint8, enlarged so that crops of them differ."""
    from sklearn.datasets import load_sample_image

    return [cv2.resize(load_sample_image(f"{name}.jpg"), (960, 640)) for name in ("china", "flower")]


def write_tree(folder: Path, suffix: str, count: int) -> Path:
    """``count`` hazy pictures of ``count // 10`` clear ones, as in RESIDE's indoor set."""
    sources = photographs()
    for side in ("hazy", "clear"):
        (folder / side).mkdir(parents=True)
    for scene in range(1, max(1, count // 10) + 1):
        rng = np.random.default_rng(scene)
        source = sources[scene % 2]
        top, left = (int(rng.integers(full - cut + 1)) for full, cut in zip(source.shape, SHAPE, strict=False))
        clear = source[top : top + SHAPE[0], left : left + SHAPE[1]]
        cv2.imwrite(str(folder / f"clear/{scene}{suffix}"), clear[..., ::-1])
        for number in range(1, 11):
            share = rng.uniform(0.3, 0.9)
            hazy = np.clip(clear * share + 220 * (1 - share) + 0.5, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"hazy/{scene}_{number}_0.9{suffix}"), hazy[..., ::-1])
    return folder


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure(run: Callable[[], int]) -> dict[str, float]:
    """Samples per second, and CPU milliseconds per sample, of the median of some runs."""
    rates, costs = [], []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), cpu_seconds()
        count = run()
        rates.append(count / (time.perf_counter() - wall))
        costs.append((cpu_seconds() - cpu) / count * 1e3)
    return {"per_second": statistics.median(rates), "cpu_ms": statistics.median(costs)}


def read_for(dataset: Any, seconds: float) -> dict[str, float]:
    """Read samples one after the other, without workers."""

    def run() -> int:
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            dataset[count % len(dataset)]
            count += 1
        return count

    return measure(run)


def load_with(dataset: Any, workers: int, expected: float, seconds: float) -> dict[str, float]:
    """Load samples with worker processes, their start not counted in the rate.

    Args:
        dataset: Where they come from.
        workers: Number of processes.
        expected: Samples per second of one process.
        seconds: About how long to load.
    """
    rates, costs = [], []
    count = BATCH * max(40, min(300, round(expected * seconds / BATCH)))  # few would show the start of the workers
    for _ in range(RUNS):
        cpu = cpu_seconds()
        loader = DataLoader(
            Series(dataset, count + BATCH * workers, seed=1),
            batch_size=BATCH,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=_one_thread,
        )
        batches = iter(loader)
        for _ in range(workers):
            next(batches).as_float()
        wall = time.perf_counter()
        loaded = sum(len(batch.as_float().names) for batch in batches)
        rates.append(loaded / (time.perf_counter() - wall))
        del batches
        costs.append((cpu_seconds() - cpu) / (count + BATCH * workers) * 1e3)
    return {"per_second": statistics.median(rates), "cpu_ms": statistics.median(costs)}


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def report(label: str, figures: dict[str, float], extra: str = "") -> dict[str, Any]:
    """Print one line and return it as a record."""
    print(f"{label:46} {figures['per_second']:9.1f} /s {figures['cpu_ms']:8.2f} CPU ms {extra}".rstrip(), flush=True)
    return {"label": label, **figures}


def measure_formats(folder: Path, pairs: int, seconds: float, workers: list[int]) -> list[dict[str, Any]]:
    """Loose files against shards."""
    rows = []
    for suffix in (".png", ".jpg"):
        loose = write_tree(folder / suffix[1:], suffix, pairs)
        roots = {f"loose {suffix[1:]}": loose}
        for store in ("files", "pixels") if suffix == ".png" else ("files",):
            roots[f"shards of {store if store == 'pixels' else suffix[1:] + ' files'}"] = folder / f"{suffix}-{store}"
            pack(create_dataset("reside-its", loose), folder / f"{suffix}-{store}", store=store)
        for name, root in roots.items():
            whole = create_dataset("reside-its", root)
            crops = create_dataset("reside-its", root, transform=random_view(CROP, turn=True))
            megabytes = f"{size_of(root) / 2**20:.0f} MB"
            rows.append(report(f"{name}, whole pairs", read_for(whole, seconds), megabytes))
            alone = read_for(crops, seconds)
            rows.append(report(f"{name}, crops of {CROP}", alone))
            for count in workers:
                figures = load_with(crops, count, alone["per_second"], seconds)
                rows.append(report(f"{name}, crops of {CROP}, {count} workers", figures))
    return rows


def small_bank() -> SceneBank:
    """Scenes of the two photographs, half of them with a ramp for depth."""
    scenes = []
    for number in range(SCENES):
        image = cv2.resize(np.roll(photographs()[number % 2], 40 * number, axis=1), (512, 341))
        depth = np.tile(np.linspace(80, 2, 341, dtype=np.float32)[:, None], (1, 512)) if number % 3 else None
        segments = np.tile((np.arange(341) * 20 // 341).astype(np.uint8)[:, None], (1, 512))
        scenes.append(Scene(f"clear/{number}", "rgbd" if depth is not None else "clear", image, depth, segments))
    return SceneBank(scenes)


def measure_synthesis(data: Path | None, seconds: float, workers: list[int]) -> list[dict[str, Any]]:
    """Haze made on the fly."""
    bank = small_bank() if data is None else SceneBank.load(data, "train")
    rows = []
    for name, size, night in (
        ("synthesis 128x192", (128, 192), 0.1),
        (f"synthesis {CROP}x{CROP}", (CROP, CROP), 0.1),
        (f"night only {CROP}x{CROP}", (CROP, CROP), 1.0),
    ):
        dataset = SyntheticDataset(bank, size, config=SynthesisConfig(), night=night, length=1 << 20)
        alone = read_for(dataset, seconds)
        rows.append(report(name, alone))
        for count in workers if night < 1 else ():
            rows.append(report(f"{name}, {count} workers", load_with(dataset, count, alone["per_second"], seconds)))
    return rows


def measure_steps(seconds: float) -> list[dict[str, Any]]:
    """What training steps take, in one thread; the field recipe with its own settings."""
    rows = []
    for name, crop, batch in STEPS:
        rows.append(
            report(f"step {name}, {batch} crops of {crop}", measure(_network_steps(name, crop, batch, seconds)))
        )
    rows.append(report("step field recipe, 8 views of 128x192", measure(_field_steps(seconds))))
    return rows


def _network_steps(name: str, crop: int, batch: int, seconds: float) -> Callable[[], int]:
    from unhaze.models.networks import create_network

    torch.manual_seed(0)
    network = create_network(name).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    hazy, clear = torch.rand(2, batch, 3, crop, crop)

    def run() -> int:
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            loss = torch.nn.functional.l1_loss(network(hazy).image, clear)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += batch
        return count

    return run


def _field_steps(seconds: float) -> Callable[[], int]:
    from dataclasses import replace

    from unhaze.recipes import field

    config = replace(field.Config(), threads=1)
    state = field.setup(config)
    prepared = field.make_batch(small_bank(), config, 0)

    def run() -> int:
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            field.step(state, prepared, config)
            count += config.stages[0].batch
        return count

    return run


def compare(rows: list[dict[str, Any]], steps: list[dict[str, Any]], most: int) -> None:
    """The verdict: CPU time of the steps over that of the loader with the most workers."""
    for step in steps:
        size = "128x192" if "128x192" in step["label"] else str(CROP)
        for row in rows:
            if row["label"].endswith(f"{most} workers") and size in row["label"]:
                ratio = step["cpu_ms"] / row["cpu_ms"]
                verdict = "enough" if ratio >= AIM else "TOO SLOW"
                print(f"{row['label']:46} {ratio:7.2f} times as fast as {step['label']}: {verdict}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="scenes for the synthesis; default is a few made here")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one run")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", choices=("formats", "synthesis", "steps"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    if options.only in (None, "formats"):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure_formats(Path(folder), options.pairs, options.seconds, options.workers)
    if options.only in (None, "synthesis"):
        rows += measure_synthesis(options.data, options.seconds, options.workers)
    if options.only in (None, "steps"):
        steps = measure_steps(options.seconds)
    compare(rows, steps, max(options.workers))
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "steps": steps}, indent=2))


if __name__ == "__main__":
    main()
