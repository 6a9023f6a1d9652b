"""Adversarial objectives against their formulas, and the discriminator."""

import numpy as np
import pytest
import torch

from unhaze.errors import UnknownNameError
from unhaze.losses import PatchDiscriminator, discriminator_loss, generator_loss

FORMULAS = {
    "vanilla": (lambda r: np.log1p(np.exp(-r)), lambda f: np.log1p(np.exp(f)), lambda f: np.log1p(np.exp(-f))),
    "lsgan": (lambda r: (r - 1) ** 2, lambda f: f**2, lambda f: (f - 1) ** 2),
    "hinge": (lambda r: np.maximum(0, 1 - r), lambda f: np.maximum(0, 1 + f), lambda f: -f),
}


@pytest.mark.parametrize("objective", FORMULAS)
def test_objectives_are_their_formulas(objective):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0, 2, (2, 3, 4, 4)), rng.normal(0, 2, (2, 3, 4, 4))
    of_real, of_fake, of_maker = FORMULAS[objective]
    tensors = torch.from_numpy(real), torch.from_numpy(fake)
    expected = (of_real(real).mean() + of_fake(fake).mean()) / 2
    assert float(discriminator_loss(*tensors, objective)) == pytest.approx(expected, rel=1e-9)
    assert float(generator_loss(tensors[1], objective)) == pytest.approx(of_maker(fake).mean(), rel=1e-9)


def test_an_unknown_objective_is_named():
    with pytest.raises(UnknownNameError, match="lsgan"):
        discriminator_loss(torch.ones(1), torch.ones(1), "lsgn")
    with pytest.raises(UnknownNameError, match="lsgan"):
        generator_loss(torch.ones(1), "lsgn")


def test_a_verdict_sees_94_pixels_and_weights_have_norm_1():
    torch.manual_seed(0)
    network = PatchDiscriminator(8)
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 3, 1, 1)
    for _ in range(30):  # each pass in training takes the estimate of the norm one step further
        network(torch.rand(1, 3, 32, 32))
    network.eval()
    for layer in network.layers[::2]:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.05)
    image = torch.rand(1, 3, 224, 224, requires_grad=True)
    verdicts = network(image)
    assert verdicts.shape == (1, 3, 13, 13)
    verdicts[0, 0, 6, 6].backward()
    seen = image.grad.abs().sum((0, 1)).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [94, 94]
