"""Stage runners: how depth fusion and recording reach into a network that knows none of them.

A network calls ``run(name, block, x)`` for each of its stages instead of ``block(x)``. The default runner does just
that; every other runner is a function of the same form, so runners nest (:func:`compose`) and carry no state in the
network: two threads, copies and exported graphs cannot disturb one another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

__all__ = ["Block", "Runner", "compose", "record_stages", "run_block"]

Block = Callable[[Tensor], Tensor]


class Runner(Protocol):
    """Runs one stage of a network."""

    def __call__(self, name: str, block: Block, x: Tensor, /) -> Tensor:
        """The stage's output for the feature map ``x`` of shape (B, C, H, W)."""
        ...


def run_block(_name: str, block: Block, x: Tensor, /) -> Tensor:
    """The plain runner: the stage and nothing else; ``x`` is (B, C, h, w)."""
    return block(x)


def record_stages(features: dict[str, list[Tensor]], run: Runner = run_block) -> Runner:
    """A runner that also keeps what leaves each stage.

    Args:
        features: Filled during the forward pass: stage name to its outputs (B, C, h, w), one per time that it ran.
        run: The runner that does the work.

    >>> import torch
    >>> seen = {}
    >>> y = record_stages(seen)("enc1", torch.neg, torch.ones(1, 2, 4, 4))
    >>> {name: [tuple(x.shape) for x in outputs] for name, outputs in seen.items()}
    {'enc1': [(1, 2, 4, 4)]}
    """

    def record(name: str, block: Block, x: Tensor, /) -> Tensor:
        out = run(name, block, x)
        features.setdefault(name, []).append(out)
        return out

    return record


def compose(*runners: Runner) -> Runner:
    """One runner of several: the first is the outermost, and sees what all others make of a stage.

    >>> import torch
    >>> double = lambda name, block, x: 2 * block(x)
    >>> add_one = lambda name, block, x: block(x) + 1
    >>> compose(double, add_one)("mid", torch.neg, torch.tensor(3.0))
    tensor(-4.)
    """

    def run(name: str, block: Block, x: Tensor, /) -> Tensor:
        for runner in reversed(runners):
            block = partial(runner, name, block)
        return block(x)

    return run
