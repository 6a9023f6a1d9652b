"""The report of a benchmark: numbers, tables, pictures and where all of it came from.

Everything here is a function of the outcome: no clock, no random state, no path of the machine. The same scores give
the same files, byte for byte.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.errors import MissingDependencyError, UnhazeError
from unhaze.evaluation.benchmark import make_folder, restored_picture
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
from unhaze.evaluation.protocols import TARGET_RULES, match_target
from unhaze.evaluation.provenance import (
    HAZE_MODEL_CODE,
    NETWORK_CODE,
    SCORING_CODE,
    code_hash,
    describe_inputs,
    hash_bytes,
    hash_file,
    versions,
)
from unhaze.evaluation.reported import ReportedFigure, reported_figures
from unhaze.evaluation.scoring import metric_label, read_batch
from unhaze.evaluation.statistics import Comparison, Summary, compare_paired, holm_adjust, summarize
from unhaze.evaluation.tables import ScoreTable, format_score, score_table
from unhaze.images.atomic import atomic_output
from unhaze.metrics import metric_info

if TYPE_CHECKING:
    from unhaze.evaluation.benchmark import Case, Outcome, Plan
    from unhaze.evaluation.scoring import Scores

__all__ = ["Analysis", "PairedResult", "analyze", "report_dict", "write_report"]

FORMAT = 1
_NOTABLE_DROP = 0.05


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
    summaries = {run.label: _summaries(outcome, run.label, seed, resamples) for run in plan.benchmark.runs}
    directions = {name: metric_info(name).higher_is_better for name in plan.metrics}
    table = score_table(
        summaries, protocol=plan.protocol.id, metrics=plan.metrics, higher_is_better=directions, reported=reported
    )
    return Analysis(outcome, summaries, _comparisons(outcome, directions, seed, resamples), table, seed, dataset)


def write_report(
    analysis: Analysis, output: Path, *, command: str = "", cases_shown: int = 4, plots: bool = True
) -> Path:
    """Write ``report.md`` and all files that go with it; existing ones are replaced.

    Args:
        analysis: From :func:`analyze`.
        output: Folder; made if it is not there.
        command: The command line, for the record; must not name the machine's folders.
        cases_shown: Worst and best pictures per run on sheets and as error maps.
        plots: Whether to draw anything.

    Returns:
        Path of ``report.md``.

    Raises:
        OutputError: A file cannot be written.
    """
    make_folder(output)
    drawn = _draw(analysis, output, cases_shown) if plots else _Drawn([], [])
    _write(output / "report.json", _json(report_dict(analysis, command)))
    _write(output / "per_image.json", _json(_image_records(analysis.outcome)))
    _write(output / "per_image.csv", _image_csv(analysis.outcome))
    _write(output / "summary.csv", _summary_csv(analysis))
    _write(output / "comparisons.csv", _comparison_csv(analysis))
    _write(output / "table.md", analysis.table.markdown())
    _write(output / "table.tex", analysis.table.latex())
    _write(output / "table.csv", analysis.table.csv())
    _write(output / "report.md", _markdown(analysis, command, drawn))
    return output / "report.md"


def report_dict(analysis: Analysis, command: str = "") -> dict[str, Any]:
    """The report as plain data; infinite numbers are the strings ``"inf"`` and ``"-inf"``, NaN is ``None``."""
    plan = analysis.outcome.plan
    content = {
        "format": FORMAT,
        "protocol": {"id": plan.protocol.id, **asdict(plan.protocol)},
        "target_rule": plan.benchmark.target_rule,
        "metrics": [{"label": metric_label(name), **asdict(metric_info(name))} for name in plan.metrics],
        "unavailable": dict(plan.unavailable),
        "runs": [_run_entry(analysis, run.label) for run in plan.benchmark.runs],
        "comparisons": [
            {
                "first": paired.first,
                "second": paired.second,
                "metric": paired.metric,
                **asdict(paired.comparison),
                "infinite_left_out": paired.infinite,
                "p_wilcoxon_holm": paired.p_adjusted,
            }
            for paired in analysis.comparisons
        ],
        "reported_dataset": analysis.dataset,
        "failures": [asdict(failure) for failure in analysis.outcome.failures],
        "without_value": _without_value(analysis.outcome),
        "notes": [*plan.notes, *_set_notes(analysis.outcome)],
        "inputs": describe_inputs(plan.inputs),
        "provenance": _provenance(analysis, command),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Files that were drawn, relative to the report, with captions, and what could not be."""

    files: list[tuple[str, str]]
    notes: list[str]


