"""Every network equals its official implementation, on weights derived from official key names."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")

from tests import parity  # noqa: E402

from unhaze.backbones import create_backbone  # noqa: E402
from unhaze.backbones._base import prepare, rename_keys  # noqa: E402
from unhaze.backbones.dcmpnet import UNET_KEYS, UNet  # noqa: E402
from unhaze.backbones.drsformer import ATTENTION_KEYS, SparseAttention  # noqa: E402
from unhaze.backbones.sadnet import BLOCK_KEYS, AttentionBlock  # noqa: E402
from unhaze.nn.dense_depth import DEPTH_KEYS, DenseDepthNetwork  # noqa: E402


def image_only(restored):
    return {"out": restored.image}


def image_and_aux(restored):
    return {"out": restored.image, **restored.aux}


def pyramid(restored):
    quarter, half = restored.pyramid
    return {"quarter": quarter, "half": half, "out": restored.image}


def scales(restored):
    return {"scale0": restored.pyramid[0], "scale1": restored.pyramid[1], "out": restored.image}


def dcmpnet(restored):
    return {"out": restored.image, **{f"d{4 - i}": restored.aux[f"unet{i}"] for i in (1, 2, 3)}}


def mitnet(restored):
    returned = ["stage1", "stage1_amplitude", "stage1_phase", None, "input_phase"]
    named = {f"out{i}": restored.aux[name] for i, name in enumerate(returned) if name}
    features = {
        f"out{5 + k}_{i}": restored.aux[f"{kind}{i}"] for k, kind in enumerate(("phase", "amplitude")) for i in range(3)
    }
    return {"out3": restored.image, **named, **features}


def selfpromer(restored):
    indices, loss = restored.aux["indices"], restored.aux["codebook_loss"]
    return {"out": restored.image, "indices": indices, "codebook_loss": loss.view(1)}


def extra_inputs(fixture, network):
    """What a network takes besides the image, and the outputs that belong to it."""
    shape, salt = fixture.manifest["input_shape"], fixture.manifest["salt"]
    height, width = shape[2:]
    if fixture.manifest["network"] != "selfpromer":
        return {}, {}
    if fixture.manifest["variant"] == "lq":
        salts = (salt, salt + 100)
        features = tuple(torch.from_numpy(parity.image((1, 256, height // 8, width // 8), s)) for s in salts)
        return {"depth_features": features}, {}
    depths = (torch.from_numpy(parity.image((1, 1, height, width), salt + s)) for s in (200, 300))
    features = tuple(network.encode_depth(depth) for depth in depths)
    return {"depth_features": features}, {"depth_quant_1": features[0], "depth_quant_2": features[1]}


# fixture -> (catalogue name, outputs by the fixture's names)
NETWORKS = {
    "aodnet-base": ("aodnet-base", image_only),
    "gcanet-base": ("gcanet-base", lambda r: {"out255": r.image, "residual": r.aux["residual"]}),
    "ffanet-base": ("ffanet-base", image_only),
    "c2pnet-base": ("c2pnet-base", image_only),
    **{f"dehazeformer-{size}": (f"dehazeformer-{size}", image_only) for size in "tsbm"},
    "oknet-its": ("oknet-base", pyramid),
    "convir-small_its": ("convir-s", scales),
    "convir-base_its": ("convir-b", scales),
    "fsnet-its": ("fsnet-its", scales),
    "gunet-t": ("gunet-t", image_only),
    "gunet-s": ("gunet-s", image_only),
    "deanet-train": ("deanet-train", image_only),
    "deanet-deploy": ("deanet-deploy", image_only),
    **{
        f"coa-{form}": (f"coa-{form}", image_and_aux) for form in ("train_rb1", "train_rb8", "deploy_rb1", "deploy_rb8")
    },
    "mitnet-its": ("mitnet-base", mitnet),
    "sadnet-base": ("sadnet-base", image_only),
    "dnmgdt-generator": ("dnmgdt-base", image_only),
    "dcmpnet-indoor": ("dcmpnet-official", dcmpnet),
    "drsformer-mefc": ("drsformer-mefc", image_only),
    "drsformer-spa": ("drsformer-spa", image_only),
    "selfpromer-lq": ("selfpromer-lq", selfpromer),
    "selfpromer-hq": ("selfpromer-hq", selfpromer),
    "sgdn-base": ("sgdnet-base", pyramid),
    "mb_taylorformer-b": ("mb_taylorformer-b", image_only),
    "mb_taylorformer-l": ("mb_taylorformer-l", image_only),
}


def build(fixture, name):
    """The network, filled; every official tensor must find its place and no place may stay empty."""
    network = create_backbone(name).eval()
    load(network, type(network).from_official(fixture.official_state()), fixture, type(network).from_official)
    return network


def load(module, state, fixture, rename):
    """Fill ``module``; only what is not filled may be missing (torch fills counters of batch normalisation itself)."""
    constants = rename(dict.fromkeys(fixture.manifest["constant"]))
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert unexpected == []
    assert set(missing) == constants.keys()


@pytest.mark.parametrize("fixture_name", NETWORKS)
def test_equals_the_official_code(fixture_name):
    fixture = parity.load(fixture_name)
    name, outputs = NETWORKS[fixture_name]
    network = build(fixture, name)
    with torch.no_grad():
        further, ours = extra_inputs(fixture, network)
        ours = ours | outputs(network(prepare(fixture.image(), network.contract), **further))
        if "out__float64" in fixture.arrays:
            # a near tie in a choice of the largest entries may fall either way in float32; float64 decides
            assert fixture.error("out", ours.pop("out")) < 1e-2
            ours["out__float64"] = network.double()(prepare(fixture.image().double(), network.contract)).image
    errors = {output: fixture.error(output, tensor) for output, tensor in ours.items()}
    print(fixture_name, errors)
    assert errors.keys() | {"out"} == {output for output in fixture.arrays if not output.startswith("converted")} | {
        "out"
    }
    assert {output: error for output, error in errors.items() if not error <= fixture.limit(output)} == {}


@pytest.mark.parametrize("fixture_name", [name for name in NETWORKS if "-train" in name])
def test_folding_is_exact(fixture_name):
    fixture = parity.load(fixture_name)
    network = build(fixture, NETWORKS[fixture_name][0])
    folded = network.folded()
    assert (
        folded.state_dict().keys()
        == create_backbone(NETWORKS[fixture_name][0].replace("train", "deploy")).state_dict().keys()
    )
    with torch.no_grad():
        x = prepare(fixture.image(), network.contract)
        out = folded(x).image
        torch.testing.assert_close(out, network(x).image, rtol=1e-5, atol=1e-5)
    assert fixture.error("converted_out", out) <= fixture.limit("converted_out")


@pytest.mark.parametrize("fixture_name", NETWORKS)
def test_dead_parameters_are_listed(fixture_name):
    fixture = parity.load(fixture_name)
    network = build(fixture, NETWORKS[fixture_name][0])
    dead = set(type(network).from_official(dict.fromkeys(fixture.manifest["no_gradient"])))
    listed = {n for n, _ in network.named_parameters() if any(re.search(pattern, n) for pattern in network.dead)}
    assert listed <= dead
    if listed < dead:  # some unit is dead with these weights only
        network(prepare(fixture.image(), network.contract)).image.sum().backward()
        gradients = {n: p.grad for n, p in network.named_parameters()}
        assert all(gradients[n] is None or not gradients[n].any() for n in dead)


@pytest.mark.parametrize("fixture_name", NETWORKS)
def test_has_as_many_parameters(fixture_name):
    manifest = parity.load(fixture_name).manifest
    network = create_backbone(NETWORKS[fixture_name][0])
    assert sum(p.numel() for p in network.parameters()) == manifest["parameters"]
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == manifest["trainable"]


def run_part(fixture_name, module, rules, image, **extra):
    """Errors of a part of a network that has a fixture of its own."""
    fixture = parity.load(fixture_name)
    module.eval()
    load(module, rename_keys(fixture.official_state(), rules), fixture, lambda state: rename_keys(state, rules))
    with torch.no_grad():
        out = module(image(fixture.image()))
    return fixture, out


def test_sadnet_block_equals_the_official_code():
    fixture, out = run_part("sadnet-sdeablock", AttentionBlock(32), BLOCK_KEYS, lambda x: 2 * x - 1)
    assert fixture.error("out", out) <= fixture.limit("out")


def test_drsformer_attention_equals_the_official_code():
    fixture, out = run_part("drsformer-attention", SparseAttention(48, 4), ATTENTION_KEYS, lambda x: 2 * x - 1)
    assert fixture.error("out", out) < 1e-2
    attention = SparseAttention(48, 4).double()
    attention.load_state_dict(rename_keys(fixture.official_state(), ATTENTION_KEYS))
    error = fixture.error("out__float64", attention(2 * fixture.image().double() - 1))
    print("drsformer-attention", error)
    assert error <= 1e-5


def test_dcmpnet_unet_equals_the_official_code():
    fixture, out = run_part("dcmpnet-unet", UNet(), UNET_KEYS, lambda x: 2 * x - 1)
    for name, x in zip(("d3", "d2", "d1"), out, strict=True):
        assert fixture.error(name, x) <= fixture.limit(name)


def test_dcmpnet_depth_network_equals_the_official_code():
    fixture, out = run_part("dcmpnet-depthnet", DenseDepthNetwork(), DEPTH_KEYS, lambda x: 2 * x - 1)
    assert fixture.error("out", out) <= fixture.limit("out")
