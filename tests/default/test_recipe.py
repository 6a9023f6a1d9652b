"""The recipe of the default: exact resume, and losses that are what they say."""

import dataclasses
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from unhaze.default import recipe
from unhaze.default.recipe import Config, NetworkConfig
from unhaze.default.scenes import SceneBank
from unhaze.errors import UsageError

TINY = Config(
    network=NetworkConfig(widths=(4, 4, 8, 8, 8), context=8, imagenet=False, frozen=1),
    optimizer=recipe.OptimizerConfig(warmup=2),
    steps=8,
    batch=2,
    short=32,
    long=64,
    boxes=2,
    threads=1,
    checkpoint_every=3,
    log_every=1,
    strip_every=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    root = tmp_path_factory.mktemp("data")
    (root / "clear/urban100").mkdir(parents=True)
    for number in range(3):
        picture = cv2.resize(photo, (160, 120))[:, ::-1] if number else cv2.resize(photo, (120, 100))
        cv2.imwrite(str(root / f"clear/urban100/{number}.png"), picture)
    return root


def weights(state):
    parts = (state.network.state_dict(), state.average.network.state_dict())
    return torch.cat([value.flatten() for part in parts for value in part.values()])


def test_a_killed_and_resumed_run_gives_the_same_weights(folder, tmp_path, monkeypatch):
    whole = weights(recipe.train(TINY, folder, tmp_path / "whole"))
    original = recipe.step
    calls = []

    def dies(state, batch, config):
        calls.append(state.steps_done)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(state, batch, config)

    monkeypatch.setattr(recipe, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(TINY, folder, tmp_path / "parts")
    resumed = weights(recipe.train(TINY, folder, tmp_path / "parts", resume="auto"))
    assert calls[6] == 3  # from the checkpoint, not from the start
    assert torch.equal(whole, resumed)
    lines = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    reference = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [line["loss"] for line in reference]
    assert (tmp_path / "parts/strips/step-0000005.png").exists()


@pytest.mark.slow
def test_a_process_killed_at_once_resumes_exactly(folder, tmp_path):
    script = (
        "import os, sys; from tests.default.test_recipe import TINY; from unhaze.default import recipe\n"
        "done = recipe.step\n"
        "def step(state, batch, config):\n"
        "    if state.steps_done == int(sys.argv[3]): os.kill(os.getpid(), 9)\n"
        "    return done(state, batch, config)\n"
        "recipe.step = step\n"
        "recipe.train(TINY, sys.argv[1], sys.argv[2], resume='auto')\n"
    )
    for stop in (5, 7, 99):
        subprocess.run([sys.executable, "-c", script, str(folder), str(tmp_path / "run"), str(stop)], check=False)
    state = recipe.setup(TINY)
    state.load_state_dict(recipe.load_checkpoint(tmp_path / "run/checkpoints/step-0000008.pt"))
    assert torch.equal(weights(state), weights(recipe.train(TINY, folder, tmp_path / "whole")))


def test_a_run_is_not_overwritten_and_not_mixed(folder, tmp_path):
    short = dataclasses.replace(TINY, steps=1, batch=1)
    recipe.train(short, folder, tmp_path)
    with pytest.raises(UsageError, match="--resume auto"):
        recipe.train(short, folder, tmp_path)
    with pytest.raises(UsageError, match="other settings"):
        recipe.train(dataclasses.replace(short, seed=2), folder, tmp_path, resume="auto")
    other = tmp_path / "other/clear/urban100"
    other.mkdir(parents=True)
    cv2.imwrite(str(other / "0.png"), np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(UsageError, match="other pictures"):
        recipe.train(short, tmp_path / "other", tmp_path, resume="auto")
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert (recorded["config"]["steps"], recorded["config"]["batch"]) == (1, 1)
    assert len(recorded["data"]["sha256"]) == 64


def test_training_lowers_the_loss(folder):
    config = dataclasses.replace(TINY, steps=40, batch=4)
    state, batch = recipe.setup(config), recipe.make_batch(SceneBank.load(folder, "train"), config, 3)
    losses = [recipe.step(state, batch, config)["restored"] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_rate_rises_stays_and_falls():
    settings = recipe.OptimizerConfig(lr=2.0, warmup=4, decay=1 / 3, final=0.1)
    config = dataclasses.replace(TINY, optimizer=settings, steps=30)
    rates = [recipe.learning_rate(config, number) for number in range(31)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert set(rates[4:21]) == {2.0}
    assert np.all(np.diff(rates[20:]) < 0)
    assert rates[25] == pytest.approx(1.1)  # half a cosine is at its middle there
    assert rates[30] == pytest.approx(0.2)


def test_what_stays_as_imagenet_left_it_does_not_learn(folder):
    state = recipe.setup(TINY)
    before = {name: value.clone() for name, value in state.network.named_parameters()}
    bank = SceneBank.load(folder, "train")
    for number in range(3):
        recipe.step(state, recipe.make_batch(bank, TINY, number), TINY)
    moved = {name for name, value in state.network.named_parameters() if not torch.equal(value, before[name])}
    assert not [name for name in moved if ".spread." in name and name.startswith("encoder")]
    assert not [name for name in moved if name.startswith(("encoder.stem", "encoder.blocks.0."))]
    assert "encoder.blocks.1.narrow.weight" in moved


def test_views_vary_in_size_and_shape(folder):
    bank = SceneBank.load(folder, "train")
    config = dataclasses.replace(TINY, steps=30, batch=1, short=64, long=96, vary=0.5, portrait=0.3)
    sizes = [tuple(recipe.make_batch(bank, config, number).hazy.shape[2:]) for number in range(30)]
    assert all(side % 32 == 0 and 32 <= side <= 160 for size in sizes for side in size)
    assert len(set(sizes)) > 4
    assert any(h > w for h, w in sizes)
    assert any(w > h for h, w in sizes)


def test_describe_is_plain_json():
    described = json.loads(json.dumps(recipe.describe(dataclasses.replace(TINY, first=TINY))))
    assert described["steps"] == 16
    assert described["samples"] == 32


def test_a_network_of_wrong_shape_is_refused():
    with pytest.raises(UsageError, match="five"):
        recipe.create_network(NetworkConfig(widths=(1, 2)))


def test_the_second_part_hazes_scenes_by_the_depth_that_the_first_found(folder):
    bank = SceneBank.load(folder, "train", boxes=1)
    completed = recipe.estimate_missing_depth(bank, recipe.setup(TINY).network)
    for before, after in zip(bank.scenes, completed.scenes, strict=True):
        if before.depth is not None:
            assert after is before
            continue
        assert after.depth.shape == before.image.shape[:2]
        assert np.median(after.depth) == pytest.approx(1, rel=0.02)


def test_a_run_in_two_parts_is_resumed_in_either(folder, tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, seed=5, first=dataclasses.replace(TINY, steps=5))
    whole = recipe.train(config, folder, tmp_path / "whole")
    original, calls = recipe.step, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) in (4, 11):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "step", dies)
    for resume in (None, "auto"):
        with pytest.raises(KeyboardInterrupt):
            recipe.train(config, folder, tmp_path / "parts", resume=resume)
    assert torch.equal(weights(whole), weights(recipe.train(config, folder, tmp_path / "parts", resume="auto")))
