"""DCMPNet's depth network as an estimator."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tests import parity  # noqa: E402

from unhaze.depth import create_depth  # noqa: E402
from unhaze.errors import UsageError, WeightsNotFoundError  # noqa: E402
from unhaze.models.checkpoints import WeightsError, save_weights  # noqa: E402
from unhaze.models.layers.dense_depth import DenseDepthNetwork  # noqa: E402


@pytest.fixture
def checkpoint(tmp_path):
    """The official checkpoint, wrapped as its training script does."""
    state = parity.load("dcmpnet-depthnet").official_state()
    path = tmp_path / "depth.pk"
    torch.save({"step": 7, "model": {f"module.{key}": tensor for key, tensor in state.items()}}, path)
    return path


def test_equals_the_official_code(checkpoint):
    fixture = parity.load("dcmpnet-depthnet")
    image = fixture.image()
    estimator = create_depth("dcmpnet-de", weights=checkpoint, longest=image.shape[-1])
    error = fixture.error("out", estimator(image).map)
    print(error)
    assert error <= fixture.limit("out")


def test_features_lead_to_the_map():
    network = DenseDepthNetwork()
    image = torch.rand(1, 3, 40, 56)
    depth, features = network.with_features(image)
    assert torch.equal(depth, network(image))
    assert torch.equal(network.head(network.up4(features[0]))[..., :40, :56], depth)
    assert torch.equal(network.block8(network.up3(features[1])), features[0])


def test_own_weights_are_the_same_estimator(checkpoint, tmp_path):
    official = create_depth("dcmpnet-de", weights=checkpoint)
    own = save_weights(official.network.state_dict(), tmp_path / "own.safetensors", "dcmpnet-de")
    assert create_depth("dcmpnet-de", weights=own).identity == official.identity


def test_noise_only_if_asked_for(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="dcmpnet-de needs trained weights; give a checkpoint of DCMPNet"):
        create_depth("dcmpnet-de")
    with pytest.raises(WeightsNotFoundError, match="There is no weights file"):
        create_depth("dcmpnet-de", weights=tmp_path / "absent.pth")
    assert create_depth("dcmpnet-de", untrained=True).identity.startswith("dcmpnet-de/624/")


def test_other_weights_are_refused(tmp_path):
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not fit dcmpnet-de: .*; give the weights"):
        create_depth("dcmpnet-de", weights=tmp_path / "other.pth")
    with pytest.raises(UsageError, match="at least 16 pixels"):
        create_depth("dcmpnet-de", untrained=True, longest=8)
