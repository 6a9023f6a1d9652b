"""DGAM and DPFM, against what the official code computed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tests import parity  # noqa: E402
from tests.fusion import toy  # noqa: E402

from unhaze.fusion.udpnet import DepthGuidedAttention, DepthPriorFusion, UDPNetFusion, depth_refinement  # noqa: E402
from unhaze.models.base import rename_keys  # noqa: E402

DGAM_KEYS = (
    (r"^attention\.conv_block\.0\.bias$", None),  # cancels in the normalisation
    (r"^attention\.conv_block\.0\.", "conv."),
    (r"^attention\.semantic_attention\.2\.", "weigh.0."),
    (r"^attention\.semantic_attention\.4\.", "weigh.2."),
    (r"^depth_refinement\..*", None),
)
REFINEMENT_KEYS = ((r"^depth_refinement\.refinement\.", ""), (r"^attention\..*", None))
DPFM_KEYS = (
    (r"\.relative_position_bias_table$", None),  # one number for all products of a head: no effect
    (r"^fusion\.0\.main\.3\.main\.0\.bias$", None),  # cancels in the normalisation
    *((rf"^fusion\.0\.main\.{i}\.main\.0\.", f"embed.{2 * i}.") for i in range(4)),
    (r"^fusion\.0\.main\.4\.weight$", "scale"),
    (r"^fusion\.0\.main\.4\.bias$", "shift"),
    (r"^fusion\.0\.ocab\.depth_proj\.", "attention.query."),
    (r"^fusion\.0\.ocab\.qkv\.", "attention.key_value."),
    (r"^fusion\.0\.ocab\.proj\.", "attention.project."),
    (r"^fusion\.0\.ocab\.mlp\.fc1\.", "attention.mlp.0."),
    (r"^fusion\.0\.ocab\.mlp\.fc2\.", "attention.mlp.2."),
    (r"^fusion\.0\.ocab\.", "attention."),
)


def fill(module, state):
    """Official tensors, some of which lie in memory in another shape."""
    own = module.state_dict()
    state = {key: tensor.view_as(own[key]) for key, tensor in state.items()}
    module.load_state_dict(state)
    return module


def test_dgam_is_the_official_one():
    fixture = parity.load("udpnet-dgam")
    state, given = fixture.official_state(), fixture.image()
    refine = fill(depth_refinement(), rename_keys(state, REFINEMENT_KEYS))
    attend = fill(DepthGuidedAttention(4, 4), rename_keys(state, DGAM_KEYS))
    with torch.no_grad():
        refined = refine(given[:, 3:])
        out = attend(torch.cat((given[:, :3], refined), 1))
    assert fixture.error("refined", refined) <= 1e-5
    assert fixture.error("out", out) <= 1e-5


@pytest.mark.parametrize("band", [None, 1])
def test_dpfm_is_the_official_one(band, monkeypatch):
    if band:
        monkeypatch.setattr("unhaze.models.layers.bands.BAND", band)
    fixture = parity.load("udpnet-dpfm")
    state, given = rename_keys(fixture.official_state(), DPFM_KEYS), fixture.image()
    for kind in ("weight", "bias"):  # the first third are queries that nothing uses
        key = f"attention.key_value.{kind}"
        state[key] = state[key][32:]
    fuse = fill(DepthPriorFusion(32), state)
    with torch.no_grad():
        out = fuse(given[:, :32] * 2 - 1, given[:, 32:])
    assert fixture.error("out", out) <= 1e-5


def test_fresh_weights():
    toy.check_fresh(UDPNetFusion, "join")


def test_any_size():
    toy.check_sizes(UDPNetFusion)


def test_copies_and_threads():
    toy.check_copies_and_threads(UDPNetFusion)


def test_exports():
    toy.check_export(UDPNetFusion)


def test_bands(monkeypatch):
    toy.check_bands(UDPNetFusion, monkeypatch)


@pytest.mark.parametrize(("dgam", "dpfm"), [(True, False), (False, True)])
def test_each_part_works_alone(dgam, dpfm):
    net, given = toy.toy(UDPNetFusion, dgam=dgam, dpfm=dpfm), toy.inputs()
    assert torch.equal(net(*given), toy.unfused(net, given))
    toy.awaken(net.fusion)
    other = list(given)
    other[1] = 1 - given[1]
    with torch.no_grad():
        assert not torch.allclose(net(*given), net(*other)), "depth matters"


def test_a_gate_weighs_whole_channels():
    torch.manual_seed(0)
    attend = DepthGuidedAttention(4, 3)
    x = torch.rand(2, 4, 9, 7)
    with torch.no_grad():
        ratio = attend(x) / x[:, :3]
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))
    assert 0 < ratio.min() < ratio.max() < 1
