"""Statistics of scores: confidence intervals, and whether two methods differ.

Pictures that share a scene are not independent (SOTS-indoor holds 50 scenes, each hazed ten times). Where scenes are
given, they are what is resampled and tested, not pictures; otherwise intervals come out too narrow and p too small.

numpy only; every result is a function of its arguments (the generator is seeded).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unhaze.errors import UsageError

__all__ = [
    "Comparison",
    "Interval",
    "Summary",
    "bootstrap_interval",
    "compare_paired",
    "holm_adjust",
    "sign_flip_test",
    "summarize",
    "wilcoxon_signed_rank",
]

FloatArray = NDArray[np.float64]

EXACT_LIMIT = 1000
"""Up to this many differences the null distribution of the signed-rank statistic is computed, not approximated."""

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
    rng = np.random.default_rng(seed)
    means: list[FloatArray] = []
    for size in _chunks(resamples, units):
        drawn = rng.integers(0, units, size=(size, units))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = (1.0 - level) / 2.0
    # an interpolated quantile between an infinite and a finite mean would be NaN
    method: Literal["linear", "nearest"] = "linear" if np.isfinite(array).all() else "nearest"
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail], method=method)
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
    ranks = _signed_ranks(per_unit if higher_is_better else -per_unit)
    total = np.abs(ranks).sum()
    return Comparison(
        count=differences.size,
        scenes=per_unit.size,
        mean_difference=float(differences.mean()),
        median_difference=float(np.median(differences)),
        interval=bootstrap_interval(differences, scenes=scenes, level=level, resamples=resamples, seed=seed),
        effect=float(ranks.sum() / total) if total > 0 else 0.0,
        win_rate=float(((gains > 0) + 0.5 * (gains == 0)).mean()),
        ties=int((gains == 0).sum()),
        p_wilcoxon=wilcoxon_signed_rank(per_unit),
        p_permutation=sign_flip_test(per_unit, resamples=resamples, seed=seed),
    )


def wilcoxon_signed_rank(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (Wilcoxon 1945).

    Zeros are dropped. Up to :data:`EXACT_LIMIT` differences p is exact, ties included: the null distribution of the
    sum of midranks is built by convolution. Above, the normal approximation with tie correction is used.

    Args:
        differences: (N,) paired differences.

    Returns:
        p in (0, 1]; 1 where every difference is zero.
    """
    ranks = _signed_ranks(_scores(differences))
    if ranks.size == 0:
        return 1.0
    observed = float(ranks[ranks > 0].sum())
    if ranks.size > EXACT_LIMIT:
        deviation = math.sqrt(float((ranks**2).sum()) / 4.0)  # midranks make this the tie-corrected variance
        distance = max(0.0, abs(observed - np.abs(ranks).sum() / 2.0) - 0.5)
        return min(1.0, math.erfc(distance / deviation / math.sqrt(2.0)))
    doubled = np.rint(2.0 * np.abs(ranks)).astype(np.int64)  # midranks are multiples of one half
    return _exact_tail(doubled, int(np.rint(2.0 * observed)))


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
    if array.size == 0:
        return 1.0
    observed = abs(float(array.sum()))
    threshold = observed - 1e-12 * float(np.abs(array).sum())  # equal sums in another order differ by rounding
    if 2**array.size <= resamples:
        patterns = np.arange(2**array.size)[:, None] >> np.arange(array.size) & 1
        return float((np.abs((1.0 - 2.0 * patterns) @ array) >= threshold).mean())
    rng = np.random.default_rng(seed)
    hits = 0
    for size in _chunks(resamples, array.size):
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(size, array.size))
        hits += int((np.abs((signs * array).sum(axis=1)) >= threshold).sum())
    return (hits + 1) / (resamples + 1)


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


def _chunks(total: int, width: int) -> list[int]:
    size = max(1, _CHUNK_CELLS // width)
    return [min(size, total - start) for start in range(0, total, size)]


def _signed_ranks(differences: FloatArray) -> FloatArray:
    nonzero: FloatArray = differences[differences != 0.0]
    if nonzero.size == 0:
        return nonzero
    signed: FloatArray = np.sign(nonzero) * _midranks(np.abs(nonzero))
    return signed


def _midranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    midranks: FloatArray = (last - (counts - 1) / 2.0)[inverse]
    return midranks


def _exact_tail(weights: NDArray[np.int64], observed: int) -> float:
    total = int(weights.sum())
    probabilities = np.zeros(total + 1)
    probabilities[0] = 1.0
    reached = 0
    for weight in weights:
        shifted = probabilities[: reached + 1] / 2.0
        probabilities[: reached + 1] = shifted
        probabilities[weight : reached + weight + 1] += shifted
        reached += int(weight)
    extreme = min(observed, total - observed)  # the distribution is symmetric about total / 2
    return min(1.0, 2.0 * float(probabilities[: extreme + 1].sum()))