def _summaries(outcome: Outcome, label: str, seed: int, resamples: int) -> dict[str, Summary]:
    cases = outcome.scored(label)
    found = {}
    for name in outcome.plan.metrics:
        having = [(case, scores.values[name]) for case, scores in cases if name in scores.values]
        if having:
            scenes = [case.scene for case, _ in having]
            found[name] = summarize([value for _, value in having], scenes=scenes, seed=seed, resamples=resamples)
    return found


def _comparisons(
    outcome: Outcome, directions: Mapping[str, bool], seed: int, resamples: int
) -> tuple[PairedResult, ...]:
    found: list[PairedResult] = []
    labels = [run.label for run in outcome.plan.benchmark.runs]
    for (first, second), name in itertools.product(itertools.combinations(labels, 2), outcome.plan.metrics):
        scenes, one, two, infinite = _common(outcome, first, second, name)
        if len(one) < 2:
            continue
        comparison = compare_paired(
            one, two, higher_is_better=directions[name], scenes=scenes, seed=seed, resamples=resamples
        )
        found.append(PairedResult(first, second, name, comparison, infinite, 1.0))
    adjusted = holm_adjust([paired.comparison.p_wilcoxon for paired in found])
    return tuple(
        PairedResult(paired.first, paired.second, paired.metric, paired.comparison, paired.infinite, p)
        for paired, p in zip(found, adjusted, strict=True)
    )


def _common(outcome: Outcome, first: str, second: str, name: str) -> tuple[list[str], list[float], list[float], int]:
    """Scenes and finite scores of the pictures that both runs have, and how many infinite pairs were left out."""
    other = {case.name: scores for case, scores in outcome.scored(second) if name in scores.values}
    rows = [
        (case.scene, scores.values[name], other[case.name].values[name])
        for case, scores in outcome.scored(first)
        if name in scores.values and case.name in other
    ]
    finite = [row for row in rows if math.isfinite(row[1]) and math.isfinite(row[2])]
    return [row[0] for row in finite], [row[1] for row in finite], [row[2] for row in finite], len(rows) - len(finite)


def _run_entry(analysis: Analysis, label: str) -> dict[str, Any]:
    plan = analysis.outcome.plan
    run = next(run for run in plan.benchmark.runs if run.label == label)
    pairing = plan.pairings.get(label)
    cases = analysis.outcome.scored(label)
    return {
        "label": label,
        "kind": "model" if run.model else "folder",
        "model": run.model,
        "options": run.portable_options(),
        "folder": run.results.resolve().name if run.results else None,
        "pairing": None if pairing is None else {"rule": pairing.rule, "how": pairing.how},
        "scored": len(cases),
        "failed": sum(failure.run == label for failure in analysis.outcome.failures),
        "summary": {name: asdict(summary) for name, summary in analysis.summaries[label].items()},
    }


def _provenance(analysis: Analysis, command: str) -> dict[str, Any]:
    plan = analysis.outcome.plan
    shipped = sorted({run.model for run in plan.benchmark.runs if run.model and not run.is_network})
    networks = {run.label: run.weights() for run in plan.benchmark.runs if run.is_network}
    restoring = (*(HAZE_MODEL_CODE if shipped else ()), *(NETWORK_CODE if networks else ()))
    return {
        "command": command,
        "versions": versions(),
        "decoder": "unhaze.images (OpenCV, Pillow, simplejpeg, tifffile); upright, as stored, alpha and ICC ignored",
        "code_sha256": code_hash(*dict.fromkeys((*SCORING_CODE, *restoring))),
        "weights": {
            **dict.fromkeys(shipped, "inside the package, see code_sha256"),
            **{
                f"{label}, {name}": f"sha256 {digest}"
                for label, files in networks.items()
                for name, digest in files.items()
            },
            **_metric_weights(plan),
        },
        "seed": analysis.seed,
        "statistics": {
            "interval": "percentile bootstrap of the mean, scenes resampled",
            "test": "Wilcoxon signed-rank on mean differences per scene, two-sided, Holm-adjusted; "
            "exact up to 1000 scenes without ties and up to 13 with ties, above them by the normal approximation",
            "second_test": "sign-flip permutation of the mean difference per scene, two-sided",
        },
    }


def _metric_weights(plan: Plan) -> dict[str, str]:
    if "lpips" not in plan.metrics:
        return {}
    from unhaze.metrics.functional.lpips import WEIGHTS_VARIABLE

    return {"lpips": f"sha256 {hash_file(Path(os.environ[WEIGHTS_VARIABLE]))}"}


