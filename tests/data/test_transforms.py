"""Views: hazy, clear and depth stay on top of each other, and what was cut is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.data.dataset import Sample
from unhaze.data.transforms import (
    CenterCrop,
    Compose,
    RandomCrop,
    RandomFlip,
    RandomTurn,
    ResizeToAtLeast,
    random_view,
)
from unhaze.errors import UsageError
from unhaze.types import DepthMap


def sample_of(height, width):
    """Every pixel tells its place: red is the row, green the column; the clear picture and depth are made of them."""
    rows, columns = np.mgrid[:height, :width]
    hazy = np.stack([rows, columns, rows ^ columns], axis=-1).astype(np.uint8)
    depth = (rows * 1000 + columns).astype(np.float32)
    return Sample(hazy, 255 - hazy, DepthMap(depth, "metric"), "ramp", {"transmission": depth / 1e6})


def aligned(sample):
    place = sample.hazy[..., 0].astype(np.float32) * 1000 + sample.hazy[..., 1]
    return (
        np.array_equal(sample.clear, 255 - sample.hazy)
        and np.array_equal(sample.depth.map, place)
        and np.array_equal(sample.meta["transmission"], (place / 1e6).astype(np.float32))
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(8, 60),
    st.integers(8, 60),
    st.integers(1, 8),
    st.integers(0, 2**32),
    st.floats(0, 1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_pairs_stay_aligned_and_the_view_is_true(height, width, size, seed, edge_decay, horizontal, vertical, turn):
    transform = random_view(size, edge_decay=edge_decay, horizontal=horizontal, vertical=vertical, turn=turn)
    whole = sample_of(height, width)
    cut = transform(whole, np.random.default_rng(seed))
    assert cut.hazy.shape == (size, size, 3)
    assert aligned(cut)
    np.testing.assert_array_equal(cut.meta["view"].apply(whole.hazy), cut.hazy)
    again = transform(whole, np.random.default_rng(seed))
    np.testing.assert_array_equal(again.hazy, cut.hazy)


def test_small_pictures_are_enlarged_alike():
    small = sample_of(10, 16)
    cut = ResizeToAtLeast(20)(small, np.random.default_rng(0))
    assert cut.hazy.shape == (20, 32, 3)
    assert cut.depth.map.shape == (20, 32)
    np.testing.assert_allclose(cut.clear, 255 - cut.hazy.astype(int), atol=1)
    np.testing.assert_array_equal(cut.meta["view"].apply(small.depth.map), cut.depth.map)
    assert ResizeToAtLeast(10)(small, np.random.default_rng(0)) is small
    cut = random_view(20)(small, np.random.default_rng(0))
    np.testing.assert_array_equal(cut.meta["view"].apply(small.hazy), cut.hazy)


def test_too_small_pictures_are_refused_without_resizing():
    with pytest.raises(UsageError, match="16x10 px, too few for crops of 12"):
        RandomCrop(12)(sample_of(10, 16), np.random.default_rng(0))


def test_edges_are_as_likely_as_asked():
    rng = np.random.default_rng(1)
    whole = sample_of(40, 40)

    def share(edge_decay):
        tops = [RandomCrop(10, edge_decay)(whole, rng).meta["view"].top for _ in range(1500)]
        assert 0.35 < tops.count(0) / (tops.count(0) + tops.count(30)) < 0.65
        return np.mean([top in (0, 30) for top in tops])

    # chosen with edge_decay * 10 / 40; by chance with 2 / 31
    assert share(0.0) == pytest.approx(2 / 31, abs=0.03)
    assert share(1.0) == pytest.approx(0.25 + 0.75 * 2 / 31, abs=0.04)


def test_flips_and_turns_reach_every_orientation():
    whole = sample_of(5, 5)
    transform = Compose((RandomFlip(), RandomTurn()))
    seen = {transform(whole, np.random.default_rng(seed)).hazy[0, 0, :2].tobytes() for seed in range(60)}
    assert len(seen) == 4
    seen = {transform(whole, np.random.default_rng(seed)).hazy.tobytes() for seed in range(80)}
    assert len(seen) == 8


def test_a_crop_of_a_crop_knows_its_place():
    whole = sample_of(40, 40)
    for seed in range(5):
        cut = Compose((RandomCrop(20), RandomCrop(8), RandomFlip()))(whole, np.random.default_rng(seed))
        np.testing.assert_array_equal(cut.meta["view"].apply(whole.hazy), cut.hazy)


def test_the_middle_is_the_middle():
    cut = CenterCrop(4)(sample_of(10, 20), np.random.default_rng(0))
    assert tuple(cut.hazy[0, 0, :2]) == (3, 8)
    assert CenterCrop(40)(sample_of(10, 20), np.random.default_rng(0)).hazy.shape == (10, 20, 3)


@pytest.mark.parametrize(
    "parts",
    [
        (RandomTurn(), RandomFlip(vertical=True)),
        (RandomFlip(), RandomCrop(4)),
        (RandomCrop(4), ResizeToAtLeast(8)),
        (RandomTurn(), RandomTurn()),
    ],
)
def test_an_order_that_a_view_cannot_know_is_refused(parts):
    def run():
        for seed in range(20):  # one of them turns and flips
            Compose(parts)(sample_of(6, 6), np.random.default_rng(seed))

    with pytest.raises(UsageError, match="too late"):
        run()
