"""The parts of a training, each on its own."""

import json
import os
import random
import signal

import numpy as np
import pytest
import torch
from torch import nn

from unhaze.errors import OutputError, UsageError, WeightsNotFoundError
from unhaze.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from unhaze.training.record import JsonLog
from unhaze.training.state import (
    ExponentialMovingAverage,
    keep_freed_memory,
    random_state,
    restore_random_state,
    seed_everything,
)
from unhaze.training.steps import warmup_cosine
from unhaze.training.validation import write_strips


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
    with pytest.raises(OutputError, match="no space"):
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


def test_what_is_no_checkpoint_is_passed_over_and_left_alone(tmp_path):
    (tmp_path / "step-9999999.pt").mkdir()
    for name in ("step-0000009 (copy).pt", "step-last.pt", ".step-0000009.pt.0123abcd.part", "notes.txt"):
        (tmp_path / name).write_text("no checkpoint")
    assert latest_checkpoint(tmp_path) is None
    for step in (3, 10_000_000, 9_999_998):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert latest_checkpoint(tmp_path) == tmp_path / "step-10000000.pt"
    assert len(list(tmp_path.iterdir())) == 7


def test_any_flipped_bit_that_matters_is_found(tmp_path):
    state = {"a": torch.arange(300.0), "step": 7}
    whole = save_checkpoint(tmp_path, 7, state).read_bytes()
    rng = random.Random(0)
    damaged = 0
    for position in rng.sample(range(len(whole)), 120):
        content = bytearray(whole)
        content[position] ^= 1 << rng.randrange(8)
        path = tmp_path / "flipped.pt"
        path.write_bytes(content)
        try:
            loaded = load_checkpoint(path)
        except UsageError:
            damaged += 1
        else:  # the bit is in padding, or in a time
            assert torch.equal(loaded["a"], state["a"])
    assert damaged > 60


@pytest.mark.parametrize("length", [0, 1, 100, 0.5, 0.999])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, caplog, length):
    save_checkpoint(tmp_path, 1, {"step": 1})
    newest = save_checkpoint(tmp_path, 2, {"step": 2})
    content = newest.read_bytes()
    newest.write_bytes(content[: int(length * len(content)) if length in (0.5, 0.999) else length])
    assert latest_checkpoint(tmp_path) == tmp_path / "step-0000001.pt"
    assert "step-0000002.pt: damaged or half-written, so the training goes on from" in caplog.text
    with pytest.raises(UsageError, match="--resume auto"):
        load_checkpoint(newest)
    (tmp_path / "step-0000001.pt").write_bytes(b"")
    with pytest.raises(UsageError, match=r"No checkpoint in .* is whole"):
        latest_checkpoint(tmp_path)


def test_checkpoints_obey_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        path = save_checkpoint(tmp_path, 1, {"step": 1})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files")
def test_a_disk_that_is_too_small_keeps_the_checkpoint_before(tmp_path):
    import resource

    save_checkpoint(tmp_path, 1, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            save_checkpoint(tmp_path, 2, {"a": torch.zeros(500, 500)}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001.pt"]
    assert load_checkpoint(latest_checkpoint(tmp_path)) == {"step": 1}


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


@pytest.mark.parametrize("damage", [b'{"step": 2, "lo', b"\x00" * 40, b"\xff\xfe\n[1]\nnull\n"])
def test_a_damaged_log_is_mended(tmp_path, damage):
    path = tmp_path / "log.jsonl"
    JsonLog(path).write(step=1, loss=0.5)
    whole = path.read_bytes()
    path.write_bytes(whole + damage)
    JsonLog(path, resume_at=5)
    assert path.read_bytes() == whole


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(OutputError, match="--resume auto"):
        JsonLog(tmp_path / "log.jsonl", resume_at=0)
    with pytest.raises(OutputError, match="--resume auto"):
        JsonLog(tmp_path / "log.jsonl").write(step=1)


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
