"""Names of networks, and what happens to those that do not exist or do not work."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint, EntryPoints

import pytest

import unhaze.models as backbones
from unhaze.errors import UnknownNameError, UsageError


@pytest.fixture
def fresh_catalogue():
    backbones._catalogue.cache_clear()
    yield
    backbones._catalogue.cache_clear()


def test_names_are_listed_without_torch():
    code = "import sys, unhaze.models as b; names = b.list_networks(); print(len(names), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) > 20
    assert out[1] == "False"


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean dehazeformer-b"):
        backbones.create_network("dehazformer-b")


def test_overrides_reach_the_network():
    pytest.importorskip("torch")
    assert backbones.create_network("aodnet-base", channels=4).conv1.out_channels == 4
    with pytest.raises(UsageError, match="aodnet-base cannot be built with chanels"):
        backbones.create_network("aodnet-base", chanels=4)


def test_a_broken_file_breaks_only_its_own_name(tmp_path):
    (tmp_path / "broken.py").write_text("def oops(:\n")
    (tmp_path / "good.py").write_text(
        textwrap.dedent("""
            import a_module_that_does_not_exist
            VARIANTS: dict = {"s": good_s, "l": good_l}
        """)
    )
    (tmp_path / "helper.py").write_text("x = 1\n")
    assert backbones._entries_of(tmp_path / "broken.py") == {"broken": "unhaze.models.broken:VARIANTS"}
    assert backbones._entries_of(tmp_path / "good.py") == {
        "good-s": "unhaze.models.good:good_s",
        "good-l": "unhaze.models.good:good_l",
    }
    assert backbones._entries_of(tmp_path / "helper.py") == {}


def test_other_packages_add_networks(monkeypatch, fresh_catalogue):
    pytest.importorskip("torch")
    points = EntryPoints([EntryPoint("theirs-s", "unhaze.models.aodnet:aodnet", "unhaze.models")])
    monkeypatch.setattr("unhaze.catalog.entry_points", lambda group: points.select(group=group))
    assert "theirs-s" in backbones.list_networks()
    assert type(backbones.create_network("theirs-s")).__name__ == "AODNet"


def test_a_network_can_be_registered_while_the_program_runs(fresh_catalogue):
    for _ in range(2):  # the same again does no harm
        backbones.register_network("aodnet-own", "unhaze.models.aodnet:aodnet")
    assert "aodnet-own" in backbones.list_networks()
    assert type(backbones.create_network("aodnet-own")).__name__ == "AODNet"
    with pytest.raises(UsageError, match="already is a network aodnet-base"):
        backbones.register_network("aodnet-base", "mine:network")
