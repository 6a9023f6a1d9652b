"""Published settings against the figures of the official codes, and that they train."""

import dataclasses
import json

import pytest
import torch

from unhaze.models.aodnet import AODNet
from unhaze.models.mitnet import MITNet
from unhaze.recipes import supervised
from unhaze.recipes.presets import list_presets, preset, summary
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import ScheduleConfig, rate_factor

ITS, RESIDE_6K = 13_990, 6_000


def rates(config, places):
    """Learning rates at parts of the training."""
    steps = (min(int(part * config.steps), config.steps - 1) for part in places)
    return [config.optimizer.lr * rate_factor(config.schedule, step, config.steps) for step in steps]


@pytest.mark.parametrize(
    ("name", "batch", "crop", "pictures", "places", "expected"),
    [
        ("mitnet-its", 8, 256, 1000 * ITS, (0.1, 0.3, 0.5, 0.7, 0.9), (2e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5)),
        ("coa-student-its", 24, 256, 20 * 5000 * 24, (0, 0.5, 1), (1e-4, 5.05e-5, 1e-6)),
        ("dnmgdt-6k", 1, 256, 20 * RESIDE_6K, (0.2, 0.3, 0.6, 0.9), (2e-4, 1.5e-4, 1.125e-4, 8.4375e-5)),
        ("ffanet-its", 2, 240, 1_000_000, (0, 0.5, 1), (1e-4, 5e-5, 0)),
        ("ffanet-ots", 2, 240, 2_000_000, (0, 0.5, 1), (1e-4, 5e-5, 0)),
        ("aodnet-its", 8, 448, 10 * ITS, (0, 0.5, 1), (1e-4, 1e-4, 1e-4)),
        ("convir-its", 4, 256, 1000 * ITS, (0.5, 1), (5.0734e-5, 1e-6)),
        ("convir-ots", 8, 256, 30 * 313_950, (1,), (1e-6,)),
        ("fsnet-its", 32, 256, 1000 * ITS, (1,), (1e-6,)),
        ("c2pnet-its", 2, 240, 2_000_000, (0, 0.5, 1), (1e-4, 5e-5, 0)),
        ("aecrnet-its", 16, 240, 8_000_000, (0, 0.5, 1), (1e-4, 5e-5, 0)),
        ("dehamer-nh", 2, 512, 5000 * 45, (0, 0.5, 1), (1e-4, 1e-4, 1e-4)),
        ("psd-ots", 12, 256, 1_200_000, (0, 0.5, 1), (1e-4, 5e-5, 0)),
        ("psd-rtts", 6, 256, 4 * 4_322, (0, 0.5, 1), (1e-4, 1e-4, 1e-4)),
        ("d4-its", 2, 256, 3_000_000, (0.04, 0.05, 1), (1e-4, 5e-5, 5e-5)),
        ("gcanet-its", 1, 448, 100 * ITS, (0.2, 0.6, 0.9), (1e-3, 1e-4, 1e-5)),
    ],
)
def test_settings_are_those_of_the_official_code(name, batch, crop, pictures, places, expected):
    _, config = preset(name)
    assert (config.data.batch, config.data.crop) == (batch, crop)
    assert config.steps == pytest.approx(pictures / batch, abs=1)
    assert rates(config, places) == pytest.approx(expected, rel=1e-3, abs=1e-12)
    assert config.optimizer.name == "adam"
    assert summary(name)


@pytest.mark.parametrize(
    ("name", "batch", "pictures", "lr", "warmup"),
    [("gunet-its", 128, 1000 * 16_384, 16e-4, 50 * 16_384 // 128), ("mixdehazenet-its", 36, 500 * ITS, 2e-4, 0)],
)
def test_settings_with_decay_are_those_of_the_official_code(name, batch, pictures, lr, warmup):
    _, config = preset(name)
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("adamw", lr, 0.01)
    assert (config.data.batch, config.steps, config.schedule.warmup) == (batch, pictures // batch, warmup)
    assert rates(config, (1,)) == pytest.approx([lr / 100], rel=1e-3)


def test_every_preset_says_something_of_itself():
    assert all(summary(name) for name in list_presets())


SMALL = {"mitnet-its": lambda name: MITNet(channels=4), "aodnet-its": lambda name: AODNet()}


def shortened(name, steps, monkeypatch):
    """A published preset on a small network and tiny pictures, for some steps."""
    monkeypatch.setattr(supervised, "create_network", SMALL[name])
    _, published = preset(name)
    return dataclasses.replace(
        published,
        data=DataConfig("folders", "", "", held_out=2, crop=32, batch=2, vertical=True, turn=True),
        optimizer=dataclasses.replace(published.optimizer, lr=4e-3),
        schedule=ScheduleConfig("constant"),
        loop=LoopConfig(steps=steps, checkpoint_every=2, log_every=1),
        device="cpu",
    )


@pytest.mark.parametrize("name", ["aodnet-its", pytest.param("mitnet-its", marks=pytest.mark.slow)])
def test_the_loss_falls(name, pairs_folder, tmp_path, monkeypatch):
    supervised.train(shortened(name, 40, monkeypatch), pairs_folder, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] - line.get("mutual_information", 0) for line in lines if "loss" in line]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize("name", SMALL)
def test_a_resumed_run_gives_the_same_weights(name, pairs_folder, tmp_path, monkeypatch):
    # MITNet's loss draws random numbers
    config = shortened(name, 3, monkeypatch)
    whole = supervised.train(config, pairs_folder, tmp_path / "run").network.state_dict()
    part = tmp_path / "run/checkpoints/step-0000002.pt"
    again = supervised.train(config, pairs_folder, tmp_path / "again", resume=part).network.state_dict()
    assert all(torch.equal(whole[key], value) for key, value in again.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mitnet-its", "aodnet-its", "gcanet-its", "ffanet-its"])
def test_the_published_network_trains(name, pairs_folder, tmp_path):
    _, published = preset(name)
    data = DataConfig("folders", "", "", held_out=2, crop=32, batch=1)
    config = dataclasses.replace(published, data=data, loop=LoopConfig(steps=2, log_every=1))
    assert supervised.main(config, pairs_folder, tmp_path / "run").is_file()
