"""What the page on the two papers names is there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch")

from unhaze.depth import list_depth
from unhaze.evaluation.protocols import list_protocols
from unhaze.evaluation.reported import list_tables
from unhaze.fusion.hgdf import HierarchicalGatedDepthFusion
from unhaze.recipes.presets import list_presets, override, preset

PAGE = Path(__file__).parents[2] / "docs" / "papers.md"
TEXT = PAGE.read_text(encoding="utf-8")
QUOTED = re.findall(r"`([^`]+)`", TEXT)
SYMBOLS = sorted({each for each in QUOTED if re.fullmatch(r"unhaze(\.\w+)+", each)})


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_symbol_exists(symbol):
    try:
        import_module(symbol)
    except ModuleNotFoundError:
        module, _, name = symbol.rpartition(".")
        assert name in import_module(module).__all__


def test_many_symbols_are_named():
    assert len(SYMBOLS) > 20


def test_presets_exist():
    known = list_presets()
    suffixes = ("-6k", "-did", "-spa", "-ots", "-its", "-rw2ah")
    named = [each for each in QUOTED if each.startswith(("dcmpnet-", "drsformer+")) or each.endswith(suffixes)]
    for each in named:
        assert any(name.endswith(each.replace("NETWORK", "")) for name in known), each
    assert len(named) > 10


def test_settings_can_be_set():
    of_fusion, of_promotion = (preset(name)[1] for name in ("hgdf-small", "dcmpnet-paper"))
    named = [each.removeprefix("--set ") for each in QUOTED if re.fullmatch(r"(--set )?[a-z_.]+=[\w,.]+", each)]
    for each in named:
        key, _, value = each.partition("=")
        if key == "features":
            override(of_fusion, {"depth_options": each})
            continue
        top = key.partition(".")[0]
        config = of_promotion if hasattr(of_promotion, top) and not hasattr(of_fusion, top) else of_fusion
        if key in ("loss.unet", "network.de"):
            config = of_promotion
        override(config, {key: value})
        if key == "switches":
            assert set(value.split(",")) <= set(HierarchicalGatedDepthFusion.__init__.__kwdefaults__)
    assert len(named) > 8


def test_other_names_exist():
    assert {"dcmpnet", "depth-fusion"} <= set(list_protocols())
    assert "depth-anything-v2-small" in list_depth()


def test_no_table_of_either_paper_is_left_out():
    for paper, text in zip(("dcmpnet", "depth-fusion"), TEXT.split("## P2: the module"), strict=True):
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| Table")]
        found = {int(number) for cell in cells for number in re.findall(r"(?<![\w-])\d+\b", cell)}
        names = [each.rpartition("-") for each in list_tables()]
        assert {int(number) for of, _, number in names if of == paper} <= found


@pytest.mark.parametrize(("head", "last"), [("## P1", 12), ("## P2", 9)])
def test_every_equation_has_a_row(head, last):
    parts = [part for part in TEXT.split("\n## ") if part.startswith(head[3:])]
    rows = [line for part in parts for line in part.splitlines() if line.startswith("| Eq")]
    found = {int(number) for row in rows for number in re.findall(r"\d+", row.split("|")[1].partition('"')[0])}
    assert set(range(1, last + 1)) <= found


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_links_lead_somewhere(link):
    assert (PAGE.parent / link).is_file()
