"""Speed and peak memory of ``unhaze video`` beside ffmpeg alone and beside the pipe of the documentation.

    python benchmarks/video.py [--frames 240] [--size 1280x720] [--size 1920x1080]

All three read the same H.264 clip and write H.264 with the preset veryfast, in one run, one after the other; start of
the programs included. Other programs on the machine change the figures, so the load is printed beside them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unhaze.restore.machine import usable_cores


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    """A camera that moves over a hazy photograph, with grain of its own in every frame."""
    import av
    import cv2
    import numpy as np
    from sklearn.datasets import load_sample_image

    from unhaze.physics.synthesis import analytic_depth, synthesize_haze

    clear = load_sample_image("china.jpg").astype(np.float32) / 255
    hazy, _ = synthesize_haze(clear, analytic_depth("ramp", *clear.shape[:2]), beta=0.01, airlight=(0.85, 0.87, 0.9))
    wide = cv2.resize(hazy, (width + 256, height), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            left = round(128 + 127 * np.sin(number / 40))
            grain = rng.normal(0, 0.01, (height, width, 1)).astype(np.float32)
            view = np.clip(wide[:, left : left + width] + grain, 0, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray((view * 255).astype(np.uint8))))
        container.mux(stream.encode(None))


def measure(command: str) -> tuple[float, float]:
    """Wall time [s] and peak memory of the largest process [MB] of a shell line."""
    began = time.perf_counter()
    process = subprocess.Popen(["bash", "-c", f"set -o pipefail\n{command}"], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"failed: {command}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Print one table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--size", action="append")
    given = parser.parse_args()
    unhaze = f"{shlex.quote(sys.executable)} -m unhaze"
    code = "-c:v libx264 -preset veryfast -crf 18"
    for size in given.size or ["1280x720", "1920x1080"]:
        parts = (*map(int, size.split("x")), given.frames)
        with tempfile.TemporaryDirectory() as name:
            clip = Path(name) / "in.mp4"
            # apart, since a process counts the peak of the one that started it as its own
            maker = multiprocessing.get_context("spawn").Process(target=make_clip, args=(clip, *parts))
            maker.start()
            maker.join()
            lines = {
                "ffmpeg -vf null": f"ffmpeg -v error -i {clip} -vf null {code} {name}/a.mp4",
                "the pipe": f"ffmpeg -v error -i {clip} -f yuv4mpegpipe -pix_fmt yuv420p - | {unhaze} pipe | "
                f"ffmpeg -v error -i - {code} {name}/b.mp4",
                "unhaze video": f"exec {unhaze} video {clip} -o {name}/c.mp4 --crf 18 --preset veryfast",
            }
            print(f"\n{size}, {given.frames} frames, {usable_cores()} cores, load {os.getloadavg()[0]:.1f}\n")
            print("| | frames/s | peak memory [MB] |\n| --- | ---: | ---: |")
            for label, line in lines.items():
                seconds, memory = measure(line)
                print(f"| {label} | {given.frames / seconds:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
