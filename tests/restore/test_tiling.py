import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.restore.tiling import cut, tile_around

sides = st.integers(1, 70)


@settings(deadline=None)
@given(sides, sides, st.integers(1, 80), st.integers(1, 9))
def test_boxes_cover_everything_once(height, width, size, multiple):
    seen = np.zeros((height, width), int)
    for rows, columns in cut((slice(0, height), slice(0, width)), max(size, multiple), multiple):
        seen[rows, columns] += 1
        assert rows.start % multiple == columns.start % multiple == 0
        assert rows.stop - rows.start <= max(size, multiple)
        assert columns.stop - columns.start <= max(size, multiple)
    assert (seen == 1).all()


@settings(deadline=None)
@given(sides, sides, st.integers(1, 40), st.integers(0, 20))
def test_a_tile_sees_all_around_it_that_there_is(height, width, size, overlap):
    picture = np.arange(height * width).reshape(height, width)
    for core in cut((slice(0, height), slice(0, width)), size):
        tile = tile_around(core, (height, width), overlap)
        np.testing.assert_array_equal(picture[tile.context][tile.inner], picture[core])
        for part, seen, side in zip(core, tile.context, (height, width), strict=True):
            assert seen.start == max(0, part.start - overlap)
            assert seen.stop == min(side, part.stop + overlap)


@pytest.mark.parametrize("size", [20, 100])
def test_what_is_small_enough_stays_whole(size):
    whole = (slice(0, 20), slice(0, 13))
    assert list(cut(whole, size)) == [whole]
