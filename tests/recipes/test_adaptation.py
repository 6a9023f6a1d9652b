"""A student on photographs alone: what it is pulled to, when its teacher moves, exact resume."""

import dataclasses
import json

import cv2
import pytest
import torch
from tests.clip import small_clip
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.data import create_dataset
from unhaze.data.batch import Batch
from unhaze.errors import UsageError, WeightsNotFoundError
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.coa import CoAStudent
from unhaze.recipes import adaptation as recipe
from unhaze.recipes import supervised
from unhaze.recipes.presets import preset
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

pytest.importorskip("transformers")

CONFIG = recipe.Config(
    data=DataConfig("photographs", "all", "", held_out=2, crop=32, batch=2),
    optimizer=OptimizerConfig("adam", 1e-3),
    schedule=ScheduleConfig("constant"),
    loop=LoopConfig(steps=4, checkpoint_every=2, log_every=1),
    teacher_every=2,
    ema=0.0,
    device="cpu",
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def config(monkeypatch, tmp_path, clip):
    for module in (supervised, recipe):
        monkeypatch.setattr(module, "create_network", lambda name: CoAStudent(channels=4, detail=False))
    torch.manual_seed(5)
    save_weights(CoAStudent(channels=4, detail=False).state_dict(), tmp_path / "student.safetensors", "coa-train_rb1")
    return dataclasses.replace(CONFIG, weights=str(tmp_path / "student.safetensors"), clip=str(clip))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, hazy_photo):
    root = tmp_path_factory.mktemp("fog")
    (root / "more").mkdir()
    for number in range(6):
        part = hazy_photo[0][40 * number : 40 * number + 48, 60 * number : 60 * number + 56]
        cv2.imwrite(str(root / ("more" if number % 2 else ".") / f"{number}.png"), part)
    return root


def batch(seed=0):
    hazy = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(hazy, torch.zeros_like(hazy), torch.zeros(2, 1, 32, 32), torch.zeros(2, dtype=torch.bool), ())


def weights(state):
    parts = (state.network.state_dict(), state.teacher.state_dict(), state.average.network.state_dict())
    return torch.cat([value.flatten().float() for part in parts for value in part.values()])


def test_the_loss_is_the_distance_to_the_teacher_and_that_of_the_text(config):
    state, part = recipe.setup(config), batch()
    with torch.no_grad():
        state.teacher.head.bias += 0.1
        student, taught = (net.restore(part.hazy).image for net in (state.network, state.teacher))
        expected = {"nearness": (student - taught).abs().mean(), "text": 0.5 * state.language(student)}
    values = recipe.step(state, part, config)
    for name, value in expected.items():
        assert values[name] == pytest.approx(float(value), rel=1e-4), name
    assert values["loss"] == pytest.approx(float(sum(expected.values())), rel=1e-4)
    # what the batch has as its clear pictures does not count
    again = recipe.step(recipe.setup(config), part._replace(clear=torch.ones_like(part.clear)), config)
    assert again["text"] == pytest.approx(values["text"], rel=1e-5)


def test_the_teacher_moves_a_little_at_every_second_step(config):
    state = recipe.setup(config)
    begun = {name: value.clone() for name, value in state.teacher.named_parameters()}
    recipe.step(state, batch(1), config)
    assert all(torch.equal(begun[name], value) for name, value in state.teacher.named_parameters())
    recipe.step(state, batch(2), config)
    student = dict(state.network.named_parameters())
    for name, value in state.teacher.named_parameters():
        torch.testing.assert_close(value, 0.95 * begun[name] + 0.05 * student[name])
    assert any(not torch.equal(begun[name], value) for name, value in state.teacher.named_parameters())


def test_the_text_loss_falls(config):
    config = dataclasses.replace(config, nearness=0.0, optimizer=OptimizerConfig("adam", 3e-3))
    state, part = recipe.setup(config), batch(3)
    found = [recipe.step(state, part, config)["text"] for _ in range(8)]
    assert found[-1] < found[0] - 1e-3


def test_a_killed_and_resumed_run_gives_the_same_weights(config, photographs, tmp_path, monkeypatch):
    whole = weights(recipe.train(config, photographs, tmp_path / "whole"))
    original, calls = recipe.descend, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "descend", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, photographs, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(config, photographs, tmp_path / "parts", resume="auto")))


def test_photographs_are_all_pictures_of_a_folder_each_its_own_target(photographs):
    found = create_dataset("photographs", photographs)
    assert len(found) == 6
    assert (found[0].hazy == found[0].clear).all()
    with pytest.raises(UsageError, match="photographs has no split train"):
        create_dataset("photographs", photographs, "train")


def test_what_is_missing_is_said(config):
    with pytest.raises(WeightsNotFoundError, match="--set weights=FILE"):
        recipe.setup(dataclasses.replace(config, weights=""))
    with pytest.raises(WeightsNotFoundError, match="--set clip=FOLDER"):
        recipe.setup(dataclasses.replace(config, clip=""))
    with pytest.raises(UsageError, match="accumulate=1"):
        recipe.setup(dataclasses.replace(config, accumulate=2))
    assert recipe.setup(dataclasses.replace(config, clip="", text=0.0)).language is None


def test_the_command_counts_the_photographs_and_trains(config, photographs, clip, tmp_path):
    changes = [("data.crop", 32), ("data.batch", 2), ("data.workers", 0), ("data.held_out", 2), ("loop.steps", 1)]
    sets = [part for name, value in changes for part in ("--set", f"{name}={value}")]
    run = ["train", "coa-adapted", "--data", str(photographs), *sets]
    dry = CliRunner().invoke(app, [*run, "--dry-run"], catch_exceptions=False)
    assert dry.exit_code == 0, dry.stderr
    assert json.loads(dry.stdout)["data"]["pairs"] == 4
    files = ["--set", f"weights={config.weights}", "--set", f"clip={clip}", "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*run, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "run/weights.safetensors").is_file()
    assert (tmp_path / "run/report.html").is_file()


def test_the_settings_are_those_of_the_official_code():
    found, published = preset("coa-adapted")
    assert found is recipe
    assert (published.optimizer.lr, published.steps, published.data.batch, published.text) == (1e-7, 20_000, 24, 0.5)
