import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from unhaze.evaluation.studies.distance import cosine_distance, relative_distance, scene_distance  # noqa: E402


def vectors(*positions):
    """(1, C, 1, N) features from N vectors of C numbers."""
    return torch.tensor(positions).T[None, :, None]


CLEAR = vectors((3.0, 4.0), (0.0, 1.0))


def test_equal_features_are_at_no_distance():
    assert relative_distance(CLEAR, CLEAR) == cosine_distance(CLEAR, CLEAR) == 0


def test_scaled_features_move_but_do_not_turn():
    assert relative_distance(1.5 * CLEAR, CLEAR) == pytest.approx(0.5)
    assert cosine_distance(1.5 * CLEAR, CLEAR) == pytest.approx(0, abs=1e-12)
    assert cosine_distance(-CLEAR, CLEAR) == pytest.approx(2)


def test_by_hand():
    hazy = vectors((3.0, 0.0), (1.0, 0.0))
    # lengths of differences 4 and sqrt 2, of the clear ones 5 and 1; cosines 0.6 and 0
    assert relative_distance(hazy, CLEAR) == pytest.approx((4 + math.sqrt(2)) / 6)
    assert cosine_distance(hazy, CLEAR) == pytest.approx(1 - 0.3)
    other = vectors((3.0, 4.0), (0.0, 5.0))
    assert scene_distance(hazy, CLEAR, other) == pytest.approx((4 + math.sqrt(2)) / 4)


def test_silent_positions():
    silent = vectors((0.0, 0.0), (0.0, 1.0))
    assert cosine_distance(silent, silent) == 0
    assert cosine_distance(silent, CLEAR) == pytest.approx(0.5)
    zero = torch.zeros_like(CLEAR)
    assert relative_distance(zero, zero) == 0
    assert relative_distance(CLEAR, zero) == math.inf
    assert relative_distance(zero, CLEAR) == 1


def test_one_channel_has_no_direction():
    assert math.isnan(cosine_distance(CLEAR[:, :1], CLEAR[:, :1]))


def test_another_scene_of_another_size():
    other = CLEAR.mean(-1, keepdim=True)
    assert scene_distance(CLEAR, CLEAR, other) == 0
    assert scene_distance(other.expand_as(CLEAR), CLEAR, other) == pytest.approx(1)


def test_the_same_scene_gives_no_scale():
    assert math.isnan(scene_distance(2 * CLEAR, CLEAR, CLEAR))


@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_a_common_factor_cancels(factor, seed):
    hazy, clear, other = torch.randn(3, 1, 4, 3, 3, generator=torch.Generator().manual_seed(seed)).double()
    assert relative_distance(factor * hazy, factor * clear) == pytest.approx(relative_distance(hazy, clear))
    assert cosine_distance(factor * hazy, factor * clear) == pytest.approx(cosine_distance(hazy, clear))
    moved = scene_distance(factor * hazy + 7, factor * clear + 7, factor * other + 7)
    assert moved == pytest.approx(scene_distance(hazy, clear, other))
