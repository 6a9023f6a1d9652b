"""A network of two stages, depth for it, and what a fusion module must do with both."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.networks import on_meta
from torch import nn

from unhaze.evaluation.cost.convention import count_calls
from unhaze.evaluation.cost.fusion import DEPTH_ANYTHING_SMALL
from unhaze.fusion import create_fusion
from unhaze.models.guided import default_sites
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.stage import run_block
from unhaze.models.networks import resolve_network
from unhaze.types import DepthLevel, Stage

LEVELS = (DepthLevel(5, 8), DepthLevel(6, 8))
STAGES = (Stage("enc1", 6, 1), Stage("enc2", 12, 2))


class Toy(nn.Module):
    """Two stages; ``fusion`` may act at both."""

    def __init__(self, fusion=None):
        super().__init__()
        self.fusion = fusion
        self.enc1 = nn.Conv2d(6, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 12, 3, stride=2, padding=1)
        self.enc2 = nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x, near, first, second, near_restored, first_restored, second_restored):
        view = DepthView(near, (first, second), restored=DepthView(near_restored, (first_restored, second_restored)))
        run = run_block if self.fusion is None else self.fusion.runner(view)
        return run("enc2", self.enc2, self.down(run("enc1", self.enc1, x)))


def toy(kind, **switches):
    torch.manual_seed(0)
    return Toy(kind(STAGES, LEVELS, **switches)).eval()


def inputs(height=19, width=27, batch=2, seed=0):
    """Features, depth of the picture, depth of the restoration."""
    generator = torch.Generator().manual_seed(seed)
    small = [max(1, -(-side // 8)) for side in (height, width)]

    def depth():
        near = torch.rand(batch, 1, height, width, generator=generator)
        return near, *(torch.randn(batch, level.channels, *small, generator=generator) for level in LEVELS)

    return (torch.randn(batch, 6, height, width, generator=generator), *depth(), *depth())


def awaken(module, seed=1):
    """Weights that are no longer zero, large enough for every part to show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return module


def unfused(net, given):
    with torch.no_grad():
        return net.enc2(net.down(net.enc1(given[0])))


def check_fresh(kind, output_layer):
    """Fresh weights change nothing, bit for bit; the output layer learns first, everything after one step."""
    net, given = toy(kind), inputs()
    assert torch.equal(net(*given), unfused(net, given))

    def gradients():
        net.zero_grad()
        net(*given).square().mean().backward()
        return {n for n, p in net.fusion.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}

    first = gradients()
    assert first == {n for n, _ in net.fusion.named_parameters() if f".{output_layer}." in n}
    with torch.no_grad():
        for n, p in net.fusion.named_parameters():
            if n in first:
                p -= 0.1 * p.grad / p.grad.norm()
    assert gradients() == {n for n, _ in net.fusion.named_parameters()}


def check_sizes(kind):
    """Any size; and a batch is its pictures."""
    net = toy(kind)
    awaken(net.fusion)
    for size in ((2, 2), (1, 7), (9, 16), (33, 5)):
        given = inputs(*size)
        with torch.no_grad():
            both = net(*given)
            one = net(*(x[1:] for x in given))
        assert both.isfinite().all()
        assert both.shape[-2:] == unfused(net, given).shape[-2:]
        torch.testing.assert_close(one, both[1:], rtol=1e-4, atol=1e-5)


def check_copies_and_threads(kind):
    net = toy(kind)
    awaken(net.fusion)
    cases = [inputs(seed=seed) for seed in range(4)]
    with torch.no_grad():
        alone = [net(*given) for given in cases]
        twin = copy.deepcopy(net)
        assert torch.equal(twin(*cases[0]), alone[0])
        awaken(twin.fusion, seed=2)
        assert not torch.equal(twin(*cases[0]), alone[0])

    def run(given):
        with torch.no_grad():
            return net(*given)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, cases * 3))
    for i, result in enumerate(together):
        torch.testing.assert_close(result, alone[i % 4], rtol=1e-5, atol=1e-6)


def check_export(kind, **switches):
    net, given = toy(kind, **switches), inputs(seed=3)
    awaken(net.fusion)
    exported = torch.export.export(net, inputs()).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(*given), net(*given), rtol=1e-4, atol=1e-5)


def check_bands(kind, monkeypatch):
    """Large pictures are computed in bands, to the same result."""
    net, given = toy(kind), inputs(67, 21)
    awaken(net.fusion)
    with torch.no_grad():
        whole = net(*given)
        monkeypatch.setattr("unhaze.models.layers.bands.BAND", 1)
        torch.testing.assert_close(net(*given), whole, rtol=1e-4, atol=1e-5)


def check_cost(fusion, backbone, parameters, macs):
    """What a module adds is what P2, Table 1, prints, to a tenth; 224x224, depth of a 518x518 estimate."""
    name = resolve_network(backbone)
    stages = [stage for stage in on_meta(name).stages if stage.name in default_sites(name)]
    with torch.device("meta"):
        module = create_fusion(fusion, stages, DEPTH_ANYTHING_SMALL).eval()
        view = DepthView(torch.empty(1, 1, 518, 518), tuple(torch.empty(1, 384, 37, 37) for _ in range(4)))
        run = module.runner(DepthView(view.nearness, view.features, restored=view))
        maps = [torch.empty(1, stage.channels, 224 // stage.stride, 224 // stage.stride) for stage in stages]

    def call():
        for stage, x in zip(stages, maps, strict=True):
            run(stage.name, lambda y: y, x)

    count = count_calls(module, call)
    assert count.parameters == pytest.approx(parameters, rel=0.1)
    assert count.macs == pytest.approx(macs, rel=0.1)
