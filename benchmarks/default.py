"""Scores of the default on pictures that it was not trained on, beside every other model, in one run.

    python benchmarks/default.py --data DATA [--models nothing dcp cap bccr field-m] [--sheets FOLDER]

Sources are trained on or judged on as a whole (``unhaze.default.scenes``). SOTS and ITS pairs and the real photographs
are never trained on. Prints one Markdown table; every model sees the same files in the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

from unhaze.data.synthetic.scenes import SKY_DEPTH
from unhaze.default.model import FieldModel
from unhaze.default.scenes import SOURCES, read_scene, scene_names
from unhaze.metrics.functional import chroma_shift, clipped, fade, lightness_change, niqe, ring
from unhaze.models.catalogue import create_haze_model
from unhaze.physics.synthesis import haze_field, synthesize_haze
from unhaze.restore.haze_field import solve_field, working_view
from unhaze.restore.options import DehazeOptions
from unhaze.restore.strips import restore_strips

Image = np.ndarray
Run = Callable[[Image], Image]
ROOM_VIEWS = {"more/rgbd/hololens_office": 24, "more/rgbd/lab_realsense": 12, "more/rgbd/planehec": 6}
KITCHEN_FRAMES, ROAD_FRAMES, CLEAR_PICTURES = 12, 16, 60
# close to clear, or synthetic: no real haze to judge
NOT_REAL = ("NYU2_102_7_2.jpg", "indoor.jpg", "man.png")


class Pair(NamedTuple):
    """A hazy picture and what lies behind the haze; (H, W, 3) uint8 RGB."""

    name: str
    hazy: Image
    clear: Image


class Score(NamedTuple):
    """Against the clear picture."""

    psnr: float
    ssim: float


def read(path: Path, flags: int = cv2.IMREAD_COLOR_RGB) -> Image:
    """Pixels of a file, RGB; the program ends where it is missing."""
    pixels = cv2.imread(str(path), flags)
    if pixels is None:
        raise SystemExit(f"{path} is missing; the data folder is not complete.")
    return pixels


def spread(names: list[str], count: int) -> list[str]:
    """``count`` of ``names``, evenly spaced."""
    return [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)]


def plain_haze(clear: Image, depth: Image, rng: np.random.Generator, beta: tuple[float, float]) -> Image:
    """Haze by the recipe of RESIDE: even, grey A in [.7, 1]; ``beta`` is the optical depth at the median depth."""
    optical = rng.uniform(*beta) * depth / np.median(depth)
    transmission = np.exp(-optical)[..., None]
    airlight = rng.uniform(0.7, 1.0) + rng.normal(0, 0.005, 3)
    hazy = clear / 255 * transmission + np.clip(airlight, 0, 1) * (1 - transmission)
    return np.clip(hazy * 255 + 0.5, 0, 255).astype(np.uint8)


def layered_haze(clear: Image, depth: Image, rng: np.random.Generator, mean: tuple[float, float]) -> Image:
    """Even or slightly patchy haze, bright and nearly grey, of a given mean optical depth; it ends before the sky."""
    # the sky is no scene at 350 m: haze in front of it is bounded, as that of a layer near the ground
    depth = np.minimum(depth, np.float32(0.4 * SKY_DEPTH))
    airlight = rng.uniform(0.75, 1.0) + rng.normal(0, 0.015, 3)
    density = haze_field(*depth.shape, seed=int(rng.integers(2**31)), contrast=0.2) if rng.random() < 0.3 else None
    beta = float(rng.uniform(*mean) / (depth if density is None else depth * density).mean())
    image = clear.astype(np.float32) / 255
    hazy, _ = synthesize_haze(image, depth, beta=beta, airlight=np.clip(airlight, 0, 1), density=density)
    return np.asarray(np.round(hazy * 255), np.uint8)


def held_out(data: Path, kind: str, counts: dict[str, int], beta: tuple[float, float], seed: int) -> Iterator[Pair]:
    """Hazed views of whole sources that are not trained on; ``beta`` as the kind of haze takes it."""
    number = 0
    for source in SOURCES:
        if source.folder not in counts or source.split != "validation" or source.kind != kind:
            continue
        for name in spread(scene_names(data, source), counts[source.folder]):
            scene = read_scene(data, name, source.kind, size=640)
            assert scene.depth is not None
            haze = layered_haze if kind == "road" else plain_haze
            hazy = haze(scene.image, scene.depth, np.random.default_rng((seed, number)), beta)
            yield Pair(name, hazy, scene.image)
            number += 1


def rooms(data: Path) -> Iterator[Pair]:
    """Views of an office and two laboratories with sensor depth."""
    return held_out(data, "room", ROOM_VIEWS, (0.6, 1.8), 1)


def kitchen(data: Path) -> Iterator[Pair]:
    """Frames of the kitchen of 7-Scenes with sensor depth."""
    return held_out(data, "room", {"rgbd": KITCHEN_FRAMES}, (0.6, 1.8), 2)


def road(data: Path) -> Iterator[Pair]:
    """Scenes of a drive that is not trained on, with ground-plane depth."""
    return held_out(data, "road", {"camvid/images": ROAD_FRAMES}, (0.12, 0.6), 3)


def reside(data: Path) -> Iterator[Pair]:
    """SOTS-indoor and ITS, never trained on."""
    for path in sorted((data / "reside_samples").glob("*/hazy/*")):
        hazy = read(path)
        clear = read(path.parents[1] / "gt" / (path.stem.partition("_")[0] + ".png"))
        top, left = ((clear.shape[i] - hazy.shape[i]) // 2 for i in (0, 1))
        yield Pair(path.stem, hazy, clear[top : top + hazy.shape[0], left : left + hazy.shape[1]])


def clear_pictures(data: Path) -> list[tuple[str, Image]]:
    """Clear photographs of collections that are not trained on."""
    names = [
        name
        for source in SOURCES
        if source.split == "validation" and source.kind == "outdoors"
        for name in scene_names(data, source)
    ]
    return [(name, read(data / name)) for name in spread(names, CLEAR_PICTURES)]


def thin(data: Path) -> Iterator[Pair]:
    """Clear photographs in thin haze that thickens upwards: mean optical depth .1 to .4, any depth being a guess."""
    for number, (name, clear) in enumerate(clear_pictures(data)):
        rng = np.random.default_rng((4, number))
        ramp = np.linspace(1.6, 0.4, clear.shape[0], dtype=np.float32)[:, None].repeat(clear.shape[1], axis=1)
        optical = ramp * rng.uniform(0.1, 0.4) * np.median(ramp)
        yield Pair(name, plain_haze(clear, optical, rng, (float(np.median(optical)),) * 2), clear)


def photographs(data: Path) -> dict[str, list[tuple[str, Image]]]:
    """Real photographs in haze and in fog, at most 1000 pixels long."""
    found = {}
    for folder in ("real_hazy", "real_fog"):
        paths = [path for path in sorted((data / folder).iterdir()) if path.name not in NOT_REAL]
        found[folder] = [(path.name, fit(read(path), 1000)) for path in paths]
    return found


def fit(image: Image, longest: int) -> Image:
    """Reduce to a long side."""
    scale = min(1.0, longest / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return image if scale == 1 else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def create(name: str, weights: str | None, options: dict[str, float]) -> Run:
    """The contestant called ``name``."""
    if name == "nothing":
        return lambda hazy: hazy
    method: Any = FieldModel(weights) if name == FieldModel.info.name else create_haze_model(name)
    chosen = DehazeOptions(**options)

    def run(hazy: Image) -> Image:
        out = np.empty_like(hazy)
        restore_strips(hazy, out, solve_field(working_view(hazy, 255), method, chosen), chosen)
        return out

    return run


def compare(restored: Image, clear: Image) -> Score:
    """PSNR and SSIM (Gaussian window, per channel) on 8-bit pictures."""
    error = float(np.mean((restored.astype(np.float64) - clear) ** 2))
    ssim = structural_similarity(
        restored, clear, channel_axis=2, gaussian_weights=True, sigma=1.5, data_range=255, use_sample_covariance=False
    )
    return Score(10 * np.log10(255**2 / max(error, 1e-4)), float(ssim))


def tensor(image: Image) -> torch.Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def judge(restored: Image, hazy: Image) -> dict[str, float]:
    """Measures of one result that need no clear picture."""
    after, before = tensor(restored), tensor(hazy)
    measures = {
        "ring": float(ring(after, before)),
        "L*": float(lightness_change(after, before)),
        "FADE": float(fade(after)),
        "clipped %": float(clipped(after, before)),
        "chroma": float(chroma_shift(after, before)),
    }
    if min(restored.shape[:2]) >= 256:  # NIQE is not defined below
        measures["NIQE"], measures["NIQE of the input"] = float(niqe(after)), float(niqe(before))
    return measures


def stability(run: Run, hazy: Image) -> dict[str, float]:
    """How far a result depends on size, side and frame."""
    whole = run(hazy)
    size = (hazy.shape[1] // 4, hazy.shape[0] // 4)
    first = run(np.asarray(cv2.resize(hazy, size, interpolation=cv2.INTER_AREA)))
    last = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA))
    mirrored = run(np.ascontiguousarray(hazy[:, ::-1]))[:, ::-1].astype(float)
    top = hazy.shape[0] // 4
    lower = run(np.ascontiguousarray(hazy[top:])).astype(float)
    return {
        "quarter size PSNR": compare(first, last).psnr,
        "mirrored, levels": float(np.abs(mirrored - whole).mean()),
        "lower three quarters, levels": float(np.abs(lower - whole[top:]).mean()),
    }


def score(run: Run, measured: Run, data: Path) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Means of all measures, and the values of every picture.

    Args:
        run: As users get it.
        measured: The same without giving brightness back: what is compared with a clear picture must not be brighter
            than the light that was in it.
        data: The sources.
    """
    means: dict[str, float] = {}
    details: dict[str, dict[str, Any]] = {}
    for title, pairs in (("rooms", rooms), ("kitchen", kitchen), ("road", road), ("SOTS/ITS", reside), ("thin", thin)):
        made = list(pairs(data))
        scores = {pair.name: compare(measured(pair.hazy), pair.clear) for pair in made}
        means[f"{title} PSNR"] = float(np.mean([each.psnr for each in scores.values()]))
        means[f"{title} SSIM"] = float(np.mean([each.ssim for each in scores.values()]))
        if title == "thin":
            nothing = np.mean([compare(pair.hazy, pair.clear).psnr for pair in made])
            means["thin, gain over nothing"] = means["thin PSNR"] - float(nothing)
        details[title] = {name: each.psnr for name, each in scores.items()}
    unharmed = {name: compare(run(clear), clear).psnr for name, clear in clear_pictures(data)}
    means["clear >= 35 dB %"] = 100 * float(np.mean([each >= 35 for each in unharmed.values()]))
    details["clear"] = unharmed
    for folder, pictures in photographs(data).items():
        judged = {name: judge(run(hazy), hazy) for name, hazy in pictures}
        for key in ("ring", "L*", "FADE", "NIQE", "NIQE of the input", "clipped %", "chroma"):
            means[f"{folder} {key}"] = float(np.mean([each[key] for each in judged.values() if key in each]))
        means[f"{folder} ring, largest"] = max(each["ring"] for each in judged.values())
        means[f"{folder} L*, darkest"] = min(each["L*"] for each in judged.values())
        details[folder] = judged
    stable = [stability(run, hazy) for pictures in photographs(data).values() for _, hazy in pictures]
    for key in stable[0]:
        means[key] = float(np.mean([each[key] for each in stable]))
    return means, details


