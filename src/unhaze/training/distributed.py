"""Several processes that train one network, started by ``torchrun``.

Every process works on its part of each batch and the gradients are averaged, so that N processes with a batch of B do
what one does with a batch of N B, but for rounding. Nothing is wrapped: networks are called as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["average_gradients", "average_values", "is_main", "join_processes", "leave_processes", "rank", "world_size"]


def join_processes(device: torch.device) -> bool:
    """Meet the other processes that ``torchrun`` started.

    Args:
        device: Where the network is; CUDA processes talk through NCCL, others through gloo.

    Returns:
        Whether there are others. False, and nothing happens, without ``torchrun``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return False
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return True


def leave_processes() -> None:
    """Part from the other processes, if there are any."""
    if _together():
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0; known before the processes have met and after they have parted, too."""
    return dist.get_rank() if _together() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _together() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and talks to the user."""
    return rank() == 0


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes.

    A parameter that took part in one process only counts as zero gradient in the others.
    """
    if world_size() == 1:
        return
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= world_size()


def average_values(values: dict[str, Tensor]) -> dict[str, float]:
    """Means over all processes of numbers that each of them has, by the same names."""
    together = torch.stack([value.detach().float().reshape(()) for value in values.values()])
    if world_size() > 1:
        dist.all_reduce(together)
        together /= world_size()
    return dict(zip(values, together.tolist(), strict=True))


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
