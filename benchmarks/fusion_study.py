"""P2 in small: does depth help, which module, which parts of it, and does it matter whose depth it is?

    python benchmarks/fusion_study.py --data DATA --out runs/study [--tables ...] [--backbones ...] [--seeds 2]

Every network is trained on colour alone first (stage 1), once per seed. From these weights each variant is trained on
(stage 2) for as many steps, a control without fusion included, on the same samples. Scores are PSNR and SSIM on views
with true depth of places that no run has seen, the same for all. A run that has a result is not done again, so the
script can be stopped and started at will; one table of one network is finished before the next is begun. The tables are
printed, and written as ``study.md`` and as plots, ``table1.svg``.

A gain is over "none" of the same network and seed, and its interval is Student's t over seeds, or over all pairs of
network and seed in the rows "all".
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, product
from math import isnan
from pathlib import Path
from typing import Any, Literal

from small_networks import register_small
from study import interval, scenes_of_places, write_dots

TABLES = ("1", "forms", "3", "4", "6")
DEPTHS = ("stored", "compact", "shuffled")
FUSIONS = ("concat", "selfpromer", "prompthaze", "udpnet", "hgdf")
# rows of P2, Tables 3, 4 and 6: switches that are off, and whether the network is frozen
PARTS = {"CFE+DAI": ("channel_gate", "feed_forward", "spatial_gate"), "+ASG": ("channel_gate", "feed_forward")}
ZEROS = {"no zero": ("zero_pre", "zero_post"), "pre only": ("zero_post",), "post only": ("zero_pre",)}
# readings of P2, Eq. 2, and controls: the depth that is given, and switches that are off; see unhaze/fusion/hgdf.py
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "HGDF": ("stored", ()),
    "depth of another picture": ("shuffled", ()),
    "depth as key alone": ("stored", ("add_depth",)),
    "key of colour": ("stored", ("depth_key",)),
    "x + Z(p(d)) alone": ("stored", ("copy",)),
    "the same, depth of another picture": ("shuffled", ("copy",)),
}


@dataclass(frozen=True)
class Run:
    """One training of stage 2."""

    table: str
    backbone: str
    row: str
    fusion: str = "hgdf"
    depth: str = "stored"
    switches: tuple[str, ...] = ()
    freeze: Literal["backbone", "none"] = "none"

    def path(self, seed: int) -> Path:
        """Below the folder of the study; tables share runs that are alike."""
        off = "".join(f"-{switch}" for switch in self.switches)
        frozen = "-frozen" if self.freeze == "backbone" else ""
        return Path(self.backbone) / f"{self.fusion}-{self.depth}{off}{frozen}" / f"seed{seed}"


def grid(tables: Iterable[str], backbones: list[str]) -> list[Run]:
    """All runs of the tables that are asked for."""
    runs: list[Run] = []
    for table in tables:
        for backbone in backbones if table in ("1", "forms") else backbones[:1]:
            runs += rows_of(table, backbone)
    return runs


def rows_of(table: str, backbone: str) -> list[Run]:
    """Runs of one table on one network."""
    none = Run(table, backbone, "none", "none", "none")
    whole = Run(table, backbone, "HGDF")
    if table == "1":
        # the depth of a restoration can only be estimated, so SelfPromer has no true depth
        pairs = [(f, d) for f in FUSIONS for d in DEPTHS if not (f == "selfpromer" and d != "compact")]
        return [none, *(Run(table, backbone, f"{f}, {d}", f, d) for f, d in pairs)]
    if table == "forms":
        rows = [Run(table, backbone, row, depth=depth, switches=off) for row, (depth, off) in FORMS.items()]
        return [none, *rows]
    if table == "3":
        return [none, *(Run(table, backbone, row, switches=off) for row, off in PARTS.items()), whole]
    if table == "4":
        return [none, Run(table, backbone, "frozen", freeze="backbone"), replace(whole, row="full")]
    return [none, *(Run(table, backbone, row, switches=off) for row, off in ZEROS.items()), replace(whole, row="both")]


def configs(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What all trainings share."""
    from unhaze.training.pairs import DataConfig
    from unhaze.training.record import LoopConfig
    from unhaze.training.steps import OptimizerConfig, ScheduleConfig

    return {
        "seed": seed,
        "data": DataConfig(crop=options.crop, batch=options.batch, held_out=options.held_out, known_depth=True),
        "optimizer": OptimizerConfig("adamw", 1e-3, clip=1.0),
        "schedule": ScheduleConfig("cosine", warmup=20, final=0.02),
        "loop": LoopConfig(steps=options.steps, checkpoint_every=10**9, log_every=50),
        "ema": 0.98,
        "threads": options.threads,
    }


def first_stage(options: argparse.Namespace, backbone: str, seed: int) -> Path:
    """Weights of a network that was trained on colour alone."""
    from unhaze.recipes import supervised

    folder = options.out / backbone / "stage1" / f"seed{seed}"
    weights: Path = folder / "weights.safetensors"
    if not weights.exists():
        config = supervised.Config(network=backbone, **configs(options, seed))
        config = replace(config, loop=replace(config.loop, steps=options.first_steps))
        supervised.main(config, options.data, folder, resume="auto")
    return weights


