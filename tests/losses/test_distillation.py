"""The affinity of features, against loops of numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unhaze.losses import feature_affinity


def features(seed, levels=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(0.2, 1, (2, 2 * 2**i, 8 >> i, 8 >> i)) for i in range(levels)]


def distance(student, teacher):
    """Of one level, as the official code says it: patches, softmax over places, moments of channels."""
    patches = []
    for top in range(0, student.shape[2], 2):
        for left in range(0, student.shape[3], 2):
            part = (slice(None), slice(None), slice(top, top + 2), slice(left, left + 2))
            patches.append(((student[part] - teacher[part]) ** 2).mean())
    total = np.mean(patches)
    squares = []
    for b, c in np.ndindex(student.shape[:2]):
        shares = [np.exp(each[b, c]) / np.exp(each[b, c]).sum() for each in (student, teacher)]
        squares.append(((shares[0] - shares[1]) ** 2).mean())
    total += np.mean(squares)
    for moment in (np.mean, np.var):
        total += ((moment(student, axis=(2, 3)) - moment(teacher, axis=(2, 3))) ** 2).mean()
    return total


def test_affinity_is_that_of_a_loop():
    student, teacher = features(0), features(1)
    cosines = []
    for s, t in zip(student, teacher, strict=True):
        rows = [(a.ravel(), b.ravel()) for a, b in zip(s, t, strict=True)]
        cosines.append(np.mean([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in rows]))
    weights = np.exp(cosines) / np.exp(cosines).sum()
    expected = sum(w * distance(s, t) for w, s, t in zip(weights, student, teacher, strict=True))
    found = feature_affinity([torch.from_numpy(s) for s in student], [torch.from_numpy(t) for t in teacher])
    assert float(found) == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 1000))
def test_features_that_agree_cost_nothing_and_others_do(seed):
    student, teacher = ([torch.from_numpy(each) for each in features(seed + i)] for i in range(2))
    assert float(feature_affinity(student, student)) == 0
    assert float(feature_affinity(student, teacher)) > 0


def test_levels_must_agree_in_number():
    maps = [torch.rand(1, 2, 4, 4)]
    with pytest.raises(ValueError, match="zip"):
        feature_affinity(maps, maps * 2)
