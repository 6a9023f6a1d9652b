import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unhaze.errors import MissingDependencyError, UsageError
from unhaze.evaluation.statistics import (
    EXACT_LIMIT,
    bootstrap_interval,
    compare_paired,
    holm_adjust,
    sign_flip_test,
    summarize,
    wilcoxon_signed_rank,
)


def test_summary_of_known_values():
    summary = summarize([1.0, 2.0, 3.0, 10.0])
    assert (summary.count, summary.scenes) == (4, 4)
    assert (summary.mean, summary.median, summary.minimum, summary.maximum) == (4.0, 2.5, 1.0, 10.0)
    assert summary.std == pytest.approx(math.sqrt(50 / 3))


def test_bootstrap_interval_agrees_with_scipy():
    values = np.random.default_rng(1).normal(30, 2, 200)
    ours = bootstrap_interval(values, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        interval = bootstrap_interval(rng.normal(0, 1, 60), resamples=400, level=0.9)
        inside += interval.low <= 0 <= interval.high
    assert 0.84 <= inside / 400 <= 0.95


def test_same_seed_same_interval_other_seed_other():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


def test_scenes_widen_the_interval_of_repeated_pictures():
    scene_means = np.random.default_rng(0).normal(30, 2, 20)
    values = np.repeat(scene_means, 10)
    scenes = [str(index) for index in range(20) for _ in range(10)]
    by_scene = bootstrap_interval(values, scenes=scenes)
    by_picture = bootstrap_interval(values)
    ratio = (by_scene.high - by_scene.low) / (by_picture.high - by_picture.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.15)
    assert summarize(values, scenes=scenes).scenes == 20


def test_infinite_scores_do_not_become_nan():
    summary = summarize([30.0, 31.0, math.inf])
    assert summary.mean == math.inf
    assert summary.median == 31.0
    assert not math.isnan(summary.interval.high)


def test_single_score_has_no_interval():
    summary = summarize([3.0])
    assert math.isnan(summary.std)
    assert math.isnan(summary.interval.low)


@pytest.mark.parametrize("size", [5, 12, 40, 200])
def test_wilcoxon_agrees_with_scipy_exact(size):
    rng = np.random.default_rng(size)
    differences = rng.normal(0.3, 1, size)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert wilcoxon_signed_rank(differences) == pytest.approx(expected, rel=1e-9)


def test_wilcoxon_agrees_with_scipy_normal_above_the_limit():
    differences = np.random.default_rng(0).normal(0.03, 1, EXACT_LIMIT + 200).round(2)
    expected = stats.wilcoxon(differences, method="asymptotic", correction=True, zero_method="wilcox").pvalue
    assert wilcoxon_signed_rank(differences) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_wilcoxon_with_ties_is_the_enumeration_of_all_signs(values):
    nonzero = [value for value in values if value]
    if not nonzero:
        assert wilcoxon_signed_rank(values) == 1.0
        return
    ranks = stats.rankdata(np.abs(nonzero))
    observed = ranks[np.array(nonzero) > 0].sum()
    sums = [np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=len(ranks))]
    centre = ranks.sum() / 2
    expected = np.mean([abs(value - centre) >= abs(observed - centre) - 1e-9 for value in sums])
    assert wilcoxon_signed_rank(values) == pytest.approx(expected)


@pytest.mark.parametrize("size", [3, 8, 12])
def test_sign_flip_agrees_with_scipy_exact(size):
    differences = np.random.default_rng(size).normal(0.4, 1, size)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert sign_flip_test(differences) == pytest.approx(expected)


def test_random_sign_flips_approach_the_t_test():
    differences = np.random.default_rng(0).normal(0.1, 1, 300)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert sign_flip_test(differences, resamples=40_000) == pytest.approx(expected, abs=0.01)


def test_sign_flip_is_never_zero_and_one_for_no_difference():
    assert sign_flip_test(np.full(100, 1.0), resamples=999) == 1 / 1000
    assert sign_flip_test([0.0, 0.0]) == sign_flip_test([2.0]) == wilcoxon_signed_rank([2.0]) == 1.0