def second_stage(options: argparse.Namespace, run: Run, seed: int) -> dict[str, Any]:
    """Scores of one run; trained if there are none yet."""
    from unhaze.recipes import depth_fusion, supervised

    folder = options.out / run.path(seed)
    result = folder / "result.json"
    if result.exists():
        stored: dict[str, Any] = json.loads(result.read_text())
        return stored
    weights, started = str(first_stage(options, run.backbone, seed)), time.perf_counter()
    shared = {**configs(options, seed + 1000), "seed": seed + 1000}
    if run.fusion == "none":
        supervised.main(
            supervised.Config(network=run.backbone, weights=weights, **shared), options.data, folder, resume="auto"
        )
    else:
        config = depth_fusion.Config(
            model=f"{run.backbone}+{run.fusion}",
            backbone_weights=weights,
            depth=run.depth,
            freeze=run.freeze,
            switches=run.switches,
            **shared,
        )
        depth_fusion.main(config, options.data, folder, resume="auto")
    scores = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines() if "val_psnr" in line][-1]
    found = {"psnr": scores["val_psnr"], "ssim": scores["val_ssim"], "seconds": time.perf_counter() - started}
    result.write_text(json.dumps(found))
    return found


def gains(runs: Iterable[Run], scores: dict[tuple[Path, int], dict[str, Any]], seeds: int) -> list[float]:
    """PSNR over "none" of the same network and seed, of all that is done."""
    found = []
    for run in runs:
        none = Run(run.table, run.backbone, "none", "none", "none").path
        for seed in range(1, seeds + 1):
            if (run.path(seed), seed) in scores and (none(seed), seed) in scores:
                found.append(scores[run.path(seed), seed]["psnr"] - scores[none(seed), seed]["psnr"])
    return found


def table(runs: list[Run], scores: dict[tuple[Path, int], dict[str, Any]], seeds: int) -> str:
    """Markdown of everything that is done."""
    lines = []
    for name in dict.fromkeys(run.table for run in runs):
        of_table = [run for run in runs if run.table == name]
        lines += [
            "\n### Readings of Eq. 2\n" if name == "forms" else f"\n### Like P2, Table {name}\n",
            "| network | variant | PSNR | seeds | gain | of each seed | SSIM |",
            "|---|---|---|---|---|---|---|",
        ]
        for run in of_table:
            got = [scores[run.path(s), s] for s in range(1, seeds + 1) if (run.path(s), s) in scores]
            if not got:
                continue
            psnr, ssim = (statistics.mean(each[key] for each in got) for key in ("psnr", "ssim"))
            each, gain = ", ".join(f"{one['psnr']:.2f}" for one in got), gains([run], scores, seeds)
            cells = "| |" if run.row == "none" else f"{_with_interval(gain)} | {', '.join(f'{g:+.2f}' for g in gain)} |"
            lines.append(f"| `{run.backbone}` | {run.row} | {psnr:.2f} | {each} | {cells} {ssim:.4f} |")
        for row in dict.fromkeys(run.row for run in of_table if run.row != "none"):
            gain = gains([run for run in of_table if run.row == row], scores, seeds)
            if len(gain) > seeds:
                lines.append(f"| all | {row} | | | {_with_interval(gain)} | | |")
    return "\n".join(lines) + "\n"


def _with_interval(values: list[float]) -> str:
    mean, half = interval(values)
    return f"{mean:+.2f} ± {half:.2f}" if not isnan(half) else f"{mean:+.2f}"


def panels(
    runs: list[Run], scores: dict[tuple[Path, int], dict[str, Any]], seeds: int, name: str
) -> dict[str, dict[str, list[float]]]:
    """PSNR of each seed by network and variant, of one table."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in (run for run in runs if run.table == name):
        values = [scores[run.path(s), s]["psnr"] for s in range(1, seeds + 1)]
        found.setdefault(run.backbone, {})[run.row] = values
    return found


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--backbones", nargs="+", default=["dehazeformer-small", "oknet-small", "coa-small"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--crop", type=int, default=48)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    register_small()
    with scenes_of_places():
        study(options)


def study(options: argparse.Namespace) -> None:
    """Do the runs that have no result yet, and write tables and plots."""
    runs: list[Run] = grid(options.tables, options.backbones)
    scores: dict[tuple[Path, int], dict[str, Any]] = {}
    for _, group in groupby(runs, key=lambda run: (run.table, run.backbone)):
        for run, seed in product(group, range(1, options.seeds + 1)):
            if (run.path(seed), seed) in scores:
                continue
            scores[run.path(seed), seed] = found = second_stage(options, run, seed)
            print(f"{run.path(seed)}: {found['psnr']:.2f} dB, {found['seconds']:.0f} s", flush=True)
            (options.out / "study.md").write_text(table(runs, scores, options.seeds))
    for name in options.tables:
        write_dots(options.out / f"table{name}.svg", panels(runs, scores, options.seeds, name), "PSNR [dB]")
    print(table(runs, scores, options.seeds))


if __name__ == "__main__":
    main()
