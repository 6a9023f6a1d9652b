"""Is ``compact-v2`` better than ``compact`` in places that neither was trained on, and does haze move it less?

    python benchmarks/depth_estimation.py --data DATA --out runs/depth --weights FILE [--count 24] [--hazed 8]

Places are the held-out ones of ``unhaze.default.scenes`` with depth, and four streets of Cityscapes.

Error: at pixels with true depth, on up to ``count`` clear pictures of each place, after the best scale and shift of
each picture (least squares; no scale below 0). Alignment is of inverse depth, and a second time of the logarithm of
depth, which suits ``compact``, taught in logarithms, better. Depth is cut at the largest true one of the picture.
absrel is the mean of |d - g| / g, delta the share of pixels with max(d / g, g / d) < 1.25.

Haze: up to ``hazed`` pictures of each place at the six levels of ``unhaze analyze``, with depth scaled to a median of
10 m in every picture, so that rooms and streets are as hazy: optical depth 0.4 to 2.0 at the median. Distances of depth
(nearness) and features to those of the clear picture, KL of depth, and the error at the third and the last level.
Nearness of inverse depth and of depth are not moved alike, so ``compact`` is measured as inverse depth, too.

Tables are printed and written as ``depth.md``, all numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from unhaze.data.synthetic.scenes import fill_missing_depth, ground_plane_depth
from unhaze.default.scenes import SOURCES, Source, scene_names
from unhaze.depth import create_depth
from unhaze.depth.base import DepthEstimator
from unhaze.evaluation.studies.consistency import measure_consistency
from unhaze.evaluation.studies.divergence import control_estimators, measure_divergence
from unhaze.evaluation.studies.probes import control_probes, estimator_probe, field_probe
from unhaze.evaluation.studies.scenes import ClearScene, haze_levels, hazed
from unhaze.evaluation.studies.spread import spread_of
from unhaze.types import DepthMap

PLACES = {
    "7-Scenes kitchen": "rgbd",
    "HoloLens office": "more/rgbd/hololens_office",
    "RealSense lab": "more/rgbd/lab_realsense",
    "Azure Kinect lab": "more/rgbd/planehec",
    "CamVid drive 0006R0": "camvid/images",
    "Cityscapes": "more/rgbd/cityscapes_demo",
}
LONGEST, MEDIAN = 320, 10.0  # [px], [m]
FARTHEST = 80.0  # of CamVid's ground plane [m]; beyond it is the sky
ALIGNMENTS = ("inverse", "logarithm")


def source_of(folder: str) -> Source:
    """The held-out part of a folder; all of it where no training reads it."""
    held_out = [each for each in SOURCES if each.split == "validation" and each.folder == folder]
    return held_out[0] if held_out else Source(folder, "outdoors", "validation")


def read(data: Path, name: str) -> tuple[ClearScene, np.ndarray]:
    """A clear picture with depth everywhere [m], and where it was measured."""
    image = cv2.imread(str(data / name), cv2.IMREAD_COLOR_RGB)
    if name.startswith("camvid"):
        labels = cv2.imread(str(data / "camvid/labels" / (Path(name).stem + ".png")), cv2.IMREAD_UNCHANGED)
        depth = ground_plane_depth(labels)
        known = (labels != 0) & (depth < FARTHEST)
    else:
        stem = name.removesuffix(".jpg").removesuffix(".color")
        raw = cv2.imread(str(data / f"{stem}.depth.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
        known = (raw > 0) & (raw <= (8000 if name.startswith("rgbd/") else np.inf))
        depth = fill_missing_depth(raw / np.float32(1000), known)
    scale = min(1.0, LONGEST / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    clear = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    depth = cv2.resize(depth.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    known = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return ClearScene(name, clear, np.maximum(depth, 1e-3)), known


def chosen(names: list[str], count: int) -> list[str]:
    """``count`` names, spread evenly."""
    return [names[i] for i in sorted({round(x) for x in np.linspace(0, len(names) - 1, min(count, len(names)))})]


def errors(estimator: torch.nn.Module, clear: np.ndarray, truth: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Errors of one picture by measure and alignment; ``known`` says at which pixels."""
    found = estimator(torch.from_numpy(clear.transpose(2, 0, 1).copy())[None])
    values, g = found.map[0, 0].double().numpy()[known], truth[known].astype(float)
    inverse = 1 / values if found.kind == "relative" else values
    cap, result = g.max(), {}
    for alignment in ALIGNMENTS:
        x, y = (inverse, 1 / g) if alignment == "inverse" else (-np.log(inverse), np.log(g))
        scale, shift = np.polyfit(x, y, 1)
        aligned = scale * x + shift if scale > 0 else np.full_like(x, y.mean())
        d = 1 / np.maximum(aligned, 1 / cap) if alignment == "inverse" else np.minimum(np.exp(aligned), cap)
        result[f"absrel {alignment}"] = float(np.mean(np.abs(d - g) / g))
        result[f"delta {alignment}"] = float(np.mean(np.maximum(d / g, g / d) < 1.25))
    return result


