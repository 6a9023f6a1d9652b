"""P1's Table 2 in small: which part of DCMPNet helps, and do dehazing and depth estimation promote each other?

    python benchmarks/promotion_study.py --data DATA --out runs/promotion [--rows ROW ...] [--seeds 2] [--steps 700]

Every row is trained from fresh weights on the same samples for as many steps: the rows of the table, each with one part
more than the row before; the last one also with perceptrons that learn with the loss instead of against it, with no
gradient through the weights of Eq. 11, and with weights from the size of the differences in place of perceptrons; the
networks and the trainings of both official codes; and the depth network alone, on hazy pictures. M_u is the true depth
of the data set.

Scores are means over views of places that no run has seen, the same for all: PSNR and SSIM, and what the depth network
makes of the hazy and of the restored view against true nearness. Its map has no scale, so that the best scale and shift
of each view are taken first; then the mean absolute error (nearness is in [0, 1]) and the correlation. A run that has a
result is not done again, so the script can be stopped and started at will; all seeds of a row are done before the next.
The table is printed and written as ``study.md``. A gain is that over another row with the same seeds, and its interval
is Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from study import interval, scenes_of_places, write_dots

PARTS = ("legm", "mfm", "msaam", "de")
SIZES: dict[str, Any] = {
    "width": 12,
    "num_blocks": (1, 2, 2, 1, 1),
    "unet_width": 8,
    "depth_channels": (8, 16, 32, 48),
    "depth_growth": 8,
}
REPORTED = {"baseline": 35.69, "legm": 40.41, "mfm": 40.60, "msaam": 40.75, "de": 41.55, "dp": 42.18}


@dataclass(frozen=True)
class Row:
    """One line of the table: how many of ``PARTS`` are there, how its networks learn, and what it is compared with."""

    label: str
    parts: int = len(PARTS)
    perception: Literal["against", "with", "error", "off"] = "off"
    variant: Literal["paper", "official", "official-2023", "none"] = "paper"
    detach: bool = False
    over: str = "baseline"


ROWS = {
    "baseline": Row("Baseline", 0),
    "legm": Row("+LEGM", 1),
    "mfm": Row("+MFM", 2, over="legm"),
    "msaam": Row("+MSAAM", 3, over="mfm"),
    "de": Row("+DE", 4, over="msaam"),
    "dp": Row("+DP, against the loss", 4, "against", over="de"),
    "dp-with": Row("+DP, with the loss", 4, "with", over="de"),
    "dp-stop": Row("+DP, against, no gradient through weights", 4, "against", detach=True, over="de"),
    "dp-error": Row("+DP, size of the error, no gradient", 4, "error", detach=True, over="de"),
    "official": Row("official code", variant="official", over="msaam"),
    "official-2023": Row("official code of 2023", variant="official-2023", over="msaam"),
    "depth": Row("depth network alone", variant="none"),
}


def recipe_of(variant: str) -> Any:
    """The training of a variant; that of the paper where there is no other."""
    from unhaze.recipes import mutual_promotion, mutual_promotion_2023, mutual_promotion_official

    return {"official": mutual_promotion_official, "official-2023": mutual_promotion_2023}.get(
        variant, mutual_promotion
    )


def config_of(options: argparse.Namespace, row: Row, seed: int) -> Any:
    """Settings of a run; rows differ in what they are about alone."""
    from unhaze.training.pairs import DataConfig
    from unhaze.training.promotion import LossConfig, NetworkConfig
    from unhaze.training.record import LoopConfig
    from unhaze.training.steps import OptimizerConfig, ScheduleConfig

    network: dict[str, Any] = {part: i < row.parts for i, part in enumerate(PARTS)} | SIZES
    optimizer = OptimizerConfig("adam", options.lr, clip=1.0)
    return recipe_of(row.variant).Config(
        network=NetworkConfig(**network),
        teacher="true",
        perception=row.perception,
        detach_weights=row.detach,
        seed=seed,
        data=DataConfig(crop=options.crop, batch=options.batch, held_out=options.held_out, known_depth=True),
        loss=LossConfig(contrastive=float(options.contrastive)),
        optimizer=optimizer,
        depth_optimizer=optimizer,
        schedule=ScheduleConfig("cosine", warmup=min(20, options.steps // 4), final=0.01),
        loop=LoopConfig(steps=options.steps, checkpoint_every=10**9, log_every=20),
        device="cpu",
        threads=options.threads,
    )


def result_of(options: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Scores of one run; trained if there are none yet."""
    folder = options.out / name / f"seed{seed}"
    path, config = folder / "result.json", config_of(options, ROWS[name], seed)
    settings = json.loads(json.dumps(asdict(config)))
    if path.exists():
        stored: dict[str, Any] = json.loads(path.read_text())
        if stored["settings"] != settings:
            sys.exit(f"{path} is of other settings; choose another --out, or delete it.")
        return stored
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    found = depth_alone(config, options.data) if name == "depth" else both(config, options.data, folder)
    found |= {"seconds": time.perf_counter() - started, "settings": settings}
    path.write_text(json.dumps(found))
    return found


