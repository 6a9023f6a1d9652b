"""The mutual information term, against numpy and against integrals."""

import numpy as np
import pytest
import torch

from unhaze.losses import GaussianCodes, frozen_codes, mutual_information_loss


def arrays(seed=0, batch=3, numbers=4):
    return np.random.default_rng(seed).uniform(-1, 1, (6, batch, numbers))


def divergence(first, second):
    """Of two one-dimensional normal distributions (mean, standard deviation), integrated."""
    x = np.linspace(-60, 60, 240_001)

    def density(mean, deviation):
        return np.exp(-((x - mean) ** 2) / (2 * deviation**2)) / (deviation * np.sqrt(2 * np.pi))

    p, q = density(*first), density(*second)
    inside = (p > 1e-300) & (q > 1e-300)
    return np.trapezoid(p[inside] * np.log(p[inside] / q[inside]), x[inside])


def test_the_term_is_that_of_a_loop_over_pictures_and_numbers():
    m1, s1, m2, s2, n1, n2 = arrays()
    crossed, apart = [], []
    for b in range(3):
        entropies, divergences = 0.0, 0.0
        for i in range(4):
            codes = m1[b, i] + n1[b, i] * np.exp(s1[b, i] / 2), m2[b, i] + n2[b, i] * np.exp(s2[b, i] / 2)
            p, q = (1 / (1 + np.exp(-code)) for code in codes)
            entropies -= q * np.log(p) + (1 - q) * np.log(1 - p) + p * np.log(q) + (1 - p) * np.log(1 - q)
            normals = (m1[b, i], np.exp(s1[b, i])), (m2[b, i], np.exp(s2[b, i]))
            divergences += divergence(*normals) + divergence(*normals[::-1])
        crossed.append(entropies)
        apart.append(divergences)
    tensors = [torch.from_numpy(each) for each in (m1, s1, m2, s2, n1, n2)]
    found = mutual_information_loss(tuple(tensors[:2]), tuple(tensors[2:4]), tuple(tensors[4:]))
    assert float(found) == pytest.approx(8 * np.mean(crossed) - np.mean(apart), rel=1e-6)


def test_cutting_a_batch_changes_nothing():
    tensors = [torch.from_numpy(each) for each in arrays(1, batch=4)]

    def loss(part):
        m1, s1, m2, s2, n1, n2 = (each[part] for each in tensors)
        return float(mutual_information_loss((m1, s1), (m2, s2), (n1, n2)))

    assert (loss(slice(0, 2)) + loss(slice(2, 4))) / 2 == pytest.approx(loss(slice(None)), rel=1e-12)


def test_codes_are_those_of_convolutions_and_linear_layers():
    torch.manual_seed(0)
    codes, features = GaussianCodes(3, (8, 12)), [torch.rand(2, 3, 8, 12) for _ in range(2)]
    found = []
    for i, feature in enumerate(features):
        first, _, second = codes.shrink[i]
        x = torch.conv2d(feature, first.weight, first.bias, stride=2, padding=1)
        x = torch.conv2d(torch.where(x > 0, x, 0.01 * x), second.weight, second.bias, stride=2, padding=1)
        assert x.shape == (2, 3, 2, 3)
        rows = x.reshape(2, -1)
        found.append([torch.tanh(rows @ layer[i].weight.T + layer[i].bias) for layer in (codes.mean, codes.spread)])
    torch.manual_seed(5)
    noise = torch.randn(2, 4), torch.randn(2, 4)
    expected = mutual_information_loss(tuple(found[0]), tuple(found[1]), noise)
    torch.manual_seed(5)
    assert float(codes(*features).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_frozen_networks_are_always_the_same_and_leave_the_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = frozen_codes(2, (8, 8), "cpu")
    assert torch.equal(torch.rand(3), expected)
    frozen_codes.cache_clear()
    second = frozen_codes(2, (8, 8), "cpu")
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        assert not one.requires_grad
    feature = torch.rand(1, 2, 8, 8, requires_grad=True)
    first(feature, torch.rand(1, 2, 8, 8)).backward()
    assert feature.grad.abs().sum() > 0
