"""Exponential moving average of the weights."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

__all__ = ["ExponentialMovingAverage"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class ExponentialMovingAverage(Generic[NetworkT]):
    """A second network whose weights trail those that are trained.

    The decay grows from 0.1 to its final value as (1 + n) / (10 + n), so that the random start is soon forgotten.

    Args:
        network: Copied, never changed.
        decay: Final share of the old value per update, in [0, 1).
    """

    def __init__(self, network: NetworkT, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"The decay must be in [0, 1), but is {decay}.")
        self.decay, self.updates = decay, 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: NetworkT) -> None:
        """Move towards the weights of ``network``; buffers are copied."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, value in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(value, 1 - decay)
        for own, current in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(current)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Weights and the number of updates."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        self.updates = int(state["updates"])
