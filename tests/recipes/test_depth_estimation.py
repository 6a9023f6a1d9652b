"""The recipe of compact-v2: losses against a slow reference, what is frozen, exact resume, what is written."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from unhaze.depth import create_depth
from unhaze.errors import UsageError
from unhaze.recipes import depth_estimation as recipe
from unhaze.recipes.presets import preset
from unhaze.training.record import LoopConfig

TINY = recipe.Config(
    start="random",
    batch=1,
    short=32,
    long=32,
    boxes=0,
    warmup=1,
    loop=LoopConfig(steps=3, checkpoint_every=2, log_every=1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    """One room with depth, and one picture without."""
    root = tmp_path_factory.mktemp("data")
    room, outdoors = root / "more/rgbd/render_aws_house", root / "clear/urban100"
    for each in (room, outdoors):
        each.mkdir(parents=True)
        cv2.imwrite(str(each / "1.jpg"), cv2.resize(photo, (80, 60)))
    depth = np.linspace(800, 5000, 60 * 80).reshape(60, 80).astype(np.uint16)
    cv2.imwrite(str(room / "1.depth.png"), depth)
    return root


def weights(state):
    parts = (state.network.state_dict(), state.average.network.state_dict())
    return torch.cat([value.flatten() for part in parts for value in part.values()])


def reference(clear, hazy, inverse, known):
    """Term by term in numpy, picture by picture."""

    def normal(x):
        middle = np.sort(x.ravel())[(x.size - 1) // 2]  # torch's median is the lower one
        return (x - middle) / np.abs(x - middle).mean()

    data, gradient, consistency = [], [], []
    for c, h, g, k in zip(clear, hazy, inverse, known, strict=True):
        consistency.append(np.abs(normal(h) - normal(c)).mean())
        for each in (c, h):
            error = (normal(each) - normal(g)) * k
            data.append(np.abs(error).mean())
            scales = [error[::step, ::step] for step in (1, 2, 4, 8)]
            gradient.append(
                np.mean([np.abs(np.diff(e, axis=1)).mean() + np.abs(np.diff(e, axis=0)).mean() for e in scales])
            )
    return {"data": np.mean(data), "gradient": np.mean(gradient), "consistency": np.mean(consistency)}


def test_the_losses_are_those_of_the_reference():
    rng = np.random.default_rng(0)
    clear, hazy, inverse = rng.uniform(0.1, 3, (3, 3, 16, 24))
    known = np.array([True, False, True])
    tensors = [torch.from_numpy(each)[:, None] for each in (clear, hazy, inverse)]
    found = recipe.losses(*tensors, torch.from_numpy(known))
    expected = reference(clear, hazy, inverse, known)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-6)
    none = recipe.losses(*tensors, torch.zeros(3, dtype=torch.bool))
    assert (float(none["data"]), float(none["gradient"])) == (0, 0)
    assert float(none["consistency"]) == pytest.approx(expected["consistency"], rel=1e-6)


def test_scale_and_shift_cost_nothing_and_consistency_moves_the_hazy_side_alone():
    inverse = torch.rand(2, 1, 16, 16, dtype=torch.double) + 0.1
    clear, hazy = (3 * inverse + 1).requires_grad_(), torch.rand(2, 1, 16, 16, dtype=torch.double).requires_grad_()
    terms = recipe.losses(clear, hazy, inverse, torch.tensor([True, True]))
    perfect = recipe.losses(clear, 0.5 * inverse + 2, inverse, torch.tensor([True, True]))
    assert [float(value.detach()) for value in perfect.values()] == pytest.approx([0, 0, 0], abs=1e-12)
    to_clear, to_hazy = torch.autograd.grad(terms["consistency"], (clear, hazy), allow_unused=True)
    assert to_clear is None
    assert to_hazy.abs().sum() > 0


def test_a_killed_and_resumed_run_gives_the_same_weights(folder, tmp_path, monkeypatch):
    whole = weights(recipe.train(TINY, folder, tmp_path / "whole"))
    original, calls = recipe.step, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(TINY, folder, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(TINY, folder, tmp_path / "parts", resume="auto")))
    with pytest.raises(UsageError, match="other settings"):
        recipe.train(dataclasses.replace(TINY, consistency=0.0), folder, tmp_path / "parts", resume="auto")


def test_a_run_writes_a_network_that_the_estimator_takes(folder, tmp_path):
    once = dataclasses.replace(TINY, loop=dataclasses.replace(TINY.loop, steps=1))
    path = recipe.main(once, folder, tmp_path / "run")
    found = create_depth("compact-v2", weights=path)(torch.rand(1, 3, 40, 60))
    assert (found.kind, tuple(found.map.shape)) == ("inverse_relative", (1, 1, 40, 60))
    (line,) = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert {"loss", "data", "gradient", "consistency"} <= set(line)


def test_what_stays_as_it_was():
    state = recipe.setup(TINY)
    frozen = {name for name, each in state.network.named_parameters() if not each.requires_grad}
    assert all(name.startswith("encoder") for name in frozen)
    assert "encoder.stem.0.weight" in frozen
    assert "encoder.blocks.4.narrow.weight" in frozen
    assert "encoder.blocks.5.narrow.weight" not in frozen
    assert {name for name, _ in state.network.named_parameters() if "encoder" in name and "spread" in name} <= frozen
    optimised = sum(each.numel() for group in state.optimizer.param_groups for each in group["params"])
    assert optimised == sum(each.numel() for each in state.network.parameters() if each.requires_grad)


def test_the_preset_begins_with_what_the_package_brings(folder):
    found, config = preset("compact-v2")
    assert found is recipe
    assert found.describe(config)["parameters"] * 2 < 8_000_000  # stored as float16
    assert found.inspect(config, folder)["scenes"] == 2
    begun = recipe.setup(dataclasses.replace(config, start="imagenet")).network.encoder
    from unhaze.default.network import imagenet_encoder_weights

    expected = imagenet_encoder_weights()
    assert all(torch.equal(value, expected[name]) for name, value in begun.state_dict().items())
