"""DCMPNet's training: which network learns from which loss in either variant, and exact resume."""

import copy
import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tests.patience import HUNG
from torch import nn

from unhaze.data.batch import Batch
from unhaze.depth.compact import CompactDepth
from unhaze.depth.dcmpnet_de import dcmpnet_de
from unhaze.depth.ra_depth import ra_depth
from unhaze.errors import UnknownNameError, UsageError, WeightsError, WeightsNotFoundError
from unhaze.losses import error_weights, softmax_weights, untrained_vgg19
from unhaze.models import dcmpnet
from unhaze.models.checkpoints.loading import load_network, load_weights, save_weights
from unhaze.models.dcmpnet import DCMPNet, DCMPNetPaper, stages_of
from unhaze.models.layers.window_transformer import transformer_blocks
from unhaze.recipes import mutual_promotion as paper
from unhaze.recipes import mutual_promotion_2023 as earlier
from unhaze.recipes import mutual_promotion_official as official
from unhaze.recipes.presets import preset
from unhaze.training import promotion
from unhaze.training.pairs import DataConfig
from unhaze.training.promotion import LossConfig, NetworkConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, set_rate

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "teacher": "true",
    "data": DataConfig(crop=32, batch=2, held_out=2, workers=0),
    "loss": LossConfig(contrastive=0.0),
    "optimizer": OptimizerConfig("adam", lr=1e-3, clip=1.0),
    "depth_optimizer": OptimizerConfig("adam", lr=1e-3, clip=1.0),
    "loop": LoopConfig(steps=3, checkpoint_every=2, log_every=1, validate_every=3),
    "device": "cpu",
}
PAPER, OFFICIAL, EARLIER = paper.Config(**SETTINGS), official.Config(**SETTINGS), earlier.Config(**SETTINGS)
BOTH = pytest.mark.parametrize(
    ("recipe", "config"),
    [(paper, PAPER), (official, OFFICIAL), (earlier, EARLIER)],
    ids=["paper", "official", "official-2023"],
)
# one of the two official procedures is enough for every run of the tests: their steps are resumed by the same code
RESUMED = pytest.mark.parametrize(
    ("recipe", "config"),
    [(paper, PAPER), pytest.param(official, OFFICIAL, marks=pytest.mark.slow), (earlier, EARLIER)],
    ids=["paper", "official", "official-2023"],
)


class SmallUNet(nn.Module):
    """Gives the maps that the U-Net gives, for a hundredth of its parameters."""

    norm = nn.BatchNorm2d

    def __init__(self, width):
        super().__init__()
        self.whole = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.Sequential(nn.Conv2d(3, width, 2, stride=2), self.norm(width))
        self.fourth = nn.Conv2d(width, 2 * width, 2, stride=2)

    def forward(self, image):
        half = self.second(image)
        return self.whole(image), half, self.fourth(half)


