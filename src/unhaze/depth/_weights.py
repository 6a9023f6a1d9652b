"""Weights of depth estimators: filled in whole or not at all, and a name for what was filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from unhaze.errors import UsageError, WeightsError, WeightsNotFoundError
from unhaze.models.checkpoints.detect import compare

__all__ = ["digest", "fill", "refuse_noise"]


def fill(module: nn.Module, state: Mapping[str, Tensor], source: str | Path, name: str) -> None:
    """Load tensors into ``module``; there must be one for each place, and a place for each.

    Args:
        module: Changed in place.
        state: Tensor by key of ``module``.
        source: Where they come from, for the message.
        name: The estimator, for the message.

    Raises:
        WeightsError: They do not fit; the message says which.
    """
    fit = compare(state, {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()})
    if not fit.perfect:
        raise WeightsError(f"{source} does not fit {name}: {fit}; give the weights of this estimator.")
    module.load_state_dict(state, strict=False)  # counters of batch normalisation may be absent


def digest(module: nn.Module) -> str:
    """Twelve hexadecimal digits that stand for all weights, whatever file they came from.

    >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> digest(first) == digest(second), len(digest(first))
    (False, 12)
    """
    total = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            total.update(key.encode() + b"\0" + tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


def refuse_noise(name: str, weights: str | Path | None, untrained: bool, where: str) -> None:
    """Let nobody get random depth by accident: weights are needed unless noise is asked for in so many words.

    Args:
        name: The estimator.
        weights: What the user gave.
        untrained: Whether random weights are wanted.
        where: Which file or folder it needs.

    Raises:
        WeightsNotFoundError: Neither was given.
        UsageError: Both were.
    """
    if weights is not None and untrained:
        raise UsageError(f"{name} cannot be untrained and have weights; leave out one of the two.")
    if weights is None and not untrained:
        raise WeightsNotFoundError(f"{name} needs trained weights; give {where} as weights.")
