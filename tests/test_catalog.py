"""Plug-ins that are broken are named and left out; nothing else is touched by them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest
from typer.testing import CliRunner

from unhaze.catalog import Catalog
from unhaze.cli import app
from unhaze.errors import PluginWarning, UnknownNameError
from unhaze.models import networks

BROKEN = {
    "raises": ("plugin_raises:made", "RuntimeError: no licence"),
    "exits": ("plugin_exits:made", "SystemExit: 7"),
    "absent": ("plugin_absent:made", "ModuleNotFoundError"),
    "attribute": ("plugin_good:nothing", "AttributeError"),
    "type": ("plugin_good:number", "it is a int"),
    "path": ("no path", "no package.module:attribute"),
    "pi": ("plugin_good:made", "already is a number of this name"),
}


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Installs entry points of a group: name to target."""
    (tmp_path / "plugin_raises.py").write_text("raise RuntimeError('no licence\\nmore')\n")
    (tmp_path / "plugin_exits.py").write_text("import sys\nsys.exit(7)\n")
    (tmp_path / "plugin_good.py").write_text("number = 5\ndef made(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def install(*points):
        found = EntryPoints(EntryPoint(name, target, group) for name, target, group in points)
        monkeypatch.setattr("unhaze.catalog.entry_points", lambda group: found.select(group=group))

    return install


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_plug_in_is_named_and_left_out(plugins, name):
    target, reason = BROKEN[name]
    plugins((name, target, "g"), ("good", "plugin_good:made", "g"))
    catalog = Catalog("number", {"pi": "math:cos"}, group="g")
    with pytest.warns(PluginWarning, match=f"The number {name} is left out .*{reason}") as caught:
        assert catalog.names() == ["good", "pi"]
    assert "\n" not in str(caught[0].message)
    assert catalog.load("good")() == 1
    assert catalog.load("pi")(0) == 1
    if name != "pi":
        with pytest.raises(UnknownNameError):
            catalog.load(name)


def test_of_two_plug_ins_of_one_name_the_first_stays(plugins):
    plugins(("twice", "plugin_good:made", "g"), ("twice", "math:sin", "g"), ("twice", "plugin_good:made", "g"))
    catalog = Catalog("number", {}, group="g")
    with pytest.warns(PluginWarning, match="already is"):
        assert catalog.load("twice")() == 1


def test_commands_tell_it_in_a_sentence_and_go_on(plugins, monkeypatch):
    plugins(("broken", "plugin_raises:made", "unhaze.models"), ("odd", "plugin_good:number", "unhaze.models"))
    networks._catalogue.cache_clear()
    done = CliRunner().invoke(app, ["models", "list"])
    networks._catalogue.cache_clear()
    assert done.exit_code == 0
    assert "field-m" in done.stdout
    assert "unhaze: The model broken is left out (RuntimeError: no licence); update" in done.stderr
    assert "The model odd is left out" in done.stderr
    assert "Warning" not in done.stderr
