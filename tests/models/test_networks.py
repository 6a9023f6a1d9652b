"""Names of networks, and what happens to those that do not exist or do not work."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from unhaze.errors import UnknownNameError, UsageError
from unhaze.models import networks


@pytest.fixture
def fresh_catalogue():
    networks._catalogue.cache_clear()
    yield
    networks._catalogue.cache_clear()


def test_names_are_listed_without_torch():
    code = "import sys, unhaze; names = unhaze.list_models(); print(len(names), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) > 20
    assert out[1] == "False"


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean dehazeformer-b"):
        networks.create_network("dehazformer-b")


def test_overrides_reach_the_network():
    pytest.importorskip("torch")
    assert networks.create_network("aodnet-base", channels=4).conv1.out_channels == 4
    with pytest.raises(UsageError, match="aodnet-base cannot be built with chanels"):
        networks.create_network("aodnet-base", chanels=4)


def test_a_broken_file_breaks_only_its_own_name(monkeypatch):
    monkeypatch.setitem(networks._NETWORKS, "broken-base", "unhaze.models.aodnet:nothing")
    networks._catalogue.cache_clear()
    assert "broken-base" in networks.list_networks()
    pytest.importorskip("torch")
    with pytest.raises(AttributeError, match="nothing"):
        networks.create_network("broken-base")
    assert networks.create_network("aodnet-base").name == "aodnet-base"
    monkeypatch.undo()
    networks._catalogue.cache_clear()


def test_every_file_of_a_network_is_in_the_table():
    folder = Path(networks.__file__).parent
    others = {"base", "catalogue", "guided", "networks", "sites", "__init__", "_detail_unet", "_pyramid_unet"}
    named = {target.partition(":")[0].rpartition(".")[2] for target in networks._NETWORKS.values()}
    assert {path.stem for path in folder.glob("*.py")} - others == named


def test_a_family_alone_is_its_usual_variant_and_that_is_logged(caplog):
    networks._log_usual.cache_clear()
    with caplog.at_level("INFO", "unhaze"):
        networks.resolve_network("coa")
        networks.resolve_network("coa")
        networks.resolve_network("aodnet")
    assert [record.getMessage() for record in caplog.records] == [
        "coa is taken for its usual variant, coa-deploy_rb8; unhaze models list names the others."
    ]
    families = {name.rpartition("-")[0] for name in networks._NETWORKS}
    assert networks.resolve_network("coa") == "coa-deploy_rb8"
    assert all(networks.resolve_network(family) in networks.list_networks() for family in families)


def test_other_packages_add_networks(monkeypatch, fresh_catalogue):
    pytest.importorskip("torch")
    points = EntryPoints([EntryPoint("theirs-s", "unhaze.models.aodnet:aodnet", "unhaze.models")])
    monkeypatch.setattr("unhaze.catalog.entry_points", lambda group: points.select(group=group))
    assert "theirs-s" in networks.list_networks()
    assert type(networks.create_network("theirs-s")).__name__ == "AODNet"


def test_a_network_can_be_registered_while_the_program_runs(fresh_catalogue):
    for _ in range(2):  # the same again does no harm
        networks.register_network("aodnet-own", "unhaze.models.aodnet:aodnet")
    assert "aodnet-own" in networks.list_networks()
    assert type(networks.create_network("aodnet-own")).__name__ == "AODNet"
    with pytest.raises(UsageError, match="already is a model aodnet-base"):
        networks.register_network("aodnet-base", "mine:network")
