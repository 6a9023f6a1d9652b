import math

import numpy as np
import pytest

from unhaze.evaluation.studies.spread import spread_of


def test_mean_and_deviation():
    found = spread_of([1.0, 2.0, 6.0])
    assert (found.mean, found.std) == (3.0, pytest.approx(math.sqrt(7)))
    assert 1.0 <= found.low < 3.0 < found.high <= 6.0
    assert spread_of([1.0, 2.0, 6.0]) == found


def test_the_interval_is_about_that_of_a_normal_mean():
    values = np.random.default_rng(3).normal(5, 2, 400)
    found = spread_of(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


@pytest.mark.parametrize("values", [[2.0], [1.0, math.nan]])
def test_without_a_spread(values):
    found = spread_of(values)
    assert all(math.isnan(each) for each in (found.std, found.low, found.high))
    assert found.mean == 2.0 or math.isnan(found.mean)
