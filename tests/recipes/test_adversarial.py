"""The game of a network and a discriminator: who learns from what, and exact resume."""

import dataclasses
import json

import pytest
import torch

from unhaze.data.batch import Batch
from unhaze.errors import UnknownNameError, UsageError
from unhaze.losses import discriminator_loss, generator_loss, ssim_loss
from unhaze.models.checkpoints import load_network
from unhaze.recipes import adversarial as recipe
from unhaze.recipes.presets import preset
from unhaze.training.loss import LossConfig
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

CONFIG = recipe.Config(
    network="aodnet",
    data=DataConfig("folders", "", "", held_out=2, crop=32, batch=2),
    loss=LossConfig(l1=0.0, ssim=1.0, zero_padded=True),
    discriminator_channels=4,
    optimizer=OptimizerConfig("adam", 2e-3),
    schedule=ScheduleConfig("steps", milestones=(3,), factor=0.75),
    loop=LoopConfig(steps=6, checkpoint_every=2, log_every=1, validate_every=3),
    ema=0.9,
    device="cpu",
)


def weights(state):
    parts = (state.network, state.average.network, state.discriminator)
    return torch.cat([value.flatten().float() for part in parts for value in part.state_dict().values()])


def batch(seed=0):
    pictures = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(pictures[0], pictures[1], torch.zeros(2, 1, 32, 32), torch.zeros(2, dtype=torch.bool), ())


@pytest.mark.parametrize("objective", ["vanilla", "lsgan", "hinge"])
def test_a_step_is_the_discriminators_and_then_the_networks(objective):
    config, part = dataclasses.replace(CONFIG, objective=objective, adversarial=0.5), batch()
    found, by_hand = recipe.setup(config), recipe.setup(config)
    values = recipe.step(found, part, config)
    # spectral normalisation takes its estimate further with each pass, so their order counts
    network, judge = by_hand.network, by_hand.discriminator
    restored = network.restore(part.hazy).image
    fake, real = judge(2 * restored.detach() - 1), judge(2 * part.clear - 1)
    told = discriminator_loss(real, fake, objective)
    told.backward()
    torch.optim.Adam(judge.parameters(), 2e-4, betas=(0.5, 0.99)).step()
    loss = ssim_loss(restored, part.clear, zero_padded=True) + 0.5 * generator_loss(judge(2 * restored - 1), objective)
    loss.backward()
    torch.optim.Adam(network.parameters(), 2e-3).step()

    assert values["discriminator"] == pytest.approx(float(told.detach()), rel=1e-6)
    assert values["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    for ours, expected in ((found.network, network), (found.discriminator, judge)):
        for own, other in zip(ours.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in found.discriminator.parameters())


def test_rates_follow_two_schedules():
    state = recipe.setup(CONFIG)
    rates = []
    for seed in range(5):
        recipe.step(state, batch(seed), CONFIG)
        rates.append((state.optimizer.param_groups[0]["lr"], state.discriminator_optimizer.param_groups[0]["lr"]))
    assert rates[2] == (2e-3, 2e-4)
    assert rates[3] == (1.5e-3, 2e-4)


def test_a_discriminator_learns_to_tell(pairs_folder, tmp_path):
    # a network that stands still is found out
    still = dataclasses.replace(
        CONFIG,
        optimizer=OptimizerConfig("sgd", 0.0),
        discriminator_optimizer=OptimizerConfig("adam", 2e-3, betas=(0.5, 0.99)),
        loop=dataclasses.replace(CONFIG.loop, steps=40, validate_every=0),
    )
    recipe.train(still, pairs_folder, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    told = [line["discriminator"] for line in lines if "discriminator" in line]
    assert sum(told[-5:]) < 0.8 * sum(told[:5])


def test_a_killed_and_resumed_run_gives_the_same_weights(pairs_folder, tmp_path, monkeypatch):
    whole = weights(recipe.train(CONFIG, pairs_folder, tmp_path / "whole"))
    original, calls = recipe.descend, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 8:  # between the two halves of step 4
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "descend", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(CONFIG, pairs_folder, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(CONFIG, pairs_folder, tmp_path / "parts", resume="auto")))


def test_the_loss_falls_and_the_network_can_be_loaded(pairs_folder, tmp_path):
    loop = dataclasses.replace(CONFIG.loop, steps=40, validate_every=0, checkpoint_every=40)
    config = dataclasses.replace(CONFIG, loop=loop, schedule=ScheduleConfig("constant"))
    path = recipe.main(config, pairs_folder, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert load_network(path)[1] == "aodnet-base"


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(UsageError, match="accumulate=1"):
        recipe.setup(dataclasses.replace(CONFIG, accumulate=2))
    with pytest.raises(UsageError, match="at least 32 px"):
        recipe.setup(dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, crop=16)))
    config = dataclasses.replace(CONFIG, objective="hing")
    with pytest.raises(UnknownNameError, match="hinge"):
        recipe.step(recipe.setup(config), batch(), config)


def test_a_dry_run_tells_time_and_settings():
    found = recipe.rehearse(CONFIG)
    assert found["seconds_per_step"] > 0
    assert recipe.describe(CONFIG)["config"]["objective"] == "vanilla"


@pytest.mark.slow
def test_the_published_preset_trains(pairs_folder, tmp_path):
    _, published = preset("dnmgdt-6k")
    config = dataclasses.replace(published, data=CONFIG.data, loop=dataclasses.replace(CONFIG.loop, steps=2))
    assert load_network(recipe.main(config, pairs_folder, tmp_path / "run"))[1] == "dnmgdt-base"
