"""A network as the recipe of compact-v2 writes it: shape, range, which end is near, one answer everywhere."""

from __future__ import annotations

import copy
import json
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from unhaze.cli import app  # noqa: E402
from unhaze.default.export import round_weights, write_onnx  # noqa: E402
from unhaze.depth import create_depth  # noqa: E402
from unhaze.depth.compact_v2 import OUTPUT  # noqa: E402
from unhaze.depth.lite_network import DepthNetwork, field_weights  # noqa: E402
from unhaze.errors import UsageError, WeightsNotFoundError  # noqa: E402
from unhaze.images.files import read_image  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The network before its first step: what the default knows of depth."""
    network = DepthNetwork().eval()
    network.load_state_dict(field_weights())
    return write_onnx(round_weights(network), tmp_path_factory.mktemp("weights") / "compact-v2.onnx", [OUTPUT])


@pytest.fixture(scope="module")
def estimator(weights):
    return create_depth("compact-v2", weights=weights)


def test_no_weights_ship_and_the_message_says_where_they_come_from():
    with pytest.raises(WeightsNotFoundError, match="unhaze train compact-v2"):
        create_depth("compact-v2")
    result = CliRunner().invoke(app, ["depth", "--list"])
    assert "unhaze train compact-v2" in " ".join(result.stdout.split())


@pytest.fixture(scope="module")
def hazy(hazy_photo):
    return torch.from_numpy(hazy_photo[0]).permute(2, 0, 1)[None] / 255


def test_near_is_large_and_the_map_follows_the_true_depth(estimator, hazy, hazy_photo):
    depth = estimator(hazy)
    assert (depth.kind, depth.far_is_large, depth.features) == ("inverse_relative", False, ())
    assert depth.map.shape == (1, 1, *hazy.shape[-2:])
    assert np.exp(-6) <= depth.map.min() < depth.map.max() <= np.exp(6)
    true = torch.from_numpy(-np.log(hazy_photo[1]))[None, None]
    true = torch.nn.functional.interpolate(true, depth.map.shape[-2:])
    ranks = torch.stack([each.flatten().argsort().argsort().double() for each in (depth.map, true)])
    assert torch.corrcoef(ranks)[0, 1] < -0.7


def test_saved_and_copied_it_says_the_same(estimator, hazy, tmp_path):
    expected = estimator(hazy).map
    moved = tmp_path / "moved.onnx"
    moved.write_bytes(estimator.path.read_bytes())
    twins = (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator)), create_depth("compact-v2", weights=moved))
    for twin in twins:
        assert torch.equal(twin(hazy).map, expected)
        assert twin.identity == estimator.identity
    assert estimator.identity.startswith("compact-v2/")
    assert estimator.identity != create_depth("compact").identity


def test_command_and_library_agree(estimator, weights, hazy_photo, tmp_path):
    path = tmp_path / "town.png"
    Image.fromarray(hazy_photo[0]).save(path)
    result = CliRunner().invoke(app, ["depth", str(path), "--depth", "compact-v2", "--weights", str(weights), "--json"])
    assert result.exit_code == 0, result.stderr
    (record,) = json.loads(result.stdout)["records"]
    assert (record["model"], record["license"], record["kind"]) == ("compact-v2", "Apache-2.0", "inverse_relative")
    levels = cv2.imread(record["output"], cv2.IMREAD_UNCHANGED).astype(float)
    pixels = torch.from_numpy(read_image(path).pixels).permute(2, 0, 1)[None].float() / 255
    expected = estimator(pixels).map[0, 0].double().numpy()
    # grey is far and stretched over 16 bits; the line between both has no residual but the steps
    slope, offset = np.polyfit(expected.ravel(), levels.ravel(), 1)
    assert slope < 0
    assert np.abs(slope * expected + offset - levels).max() < 2


def test_networks_of_the_other_estimator_are_refused(weights):
    with pytest.raises(UsageError, match="give one with the output log_inverse_depth"):
        create_depth("compact-v2", weights=create_depth("compact").path)
    with pytest.raises(UsageError, match="give one with the output log_depth"):
        create_depth("compact", weights=weights)
