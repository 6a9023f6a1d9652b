"""Prompts from depth differences, against attention written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.fusion import toy  # noqa: E402

from unhaze.fusion.selfpromer import SelfPromerFusion, SelfPromerSite  # noqa: E402
from unhaze.models.layers.depth_view import DepthView  # noqa: E402
from unhaze.types import DepthLevel, Stage  # noqa: E402


def test_fresh_weights():
    toy.check_fresh(SelfPromerFusion, "join")


def test_any_size():
    toy.check_sizes(SelfPromerFusion)


def test_copies_and_threads():
    toy.check_copies_and_threads(SelfPromerFusion)


def test_exports():
    toy.check_export(SelfPromerFusion, num_blocks=2)


def test_bands(monkeypatch):
    toy.check_bands(SelfPromerFusion, monkeypatch)


def site(channels=64, num_blocks=2):
    torch.manual_seed(0)
    built = SelfPromerSite(Stage("enc1", channels, 1), (DepthLevel(3, 8), DepthLevel(4, 8)), num_blocks)
    return toy.awaken(built).double()


def views(size=(2, 2)):
    generator = torch.Generator().manual_seed(0)

    def depth():
        features = tuple(torch.randn(1, c, *size, generator=generator, dtype=torch.float64) for c in (3, 4))
        return DepthView(torch.rand(1, 1, 8, 8, generator=generator, dtype=torch.float64), features)

    hazy, restored = depth(), depth()
    return DepthView(hazy.nearness, hazy.features, restored=restored)


def layer_norm(x, norm):
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return x * norm["weight"] + norm["bias"]


def gelu(x):
    return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()


def weights(module):
    """Arrays of a module by name, those of submodules nested."""
    arrays = {name: p.detach().numpy() for name, p in module.named_parameters(recurse=False)}
    return arrays | {name: weights(child) for name, child in module.named_children()}


def attend_naively(x, prompt, block, heads):
    """One block on the pixels of one window: lists of vectors."""
    w = weights(block)
    normed = [layer_norm(pixel, w["norm1"]) for pixel in x]
    queries = [w["query"]["weight"] @ (n + p) for n, p in zip(normed, prompt, strict=True)]
    keys, values = zip(*(np.split(w["key_value"]["weight"] @ n, 2) for n in normed), strict=True)
    out = []
    for pixel, query in zip(x, queries, strict=True):
        found = []
        for head in range(heads):
            part = slice(head * len(query) // heads, (head + 1) * len(query) // heads)
            scores = np.array([query[part] @ key[part] for key in keys]) / np.sqrt(len(query) / heads)
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            found.append(sum(s * value[part] for s, value in zip(shares, values, strict=True)))
        pixel = pixel + w["project"]["weight"] @ np.concatenate(found) + w["project"]["bias"]
        hidden = gelu(w["mlp"]["0"]["weight"] @ layer_norm(pixel, w["norm2"]) + w["mlp"]["0"]["bias"])
        out.append(pixel + w["mlp"]["2"]["weight"] @ hidden + w["mlp"]["2"]["bias"])
    return out


def test_it_is_the_published_attention_within_windows():
    built, view = site(), views()
    y = torch.randn(1, 64, 9, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        ours = built(lambda x: x, y, view)
        gap = (view.features[1] - view.restored.features[1]).abs()
        embedded = torch.nn.functional.interpolate(
            torch.nn.functional.gelu(built.project(gap)), (9, 10), mode="bilinear", align_corners=False
        )
        prompt = built.embed(embedded) * y
    maps = [np.pad(m[0].numpy(), ((0, 0), (0, 7), (0, 6)), "reflect") for m in (y + prompt, prompt)]
    out = np.zeros((64, 16, 16))
    for top in (0, 8):
        for left in (0, 8):
            x, p = (list(m[:, top : top + 8, left : left + 8].reshape(64, 64).T) for m in maps)
            for block in built.blocks:
                x = attend_naively(x, p, block, heads=2)
            out[:, top : top + 8, left : left + 8] = np.array(x).T.reshape(64, 8, 8)
    with torch.no_grad():
        expected = y + built.join(torch.from_numpy(out[None, :, :9, :10]))
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("channels", "heads"), [(3, 1), (24, 1), (64, 2), (72, 2), (96, 3), (110, 2), (256, 8)])
def test_heads_divide_any_width(channels, heads):
    assert site(channels, 1).blocks[0].num_heads == heads


def test_without_a_restoration_the_stage_runs_alone():
    built, view = site(), views()
    y = torch.randn(1, 64, 8, 8, dtype=torch.float64)
    alone = DepthView(view.nearness, view.features)
    assert torch.equal(built(torch.neg, y, alone), -y)


def test_the_sign_of_the_difference_does_not_matter():
    built, view = site(), views()
    y = torch.randn(1, 64, 8, 8, dtype=torch.float64)
    turned = DepthView(view.restored.nearness, view.restored.features, restored=DepthView(view.nearness, view.features))
    with torch.no_grad():
        assert torch.equal(built(torch.neg, y, view), built(torch.neg, y, turned))


def test_it_compares():
    assert SelfPromerFusion.compares


@pytest.mark.parametrize(
    ("backbone", "parameters", "macs"),
    [
        ("mb_taylorformer-b", 703e3, 9.24e9),
        ("dehazeformer-m", 703e3, 8.34e9),
        ("oknet", 1.09e6, 13.82e9),
        ("coa-deploy_rb8", 1.09e6, 1.49e9),
        ("sgdnet", 1.09e6, 13.82e9),
    ],
)
def test_it_costs_what_the_papers_table_says(backbone, parameters, macs):
    toy.check_cost("selfpromer", backbone, parameters, macs)
