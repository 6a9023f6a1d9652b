"""The recipe of the default: exact resume, and losses that are what they say."""

import dataclasses
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from unhaze.data.synthetic.scenes import Scene
from unhaze.default import recipe
from unhaze.default.constants import GUIDE_EPS
from unhaze.default.network import FieldOutput
from unhaze.default.recipe import Config, NetworkConfig
from unhaze.default.scenes import SceneBank
from unhaze.default.synthesis import SynthesisConfig
from unhaze.errors import UsageError
from unhaze.physics.guided_filter import guided_coefficients

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


def test_the_filter_of_the_loss_is_that_of_the_dehazer():
    rng = np.random.default_rng(0)
    guide, source = rng.random((30, 40), np.float32), rng.random((30, 40), np.float32)
    expected = guided_coefficients(guide, source, 3, GUIDE_EPS)
    found = recipe._guided_coefficients(torch.from_numpy(guide)[None, None], torch.from_numpy(source)[None, None], 3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[0, 0].numpy(), other, atol=2e-4)


def batch_of(config):
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3)).astype(np.uint8), (0, 0), 6)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    bank = SceneBank([Scene("a", "outdoors", image, None, np.zeros(image.shape[:2], np.uint8))])
    return recipe.make_batch(bank, config, 0)


CLEAN = SynthesisConfig(
    clear=0, linear_light=0, noise=0, blur=0, shrink=0, jpeg=0, patchy=0, uneven_light=0, dark=0, thin=0, plain=0
)


def true_output(batch, density=1.0, tint=1.0):
    half = torch.nn.functional.avg_pool2d(batch.transmission, 2)
    light = torch.nn.functional.interpolate(batch.airlight, size=half.shape[-2:], mode="bilinear", align_corners=True)
    blank = torch.zeros_like(half)
    return FieldOutput(-half.log() * density, light * tint, batch.gain, blank, blank)


def test_the_true_field_has_the_least_loss():
    data = dataclasses.replace(CLEAN, optical_depth=(0.2, 0.5))
    batch = batch_of(dataclasses.replace(TINY, batch=3, short=64, long=96, data=data))

    def loss(density, tint):
        terms, _ = recipe.losses(true_output(batch, density, tint), batch)
        return {name: float(value) for name, value in terms.items()}

    true = loss(1.0, 1.0)
    assert true["airlight"] < 1e-6
    assert true["optical_depth"] < 1e-6
    assert true["gain"] == 0
    for other in (loss(0.8, 1.0), loss(1.25, 1.0), loss(1.0, 0.9)):
        assert other["restored"] > true["restored"]
        assert other["decibel"] > true["decibel"]


def test_the_target_of_fog_that_hides_everything_is_the_fog():
    """Where no light comes through, leaving the picture as it is costs nothing, whatever lies behind."""
    data = dataclasses.replace(CLEAN, optical_depth=(40.0, 50.0), clear_front=0, even=1)
    batch = batch_of(dataclasses.replace(TINY, batch=2, short=64, long=96, data=data))
    assert batch.transmission.max() < 0.15
    terms, restored = recipe.losses(true_output(batch), batch)
    hazy = torch.nn.functional.avg_pool2d(batch.hazy, 2)
    assert float(terms["restored"]) < 0.02
    assert (restored - hazy).abs().mean() < 0.2 * (batch.clear.mean() - batch.hazy.mean()).abs()


def test_a_blob_in_fog_costs_and_an_even_change_does_not():
    generator = torch.Generator().manual_seed(0)
    sky = 0.7 + 0.002 * torch.rand(1, 3, 48, 64, generator=generator)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    blob = sky - 0.2 * torch.exp(-(x * x + y * y) / 0.1)
    assert float(recipe._false_edges(sky - 0.2, sky, sky)) < 1e-6
    assert float(recipe._false_edges(blob, sky, sky)) > 1e-3
    tinted = sky + torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1)
    assert float(recipe._false_tint(sky * 0.8, sky, sky)) == 0
    assert float(recipe._false_tint(tinted, sky, sky)) > 0.05


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
