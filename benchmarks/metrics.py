"""Speed of the metrics at 512 x 512 against other implementations, all in one run on the same machine.

    python benchmarks/metrics.py [--threads 2] [--repeats 15] [--json FILE]

Every figure is the median over interleaved repeats, in one process, from an array in memory to the value; the first
call of each is not counted. Others are measured where they are installed: scikit-image, torchmetrics, pypiqe and
fade-python (import name ``pyfade``, not open source, so install it by hand into a throw-away environment).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

from unhaze.metrics import functional

SIZE = 512
TARGETS = {"fade": 0.12, "niqe": 0.07, "piqe": 0.06}  # [s] on two threads


def own_calls(clear: np.ndarray, hazy: np.ndarray) -> dict[str, Callable[[], object]]:
    """Every metric of this package that needs no weights."""
    target, preds = functional.as_batch(clear), functional.as_batch(hazy)
    calls: dict[str, Callable[[], object]] = {
        name: lambda name=name: getattr(functional, name)(preds) for name in ("fade", "niqe", "piqe")
    }
    for name in ("psnr", "psnr_y", "ssim", "ms_ssim", "ciede2000", "clipped", "chroma_shift"):
        calls[name] = lambda name=name: getattr(functional, name)(preds, target)
    return calls


def other_calls(clear: np.ndarray, hazy: np.ndarray) -> dict[str, Callable[[], object]]:
    """The same by others, as far as they are installed."""
    from skimage.color import deltaE_ciede2000, rgb2lab
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    calls: dict[str, Callable[[], object]] = {
        "ssim, scikit-image": lambda: structural_similarity(clear, hazy, channel_axis=2, **options),
        "ciede2000, scikit-image": lambda: deltaE_ciede2000(rgb2lab(clear), rgb2lab(hazy)).mean(),
    }
    if importlib.util.find_spec("torchmetrics"):
        from torchmetrics.functional import image

        preds, target = (functional.as_batch(pixels).float() for pixels in (hazy, clear))
        calls["ssim, torchmetrics"] = lambda: image.structural_similarity_index_measure(preds, target, data_range=1.0)
    if importlib.util.find_spec("pypiqe"):
        from pypiqe import piqe

        bgr = np.ascontiguousarray(hazy[..., ::-1])
        calls["piqe, pypiqe"] = lambda: piqe(bgr)
    if importlib.util.find_spec("pyfade"):
        import pyfade

        calls["fade, fade-python"] = lambda: pyfade.fade(hazy)
    return calls


def measure(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, the calls taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    warnings.simplefilter("ignore")

    clear = data.astronaut()
    assert clear.shape == (SIZE, SIZE, 3)
    hazy = np.round(clear * 0.6 + 255 * 0.85 * 0.4).astype(np.uint8)
    figures = measure(own_calls(clear, hazy) | other_calls(clear, hazy), arguments.repeats)

    print(f"{'metric at 512 x 512':28}{'median [ms]':>12}{'target [ms]':>13}")
    for name, seconds in figures.items():
        target = f"{TARGETS[name] * 1e3:13.0f}" if name in TARGETS else ""
        print(f"{name:28}{seconds * 1e3:12.1f}{target}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
