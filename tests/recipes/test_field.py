"""The recipe of the field network: exact resume, and losses that are what they say."""

import dataclasses
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from unhaze.data.synthetic import SynthesisConfig
from unhaze.errors import UsageError
from unhaze.physics.guided import guided_coefficients
from unhaze.recipes import field as recipe
from unhaze.recipes.field import Config, FieldOutput, NetworkConfig, StageConfig

TINY = Config(
    network=NetworkConfig(widths=(4, 4, 8, 8, 8), blocks=(1, 1, 1, 1), context=8),
    stages=(StageConfig(4, 2, 32, 64), StageConfig(4, 1, 64, 64)),
    optimizer=recipe.OptimizerConfig(warmup=2),
    rooms=2,
    threads=1,
    checkpoint_every=3,
    log_every=1,
    strip_every=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    root = tmp_path_factory.mktemp("data")
    (root / "clear/some").mkdir(parents=True)
    for number in range(3):
        picture = cv2.resize(photo, (160, 120))[:, ::-1] if number else cv2.resize(photo, (120, 100))
        cv2.imwrite(str(root / f"clear/some/{number}.png"), picture)
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
        "import os, sys; from tests.recipes.test_field import TINY; from unhaze.recipes import field as recipe\n"
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
    short = dataclasses.replace(TINY, stages=(StageConfig(1, 1, 32, 32),))
    recipe.train(short, folder, tmp_path)
    with pytest.raises(UsageError, match="--resume auto"):
        recipe.train(short, folder, tmp_path)
    with pytest.raises(UsageError, match="other settings"):
        recipe.train(dataclasses.replace(short, seed=2), folder, tmp_path, resume="auto")
    other = tmp_path / "other/clear/some"
    other.mkdir(parents=True)
    cv2.imwrite(str(other / "0.png"), np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(UsageError, match="other pictures"):
        recipe.train(short, tmp_path / "other", tmp_path, resume="auto")
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded["config"]["stages"] == [{"steps": 1, "batch": 1, "short": 32, "long": 32, "vary": 0.0}]
    assert len(recorded["data"]["sha256"]) == 64


def test_a_run_starts_from_the_averaged_weights_of_another(folder, tmp_path):
    first = recipe.train(TINY, folder, tmp_path / "first")
    checkpoint = str(tmp_path / "first/checkpoints/step-0000008.pt")
    second = recipe.setup(dataclasses.replace(TINY, start=checkpoint))
    assert second.steps_done == 0
    for one, other in ((second.network, first.average.network), (second.average.network, first.average.network)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])
    with pytest.raises(UsageError, match="no checkpoint nowhere"):
        recipe.setup(dataclasses.replace(TINY, start="nowhere"))
    wider = dataclasses.replace(TINY.network, context=16)
    with pytest.raises(UsageError, match="same widths"):
        recipe.setup(dataclasses.replace(TINY, start=checkpoint, network=wider))


def test_the_filter_of_the_loss_is_that_of_the_dehazer():
    rng = np.random.default_rng(0)
    guide, source = rng.random((30, 40), np.float32), rng.random((30, 40), np.float32)
    expected = guided_coefficients(guide, source, 3, recipe.FILTER_EPS)
    found = recipe._guided_coefficients(torch.from_numpy(guide)[None, None], torch.from_numpy(source)[None, None], 3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[0, 0].numpy(), other, atol=2e-4)


def batch_of(config, **changes):
    scene = recipe.SceneBank
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3)).astype(np.uint8), (0, 0), 6)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    from unhaze.data.synthetic import Scene

    bank = scene([Scene("a", "clear", image, None, np.zeros(image.shape[:2], np.uint8))])
    return recipe.make_batch(bank, dataclasses.replace(config, data=changes.get("data", config.data)), 0)