class Inverted(DepthEstimator):
    """Depth of another estimator as inverse depth."""

    kind = "inverse_relative"

    def __init__(self, estimator: DepthEstimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, image: torch.Tensor) -> DepthMap[torch.Tensor]:
        """See the base class."""
        return DepthMap(1 / self.estimator(image).map, self.kind)


def as_hazy_as_all(scene: ClearScene) -> ClearScene:
    """The scene with its depth scaled to the common median."""
    return replace(scene, depth=(scene.depth * np.float32(MEDIAN / np.median(scene.depth))).astype(np.float32))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def shown(values: list[float]) -> str:
    """Mean and standard deviation over pictures."""
    spread = spread_of(tuple(values))
    return f"{spread.mean:.3f} ± {spread.std:.3f}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="what unhaze train compact-v2 wrote")
    parser.add_argument("--count", type=int, default=24, help="clear pictures of each place")
    parser.add_argument("--hazed", type=int, default=8, help="pictures of each place that are hazed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    estimators = {
        "compact": create_depth("compact"),
        "compact-v2": create_depth("compact-v2", weights=options.weights),
    }
    names = {place: scene_names(options.data, source_of(folder)) for place, folder in PLACES.items()}
    levels = haze_levels()
    clear, thick, scenes = [], [], []
    for place, found in names.items():
        few = set(chosen(found, options.hazed))
        for name in sorted({*chosen(found, options.count), *few}):
            scene, known = read(options.data, name)
            for key, estimator in estimators.items():
                facts = {"place": place, "estimator": key, "picture": name}
                clear.append({**facts, **errors(estimator, scene.clear, scene.depth, known)})
                for level in (levels[2], levels[-1]) if name in few else ():
                    picture, _ = hazed(as_hazy_as_all(scene), level)
                    thick.append({**facts, "beta": level, **errors(estimator, picture, scene.depth, known)})
            if name in few:
                scenes.append(as_hazy_as_all(scene))
    steady = {**estimators, "compact, inverted": Inverted(estimators["compact"])}
    probes = [estimator_probe(each, f"depth of {key}") for key, each in steady.items()]
    consistency = measure_consistency([*probes, field_probe(), *control_probes()], scenes, levels)
    known_by = {key: (each, "trained") for key, each in steady.items()}
    divergence = measure_divergence({**known_by, **control_estimators()}, scenes, levels)

    def of(rows: list[dict], measure: str, **wanted: object) -> list[float]:
        return [row[measure] for row in rows if all(row[key] == value for key, value in wanted.items())]

    measures = [f"{name} {alignment}" for alignment in ALIGNMENTS for name in ("absrel", "delta")]
    parts = ["## Error on clear pictures of unseen places"]
    rows = [
        [place, key, str(len(of(clear, measures[0], place=place, estimator=key)))]
        + [shown(of(clear, measure, place=place, estimator=key)) for measure in measures]
        for place in PLACES
        for key in estimators
    ]
    for key in estimators:  # every place counts alike
        means = [[np.mean(of(clear, m, place=place, estimator=key)) for place in PLACES] for m in measures]
        rows.append(["mean of places", key, str(len(PLACES)), *(f"{np.mean(each):.3f}" for each in means)])
    parts.append(table(["place", "estimator", "pictures", *measures], rows))
    parts.append("## Error in haze")
    rows = [
        [f"{beta}", key, *(shown(of(thick, measure, beta=beta, estimator=key)) for measure in measures)]
        for beta in (levels[2], levels[-1])
        for key in estimators
    ]
    parts.append(table(["beta", "estimator", *measures], rows))
    parts.append("## Distance to the clear picture's, six levels")
    rows = [
        [f"{each.probe}, {each.stage}", measure, *(f"{each.spread(measure, i).mean:.3f}" for i in range(len(levels)))]
        for each in consistency.stages
        for measure in ("relative", "scene")
    ]
    parts.append(table(["features", "measure", *map(str, levels)], rows))
    parts.append("## KL(clear || hazy) [nat]")
    rows = [
        [
            each.name,
            kind,
            *(f"{each.spread(kind, i).mean:.3f}" for i in range(len(levels))),
            f"{each.other(kind).mean:.3f}",
        ]
        for each in divergence.estimators
        for kind in ("pixels", "histogram")
    ]
    parts.append(table(["estimator", "definition", *map(str, levels), "other picture"], rows))
    options.out.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(parts) + "\n"
    (options.out / "depth.md").write_text(text, "utf-8")
    (options.out / "errors.json").write_text(json.dumps({"clear": clear, "hazed": thick}, indent=1), "utf-8")
    (options.out / "consistency.json").write_text(consistency.to_json(), "utf-8")
    (options.out / "divergence.json").write_text(divergence.to_json(), "utf-8")
    print(text)


if __name__ == "__main__":
    main()