def one_block_each(width, _num_blocks, **_):
    return tuple(
        transformer_blocks(stage.channels, 1, heads, 2, share, conv="depthwise", network_blocks=5)
        for stage, heads, share in zip(stages_of(width), (2, 2, 2, 1, 1), (1, 1, 1, 0, 0), strict=True)
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(dcmpnet, "UNet", SmallUNet)
    monkeypatch.setattr(promotion, "UNet", SmallUNet)
    monkeypatch.setattr(dcmpnet, "local_global_levels", one_block_each)


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return untrained_vgg19("raw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo, hazy_photo):
    """Four pairs of 48x40 pixels as the data set ``folders`` has them."""
    root = tmp_path_factory.mktemp("data")
    for name in ("hazy", "clear"):
        (root / name).mkdir()
    for number in range(4):
        part = (slice(90 * number, 90 * number + 80), slice(120 * number, 120 * number + 96))
        for name, picture in (("hazy", hazy_photo[0]), ("clear", photo)):
            cv2.imwrite(str(root / name / f"{number}.png"), cv2.resize(picture[part], (48, 40)))
    return root


def batch_of(seed=0, known=(True, True), side=32):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 4, 4, generator=generator)
    clear = F.interpolate(coarse, size=(side, side), mode="bilinear").clamp(0, 1)
    near = F.interpolate(torch.rand(2, 1, 4, 4, generator=generator), size=(side, side), mode="bilinear")
    return Batch(clear * (0.3 + 0.7 * near) + 0.7 * (1 - near), clear, near, torch.tensor(known), ())


def copy_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    """Names of parameters that differ from a copy."""
    return {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}


# -- the official code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contrastive", [0.0, 1.0])
def test_official_gradients_are_those_of_one_sum(vgg, contrastive):
    """The step is cut where the losses meet the networks; the gradients must not notice."""
    config = dataclasses.replace(OFFICIAL, loss=LossConfig(contrastive=contrastive))
    state = official.setup(config, vgg19=vgg)
    batch = batch_of()
    official.add_all_gradients(state, batch, config)
    networks = nn.ModuleList((state.network, state.depth))
    found = {name: p.grad.clone() for name, p in networks.named_parameters() if p.grad is not None}
    networks.zero_grad()

    clear = 2 * batch.clear - 1
    restored = state.network(2 * batch.hazy - 1).image
    depth, weights = state.depth(restored), softmax_weights(restored - clear)
    total = F.l1_loss(restored, clear) + 0.1 * F.l1_loss(depth, batch.nearness)
    total = total + F.l1_loss(depth * weights, batch.nearness * weights) + F.l1_loss(depth, batch.nearness)
    if contrastive:
        total = total + state.contrastive(restored / 2 + 0.5, batch.clear, batch.hazy)
    total.backward()
    expected = {name: p.grad for name, p in networks.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():  # biases that a normalisation takes away again have rounding noise alone
        tolerance = 1e-3 * float(gradient.abs().max()) + 1e-6 * largest
        torch.testing.assert_close(found[name], gradient, atol=tolerance, rtol=0, msg=name)


def test_the_earlier_code_alternates_and_detaches():
    """Gradients of the one network do not depend on the other, but for A_e, which is of depth without gradient."""
    config, batch = EARLIER, batch_of()
    state = earlier.setup(config)
    dehazing, depth = copy.deepcopy(state.network), copy.deepcopy(state.depth)
    seen = {}

    def watch(optimizer, scaler, parameters, clip):
        seen[optimizer is state.optimizer] = [None if p.grad is None else p.grad.clone() for p in parameters]
        return torch.zeros(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(earlier, "descend", watch)
        earlier.step(state, batch, config)
    clear, target = 2 * batch.clear - 1, batch.nearness
    restored = dehazing(2 * batch.hazy - 1).image
    found = depth(restored.detach())
    shares = ((found - target).detach().flatten(1).softmax(1) + 1e-7).view_as(target)
    ((restored - clear).abs().mean() + (shares * restored - shares * clear).abs().mean()).backward()
    parts = (restored.detach() - clear).flatten(1).softmax(1) + 1e-7
    weights = parts.view_as(clear).sum(1, keepdim=True)
    ((found - target).abs().mean() + 0.1 * (weights * found - weights * target).abs().mean()).backward()
    for network, grads in ((dehazing, seen[True]), (depth, seen[False])):
        for parameter, grad in zip(network.parameters(), grads, strict=True):
            assert (parameter.grad is None) == (grad is None)
            if grad is not None:
                torch.testing.assert_close(grad, parameter.grad, rtol=1e-4, atol=1e-7)


def test_the_unet_terms_of_the_official_code_are_inert():
    plain, logged = (dataclasses.replace(OFFICIAL, inert_terms=value) for value in (False, True))
    states = [official.setup(config) for config in (plain, logged)]
    states[1].network.load_state_dict(states[0].network.state_dict())
    states[1].depth.load_state_dict(states[0].depth.state_dict())
    inert = copy_of(states[1].inert_unet)
    for number in range(2):
        values = [official.step(s, batch_of(number), c) for s, c in zip(states, (plain, logged), strict=True)]
    assert {f"inert_unet{i}" for i in (1, 2, 3)} == values[1].keys() - values[0].keys()
    assert all(values[1][f"inert_unet{i}"] > 0 for i in (1, 2, 3))
    assert values[0]["loss"] == values[1]["loss"]
    assert not changed(states[1].inert_unet, inert)
    for one, other in zip(states[0].network.parameters(), states[1].network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_official_depth_networks_are_two_and_one_never_sees_haze():
    state = official.setup(OFFICIAL)
    assert state.depth is not state.network.depth
    seen = []
    state.depth.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    before, inside = copy_of(state.depth), copy_of(state.network)
    batch = batch_of()
    official.step(state, batch, OFFICIAL)
    assert len(seen) == 1
    assert not torch.allclose(seen[0], 2 * batch.hazy - 1)
    assert changed(state.depth, before)
    assert {name for name in changed(state.network, inside) if name.startswith("depth.")}
    assert not any(name.startswith("unused.") for name in changed(state.network, inside))


def test_the_official_weights_hardly_count():
    state = official.setup(OFFICIAL)
    values = official.step(state, batch_of(), OFFICIAL)
    assert values["focused_depth"] < 2 * values["depth"] / 32**2


def test_the_official_teacher_is_shown_images_in_the_wrong_range():
    config = dataclasses.replace(OFFICIAL, data=DataConfig(crop=64, batch=2))
    torch.manual_seed(0)
    teacher = ra_depth(untrained=True, longest=64).eval().requires_grad_(False)
    state = official.setup(config, teacher=teacher)
    batch = batch_of(side=64, known=(False, False))
    expected = teacher.decoder(teacher.encoder(2 * batch.clear - 1))[0]
    found, known = promotion.clear_depth_of(state, batch, config)
    torch.testing.assert_close(found, expected)
    assert known.all()
    config = dataclasses.replace(PAPER, data=config.data)
    found, _ = promotion.clear_depth_of(paper.setup(config, teacher=teacher), batch, config)
    torch.testing.assert_close(found, teacher(batch.clear).map)


# -- the paper --------------------------------------------------------------------------------------------------------


def test_step_1_trains_the_depth_network_and_step_2_the_dehazing_network(monkeypatch):
    state = paper.setup(PAPER)
    assert state.depth is state.network.depth
    steps = {}
    for name in ("depth_step", "dehazing_step"):
        original = getattr(paper, name)

        def watched(*arguments, name=name, original=original):
            before, perceptrons = copy_of(state.network), copy_of(state.perceptrons)
            values = original(*arguments)
            steps[name] = changed(state.network, before), changed(state.perceptrons, perceptrons)
            return values

        monkeypatch.setattr(paper, name, watched)
    for number in range(2):
        paper.step(state, batch_of(number), PAPER)
    estimating, first_perceptron = steps["depth_step"]
    dehazing, second_perceptron = steps["dehazing_step"]
    assert estimating
    assert all(name.startswith("depth.") for name in estimating)
    assert {"head.weight", "unet.whole.weight", "enc1.0.mixer.value.weight"} <= dehazing
    assert not any(name.startswith("depth.") for name in dehazing)
    assert first_perceptron
    assert all(name.startswith("image.") for name in first_perceptron)
    assert second_perceptron
    assert all(name.startswith("depth.") for name in second_perceptron)


def test_the_depth_network_of_the_paper_sees_the_hazy_image_and_the_restored_one():
    state = paper.setup(PAPER)
    seen = []
    state.depth.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    batch = batch_of()
    paper.step(state, batch, PAPER)
    in_the_network, in_step_1, in_step_2 = seen
    hazy = 2 * batch.hazy - 1
    assert torch.equal(in_the_network, hazy)
    assert torch.equal(in_step_1[2:], hazy)
    assert torch.equal(in_step_1[:2], in_step_2)


def test_the_dehazing_loss_reaches_the_image_through_the_depth_network():
    """Eq. 12: the weights depend on the depth of u*, which depends on u*."""
    state = paper.setup(dataclasses.replace(PAPER, loss=LossConfig(contrastive=0.0, unet=0.0)))
    batch = batch_of()
    restored = (2 * batch.hazy - 1).requires_grad_()
    target = batch.nearness, batch.depth_known
    gradients = []
    for perceived in (True, False):
        image = restored.detach().clone().requires_grad_()
        leaf = image * 1.0
        captured = []
        leaf.register_hook(captured.append)
        if not perceived:
            state.perceptrons = nn.ModuleDict()
        # the optimiser of this state does not hold ``restored``, so only its gradient is looked at
        paper.dehazing_step(state, leaf, (), batch, target, dataclasses.replace(PAPER, loss=LossConfig(0.0, 0.0)))
        gradients.append(image.grad)
    assert not torch.allclose(*gradients, rtol=1e-3)


def test_perceptrons_climb_or_descend():
    """Trained against the loss the weights come to lie where the error is; trained with it they avoid it."""
    found = {}
    for perception in ("against", "with"):
        config = dataclasses.replace(PAPER, perception=perception)
        state = paper.setup(config)
        set_rate(state.depth_optimizer, 5e-3)
        for group in state.depth_optimizer.param_groups:  # the perceptron alone learns
            group["params"] = list(state.perceptrons["image"].parameters())
        batch = batch_of()
        restored = 2 * batch.clear - 1
        restored[..., :16] += 0.5  # badly restored on the left, where its depth is wrong, too
        near = state.depth(restored).detach()
        near[..., :16] += 1.0
        for _ in range(10):
            paper.depth_step(state, restored, batch, (near, batch.depth_known), config)
        weights = state.perceptrons["image"](restored - (2 * batch.clear - 1)).detach()
        assert float(weights.mean()) == pytest.approx(1, abs=1e-4)
        found[perception] = float(weights[..., 2:14].mean() / weights[..., 18:30].mean())
    assert found["against"] > 1.2
    assert found["with"] < 0.8


def test_weights_of_the_error_have_mean_one_and_no_gradient():
    difference = torch.randn(2, 3, 8, 6, requires_grad=True)
    weights = error_weights(difference)
    assert not weights.requires_grad
    assert weights.shape == (2, 1, 8, 6)
    torch.testing.assert_close(weights.mean(dim=(1, 2, 3)), torch.ones(2))
    size = difference[1].abs().sum(0)
    torch.testing.assert_close(weights[1, 0], 48 * size.exp() / size.exp().sum())


@pytest.mark.parametrize("perception", ["against", "error"])
def test_weights_can_be_taken_as_given(perception, monkeypatch):
    """Then u* has the gradient of the weighed L1 alone, and none that comes through the depth network."""
    config = dataclasses.replace(PAPER, perception=perception, detach_weights=True, loss=LossConfig(0.0, 0.0))
    state, batch, clear = paper.setup(config), batch_of(), 2 * batch_of().clear - 1
    restored = (clear + 0.3 * torch.randn_like(clear)).requires_grad_()
    state.depth.requires_grad_(False)
    with torch.no_grad():
        difference = state.depth(restored) - batch.nearness
        weights = paper.weights_of(state, "depth", difference, config)
    monkeypatch.setattr(paper, "descend", lambda *_: None)
    paper.dehazing_step(state, restored, (), batch, (batch.nearness, batch.depth_known), config)
    expected = weights * (restored - clear).sign() / restored.numel()
    torch.testing.assert_close(restored.grad, expected, rtol=1e-4, atol=1e-8)
    if perception == "error":
        assert not state.perceptrons
        return
    restored.grad = None
    paper.dehazing_step(
        state,
        restored,
        (),
        batch,
        (batch.nearness, batch.depth_known),
        dataclasses.replace(config, detach_weights=False),
    )
    assert (restored.grad - expected).abs().max() > 1e-5 * expected.abs().max()


def test_rows_of_table_2_without_depth_or_perception():
    plain = paper.setup(dataclasses.replace(PAPER, network=NetworkConfig(de=False)))
    assert plain.depth is None
    assert plain.depth_optimizer is None
    values = paper.step(plain, batch_of(known=(False, False)), PAPER)
    assert values.keys() == {"loss", "l1", "unet"}
    config = dataclasses.replace(PAPER, perception="off")
    state = paper.setup(config)
    batch = batch_of()
    with torch.no_grad():
        expected = F.l1_loss(state.network(2 * batch.hazy - 1).image, 2 * batch.clear - 1)
    assert paper.step(state, batch, config)["l1"] == pytest.approx(float(expected), rel=1e-5)


def test_the_unet_learns_from_equation_5_and_keeps_the_statistics_of_hazy_images():
    config = dataclasses.replace(PAPER, network=NetworkConfig(de=False))
    state = paper.setup(config)
    twin = paper.setup(dataclasses.replace(config, loss=LossConfig(0.0, 0.0)))
    batch = batch_of()
    values = paper.step(state, batch, config)
    paper.step(twin, batch, dataclasses.replace(config, loss=LossConfig(0.0, 0.0)))
    ours, theirs = state.network.unet, twin.network.unet
    assert values["unet"] > 0
    assert not torch.equal(ours.whole.weight, theirs.whole.weight)
    torch.testing.assert_close(ours.second[1].running_mean, theirs.second[1].running_mean)
    assert ours.second[1].momentum == 0.1


@BOTH
def test_pictures_without_depth_do_not_teach_it(recipe, config):
    state = recipe.setup(dataclasses.replace(config, perception="off"))
    before = copy_of(state.depth)
    values = recipe.step(state, batch_of(known=(False, False)), dataclasses.replace(config, perception="off"))
    assert values["depth"] == 0
    assert not changed(state.depth, before)
    assert values["l1"] > 0


# -- both -------------------------------------------------------------------------------------------------------------


@BOTH
def test_the_loss_falls(recipe, config):
    config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, steps=15))
    state = recipe.setup(config)
    values = [recipe.step(state, batch_of(), config) for _ in range(15)]
    assert all(value == value for each in values for value in each.values())
    for name in ("loss", "l1", "depth"):
        assert values[-1][name] < 0.9 * values[0][name], name


@BOTH
def test_bfloat16_trains(recipe, config):
    config = dataclasses.replace(config, precision="bf16")
    state = recipe.setup(config)
    batch = batch_of()
    as_loaded = batch._replace(hazy=batch.hazy.contiguous(memory_format=torch.channels_last))
    values = [recipe.step(state, as_loaded, config)["l1"] for _ in range(4)]
    assert values[-1] < values[0]
    assert all(parameter.dtype == torch.float32 for parameter in state.network.parameters())


def test_the_depth_of_clear_pictures_can_come_from_the_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    runs, forward = [], CompactDepth.forward
    monkeypatch.setattr(CompactDepth, "forward", lambda self, image: runs.append(image.shape) or forward(self, image))
    data = dataclasses.replace(PAPER.data, dataset="folders", validation="", held_out=1)
    config = dataclasses.replace(PAPER, teacher="cached:compact", data=data)
    first = paper.train(config, folder, tmp_path / "first")
    pictures = len(list((folder / "clear").iterdir()))
    assert first.teacher is None
    assert 0 < len(runs) <= pictures
    assert all(shape[-1] > 32 for shape in runs)  # whole pictures, not views
    before = len(runs)
    again = paper.train(config, folder, tmp_path / "again")
    assert len(runs) == before
    for one, other in zip(first.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_a_depth_network_no_depth_is_needed(folder, tmp_path):
    data = dataclasses.replace(PAPER.data, dataset="folders", validation="", held_out=1)
    config = dataclasses.replace(PAPER, network=NetworkConfig(de=False), data=data)
    assert paper.train(config, folder, tmp_path).depth is None


@pytest.mark.parametrize(("teacher", "message"), [("cached:ra-depth", "as it is"), ("true", "pictures without depth")])
def test_depth_that_cannot_be_had_is_refused_in_a_sentence(teacher, message, folder, tmp_path):
    data = dataclasses.replace(PAPER.data, dataset="folders", validation="", held_out=1)
    with pytest.raises(UsageError, match=message):
        paper.train(dataclasses.replace(PAPER, teacher=teacher, data=data), folder, tmp_path / "run")


def weights(state):
    parts = [state.network, state.depth, state.average.network]
    return torch.cat([value.flatten() for part in parts for value in part.state_dict().values()])


@RESUMED
def test_a_stopped_and_resumed_run_gives_the_same_weights(recipe, config, folder, tmp_path, monkeypatch, vgg):
    config = dataclasses.replace(
        config,
        teacher="compact",
        inert_terms=True,
        loss=LossConfig(contrastive=0.5),
        ema=0.9,
        data=dataclasses.replace(PAPER.data, dataset="folders", validation="", held_out=1),
    )
    monkeypatch.setattr(promotion, "load_vgg19", lambda *_, **__: vgg)
    whole = recipe.train(config, folder, tmp_path / "whole")
    original, calls = recipe.step, []

    def dies(state, batch, config):
        calls.append(state.steps_done)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(state, batch, config)

    monkeypatch.setattr(recipe, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, folder, tmp_path / "parts")
    resumed = recipe.train(config, folder, tmp_path / "parts", resume="auto")
    assert calls[3] == 2  # from the checkpoint, not from the start
    assert torch.equal(weights(whole), weights(resumed))
    lines, reference = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("parts", "whole")
    )
    assert [line.get("loss") for line in lines] == [line.get("loss") for line in reference]
    assert {"val_psnr", "val_ssim"} <= {key for line in lines for key in line}
    assert (tmp_path / "parts/strips/step-0000003.png").exists()
    assert (tmp_path / "parts/strips/step-0000003-depth.png").exists()
    assert {"val_depth_error", "val_depth_error_hazy"} <= {key for line in lines for key in line}


SMALL = NetworkConfig(width=8, num_blocks=(1, 2, 1, 1, 1), unet_width=4, depth_channels=(4, 6, 8, 8), depth_growth=4)


@BOTH
def test_small_networks_learn(recipe, config, folder, tmp_path, monkeypatch):
    monkeypatch.undo()  # the real network
    config = dataclasses.replace(
        config,
        network=SMALL,
        teacher="compact",
        loop=dataclasses.replace(config.loop, steps=2, validate_every=0),
        data=dataclasses.replace(config.data, dataset="folders", validation="", held_out=1),
    )
    start = recipe.setup(config).network
    kind = type(start)
    path = recipe.main(config, folder, tmp_path)
    sizes = {k: v for k, v in dataclasses.asdict(SMALL).items() if k not in promotion.SWITCHES}
    trained = kind(**sizes)
    load_weights(trained, path)
    assert {"head.weight", "unet.enter.0.weight", "depth.head.weight"} <= changed(trained, start.state_dict())
    assert recipe.describe(config)["parameters"] < 200_000
    with pytest.raises(UsageError, match="does not fit dcmpnet-de"):
        dcmpnet_de(tmp_path / "depth.safetensors")


def test_weights_of_another_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.undo()
    small, _ = promotion.create_networks(dataclasses.replace(PAPER, network=SMALL))
    path = save_weights(small.state_dict(), tmp_path / "small.safetensors", "dcmpnet-paper")
    with pytest.raises(WeightsError, match="does not fit DCMPNetPaper: "):
        load_weights(DCMPNetPaper(), path)
    with pytest.raises(WeightsError, match="does not resemble dcmpnet-paper"):
        load_network(path)


def test_the_sizes_are_those_of_all_networks(monkeypatch):
    monkeypatch.undo()
    config = dataclasses.replace(OFFICIAL, network=SMALL, inert_terms=True)
    state = official.setup(config)
    for depth in (state.depth, state.network.depth):
        assert [getattr(depth, f"down{i}").out_channels for i in (1, 2, 3, 4)] == list(SMALL.depth_channels)
        assert depth.block1.conv1.out_channels == SMALL.depth_growth
    for unet in (state.inert_unet, state.network.unet):
        assert unet.enter[0].out_channels == SMALL.unet_width
    assert [len(getattr(state.network, stage.name)) for stage in state.network.stages] == list(SMALL.num_blocks)
    assert state.network.stages == stages_of(SMALL.width)


def test_what_is_written_can_be_read(folder, tmp_path):
    config = dataclasses.replace(
        OFFICIAL,
        teacher="compact",
        loop=dataclasses.replace(OFFICIAL.loop, steps=1),
        data=dataclasses.replace(OFFICIAL.data, dataset="folders", validation="", held_out=1),
    )
    path = official.main(config, folder, tmp_path)
    load_weights(DCMPNet(), path)
    assert dcmpnet_de(tmp_path / "depth.safetensors").identity.startswith("dcmpnet-de/")
    of_paper = dataclasses.replace(PAPER, teacher="compact", loop=config.loop, data=config.data)
    path = paper.main(of_paper, folder, tmp_path / "paper")
    load_weights(DCMPNetPaper(), path)


def test_missing_weights_are_told_with_ways_out():
    with pytest.raises(WeightsNotFoundError, match=r"encoder|RA-Depth.*teacher=true.*teacher=compact"):
        paper.setup(dataclasses.replace(PAPER, teacher="ra-depth", data=DataConfig(crop=64)))


@pytest.mark.parametrize(
    ("changes", "error", "hint"),
    [
        ({"variant": "official"}, UsageError, "preset dcmpnet-official"),
        ({"perception": "on"}, UnknownNameError, "against"),
        ({"data": DataConfig(crop=48)}, UsageError, "multiple of 32"),
        ({"network": NetworkConfig(width=0)}, UsageError, r"network\.width is 0, but must be a number of at least 1"),
        ({"network": NetworkConfig(num_blocks=(1, 1))}, UsageError, r"network\.num_blocks.*5 numbers of at least 0"),
        ({"network": NetworkConfig(depth_channels=(4, 4, 4, 0))}, UsageError, r"network\.depth_channels.*4 numbers"),
        ({"teacher": "ra-depth"}, UsageError, "64"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, error, hint):
    with pytest.raises(error, match=hint):
        paper.setup(dataclasses.replace(PAPER, **changes))


def test_settings_that_the_official_code_does_not_have_are_refused():
    with pytest.raises(UsageError, match="preset dcmpnet-paper"):
        official.setup(dataclasses.replace(OFFICIAL, network=NetworkConfig(mfm=False)))
    with pytest.raises(UsageError, match="preset dcmpnet-paper"):
        dataclasses.replace(OFFICIAL, variant="paper")


def test_a_dry_run_counts():
    described = official.describe(OFFICIAL)
    assert described["depth_network_beside"] == 1_980_283
    assert described["samples"] == 6
    json.dumps(described)


@pytest.mark.parametrize(
    ("name", "recipe", "lr", "turn", "vertical"),
    [("dcmpnet-official", official, 1e-4, True, False), ("dcmpnet-paper", paper, 1e-3, False, True)],
)
def test_presets_are_what_was_published(name, recipe, lr, turn, vertical):
    module, config = preset(name)
    assert module is recipe
    assert (config.optimizer.lr, config.depth_optimizer.lr) == (lr, lr)
    assert (config.data.turn, config.data.vertical, config.data.crop, config.data.batch) == (turn, vertical, 256, 8)
    assert config.steps == 600 * 1748
    assert (config.schedule.shape, config.schedule.final) == ("cosine", 0.01)


def test_the_paper_is_trained_outdoors_for_sixty_epochs_and_without_mixed_precision():
    indoors, outdoors = (preset(name)[1] for name in ("dcmpnet-paper", "dcmpnet-paper-ots"))
    assert (outdoors.data.dataset, outdoors.steps) == ("reside-ots", 60 * (313_950 // 8))
    assert outdoors.optimizer == indoors.optimizer
    assert outdoors.precision == indoors.precision == "fp32"


def test_the_earlier_code_has_its_own_preset():
    module, config = preset("dcmpnet-official-2023")
    assert module is earlier
    assert (config.data.batch, config.data.edge_decay, config.optimizer.lr) == (5, 0.1, 1e-4)
    assert config.steps == 600 * (13_990 // 5)
    with pytest.raises(UsageError, match="the code of 2023"):
        dataclasses.replace(config, variant="paper")


def test_the_small_preset_needs_no_files_of_others(monkeypatch):
    monkeypatch.undo()  # the real network
    _, config = preset("dcmpnet-small")
    assert (config.data.dataset, config.teacher) == ("synthetic", "compact")
    assert paper.describe(config)["trained"] > 10_000_000


PROCESS = """
import sys
import torch
from torch import nn
from tests.recipes import test_mutual_promotion as shared
from unhaze.models import dcmpnet
from unhaze.training.distributed import rank

folder, out, variant = sys.argv[1:]
recipe, config = shared.shared_batch(variant)
shared.SmallUNet.norm = nn.InstanceNorm2d  # batch normalisation sees the share of its process
dcmpnet.UNet, dcmpnet.local_global_levels = shared.SmallUNet, shared.one_block_each
done = []
original = recipe.leave_processes
recipe.leave_processes = lambda: (done.append(rank()), original())
state = recipe.train(config, folder, out)
torch.save([state.network.state_dict(), state.depth.state_dict()], f"{out}-{done[0]}.pt")
"""


def shared_batch(variant):
    """A recipe with SGD, whose step is the gradient: Adam would turn rounding noise into steps of full size."""
    optimizer = OptimizerConfig("sgd", lr=0.02, betas=(0.9, 0.999), clip=1.0)
    data = dataclasses.replace(PAPER.data, dataset="folders", validation="", held_out=1)
    changes = {"teacher": "compact", "optimizer": optimizer, "depth_optimizer": optimizer}
    recipe, config = (paper, PAPER) if variant == "paper" else (official, OFFICIAL)
    return recipe, dataclasses.replace(config, data=data, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_two_processes_do_what_one_does_with_the_whole_batch(variant, folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def start(out, **environment):
        command = [sys.executable, "-c", PROCESS, str(folder), str(tmp_path / out), variant]
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return subprocess.Popen(command, env={**settings, **environment}, cwd=ROOT)

    both = [start("both", RANK=str(i), LOCAL_RANK=str(i), WORLD_SIZE="2") for i in range(2)]
    alone = start("alone")
    assert [process.wait(timeout=HUNG) for process in (*both, alone)] == [0, 0, 0]
    first, second, single = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("both-0", "both-1", "alone-0")
    )
    for part in range(2):
        for name, value in single[part].items():
            assert torch.equal(first[part][name], second[part][name]), name
            torch.testing.assert_close(
                first[part][name], value, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )
