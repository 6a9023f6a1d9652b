"""What holds for every estimator that needs no weights from elsewhere, and for the catalogue."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unhaze.depth import create_depth, depth_info, list_depth  # noqa: E402
from unhaze.errors import UnknownNameError, UsageError  # noqa: E402
from unhaze.types import DepthLevel  # noqa: E402

OWN = {
    "ra-depth": {"untrained": True, "longest": 96},
    "ra-depth (encoder)": {"untrained": True, "longest": 96, "features": "encoder"},
    "dcmpnet-de": {"untrained": True, "longest": 96},
    "compact": {},
}
# what each one's numbers mean, decided here and not where it is implemented
KINDS = {
    "ra-depth": "inverse_relative",
    "dcmpnet-de": "inverse_relative",
    "compact": "relative",
}


@pytest.fixture(scope="module", params=OWN)
def estimator(request):
    torch.manual_seed(0)
    return create_depth(request.param.partition(" ")[0], **OWN[request.param])


def name_of(estimator):
    return estimator.identity.partition("/")[0]


def test_kind(estimator):
    depth = estimator(torch.rand(1, 3, 64, 96))
    assert depth.kind == estimator.kind == KINDS[name_of(estimator)]


def test_frozen(estimator):
    assert not estimator.training
    assert not any(p.requires_grad for p in estimator.parameters())


@pytest.mark.parametrize("size", [(64, 96), (37, 131), (1, 1), (50, 700)])
def test_any_size(estimator, size):
    depth = estimator(torch.rand(2, 3, *size))
    assert depth.map.shape == (2, 1, *size)
    assert torch.isfinite(depth.map).all()
    assert len(depth.features) in (0, len(estimator.levels))


def test_levels_are_true(estimator):
    depth = estimator(torch.rand(1, 3, 64, 96))  # the size at which those with an option see it
    given = tuple(DepthLevel(each.shape[1], 96 / each.shape[-1]) for each in depth.features)
    assert given == (estimator.levels if depth.features else ())
    assert estimator.levels == given or estimator.levels == (DepthLevel(1, 1),)
    strides = [level.stride for level in estimator.levels]
    assert strides == sorted(strides)


def test_a_batch_is_its_pictures(estimator):
    images = torch.rand(3, 3, 45, 70)
    together, alone = estimator(images), [estimator(images[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together.map, torch.cat([each.map for each in alone]), rtol=1e-4, atol=1e-5)
    for level, feature in enumerate(together.features):
        singles = torch.cat([each.features[level] for each in alone])
        torch.testing.assert_close(feature, singles, rtol=1e-3, atol=1e-4)


def test_copies_are_independent(estimator):
    image = torch.rand(1, 3, 64, 96)
    expected, twin = estimator(image).map, copy.deepcopy(estimator)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert torch.equal(estimator(image).map, expected)


def test_the_card_says_what_the_estimator_says(estimator):
    assert depth_info(name_of(estimator)).license == estimator.license


def test_every_estimator_has_a_card():
    assert {"compact", "compact-v2", "dcmpnet-de", "file", "ra-depth"} <= set(list_depth())
    for name in list_depth():
        card = depth_info(name)
        assert card.name == name
        assert card.license
        assert card.license != "told before first use"


def test_mistakes(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean ra-depth"):
        create_depth("ra-deph")
    with pytest.raises(UnknownNameError, match="did you mean compact"):
        depth_info("compct")
    with pytest.raises(UsageError, match="cannot be made like this: missing a required argument: 'path'"):
        create_depth("file")
    np.save(tmp_path / "d.npy", np.ones((2, 2)))
    with pytest.raises(UsageError, match="unexpected keyword argument 'weights'"):
        create_depth(str(tmp_path / "d.npy"), weights="x")
