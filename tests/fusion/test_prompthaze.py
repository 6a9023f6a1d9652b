"""The chain of prompts, against the same written plainly."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from tests.fusion import toy  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from unhaze.errors import UsageError  # noqa: E402
from unhaze.fusion import create_fusion  # noqa: E402
from unhaze.fusion.prompthaze import PromptHazeFusion, _averaged  # noqa: E402
from unhaze.models.layers.depth_view import DepthView  # noqa: E402


def test_fresh_weights():
    toy.check_fresh(PromptHazeFusion, "join")


def test_any_size():
    toy.check_sizes(PromptHazeFusion)


def test_copies_and_threads():
    toy.check_copies_and_threads(PromptHazeFusion)


def test_exports():
    toy.check_export(PromptHazeFusion)


def test_bands(monkeypatch):
    toy.check_bands(PromptHazeFusion, monkeypatch)


def means(x, size):
    """Averages over cells, each pixel first cut into as many parts as there are cells."""
    for axis, cells in zip((2, 3), size, strict=True):
        parts = x.repeat_interleave(cells, axis)
        x = torch.stack([part.mean(axis) for part in parts.chunk(cells, axis)], axis)
    return x


def fuse_naively(site, y, features, handed, strength):
    """One site: its output and the prompt that it leaves."""
    prompt = site.project(features)
    if handed is not None:
        prompt = prompt + site.take(handed)
    change = 0
    for update in site.rounds:
        seen = means(y + change, prompt.shape[2:])
        prompt = prompt + F.gelu(update.update(torch.cat((seen, prompt), 1)))
        hidden = F.gelu(update.gate[0](torch.cat((seen.mean((2, 3)), prompt.mean((2, 3))), 1)))
        gate = torch.sigmoid(update.gate[2](hidden))[..., None, None]
        large = F.interpolate(strength * gate * prompt, y.shape[2:], mode="bilinear", align_corners=False)
        scale, shift = F.conv2d(large, update.modulate.weight, padding=1).split(y.shape[1], 1)
        wide = F.gelu(F.conv2d((y + change) * scale + shift, update.restore[0].weight, padding=1))
        change = change + F.conv2d(wide, update.restore[2].weight, padding=1)
    return y + F.conv2d(change, site.join.weight), prompt


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_prompts_are_updated_and_handed_on(strength):
    net, given = toy.toy(PromptHazeFusion, strength=strength), [x.double() for x in toy.inputs()]
    toy.awaken(net.fusion)
    net.double()
    with torch.no_grad():
        first, second = net.fusion.sites["enc1"], net.fusion.sites["enc2"]
        out, prompt = fuse_naively(first, net.enc1(given[0]), given[3], None, strength)
        expected, _ = fuse_naively(second, net.enc2(net.down(out)), given[3], first.hand(prompt), strength)
        torch.testing.assert_close(net(*given), expected, rtol=1e-10, atol=1e-10)


def test_strength_0_is_the_network_without_depth():
    net, given = toy.toy(PromptHazeFusion), toy.inputs()
    toy.awaken(net.fusion)
    with torch.no_grad():
        assert not torch.equal(net(*given), toy.unfused(net, given))
        net.fusion.strength = 0
        assert torch.equal(net(*given), toy.unfused(net, given))


def test_strength_grows_from_there():
    net, given = toy.toy(PromptHazeFusion), toy.inputs()
    toy.awaken(net.fusion)
    plain, changes = toy.unfused(net, given), []
    with torch.no_grad():
        for strength in (0.01, 0.1, 0.5, 1.0):
            net.fusion.strength = strength
            changes.append(float((net(*given) - plain).norm()))
    assert changes == sorted(changes)
    assert 0 < changes[0] < 0.2 * changes[1]


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_strength_is_a_number_from_0(strength):
    net = toy.toy(PromptHazeFusion, strength=strength)
    with pytest.raises(UsageError, match="strength"):
        net(*toy.inputs())


def test_one_runner_serves_many_passes_and_recomputation():
    """What is handed on is written before it is read, so a second pass or a recomputed stage sees nothing stale."""
    net, (x, near, *features) = toy.toy(PromptHazeFusion), toy.inputs()[:4]
    toy.awaken(net.fusion)
    fuse = net.fusion.runner(DepthView(near, tuple(features)))

    def forward(run, x):
        return run("enc2", net.enc2, net.down(run("enc1", net.enc1, x)))

    with torch.no_grad():
        expected = forward(fuse, x)
        forward(fuse, -x)
        assert torch.equal(forward(fuse, x), expected)

    def gradients(run, around=lambda call: call()):
        net.zero_grad()
        around(lambda: forward(run, x)).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    plain = gradients(fuse)
    torch.testing.assert_close(gradients(fuse, lambda call: checkpoint(call, use_reentrant=False)), plain)


def test_only_between_sites_is_something_handed_on():
    alone = create_fusion("prompthaze", toy.STAGES[:1], toy.LEVELS)
    assert alone.sites["enc1"].take is None
    assert alone.sites["enc1"].hand is None


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (9, 2), (7, 11)])
def test_averages_over_cells(size):
    x = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(_averaged(x, size), means(x, size))


def test_a_part_of_the_picture_has_prompts_of_its_own_size():
    net, given = toy.toy(PromptHazeFusion), toy.inputs(32, 48)
    toy.awaken(net.fusion)
    view = DepthView(given[1], given[2:4]).crop(0, 0.5, 1, 1)
    seen = []
    net.fusion.sites["enc1"].rounds[0].register_forward_hook(lambda _m, _x, out: seen.append(out[1].shape))
    with torch.no_grad():
        net.fusion.runner(view)("enc1", net.enc1, given[0][..., 24:])
    assert seen == [(2, 6, 4, 3)]


@pytest.mark.parametrize(
    ("backbone", "parameters", "macs"),
    [
        ("mb_taylorformer-b", 1.18e6, 13.61e9),
        ("dehazeformer-m", 1.18e6, 12.44e9),
        ("oknet", 1.91e6, 21.33e9),
        ("coa-deploy_rb8", 1.91e6, 1.96e9),
        ("sgdnet", 1.91e6, 21.33e9),
    ],
)
def test_it_costs_what_the_papers_table_says(backbone, parameters, macs):
    toy.check_cost("prompthaze", backbone, parameters, macs)
