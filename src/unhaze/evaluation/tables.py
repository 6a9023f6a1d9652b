"""Tables of scores, measured ones beside the ones that papers report, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unhaze.evaluation.scoring import metric_label

if TYPE_CHECKING:
    from unhaze.evaluation.reported import ReportedFigure
    from unhaze.evaluation.statistics import Summary

__all__ = ["Cell", "ScoreTable", "TableRow", "format_score", "score_table"]

_DECIMALS = {
    "psnr": 2,
    "psnr_y": 2,
    "ciede2000": 3,
    "clipped": 3,
    "chroma_shift": 3,
    "lightness_change": 2,
    "ring": 3,
    "piqe": 2,
}
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "…": r"\ldots{}",
}

MEASURED, REPORTED = "measured", "reported"


@dataclass(frozen=True, slots=True)
class Cell:
    """A formatted value.

    Attributes:
        text: The value; "–" for none.
        interval: Confidence interval of the mean, formatted; empty for none.
        best: Whether it is the best measured one of its column.
    """

    text: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row: what was scored, ``"measured"`` or ``"reported"``, where it comes from, pictures, one cell per metric."""

    name: str
    kind: str
    source: str
    count: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Scores by row and metric.

    Attributes:
        headings: One per metric, with the convention and the direction.
        rows: Measured rows first.
    """

    headings: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def markdown(self) -> str:
        """GitHub-flavoured Markdown; the best measured values are bold, reported rows are in italics."""
        head = ["Method", "Kind", "Source", "Pictures", *self.headings]
        lines = [_markdown_line(head), _markdown_line(["---"] * 3 + ["---:"] * (len(head) - 3))]
        for row in self.rows:
            marked = [f"**{cell.text}**" if cell.best else cell.text for cell in row.cells]
            cells = [f"{text} {cell.interval}".rstrip() for text, cell in zip(marked, row.cells, strict=True)]
            texts = [row.name, row.kind, row.source, row.count]
            if row.kind == REPORTED:
                texts = [f"*{text}*" if text.strip() else text for text in map(_markdown_text, texts)]
            else:
                texts = [_markdown_text(text) for text in texts]
            lines.append(_markdown_line([*texts, *cells]))
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A ``tabular`` that needs the package booktabs; reported rows are marked with a dagger."""
        columns = "ll" + "r" * (len(self.headings) + 1)
        head = ["Method", "Source", "Pictures", *self.headings]
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_line([_escape(text) for text in head])]
        lines.append(r"\midrule")
        for before, row in zip((None, *self.rows), self.rows, strict=False):
            if before is not None and before.kind != row.kind:
                lines.append(r"\midrule")
            name = _escape(row.name) + (r"$^\dagger$" if row.kind == REPORTED else "")
            cells = [rf"\textbf{{{_escape(cell.text)}}}" if cell.best else _escape(cell.text) for cell in row.cells]
            lines.append(_latex_line([name, _escape(row.source), _escape(row.count), *cells]))
        lines += [r"\bottomrule", r"\end{tabular}"]
        if any(row.kind == REPORTED for row in self.rows):
            lines.append(r"% $^\dagger$ reported by the cited paper, not measured here")
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Comma-separated values, intervals in columns of their own."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        columns = [part for heading in self.headings for part in (heading, f"{heading} interval")]
        writer.writerow(["method", "kind", "source", "pictures", *columns])
        for row in self.rows:
            cells = [part for cell in row.cells for part in (cell.text, cell.interval)]
            writer.writerow([row.name, row.kind, row.source, row.count, *cells])
        return stream.getvalue()


def score_table(
    measured: Mapping[str, Mapping[str, Summary]],
    *,
    protocol: str,
    metrics: Sequence[str],
    higher_is_better: Mapping[str, bool],
    reported: Sequence[ReportedFigure] = (),
) -> ScoreTable:
    """Table of the means of measured runs, followed by the rows that papers report for the same metrics.

    Args:
        measured: Label -> metric -> summary; a run may lack a metric.
        protocol: What the measured rows are labelled with (``"dcmpnet/1"``).
        metrics: Columns, names in ``unhaze.metrics``.
        higher_is_better: Direction of each metric.
        reported: Figures of one data set; those of other metrics are left out.
    """
    best = {}  # as printed, where there is something to compare
    for name in metrics:
        means = [summaries[name].mean for summaries in measured.values() if name in summaries]
        if len(means) >= 2:
            best[name] = format_score(name, max(means) if higher_is_better[name] else min(means))
    rows = []
    for label, summaries in measured.items():
        cells = []
        for name in metrics:
            text, interval = "–", ""
            if name in summaries:
                text, bounds = format_score(name, summaries[name].mean), summaries[name].interval
                if not math.isnan(bounds.low):
                    interval = f"[{format_score(name, bounds.low)}, {format_score(name, bounds.high)}]"
            cells.append(Cell(text, interval, best=name in summaries and text == best.get(name)))
        count = str(max((summary.count for summary in summaries.values()), default=0))
        rows.append(TableRow(label, MEASURED, f"unhaze, {protocol}", count, tuple(cells)))
    headings = tuple(f"{metric_label(name)} {'↑' if higher_is_better[name] else '↓'}" for name in metrics)
    return ScoreTable(headings, (*rows, *_reported_rows(reported, metrics)))


def format_score(name: str, value: float) -> str:
    """A score with the decimals that are usual for its metric.

    >>> format_score("psnr", 30.125), format_score("ssim", 0.97), format_score("psnr", float("inf"))
    ('30.12', '0.9700', '∞')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{_DECIMALS.get(name, 4)}f}"


def _reported_rows(reported: Sequence[ReportedFigure], metrics: Sequence[str]) -> list[TableRow]:
    columns = {("ssim" if name.startswith("ssim_") else name): index for index, name in enumerate(metrics)}
    found: dict[tuple[str, str], list[str]] = {}
    for figure in reported:
        if figure.column.metric not in columns:
            continue
        table = figure.table
        key = (" ".join((figure.row.method, figure.row.cites)).strip(), f"{table.paper.label}, Table {table.number}")
        cells = found.setdefault(key, ["–"] * len(metrics))
        cells[columns[figure.column.metric]] = figure.printed
    return [
        TableRow(name, REPORTED, f"reported: {source}", "", tuple(Cell(text) for text in cells))
        for (name, source), cells in found.items()
    ]


def _markdown_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text).replace("∞", r"$\infty$")
