"""The mutual information term of MITNet, between features of its two stages.

Shen, Zhao, Zhang, Zhang, "Mutual Information-driven Triple Interaction Network for Efficient Image Dehazing", ACM MM
2023; official code it-hao/MITNet at e1243aa.

Networks turn both features into small Gaussian codes, which are then compared. In the official code no optimiser holds
these networks: they stay as random as they began, and the gradient passes through them into the features.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

__all__ = ["GaussianCodes", "frozen_codes", "mutual_information_loss"]

PUBLISHED_BATCH = 8
CODE = 4  # numbers of a code


def mutual_information_loss(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], noise: tuple[Tensor, Tensor]
) -> Tensor:
    """Cross entropy of two codes less their divergence, as the official code has it.

    A code is squeezed to (0, 1) and compared by the binary cross entropy, both ways; the divergences of Kullback and
    Leibler, both ways, are taken off. The official code sums the first over its batch of 8 and takes the mean of the
    second; here the mean of the first is taken 8 times, whatever the batch, so that cutting a batch into parts changes
    nothing. Its two notions of a standard deviation are kept: exp(s / 2) draws the code, exp(s) measures it.

    Args:
        first: Mean and s, (B, N) each.
        second: Likewise.
        noise: (B, N) for either, standard normal.

    >>> same = (torch.zeros(2, 1), torch.zeros(2, 1))
    >>> round(float(mutual_information_loss(same, same, same)), 4)  # 16 log 2
    11.0904
    """
    means, spreads = zip(first, second, strict=True)
    one, other = (mean + draw * (s / 2).exp() for mean, s, draw in zip(means, spreads, noise, strict=True))
    crossed = _cross_entropy(one, other) + _cross_entropy(other, one)
    here, there = (Independent(Normal(mean, s.exp()), 1) for mean, s in zip(means, spreads, strict=True))
    apart = kl_divergence(here, there) + kl_divergence(there, here)
    return PUBLISHED_BATCH * crossed.mean() - apart.mean()


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(B,); no gradient goes into the target."""
    return F.binary_cross_entropy_with_logits(logits, target.sigmoid().detach(), reduction="none").sum(1)


class GaussianCodes(nn.Module):
    """Makes the codes of two features of one size: a quarter of the size by convolutions, then linear layers.

    Args:
        channels: C of both.
        size: (H, W) of both, multiples of 4.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        values = channels * (size[0] // 4) * (size[1] // 4)
        self.shrink = nn.ModuleList(_shrinking(channels) for _ in range(2))
        self.mean = nn.ModuleList(nn.Linear(values, CODE) for _ in range(2))
        self.spread = nn.ModuleList(nn.Linear(values, CODE) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """:func:`mutual_information_loss` of (B, C, H, W) features, with fresh noise."""
        codes: list[tuple[Tensor, Tensor]] = []
        for i, features in enumerate((first, second)):
            values = self.shrink[i](features.float()).flatten(1)
            codes.append((self.mean[i](values).tanh(), self.spread[i](values).tanh()))
        noise = (torch.randn_like(codes[0][0]), torch.randn_like(codes[1][0]))
        return mutual_information_loss(codes[0], codes[1], noise)


def _shrinking(channels: int) -> nn.Sequential:
    first, second = (nn.Conv2d(channels, channels, 4, stride=2, padding=1) for _ in range(2))
    return nn.Sequential(first, nn.LeakyReLU(), second)


@lru_cache(maxsize=8)
def frozen_codes(channels: int, size: tuple[int, int], device: str) -> GaussianCodes:
    """Random networks that are never trained; always the same ones, so that no checkpoint need hold them."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(channels)  # that of the CPU alone; a GPU's would not be put back
        codes = GaussianCodes(channels, size)
    return codes.requires_grad_(False).to(torch.device(device))