def _without_value(outcome: Outcome) -> list[dict[str, str]]:
    return [
        {"run": case.run.label, "name": case.name, "metric": name, "message": message}
        for run in outcome.plan.benchmark.runs
        for case, scores in outcome.scored(run.label)
        for name, message in scores.errors.items()
    ]


def _set_notes(outcome: Outcome) -> list[str]:
    labels = [run.label for run in outcome.plan.benchmark.runs]
    sets = {label: {case.name for case, _ in outcome.scored(label)} for label in labels}
    notes = []
    if len({frozenset(names) for names in sets.values()}) > 1:
        common = len(set.intersection(*sets.values()))
        notes.append(
            f"The runs were not scored on the same pictures ({common} in common): their means are not comparable; "
            "the paired comparisons use the common pictures only."
        )
    for label in labels:
        cases = outcome.scored(label)
        for name in outcome.plan.metrics:
            shares = [scores.dropped.get(name, 0.0) for _, scores in cases]
            many = sum(share > _NOTABLE_DROP for share in shares)
            if many:
                notes.append(
                    f"{label}: {metric_label(name)} left out more than {_NOTABLE_DROP:.0%} of {many} pictures as "
                    "flat; the shares are in per_image.csv."
                )
    return notes


def _image_records(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "run": case.run.label,
            "name": case.name,
            "scene": case.scene,
            "scores": scores.values,
            "dropped": scores.dropped,
            "errors": scores.errors,
            "key": case.key,
        }
        for run in outcome.plan.benchmark.runs
        for case, scores in outcome.scored(run.label)
    ]


def _image_csv(outcome: Outcome) -> str:
    metrics = outcome.plan.metrics
    dropping = [name for name in metrics if name in ("niqe", "fade")]
    rows = [["run", "name", "scene", *metrics, *(f"{name}_dropped" for name in dropping)]]
    for run in outcome.plan.benchmark.runs:
        for case, scores in outcome.scored(run.label):
            values = [_number(scores.values.get(name)) for name in metrics]
            dropped = [_number(scores.dropped.get(name)) for name in dropping]
            rows.append([case.run.label, case.name, case.scene, *values, *dropped])
    return _csv(rows)


def _summary_csv(analysis: Analysis) -> str:
    head = ["run", "metric", "count", "scenes", "mean", "interval_low", "interval_high", "level"]
    rows = [[*head, "median", "std", "minimum", "maximum"]]
    for label, summaries in analysis.summaries.items():
        for name, summary in summaries.items():
            numbers = (summary.mean, summary.interval.low, summary.interval.high, summary.interval.level)
            spread = (summary.median, summary.std, summary.minimum, summary.maximum)
            counts = [str(summary.count), str(summary.scenes)]
            rows.append([label, name, *counts, *map(_number, numbers), *map(_number, spread)])
    return _csv(rows)


def _comparison_csv(analysis: Analysis) -> str:
    head = ["first", "second", "metric", "pictures", "scenes", "mean_difference", "interval_low", "interval_high"]
    rows = [
        [*head, "median_difference", "effect", "win_rate", "ties", "p_wilcoxon", "p_wilcoxon_holm", "p_permutation"]
    ]
    for paired in analysis.comparisons:
        result = paired.comparison
        numbers = (result.mean_difference, result.interval.low, result.interval.high, result.median_difference)
        tests = (result.p_wilcoxon, paired.p_adjusted, result.p_permutation)
        rows.append(
            [
                *(paired.first, paired.second, paired.metric, str(result.count), str(result.scenes)),
                *map(_number, numbers),
                *(_number(result.effect), _number(result.win_rate), str(result.ties)),
                *map(_number, tests),
            ]
        )
    return _csv(rows)


def _draw(analysis: Analysis, output: Path, cases_shown: int) -> _Drawn:
    drawn = _Drawn([], [])
    _draw_scatters(analysis, output / "plots", drawn)
    if cases_shown > 0:
        for run in analysis.outcome.plan.benchmark.runs:
            _draw_cases(analysis, run.label, output, cases_shown, drawn)
    return drawn


