"""Networks with a fusion module: building, depth of every kind, tiles, freezing, files."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.networks import image, relative  # noqa: E402

from unhaze.depth.base import DepthEstimator  # noqa: E402
from unhaze.errors import UnknownNameError, UsageError  # noqa: E402
from unhaze.models.checkpoints import WeightsError, save_weights  # noqa: E402
from unhaze.models.guided import GuidedSpec, create_model, default_sites, load_model, save_model  # noqa: E402
from unhaze.models.layers.depth_view import DepthView, nearness  # noqa: E402
from unhaze.restore.engines.base import NetworkOptions  # noqa: E402
from unhaze.restore.engines.torch import TorchEngine, open_engine  # noqa: E402
from unhaze.types import DepthLevel, DepthMap  # noqa: E402


class Luminance(DepthEstimator):
    """The brighter the nearer, at a quarter of the size; counts how often it is asked."""

    levels = (DepthLevel(2, 4),)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.asked = []

    def forward(self, given):
        self.asked.append(tuple(given.shape))
        near = given.mean(1, keepdim=True) * self.scale
        small = torch.nn.functional.interpolate(near, (12, 12), mode="bilinear", antialias=True)
        return DepthMap(near, "inverse_relative", (torch.cat((small, small.square()), 1),))


def model(name="aodnet+concat", **options):
    torch.manual_seed(0)
    made = create_model(name, Luminance(), **options)
    with torch.no_grad():
        for parameter in made.fusions.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


def test_variants_may_be_left_out():
    assert create_model("aodnet+zero").spec.name == "aodnet-base+zero"
    assert create_model("coa+zero").spec.name == "coa-deploy_rb8+zero"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("aodnet", {}, r"names no fusion module; write NETWORK\+FUSION"),
        ("aodnet+concta", {}, "no fusion named 'concta'; did you mean concat"),
        ("aodnte+concat", {}, "no network named 'aodnte'"),
        ("aodnet+concat", {"sites": ("enc9",)}, "no stage of aodnet-base named 'enc9'"),
        ("aodnet+concat", {"no_such_switch": 1}, "cannot be built with no_such_switch"),
        ("aodnet+concat", {"depth": "no-such-estimator"}, "no depth estimator named"),
        ("aodnet+concat", {"freeze": "all"}, "no way to freeze named 'all'"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(name, options, message):
    with pytest.raises(UsageError, match=message):
        create_model(name, **options)


def test_depth_is_estimated_once_and_only_where_it_is_not_given():
    made, public = model(), image(24, 32)
    own = made.restore(public).image
    assert made.estimator.asked == [(1, 3, 24, 32)]
    given = made.estimator(public)
    assert torch.equal(made.restore(public, given).image, own)
    assert torch.equal(made.restore(public, DepthView.of(given)).image, own)
    assert len(made.estimator.asked) == 2
    made.__dict__["estimator"] = None
    with pytest.raises(UsageError, match="no depth estimator"):
        made.restore(public)
    with pytest.raises(UsageError, match=r"built for depth features of \[2\] channels, but the depth has \[1\]"):
        made.restore(public, DepthMap(given.map, given.kind))


def test_a_view_of_a_part_is_that_part_of_the_whole():
    rng = torch.Generator().manual_seed(0)
    depth = DepthMap(torch.rand(1, 1, 13, 17, generator=rng), "relative", (torch.randn(1, 4, 5, 6, generator=rng),))
    view = DepthView.of(depth)
    whole = view.feature_at(0, (48, 64))
    torch.testing.assert_close(view.crop(0.25, 0.5, 0.75, 1).feature_at(0, (24, 32)), whole[..., 12:36, 32:])
    twice = view.crop(0, 0.5, 0.5, 1).crop(0.5, 0, 1, 0.5)
    torch.testing.assert_close(twice.nearness_at((12, 16)), view.nearness_at((48, 64))[..., 12:24, 32:48])
    beyond = view.crop(0, 0, 1.25, 1).feature_at(0, (60, 64))
    torch.testing.assert_close(beyond[..., :48, :], whole)
    torch.testing.assert_close(beyond[..., 48:, :], whole[..., -1:, :].expand(-1, -1, 12, -1))


@pytest.mark.parametrize(("kind", "nearest"), [("metric", 0), ("relative", 0), ("inverse_relative", 3)])
def test_near_is_one_for_every_kind_of_depth(kind, nearest):
    near = nearness(torch.tensor([1.0, 2.0, 5.0, 9.0]).view(1, 1, 2, 2), kind).flatten()
    assert near.argmax() == nearest
    assert near.min() == 0
    assert near.max() == 1
    assert nearness(torch.full((1, 1, 2, 2), 3.0), kind).eq(0).all()


def test_a_frozen_network_stays_as_it_is():
    made = create_model("dnmgdt+concat", Luminance(), freeze="backbone", backbone_options={"num_blocks": 1}).train()
    assert made.training
    assert made.fusions.training
    assert not any(module.training for module in made.backbone.modules())
    assert not made.estimator.training
    before = copy.deepcopy(made.backbone.state_dict())
    optimizer = torch.optim.SGD(made.parameters(), lr=1.0)
    made.restore(image(32, 32)).image.square().mean().backward()
    optimizer.step()
    assert all(torch.equal(before[key], tensor) for key, tensor in made.backbone.state_dict().items())
    assert any(p.grad.abs().max() > 0 for p in made.fusions.parameters())
    assert made.estimator.scale.grad is None


def test_keys_of_network_and_fusion_are_separate_and_the_estimator_has_none():
    made = model()
    assert {key.partition(".")[0] for key in made.state_dict()} == {"backbone", "fusions"}
    assert not any(p is made.estimator.scale for p in made.parameters())
    assert made.double().estimator.scale.dtype == torch.float64, "it moves with the model all the same"


@pytest.mark.parametrize("part", ["all", "fusions"])
def test_files_bring_a_model_back(tmp_path, part):
    made, public = model(), image(24, 32)
    save_model(made, tmp_path / "guided.safetensors", part)
    save_model(made, tmp_path / "backbone.safetensors", "backbone")
    beside = {} if part == "all" else {"backbone_weights": tmp_path / "backbone.safetensors"}
    again = load_model(tmp_path / "guided.safetensors", depth=made.estimator, **beside)
    assert torch.equal(again.restore(public).image, made.restore(public).image)
    assert again.spec == made.spec
    assert not again.training


def test_files_that_do_not_fit_are_refused_in_a_sentence(tmp_path):
    made = model()
    alone, plain = tmp_path / "alone.safetensors", tmp_path / "plain.safetensors"
    save_model(made, alone, "fusions")
    save_model(made, plain, "backbone")
    with pytest.raises(WeightsError, match="holds the fusion alone; give weights of aodnet-base"):
        load_model(alone)
    with pytest.raises(WeightsError, match="does not hold a network with a fusion module"):
        load_model(plain)
    with pytest.raises(WeightsError, match=r"belongs to aodnet-base\+concat, not to sgdnet"):
        load_model(alone, "sgdnet+concat")

    class Other(Luminance):
        levels = (DepthLevel(5, 4),)

    with pytest.raises(UsageError, match=r"features of \[2\] channels, but this estimator gives \[5\]"):
        load_model(alone, depth=Other(), backbone_weights=plain)
    save_weights(made.state_dict(), tmp_path / "odd.safetensors", "x", {"guided": "{}"})
    with pytest.raises(UsageError, match="do not say in a readable way"):
        load_model(tmp_path / "odd.safetensors")


def test_a_fusion_of_an_earlier_form_is_refused_in_a_sentence(tmp_path):
    made = create_model("aodnet+hgdf")
    old = json.loads(made.spec.to_json())
    assert old.pop("form") == 2
    path = save_weights(made.state_dict(), tmp_path / "old.safetensors", made.spec.name, {"guided": json.dumps(old)})
    with pytest.raises(WeightsError, match=r"holds hgdf in form 1, of another version of unhaze.*Train it anew"):
        load_model(path)


def test_a_spec_survives_json():
    spec = GuidedSpec("a-b", "hgdf", ("enc1",), (DepthLevel(384, 14),), {"zero_pre": False}, "depth-x", {"size": 3})
    assert GuidedSpec.from_json(spec.to_json()) == spec


def test_tiles_take_their_part_of_one_depth(tmp_path):
    made = model()
    rgb = np.random.default_rng(0).random((90, 70, 3), dtype=np.float32)
    whole, tiled = (TorchEngine(made, "m", NetworkOptions("w", tile=tile, device="cpu")) for tile in (None, 32))
    first = whole.restore(rgb)
    made.estimator.asked.clear()
    second = tiled.restore(rgb)
    assert made.estimator.asked == [(1, 3, 90, 70)], "depth is estimated on the whole picture, once"
    assert second.tiles > 1
    np.testing.assert_allclose(second.rgb, first.rgb, atol=2e-6)
    assert first.depth.map.shape == (90, 70)
    assert first.depth.kind == "inverse_relative"
    assert whole.memory_needed(90, 70) > 0


def test_files_run_by_name(tmp_path):
    made = create_model("aodnet+concat", "compact" if _has_compact() else None)
    if made.estimator is None:
        pytest.skip("the estimator that needs no weights is not installed")
    save_model(made, tmp_path / "guided.safetensors")
    engine = open_engine(None, NetworkOptions(tmp_path / "guided.safetensors", device="cpu"))
    rgb = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    output = engine.restore(rgb)
    assert engine.name == "aodnet-base+concat"
    plain = made.backbone.restore(torch.from_numpy(rgb).permute(2, 0, 1)[None]).image.clamp(0, 1)
    assert relative(torch.from_numpy(output.rgb).permute(2, 0, 1)[None], plain.detach()) < 1e-6
    assert output.depth is not None


def _has_compact():
    from unhaze.depth import list_depth

    return "compact" in list_depth()


def test_default_sites_exist_on_every_network():
    from unhaze.models.networks import list_networks

    for name in list_networks():
        assert default_sites(name), name


def test_naming_what_there_is_needs_no_torch():
    code = (
        "import sys; from unhaze.fusion import list_fusions; from unhaze.depth import list_depth;"
        "list_fusions(), list_depth(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_fusion_names_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean zero"):
        create_model("aodnet+zeros")


@pytest.mark.parametrize("prompts", [1, 3])
def test_restorations_prompt_one_another(prompts):
    """SelfPromer: a pass without depth, then depth of each restoration beside that of the picture."""
    made, public = model("dehazeformer-t+selfpromer", num_blocks=1), image(24, 32)
    result = made.restore(public, prompts=prompts).image
    assert made.estimator.asked == [(1, 3, 24, 32)] * (1 + prompts)
    by_hand = made.backbone.restore(public).image
    view = made.view_depth(public)
    for _ in range(prompts):
        by_hand = made.restore(public, made.compare(view, by_hand)).image
    torch.testing.assert_close(result, by_hand, rtol=0, atol=1e-5)
    engine = TorchEngine(made, "m", NetworkOptions("w", device="cpu", prompts=prompts))
    rgb = public[0].permute(1, 2, 0).contiguous().numpy()
    np.testing.assert_allclose(engine.restore(rgb).rgb, result[0].detach().permute(1, 2, 0).clamp(0, 1), atol=1e-5)
