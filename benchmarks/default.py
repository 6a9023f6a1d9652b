"""Scores of the default dehazer on pictures that it was not trained on.

    python benchmarks/default.py --data DATA [--methods nothing dcp cap bccr field-s] [--sheets FOLDER]

Hazed indoor frames and road scenes come from the validation split of ``unhaze.data.synthetic``; SOTS and ITS pairs and
the real photographs are never trained on. Prints one Markdown table; every method sees the same files in the same run.
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

from unhaze.data.synthetic import SKY_DEPTH, fill_missing_depth, ground_plane_depth, scene_split
from unhaze.inference.field import solve_field, working_view
from unhaze.inference.methods import create_method
from unhaze.inference.options import DehazeOptions
from unhaze.inference.strips import restore_strips
from unhaze.metrics.functional import chroma_shift, clipped, fade, niqe
from unhaze.physics.synthesis import haze_field, synthesize_haze

Image = np.ndarray
INDOOR_FRAMES, ROAD_FRAMES, CLEAR_PICTURES = 12, 16, 45
# close to clear, or synthetic: no real haze to judge
NOT_REAL = ("NYU2_102_7_2.jpg", "indoor.jpg", "man.png")


class Pair(NamedTuple):
    """A hazy picture and what lies behind the haze."""

    name: str
    hazy: Image  # (H, W, 3) uint8 RGB
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


def validation(data: Path, folder: str, pattern: str) -> list[str]:
    """Names of the validation split below ``folder``."""
    names = sorted(path.relative_to(data).as_posix() for path in data.glob(f"{folder}/{pattern}"))
    return [name for name in names if scene_split(name, names) == "validation"]


def spread(names: list[str], count: int) -> list[str]:
    """``count`` of ``names``, evenly spaced."""
    return [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)]


def hazed(clear: Image, depth: Image, rng: np.random.Generator, optical: tuple[float, float]) -> Image:
    """Haze of a given mean optical depth: even or slightly patchy, bright and nearly grey."""
    airlight = rng.uniform(0.75, 1.0) + rng.normal(0, 0.015, 3)
    density = haze_field(*depth.shape, seed=int(rng.integers(2**31)), contrast=0.2) if rng.random() < 0.3 else None
    mean = depth.mean() if density is None else (depth * density).mean()
    beta = float(rng.uniform(*optical) / mean)
    image = clear.astype(np.float32) / 255
    hazy, _ = synthesize_haze(image, depth, beta=beta, airlight=np.clip(airlight, 0, 1), density=density)
    return np.round(hazy * 255).astype(np.uint8)


def indoor(data: Path) -> Iterator[Pair]:
    """Hazed frames of a kitchen with sensor depth, 640 x 480."""
    for number, name in enumerate(spread(validation(data, "rgbd", "*.color.jpg"), INDOOR_FRAMES)):
        clear = read(data / name)
        raw = read(data / name.replace(".color.jpg", ".depth.png"), cv2.IMREAD_UNCHANGED)
        depth = fill_missing_depth(raw.astype(np.float32) / 1000, (raw > 0) & (raw <= 8000))
        yield Pair(Path(name).stem, hazed(clear, depth, np.random.default_rng((1, number)), (0.8, 1.5)), clear)


def road(data: Path) -> Iterator[Pair]:
    """Hazed driving scenes with ground-plane depth, 480 x 360."""
    names = validation(data, "camvid/images", "*")
    drives = sorted({Path(name).name.partition("_")[0] for name in names})
    chosen = [each for drive in drives for each in spread([n for n in names if f"/{drive}_" in n], 6)]
    for number, name in enumerate(spread(chosen, ROAD_FRAMES)):
        clear = read(data / name)
        depth = ground_plane_depth(read(data / "camvid/labels" / (Path(name).stem + ".png"), cv2.IMREAD_UNCHANGED))
        # the sky is no scene at 350 m: haze in front of it is bounded, as that of a layer near the ground
        depth = np.minimum(depth, 0.4 * SKY_DEPTH)
        yield Pair(Path(name).stem, hazed(clear, depth, np.random.default_rng((2, number)), (0.12, 0.6)), clear)


def reside(data: Path) -> Iterator[Pair]:
    """SOTS-indoor and ITS, never trained on."""
    for path in sorted((data / "reside_samples").glob("*/hazy/*")):
        hazy = read(path)
        clear = read(path.parents[1] / "gt" / (path.stem.partition("_")[0] + ".png"))
        top, left = ((clear.shape[i] - hazy.shape[i]) // 2 for i in (0, 1))
        yield Pair(path.stem, hazy, clear[top : top + hazy.shape[0], left : left + hazy.shape[1]])


def clear_pictures(data: Path) -> Iterator[Pair]:
    """Clear pictures as their own target: what is not hazy must not change."""
    for folder in sorted((data / "clear").iterdir()):
        for name in validation(data, f"clear/{folder.name}", "*"):
            clear = read(data / name)
            yield Pair(Path(name).stem, clear, clear)


def photographs(data: Path) -> list[tuple[str, Image]]:
    """Real hazy photographs, at most 1000 pixels long."""
    paths = [path for path in sorted((data / "real_hazy").iterdir()) if path.name not in NOT_REAL]
    return [(path.name, fit(read(path), 1000)) for path in paths]


def fit(image: Image, longest: int) -> Image:
    """Reduce to a long side."""
    scale = min(1.0, longest / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def dehazer(method: Any, options: DehazeOptions) -> Callable[[Image], Image]:
    """A function of one picture from a method."""

    def run(hazy: Image) -> Image:
        out = np.empty_like(hazy)
        restore_strips(hazy, out, solve_field(working_view(hazy, 255), method, options), options)
        return out

    return run


def create(name: str, weights: str | None, options: dict[str, float]) -> Callable[[Image], Image]:
    """The contestant called ``name``."""
    if name == "nothing":
        return lambda hazy: hazy
    if name.startswith("field"):
        from unhaze.inference.methods.field import FieldMethod

        method: Any = FieldMethod(weights)
        return dehazer(method, DehazeOptions(**options))
    return dehazer(create_method(name), DehazeOptions())


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


def score(run: Callable[[Image], Image], data: Path) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Means of all measures, and the values of every picture."""
    means: dict[str, float] = {}
    details: dict[str, dict[str, float]] = {}
    for title, pairs in (("indoor", indoor), ("road", road), ("reside", reside)):
        scores = {pair.name: compare(run(pair.hazy), pair.clear) for pair in pairs(data)}
        means[f"{title} PSNR"] = float(np.mean([each.psnr for each in scores.values()]))
        means[f"{title} SSIM"] = float(np.mean([each.ssim for each in scores.values()]))
        details[title] = {name: each.psnr for name, each in scores.items()}
    unharmed = {pair.name: compare(run(pair.hazy), pair.clear).psnr for pair in clear_pictures(data)}
    means["clear PSNR"] = float(np.mean([min(each, 60) for each in unharmed.values()]))
    means["clear >= 35 %"] = 100 * float(np.mean([each >= 35 for each in unharmed.values()]))
    details["clear"] = unharmed
    real = {name: judge(run(hazy), hazy) for name, hazy in photographs(data)}
    for key in ("FADE", "NIQE", "clipped %", "chroma"):
        means[f"real {key}"] = float(np.nanmean([each[key] for each in real.values()]))
        details[f"real {key}"] = {name: each[key] for name, each in real.items()}
    means["quarter size PSNR"] = float(np.mean([quarter(run, hazy) for _, hazy in photographs(data)]))
    return means, details


