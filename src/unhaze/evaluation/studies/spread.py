"""Mean of a measurement over pictures, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unhaze.errors import MissingDependencyError

__all__ = ["Spread", "spread_of"]

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Spread:
    """A measurement over pictures.

    Attributes:
        mean: Over pictures; NaN where the measurement has no meaning.
        std: Standard deviation over pictures, with n - 1; NaN for one picture.
        low, high: 95 % bootstrap interval of the mean; NaN for one picture.
    """

    mean: float
    std: float
    low: float
    high: float


def spread_of(values: Sequence[float], seed: int = 0) -> Spread:
    """Summarise one value per picture; percentile bootstrap (Efron and Tibshirani 1993, ch. 13).

    Pictures are resampled as if they were independent; frames of one walk or drive are not, and then the interval is
    too narrow.

    Raises:
        MissingDependencyError: scipy is not installed.

    >>> spread_of([1.0, 1.0])
    Spread(mean=1.0, std=0.0, low=1.0, high=1.0)
    """
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2 or not np.isfinite(array).all():
        return Spread(mean, math.nan, math.nan, math.nan)
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise MissingDependencyError("scipy", "eval", "say how sure a mean is") from error
    drawn = bootstrap((array,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(seed))
    low, high = drawn.confidence_interval
    return Spread(mean, float(array.std(ddof=1)), float(low), float(high))
