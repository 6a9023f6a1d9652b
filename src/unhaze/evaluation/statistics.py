"""Statistics of scores: confidence intervals, and whether two methods differ.

Pictures that share a scene are not independent (SOTS-indoor holds 50 scenes, each hazed ten times). Where scenes are
given, they are what is resampled and tested, not pictures; otherwise intervals come out too narrow and p too small.

The tests and the resampling are scipy's, loaded on first use; every result is a function of its arguments (the
generators are seeded).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unhaze.errors import MissingDependencyError, UsageError

__all__ = [
    "Comparison",
    "Interval",
    "Summary",
    "bootstrap_interval",
    "compare_paired",
    "holm_adjust",
    "require_scipy",
    "sign_flip_test",
    "summarize",
    "wilcoxon_signed_rank",
]

FloatArray = NDArray[np.float64]

EXACT_LIMIT = 1000
"""Up to this many differences without ties the null distribution of the signed-rank statistic is computed exactly."""

TIED_EXACT_LIMIT = 13
"""Up to this many differences with ties all 2ⁿ patterns of signs are tried."""

_CHUNK_CELLS = 2_000_000  # resampled values held at once: 16 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    high: float
    level: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of one metric over the pictures of one run.

    Attributes:
        count: Pictures with a value.
        scenes: Independent units among them; equal to ``count`` where no scenes were given.
        mean, median, std: Over pictures; ``std`` with n − 1, NaN for a single picture.
        minimum, maximum: Extremes over pictures.
        interval: Bootstrap interval of the mean; NaN for a single unit.
    """

    count: int
    scenes: int
    mean: float
    median: float
    std: float
    minimum: float
    maximum: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired comparison of two runs on the pictures both have scored.

    Attributes:
        count: Pictures compared.
        scenes: Independent units; the tests are made on the means of these.
        mean_difference: Mean of first − second over pictures.
        median_difference: Median of first − second over pictures.
        interval: Bootstrap interval of the mean difference.
        effect: Matched-pairs rank-biserial correlation in [−1, 1]; positive where the first is *better*.
        win_rate: Share of pictures on which the first is better, ties counted half.
        ties: Pictures with exactly equal scores.
        p_wilcoxon: Two-sided Wilcoxon signed-rank test.
        p_permutation: Two-sided sign-flip permutation test of the mean.
    """

    count: int
    scenes: int
    mean_difference: float
    median_difference: float
    interval: Interval
    effect: float
    win_rate: float
    ties: int
    p_wilcoxon: float
    p_permutation: float


def summarize(
    values: ArrayLike,
    *,
    scenes: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Summary:
    """Summarise scores.

    Args:
        values: (N,) scores; infinite ones are allowed (identical pictures under some protocols), NaN is not.
        scenes: Scene of each picture; pictures of one scene are resampled together.
        level: Confidence level in (0, 1).
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: No value, a NaN, or an option out of range.
    """
    array = _scores(values)
    labels = _scene_indices(scenes, array.size)
    with np.errstate(invalid="ignore"):
        deviation = float(np.std(array, ddof=1)) if array.size > 1 else math.nan
    return Summary(
        count=array.size,
        scenes=int(labels.max()) + 1,
        mean=float(np.mean(array)),
        median=float(np.median(array)),
        std=deviation,
        minimum=float(array.min()),
        maximum=float(array.max()),
        interval=bootstrap_interval(array, scenes=scenes, level=level, resamples=resamples, seed=seed),
    )


def bootstrap_interval(
    values: ArrayLike,
    *,
    scenes: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean, by scene where scenes are given (Efron and Tibshirani 1993, ch. 13).

    Arguments and errors are those of :func:`summarize`.
    """
    array = _scores(values)
    if not 0.0 < level < 1.0:
        raise UsageError(f"The confidence level must lie between 0 and 1, not {level}.")
    if resamples < 1:
        raise UsageError(f"The number of bootstrap samples must be at least 1, not {resamples}.")
    labels = _scene_indices(scenes, array.size)
    units = int(labels.max()) + 1
    if units < 2:
        return Interval(math.nan, math.nan, level)
    sums = np.bincount(labels, weights=array, minlength=units)
    counts = np.bincount(labels, minlength=units).astype(np.float64)
    with np.errstate(invalid="ignore"):  # scipy interpolates between infinite means and takes their deviation
        drawn = require_scipy().bootstrap(
            (sums, counts),
            lambda drawn_sums, drawn_counts, axis: drawn_sums.sum(axis=axis) / drawn_counts.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, _CHUNK_CELLS // units),
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = drawn.confidence_interval
    if not np.isfinite(array).all():  # an interpolated quantile between an infinite and a finite mean would be NaN
        tail = (1.0 - level) / 2.0
        low, high = np.quantile(drawn.bootstrap_distribution, [tail, 1.0 - tail], method="nearest")
    return Interval(float(low), float(high), level)


def compare_paired(
    first: ArrayLike,
    second: ArrayLike,
    *,
    higher_is_better: bool,
    scenes: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare the scores of two runs on the same pictures.

    Args:
        first: (N,) scores of the first run, finite.
        second: (N,) scores of the second run, in the same order.
        higher_is_better: Direction of the metric.
        scenes: Scene of each picture; the tests are made on the mean difference per scene.
        level: Confidence level of the interval.
        resamples: Bootstrap samples and random sign flips.
        seed: Seed of both.

    Raises:
        UsageError: The lengths differ, or a score is not finite.
    """
    one, two = _scores(first), _scores(second)
    if one.shape != two.shape:
        raise UsageError(f"Paired scores must have one length, not {one.size} and {two.size}.")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise UsageError("Infinite scores cannot be compared; leave identical pictures out.")
    differences = one - two
    gains = differences if higher_is_better else -differences
    labels = _scene_indices(scenes, differences.size)
    per_unit = np.bincount(labels, weights=differences) / np.bincount(labels)
    nonzero = per_unit[per_unit != 0.0]
    ranks = require_scipy().rankdata(np.abs(nonzero))
    balance = float((np.sign(nonzero) * ranks).sum() / ranks.sum()) if nonzero.size else 0.0
    return Comparison(
        count=differences.size,
        scenes=per_unit.size,
        mean_difference=float(differences.mean()),
        median_difference=float(np.median(differences)),
        interval=bootstrap_interval(differences, scenes=scenes, level=level, resamples=resamples, seed=seed),
        effect=balance if higher_is_better else -balance,
        win_rate=float(((gains > 0) + 0.5 * (gains == 0)).mean()),
        ties=int((gains == 0).sum()),
        p_wilcoxon=wilcoxon_signed_rank(per_unit),
        p_permutation=sign_flip_test(per_unit, resamples=resamples, seed=seed),
    )


def wilcoxon_signed_rank(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (Wilcoxon 1945).

    Zeros are dropped. p is exact up to :data:`EXACT_LIMIT` differences of distinct size, and up to
    :data:`TIED_EXACT_LIMIT` where some are equal. Above, it is the normal approximation with midranks, correction for
    ties and for continuity.

    Args:
        differences: (N,) paired differences.

    Returns:
        p in (0, 1]; 1 where every difference is zero.
    """
    array = _scores(differences)
    array = array[array != 0.0]
    if array.size == 0:
        return 1.0
    stats = require_scipy()
    if np.unique(np.abs(array)).size == array.size:
        method = "exact" if array.size <= EXACT_LIMIT else "asymptotic"
    else:
        small = array.size <= TIED_EXACT_LIMIT
        method = stats.PermutationMethod(n_resamples=2**array.size) if small else "asymptotic"
    return float(stats.wilcoxon(array, method=method, correction=True).pvalue)


def sign_flip_test(differences: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of the paired permutation test of the mean: under the null every difference may flip its sign.

    All sign patterns are tried where they are at most ``resamples``; otherwise ``resamples`` random ones are, and the
    observed pattern is counted among them, so that p is never 0 (Phipson and Smyth 2010).

    Args:
        differences: (N,) paired differences.
        resamples: Number of sign patterns.
        seed: Seed of the random patterns.

    Returns:
        p in (0, 1].
    """
    array = _scores(differences)
    array = array[array != 0.0]
    if array.size < 2:  # a single difference is as large with either sign
        return 1.0
    tested = require_scipy().permutation_test(
        (array,),
        lambda flipped, axis: np.abs(flipped.mean(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _CHUNK_CELLS // array.size),
        alternative="greater",  # of the size of the mean: both sides
        rng=np.random.default_rng(seed),
    )
    return float(tested.pvalue)


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of p for several tests at once (Holm 1979), in the order given.

    >>> [round(p, 3) for p in holm_adjust([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def require_scipy() -> ModuleType:
    """``scipy.stats``; loaded here, so that reading scores back or listing protocols needs no scipy.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    try:
        return import_module("scipy.stats")
    except ImportError as error:
        raise MissingDependencyError("scipy", "eval", "test and summarise scores") from error


def _scores(values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise UsageError("Statistics need a list of at least one score.")
    if np.isnan(array).any():
        raise UsageError("A score is NaN; leave pictures without a score out.")
    return array


def _scene_indices(scenes: Sequence[str] | None, count: int) -> NDArray[np.intp]:
    if scenes is None:
        return np.arange(count)
    if len(scenes) != count:
        raise UsageError(f"Each score needs a scene: {count} scores and {len(scenes)} scenes were given.")
    return np.unique(np.asarray(scenes), return_inverse=True)[1].astype(np.intp)
