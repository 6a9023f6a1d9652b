"""Figures that papers print, with their citation: reported by their authors, not measured with unhaze.

The figures are in ``reported.toml`` beside this file, as strings, so that "0.9900" keeps its precision.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unhaze.errors import UnknownNameError, UsageError

__all__ = [
    "LOST",
    "NOT_REPORTED",
    "Column",
    "Paper",
    "ReportedFigure",
    "Row",
    "Table",
    "list_datasets",
    "list_tables",
    "load_reported",
    "reported_figures",
    "reported_table",
]

NOT_REPORTED = "–"
"""Cell that the paper leaves empty."""

LOST = "lost"
"""Cell that exists in the paper but not in the text that the figures were taken from."""

_PAPER_KEYS = {"id", "label", "title", "authors", "venue", "protocol"}
_TABLE_KEYS = {"id", "paper", "number", "caption", "note", "columns", "rows"}
_COLUMN_KEYS = {"metric", "printed", "dataset"}
_ROW_KEYS = {"method", "cites", "values", "note"}


@dataclass(frozen=True, slots=True)
class Paper:
    """A publication.

    Attributes:
        id: Name used by the tables (``"dcmpnet"``).
        label: Short mark in tables (``"P1"``).
        title: Full title.
        authors: In the paper's order; empty where the text at hand does not name them.
        venue: Where it appeared; may be empty.
        protocol: Protocol of unhaze that follows this paper; empty where none does.
    """

    id: str
    label: str
    title: str
    authors: tuple[str, ...]
    venue: str
    protocol: str

    @property
    def citation(self) -> str:
        """Authors, title and venue in one line."""
        return ". ".join(part for part in (", ".join(self.authors), self.title.rstrip("."), self.venue) if part)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a reported table: the metric in unhaze's name, the heading in print, the data set ("" if none)."""

    metric: str
    printed: str
    dataset: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a reported table; ``values`` are the printed strings, one per column."""

    method: str
    cites: str
    values: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a paper."""

    id: str
    paper: Paper
    number: int
    caption: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def figures(self) -> Iterator[ReportedFigure]:
        """Every cell, row by row, the empty and lost ones included."""
        for row in self.rows:
            for column, printed in zip(self.columns, row.values, strict=True):
                yield ReportedFigure(self, row, column, printed)


@dataclass(frozen=True, slots=True)
class ReportedFigure:
    """One cell with its full citation."""

    table: Table
    row: Row
    column: Column
    printed: str

    @property
    def value(self) -> float | None:
        """The number, or ``None`` where the cell is empty, lost or not a plain number."""
        try:
            return float(self.printed)
        except ValueError:
            return None

    @property
    def citation(self) -> str:
        """Paper, table, row and column: ``P1, Table 1, row "D4", column "PSNR" (sots-indoor)``."""
        where = f'{self.table.paper.label}, Table {self.table.number}, row "{self.row.method}"'
        dataset = f" ({self.column.dataset})" if self.column.dataset else ""
        return f'{where}, column "{self.column.printed}"{dataset}'


@cache
def _own_tables() -> tuple[Table, ...]:
    return load_reported(Path(__file__).with_name("reported.toml"))


def list_tables() -> list[str]:
    """Names of the tables that come with unhaze, in the papers' order (``"dcmpnet-1"``)."""
    return [table.id for table in _own_tables()]


def list_datasets() -> list[str]:
    """Names of the data sets for which figures are reported, sorted."""
    return sorted({column.dataset for table in _own_tables() for column in table.columns if column.dataset})


def reported_table(name: str) -> Table:
    """The table of that name.

    Raises:
        UnknownNameError: There is none; near names are listed.
    """
    for table in _own_tables():
        if table.id == name:
            return table
    raise UnknownNameError("reported table", name, list_tables())


def reported_figures(*, dataset: str | None = None, metric: str | None = None) -> list[ReportedFigure]:
    """Reported cells that hold a number, in the papers' order.

    Args:
        dataset: Only this data set (``"sots-indoor"``).
        metric: Only this metric, in unhaze's name (``"psnr_y"``).

    Raises:
        UnknownNameError: No figure is reported for this data set.
    """
    if dataset is not None and dataset not in list_datasets():
        raise UnknownNameError("data set with reported figures", dataset, list_datasets())
    return [
        figure
        for table in _own_tables()
        for figure in table.figures()
        if figure.value is not None
        and (dataset is None or figure.column.dataset == dataset)
        and (metric is None or figure.column.metric == metric)
    ]


def load_reported(path: Path) -> tuple[Table, ...]:
    """Read and check a file of reported figures.

    Args:
        path: A TOML file laid out like ``reported.toml``.

    Raises:
        UsageError: The file is not such a file; the message names the table and the fault.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path.name} cannot be read as a file of reported figures: {error}.") from error
    papers = {}
    for entry in content.get("paper", []):
        _check_keys(entry, _PAPER_KEYS, _PAPER_KEYS, f"paper {entry.get('id')!r}")
        papers[entry["id"]] = Paper(**{**entry, "authors": tuple(entry["authors"])})
    tables = tuple(_table(entry, papers) for entry in content.get("table", []))
    names = [table.id for table in tables]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"{path.name} names a table twice: {', '.join(repeated)}; give each its own id.")
    return tables


def _table(entry: Mapping[str, Any], papers: Mapping[str, Paper]) -> Table:
    name = f"table {entry.get('id')!r}"
    _check_keys(entry, _TABLE_KEYS, _TABLE_KEYS - {"note"}, name)
    if entry["paper"] not in papers:
        raise UsageError(f"{name} belongs to the paper {entry['paper']!r}, which the file does not describe.")
    for column in entry["columns"]:
        _check_keys(column, _COLUMN_KEYS, {"metric", "printed"}, f"a column of {name}")
    columns = tuple(Column(each["metric"], each["printed"], each.get("dataset", "")) for each in entry["columns"])
    rows = []
    for row in entry["rows"]:
        here = f"row {row.get('method')!r} of {name}"
        _check_keys(row, _ROW_KEYS, {"method", "values"}, here)
        values = tuple(row["values"])
        if len(values) != len(columns):
            raise UsageError(f"{here} has {len(values)} values for {len(columns)} columns; give one value per column.")
        if not all(isinstance(value, str) and value for value in values):
            raise UsageError(f"{here} holds a value that is not a filled string; write it as the paper prints it.")
        rows.append(Row(row["method"], row.get("cites", ""), values, row.get("note", "")))
    methods = [row.method for row in rows]
    if len(set(methods)) != len(methods):
        raise UsageError(f"{name} has two rows of the same name; make the names differ.")
    paper, note = papers[entry["paper"]], entry.get("note", "")
    return Table(entry["id"], paper, entry["number"], entry["caption"], note, columns, tuple(rows))


def _check_keys(entry: Mapping[str, Any], known: set[str], needed: set[str], name: str) -> None:
    missing, unknown = sorted(needed - set(entry)), sorted(set(entry) - known)
    if missing:
        raise UsageError(f"{name} lacks {', '.join(missing)}; add it.")
    if unknown:
        raise UsageError(f"{name} has unknown entries: {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
