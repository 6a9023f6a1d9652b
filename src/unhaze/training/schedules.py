"""Learning rates as functions of the step: without state, so there is nothing to restore."""

from __future__ import annotations

import math

__all__ = ["warmup_cosine"]


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
