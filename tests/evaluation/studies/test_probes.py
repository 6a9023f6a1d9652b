import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from unhaze.depth.base import DepthEstimator  # noqa: E402
from unhaze.errors import UsageError, WeightsNotFoundError  # noqa: E402
from unhaze.evaluation.studies import probes  # noqa: E402
from unhaze.models.base import Model  # noqa: E402
from unhaze.models.guided import create_model  # noqa: E402
from unhaze.models.layers.stage import run_block  # noqa: E402
from unhaze.models.networks import create_network  # noqa: E402
from unhaze.types import DepthMap, ImageContract, Restored, Stage  # noqa: E402

IMAGE = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
DEPTH = 1 + torch.rand(1, 1, 24, 32, generator=torch.Generator().manual_seed(1))


class Rough(Model):
    """Adds one in a stage that runs twice, and then spoils what it got in place."""

    contract = ImageContract(multiple_of=16)
    stages = (Stage("enc1", 3, 1),)

    def forward(self, image, run=run_block):
        once = run("enc1", lambda x: x + 1, image)
        once.zero_()
        return Restored(run("enc1", lambda x: x + 2, once))


class Bright(DepthEstimator):
    kind = "inverse_relative"

    def forward(self, image):
        return DepthMap(image.mean(1, keepdim=True), "inverse_relative")


@torch.no_grad()
def taken(probe, image=IMAGE, depth=DEPTH):
    return probe.features(image, depth)


def test_stages_are_kept_as_they_left():
    found = taken(probes.network_probe(Rough(), "rough"))
    assert list(found) == ["enc1", "enc1#2", "restored"]
    padded = F.pad(IMAGE, (0, 0, 0, 8), mode="reflect")
    torch.testing.assert_close(found["enc1"], padded + 1)
    torch.testing.assert_close(found["enc1#2"], torch.full_like(padded, 2.0))
    assert found["restored"].shape == IMAGE.shape


def test_random_networks_depend_on_the_seed_alone():
    before = torch.random.get_rng_state()
    first, again, other = (taken(probes.random_network_probe("aodnet-base", seed)) for seed in (1, 1, 2))
    assert torch.equal(first["enc1"], again["enc1"])
    assert not torch.equal(first["enc1"], other["enc1"])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert probes.random_network_probe("aodnet-base").weights == "random"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("aodnet+concat", Bright()).eval()


def test_a_fresh_fusion_changes_no_stage(model):
    plain, fused = taken(probes.network_probe(model.backbone, "off")), taken(probes.fused_probe(model, "on"))
    assert list(plain) == list(fused)
    for stage in plain:
        assert torch.equal(plain[stage], fused[stage])


def test_stages_are_seen_as_the_fusion_leaves_them(model):
    for parameter in model.fusions.parameters():
        nn.init.normal_(parameter, std=0.3)
    plain, fused = taken(probes.network_probe(model.backbone, "off")), taken(probes.fused_probe(model, "on"))
    site = model.spec.sites[0]
    assert not torch.allclose(plain[site], fused[site])
    with torch.no_grad():
        torch.testing.assert_close(fused["restored"], model.restore(IMAGE).image)


def test_a_fusion_without_estimator_gets_the_true_depth():
    torch.manual_seed(0)
    model = create_model("aodnet+concat").eval()
    for parameter in model.fusions.parameters():
        nn.init.normal_(parameter, std=0.3)
    probe = probes.fused_probe(model, "on")
    with torch.no_grad():
        expected = model.restore(IMAGE, DepthMap(DEPTH, "metric")).image
    torch.testing.assert_close(taken(probe)["restored"], expected)
    assert not torch.allclose(taken(probe, depth=DEPTH.flip(-1))["restored"], expected)


@pytest.mark.parametrize("estimator", [Bright(), None])
def test_a_fusion_that_compares(estimator):
    model = create_model("aodnet+selfpromer", estimator).eval()
    found = taken(probes.fused_probe(model, "on"))
    torch.testing.assert_close(found["restored"], taken(probes.network_probe(model.backbone, "off"))["restored"])


def test_an_estimator_gives_nearness():
    found = taken(probes.estimator_probe(Bright(), "bright"))
    gray = IMAGE.mean(1, keepdim=True)
    torch.testing.assert_close(found["nearness"], (gray - gray.min()) / (gray.max() - gray.min()))
    assert list(found) == ["nearness"]


def test_controls_by_hand():
    made = {probe.name: taken(probe)[probe.name] for probe in probes.control_probes()}
    assert torch.equal(made["pixels"], IMAGE)
    torch.testing.assert_close(made["gradient"][:, :3, 3, 4], IMAGE[..., 3, 5] - IMAGE[..., 3, 4])
    torch.testing.assert_close(made["gradient"][:, 3:, 3, 4], IMAGE[..., 4, 4] - IMAGE[..., 3, 4])
    assert made["dark channel"][0, 0, 5, 6] == IMAGE[0, :, 4:7, 5:8].min()  # windows of 3 at this size
    patch = IMAGE[0, :, 4:7, 5:8].mean(0)
    expected = (patch[1, 1] - patch.mean()) / (patch.std(correction=0) + 2 / 255)
    torch.testing.assert_close(made["contrast"][0, 0, 5, 6], expected, rtol=1e-4, atol=1e-5)


# -- the field network ------------------------------------------------------------------------------------------------


def field_weights():
    onnx = pytest.importorskip("onnx")
    from importlib.resources import files

    graph = onnx.load(str(files("unhaze.default") / "field-m.onnx")).graph
    arrays = {each.name.removesuffix("_half"): onnx.numpy_helper.to_array(each) for each in graph.initializer}
    return {name: torch.tensor(array).float() for name, array in arrays.items() if name.startswith("network.")}


def test_stages_of_the_field_network_are_those_of_the_network_in_torch():
    pytest.importorskip("onnxruntime")
    from unhaze.default.network import FieldNetwork

    network = FieldNetwork().eval()
    weights = {name.removeprefix("network."): value for name, value in field_weights().items()}
    network.load_state_dict(weights, strict=False)
    image = torch.rand(1, 3, 128, 256, generator=torch.Generator().manual_seed(0))
    found = taken(probes.field_probe(), image)
    assert list(found) == ["enc2", "enc4", "enc8", "enc16", "enc32", "dec16", "dec8", "dec4", "dec2"]
    assert [256 // each.shape[-1] for each in found.values()] == [2, 4, 8, 16, 32, 16, 8, 4, 2]
    with torch.no_grad():
        expected = network.encoder(image)
    for name, features in zip(list(found)[:5], expected, strict=True):
        torch.testing.assert_close(found[name], features, rtol=1e-3, atol=1e-3)


def test_the_field_network_sees_any_picture_at_its_own_size():
    pytest.importorskip("onnx")
    assert taken(probes.field_probe())["enc2"].shape[-2:] == (96, 128)  # 192 x 256


def test_files_that_are_no_field_network(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(WeightsNotFoundError, match="no network"):
        probes.field_probe(tmp_path / "absent.onnx")
    (tmp_path / "x.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(UsageError, match="field network"):
        probes.field_probe(tmp_path / "x.onnx")


def test_a_network_of_the_catalogue():
    network = create_network("aodnet-base").eval()
    found = taken(probes.network_probe(network, "aodnet-base"))
    assert list(found)[:-1] == [stage.name for stage in network.stages]
