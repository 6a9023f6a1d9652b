"""SelfPromer in two stages: what each learns, what stays, exact resume."""

import dataclasses
import json

import pytest
import torch
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.data.batch import Batch
from unhaze.errors import UnknownNameError, UsageError, WeightsNotFoundError
from unhaze.losses import UNetDiscriminator
from unhaze.metrics.functional.lpips import CONVOLUTIONS, LpipsNetwork
from unhaze.models.aodnet import AODNet
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.selfpromer import SelfPromer
from unhaze.recipes import self_prompt as recipe
from unhaze.recipes.presets import preset
from unhaze.training import prompting
from unhaze.training.loss import LossConfig
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, rate_factor

FIRST = recipe.Config(
    data=DataConfig("folders", "", "", held_out=1, crop=32, batch=1),
    optimizer=OptimizerConfig("adam", 1e-4),
    loop=LoopConfig(steps=2, checkpoint_every=1, log_every=1, validate_every=2),
    perceptual=0.0,
    discriminator_channels=4,
    ema=0.0,
    device="cpu",
)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    networks = {
        "selfpromer-hq": lambda: SelfPromer(restores=False, num_blocks=1, codebook=16),
        "selfpromer-lq": lambda: SelfPromer(num_blocks=1, codebook=16),
        "aodnet-base": AODNet,
    }
    monkeypatch.setattr(prompting, "create_network", lambda name: networks[name]())


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("prior") / "hq.safetensors"
    save_weights(SelfPromer(restores=False, num_blocks=1, codebook=16).state_dict(), path, "selfpromer-hq")
    return path


@pytest.fixture
def second(autoencoder):
    return dataclasses.replace(
        FIRST,
        network="selfpromer-lq",
        stage="restoration",
        autoencoder_weights=str(autoencoder),
        loss=LossConfig(ssim=0.4),
    )


def batch(seed=0):
    pictures = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(pictures[0], pictures[1], torch.zeros(1, 1, 32, 32), torch.zeros(1, dtype=torch.bool), ())


def weights(state):
    parts = (state.network, state.average.network, state.discriminator)
    return torch.cat([value.flatten().float() for part in parts for value in part.state_dict().values()])


def test_the_autoencoder_sees_clear_pictures_alone():
    values = recipe.step(recipe.setup(FIRST), batch(), FIRST)
    other = recipe.step(recipe.setup(FIRST), batch()._replace(hazy=torch.zeros(1, 3, 32, 32)), FIRST)
    assert values == other
    assert {"l1", "codebook", "adversarial", "discriminator"} <= set(values)
    assert "perceptual" not in values


def test_the_second_stage_keeps_codes_and_decoder_and_learns_the_rest(second, autoencoder):
    state, begun = recipe.setup(second), recipe.setup(second).network.state_dict()
    prior = state.autoencoder.state_dict()
    for name in ("codes.weight", "dec1.res1.conv1.weight", "up3.weight", "leave_codes.weight", "head.bias"):
        assert torch.equal(begun[name], prior[name]), name
    assert torch.equal(begun["enc1.res1.conv1.weight"], prior["enc1.res1.conv1.weight"])  # begins there, and learns
    assert begun["stem.weight"].shape != prior["stem.weight"].shape
    recipe.step(state, batch(), second)
    after = state.network.state_dict()
    moved = {name.partition(".")[0] for name in begun if not torch.equal(begun[name], after[name])}
    assert {"stem", "enc1", "mid", "enter_codes", "align1", "guide1"} <= moved
    assert not moved & {"codes", "leave_codes", "up1", "up2", "up3", "dec1", "dec2", "dec3", "head"}
    assert all(torch.equal(prior[name], value) for name, value in state.autoencoder.state_dict().items())


def test_the_prompt_is_made_of_both_depths_and_codes_of_the_clear_picture(second):
    state, part = recipe.setup(second), batch(1)
    restored, wanted = recipe.run_network(state, part)
    hazy, clear = (state.autoencoder.encode_depth(recipe.depth_of(state, each)) for each in (part.hazy, part.clear))
    expected = state.network(part.hazy, depth_features=(hazy, clear))
    assert torch.equal(restored.image, expected.image)
    assert torch.equal(wanted, state.autoencoder(part.clear).aux["indices"])
    assert not torch.equal(restored.image, state.network(part.hazy).image)
    latent, codes = restored.aux["latent"], state.network.codes(wanted[:, 0])
    rows, aims = latent[0].flatten(1).t(), codes[0].flatten(0, 1)
    by_hand = 0.25 * ((rows - aims) ** 2).mean()
    by_hand = by_hand + ((rows.t() @ rows - aims.t() @ aims) / len(rows)).square().mean()
    assert float(recipe.code_term(state, restored, wanted).detach()) == pytest.approx(float(by_hand.detach()), rel=1e-4)


