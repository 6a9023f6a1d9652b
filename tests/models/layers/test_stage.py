from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from unhaze.models.layers.stage import checkpoint_stages, compose, record_stages, run_block  # noqa: E402


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


@pytest.mark.parametrize("names", [None, {"enc1"}, set()])
def test_checkpointing_saves_activations_and_keeps_gradients(names):
    torch.manual_seed(0)
    layer = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh()) for _ in range(4)))
    x = torch.rand(4, 8, requires_grad=True)
    layer(x).sum().backward()
    plain, x.grad = x.grad, None
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        out = checkpoint_stages(names)("enc1", layer, x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, plain)
    assert (len(saved) <= 2) == (names is None or "enc1" in names)
