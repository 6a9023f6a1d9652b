import re
from pathlib import Path

import pytest

from unhaze.errors import UnknownNameError, UsageError
from unhaze.evaluation.reported import (
    LOST,
    NOT_REPORTED,
    list_datasets,
    list_tables,
    load_reported,
    reported_figures,
    reported_table,
)

PRINTED = Path(__file__).with_name("printed")  # the rows of the tables as the papers print them
ROWS = {
    "dcmpnet-1": 10,
    "dcmpnet-2": 6,
    "depth-fusion-1": 20,
    "depth-fusion-2": 20,
    "depth-fusion-3": 4,
    "depth-fusion-4": 5,
    "depth-fusion-5": 2,
    "depth-fusion-6": 5,
    "depth-fusion-7": 9,
    "depth-fusion-8": 7,
    "depth-fusion-9": 20,
    "depth-fusion-10": 28,
    "bilalora-2": 10,
}


def test_every_table_is_there_with_every_row():
    assert {name: len(reported_table(name).rows) for name in list_tables()} == ROWS


@pytest.mark.parametrize("name", list(ROWS))
def test_every_figure_stands_in_its_row_of_the_paper(name):
    table = reported_table(name)
    text = (PRINTED / f"{table.paper.id}.txt").read_text(encoding="utf-8")
    for row in table.rows:
        printed = [value for value in row.values if value not in (LOST, NOT_REPORTED)]
        gap = r"[\s–]*"
        line = gap.join(re.escape(value) for value in printed)
        own_name = "" if row.note.startswith("the row has no name") else re.escape(row.method.split(" +")[-1])
        assert re.search(rf"{own_name}(?: \[\d+\])?{gap}{line}", text), (row.method, printed)


@pytest.mark.development_data
@pytest.mark.parametrize("paper", ["dcmpnet", "depth-fusion"])
def test_the_printed_rows_are_those_of_the_paper(paper, development_data):
    text = (development_data / "papers" / f"{paper}.txt").read_text(encoding="utf-8")
    assert list(printed_rows(text)) == (PRINTED / f"{paper}.txt").read_text(encoding="utf-8").splitlines()


def printed_rows(text):
    """Lines of which a quarter are figures or marks, without the lines of tables and of formulae; no references."""
    for line in re.sub(r"</?b>|\$.*?\$", "", text).splitlines():
        words = line.replace("|", " ").split()
        figures = sum(bool(re.fullmatch(r"[+]?\d+(\.\d+)?[MGK]?|[–✗✓-]", word)) for word in words)
        if not line.startswith("- ") and 4 * figures >= len(words) >= 3:
            yield " ".join(words)


def test_psnr_y_lies_above_psnr_as_measured_from_the_papers():
    tables = [reported_table(f"depth-fusion-{number}") for number in (1, 2, 9, 10)]
    gaps = []
    for table in tables:
        for row in table.rows:
            cells = {column.metric: value for column, value in zip(table.columns, row.values, strict=True)}
            gaps.append(float(cells["psnr_y"]) - float(cells["psnr"]))
    assert len(gaps) == 88
    assert sum(gaps) / 88 == pytest.approx(1.63, abs=0.005)
    assert (min(gaps), max(gaps)) == pytest.approx((1.51, 1.88), abs=0.005)


def test_figures_are_found_by_data_set_and_metric():
    figures = reported_figures(dataset="sots-indoor", metric="psnr")
    assert {figure.table.id for figure in figures} == {"dcmpnet-1", "dcmpnet-2", "depth-fusion-2"}
    best = max(figures, key=lambda figure: figure.value)
    assert (best.row.method, best.printed) == ("MB-TaylorFormer", "42.63")
    assert best.citation == 'P1, Table 1, row "MB-TaylorFormer", column "PSNR" (sots-indoor)'
    assert best.row.cites == "[31]"


def test_real_haze_has_figures_without_ground_truth():
    figures = {dataset: reported_figures(dataset=dataset, metric="fade") for dataset in ("rtts", "urhi", "fattal")}
    assert {dataset: len(each) for dataset, each in figures.items()} == {"rtts": 10, "urhi": 9, "fattal": 9}
    best = {dataset: min(each, key=lambda figure: figure.value) for dataset, each in figures.items()}
    assert {dataset: figure.row.method for dataset, figure in best.items()} == {
        "rtts": "BiLaLoRA",
        "urhi": "KA-Net",
        "fattal": "BiLaLoRA",
    }


def test_empty_and_lost_cells_have_no_value():
    cells = {figure.printed: figure.value for name in list_tables() for figure in reported_table(name).figures()}
    assert cells[LOST] is None
    assert cells[NOT_REPORTED] is None
    assert cells["2.66M"] is None
    assert cells["0.9900"] == 0.99


def test_inferred_data_sets_are_said_to_be_inferred():
    for name in list_tables():
        if name.startswith("depth-fusion"):
            assert "lost the captions" in reported_table(name).note


def test_unknown_names_list_near_ones():
    with pytest.raises(UnknownNameError, match="dcmpnet-1"):
        reported_table("dcmpnet1")
    with pytest.raises(UnknownNameError, match="sots-indoor"):
        reported_figures(dataset="sots-indor")
    assert "rw2ah" in list_datasets()


PAPER = '[[paper]]\nid="p"\nlabel="P"\ntitle="T"\nauthors=[]\nvenue=""\nprotocol="x"\n'
TABLE = '[[table]]\nid="p-1"\npaper="p"\nnumber=1\ncaption=""\ncolumns=[{metric="psnr", printed="PSNR"}]\n'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[[", "cannot be read"),
        (PAPER + TABLE, "lacks rows"),
        (PAPER + TABLE + 'rows=[{method="a", values=["1", "2"]}]', "2 values for 1 columns"),
        (PAPER + TABLE + 'rows=[{method="a", values=[1]}]', "not a filled string"),
        (PAPER + TABLE + 'rows=[{method="a", valeus=["1"]}]', "lacks values"),
        (PAPER + TABLE + 'rows=[{method="a", values=["1"], extra=1}]', "unknown entries: extra"),
        (PAPER + TABLE + 'rows=[{method="a", values=["1"]}, {method="a", values=["1"]}]', "same name"),
        (TABLE + "rows=[]", "does not describe"),
        (PAPER + (TABLE + "rows=[]\n") * 2, "twice: p-1"),
    ],
)
def test_faulty_files_are_refused(tmp_path, content, words):
    path = tmp_path / "reported.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        load_reported(path)
