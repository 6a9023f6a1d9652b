"""Pictures of a report: scatter plots of every two runs, sheets of the worst and best cases, error maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unhaze.errors import MissingDependencyError, UnhazeError
from unhaze.evaluation._analysis import Analysis, common_scores
from unhaze.evaluation._files import file_name, write_file
from unhaze.evaluation.benchmark import restored_picture
from unhaze.evaluation.plots import (
    ERROR_SCALE,
    ScatterPanel,
    SheetRow,
    encode_png,
    error_map,
    picture_sheet,
    scatter_plot,
    to_pixels,
)
from unhaze.evaluation.protocols import match_target
from unhaze.evaluation.scoring import metric_label, read_batch
from unhaze.evaluation.tables import format_score
from unhaze.metrics import metric_info

if TYPE_CHECKING:
    from unhaze.evaluation.benchmark import Case, Plan
    from unhaze.evaluation.scoring import Scores

__all__ = ["Drawn", "draw_pictures"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Files that were drawn, relative to the report, with captions, and what could not be."""

    files: list[tuple[str, str]]
    notes: list[str]


def draw_pictures(analysis: Analysis, output: Path, cases_shown: int) -> Drawn:
    """Draw into ``output``: one scatter plot per two runs, and sheets of so many worst and best cases per run.

    Raises:
        OutputError: A file cannot be written.
    """
    drawn = Drawn([], [])
    plan = analysis.outcome.plan
    for first, second in dict.fromkeys((paired.first, paired.second) for paired in analysis.comparisons):
        panels = []
        for metric in plan.metrics:
            _, one, two, _ = common_scores(analysis.outcome, first, second, metric)
            if one:
                panels.append(ScatterPanel(metric_label(metric), one, two, metric_info(metric).higher_is_better))
        try:
            content = scatter_plot(first, second, panels)
        except MissingDependencyError as error:
            drawn.notes.append(f"{error}.")
            break
        name = f"plots/scatter-{file_name(first)}-{file_name(second)}.png"
        write_file(output / name, content)
        drawn.files.append((name, f"{first} against {second}, one point per picture"))
    if cases_shown > 0:
        for run in plan.benchmark.runs:
            # the first metric that the run has scores of ranks its pictures
            ranking = next((name for name in plan.metrics if name in analysis.summaries[run.label]), None)
            if ranking is not None:
                _draw_sheets(analysis, run.label, ranking, output, cases_shown, drawn)
    return drawn


def _draw_sheets(analysis: Analysis, label: str, metric: str, output: Path, count: int, drawn: Drawn) -> None:
    """The worst and the best cases of a run; no case is on both sheets."""
    sign = 1.0 if metric_info(metric).higher_is_better else -1.0
    having = [(case, scores) for case, scores in analysis.outcome.scored(label) if metric in scores.values]
    ranked = sorted(having, key=lambda entry: (sign * entry[1].values[metric], entry[0].name))  # the worst first
    half = len(ranked) // 2
    chosen = {"worst": ranked[:count], "best": ranked[max(half, len(ranked) - count) :][::-1]}
    for kind, cases in chosen.items():
        rows = [
            row for case, scores in cases if (row := _sheet_row(case, scores, analysis.outcome.plan, output, metric))
        ]
        if not rows:
            continue
        name = f"plots/{kind}-{file_name(label)}.png"
        title = f"{label}: {kind} {len(rows)} by {metric_label(metric)}; error maps: bright = {ERROR_SCALE:g} or more"
        write_file(output / name, picture_sheet(title, rows))
        drawn.files.append((name, f"{label}: {kind} pictures by {metric_label(metric)}"))


def _sheet_row(case: Case, scores: Scores, plan: Plan, output: Path, metric: str) -> SheetRow | None:
    try:
        restored = restored_picture(case)
        target = None if case.target is None else read_batch(case.target.read_bytes())
        hazy = None if case.hazy is None else read_batch(case.hazy.read_bytes())
    except (UnhazeError, OSError):
        return None  # it was readable when it was scored; the report need not fail for a sheet
    panels = [] if hazy is None else [("hazy", to_pixels(hazy))]
    panels.append(("restored", to_pixels(restored)))
    if target is not None:
        target = match_target(restored, target, plan.benchmark.target_rule)
        errors = error_map(plan.protocol.prepare(restored), plan.protocol.prepare(target))
        panels += [("target", to_pixels(target)), ("error", errors)]
        file = output / "error_maps" / file_name(case.run.label) / f"{file_name(case.name)}.png"
        write_file(file, encode_png(errors))
    shown = [f"{metric_label(name)} {format_score(name, value)}" for name, value in scores.values.items()]
    first = f"{metric_label(metric)} {format_score(metric, scores.values[metric])}"
    return SheetRow(f"{case.name}: " + ", ".join(dict.fromkeys([first, *shown][:4])), panels)