def judge(restored: Image, hazy: Image) -> dict[str, float]:
    """No-reference measures of one result."""
    after, before = tensor(restored), tensor(hazy)
    return {
        "FADE": float(fade(after)),
        # NIQE is not defined on pictures below 256 pixels
        "NIQE": float(niqe(after)) if min(restored.shape[:2]) >= 256 else float("nan"),
        "clipped %": float(clipped(after, before)),
        "chroma": float(chroma_shift(after, before)),
    }


def quarter(run: Callable[[Image], Image], hazy: Image) -> float:
    """PSNR of dehaze(resize(x)) against resize(dehaze(x)) at a quarter of the size."""
    size = (hazy.shape[1] // 4, hazy.shape[0] // 4)
    first = run(np.asarray(cv2.resize(hazy, size, interpolation=cv2.INTER_AREA)))
    last = cv2.resize(run(hazy), size, interpolation=cv2.INTER_AREA)
    return compare(first, last).psnr


def sheet(path: Path, runs: dict[str, Callable[[Image], Image]], data: Path) -> None:
    """Hazy photographs beside each method's result."""
    path.mkdir(parents=True, exist_ok=True)
    for name, hazy in [(p.name, fit(read(p), 480)) for p in sorted((data / "real_hazy").iterdir())]:
        row = np.hstack([run(hazy) for run in runs.values()])
        cv2.imwrite(str(path / f"{Path(name).stem}.png"), cv2.cvtColor(row, cv2.COLOR_RGB2BGR))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["nothing", "dcp", "cap", "bccr", "field-s"])
    parser.add_argument("--weights", help="ONNX file for field-s instead of the one that ships")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="option of field-s")
    parser.add_argument("--sheets", type=Path, help="folder for before/after rows of the photographs")
    parser.add_argument("--json", type=Path, help="file for the scores of every picture")
    arguments = parser.parse_args()
    options = {key: float(value) for key, _, value in (each.partition("=") for each in arguments.set)}
    runs = {name: create(name, arguments.weights, options) for name in arguments.methods}
    results, pictures = {}, {}
    for name, run in runs.items():
        started = time.perf_counter()
        results[name], pictures[name] = score(run, arguments.data)
        results[name]["seconds"] = time.perf_counter() - started
    print("| measure | " + " | ".join(results) + " |")
    print("|---" * (len(results) + 1) + "|")
    for key in next(iter(results.values())):
        print(f"| {key} | " + " | ".join(f"{means[key]:.3f}" for means in results.values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"means": results, "pictures": pictures}, indent=1), "utf-8")
    if arguments.sheets:
        sheet(arguments.sheets, runs, arguments.data)


if __name__ == "__main__":
    main()
