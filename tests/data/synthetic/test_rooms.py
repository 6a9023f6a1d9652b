"""Rendered rooms: what the depth says is where things are."""

import numpy as np
import pytest

from unhaze.data.synthetic.rooms import _Boxes, _meet_box, _meet_walls, render_room


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]


@pytest.mark.parametrize("seed", range(6))
def test_a_room_has_light_and_depth_everywhere(pictures, seed):
    image, depth = render_room(np.random.default_rng(seed), pictures, 48, 64)
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert depth.shape == (48, 64)
    assert depth.dtype == np.float32
    assert image.std() > 5
    assert depth.min() > 0.05
    assert depth.max() < 12  # no wall is farther away


def test_the_same_seed_gives_the_same_room(pictures):
    one, same, other = (render_room(np.random.default_rng(seed), pictures, 32, 48) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.depth, same.depth)
    assert not np.array_equal(one.depth, other.depth)


def straight_rays():
    """Rays along z through a plane at distance 1, from -1 to 1 in x and y."""
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(1, -1, 9))
    return np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float32)


def test_walls_are_where_geometry_says():
    size = np.array([4, 3, 5], np.float32)
    origin = np.array([0, 1, 1], np.float32)
    distance, face, place = _meet_walls(origin, straight_rays(), size)
    assert distance[4, 4] == pytest.approx(4)  # the end wall, at z = 5
    assert face[4, 4] == 5
    np.testing.assert_allclose(place[4, 4], (0, 1), atol=1e-5)
    assert distance[8, 4] == pytest.approx(1)  # the floor, 1 m below, under a ray that falls by 45 degrees
    assert face[8, 4] == 2
    assert distance[4, 0] == pytest.approx(2)  # the wall on the left
    assert face[4, 0] == 0


@pytest.mark.parametrize("turn", [0.0, np.pi / 2])
def test_a_box_covers_what_is_behind_it(turn):
    size = np.array([4, 3, 5], np.float32)
    origin = np.array([0, 1, 1], np.float32)
    rays = straight_rays()
    hits = _meet_walls(origin, rays, size)
    before = hits[0].copy()
    half = np.array([[0.5, 0.2, 0.25]], np.float32)
    boxes = _Boxes(np.array([[0, 1, 3]], np.float32), half, np.array([turn], np.float32))
    _meet_box(origin, rays, boxes, 0, hits)
    front = 2 - (0.25 if turn == 0 else 0.5)  # turned by a quarter, its long side points at the camera
    assert hits[0][4, 4] == pytest.approx(front, abs=1e-5)
    assert hits[1][4, 4] >= 6
    np.testing.assert_array_equal(hits[0][0], before[0])  # rays that pass above it
