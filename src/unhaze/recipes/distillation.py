"""A student that learns from pairs and from the features of a trained teacher, as CoA's second stage does.

Ma, Feng, Zhang, Liu, Fan, Liu, "CoA: Towards Real Image Dehazing via Compression-and-Adaptation", CVPR 2025; official
code YanZhang-zy/CoA at f94b8c4. Of the three stages, the first is the preset ``coa-teacher-its`` of ``supervised`` and
this is the second. The third adapts a student to real haze by a text loss of CLIP and is not here: it needs CLIP's
weights.

The features that are compared are those that both networks name ``feat0`` (half size) to ``feat3`` (a sixteenth). As in
the official code, nothing trains the 1x1 convolutions through which the teacher shows its features (``to_feat0`` to
``to_feat3``): the first stage has no loss on them and the second freezes them, so the student learns random mixtures of
the teacher's features.

A run is a function of its configuration and of the teacher's weights; resuming is exact, as in ``supervised``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unhaze.errors import UsageError, WeightsNotFoundError
from unhaze.losses.distillation import feature_affinity
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import load_weights
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import create_network, resolve_network
from unhaze.recipes import supervised
from unhaze.recipes._paired import Batch, NetworkState
from unhaze.recipes.supervised import (
    descend_on,
    describe,
    inspect,
    place,
    rehearse_steps,
    train_network,
    write_weights,
)
from unhaze.training.distributed import join_processes
from unhaze.training.loop import Progress
from unhaze.training.optim import autocast
from unhaze.types import Restored

__all__ = ["Config", "State", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]


@dataclass(frozen=True, slots=True)
class Config(supervised.Config):
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        network: The student.
        teacher: Name of the teacher in the catalogue.
        teacher_weights: Its weights, without which there is nothing to learn.
        affinity: Weight of :func:`~unhaze.losses.distillation.feature_affinity` beside the terms of ``loss``.
    """

    network: str = "coa-train_rb1"
    teacher: str = "coa-teacher"
    teacher_weights: str = ""
    affinity: float = 1.0


@dataclass(slots=True)
class State(NetworkState[Model]):
    """A training at some step; the teacher is frozen and comes from its file, so no checkpoint holds it."""

    teacher: Model | None = None


def setup(config: Config, *, teacher: Model | None = None) -> State:
    """A training at step 0.

    Args:
        config: All settings.
        teacher: Created and filled as configured if ``None``.

    Raises:
        WeightsNotFoundError: No weights are given for the teacher, or there is no such file.
        UsageError: A setting cannot work.
    """
    if teacher is None:
        if not config.teacher_weights:
            raise WeightsNotFoundError(
                "A student needs a trained teacher; name its weights with --set teacher_weights=FILE, or train one "
                "with the preset coa-teacher-its."
            )
        teacher = create_network(resolve_network(config.teacher))
        load_weights(teacher, config.teacher_weights)
    begun = supervised.setup(config)
    frozen = place(teacher, choose_device(config.device)).eval().requires_grad_(False)
    return State(begun.network, begun.average, begun.optimizer, begun.scaler, teacher=frozen)


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step of the student; the values of the loss terms."""

    def learn(restored: Restored, part: Batch) -> dict[str, Tensor]:
        return {"affinity": config.affinity * _affinity(state.teacher, restored, part, config)}

    return descend_on(state, batch, config, lambda part: state.network.restore(part.hazy), learn)


def _affinity(teacher: Model | None, restored: Restored, part: Batch, config: Config) -> Tensor:
    assert teacher is not None
    with torch.no_grad(), autocast(choose_device(config.device), config.precision):
        taught = teacher.restore(part.hazy).aux
    names = sorted(name for name in restored.aux if name.startswith("feat") and name in taught)
    student = [restored.aux[name] for name in names]
    if not names or any(own.shape != taught[name].shape for own, name in zip(student, names, strict=True)):
        raise UsageError(
            f"{config.network} and {config.teacher} have no features of the same shapes; take a student and the "
            "teacher of CoA."
        )
    return feature_affinity(student, [taught[name] for name in names])


def train(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
    join_processes(choose_device(config.device))
    state = setup(config)
    train_network(state, config, data, out, resume, report, step)
    return state


def main(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train, and write the student's averaged weights as ``weights.safetensors`` into ``out``; its path."""
    return write_weights(train(config, data, out, resume=resume, report=report), config, out)


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise, with a teacher that need not be trained for that."""
    teacher = create_network(resolve_network(config.teacher))
    return rehearse_steps(setup(config, teacher=teacher), config, step)
