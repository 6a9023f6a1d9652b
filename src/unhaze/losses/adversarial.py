"""A network that tells restored pictures from clear ones, and what both sides of that game minimise.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014 (``vanilla``, with the generator's loss that does not
saturate); Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017 (``lsgan``); Lim and Ye, "Geometric
GAN", 2017 (``hinge``). The discriminators are that of DNMGDT (NianWang-HJJGCDX/DNMGDT at f302544, MIT), that of D4
(:class:`ProbabilityDiscriminator`), and that of Wang et al., "Real-ESRGAN", ICCV Workshops 2021, which SelfPromer is
trained with.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from unhaze.errors import UnknownNameError

__all__ = [
    "Objective",
    "PatchDiscriminator",
    "ProbabilityDiscriminator",
    "UNetDiscriminator",
    "discriminator_loss",
    "generator_loss",
]

Objective = Literal["vanilla", "lsgan", "hinge"]


def discriminator_loss(real: Tensor, fake: Tensor, objective: Objective = "vanilla") -> Tensor:
    """Half the sum of what real and fake pictures cost the discriminator.

    Args:
        real: Verdicts on clear pictures, (B, 1, h, w) or of any other shape; high is real.
        fake: On restored ones, of the same shape.
        objective: ``"vanilla"`` (cross entropy), ``"lsgan"`` (square distance to 1 and 0), ``"hinge"`` (beyond 1 and
            -1 nothing).

    Raises:
        UnknownNameError: There is no such objective.

    >>> float(discriminator_loss(torch.ones(2), torch.zeros(2), "lsgan"))
    0.0
    """
    _check(objective)
    if objective == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return (_distance(real, 1.0, objective) + _distance(fake, 0.0, objective)) / 2


def generator_loss(fake: Tensor, objective: Objective = "vanilla") -> Tensor:
    """What restored pictures that do not pass for clear ones cost the network that made them.

    Args:
        fake: Verdicts on restored pictures, (B, 1, h, w) or of any other shape.
        objective: See :func:`discriminator_loss`.

    Raises:
        UnknownNameError: There is no such objective.
    """
    _check(objective)
    return -fake.mean() if objective == "hinge" else _distance(fake, 1.0, objective)


def _distance(verdicts: Tensor, label: float, objective: Objective) -> Tensor:
    wanted = torch.full_like(verdicts, label)
    return (F.mse_loss if objective == "lsgan" else F.binary_cross_entropy_with_logits)(verdicts, wanted)


def _check(objective: str) -> None:
    if objective not in get_args(Objective):
        raise UnknownNameError("adversarial objective", objective, get_args(Objective))


class PatchDiscriminator(nn.Module):
    """Five convolutions with spectral normalisation; every verdict is on a patch of 94x94 px.

    Args:
        channels: Width of the first layer; it doubles three times.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        widths = (3, *(channels * 2**i for i in range(4)))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 3, 4, padding=1)))

    def forward(self, image: Tensor) -> Tensor:
        """Verdicts (B, 3, H / 16 - 1, W / 16 - 1) on (B, 3, H, W) images in [-1, 1], of at least 32x32 px."""
        return cast("Tensor", self.layers(image))


class ProbabilityDiscriminator(nn.Module):
    """Five convolutions with spectral normalisation and a sigmoid; every verdict is on a patch of 70x70 px.

    That of D4 (YaN9-Y/D4 at 85cdf94).

    Args:
        channels: Width of the first layer; it doubles three times.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        widths = (3, *(channels * 2**i for i in range(4)))
        layers: list[nn.Module] = []
        for (inputs, outputs), stride in zip(pairwise(widths), (2, 2, 2, 1), strict=True):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride, padding=1, bias=False)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=1, bias=False)))

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (B, 1, H / 8 - 2, W / 8 - 2) that (B, 3, H, W) images in [0, 1], from 32x32 px on, are real."""
        return torch.sigmoid(self.layers(image))


class UNetDiscriminator(nn.Module):
    """Three steps down and up again with spectral normalisation and connections; a verdict on every pixel.

    Args:
        channels: Width at full size; it doubles at each of the three steps down.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(4)]
        self.enter = nn.Conv2d(3, channels, 3, padding=1)
        down = [nn.Conv2d(fine, coarse, 4, stride=2, padding=1, bias=False) for fine, coarse in pairwise(widths)]
        up = [nn.Conv2d(coarse, fine, 3, padding=1, bias=False) for fine, coarse in pairwise(widths)]
        last = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)]
        self.down, self.up, self.last = (nn.ModuleList(map(spectral_norm, part)) for part in (down, up[::-1], last))
        self.leave = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Verdicts (B, 1, H, W) on (B, 3, H, W) images; H and W are multiples of 8."""
        x = F.leaky_relu(self.enter(image), 0.2)
        passed = []
        for layer in self.down:
            passed.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        for layer in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(layer(x), 0.2) + passed.pop()
        for layer in self.last:
            x = F.leaky_relu(layer(x), 0.2)
        return cast("Tensor", self.leave(x))
