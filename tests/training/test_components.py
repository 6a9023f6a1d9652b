"""The parts of a training, each on its own."""

import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from unhaze.errors import WeightsNotFoundError
from unhaze.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from unhaze.training.ema import ExponentialMovingAverage
from unhaze.training.logging import JsonLog, write_strips
from unhaze.training.memory import keep_freed_memory
from unhaze.training.schedules import warmup_cosine
from unhaze.training.seed import random_state, restore_random_state, seed_everything


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_random_state_survives_a_file(tmp_path):
    seed_everything(5)
    draws()
    save_checkpoint(tmp_path, 1, random_state())
    first = draws()
    seed_everything(99)
    restore_random_state(load_checkpoint(tmp_path / "step-0000001.pt"))
    assert draws() == first


def test_seeding_repeats():
    seed_everything(7)
    first = draws()
    seed_everything(7)
    assert draws() == first


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 3, {"a": torch.ones(2)})

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, 4, {"a": torch.zeros(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000003.pt"]
    assert load_checkpoint(latest_checkpoint(tmp_path))["a"].tolist() == [1, 1]


def test_old_checkpoints_go(tmp_path):
    for step in (5, 10, 200, 1000):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-0000200.pt", "step-0001000.pt"]
    assert load_checkpoint(latest_checkpoint(tmp_path)) == {"step": 1000}


def test_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(WeightsNotFoundError, match="step-1"):
        load_checkpoint(tmp_path / "step-1.pt")


def test_ema_follows_the_formula_and_leaves_the_network_alone():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    average = ExponentialMovingAverage(network, 0.9)
    expected = 0.0
    for update in range(40):
        with torch.no_grad():
            network.weight.fill_(update + 1.0)
        average.update(network)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * (update + 1.0)
        assert float(average.network.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(network.weight.detach()) == 40
    copy = ExponentialMovingAverage(network, 0.9)
    copy.load_state_dict(average.state_dict())
    assert copy.updates == 40
    assert torch.equal(copy.network.weight, average.network.weight)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_ema_checks_its_decay(decay):
    with pytest.raises(ValueError, match="decay"):
        ExponentialMovingAverage(nn.Linear(1, 1), decay)


def test_schedule_agrees_with_torch():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 90, eta_min=0.1)
    for step in range(90):
        assert warmup_cosine(step + 10, total=100, warmup=10, final=0.1) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert warmup_cosine(10**6, total=100, warmup=10, final=0.1) == pytest.approx(0.1)


def test_log_forgets_lost_work(tmp_path):
    path = tmp_path / "run/log.jsonl"
    log = JsonLog(path)
    for step in (10, 20, 30):
        log.write(step=step, loss=1 / 3)
    with path.open("a") as file:
        file.write('{"step": 4')  # a crash in the middle of a line
    JsonLog(path, resume_at=20).write(step=30, loss=0.5)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"step": 10, "loss": 0.333333}, {"step": 20, "loss": 0.333333}, {"step": 30, "loss": 0.5}]


def test_strips(tmp_path):
    import cv2

    red = np.zeros((4, 5, 3), np.float32)
    red[..., 0] = 1
    write_strips(tmp_path / "a/strip.png", [[red, np.full((4, 5), 0.5)], [red, np.full((4, 5), np.nan)]])
    read = cv2.imread(str(tmp_path / "a/strip.png"), cv2.IMREAD_COLOR_RGB)
    assert read.shape == (8, 10, 3)
    assert read[0, 0].tolist() == [255, 0, 0]
    assert read[0, 9].tolist() == [128, 128, 128]


def test_keeping_memory_never_fails():
    assert keep_freed_memory() in (True, False)
