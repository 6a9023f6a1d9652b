"""``training.distributed`` under torchrun: a process that dies is no end, and leaves no trace in the weights."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

STEPS = 12
SETTINGS = [
    f"loop.steps={STEPS}",
    "loop.checkpoint_every=2",
    "loop.log_every=1",
    "data.crop=32",
    "data.batch=2",
    "data.held_out=1",
    "model=aodnet-base",
]


@pytest.fixture
def pairs(tmp_path):
    for number in range(6):
        clear = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        for name, haze in (("clear", 0.0), ("hazy", 0.5)):
            pixels = (clear * (1 - haze) + 220 * haze).astype(np.uint8)
            path = tmp_path / "pairs" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((56, 48), Image.Resampling.BICUBIC).save(path)
    return tmp_path / "pairs"


def torchrun(pairs, out):
    train = ["-m", "unhaze", "train", "supervised-small", "--data", str(pairs), "-o", str(out), "--resume", "auto"]
    for setting in SETTINGS:
        train += ["--set", setting]
    launcher = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *launcher, *train], env=environment)


def steps_done(out):
    try:
        lines = (out / "log.jsonl").read_text().splitlines()
    except OSError:
        return 0
    return max((json.loads(line).get("step", 0) for line in lines if line.endswith("}")), default=0)


@pytest.mark.slow
def test_a_rank_that_is_killed_changes_nothing(pairs, tmp_path):
    assert torchrun(pairs, tmp_path / "whole").wait(timeout=600) == 0
    killed = torchrun(pairs, tmp_path / "killed")
    end = time.monotonic() + 300
    while steps_done(tmp_path / "killed") < 3:
        assert time.monotonic() < end
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    ranks = [each for each in psutil.Process(killed.pid).children() if each.environ().get("RANK") == "1"]
    os.kill(ranks[0].pid, signal.SIGKILL)
    assert killed.wait(timeout=600) == 0
    weights = [sorted((tmp_path / name).glob("*.safetensors")) for name in ("whole", "killed")]
    assert weights[0]
    assert [path.read_bytes() for path in weights[0]] == [path.read_bytes() for path in weights[1]]