def _draw_scatters(analysis: Analysis, folder: Path, drawn: _Drawn) -> None:
    pairs = dict.fromkeys((paired.first, paired.second) for paired in analysis.comparisons)
    for first, second in pairs:
        panels = []
        for name in analysis.outcome.plan.metrics:
            _, one, two, _ = _common(analysis.outcome, first, second, name)
            if one:
                panels.append(ScatterPanel(metric_label(name), one, two, metric_info(name).higher_is_better))
        try:
            content = scatter_plot(first, second, panels)
        except MissingDependencyError as error:
            drawn.notes.append(f"{error}.")
            return
        name = f"scatter-{_file_name(first)}-{_file_name(second)}.png"
        _write(folder / name, content)
        drawn.files.append((f"plots/{name}", f"{first} against {second}, one point per picture"))


def _draw_cases(analysis: Analysis, label: str, output: Path, count: int, drawn: _Drawn) -> None:
    metric = _ranking_metric(analysis, label)
    if metric is None:
        return
    ranked = _ranked(analysis.outcome, label, metric)
    half = len(ranked) // 2
    chosen = {"worst": ranked[:count], "best": ranked[max(half, len(ranked) - count) :][::-1]}
    for kind, cases in chosen.items():
        rows = [
            row for case, scores in cases if (row := _sheet_row(case, scores, analysis.outcome.plan, output, metric))
        ]
        if not rows:
            continue
        name = f"{kind}-{_file_name(label)}.png"
        title = f"{label}: {kind} {len(rows)} by {metric_label(metric)}; error maps: bright = {ERROR_SCALE:g} or more"
        _write(output / "plots" / name, picture_sheet(title, rows))
        drawn.files.append((f"plots/{name}", f"{label}: {kind} pictures by {metric_label(metric)}"))


def _ranking_metric(analysis: Analysis, label: str) -> str | None:
    return next((name for name in analysis.outcome.plan.metrics if name in analysis.summaries[label]), None)


def _ranked(outcome: Outcome, label: str, metric: str) -> list[tuple[Case, Scores]]:
    """Cases from worst to best; equal ones by name."""
    sign = 1.0 if metric_info(metric).higher_is_better else -1.0
    having = [(case, scores) for case, scores in outcome.scored(label) if metric in scores.values]
    return sorted(having, key=lambda entry: (sign * entry[1].values[metric], entry[0].name))


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
        _write(output / "error_maps" / _file_name(case.run.label) / f"{_file_name(case.name)}.png", encode_png(errors))
    shown = [f"{metric_label(name)} {format_score(name, value)}" for name, value in scores.values.items()]
    first = f"{metric_label(metric)} {format_score(metric, scores.values[metric])}"
    return SheetRow(f"{case.name}: " + ", ".join(dict.fromkeys([first, *shown][:4])), panels)


def _markdown(analysis: Analysis, command: str, drawn: _Drawn) -> str:
    parts = [
        _head_section(analysis),
        "## Scores\n\nMean over pictures, with the 95 % bootstrap interval of the mean. Bold: best measured.\n",
        analysis.table.markdown(),
        _reported_note(analysis),
        _comparison_section(analysis),
        _trouble_section(analysis, drawn),
        _picture_section(drawn),
        _provenance_section(analysis, command),
    ]
    return "\n".join(part for part in parts if part)


def _head_section(analysis: Analysis) -> str:
    plan = analysis.outcome.plan
    protocol = plan.protocol
    rounding = "rounded to 8 bits" if protocol.rounding == "8bit" else "not rounded"
    lines = [
        "# Benchmark",
        "",
        f"Protocol **{protocol.id}**: {protocol.summary}",
        "",
        f"- Values: RGB in [0, 1], {rounding}; border cut off: {protocol.border} px.",
        f"- PSNR: over all RGB values, {format_score('psnr', protocol.identical_psnr)} dB for identical pictures; "
        "PSNR-Y: limited-range BT.601.",
        f"- SSIM: convention `{protocol.ssim}`.",
        f"- Sizes: {plan.benchmark.target_rule}. {TARGET_RULES[plan.benchmark.target_rule]}",
        f"- Source: {protocol.source}.",
        *(f"- Open: {point}" for point in protocol.open_points),
        *(f"- Paired ({label}): {pairing.how}" for label, pairing in plan.pairings.items()),
        *(f"- Not scored: {metric_label(name)}: {reason}" for name, reason in plan.unavailable.items()),
    ]
    return "\n".join(lines) + "\n"


