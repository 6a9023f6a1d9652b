"""What a training carries from step to step: a network, its averaged weights, an optimiser, random numbers."""

from __future__ import annotations

import copy
import ctypes
import random
import sys
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from unhaze.training.steps import OptimizerConfig, Precision, create_optimizer, create_scaler

__all__ = [
    "ExponentialMovingAverage",
    "NetworkState",
    "begin",
    "count_parameters",
    "estimate_cost",
    "keep_freed_memory",
    "place",
    "prepare_process",
    "random_state",
    "resident_peak",
    "restore_random_state",
    "seed_everything",
]

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_THRESHOLD = 32 << 20  # glibc takes no more


class ExponentialMovingAverage(Generic[ModuleT]):
    """A second network whose weights trail those that are trained.

    The decay grows from 0.1 to its final value as (1 + n) / (10 + n), so that the random start is soon forgotten.

    Args:
        network: Copied, never changed.
        decay: Final share of the old value per update, in [0, 1).
    """

    def __init__(self, network: ModuleT, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"The decay must be in [0, 1), but is {decay}.")
        self.decay, self.updates = decay, 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: ModuleT) -> None:
        """Move towards the weights of ``network``; buffers are copied."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, value in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(value, 1 - decay)
        for own, current in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(current)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Weights and the number of updates."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        self.updates = int(state["updates"])


@dataclass(slots=True)
class NetworkState(Generic[ModuleT]):
    """A training of one network at some step."""

    network: ModuleT
    average: ExponentialMovingAverage[ModuleT]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    steps_done: int = 0

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "step": self.steps_done,
            "network": self.network.state_dict(),
            "ema": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.steps_done = int(state["step"])
        restore_random_state(state["random"])


def prepare_process(seed: int, threads: int) -> None:
    """Seed everything, and set how many threads torch uses; speed apart, this decides what a run gives."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    seed_everything(seed)


def begin(
    network: ModuleT, optimizer: OptimizerConfig, *, ema: float, precision: Precision, device: torch.device
) -> NetworkState[ModuleT]:
    """A network at step 0, on its device and ready to learn.

    Args:
        network: Fresh or filled, on the CPU.
        optimizer: Over its parameters that take gradients.
        ema: Decay of the averaged weights; 0 for weights that are those of the last step.
        precision: Says whether gradients are scaled.
        device: Where to train.

    Raises:
        UsageError: There is no such optimiser, or nothing to train.
    """
    network = place(network, device)
    average = ExponentialMovingAverage(network, ema)
    chosen = create_optimizer(network.parameters(), optimizer)
    return NetworkState(network.train(), average, chosen, create_scaler(device, precision))


def place(network: ModuleT, device: torch.device) -> ModuleT:
    """A network on a device, in the layout that trains best there.

    On a CPU channels-last makes gradients of normalisations six to twelve times less exact, and those of dilated
    convolutions in bfloat16 no numbers at all (measured with torch 2.13).
    """
    if device.type == "cpu":
        return network.to(device)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Numbers of all ``parameters``, and of those that are ``trained``."""
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained": sum(p.numel() for p in network.parameters() if p.requires_grad),
    }


# -- random numbers ----------------------------------------------------------------------------------------------------


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """State of all generators, of plain values and tensors only, so that it can be loaded without unpickling code."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every generator back to where :func:`random_state` found it."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


# -- memory ------------------------------------------------------------------------------------------------------------


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks instead of giving them back to the system after each operation.

    A step on a CPU allocates hundreds of tensors of megabytes; getting fresh, zeroed pages for each takes several
    times as long as computing them. Speed only; no value changes.

    Returns:
        Whether the C library took the setting; elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def resident_peak() -> int | None:
    """Most bytes of memory that this process has held; ``None`` where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) << 10


def estimate_cost(seconds_per_step: float, steps: int) -> dict[str, float]:
    """What a training will take, for a dry run.

    Args:
        seconds_per_step: As measured.
        steps: Of the whole training.

    Returns:
        ``seconds_per_step``, ``hours`` of all steps, and ``peak_memory_mb`` of this process so far, where the system
        tells.
    """
    peak = resident_peak()
    known = {} if peak is None else {"peak_memory_mb": round(peak / 2**20)}
    return {"seconds_per_step": round(seconds_per_step, 3), "hours": round(seconds_per_step * steps / 3600, 2), **known}
