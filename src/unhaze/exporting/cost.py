"""Time and memory of an exported network, measured in a process of its own for each engine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from unhaze.restore.engines.onnx import OnnxEngine, resolve_engine

__all__ = ["EngineCost", "measure_cost"]

_LONGEST = 900  # [s]


@dataclass(frozen=True, slots=True)
class EngineCost:
    """What one picture costs.

    Attributes:
        engine: ``"torch"``, ``"onnxruntime"`` or ``"openvino"``.
        precision: ``"fp32"`` or ``"int8"``.
        height, width: Sides of the picture [px].
        seconds: Median time of a pass; ``None`` where it failed.
        peak_memory: What the whole process takes [bytes]; ``None`` where unknown.
    """

    engine: str
    precision: str
    height: int
    width: int
    seconds: float | None
    peak_memory: int | None


def measure_cost(
    path: Path, engine: str, precision: str, size: tuple[int, int], *, repeats: int, threads: int, nearness: bool
) -> EngineCost:
    """Time a file in a fresh process.

    Args:
        path: ``.onnx`` or ``.xml``; for torch a ``.pt2`` that this program has just written.
        engine: What runs it.
        precision: For the table.
        size: Height and width of the picture, which fit the network.
        repeats: Passes that are timed, after one that is not.
        threads: Processor cores.
        nearness: Whether it takes nearness beside the picture.
    """
    order = json.dumps([str(path), engine, *size, repeats, threads, nearness])
    done = subprocess.run(
        [sys.executable, "-m", "unhaze.exporting.cost", order], capture_output=True, text=True, timeout=_LONGEST
    )
    if done.returncode:
        return EngineCost(engine, precision, *size, None, None)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return EngineCost(engine, precision, *size, seconds, peak)


def _measure(
    path: str, engine: str, height: int, width: int, repeats: int, threads: int, nearness: bool
) -> tuple[float, int | None]:
    import numpy as np

    generator = np.random.default_rng(0)
    inputs: dict[str, Any] = {"image": generator.random((1, 3, height, width), np.float32)}
    if nearness:
        inputs["nearness"] = generator.random((1, 1, height, width), np.float32)
    if engine == "torch":
        import torch

        torch.set_num_threads(threads)
        program = torch.export.load(path).module()
        tensors = [torch.from_numpy(each) for each in inputs.values()]

        def run() -> Any:
            with torch.inference_mode():
                return program(*tensors)
    else:
        opened = OnnxEngine(Path(path), engine=resolve_engine(engine), threads=threads, side=height)

        def run() -> Any:
            return opened.run(**inputs)

    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return median(times), _peak()


def _peak() -> int | None:
    """Most memory that this process has held [bytes]; not ``getrusage``, which counts that of the parent, too."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    print(json.dumps(_measure(*json.loads(sys.argv[1]))))
