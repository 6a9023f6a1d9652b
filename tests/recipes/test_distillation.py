"""A student and its teacher: what is learned, what stays, exact resume."""

import dataclasses
import json

import pytest
import torch

from unhaze.data.batch import Batch
from unhaze.errors import UsageError, WeightsNotFoundError
from unhaze.losses import feature_affinity
from unhaze.models.aodnet import AODNet
from unhaze.models.checkpoints.loading import load_network, save_weights
from unhaze.models.coa import CoAStudent, CoATeacher
from unhaze.recipes import distillation as recipe
from unhaze.recipes import supervised
from unhaze.recipes.presets import preset
from unhaze.training.loss import LossConfig, restoration_terms
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

CONFIG = recipe.Config(
    data=DataConfig("folders", "", "", held_out=2, crop=32, batch=2),
    loss=LossConfig(l1=0.8, ssim=0.2, zero_padded=True),
    optimizer=OptimizerConfig("adam", 2e-3),
    schedule=ScheduleConfig("cosine", final=0.01),
    loop=LoopConfig(steps=4, checkpoint_every=2, log_every=1),
    ema=0.9,
    device="cpu",
)


def teacher():
    torch.manual_seed(7)
    return CoATeacher(channels=8, res_blocks=1, encoder_blocks=(1, 1, 1))


@pytest.fixture
def config(monkeypatch, tmp_path):
    """Networks of a few thousand parameters; the teacher's weights lie in a file."""
    networks = {
        "coa-train_rb1": lambda: CoAStudent(channels=4, detail=False),
        "coa-teacher": teacher,
        "aodnet-base": AODNet,
    }
    for module in (supervised, recipe):
        monkeypatch.setattr(module, "create_network", lambda name: networks[name]())
    path = tmp_path / "teacher.safetensors"
    save_weights(teacher().state_dict(), path, "coa-teacher")
    return dataclasses.replace(CONFIG, teacher_weights=str(path))


def weights(state):
    parts = (state.network.state_dict(), state.average.network.state_dict())
    return torch.cat([value.flatten().float() for part in parts for value in part.values()])


def batch(seed=0):
    pictures = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(pictures[0], pictures[1], torch.zeros(2, 1, 32, 32), torch.zeros(2, dtype=torch.bool), ())


def test_the_loss_is_that_on_pairs_and_the_affinity(config):
    state, part = recipe.setup(config), batch()
    before = {key: value.clone() for key, value in state.teacher.state_dict().items()}
    student, taught = state.network.restore(part.hazy), state.teacher.restore(part.hazy)
    names = [f"feat{i}" for i in range(4)]
    affinity = feature_affinity([student.aux[name] for name in names], [taught.aux[name] for name in names])
    expected = restoration_terms(student, part.clear, part.hazy, config.loss) | {"affinity": affinity}
    values = recipe.step(state, part, dataclasses.replace(config, affinity=1.0))
    assert values["affinity"] == pytest.approx(float(affinity.detach()), rel=1e-5)
    assert values["affinity"] > 0
    assert values["loss"] == pytest.approx(sum(float(each.detach()) for each in expected.values()), rel=1e-5)
    # batch normalisation, too, stays as the file has it
    assert all(torch.equal(before[key], value) for key, value in state.teacher.state_dict().items())


def test_affinity_alone_draws_the_features_to_the_teachers(config):
    state, part = recipe.setup(dataclasses.replace(config, schedule=ScheduleConfig("constant"))), batch(1)
    found = [recipe.step(state, part, dataclasses.replace(config, affinity=10.0))["affinity"] for _ in range(8)]
    assert found[-1] < 0.9 * found[0]


def test_a_killed_and_resumed_run_gives_the_same_weights(config, pairs_folder, tmp_path, monkeypatch):
    whole = weights(recipe.train(config, pairs_folder, tmp_path / "whole"))
    original, calls = recipe.descend, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "descend", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, pairs_folder, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(config, pairs_folder, tmp_path / "parts", resume="auto")))


@pytest.mark.slow
def test_the_loss_falls(config, pairs_folder, tmp_path):
    loop = dataclasses.replace(config.loop, steps=40, checkpoint_every=40)
    path = recipe.main(
        dataclasses.replace(config, loop=loop, schedule=ScheduleConfig("constant")), pairs_folder, tmp_path / "run"
    )
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert path.is_file()


def test_what_is_missing_or_does_not_fit_is_said(config):
    with pytest.raises(WeightsNotFoundError, match="--set teacher_weights=FILE"):
        recipe.setup(dataclasses.replace(config, teacher_weights=""))
    with pytest.raises(UsageError, match="no features of the same shapes"):
        recipe.step(recipe.setup(dataclasses.replace(config, network="aodnet")), batch(), config)
    with pytest.raises(UsageError, match="no features of the same shapes"):
        recipe.step(recipe.setup(config, teacher=CoATeacher(4, 1, (1, 1, 1))), batch(), config)


def test_a_dry_run_needs_no_weights(config):
    found = recipe.rehearse(dataclasses.replace(config, teacher_weights=""))
    assert found["seconds_per_step"] > 0
    assert recipe.describe(config)["config"]["teacher"] == "coa-teacher"


@pytest.mark.slow
def test_the_published_networks_fit_one_another(pairs_folder, tmp_path):
    _, published = preset("coa-student-its")
    from unhaze.models.networks import create_network

    save_weights(create_network("coa-teacher").state_dict(), tmp_path / "teacher.safetensors", "coa-teacher")
    config = dataclasses.replace(
        published,
        data=CONFIG.data,
        loop=dataclasses.replace(CONFIG.loop, steps=2),
        loss=dataclasses.replace(published.loss, contrastive=0.0),
        teacher_weights=str(tmp_path / "teacher.safetensors"),
    )
    path = recipe.main(config, pairs_folder, tmp_path / "run")
    assert load_network(path)[1] == "coa-train_rb1"
