"""The report of a benchmark: numbers, tables, pictures and where all of it came from.

Everything here is a function of the outcome: no clock, no random state, no path of the machine. The same scores give
the same files, byte for byte.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.evaluation._analysis import Analysis, PairedResult, analyze
from unhaze.evaluation._files import make_folder, write_file
from unhaze.evaluation._report_pictures import Drawn, draw_pictures
from unhaze.evaluation._report_text import report_text
from unhaze.evaluation.provenance import (
    HAZE_MODEL_CODE,
    NETWORK_CODE,
    SCORING_CODE,
    code_hash,
    describe_inputs,
    hash_file,
    versions,
)
from unhaze.evaluation.scoring import metric_label
from unhaze.metrics import metric_info

if TYPE_CHECKING:
    from unhaze.evaluation.benchmark import Outcome

__all__ = ["Analysis", "PairedResult", "analyze", "report_dict", "write_report"]

FORMAT = 1
_NOTABLE_DROP = 0.05


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
    drawn = draw_pictures(analysis, output, cases_shown) if plots else Drawn([], [])
    outcome = analysis.outcome
    content = report_dict(analysis, command)
    images = [
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
    for name, data in (("report.json", content), ("per_image.json", _plain(images))):
        write_file(output / name, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    for name, rows in _csv_tables(analysis).items():
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows(rows)
        write_file(output / name, stream.getvalue())
    write_file(output / "table.md", analysis.table.markdown())
    write_file(output / "table.tex", analysis.table.latex())
    write_file(output / "table.csv", analysis.table.csv())
    write_file(output / "report.md", report_text(analysis, content, drawn))
    return output / "report.md"


def report_dict(analysis: Analysis, command: str = "") -> dict[str, Any]:
    """The report as plain data; infinite numbers are the strings ``"inf"`` and ``"-inf"``, NaN is ``None``."""
    outcome, plan = analysis.outcome, analysis.outcome.plan
    runs = []
    for run in plan.benchmark.runs:
        pairing = plan.pairings.get(run.label)
        summaries = analysis.summaries[run.label]
        runs.append(
            {
                "label": run.label,
                "kind": "model" if run.model else "folder",
                "model": run.model,
                "options": run.portable_options(),
                "folder": run.results.resolve().name if run.results else None,
                "pairing": None if pairing is None else {"rule": pairing.rule, "how": pairing.how},
                "scored": len(outcome.scored(run.label)),
                "failed": sum(failure.run == run.label for failure in outcome.failures),
                "summary": {name: asdict(summary) for name, summary in summaries.items()},
            }
        )
    content = {
        "format": FORMAT,
        "protocol": {"id": plan.protocol.id, **asdict(plan.protocol)},
        "target_rule": plan.benchmark.target_rule,
        "metrics": [{"label": metric_label(name), **asdict(metric_info(name))} for name in plan.metrics],
        "unavailable": dict(plan.unavailable),
        "runs": runs,
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
        "failures": [asdict(failure) for failure in outcome.failures],
        "without_value": [
            {"run": case.run.label, "name": case.name, "metric": name, "message": message}
            for run in plan.benchmark.runs
            for case, scores in outcome.scored(run.label)
            for name, message in scores.errors.items()
        ],
        "notes": [*plan.notes, *_notes_on_sets(outcome)],
        "inputs": describe_inputs(plan.inputs),
        "provenance": _provenance(analysis, command),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _notes_on_sets(outcome: Outcome) -> list[str]:
    """What makes means incomparable: runs scored on different pictures, and metrics that left much of them out."""
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


def _provenance(analysis: Analysis, command: str) -> dict[str, Any]:
    plan = analysis.outcome.plan
    shipped = sorted({run.model for run in plan.benchmark.runs if run.model and not run.is_network})
    networks = {run.label: run.weights() for run in plan.benchmark.runs if run.is_network}
    restoring = (*(HAZE_MODEL_CODE if shipped else ()), *(NETWORK_CODE if networks else ()))
    weights = dict.fromkeys(shipped, "inside the package, see code_sha256")
    for label, files in networks.items():
        weights |= {f"{label}, {name}": f"sha256 {digest}" for name, digest in files.items()}
    if "lpips" in plan.metrics:
        from unhaze.metrics.functional.lpips import WEIGHTS_VARIABLE

        weights["lpips"] = f"sha256 {hash_file(Path(os.environ[WEIGHTS_VARIABLE]))}"
    return {
        "command": command,
        "versions": versions(),
        "decoder": "unhaze.images (OpenCV, Pillow, simplejpeg, tifffile); upright, as stored, alpha and ICC ignored",
        "code_sha256": code_hash(*dict.fromkeys((*SCORING_CODE, *restoring))),
        "weights": weights,
        "seed": analysis.seed,
        "statistics": {
            "interval": "percentile bootstrap of the mean, scenes resampled",
            "test": "Wilcoxon signed-rank on mean differences per scene, two-sided, Holm-adjusted; "
            "exact up to 1000 scenes without ties and up to 13 with ties, above them by the normal approximation",
            "second_test": "sign-flip permutation of the mean difference per scene, two-sided",
        },
    }


def _csv_tables(analysis: Analysis) -> dict[str, list[list[str]]]:
    """Rows of the CSV files, by name; numbers in full, empty where there is none."""
    outcome, metrics = analysis.outcome, analysis.outcome.plan.metrics

    dropping = [name for name in metrics if name in ("niqe", "fade")]
    images = [["run", "name", "scene", *metrics, *(f"{name}_dropped" for name in dropping)]]
    for run in outcome.plan.benchmark.runs:
        for case, scores in outcome.scored(run.label):
            found = [*map(scores.values.get, metrics), *map(scores.dropped.get, dropping)]
            images.append([case.run.label, case.name, case.scene, *map(_number, found)])

    head = ["run", "metric", "count", "scenes", "mean", "interval_low", "interval_high", "level"]
    summaries = [[*head, "median", "std", "minimum", "maximum"]]
    for label, by_metric in analysis.summaries.items():
        for name, summary in by_metric.items():
            mean = (summary.mean, summary.interval.low, summary.interval.high, summary.interval.level)
            spread = (summary.median, summary.std, summary.minimum, summary.maximum)
            summaries.append([label, name, str(summary.count), str(summary.scenes), *map(_number, (*mean, *spread))])

    head = ["first", "second", "metric", "pictures", "scenes", "mean_difference", "interval_low", "interval_high"]
    tests = ["p_wilcoxon", "p_wilcoxon_holm", "p_permutation"]
    comparisons = [[*head, "median_difference", "effect", "win_rate", "ties", *tests]]
    for paired in analysis.comparisons:
        result = paired.comparison
        differences = (result.mean_difference, result.interval.low, result.interval.high, result.median_difference)
        comparisons.append(
            [
                *(paired.first, paired.second, paired.metric, str(result.count), str(result.scenes)),
                *map(_number, (*differences, result.effect, result.win_rate)),
                str(result.ties),
                *map(_number, (result.p_wilcoxon, paired.p_adjusted, result.p_permutation)),
            ]
        )
    return {"per_image.csv": images, "summary.csv": summaries, "comparisons.csv": comparisons}


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