def sheets(folder: Path, runs: dict[str, Run], data: Path) -> None:
    """Photographs beside each model's result, one row each."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in ("real_hazy", "real_fog"):
        for path in sorted((data / source).iterdir()):
            hazy = fit(read(path), 400)
            row = np.hstack([run(hazy) for run in runs.values()])
            cv2.imwrite(str(folder / f"{source}-{path.stem}.png"), cv2.cvtColor(row, cv2.COLOR_RGB2BGR))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["nothing", "dcp", "cap", "bccr", FieldModel.info.name])
    parser.add_argument("--weights", help="ONNX file for the default instead of the one that ships")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="option of every model")
    parser.add_argument("--sheets", type=Path, help="folder for before/after rows of the photographs")
    parser.add_argument("--json", type=Path, help="file for the scores of every picture")
    arguments = parser.parse_args()
    options = {key: float(value) for key, _, value in (each.partition("=") for each in arguments.set)}
    runs = {name: create(name, arguments.weights, options) for name in arguments.models}
    results, pictures = {}, {}
    for name, run in runs.items():
        started = time.perf_counter()
        measured = create(name, arguments.weights, options | {"keep_exposure": 0.0})
        results[name], pictures[name] = score(run, measured, arguments.data)
        results[name]["seconds"] = time.perf_counter() - started
    print("| measure | " + " | ".join(results) + " |")
    print("|---" * (len(results) + 1) + "|")
    for key in next(iter(results.values())):
        print(f"| {key} | " + " | ".join(f"{means[key]:.3f}" for means in results.values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"means": results, "pictures": pictures}, indent=1), "utf-8")
    if arguments.sheets:
        sheets(arguments.sheets, runs, arguments.data)


if __name__ == "__main__":
    main()
