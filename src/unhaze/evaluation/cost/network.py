"""What a network costs: parameters, multiply-accumulates, time and memory."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from unhaze.evaluation.cost.convention import count_by_convention
from unhaze.models.base import Model
from unhaze.models.networks import create_network

__all__ = ["CONVENTION_SIZE", "NetworkCost", "Timing", "count_macs", "measure_cost", "time_network"]

CONVENTION_SIZE = 224


@dataclass(frozen=True, slots=True)
class Timing:
    """Forward passes, measured.

    Attributes:
        seconds: Median wall time of one.
        peak_memory: Bytes that a pass takes beyond what the process held before; ``None`` where the system does not
            say.
    """

    seconds: float
    peak_memory: int | None


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """The costs of one network.

    Attributes:
        name: In the catalogue.
        parameters: All of them, those that never reach the output included.
        macs: Multiply-accumulates for one image, everything counted: every convolution, matrix product and attention
            that runs, of whatever module. Not counted: Fourier transforms, norms and what works on single numbers.
        convention_parameters: As papers print them, see :mod:`unhaze.evaluation.cost.convention`.
        convention_macs: The same, at 224x224.
        timing: Times on this machine; ``None`` if not asked for.
    """

    name: str
    parameters: int
    macs: int
    convention_parameters: int
    convention_macs: int
    timing: Timing | None


def measure_cost(name: str, height: int, width: int, *, repeats: int = 3) -> NetworkCost:
    """Costs of a network of the catalogue, with random weights, which cost what trained ones cost.

    Args:
        name: In the catalogue.
        height: Rows of the image [px].
        width: Columns of the image [px].
        repeats: Forward passes that are timed, after one that is not; 0 leaves the timing out.

    Raises:
        UnknownNameError: There is no such network.
    """
    with torch.device("meta"):
        counted = create_network(name).eval()
    convention = count_by_convention(counted, CONVENTION_SIZE, CONVENTION_SIZE)
    parameters = sum(p.numel() for p in counted.parameters())
    macs = count_macs(counted, height, width)
    timing = time_network(create_network(name).eval(), height, width, repeats=repeats) if repeats else None
    return NetworkCost(name, parameters, macs, convention.parameters, convention.macs, timing)


def count_macs(meta_network: Model, height: int, width: int) -> int:
    """Multiply-accumulates for one image, everything counted, of a network that computes shapes only."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        meta_network.restore(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2  # torch counts a product and its sum as two


def time_network(network: Model, height: int, width: int, *, repeats: int = 3) -> Timing:
    """Time forward passes as pictures get them: folded, channels-last, without gradients."""
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    image = image.contiguous(memory_format=torch.channels_last)
    network = network.folded().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub

    with torch.inference_mode():
        network.restore(image)
        before = _forget_peak()
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            network.restore(image)
            times.append(time.perf_counter() - started)
        peak = None if before is None else max(0, _status("VmHWM") - before)
    return Timing(statistics.median(times), peak)


def _forget_peak() -> int | None:
    """Let Linux forget how much memory was held before; bytes that are held now, ``None`` on other systems."""
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what was freed would otherwise serve the next pass unseen
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return None


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))
