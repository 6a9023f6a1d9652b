"""Speed of dehazing against the alternatives, all in one run on the same machine.

    python benchmarks/dehaze.py [--repeats 5] [--large] [--only calls pipe folder startup] [--json FILE]

Every call goes from the file to the file, in a process of its own after one call that does not count; the figure is the
median over interleaved repeats, the memory is the peak of the process. Compared are: ``unhaze`` (its default method,
with ``unhaze-kernels`` where they are installed), ``unhaze-numpy`` (the same without them),
``unhaze-dcp`` (its dark channel prior), ``plain`` (the dark channel prior with a guided filter at full resolution, as a
NumPy and OpenCV user would write it), ``adrishyam`` from PyPI (skipped where it is not installed), and decoding and
encoding alone. Frames go through ``unhaze pipe`` as y4m of 1280 x 720, its start included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = {"1080p": (1920, 1080), "12 MP": (4000, 3000)}
LARGE = {"100 MP": (12000, 8334)}
FOLDER_PICTURES = 96
FRAME, FRAMES, DIFFERENT_FRAMES = (1280, 720), 300, 8
PARTS = ("calls", "pipe", "folder", "startup")


def codec_only(source: Path, target: Path) -> Callable[[], None]:
    """Decode and encode, nothing between."""
    from PIL import Image

    def call() -> None:
        image = Image.open(source)
        image.load()
        image.save(target, quality=92)

    return call


def unhaze_call(source: Path, target: Path, **options: Any) -> Callable[[], None]:
    """This package with its default method, or another."""
    import unhaze

    dehazer = unhaze.Dehazer(**options, max_pixels=None)

    def call() -> None:
        target.unlink(missing_ok=True)
        dehazer(source, maps=False, output=target)

    return call


def dcp_call(source: Path, target: Path) -> Callable[[], None]:
    """The dark channel prior of this package."""
    return unhaze_call(source, target, model="dcp")


def plain_call(source: Path, target: Path) -> Callable[[], None]:
    """Dark channel prior and guided filter at full resolution, in the straightforward way."""
    import cv2
    import numpy as np

    def mean(values: Any) -> Any:
        return cv2.boxFilter(values, -1, (121, 121))

    def call() -> None:
        image = cv2.imread(str(source)).astype(np.float32) / 255
        kernel = np.ones((15, 15), np.uint8)
        dark = cv2.erode(image.min(axis=2), kernel)
        brightest = np.argsort(dark.ravel())[-max(1, dark.size // 1000) :]
        airlight = image.reshape(-1, 3)[brightest].mean(axis=0)
        raw = 1 - 0.95 * cv2.erode((image / airlight).min(axis=2), kernel)
        guide = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        mean_guide, mean_raw = mean(guide), mean(raw)
        slope = (mean(guide * raw) - mean_guide * mean_raw) / (mean(guide * guide) - mean_guide**2 + 1e-3)
        offset = mean_raw - slope * mean_guide
        transmission = np.maximum(mean(slope) * guide + mean(offset), 0.1)[..., None]
        restored = (image - airlight) / transmission + airlight
        cv2.imwrite(str(target), (np.clip(restored, 0, 1) * 255).round().astype(np.uint8))

    return call


def adrishyam_call(source: Path, target: Path) -> Callable[[], None]:
    """The dark channel prior on PyPI; it writes several pictures into a folder of its own."""
    import matplotlib as mpl

    mpl.use("Agg")
    from adrishyam import dehaze_image

    return lambda: dehaze_image(input_path=str(source), output_dir=str(target.with_suffix("")))


def reference_call(source: Path, target: Path) -> Callable[[], None]:
    """This package without its compiled kernels."""
    os.environ["UNHAZE_KERNELS"] = "off"
    return unhaze_call(source, target)


CALLS = {
    "unhaze": unhaze_call,
    "unhaze-numpy": reference_call,
    "unhaze-dcp": dcp_call,
    "plain": plain_call,
    "adrishyam": adrishyam_call,
    "codec": codec_only,
}


def worker(name: str, source: Path, target: Path) -> None:
    """Run one call in this process and print what it took."""
    call = CALLS[name](source, target)
    call()  # libraries load and allocate lazily
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mb": peak_memory()}), file=sys.__stdout__, flush=True)


def peak_memory() -> float:
    """Peak resident memory of this process [MB]."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it started this process
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(names: list[str], source: Path, folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds and peak memory of each call, the calls taking turns."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            command = [sys.executable, __file__, "--worker", name, str(source), str(folder / f"{name}.jpg")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        name: {key: round(statistics.median(run[key] for run in each), 3) for key in ("seconds", "peak_mb")}
        for name, each in runs.items()
    }


