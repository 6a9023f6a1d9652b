"""Settings of P2: what its text says, and what is taken from each network's own preset."""

import json

import pytest
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.recipes.presets import list_presets, preset

BATCH = {  # P2, Table 7
    "mb_taylorformer": 32,
    "dehazeformer": 64,
    "mitnet": 32,
    "sadnet": 64,
    "oknet": 64,
    "deanet": 16,
    "dnmgdt": 64,
    "coa": 64,
    "sgdnet": 16,
}
RATE = {  # of the official codes: optimiser, rate, on RESIDE-6K
    "mb_taylorformer": ("adamw", 2e-4),
    "dehazeformer": ("adamw", 1e-4),
    "mitnet": ("adam", 2e-4),
    "sadnet": ("adam", 1e-4),
    "oknet": ("adam", 2e-4),
    "deanet": ("adam", 1e-4),
    "dnmgdt": ("adam", 2e-4),
    "coa": ("adam", 1e-4),
    "sgdnet": ("adamw", 4e-4),
}
CLIP = {"mb_taylorformer": 0.01, "oknet": 0.001}
FIVE = ("mb_taylorformer", "dehazeformer", "oknet", "coa", "sgdnet")  # the rows of Tables 1, 2 and 9


@pytest.mark.parametrize("name", BATCH)
def test_both_stages_are_there_with_the_networks_own_settings(name):
    _, second = preset(f"{name}+hgdf-6k")
    assert (second.data.dataset, second.data.crop, second.data.batch) == ("reside-6k", 256, BATCH[name])
    assert (second.optimizer.name, second.optimizer.lr) == RATE[name]
    assert second.optimizer.clip == CLIP.get(name, 0.0)
    assert second.ema == (0.999 if name == "sgdnet" else 0.0)
    assert not second.fresh
    recipe, first = preset(f"{name}-6k")
    assert first.network == second.model.partition("+")[0]
    assert first.loss == second.loss
    assert (first.optimizer.name, first.optimizer.lr) == RATE[name]
    if recipe.__name__.endswith("supervised") and name != "dehazeformer":
        assert first.data == second.data
        assert first.steps == 1000 * 6000 // BATCH[name]


def test_networks_do_not_share_one_loss():
    losses = {name: preset(f"{name}+hgdf-6k")[1].loss for name in BATCH}
    assert losses["sgdnet"].ssim == 0.5
    assert losses["deanet"].contrastive == losses["sadnet"].contrastive == 0.1
    assert losses["mitnet"].mutual_information > 0
    assert losses["dnmgdt"].l1 == 0
    assert losses["oknet"].frequency == 0.1


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize(("key", "dataset"), [("rw2ah", "rw2ah"), ("its", "reside-its"), ("ots", "reside-ots")])
def test_the_main_tables_have_presets(name, key, dataset):
    _, config = preset(f"{name}+hgdf-{key}")
    assert (config.data.dataset, config.data.batch) == (dataset, BATCH[name])
    rates = {("dehazeformer", "its"): 2e-4, ("dehazeformer", "ots"): 2e-4, ("dehazeformer", "rw2ah"): 2e-4}
    rates |= {("oknet", "ots"): 1e-4}
    assert config.optimizer.lr == rates.get((name, key), RATE[name][1])


@pytest.mark.parametrize(("key", "dataset", "network"), [("did", "did-data", "mefc"), ("spa", "spa-data", "spa")])
def test_rain_has_presets(key, dataset, network):
    _, config = preset(f"drsformer+hgdf-{key}")
    assert (config.data.dataset, config.model, config.data.crop) == (dataset, f"drsformer-{network}+hgdf", 128)
    assert config.optimizer.lr == 3e-4


def test_presets_of_a_second_stage_are_found_by_name():
    second = [name for name in list_presets() if "+hgdf-" in name]
    assert len(second) == 9 + 15 + 2
    assert not any(preset(name)[1].fresh for name in second)


TABLES = {  # rows of P2: settings
    "3, CFE+DAI": {"switches": "channel_gate,feed_forward,spatial_gate"},
    "3, +ASG": {"switches": "('channel_gate', 'feed_forward')"},
    "3, all": {},
    "4, fusion alone": {"freeze": "backbone"},
    "6, neither": {"switches": "zero_pre,zero_post"},
    "6, before": {"switches": "zero_post"},
    "6, after": {"switches": "zero_pre"},
    "Eq. 2, key alone": {"switches": "add_depth"},
    "Eq. 2, key of colour": {"switches": "depth_key"},
    "Eq. 2, addition alone": {"switches": "copy"},
    "1, +SelfPromer": {"model": "dehazeformer-t+selfpromer"},
    "1, +PromptHaze": {"model": "dehazeformer-t+prompthaze"},
}


@pytest.mark.parametrize("row", TABLES)
def test_every_row_can_be_trained_by_the_command(row):
    settings = {"data.crop": "32", "data.batch": "2", "loop.steps": "2", "schedule.periods": "(2,)"}
    settings |= {"schedule.finals": "(0.01,)", "schedule.shape": "cosine", "depth": "compact"} | TABLES[row]
    changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(app, ["train", "hgdf-small", "--dry-run", *changes], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    assert described["estimate"]["seconds_per_step"] > 0
    if "freeze" in TABLES[row]:
        assert described["trained"] < described["parameters"]
