"""Presets and overrides."""

import dataclasses

import pytest

from unhaze.errors import UnknownNameError, UsageError
from unhaze.recipes.presets import list_presets, override, preset


def test_the_default_is_listed_and_complete():
    assert "field-default" in list_presets()
    recipe, config = preset("field-default")
    assert recipe.describe(config)["parameters"] * 2 < 8_000_000  # stored as float16, in a wheel that takes 8 MB


def test_an_unknown_preset_lists_near_names():
    with pytest.raises(UnknownNameError, match="field-default"):
        preset("field-defult")


def test_overrides_reach_every_depth():
    _, config = preset("field-default")
    changed = override(
        config,
        {"seed": "7", "optimizer.lr": "1", "batch": "3", "data.zoom": "(0.1, 0.2)", "precision": "fp32"}
        | {"first.data.weights.1.1": "0.5"},
    )
    assert (changed.seed, changed.batch, changed.data.zoom, changed.precision) == (7, 3, (0.1, 0.2), "fp32")
    assert isinstance(changed.optimizer.lr, float)
    assert changed.first.data.weights[1] == ("boxes", 0.5)
    assert changed.first.data.weights[0] == config.first.data.weights[0]
    assert dataclasses.replace(changed, seed=config.seed) != config


@pytest.mark.parametrize(
    ("name", "hint"), [("optimizer.rl", "optimizer.lr"), ("sed", "seed"), ("first.data.zooom", "first.data.zoom")]
)
def test_unknown_settings_suggest(name, hint):
    with pytest.raises(UnknownNameError, match=hint.replace(".", r"\.")):
        override(preset("field-default")[1], {name: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "1.5"),
        ("seed", "x"),
        ("optimizer.lr", "'a'"),
        ("first.data", "1"),
        ("optimizer", "1"),
        ("ema", "True"),
    ],
)
def test_values_of_another_kind_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        override(preset("field-default")[1], {name: value})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spatial_gate", ("spatial_gate",)),
        ("spatial_gate, channel_gate", ("spatial_gate", "channel_gate")),
        ("('spatial_gate',)", ("spatial_gate",)),
        ("['a', 'b']", ("a", "b")),
        ("()", ()),
        ("", ()),
    ],
)
def test_words_are_taken_with_and_without_quotes(text, words):
    _, config = preset("hgdf-small")
    assert override(config, {"switches": text}).switches == words


@pytest.mark.parametrize("text", ["(1, 2)", "('a', 2)", "('a'"])
def test_what_is_no_word_is_refused(text):
    with pytest.raises(UsageError, match="switches takes words"):
        override(preset("hgdf-small")[1], {"switches": text})