def folder_throughput(folder: Path, repeats: int) -> dict[str, float]:
    """Pictures per second, one after another on one core, and as ``unhaze run`` does it on all cores."""
    from unhaze.batch.workers import Batch, BatchOptions, plan
    from unhaze.restore.dehazer import Dehazer
    from unhaze.restore.machine import usable_cores

    inputs = folder / "many"
    inputs.mkdir()
    make_picture(*SIZES["1080p"], inputs / "0.jpg")
    for number in range(1, FOLDER_PICTURES):
        (inputs / f"{number}.jpg").write_bytes((inputs / "0.jpg").read_bytes())
    rates: dict[int, list[float]] = {1: [], usable_cores(): []}
    for repeat in range(repeats):
        for workers, each in rates.items():
            jobs = plan([str(inputs)], output=folder / f"out-{workers}-{repeat}")
            start = time.perf_counter()
            done = sum(
                record.status == "done" for record in Batch(Dehazer(threads=1), jobs, BatchOptions(jobs=workers))
            )
            each.append(done / (time.perf_counter() - start))
    single, several = (statistics.median(each) for each in rates.values())
    return {"one_by_one": round(single, 2), "all_cores": round(several, 2), "ratio": round(several / single, 2)}


def startup(folder: Path, repeats: int) -> dict[str, float]:
    """Seconds of whole processes: a bare interpreter, the help, and one small and one 1080p picture."""
    from unhaze.restore.options import DEFAULT_MODEL

    executable = str(Path(sys.executable).with_name("unhaze"))
    commands = {"python": [sys.executable, "-c", "pass"], "help": [executable, "--help"]}
    for size, (width, height) in {"small": (320, 240), "1080p": SIZES["1080p"]}.items():
        source = folder / f"{size}.jpg"
        make_picture(width, height, source)
        for method in dict.fromkeys((DEFAULT_MODEL, "dcp")):
            commands[f"run {size}, {method}"] = [
                executable, "run", str(source), "-o", str(folder / "out.jpg"), "--overwrite", "-q", "-m", method
            ]  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(4 * repeats):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(each), 3) for name, each in times.items()}


