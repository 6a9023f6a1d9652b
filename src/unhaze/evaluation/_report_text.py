"""``report.md``: the report as a page of Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from unhaze.evaluation.protocols import TARGET_RULES
from unhaze.evaluation.reported import reported_figures
from unhaze.evaluation.scoring import metric_label
from unhaze.evaluation.tables import format_score

if TYPE_CHECKING:
    from unhaze.evaluation._analysis import Analysis
    from unhaze.evaluation._report_pictures import Drawn

__all__ = ["report_text"]


def report_text(analysis: Analysis, content: dict[str, Any], drawn: Drawn) -> str:
    """The page.

    Args:
        analysis: What the scores say.
        content: The same as plain data, from :func:`unhaze.evaluation.report.report_dict`.
        drawn: Pictures to show.
    """
    troubles = []
    if notes := [*content["notes"], *drawn.notes]:
        troubles += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    for title, entries in (
        (f"Not scored: {len(content['failures'])} pictures", content["failures"]),
        (f"Without a value: {len(content['without_value'])}", content["without_value"]),
    ):
        if entries:
            lines = [f"- {entry['run']}, `{entry['name']}`: {entry['message']}" for entry in entries]
            troubles += [f"## {title}", "", *lines, ""]
    pictures = [line for path, caption in drawn.files for line in (f"![{caption}]({path})", "")]
    parts = [
        _head(analysis),
        "## Scores\n\nMean over pictures, with the 95 % bootstrap interval of the mean. Bold: best measured.\n",
        analysis.table.markdown(),
        _about_reported(analysis),
        _comparisons(analysis),
        "\n".join(troubles),
        "\n".join(["## Pictures", "", *pictures]) if pictures else "",
        _provenance(content),
    ]
    return "\n".join(part for part in parts if part)


def _head(analysis: Analysis) -> str:
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


def _about_reported(analysis: Analysis) -> str:
    """Where the rows in italics come from, and what they can be held against."""
    if analysis.dataset is None:
        return ""
    shown = reported_figures(dataset=analysis.dataset)
    papers = {figure.table.paper.id: figure.table.paper for figure in shown}
    tables = {figure.table.id: figure.table for figure in shown}
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
    lines += [f"- {table.paper.label}, Table {table.number}: {table.note}" for table in tables.values() if table.note]
    return "\n".join(lines) + "\n"


def _comparisons(analysis: Analysis) -> str:
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
        result, metric = paired.comparison, paired.metric
        low, high = (_signed(metric, bound) for bound in (result.interval.low, result.interval.high))
        interval = "" if math.isnan(result.interval.low) else f"[{low}, {high}]"
        cells = [
            *(paired.first, paired.second, metric_label(metric), f"{result.count} ({result.scenes})"),
            f"{_signed(metric, result.mean_difference)} {interval}".rstrip(),
            _signed(metric, result.median_difference),
            *(f"{result.effect:+.2f}", f"{result.win_rate:.0%}"),
            f"{paired.p_adjusted:.4f}" if paired.p_adjusted >= 0.0001 else "< 0.0001",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _provenance(content: dict[str, Any]) -> str:
    provenance = content["provenance"]
    lines = ["## Provenance", ""]
    if provenance["command"]:
        lines += [f"    {provenance['command']}", ""]
    lines += [f"- {name} {version}" for name, version in provenance["versions"].items()]
    lines += [f"- Decoder: {provenance['decoder']}", f"- Code: sha256 {provenance['code_sha256']}"]
    lines += [
        f"- Input, {entry['role']}: `{entry['folder']}`, {entry['files']} pictures, manifest sha256 "
        f"{entry['manifest_sha256']}"
        for entry in content["inputs"]
    ]
    lines.append(f"- Seed: {provenance['seed']}")
    return "\n".join(lines) + "\n"


def _signed(name: str, value: float) -> str:
    text = format_score(name, value)
    return text if math.isnan(value) or text.startswith("-") else f"+{text}"
