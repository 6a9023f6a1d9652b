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
    told = json.loads(result.stdout)
    assert (told["width"], told["height"]) == (48, 32)
    (network,) = told["networks"]
    # every layer is a convolution with a bias each of 3 or 27 outputs
    assert network["macs"] == (1761 - 15) * 48 * 32
    assert network["timing"] is None


@pytest.mark.parametrize("arguments", [["aodnet-bse"], ["aodnet-base", "--size", "big"]])
def test_what_cannot_work_is_told(unhaze, arguments):
    result = unhaze("bench", "models", *arguments)
    assert result.exit_code == 2
    assert "did you mean" in result.stderr or "no size" in result.stderr
