"""The recipes that learn from pairs: exact resume, falling loss, several processes, broken files."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.patience import HUNG

from unhaze.errors import ImageError, UsageError
from unhaze.models.checkpoints import load_network
from unhaze.recipes import depth_fusion, supervised
from unhaze.recipes.presets import list_presets, override, preset
from unhaze.training.loss import LossConfig
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

DATA = DataConfig("folders", "", "", held_out=2, crop=32, batch=2)
SUPERVISED = supervised.Config(
    network="aodnet",
    data=DATA,
    loss=LossConfig(l1=1.0, ssim=0.2, frequency=0.05),
    optimizer=OptimizerConfig("adamw", 2e-3, clip=1.0),
    schedule=ScheduleConfig("cosine", warmup=2),
    loop=LoopConfig(steps=6, checkpoint_every=2, log_every=1, validate_every=3),
    ema=0.9,
)
FUSION = depth_fusion.Config(
    model="aodnet+concat",
    depth="compact",
    data=DATA,
    optimizer=SUPERVISED.optimizer,
    schedule=ScheduleConfig("restarts", periods=(3, 3), finals=(0.1, 0.1)),
    loop=SUPERVISED.loop,
    ema=0.9,
)
RECIPES = [(supervised, SUPERVISED), (depth_fusion, FUSION)]


def with_steps(config, steps, **changes):
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, steps=steps), **changes)


def weights(state):
    parts = (state.network.state_dict(), state.average.network.state_dict())
    return torch.cat([value.flatten().float() for part in parts for value in part.values()])


@pytest.mark.parametrize(("recipe", "config"), RECIPES)
def test_a_killed_and_resumed_run_gives_the_same_weights(recipe, config, pairs_folder, tmp_path, monkeypatch):
    whole = weights(recipe.train(config, pairs_folder, tmp_path / "whole"))
    original, calls = recipe.descend, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "descend", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, pairs_folder, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(config, pairs_folder, tmp_path / "parts", resume="auto")))
    lines = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    reference = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [line.get("loss") for line in lines] == [line.get("loss") for line in reference]
    assert [line["step"] for line in lines if "val_psnr" in line] == [3, 6]
    assert (tmp_path / "parts/strips/step-0000006.png").exists()


def test_another_run_or_other_settings_are_refused(pairs_folder, tmp_path):
    supervised.train(with_steps(SUPERVISED, 2), pairs_folder, tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run already"):
        supervised.train(with_steps(SUPERVISED, 2), pairs_folder, tmp_path / "run")
    with pytest.raises(UsageError, match="trained with other settings"):
        supervised.train(with_steps(SUPERVISED, 4), pairs_folder, tmp_path / "run", resume="auto")


@pytest.mark.parametrize(("recipe", "config"), [RECIPES[0], pytest.param(*RECIPES[1], marks=pytest.mark.slow)])
def test_the_loss_falls(recipe, config, pairs_folder, tmp_path):
    many = with_steps(config, 60, schedule=ScheduleConfig("constant"))
    recipe.train(many, pairs_folder, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_fusion_alone_can_be_trained(pairs_folder, tmp_path):
    config = with_steps(FUSION, 3, freeze="backbone", depth="compact")
    before = {k: v.clone() for k, v in depth_fusion.setup(config).network.backbone.state_dict().items()}
    state = depth_fusion.train(config, pairs_folder, tmp_path / "run")
    assert all(torch.equal(before[key], value) for key, value in state.network.backbone.state_dict().items())
    assert any(p.abs().max() > 0 for p in state.network.fusions.parameters())


def test_what_is_trained_can_be_loaded(pairs_folder, tmp_path):
    path = supervised.main(with_steps(SUPERVISED, 2), pairs_folder, tmp_path / "run")
    assert load_network(path)[1] == "aodnet-base"
    path = depth_fusion.main(with_steps(FUSION, 2), pairs_folder, tmp_path / "fused")
    from unhaze.models.guided import load_model

    assert load_model(path).spec.name == "aodnet-base+concat"
    assert (tmp_path / "fused/fusion.safetensors").exists()


def test_accumulation_changes_nothing_but_memory(pairs_folder, tmp_path):
    whole = with_steps(SUPERVISED, 2, data=dataclasses.replace(DATA, batch=4))
    first = weights(supervised.train(whole, pairs_folder, tmp_path / "a"))
    second = weights(supervised.train(dataclasses.replace(whole, accumulate=2), pairs_folder, tmp_path / "b"))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)
    with pytest.raises(UsageError, match="cannot be cut into 3 equal parts"):
        supervised.train(dataclasses.replace(whole, accumulate=3), pairs_folder, tmp_path / "c")


def test_a_broken_file_stops_or_is_passed_over_and_named(pairs_folder, tmp_path):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(pairs_folder, root)
    (root / "hazy/3.png").write_bytes((root / "hazy/3.png").read_bytes()[:100])
    with pytest.raises(ImageError, match=r"3\.png"):
        supervised.train(with_steps(SUPERVISED, 8), root, tmp_path / "stops")
    skipping = with_steps(SUPERVISED, 8, data=dataclasses.replace(DATA, on_error="skip"))
    with pytest.warns(UserWarning, match=r"3\.png"):
        supervised.train(skipping, root, tmp_path / "skips")


def test_shuffled_depth_is_the_depth_of_another_picture():
    batch = depth_fusion.Batch(
        torch.rand(2, 3, 8, 8),
        torch.rand(2, 3, 8, 8),
        torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]),
        torch.ones(2, dtype=torch.bool),
        (),
    )
    told = depth_fusion.shuffle_depth(batch)
    assert told.nearness[:, 0, 0, 0].tolist() == [1, 0]
    with pytest.raises(UsageError, match="batches of two or more"):
        depth_fusion.shuffle_depth(batch.parts(2)[0])


SCRIPT = """
import sys, torch
from tests.recipes.test_paired import SUPERVISED, weights, with_steps
from unhaze.recipes import supervised
import dataclasses
data = dataclasses.replace(SUPERVISED.data, batch=4)
config = with_steps(SUPERVISED, 3, data=data)
state = supervised.train(config, sys.argv[1], sys.argv[2])
from unhaze.training.distributed import is_main
assert is_main() == (__import__('os').environ['RANK'] == '0'), "known after the processes have parted"
torch.save(weights(state), sys.argv[2] + f"/{__import__('os').environ['RANK']}.pt")
"""


def test_two_processes_do_what_one_does_with_twice_the_batch(pairs_folder, tmp_path):
    alone = with_steps(SUPERVISED, 3, data=dataclasses.replace(DATA, batch=4))
    expected = weights(supervised.train(alone, pairs_folder, tmp_path / "alone"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "together"
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), "src", common.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SCRIPT, str(pairs_folder), str(out)]
    processes = [subprocess.Popen(command, env={**common, "RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=HUNG) for process in processes] == [0, 0]
    first, second = (torch.load(out / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_complete(name):
    recipe, config = preset(name)
    assert callable(recipe.main)
    assert config.steps > 0
    changed = override(config, {"seed": "7"})
    assert changed.seed == 7