def pipe_rate(folder: Path, repeats: int) -> dict[str, float]:
    """Frames per second of ``unhaze pipe``, from its start to its end."""
    from unhaze.restore.options import DEFAULT_MODEL

    header, frames = make_frames(folder)
    executable = str(Path(sys.executable).with_name("unhaze"))
    kinds: dict[str, list[str]] = {method: ["-m", method] for method in dict.fromkeys((DEFAULT_MODEL, "dcp"))}
    kinds[f"{DEFAULT_MODEL}, --temporal 0.8"] = ["-m", DEFAULT_MODEL, "--temporal", "0.8"]
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, options in kinds.items():
            start = time.perf_counter()
            process = subprocess.Popen(
                [executable, "pipe", "-q", *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            feeder = threading.Thread(target=feed, args=(process.stdin, header, frames))
            feeder.start()
            if process.wait():
                raise SystemExit("unhaze pipe failed.")
            feeder.join()
            rates[name].append(FRAMES / (time.perf_counter() - start))
    return {name: round(statistics.median(each), 1) for name, each in rates.items()}


def make_frames(folder: Path) -> tuple[bytes, list[bytes]]:
    """The header and some frames of a y4m stream that pans over a hazy photograph."""
    import cv2

    from unhaze.images.files import read_image

    width, height = FRAME
    make_picture(width + 64, height, folder / "wide.jpg")
    wide = read_image(folder / "wide.jpg").pixels
    frames = []
    for number in range(DIFFERENT_FRAMES):
        view = wide[:, 8 * number : 8 * number + width]
        frames.append(b"FRAME\n" + cv2.cvtColor(view, cv2.COLOR_RGB2YUV_I420).tobytes())
    return f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode(), frames


def feed(stream: Any, header: bytes, frames: list[bytes]) -> None:
    """Write a stream of ``FRAMES`` frames, back and forth over ``frames``."""
    there_and_back = [*frames, *frames[-2:0:-1]]
    with stream:
        stream.write(header)
        for number in range(FRAMES):
            stream.write(there_and_back[number % len(there_and_back)])


def make_picture(width: int, height: int, path: Path) -> None:
    """A photograph behind haze, at any size."""
    import cv2
    import numpy as np
    from sklearn.datasets import load_sample_image

    from unhaze.physics.synthesis import analytic_depth, synthesize_haze

    clear = cv2.resize(load_sample_image("china.jpg"), (width, height), interpolation=cv2.INTER_CUBIC)
    depth = analytic_depth("plane", height, width)
    hazy, _ = synthesize_haze(clear.astype(np.float32) / 255, depth, beta=0.02, airlight=0.88)
    pixels = np.round(np.clip(hazy, 0, 1) * 255).astype(np.uint8)
    cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def has_adrishyam() -> bool:
    """Whether the package to compare with is there."""
    from importlib.util import find_spec

    return find_spec("adrishyam") is not None


def all_calls(folder: Path, repeats: int, *, large: bool) -> dict[str, Any]:
    """Seconds and memory of every call at every size."""
    names = ["unhaze", "unhaze-numpy", "unhaze-dcp", "plain", "codec"] + (["adrishyam"] if has_adrishyam() else [])
    results = {}
    for size, (width, height) in {**SIZES, **(LARGE if large else {})}.items():
        source = folder / f"{width}.jpg"
        make_picture(width, height, source)
        chosen = names if width < 10000 else ["unhaze", "unhaze-numpy", "unhaze-dcp", "codec"]
        results[size] = measure(chosen, source, folder, repeats if width < 4000 else max(1, repeats // 2))
    return results


def report(results: dict[str, Any]) -> None:
    """Print the figures as tables."""
    print(f"default model: {results['model']}, engine: {results['engine']}, cores: {results['cores']}")
    print(f"full resolution: {results['kernels']}")
    for size, calls in results.get("calls", {}).items():
        print(f"\n{size}")
        ours, codec = calls["unhaze"]["seconds"], calls["codec"]["seconds"]
        for name, figures in calls.items():
            ratio, to_codec = figures["seconds"] / ours, figures["seconds"] / codec
            print(
                f"  {name:12} {figures['seconds']:8.3f} s {figures['peak_mb']:8.0f} MB   {ratio:5.1f} x unhaze"
                f"   {to_codec:5.1f} x codec"
            )
    print()
    for part, title in {
        "pipe": "1280 x 720 through unhaze pipe [frames/s]",
        "folder": "folder of 1080p JPEG [pictures/s]",
        "startup": "whole process [s]",
    }.items():
        if part in results:
            print(f"{title}: {results[part]}")


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also 100 megapixels")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=3, metavar=("NAME", "INPUT", "OUTPUT"))
    options = parser.parse_args()
    if options.worker:
        worker(options.worker[0], *map(Path, options.worker[1:]))
        return
    import unhaze
    from unhaze.restore.kernels import describe_kernels

    default = unhaze.Dehazer()
    results: dict[str, Any] = {
        "cores": os.cpu_count(),
        "model": default.model,
        "engine": str(default.engine),
        "kernels": describe_kernels(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "calls" in options.only:
            results["calls"] = all_calls(folder, options.repeats, large=options.large)
        if "pipe" in options.only:
            results["pipe"] = pipe_rate(folder, options.repeats)
        if "folder" in options.only:
            results["folder"] = folder_throughput(folder, options.repeats)
        if "startup" in options.only:
            results["startup"] = startup(folder, options.repeats)
    report(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
