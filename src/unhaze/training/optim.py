"""Optimisers by name, mixed precision, and the part of a step that every recipe shares."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unhaze.errors import UsageError
from unhaze.training.distributed import average_gradients

__all__ = ["OptimizerConfig", "Precision", "autocast", "create_optimizer", "create_scaler", "descend", "set_rate"]

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """An optimiser and its settings.

    Attributes:
        name: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        lr: Peak learning rate.
        betas: Of Adam; the first is the momentum of SGD.
        weight_decay: Decoupled in AdamW; biases and normalisations are spared by ``spare_vectors``.
        spare_vectors: Whether parameters of one dimension are not decayed.
        clip: Largest norm of all gradients together; 0 does not clip.
    """

    name: str = "adamw"
    lr: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    spare_vectors: bool = False
    clip: float = 0.0


def create_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """An optimiser over the parameters that take gradients.

    Raises:
        UsageError: There is no such optimiser, or nothing to train.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise UsageError("Nothing is left to train; freeze less.")
    spared = [p for p in trained if config.spare_vectors and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if not (config.spare_vectors and p.ndim <= 1)]},
        *([{"params": spared, "weight_decay": 0.0}] if spared else []),
    ]
    if config.name == "adam":
        return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.betas[0], weight_decay=config.weight_decay)
    raise UsageError(f"There is no optimiser {config.name!r}; choose adam, adamw or sgd.")


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Context for a forward pass.

    Raises:
        UsageError: There is no such precision, or the device does not have it.
    """
    if precision not in ("fp32", "bf16", "fp16"):
        raise UsageError(f"There is no precision {precision!r}; choose fp32, bf16 or fp16.")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("fp16 needs a CUDA device; choose bf16 or fp32.")
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=precision != "fp32")


def create_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Keeps float16 gradients from vanishing; without effect for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def descend(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, parameters: Iterable[nn.Parameter], clip: float
) -> Tensor:
    """One optimiser step from the gradients that were collected; they are averaged over processes first.

    Args:
        optimizer: Steps, and forgets the gradients.
        scaler: That the loss was scaled with.
        parameters: All that the optimiser holds.
        clip: Largest norm of the gradients together; 0 does not clip.

    Returns:
        Norm of the gradients before clipping.
    """
    parameters = list(parameters)
    average_gradients(parameters)
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip if clip else float("inf"))
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm
