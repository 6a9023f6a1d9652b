"""Public names that are loaded on first use."""

from __future__ import annotations

import sys
import types

import pytest

from unhaze.lazy import loads_on_use


@pytest.fixture
def room(monkeypatch):
    module = types.ModuleType("a_room")
    module.__getattr__ = loads_on_use("a_room", {"pi": "math", "Fraction": "fractions"})
    monkeypatch.setitem(sys.modules, "a_room", module)
    return module


def test_a_name_is_loaded_once_and_kept(room):
    from fractions import Fraction

    assert "Fraction" not in vars(room)
    assert room.Fraction is Fraction
    assert vars(room)["Fraction"] is Fraction


def test_other_names_are_missing_as_in_any_module(room):
    with pytest.raises(AttributeError, match="module 'a_room' has no attribute 'tau'"):
        _ = room.tau
