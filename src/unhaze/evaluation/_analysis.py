"""What the scores of a benchmark say: a summary per run and metric, and every two runs compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unhaze.evaluation.reported import reported_figures
from unhaze.evaluation.statistics import Comparison, Summary, compare_paired, holm_adjust, summarize
from unhaze.evaluation.tables import ScoreTable, score_table
from unhaze.metrics import metric_info

if TYPE_CHECKING:
    from unhaze.evaluation.benchmark import Outcome

__all__ = ["Analysis", "PairedResult", "analyze", "common_scores"]


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Comparison of two runs by one metric; ``p_adjusted`` is Holm's over all comparisons of the report."""

    first: str
    second: str
    metric: str
    comparison: Comparison
    infinite: int
    p_adjusted: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the scores say.

    Attributes:
        outcome: The scores.
        summaries: Label -> metric -> summary; metrics without a value are left out.
        comparisons: All pairs of runs by all metrics.
        table: Measured means, and reported figures where a data set was named.
        seed: Seed of everything random.
        dataset: Name of the data set whose reported figures are shown.
    """

    outcome: Outcome
    summaries: Mapping[str, Mapping[str, Summary]]
    comparisons: tuple[PairedResult, ...]
    table: ScoreTable
    seed: int
    dataset: str | None


def analyze(outcome: Outcome, *, seed: int = 0, resamples: int = 10_000, dataset: str | None = None) -> Analysis:
    """Summarise and compare.

    Args:
        outcome: Scores of a benchmark.
        seed: Seed of bootstrap and permutations.
        resamples: Samples of both.
        dataset: Show the figures that papers report for this data set (``"sots-indoor"``).

    Raises:
        UnknownNameError: No figure is reported for that data set.
    """
    reported = reported_figures(dataset=dataset) if dataset else []
    plan = outcome.plan
    labels = [run.label for run in plan.benchmark.runs]
    directions = {name: metric_info(name).higher_is_better for name in plan.metrics}

    summaries: dict[str, dict[str, Summary]] = {label: {} for label in labels}
    for label, name in itertools.product(labels, plan.metrics):
        having = [(case, scores.values[name]) for case, scores in outcome.scored(label) if name in scores.values]
        if having:
            scenes = [case.scene for case, _ in having]
            values = [value for _, value in having]
            summaries[label][name] = summarize(values, scenes=scenes, seed=seed, resamples=resamples)
    table = score_table(
        summaries, protocol=plan.protocol.id, metrics=plan.metrics, higher_is_better=directions, reported=reported
    )

    found: list[PairedResult] = []
    for (first, second), name in itertools.product(itertools.combinations(labels, 2), plan.metrics):
        scenes, one, two, infinite = common_scores(outcome, first, second, name)
        if len(one) < 2:
            continue
        comparison = compare_paired(
            one, two, higher_is_better=directions[name], scenes=scenes, seed=seed, resamples=resamples
        )
        found.append(PairedResult(first, second, name, comparison, infinite, 1.0))
    adjusted = holm_adjust([paired.comparison.p_wilcoxon for paired in found])
    comparisons = tuple(replace(paired, p_adjusted=p) for paired, p in zip(found, adjusted, strict=True))
    return Analysis(outcome, summaries, comparisons, table, seed, dataset)


def common_scores(
    outcome: Outcome, first: str, second: str, name: str
) -> tuple[list[str], list[float], list[float], int]:
    """Scenes and finite scores of the pictures that both runs have, and how many infinite pairs were left out."""
    other = {case.name: scores for case, scores in outcome.scored(second) if name in scores.values}
    rows = [
        (case.scene, scores.values[name], other[case.name].values[name])
        for case, scores in outcome.scored(first)
        if name in scores.values and case.name in other
    ]
    finite = [row for row in rows if math.isfinite(row[1]) and math.isfinite(row[2])]
    return [row[0] for row in finite], [row[1] for row in finite], [row[2] for row in finite], len(rows) - len(finite)