def both(config: Any, data: Path, folder: Path) -> dict[str, Any]:
    """Train the networks of a row, and score them."""
    import torch

    from unhaze.training.pairs import open_data
    from unhaze.training.promotion import trained_network
    from unhaze.training.validation import Validation, one_by_one

    state = recipe_of(config.variant).train(config, data, folder, resume="auto")
    network = trained_network(state).eval()
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    scores = [line for line in log if "val_psnr" in line][-1]
    _, held_out = open_data(config.data, data, config.seed)
    untouched = Validation(config.protocol)
    for batch in one_by_one(held_out, torch.device("cpu")):
        untouched.add(batch, batch.hazy)
    found = {
        "psnr": scores["val_psnr"],
        "ssim": scores["val_ssim"],
        "parameters": sum(p.numel() for p in network.parameters()),
        "untouched": untouched.scores(),
    }
    if state.depth is None:
        return found
    return found | score_depth(state.depth, held_out, lambda hazy: network.restore(hazy).image.clamp(0, 1))


def depth_alone(config: Any, data: Path) -> dict[str, Any]:
    """Train a depth network on hazy pictures, by the term of Eq. 9 that is about them, and score it."""
    import torch

    from unhaze.losses.depth import mean_over_known
    from unhaze.models.layers.dense_depth import DenseDepthNetwork
    from unhaze.training.pairs import batches, open_data
    from unhaze.training.state import keep_freed_memory, seed_everything
    from unhaze.training.steps import create_optimizer, create_scaler, descend, rate_factor, set_rate

    torch.set_num_threads(config.threads)
    keep_freed_memory()
    seed_everything(config.seed)
    network = DenseDepthNetwork(config.network.depth_channels, config.network.depth_growth)
    settings, scaler = config.depth_optimizer, create_scaler(torch.device("cpu"), "fp32")
    optimizer = create_optimizer(network.parameters(), settings)
    dataset, held_out = open_data(config.data, data, config.seed)
    stream = batches(dataset, config.data, seed=config.seed, first=0, steps=config.steps)
    for number, batch in enumerate(stream):
        set_rate(optimizer, settings.lr * rate_factor(config.schedule, number, config.steps))
        error = (network(2 * batch.hazy - 1) - batch.nearness).abs()
        loss = mean_over_known(error, batch.depth_known)  # Eq. 9, second term
        torch.autograd.backward(scaler.scale(loss))
        descend(optimizer, scaler, network.parameters(), settings.clip)
    return {"parameters": sum(p.numel() for p in network.parameters()), **score_depth(network, held_out)}


def score_depth(
    network: Any, samples: Sequence[Any], restore: Callable[[Any], Any] | None = None
) -> dict[str, dict[str, float]]:
    """What the depth network makes of hazy, clear and restored views: means over the views with known depth.

    Returns:
        By kind of view: ``error``, the mean absolute error behind the best scale and shift, and ``correlation``.
        ``constant`` has the error of a map without content.
    """
    import numpy as np
    import torch

    from unhaze.data.batch import collate

    network.eval()
    found: dict[str, list[tuple[float, float]]] = {}
    with torch.no_grad():
        for sample in samples:
            batch = collate([sample])
            if not bool(batch.depth_known.all()):
                continue
            views = {"hazy": batch.hazy, "clear": batch.clear}
            if restore is not None:
                views["restored"] = restore(batch.hazy)
            true = batch.nearness.numpy().ravel().astype(float)
            for kind, view in views.items():
                found.setdefault(kind, []).append(agreement(network(2 * view - 1).numpy().ravel().astype(float), true))
            found.setdefault("constant", []).append(agreement(np.zeros_like(true), true))
    return {
        kind: {"error": statistics.mean(e[0] for e in pairs), "correlation": statistics.mean(e[1] for e in pairs)}
        for kind, pairs in found.items()
    }


