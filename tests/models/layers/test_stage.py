from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from unhaze.models.layers.stage import compose, record_stages, run_block  # noqa: E402


def halve(_name, block, x):
    return block(x) / 2


def test_the_plain_runner_runs():
    assert run_block("mid", torch.neg, torch.tensor(2.0)) == -2


def test_runners_nest_from_the_outside():
    seen = {}
    run = compose(record_stages(seen), halve, lambda name, block, x: block(x + 1))
    assert run("enc1", torch.neg, torch.tensor(3.0)) == -2
    assert [float(x) for x in seen["enc1"]] == [-2]
    assert compose()("enc1", torch.neg, torch.tensor(3.0)) == -3


def test_recording_keeps_every_run_of_a_stage():
    seen = {}
    run = record_stages(seen, halve)
    for value in (2.0, 4.0):
        run("enc1", torch.neg, torch.tensor(value))
    assert {name: [float(x) for x in outs] for name, outs in seen.items()} == {"enc1": [-1, -2]}
