"""The leaderboard page says what its table says."""

import importlib.util
import json
import re

import pytest
from tests.docs.blocks import ROOT

FILE = ROOT / "benchmarks" / "leaderboard.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("leaderboard", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table(program):
    return json.loads(program.TABLE.read_text("utf-8"))


def test_the_page_is_made_of_the_table(program, table):
    assert program.PAGE.read_text("utf-8") == program.page(table)


def test_every_model_has_seen_the_same_number_of_pictures(table):
    seen = {
        name: [each["pictures"] for kind in ("pairs", "real") for each in row[kind].values()]
        for name, row in table["rows"].items()
    }
    assert seen
    assert all(counts == seen["nothing"] for counts in seen.values()), seen


def test_a_model_without_a_row_is_named(program, table):
    lacking = set(program.MODELS) - set(table["rows"])
    told = re.search(r"^Not measured on these pictures yet: (.*)\.$", program.page(table), re.MULTILINE)
    assert (set(told[1].split(", ")) if told else set()) == lacking


def test_changed_figures_change_the_page(program, table):
    changed = json.loads(json.dumps(table))
    changed["rows"]["nothing"]["pairs"]["kitchen"]["PSNR"] = 1.23
    assert "1.23 / " in program.page(changed)
    assert "1.23 / " not in program.page(table)
