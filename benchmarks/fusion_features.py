"""P2's claim, measured on fusions of the fusion study: are colour features steadier over haze after fusion than before?

    python benchmarks/fusion_features.py --data DATA --study runs/fusion --out runs/features [--backbones ...]

Every held-out place of ``unhaze.default.scenes`` gives ``--count`` clear scenes with depth, reduced to ``--longest``
and scaled to a median depth of 10 m, in even haze of ``--levels`` densities. Of each stage where depth is fused, and of
the restored picture, the distance of the features in haze to those of the clear scene is taken: relative (L2 over L2),
and as a share of the distance to the features of another scene. Four networks are compared, of the same seed:

- the network trained on without fusion;
- HGDF's own network with the fusion switched off: the features before fusion;
- HGDF with the true depth, the same for the clear and the hazy scene;
- HGDF with wrong depth (true depth turned by half). What it gains, depth did not do.

Intervals are Student's t over pairs of network and seed. Tables and pictures of features are written into ``--out``.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from small_networks import SMALL, register_small
from study import interval
from unhaze.default.scenes import SOURCES, read_scene, scene_names
from unhaze.evaluation.studies.consistency import Consistency, measure_consistency
from unhaze.evaluation.studies.pictures import feature_sheet
from unhaze.evaluation.studies.probes import Probe, fused_probe, network_probe
from unhaze.evaluation.studies.scenes import ClearScene, haze_levels
from unhaze.models.checkpoints.loading import load_weights
from unhaze.models.guided import load_model
from unhaze.models.networks import create_network

MEDIAN = 10.0  # [m]
NAMES = ("without fusion", "fusion off", "true depth", "wrong depth")


def scenes_of(data: Path, count: int, longest: int) -> list[ClearScene]:
    """Clear scenes of places that no run of the study has seen."""
    found = []
    for source in SOURCES:
        names = scene_names(data, source)
        if source.split != "validation" or source.kind not in ("room", "road") or not names:
            continue
        for name in names[:: max(1, len(names) // count)][:count]:
            scene = read_scene(data, name, source.kind, longest)
            assert scene.depth is not None
            size = tuple(side - side % 16 for side in scene.image.shape[1::-1])
            depth = cv2.resize(scene.depth, size, interpolation=cv2.INTER_AREA)
            depth = np.maximum(depth * np.float32(MEDIAN / np.median(depth)), np.float32(1e-3))
            clear = cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
            found.append(ClearScene(name, clear, depth))
    return found


def probes_of(study: Path, backbone: str, seed: int) -> list[Probe]:
    """The four networks of one seed, in the order of ``NAMES``."""
    folder = study / backbone
    plain = create_network(backbone)
    load_weights(plain, folder / "none-none" / f"seed{seed}" / "weights.safetensors")
    model = load_model(folder / "hgdf-stored" / f"seed{seed}" / "weights.safetensors", f"{backbone}+hgdf")
    fused = fused_probe(model, NAMES[2])

    def turned(image: torch.Tensor, depth: torch.Tensor) -> Any:
        return fused.features(image, depth.flip(-1, -2))

    return [
        network_probe(plain.eval(), NAMES[0]),
        network_probe(model.backbone, NAMES[1]),
        fused,
        Probe(NAMES[3], "trained", turned),
    ]


def stages_to_show(backbone: str) -> tuple[str, ...]:
    """Where depth is fused, and what comes out."""
    from unhaze.models.sites import DEFAULT_SITES

    return (*DEFAULT_SITES[SMALL[backbone][0].partition("-")[0]], "restored")


def table(found: dict[tuple[str, int], Consistency], backbones: list[str]) -> str:
    """Markdown: distances at the middle and the densest level, and the difference that fusion makes."""
    lines = [
        "| network | stage | features | relative, middle | densest | / scene, middle | densest |",
        "|---|---|---|---|---|---|---|",
    ]
    gains: dict[tuple[str, str], list[float]] = {}
    for backbone in backbones:
        runs = [result for (each, _), result in sorted(found.items()) if each == backbone]
        if not runs:
            continue
        middle, last = len(runs[0].betas) // 2, len(runs[0].betas) - 1
        for stage in stages_to_show(backbone):
            means = {}
            for name in NAMES:
                cells = []
                for measure in ("relative", "scene"):
                    for level in (middle, last):
                        each = [float(np.nanmean(values_of(run, name, stage, measure)[level])) for run in runs]
                        means[name, measure, level] = each
                        cells.append(f"{statistics.mean(each):.3f}")
                lines.append(f"| `{backbone}` | {stage} | {name} | {' | '.join(cells)} |")
            kind = "restored" if stage == "restored" else "fused stages"
            for name in NAMES[2:]:
                before = "without fusion" if stage == "restored" else "fusion off"
                for measure in ("relative", "scene"):
                    pairs = zip(means[name, measure, last], means[before, measure, last], strict=True)
                    gains.setdefault((f"{kind}, {name}", measure), []).extend(a / b - 1 for a, b in pairs)
    lines += ["", "| densest haze, change of the distance by fusion | relative | / scene |", "|---|---|---|"]
    for label in dict.fromkeys(label for label, _ in gains):
        cells = ["{:+.1%} ± {:.1%}".format(*interval(gains[label, measure])) for measure in ("relative", "scene")]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def values_of(result: Consistency, probe: str, stage: str, measure: str) -> np.ndarray:
    """(levels, pictures)."""
    (found,) = [each for each in result.stages if (each.probe, each.stage) == (probe, stage)]
    return np.asarray(getattr(found, measure))


def only(probe: Probe, stages: tuple[str, ...]) -> Probe:
    """The probe with some of its stages."""

    def features(image: torch.Tensor, depth: torch.Tensor) -> Any:
        found = probe.features(image, depth)
        return {stage: found[stage] for stage in stages}

    return replace(probe, features=features)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--study", type=Path, required=True, help="--out of the fusion study")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbones", nargs="+", default=list(SMALL))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--count", type=int, default=4, help="scenes of each place")
    parser.add_argument("--longest", type=int, default=160)
    parser.add_argument("--levels", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    register_small()
    options.out.mkdir(parents=True, exist_ok=True)
    scenes, betas = scenes_of(options.data, options.count, options.longest), haze_levels(options.levels)
    found: dict[tuple[str, int], Consistency] = {}
    for backbone in options.backbones:
        stages = stages_to_show(backbone)
        for seed in range(1, options.seeds + 1):
            probes = [only(probe, stages) for probe in probes_of(options.study, backbone, seed)]
            with torch.no_grad():
                found[backbone, seed] = measure_consistency(probes, scenes, betas)
                if seed == 1:
                    sheet = feature_sheet(probes[1:3], scenes[0], betas)
                    cv2.imwrite(str(options.out / f"features-{backbone}.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    written = table(found, options.backbones)
    (options.out / "features.md").write_text(written)
    print(f"{len(scenes)} scenes\n\n{written}")


if __name__ == "__main__":
    main()
