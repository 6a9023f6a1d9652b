import json

import pytest

pytest.importorskip("torch")


def test_the_table(unhaze):
    result = unhaze("bench", "models", "aodnet-base", "--size", "48x32", "--repeats", "1")
    assert result.exit_code == 0, result.stderr
    head, line = result.stdout.splitlines()
    assert line.split()[:2] == ["aodnet-base", "1,761"]
    assert "GMACs" in head


def test_as_json(unhaze):
    result = unhaze("bench", "models", "aodnet-base", "--size", "48x32", "--repeats", "0", "--json")
    reported = json.loads(result.stdout)
    assert (reported["width"], reported["height"]) == (48, 32)
    (network,) = reported["networks"]
    # every layer is a convolution with a bias each of 3 or 27 outputs
    assert network["macs"] == (1761 - 15) * 48 * 32
    assert network["timing"] is None


@pytest.mark.parametrize("arguments", [["aodnet-bse"], ["aodnet-base", "--size", "big"]])
def test_what_cannot_work_is_reported(unhaze, arguments):
    result = unhaze("bench", "models", *arguments)
    assert result.exit_code == 2
    assert "did you mean" in result.stderr or "no size" in result.stderr


def test_what_fusions_add_stands_beside_what_is_reported(unhaze):
    result = unhaze("bench", "fusions", "hgdf", "concat", "--model", "coa-deploy_rb8", "--model", "aodnet")
    assert result.exit_code == 0, result.stderr
    head, *lines = (line.split() for line in result.stdout.splitlines())
    assert head[0] == "network+fusion"
    rows = {cells[0]: cells[1:] for cells in lines}
    assert list(rows) == [f"{n}+{f}" for n in ("coa-deploy_rb8", "aodnet-base") for f in ("hgdf", "concat")]
    assert (rows["coa-deploy_rb8+hgdf"][2], rows["coa-deploy_rb8+hgdf"][4]) == ("+1.22M", "+1.59G")
    assert rows["aodnet-base+hgdf"][2] == rows["coa-deploy_rb8+concat"][2] == "-"


def test_what_fusions_add_as_json(unhaze):
    result = unhaze("bench", "fusions", "hgdf", "--model", "dehazeformer-m", "--json")
    (row,) = json.loads(result.stdout)["fusions"]
    assert row["reported"] == {"parameters": "+780K", "macs": "+10.22G"}
    assert row["sites"] == ["enc1", "enc2"]


def test_an_unknown_fusion_is_reported(unhaze):
    result = unhaze("bench", "fusions", "hgfd")
    assert result.exit_code == 2
    assert "did you mean" in result.stderr
