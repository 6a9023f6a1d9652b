"""The default dehazer's depth: the shipped network, and which end is near."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unhaze.depth import create_depth  # noqa: E402
from unhaze.errors import UsageError, WeightsNotFoundError  # noqa: E402
from unhaze.models.layers.depth_view import nearness  # noqa: E402


@pytest.fixture(scope="module")
def estimator():
    return create_depth("compact")


@pytest.fixture(scope="module")
def hazy(hazy_photo):
    return torch.from_numpy(hazy_photo[0]).permute(2, 0, 1)[None] / 255


def test_far_is_large_and_the_map_follows_the_true_depth(estimator, hazy, hazy_photo):
    depth = estimator(hazy)
    assert (depth.kind, depth.far_is_large, depth.features) == ("relative", True, ())
    assert depth.map.min() > 0
    true = torch.from_numpy(-np.log(hazy_photo[1]))[None, None]
    true = torch.nn.functional.interpolate(true, depth.map.shape[-2:])
    ranks = torch.stack([each.flatten().argsort().argsort().double() for each in (depth.map, true)])
    assert torch.corrcoef(ranks)[0, 1] > 0.7
    near = nearness(depth.map, depth.kind)
    assert near[..., -60:, :].mean() > near[..., 20:60, :].mean() + 0.2  # ground before sky


def test_agrees_with_what_the_method_sees(estimator, hazy):
    """The same network in the dehazer, whose view is made by another resizing."""
    from unhaze.default.model import FieldModel

    view = np.ascontiguousarray(hazy[0].permute(1, 2, 0).numpy())
    expected = torch.from_numpy(np.exp(FieldModel().maps(view).log_depth))
    ours = torch.nn.functional.interpolate(estimator(hazy).map, expected.shape, mode="bilinear", antialias=True)[0, 0]
    assert (ours - expected).abs().mean() < 0.1 * expected.mean()


def test_copies_share_the_runtime(estimator, hazy):
    expected = estimator(hazy).map
    for twin in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert torch.equal(twin(hazy).map, expected)
        assert twin.identity == estimator.identity


def test_no_gradient_passes(estimator):
    assert not estimator(torch.rand(1, 3, 40, 40, requires_grad=True)).map.requires_grad


def test_mistakes(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="There is no network"):
        create_depth("compact", weights=tmp_path / "absent.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(UsageError, match="is no ONNX network, or a damaged one"):
        create_depth("compact", weights=tmp_path / "bad.onnx")