def test_tests_do_not_call_noise_significant_too_often():
    rng = np.random.default_rng(7)
    rejected = sum(wilcoxon_signed_rank(rng.normal(size=25)) < 0.05 for _ in range(1000))
    assert rejected <= 70


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_comparison_follows_the_direction_of_the_metric(higher_is_better):
    first, second = [3.0, 4.0, 5.0, 5.0], [2.0, 2.0, 5.0, 5.5]
    comparison = compare_paired(first, second, higher_is_better=higher_is_better)
    assert comparison.mean_difference == pytest.approx(0.625)
    assert comparison.median_difference == pytest.approx(0.5)
    assert comparison.ties == 1
    assert comparison.win_rate == pytest.approx(0.625 if higher_is_better else 0.375)
    effect = (2 + 3 - 1) / 6  # signed ranks of 1, 2, -0.5
    assert comparison.effect == pytest.approx(effect if higher_is_better else -effect)


def test_swapping_the_runs_mirrors_the_comparison():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=30), rng.normal(size=30)
    there = compare_paired(first, second, higher_is_better=True)
    back = compare_paired(second, first, higher_is_better=True)
    assert there.effect == pytest.approx(-back.effect)
    assert there.win_rate == pytest.approx(1 - back.win_rate)
    assert there.p_wilcoxon == pytest.approx(back.p_wilcoxon)


def test_scenes_are_the_unit_of_the_tests():
    first = np.repeat([1.0, 2.0, 3.0], 10)
    scenes = [name for name in "abc" for _ in range(10)]
    comparison = compare_paired(first, np.zeros(30), higher_is_better=True, scenes=scenes)
    assert comparison.scenes == 3
    assert comparison.p_wilcoxon == pytest.approx(0.25)  # the least that three units can give: 2 / 2³
    assert comparison.p_permutation == pytest.approx(0.25)


def test_holm_of_known_values_and_bounds():
    assert holm_adjust([0.5]) == [0.5]
    assert holm_adjust([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm_adjust([0.9, 0.8]) == [1.0, 1.0]
    assert holm_adjust([]) == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: summarize([]), "at least one"),
        (lambda: summarize([1.0, math.nan]), "NaN"),
        (lambda: summarize([1.0, 2.0], scenes=["a"]), "2 scores and 1 scenes"),
        (lambda: summarize([1.0, 2.0], level=1.0), "between 0 and 1"),
        (lambda: summarize([1.0, 2.0], resamples=0), "at least 1"),
        (lambda: compare_paired([1.0], [1.0, 2.0], higher_is_better=True), "1 and 2"),
        (lambda: compare_paired([math.inf], [1.0], higher_is_better=True), "Infinite"),
    ],
)
def test_faults_are_named(call, words):
    with pytest.raises(UsageError, match=words):
        call()


def test_figures_are_those_that_were_published_before():
    """Values of the implementation in numpy that scipy's took the place of."""
    values = [3.1, -0.4, 2.2, 0.9, -1.3, 4.0, 0.2, 1.7, -2.1, 2.6]
    interval = bootstrap_interval(values)
    by_scene = bootstrap_interval(values, scenes=list("aabbccddee"))
    assert (interval.low, interval.high) == pytest.approx((-0.11000000000000001, 2.23), rel=1e-12)
    assert (by_scene.low, by_scene.high) == pytest.approx((0.65, 1.4300000000000002), rel=1e-12)
    assert wilcoxon_signed_rank(values) == pytest.approx(0.130859375, rel=1e-12)
    assert sign_flip_test(values) == pytest.approx(0.1171875, rel=1e-12)


def test_many_ties_are_close_to_the_exact_distribution():
    """Beside 200,000 random patterns of signs of the midranks."""
    values = np.random.default_rng(2).normal(0.4, 1, 30).round(1)
    values = values[values != 0]
    ranks = stats.rankdata(np.abs(values))
    signs = np.random.default_rng(3).integers(0, 2, (200_000, len(values)), dtype=np.int8)
    centre, observed = ranks.sum() / 2, ranks[values > 0].sum()
    exact = np.mean(np.abs(signs @ ranks - centre) >= abs(observed - centre) - 1e-9)
    assert wilcoxon_signed_rank(values) == pytest.approx(exact, rel=0.03, abs=0.002)


def test_missing_scipy_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingDependencyError, match=r"scipy is needed.*unhaze\[eval\]"):
        summarize([1.0, 2.0])