def test_lpips_counts_where_it_is_given(monkeypatch):
    torch.manual_seed(0)
    features = {
        f"features.{index}.{part}": torch.randn((outputs, inputs, kernel, kernel) if part == "weight" else (outputs,))
        / 50
        for inputs, outputs, kernel, _, _, index in CONVOLUTIONS
        for part in ("weight", "bias")
    }
    network = LpipsNetwork(features)
    monkeypatch.setattr(recipe, "load_lpips", lambda path: network)
    config = dataclasses.replace(FIRST, perceptual=2.0)
    state = recipe.setup(config)
    restored, _ = recipe.run_network(state, batch())
    values = recipe.step(state, batch(), config)
    assert values["perceptual"] == pytest.approx(2 * float(network(restored.image, batch().clear).detach()), rel=1e-4)
    assert values["perceptual"] > 0


@pytest.mark.parametrize("stage", ["autoencoder", pytest.param("restoration", marks=pytest.mark.slow)])
def test_a_killed_and_resumed_run_gives_the_same_weights(stage, second, pairs_folder, tmp_path, monkeypatch):
    config = FIRST if stage == "autoencoder" else second
    whole = weights(recipe.train(config, pairs_folder, tmp_path / "whole"))
    original, calls = recipe.discriminate, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(recipe, "discriminate", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, pairs_folder, tmp_path / "parts")
    assert torch.equal(whole, weights(recipe.train(config, pairs_folder, tmp_path / "parts", resume="auto")))


def test_a_restoration_is_validated_without_the_clear_picture(second, pairs_folder, tmp_path):
    once = dataclasses.replace(second, loop=LoopConfig(steps=1, log_every=1))
    path = recipe.main(once, pairs_folder, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    (score,) = [line["val_psnr"] for line in lines if "val_psnr" in line]
    assert score > 0
    assert path.is_file()


def test_the_discriminator_tells_of_every_pixel():
    discriminator = UNetDiscriminator(4)
    assert discriminator(torch.rand(2, 3, 24, 16)).shape == (2, 1, 24, 16)
    assert sum(p.numel() for p in UNetDiscriminator().parameters()) == 4_376_897  # that of Real-ESRGAN


def test_what_is_missing_or_does_not_fit_is_said(second):
    with pytest.raises(WeightsNotFoundError, match="--set autoencoder_weights=FILE"):
        recipe.setup(dataclasses.replace(second, autoencoder_weights=""))
    with pytest.raises(UsageError, match="network=selfpromer-lq"):
        recipe.setup(dataclasses.replace(second, network="selfpromer-hq"))
    with pytest.raises(UsageError, match="network=selfpromer-hq"):
        recipe.setup(dataclasses.replace(FIRST, network="aodnet"))
    with pytest.raises(UsageError, match="depth=NAME"):
        recipe.setup(dataclasses.replace(second, depth="stored"))
    with pytest.raises(UnknownNameError, match="stage of SelfPromer"):
        recipe.setup(dataclasses.replace(FIRST, stage="third"))
    with pytest.raises(UsageError, match="accumulate=1"):
        recipe.setup(dataclasses.replace(FIRST, accumulate=2))


@pytest.mark.parametrize("name", ["selfpromer-hq-its", pytest.param("selfpromer-lq-its", marks=pytest.mark.slow)])
def test_a_dry_run_needs_no_weights(name):
    small = ("data.crop=32", "data.batch=1", "discriminator_channels=4")
    sets = [part for each in small for part in ("--set", each)]
    result = CliRunner().invoke(app, ["train", name, "--dry-run", *sets], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["estimate"]["seconds_per_step"] > 0


def test_the_settings_are_those_of_the_official_code():
    first, second = (preset(f"selfpromer-{name}-its")[1] for name in ("hq", "lq"))
    assert (first.data.batch, first.steps, first.discriminator_optimizer.lr) == (6, 500_000, 4e-4)
    assert (second.data.batch, second.steps, second.discriminator_optimizer.lr) == (10, 402_000, 1e-4)
    assert (second.loss.l1, second.loss.ssim, second.perceptual, second.adversarial) == (1.0, 0.4, 1.0, 0.1)
    assert [rate_factor(second.schedule, step, 402_000) for step in (0, 30_000, 90_000, 400_000)] == [
        1,
        0.5,
        0.25,
        0.125,
    ]