def _reported_note(analysis: Analysis) -> str:
    if analysis.dataset is None:
        return ""
    shown = reported_figures(dataset=analysis.dataset)
    papers = {figure.table.paper.id: figure.table.paper for figure in shown}
    lines = ["Rows in italics are **reported** by the papers, not measured here:", ""]
    lines += [f"- {paper.label}: {paper.citation}" for paper in papers.values()]
    lines.append(
        f"- They are means over the papers' whole test set; hold measured means against them only if all of "
        f"{analysis.dataset} was scored, by a method trained as in the paper."
    )
    other = [paper.label for paper in papers.values() if paper.protocol != analysis.outcome.plan.protocol.name]
    if other:
        lines.append(
            f"- The rows of {', '.join(other)} were scored under another protocol than the measured ones: "
            "not comparable."
        )
    lines += [f"- {table.paper.label}, Table {table.number}: {table.note}" for table in _noted_tables(shown)]
    return "\n".join(lines) + "\n"


def _noted_tables(figures: Sequence[ReportedFigure]) -> list[Any]:
    return [table for table in {figure.table.id: figure.table for figure in figures}.values() if table.note]


def _comparison_section(analysis: Analysis) -> str:
    if not analysis.comparisons:
        return ""
    lines = [
        "## Paired comparisons",
        "",
        "Differences are first − second on the pictures both have. Effect: rank-biserial correlation, positive where "
        "the first is better. p: Wilcoxon signed-rank on scene means, Holm-adjusted over this table.",
        "",
        "| First | Second | Metric | Pictures (scenes) | Mean difference | Median | Effect | First wins | p |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for paired in analysis.comparisons:
        result = paired.comparison
        cells = [
            *(paired.first, paired.second, metric_label(paired.metric), f"{result.count} ({result.scenes})"),
            f"{_signed(paired.metric, result.mean_difference)} {_signed_interval(paired)}".rstrip(),
            _signed(paired.metric, result.median_difference),
            *(f"{result.effect:+.2f}", f"{result.win_rate:.0%}", _p(paired.p_adjusted)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _trouble_section(analysis: Analysis, drawn: _Drawn) -> str:
    outcome = analysis.outcome
    notes = [*outcome.plan.notes, *_set_notes(outcome), *drawn.notes]
    lines = ["## Notes", "", *(f"- {note}" for note in notes), ""] if notes else []
    if outcome.failures:
        lines += [f"## Not scored: {len(outcome.failures)} pictures", ""]
        lines += [f"- {failure.run}, `{failure.name}`: {failure.message}" for failure in outcome.failures] + [""]
    missing = _without_value(outcome)
    if missing:
        lines += [f"## Without a value: {len(missing)}", ""]
        lines += [f"- {entry['run']}, `{entry['name']}`: {entry['message']}" for entry in missing] + [""]
    return "\n".join(lines)


def _picture_section(drawn: _Drawn) -> str:
    if not drawn.files:
        return ""
    lines = ["## Pictures", ""]
    for path, caption in drawn.files:
        lines += [f"![{caption}]({path})", ""]
    return "\n".join(lines)


def _provenance_section(analysis: Analysis, command: str) -> str:
    provenance = _provenance(analysis, command)
    lines = ["## Provenance", ""]
    if command:
        lines += [f"    {command}", ""]
    lines += [f"- {name} {version}" for name, version in provenance["versions"].items()]
    lines += [f"- Decoder: {provenance['decoder']}", f"- Code: sha256 {provenance['code_sha256']}"]
    lines += [
        f"- Input, {entry['role']}: `{entry['folder']}`, {entry['files']} pictures, manifest sha256 "
        f"{entry['manifest_sha256']}"
        for entry in describe_inputs(analysis.outcome.plan.inputs)
    ]
    lines.append(f"- Seed: {analysis.seed}")
    return "\n".join(lines) + "\n"


def _signed(name: str, value: float) -> str:
    text = format_score(name, value)
    return text if math.isnan(value) or text.startswith("-") else f"+{text}"


def _signed_interval(paired: PairedResult) -> str:
    bounds = (paired.comparison.interval.low, paired.comparison.interval.high)
    return "" if math.isnan(bounds[0]) else f"[{', '.join(_signed(paired.metric, bound) for bound in bounds)}]"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _file_name(text: str) -> str:
    """``text`` as one part of a path and of a link; what has to be replaced leaves a trace that keeps names apart."""
    plain = re.sub(r"[^\w.+-]", "_", text)
    return plain if plain == text else f"{plain}-{hash_bytes(text.encode('utf-8', 'surrogateescape'))[:8]}"


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _csv(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _json(content: Any) -> str:
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _write(path: Path, content: str | bytes) -> None:
    make_folder(path.parent)
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_bytes(data)
