import csv
import io
import math

import pytest

from unhaze.evaluation.reported import reported_figures
from unhaze.evaluation.statistics import summarize
from unhaze.evaluation.tables import format_score, score_table


@pytest.fixture
def table():
    measured = {
        "first_run": {"psnr": summarize([20.0, 22.0]), "ssim_dcmpnet": summarize([0.8, 0.9])},
        "a|b & 50%": {"psnr": summarize([21.0, 23.0])},
    }
    return score_table(
        measured,
        protocol="dcmpnet/1",
        metrics=("psnr", "ssim_dcmpnet", "niqe"),
        higher_is_better={"psnr": True, "ssim_dcmpnet": True, "niqe": False},
        reported=reported_figures(dataset="sots-indoor"),
    )


def test_reported_rows_are_marked_and_keep_their_figures(table):
    measured, reported = table.rows[:2], table.rows[2:]
    assert {row.kind for row in measured} == {"measured"}
    assert {row.kind for row in reported} == {"reported"}
    assert len(reported) == 10 + 6 + 20
    row = next(row for row in reported if row.name == "Dehazeformer [36]")
    assert row.source == "reported: P1, Table 1"
    assert [cell.text for cell in row.cells] == ["40.05", "0.9958", "4.3276"]
    assert not any(cell.best or cell.interval for row in reported for cell in row.cells)


def test_best_measured_value_is_marked_in_the_direction_of_the_metric():
    measured = {
        name: {"psnr": summarize([value]), "niqe": summarize([value])} for name, value in (("a", 3.0), ("b", 4.0))
    }
    rows = score_table(
        measured, protocol="x/1", metrics=("psnr", "niqe"), higher_is_better={"psnr": True, "niqe": False}
    ).rows
    assert [[cell.best for cell in row.cells] for row in rows] == [[False, True], [True, False]]


def test_markdown_is_one_table_with_conventions_and_intervals(table):
    lines = table.markdown().splitlines()
    assert "SSIM (dcmpnet) ↑" in lines[0]
    assert "NIQE ↓" in lines[0]
    assert "first\\_run" in lines[2]
    assert "21.00 [" in lines[2]
    assert "**22.00**" in lines[3]
    assert "a\\|b" in lines[3]
    assert lines[4].startswith("| *AECR-Net [44]* | *reported* |")
    counts = {line.replace("\\|", "").count("|") for line in lines}
    assert counts == {8}


def test_latex_escapes_and_marks_reported_rows(table):
    latex = table.latex()
    assert r"first\_run" in latex
    assert r"a|b \& 50\%" in latex
    assert r"\textbf{22.00}" in latex
    assert r"MB-TaylorFormer [31]$^\dagger$ & reported: P1, Table 1" in latex
    assert latex.count(r"\midrule") == 2
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {5}


def test_csv_reads_back(table):
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert rows[0]["method"] == "first_run"
    assert rows[0]["PSNR ↑"] == "21.00"
    assert rows[0]["PSNR ↑ interval"].startswith("[")
    assert rows[1]["SSIM (dcmpnet) ↑"] == "–"
    assert rows[2]["kind"] == "reported"


def test_scores_are_formatted_as_papers_do():
    assert format_score("psnr", 30.126) == "30.13"
    assert format_score("ssim_y", 0.98765) == "0.9877"
    assert format_score("psnr", math.inf) == "∞"
    assert format_score("psnr", math.nan) == "–"
