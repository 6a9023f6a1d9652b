"""PromptHaze's strengths: what the target of each is, what the fusion is told, exact resume, passes at inference."""

import dataclasses
import json

import pytest
import torch
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.data.batch import Batch
from unhaze.errors import UsageError
from unhaze.models.guided import create_model
from unhaze.models.layers.depth_view import DepthView
from unhaze.recipes import prompted as recipe
from unhaze.recipes.presets import preset
from unhaze.training.loss import LossConfig, restoration_terms
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

CONFIG = recipe.Config(
    model="aodnet+prompthaze",
    data=DataConfig("synthetic", held_out=2, crop=32, batch=2),
    loss=LossConfig(l1=0.0, charbonnier=1.0),
    optimizer=OptimizerConfig("adamw", 2e-3),
    schedule=ScheduleConfig("constant"),
    loop=LoopConfig(steps=4, checkpoint_every=2, log_every=1),
    ema=0.0,
    device="cpu",
)


def batch(seed=0):
    draw = torch.Generator().manual_seed(seed)
    hazy, clear = torch.rand(2, 2, 3, 32, 32, generator=draw)
    return Batch(hazy, clear, torch.rand(2, 1, 32, 32, generator=draw), torch.ones(2, dtype=torch.bool), ())


def weights(state):
    return torch.cat([value.flatten().float() for value in state.network.state_dict().values()])


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_the_target_is_as_much_of_the_clear_picture_as_was_told(strength):
    config, part = dataclasses.replace(CONFIG, strengths=(strength,)), batch()
    state = recipe.setup(config)
    for parameter in state.network.fusions.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    state.network.fusions.strength = strength
    restored = state.network.restore(part.hazy, DepthView(part.nearness, (part.nearness,)))
    target = strength * part.clear + (1 - strength) * part.hazy
    expected = sum(restoration_terms(restored, target, part.hazy, config.loss).values())
    values = recipe.step(state, part, config)
    assert values["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert values["strength"] == strength
    assert state.network.fusions.strength == 1.0


def test_every_strength_has_its_turn_whatever_came_before():
    drawn = [recipe.strength_of(number, CONFIG) for number in range(40)]
    assert set(drawn) == set(CONFIG.strengths)
    assert recipe.strength_of(7, CONFIG) == drawn[7]
    assert [recipe.strength_of(number, dataclasses.replace(CONFIG, seed=2)) for number in range(40)] != drawn


def test_a_killed_and_resumed_run_gives_the_same_weights(depth_folder, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, depth="compact")
    whole = weights(recipe.train(config, depth_folder, tmp_path / "whole"))
    original, calls = recipe.descend, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "descend", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, depth_folder, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(config, depth_folder, tmp_path / "parts", resume="auto")))


@pytest.fixture
def depth_folder(pairs_folder):
    return pairs_folder / "clear"


def test_each_pass_sees_the_depth_of_the_last_and_more_strength():
    model = create_model("aodnet+prompthaze", None).eval()
    torch.manual_seed(4)
    for parameter in model.fusions.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    seen, told = [], []

    def view_depth(image, known=None):
        if known is not None:
            return known
        seen.append(image.clone())
        told.append(model.fusions.strength)
        near = image.mean(1, keepdim=True)
        return DepthView(near, (near,))

    model.view_depth = view_depth
    image = torch.rand(1, 3, 32, 32)
    found = recipe.progress(model, image, (0.5, 1.0))
    assert told == [0.5, 1.0]
    assert torch.equal(seen[0], image)
    model.fusions.strength = 0.5
    first = model.restore(image, view_depth(image)).image.clamp(0, 1)
    assert torch.equal(seen[1], first)
    model.fusions.strength = 1.0
    assert torch.equal(found, model.restore(image, view_depth(first)).image.clamp(0, 1))


def test_what_does_not_fit_is_said():
    with pytest.raises(UsageError, match=r"model=NETWORK\+prompthaze"):
        recipe.setup(dataclasses.replace(CONFIG, model="aodnet+concat"))
    for strengths in ((), (0.0, 1.0), (1.5,)):
        with pytest.raises(UsageError, match="strengths is"):
            recipe.setup(dataclasses.replace(CONFIG, strengths=strengths))


def test_the_preset_has_what_is_known_and_says_what_is_not():
    found, published = preset("prompthaze-its")
    assert found is recipe
    assert (published.optimizer.name, published.optimizer.lr, published.steps) == ("adamw", 2e-4, 15_000)
    assert (published.data.batch, published.data.crop, published.loss.contrastive) == (7, 256, 0.5)
    small = ("data.crop=32", "data.batch=1", "depth=stored", "loss.contrastive=0.0", "model=aodnet+prompthaze")
    sets = [part for each in small for part in ("--set", each)]
    result = CliRunner().invoke(app, ["train", "prompthaze-its", "--dry-run", *sets], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["estimate"]["seconds_per_step"] > 0
    assert "Not** PromptHaze as published" in recipe.__doc__
