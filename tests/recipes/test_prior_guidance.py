"""PSD's two stages: what is learnt from pairs, from photographs, and what is kept."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from unhaze.data.batch import Batch
from unhaze.errors import UsageError
from unhaze.losses import bright_channel_loss, dark_channel_energy, sky_loss
from unhaze.models.checkpoints import load_network
from unhaze.recipes import prior_guidance as recipe
from unhaze.recipes.presets import preset
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

FIRST = recipe.Config(
    network="psd-gcanet",
    data=DataConfig("folders", "", "", held_out=2, crop=32, batch=2),
    optimizer=OptimizerConfig("adam", 1e-3),
    schedule=ScheduleConfig("constant"),
    loop=LoopConfig(steps=4, checkpoint_every=2, log_every=1, validate_every=2),
    ema=0.9,
    device="cpu",
)
ALL = recipe.TermWeights(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def batch(seed=0):
    pictures = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(pictures[0], pictures[1], torch.zeros(2, 1, 32, 32), torch.zeros(2, dtype=torch.bool), ())


def hazed(seed=1):
    return 0.7 + 0.3 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def weights(state):
    parts = (state.network, state.average.network)
    return torch.cat([value.flatten().float() for part in parts for value in part.state_dict().values()])


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory, pairs_folder):
    """Weights of a first stage, in a file."""
    short = dataclasses.replace(FIRST, loop=dataclasses.replace(FIRST.loop, steps=1, validate_every=0))
    return recipe.main(short, pairs_folder, tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory, first_stage, pairs_folder):
    """Settings of a second stage on photographs in the layout of RTTS."""
    root = tmp_path_factory.mktemp("real")
    (root / "JPEGImages").mkdir()
    for name in ("0.png", "3.png", "7.png"):
        (root / "JPEGImages" / name).write_bytes((pairs_folder / "hazy" / name).read_bytes())
    return dataclasses.replace(FIRST, weights=str(first_stage), photographs=str(root), terms=ALL)


def test_the_first_stage_is_that_of_pairs():
    state, part = recipe.setup(FIRST), batch()
    torch.manual_seed(3)  # the airlight is estimated with dropout
    restored = state.network.restore(part.hazy)
    transmission, airlight = restored.aux["transmission"], restored.aux["airlight"]
    torch.manual_seed(3)
    values = recipe.step(state, part, None, FIRST)
    rehazed = transmission * restored.image + (1 - transmission) * airlight
    clear_loss = F.smooth_l1_loss(restored.image, part.clear)
    assert values["clear"] == pytest.approx(float(clear_loss.detach()), rel=1e-5)
    assert values["rehazed"] == pytest.approx(float(F.smooth_l1_loss(rehazed, part.hazy).detach()), rel=1e-5)
    assert set(values) == {"loss", "norm", "clear", "rehazed"}


def test_the_second_stage_has_every_term(second):
    state, part, real = recipe.setup(second), batch(), hazed()
    recipe.step(state, part, real, second)  # moves it away from what it remembers
    features = []
    state.network.transmission_head.register_forward_pre_hook(lambda _module, given: features.append(given[0]))
    state.memory.transmission_head.register_forward_pre_hook(lambda _module, given: features.append(given[0]))
    torch.manual_seed(3)
    with torch.no_grad():
        pairs, told = state.network.restore(part.hazy), state.network.restore(real)
        state.memory.restore(part.hazy)
        before = state.memory.restore(real)
    of_pairs, of_real, pairs_before, real_before = list(features)
    torch.manual_seed(3)
    values = recipe.step(state, part, real, second)
    transmission, airlight = told.aux["transmission"], told.aux["airlight"]

    def physics(image):
        return transmission * image + (1 - transmission) * airlight

    codes = (real * 255 + 0.5).to(torch.uint8).numpy()
    clahe = cv2.createCLAHE(3.0, (16, 16))
    spread = np.stack([[clahe.apply(plane) for plane in image] for image in codes])
    expected = {
        "clear": F.smooth_l1_loss(pairs.image, part.clear),
        "reconstruction": F.smooth_l1_loss(physics(told.image), real),
        "clahe": F.smooth_l1_loss(physics(torch.from_numpy(spread) / 255), real),
        "kept_pairs": F.smooth_l1_loss(of_pairs, pairs_before),
        "kept_photographs": F.smooth_l1_loss(of_real, real_before),
        "kept_sky": sky_loss(real, told.image, before.image),
        "dark": dark_channel_energy(real, transmission),
        "bright": bright_channel_loss(real, transmission),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(getattr(ALL, name) * float(value), rel=1e-3, abs=1e-7), name
    assert values["kept_photographs"] > 0
    total = sum(value for name, value in values.items() if name not in ("loss", "norm"))
    assert values["loss"] == pytest.approx(total, rel=1e-5)


def test_the_memory_stays_what_it_was(second, first_stage):
    state = recipe.setup(second)
    recipe.step(state, batch(), hazed(), second)
    remembered, _ = load_network(first_stage)
    for name, value in remembered.state_dict().items():
        assert torch.equal(value, state.memory.state_dict()[name]), name
    assert not torch.equal(weights(state)[:1000], weights(recipe.setup(second))[:1000])


@pytest.mark.parametrize("stage", [pytest.param("first", marks=pytest.mark.slow), "second"])
def test_a_killed_and_resumed_run_gives_the_same_weights(stage, second, pairs_folder, tmp_path, monkeypatch):
    config = FIRST if stage == "first" else second
    config = dataclasses.replace(config, loop=dataclasses.replace(FIRST.loop, steps=3, validate_every=0))
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


def test_a_run_is_one_of_its_photographs(second, pairs_folder, tmp_path):
    loop = dataclasses.replace(second.loop, steps=2)
    config = dataclasses.replace(second, loop=loop)
    recipe.train(config, pairs_folder, tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert any("bright" in line for line in log)
    other = tmp_path / "others/JPEGImages"
    other.mkdir(parents=True)
    (other / "9.png").write_bytes((pairs_folder / "hazy/9.png").read_bytes())
    longer = dataclasses.replace(config, photographs=str(other.parent), loop=dataclasses.replace(loop, steps=3))
    with pytest.raises(UsageError):
        recipe.train(longer, pairs_folder, tmp_path / "run", resume="auto")


def test_settings_that_cannot_work_are_refused(second, pairs_folder, tmp_path):
    for changes, words in (
        ({"accumulate": 2}, "accumulate=1"),
        ({"terms": recipe.TermWeights()}, "All weights"),
        ({"terms": recipe.TermWeights(kept_sky=1.0)}, "psd-ots"),
        ({"network": "aodnet"}, "tells no transmission"),
    ):
        with pytest.raises(UsageError, match=words):
            recipe.setup(dataclasses.replace(FIRST, **changes))
    without = dataclasses.replace(second, photographs="")
    with pytest.raises(UsageError, match="photographs=FOLDER"):
        recipe.train(without, pairs_folder, tmp_path / "run")
    with pytest.raises(UsageError, match="photographs=FOLDER"):
        recipe.step(recipe.setup(second), batch(), None, second)


def test_a_dry_run_needs_no_weights_and_no_photographs():
    _, published = preset("psd-rtts")
    small = dataclasses.replace(published, network="psd-gcanet", data=FIRST.data, device="cpu")
    assert recipe.rehearse(small)["seconds_per_step"] > 0
    assert recipe.describe(published)["config"]["terms"]["bright"] == 0.03


@pytest.mark.slow
@pytest.mark.parametrize("network", ["psd-msbdn", "psd-ffanet"])
def test_the_other_networks_of_psd_go_through_both_stages(network, second, pairs_folder, tmp_path):
    loop = dataclasses.replace(FIRST.loop, steps=2)
    first = dataclasses.replace(FIRST, network=network, loop=loop)
    path = recipe.main(first, pairs_folder, tmp_path / "first")
    config = dataclasses.replace(second, network=network, weights=str(path), loop=loop)
    assert load_network(recipe.main(config, pairs_folder, tmp_path / "second"))[1] == network
