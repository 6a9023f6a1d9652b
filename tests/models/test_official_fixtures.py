"""Every network equals its official implementation, on weights derived from official key names."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")

from tests import parity  # noqa: E402

from unhaze.models.base import prepare, rename_keys  # noqa: E402
from unhaze.models.d4 import D4_KEYS, REHAZE_KEYS, DepthNet, RehazeNet  # noqa: E402
from unhaze.models.dcmpnet import UNET_KEYS, UNet  # noqa: E402
from unhaze.models.dehamer import MultiScaleBlock, multi_scale_keys  # noqa: E402
from unhaze.models.drsformer import ATTENTION_KEYS, SparseAttention  # noqa: E402
from unhaze.models.layers.dense_depth import DEPTH_KEYS, DenseDepthNetwork  # noqa: E402
from unhaze.models.networks import create_network  # noqa: E402
from unhaze.models.sadnet import BLOCK_KEYS, AttentionBlock  # noqa: E402


def image_only(restored):
    return {"out": restored.image}


def image_and_aux(restored):
    return {"out": restored.image, **restored.aux}


def pyramid(restored):
    quarter, half = restored.pyramid
    return {"quarter": quarter, "half": half, "out": restored.image}


def scales(restored):
    return {"scale0": restored.pyramid[0], "scale1": restored.pyramid[1], "out": restored.image}


def maxim(restored):
    first = {f"stage0_scale{i}": restored.aux[f"first{4 >> i}"] for i in range(3)}
    second = {f"stage1_scale{i}": image for i, image in enumerate(restored.pyramid)}
    return {**first, **second, "out": restored.image}


def psd(restored):
    physics = {"T": restored.aux["transmission"], "A": restored.aux["airlight"], "I": restored.aux["hazy"]}
    return {"J": restored.image, **physics}


def d4(restored):
    aux = restored.aux
    return {"out": restored.image, "d": aux["depth"], "t": aux["transmission"], "beta": aux["density"]}


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
    if fixture.manifest["network"] == "psd":
        image = torch.from_numpy(parity.image((1, 3, 256, 512), salt + 500))
        mapped = {"gcanet": 255 * image, "ffanet": image, "msbdn": 2 * image - 1}
        return {"airlight_from": mapped[fixture.manifest["variant"]]}, {}
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
    "aecrnet-base": ("aecrnet-base", image_only),
    "c2pnet-base": ("c2pnet-base", image_only),
    **{f"dehazeformer-{size}": (f"dehazeformer-{size}", image_only) for size in "tsbm"},
    "oknet-its": ("oknet-base", pyramid),
    "convir-small_its": ("convir-s", scales),
    "convir-base_its": ("convir-b", scales),
    "fsnet-its": ("fsnet-its", scales),
    **{f"psd-{base}": (f"psd-{base}", psd) for base in ("msbdn", "ffanet", "gcanet")},
    "dehamer-unet_emb": ("dehamer-base", image_only),
    "d4-dehaze": ("d4-indoor", d4),
    "maxim-2s": ("maxim-2s", maxim),
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


def input_of(fixture, contract):
    """The input, mapped as the official evaluation does (PSD's fixture on FFA-Net: not at all)."""
    return fixture.image() if fixture.manifest["input_mapping"] == "none" else prepare(fixture.image(), contract)


def build(fixture, name):
    """The network, filled; every official tensor must find its place and no place may stay empty."""
    network = create_network(name).eval()
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
        ours = ours | outputs(network(input_of(fixture, network.contract), **further))
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
        == create_network(NETWORKS[fixture_name][0].replace("train", "deploy")).state_dict().keys()
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
    dead = set(type(network).from_official(dict.fromkeys(fixture.manifest.get("no_gradient", ()))))
    listed = {n for n, _ in network.named_parameters() if any(re.search(pattern, n) for pattern in network.dead)}
    assert listed <= dead
    if listed < dead:  # some unit is dead with these weights only
        network(input_of(fixture, network.contract)).image.sum().backward()
        gradients = {n: p.grad for n, p in network.named_parameters()}
        assert all(gradients[n] is None or not gradients[n].any() for n in dead)


@pytest.mark.parametrize("fixture_name", NETWORKS)
def test_has_as_many_parameters(fixture_name):
    manifest = parity.load(fixture_name).manifest
    network = create_network(NETWORKS[fixture_name][0])
    assert sum(p.numel() for p in network.parameters()) == manifest["parameters"]
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == manifest["trainable"]


def run_part(fixture_name, module, rules, image, **extra):
    """Errors of a part of a network that has a fixture of its own."""
    fixture = parity.load(fixture_name)
    module.eval()
    load(module, rename_keys(fixture.official_state(), rules), fixture, lambda state: rename_keys(state, rules))
    with torch.no_grad():
        given = image(fixture.image())
        out = module(*given) if isinstance(given, tuple) else module(given)
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


def test_d4_depth_network_equals_the_official_code():
    fixture, out = run_part("d4-depth", DepthNet(), D4_KEYS, lambda x: x)
    assert fixture.error("d", out) <= fixture.limit("d")


def test_d4_hazing_network_equals_the_official_code():
    depth = 0.2 + 4.8 * torch.from_numpy(parity.image((1, 1, 64, 96), 200))
    network = RehazeNet()
    fixture, out = run_part("d4-rehaze", network, REHAZE_KEYS, lambda x: (x, depth, torch.full((1, 1, 1, 1), 1.2)))
    assert fixture.error("out", out) <= fixture.limit("out")


class WithSlope(torch.nn.Module):
    """A multi-scale block with the slope that the network hands to it."""

    def __init__(self):
        super().__init__()
        self.block, self.slope = MultiScaleBlock(32), torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.block(x, self.slope)


def test_dehamer_block_equals_the_official_code():
    rules = ((r"\.filt$", None), (r"^blocks\.\d\.0\.body\.1\.weight$", "slope"), *multi_scale_keys("", "block.", 32))
    fixture, out = run_part("dehamer-msrb", WithSlope(), rules, lambda x: 2 * x - 1)
    assert fixture.error("out", out) <= fixture.limit("out")
