"""D4's cycle: who learns from what, and exact resume."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from unhaze.errors import UsageError
from unhaze.losses import discriminator_loss, generator_loss
from unhaze.models.checkpoints import load_network
from unhaze.recipes import unpaired_cycle as recipe
from unhaze.recipes.presets import preset
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

CONFIG = recipe.Config(
    data=DataConfig("folders", "", "", held_out=2, crop=64, batch=2),
    optimizer=OptimizerConfig("sgd", 0.1),
    depth_optimizer=OptimizerConfig("sgd", 0.2),
    discriminator_optimizer=OptimizerConfig("sgd", 0.3),
    schedule=ScheduleConfig("steps", milestones=(1,), factor=0.5),
    discriminator_channels=4,
    loop=LoopConfig(steps=3, checkpoint_every=1, log_every=1, validate_every=2),
    ema=0.0,
    device="cpu",
)


def views(seed=0):
    pictures = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return 0.5 + 0.5 * pictures[0], pictures[1]


def trained(state):
    return {"network": state.network, **dict(state.others.items())}


def weights(state):
    parts = (*trained(state).values(), state.average.network)
    return torch.cat([value.flatten().float() for part in parts for value in part.state_dict().values()])


def test_a_step_by_hand():
    hazy, clear = views()
    found, by_hand = recipe.setup(CONFIG), recipe.setup(CONFIG)
    torch.manual_seed(5)
    values = recipe.step(found, hazy, clear, CONFIG)
    torch.manual_seed(5)
    network, rehaze, depth, of_clear, of_hazy = trained(by_hand).values()
    first = network.restore(hazy)
    rehazed = rehaze(first.image, depth(first.image), first.aux["density"])
    density = 0.6 + 1.2 * torch.rand(2, 1, 1, 1)
    hazed = rehaze(clear, depth(clear), density)
    second = network.restore(hazed)
    # spectral normalisation takes its estimate further with each pass, so their order counts
    verdicts = [of_clear(clear), of_clear(first.image.detach()), of_hazy(hazy), of_hazy(hazed.detach())]
    judged = [discriminator_loss(*verdicts[i : i + 2], "lsgan") for i in (0, 2)]
    sum(judged).backward()
    for judge in (of_clear, of_hazy):
        torch.optim.SGD(judge.parameters(), 0.3).step()
        judge.requires_grad_(False)
    deceived = (generator_loss(of_clear(first.image), "lsgan") + generator_loss(of_hazy(hazed), "lsgan")) / 2
    back = F.l1_loss(second.image, clear) + F.l1_loss(rehazed, hazy)
    again = F.mse_loss(second.aux["density"], density)
    (back + 0.2 * deceived + again).backward()
    torch.optim.SGD([*network.parameters(), *rehaze.parameters()], 0.1).step()
    depth.zero_grad()
    seen = F.l1_loss(depth(first.image.detach()), first.aux["depth"].detach())
    seen.backward()
    torch.optim.SGD(depth.parameters(), 0.2).step()

    expected = {"cycle": back, "adversarial": 0.2 * deceived, "density": again, "depth": seen}
    for name, value in expected.items():
        assert values[name] == pytest.approx(float(value.detach()), rel=1e-5), name
    assert values["discriminators"] == pytest.approx(float(sum(judged).detach()) / 2, rel=1e-5)
    for name, part in trained(found).items():
        start = dict(trained(recipe.setup(CONFIG))[name].named_parameters())
        expected_part = dict(trained(by_hand)[name].named_parameters())
        moved = False
        for key, own in part.named_parameters():
            torch.testing.assert_close(own, expected_part[key], rtol=1e-4, atol=1e-6)
            moved = moved or not torch.equal(own, start[key])
        assert moved, name
    assert all(parameter.grad is None for parameter in found.judges())


def test_hazy_and_clear_pictures_do_not_belong_together(pairs_folder, tmp_path, monkeypatch):
    seen = []

    def step(state, hazy, clear, config):
        seen.append((hazy, clear))
        state.steps_done += 1
        return {"loss": 0.0}

    monkeypatch.setattr(recipe, "step", step)
    config = dataclasses.replace(
        CONFIG, loop=LoopConfig(steps=6, checkpoint_every=0, log_every=1, validate_every=0), ema=0.0
    )
    recipe.train(config, pairs_folder, tmp_path / "run")
    # the data set's haze is an even affine map row by row, so a pair would correlate almost perfectly
    correlations = [
        float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
        for hazy, clear in seen
        for a, b in zip(hazy[:, 1, 30:34], clear[:, 1, 30:34], strict=True)
    ]
    assert sum(value > 0.99 for value in correlations) < len(correlations) / 2


@pytest.mark.slow
def test_a_killed_and_resumed_run_gives_the_same_weights(pairs_folder, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, optimizer=OptimizerConfig("adam", 1e-4), ema=0.9)
    whole = weights(recipe.train(config, pairs_folder, tmp_path / "whole"))
    original, calls = recipe.descend, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 8:  # in the middle of step 3
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "descend", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, pairs_folder, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(config, pairs_folder, tmp_path / "parts", resume="auto")))


@pytest.mark.slow
def test_the_published_preset_trains(pairs_folder, tmp_path):
    _, published = preset("d4-its")
    config = dataclasses.replace(
        published, data=CONFIG.data, loop=LoopConfig(steps=2, checkpoint_every=2, log_every=1, validate_every=0)
    )
    assert load_network(recipe.main(config, pairs_folder, tmp_path / "run"))[1] == "d4-indoor"
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert any("discriminators" in line for line in lines)


def test_settings_that_cannot_work_are_refused():
    for changes, words in (
        ({"accumulate": 2}, "accumulate=1"),
        ({"data": dataclasses.replace(CONFIG.data, crop=48)}, "multiple of 32"),
        ({"network": "aodnet"}, "finds no density"),
    ):
        with pytest.raises(UsageError, match=words):
            recipe.setup(dataclasses.replace(CONFIG, **changes))


def test_the_published_settings():
    _, config = preset("d4-its")
    assert (config.cycle, config.adversarial, config.density) == (1.0, 0.2, 1.0)
    assert (config.optimizer.lr, config.discriminator_optimizer.lr) == (1e-4, 1e-5)
    assert recipe.describe(config)["steps"] == 1_500_000