def agreement(preds: Any, target: Any) -> tuple[float, float]:
    """Mean absolute error behind the least-squares scale and shift, and Pearson's correlation; both are (N,)."""
    import numpy as np

    centred, true = preds - preds.mean(), target - target.mean()
    spread, product = float(centred @ centred), float(centred @ true)
    scale = product / spread if spread > 0 else 0.0
    length = (spread * float(true @ true)) ** 0.5
    return float(np.abs(scale * centred - true).mean()), product / length if length > 0 else 0.0


def table(results: dict[tuple[str, int], dict[str, Any]]) -> str:
    """Markdown of everything that is done."""
    by_row = {name: {s: r for (each, s), r in results.items() if each == name} for name in ROWS}
    lines = [
        "| row | reported PSNR | PSNR | seeds | gain | over | SSIM | parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, got in by_row.items():
        over = ROWS[name].over
        pairs = [(found, by_row[over].get(seed)) for seed, found in got.items() if "psnr" in found]
        if not pairs:
            continue
        gains = [found["psnr"] - base["psnr"] for found, base in pairs if base is not None and over != name]
        cells = (
            f"{REPORTED[name]:.2f}" if name in REPORTED else "",
            *mean_and_seeds([found["psnr"] for found, _ in pairs], 2),
            "{:+.2f} ± {:.2f}".format(*interval(gains)) if len(gains) > 1 else "",
            ROWS[over].label if len(gains) > 1 else "",
            f"{statistics.mean(found['ssim'] for found, _ in pairs):.4f}",
            f"{pairs[0][0]['parameters']:,}",
        )
        lines.append(f"| {ROWS[name].label} | {' | '.join(cells)} |")
    lines += [
        "",
        "| depth network of | error, hazy | seeds | error, restored | seeds | correlation, hazy | restored |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, got in by_row.items():
        maps = [found for found in got.values() if "hazy" in found]
        if not maps:
            continue
        restored = [found["restored"] for found in maps if "restored" in found]
        cells = (
            *mean_and_seeds([found["hazy"]["error"] for found in maps], 3),
            *mean_and_seeds([each["error"] for each in restored], 3),
            mean_and_seeds([found["hazy"]["correlation"] for found in maps], 3)[0],
            mean_and_seeds([each["correlation"] for each in restored], 3)[0],
        )
        lines.append(f"| {ROWS[name].label} | {' | '.join(cells)} |")
    untouched = [found["untouched"] for found in results.values() if "untouched" in found]
    if untouched:
        psnr, ssim = untouched[0]["psnr"], untouched[0]["ssim"]
        lines += ["", f"The hazy views themselves have {psnr:.2f} dB and {ssim:.4f}."]
    constant = [found["constant"]["error"] for found in results.values() if "constant" in found]
    if constant:
        lines += ["", f"A map without content has an error of {constant[0]:.3f}."]
    return "\n".join(lines) + "\n"


def mean_and_seeds(values: list[float], digits: int) -> tuple[str, str]:
    """The mean, and what it is of; empty if there is nothing."""
    if not values:
        return "", ""
    return f"{statistics.mean(values):.{digits}f}", ", ".join(f"{value:.{digits}f}" for value in values)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of both optimisers")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--held-out", type=int, default=48)
    parser.add_argument("--contrastive", action="store_true", help="add the contrastive term, which needs VGG19")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with scenes_of_places():
        study(options)


def study(options: argparse.Namespace) -> None:
    """Do the runs that have no result yet, and write tables and plots."""
    results: dict[tuple[str, int], dict[str, Any]] = {}
    for name, seed in product(options.rows, range(1, options.seeds + 1)):
        results[name, seed] = found = result_of(options, name, seed)
        scores = ", ".join(f"{key} {found[key]:.4g}" for key in ("psnr", "ssim") if key in found)
        depth = f", depth error {found['hazy']['error']:.3f}" if "hazy" in found else ""
        print(f"{name}, seed {seed}: {scores}{depth}, {found['seconds']:.0f} s", flush=True)
        (options.out / "study.md").write_text(table(results))
    psnr = {
        ROWS[name].label: [results[name, seed]["psnr"] for seed in range(1, options.seeds + 1)]
        for name in options.rows
        if name != "depth"
    }
    errors = {
        ROWS[name].label: [results[name, seed]["hazy"]["error"] for seed in range(1, options.seeds + 1)]
        for name in options.rows
        if "hazy" in results[name, 1]
    }
    write_dots(options.out / "dehazing.svg", {"dehazing": psnr}, "PSNR [dB]")
    if errors:
        write_dots(options.out / "depth.svg", {"depth of hazy views": errors}, "mean absolute error of nearness")
    print(table(results))


if __name__ == "__main__":
    main()
