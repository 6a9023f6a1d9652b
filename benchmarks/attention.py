"""Time and memory of the attention in HGDF against plain forms of it, and of networks with HGDF on a large picture.

    python benchmarks/attention.py [--forms FORM ...] [--sizes 256x256 768x512] [--threads 1] [--repeats 3]
    python benchmarks/attention.py --models coa-deploy_rb8 dehazeformer-t [--sizes 1920x1080]

Every figure is measured in a process of its own, with random weights and without gradients. Maps have 32 channels.
Memory is the most that the process held during the calls, less what it held before them; for networks it is also
told with what it held before. ``B/pixel`` is memory over pixels: where it stays, memory grows linearly.

    windows, fused       what HGDF does: 8x8 windows, rows of windows one after the other
    windows, fused, one  the same with all windows at once, as in training
    windows, plain       the same function with all windows' scores and an explicit softmax
    picture, plain       attention between all pixels, one head, with an explicit softmax
    channels             depth-aware interaction, attention over channels
    site                 a whole HGDF site, all of the above and its convolutions
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = ("128x128", "256x256", "768x512", "1920x1080")  # width x height
FORMS = ("windows, fused", "windows, fused, one", "windows, plain", "picture, plain", "channels", "site")
CHANNELS = 32
LARGEST = 6e9  # [B] of scores that are tried


def attention(form: str, height: int, width: int) -> Callable[[], object]:
    """A call of one form."""
    import torch

    from unhaze.fusion.hgdf import DepthAwareInteraction, WindowSelfAttention

    x = torch.randn(1, CHANNELS, height, width)
    windows = WindowSelfAttention(CHANNELS)
    if form == "windows, fused":
        return lambda: windows(x)
    if form == "windows, fused, one":
        return lambda: windows._attend(x)
    if form == "windows, plain":
        torch.nn.functional.scaled_dot_product_attention = explicit_softmax  # type: ignore[assignment]
        return lambda: windows._attend(x)
    if form == "picture, plain":
        return lambda: whole_picture(windows, x)
    if form == "channels":
        interaction, guide = DepthAwareInteraction(CHANNELS), torch.randn_like(x)
        return lambda: interaction(x, guide)
    return site(x)


def explicit_softmax(query: Any, key: Any, value: Any, attn_mask: Any = None) -> Any:
    """Attention whose scores exist all at once."""
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(-1) @ value


def whole_picture(module: Any, x: Any) -> Any:
    """Attention between all pixels with the weights of the windows."""
    query, key, value = module.query_key_value(x).flatten(2).mT.chunk(3, 2)
    return module.project(explicit_softmax(query, key, value).mT.unflatten(2, x.shape[2:]))


def site(x: Any) -> Callable[[], object]:
    """A whole site, with the last map of a small transformer for a square picture."""
    import torch

    from unhaze.fusion import create_fusion
    from unhaze.types import Stage

    fusion = create_fusion("hgdf", [Stage("enc1", CHANNELS, 1)], depth_levels())
    run = fusion.runner(depth_of_picture())
    return lambda: run("enc1", torch.nn.Identity(), x)


def model(name: str, height: int, width: int) -> Callable[[], object]:
    """A network with HGDF on a picture."""
    import torch

    from unhaze.models.guided import create_model

    network = create_model(f"{name}+hgdf", depth_levels()).eval().folded()
    image, depth = torch.rand(1, 3, height, width), depth_of_picture()
    return lambda: network.restore(image, depth)


def depth_levels() -> Any:
    """Of Depth Anything V2 small."""
    from unhaze.evaluation.cost.fusion import DEPTH_ANYTHING_SMALL

    return DEPTH_ANYTHING_SMALL


def depth_of_picture() -> Any:
    """Features of random numbers, 37x37."""
    import torch

    from unhaze.models.layers.depth_view import DepthView

    return DepthView(torch.rand(1, 1, 518, 518), tuple(torch.randn(1, 384, 37, 37) for _ in range(4)))


def measure(what: str, form: str, size: str, threads: int, repeats: int) -> dict[str, Any]:
    """One row, measured in this process."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    width, height = map(int, size.split("x"))
    with torch.inference_mode():
        call = model(form, height, width) if what == "model" else attention(form, height, width)
        before = resident()
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {"seconds": statistics.median(times), "before": before, "peak": peak, "memory": max(0, peak - before)}


def resident() -> int:
    """Bytes that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def measure_apart(what: str, form: str, size: str, threads: int, repeats: int) -> dict[str, Any]:
    """The same in a new process."""
    command = [sys.executable, __file__, "--here", what, form, size, str(threads), str(repeats)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"ended with code {done.returncode}"}
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def report(form: str, size: str, row: dict[str, Any]) -> None:
    """One line of the table."""
    if "error" in row:
        print(f"{form:24} {size:>10}  {row['error']}", flush=True)
        return
    width, height = map(int, size.split("x"))
    print(
        f"{form:24} {size:>10} {row['seconds']:9.3f} s {row['memory'] / 2**20:8.0f} MB "
        f"{row['memory'] / width / height:8.0f} B/pixel {row['peak'] / 2**20:8.0f} MB in all",
        flush=True,
    )


def main() -> None:
    """Measure what is asked for and print a line each."""
    if sys.argv[1:2] == ["--here"]:
        what, form, size, threads, repeats = sys.argv[2:]
        print(json.dumps(measure(what, form, size, int(threads), int(repeats))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", metavar="WxH", help=f"default {' '.join(SIZES)}; of networks the last")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="networks to measure with HGDF instead")
    parser.add_argument("--forms", nargs="+", metavar="FORM", choices=FORMS, default=FORMS, help="default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.models:
        for name in options.models:
            for size in options.sizes or SIZES[-1:]:
                report(f"{name}+hgdf", size, measure_apart("model", name, size, options.threads, options.repeats))
        return
    for form in options.forms:
        for size in options.sizes or SIZES:
            width, height = map(int, size.split("x"))
            scores = 2 * 4 * (width * height) ** 2  # before and after the softmax
            if form == "picture, plain" and scores > LARGEST:
                report(form, size, {"error": f"not tried: {scores / 2**30:,.0f} GB of scores"})
                continue
            report(form, size, measure_apart("attention", form, size, options.threads, options.repeats))


if __name__ == "__main__":
    main()
