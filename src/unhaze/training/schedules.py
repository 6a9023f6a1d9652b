"""Learning rates as functions of the step: without state, so there is nothing to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from unhaze.errors import UsageError

__all__ = ["ScheduleConfig", "cosine_restarts", "rate_factor", "step_decay", "warmup_cosine"]

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