def test_the_true_field_has_the_least_loss():
    clean = SynthesisConfig(
        clear=0,
        linear_light=0,
        noise=0,
        blur=0,
        shrink=0,
        jpeg=0,
        patchy=0,
        uneven_airlight=0,
        optical_depth=(0.2, 0.5),
    )
    config = dataclasses.replace(TINY, stages=(StageConfig(1, 3, 64, 96),))
    batch = batch_of(config, data=clean)
    half = torch.nn.functional.avg_pool2d(batch.transmission, 2)
    light = batch.airlight.mean(dim=(2, 3))

    def loss(density, tint):
        output = FieldOutput(-half.log() * density, light * tint, torch.zeros_like(half), torch.zeros_like(half))
        return {name: float(value) for name, value in recipe.losses(output, batch)[0].items()}

    true = loss(1.0, 1.0)
    assert true["airlight"] < 1e-6
    assert true["optical_depth"] < 1e-6
    for other in (loss(0.8, 1.0), loss(1.25, 1.0), loss(1.0, 0.9)):
        assert other["restored"] > true["restored"]
        assert other["decibel"] > true["decibel"]


def test_no_restored_pixel_leaves_the_range_where_the_bound_is_kept():
    hazy = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    airlight = torch.tensor([0.8, 0.7, 0.9]).view(1, 3, 1, 1)
    least = recipe.least_transmission(hazy, airlight)
    restored = (hazy - airlight) / least + airlight
    assert restored.min() > -1e-5
    assert restored.max() < 1 + 1e-5
    closest = torch.minimum(restored, 1 - restored).amin(dim=1)
    assert closest.abs().max() < 1e-5  # and no larger transmission is asked for than that


def test_training_lowers_the_loss(folder):
    config = dataclasses.replace(TINY, stages=(StageConfig(40, 4, 32, 64),))
    state, batch = recipe.setup(config), recipe.make_batch(recipe.SceneBank.load(folder, "train"), config, 3)
    losses = [recipe.step(state, batch, config)["restored"] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_rate_rises_stays_and_falls():
    settings = recipe.OptimizerConfig(lr=2.0, warmup=4, decay=10, final=0.1)
    config = dataclasses.replace(TINY, optimizer=settings, stages=(StageConfig(30, 1, 32, 32),))
    rates = [recipe.learning_rate(config, number) for number in range(31)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert set(rates[4:21]) == {2.0}
    assert np.all(np.diff(rates[20:]) < 0)
    assert rates[25] == pytest.approx(1.1)  # half a cosine is at its middle there
    assert rates[30] == pytest.approx(0.2)


def test_views_vary_in_size_and_shape(folder):
    bank = recipe.SceneBank.load(folder, "train")
    config = dataclasses.replace(TINY, stages=(StageConfig(30, 1, 64, 96, 0.5),), portrait=0.3)
    sizes = [tuple(recipe.make_batch(bank, config, number).hazy.shape[2:]) for number in range(30)]
    assert all(side % 32 == 0 and 32 <= side <= 160 for size in sizes for side in size)
    assert len(set(sizes)) > 4
    assert any(h > w for h, w in sizes)
    assert any(w > h for h, w in sizes)


def test_describe_is_plain_json():
    described = json.loads(json.dumps(recipe.describe(TINY)))
    assert described["steps"] == 8
    assert described["samples"] == 12


def test_a_network_of_wrong_shape_is_refused():
    with pytest.raises(UsageError, match="five"):
        recipe.create_network(NetworkConfig(widths=(1, 2)))


def test_a_run_that_stops_early_is_the_first_part_of_the_whole(folder, tmp_path):
    part = recipe.train(dataclasses.replace(TINY, stop=3), folder, tmp_path / "part")
    assert part.steps_done == 3
    assert recipe.describe(dataclasses.replace(TINY, stop=3))["steps"] == 3
    log = [json.loads(line) for line in (tmp_path / "part/log.jsonl").read_text().splitlines()]
    recipe.train(TINY, folder, tmp_path / "whole")
    whole = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in log] == [line["loss"] for line in whole[: len(log)]]


def test_a_run_in_two_parts_is_resumed_in_either(folder, tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, seed=5, first=dataclasses.replace(TINY, stop=5))
    whole = recipe.train(config, folder, tmp_path / "whole")
    part = recipe.train(dataclasses.replace(TINY, stop=5), folder, tmp_path / "part")
    second = dataclasses.replace(TINY, seed=5, start=str(tmp_path / "part/checkpoints/step-0000005.pt"))
    assert part.steps_done == 5
    assert torch.equal(weights(whole), weights(recipe.train(second, folder, tmp_path / "second")))
    assert recipe.describe(config)["steps"] == 13
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
