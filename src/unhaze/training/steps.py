"""Parts of a step: optimisers by name, mixed precision, gradients, and learning rates as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unhaze.errors import UsageError
from unhaze.training.distributed import average_gradients

__all__ = [
    "OptimizerConfig",
    "Precision",
    "ScheduleConfig",
    "add_gradients",
    "autocast",
    "cosine_restarts",
    "create_optimizer",
    "create_scaler",
    "descend",
    "rate_factor",
    "set_rate",
    "step_decay",
    "warmup_cosine",
]

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


def add_gradients(
    terms: Mapping[str, Tensor], scaler: torch.amp.GradScaler, *, parts: int, values: dict[str, Tensor]
) -> None:
    """Backward pass of one of the equal parts that a batch is cut into; its values are added up, too.

    Args:
        terms: Weighted terms of the loss of this part; their sum is the loss.
        scaler: Scales the loss.
        parts: Into how many the batch is cut.
        values: Means over the batch of ``"loss"`` and of each term, as far as they are known; changed in place.
    """
    total = torch.stack(list(terms.values())).sum() / parts
    scaler.scale(total).backward()
    for name, value in {"loss": total * parts, **terms}.items():
        values[name] = values.get(name, total.new_zeros(())) + value.detach() / parts


# -- learning rates: without state, so there is nothing to restore -----------------------------------------------------

Shape = Literal["constant", "cosine", "restarts", "steps"]


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """How the learning rate runs, as factors of its peak.

    Attributes:
        shape: ``"constant"``, ``"cosine"`` (half a cosine down to ``final``), ``"restarts"`` (one cosine per entry of
            ``periods``), ``"steps"`` (times ``factor`` at every step of ``milestones``).
        warmup: Steps of linear growth to the peak.
        final: Factor at the end of a cosine.
        periods: Lengths of the cosines between restarts [steps]; the last goes on to the end.
        finals: Factor at the end of each of them; ``final`` for all if empty.
        milestones: Steps.
        factor: Of ``"steps"``.
    """

    shape: Shape = "cosine"
    warmup: int = 0
    final: float = 0.01
    periods: tuple[int, ...] = ()
    finals: tuple[float, ...] = ()
    milestones: tuple[int, ...] = ()
    factor: float = 0.5


def rate_factor(schedule: ScheduleConfig, step: int, total: int) -> float:
    """Factor of the peak learning rate.

    Args:
        schedule: How it runs.
        step: Current step from 0.
        total: Number of steps of the training.

    Raises:
        UsageError: There is no such shape.
    """
    if schedule.shape not in ("constant", "cosine", "restarts", "steps"):
        raise UsageError(f"There is no schedule {schedule.shape!r}; choose constant, cosine, restarts or steps.")
    if schedule.shape == "cosine":
        return warmup_cosine(step, total=total, warmup=schedule.warmup, final=schedule.final)
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    if schedule.shape == "restarts":
        periods = schedule.periods or (total,)
        return cosine_restarts(step, periods, schedule.finals or (schedule.final,) * len(periods))
    return step_decay(step, schedule.milestones, schedule.factor) if schedule.shape == "steps" else 1.0


def warmup_cosine(step: int, *, total: int, warmup: int, final: float = 0.0) -> float:
    """Factor of the peak rate: linear up to step ``warmup``, then half a cosine (Loshchilov and Hutter 2017, Eq. 5).

    Args:
        step: Current step from 0.
        total: Number of steps.
        warmup: Steps to the peak.
        final: Factor that is reached at ``total``.

    >>> [round(warmup_cosine(step, total=110, warmup=10), 3) for step in (0, 9, 10, 60, 110)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def cosine_restarts(step: int, periods: tuple[int, ...], finals: tuple[float, ...]) -> float:
    """Cosines one after the other, each from 1 down to a factor of its own.

    Args:
        step: Current step from 0.
        periods: Their lengths [steps]; after the last the rate stays at its final factor.
        finals: Factor that each ends with.

    >>> [round(cosine_restarts(step, (10, 20), (0.5, 0.0)), 3) for step in (0, 5, 10, 20, 30)]
    [1.0, 0.75, 1.0, 0.5, 0.0]
    """
    starts = (0, *accumulate(periods))
    which = max(i for i in range(len(periods)) if step >= starts[i])
    return warmup_cosine(step - starts[which], total=periods[which], warmup=0, final=finals[which])


def step_decay(step: int, milestones: tuple[int, ...], factor: float) -> float:
    """``factor`` to the power of the milestones that lie behind.

    >>> [step_decay(step, (10, 20), 0.5) for step in (9, 10, 25)]
    [1.0, 0.5, 0.25]
    """
    return float(factor ** sum(step >= milestone for milestone in milestones))
