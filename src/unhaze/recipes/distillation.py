"""A student that learns from pairs and from the features of a trained teacher, as CoA's second stage does.

Ma, Feng, Zhang, Liu, Fan, Liu, "CoA: Towards Real Image Dehazing via Compression-and-Adaptation", CVPR 2025; official
code YanZhang-zy/CoA at f94b8c4. Of the three stages, the first is the preset ``coa-teacher-its`` of ``supervised``,
this is the second, and the third, which adapts the student to real haze, is :mod:`unhaze.recipes.adaptation`.

The features that are compared are those that both networks name ``feat0`` (half size) to ``feat3`` (a sixteenth). As in
the official code, nothing trains the 1x1 convolutions through which the teacher shows its features (``to_feat0`` to
``to_feat3``): the first stage has no loss on them and the second freezes them, so the student learns random mixtures of
the teacher's features.

A run is a function of its configuration and of the teacher's weights; resuming is exact, as in ``supervised``.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from unhaze.data.batch import Batch
from unhaze.errors import UsageError, WeightsNotFoundError
from unhaze.losses.distillation import feature_affinity
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import load_weights, save_weights
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import create_network, resolve_network
from unhaze.recipes import supervised
from unhaze.recipes.supervised import describe, inspect
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.loss import restoration_terms
from unhaze.training.pairs import batches, data_facts, open_data, random_batch
from unhaze.training.record import RunRecord, check_values
from unhaze.training.state import NetworkState, estimate_cost, place
from unhaze.training.steps import add_gradients, autocast, descend, rate_factor, set_rate
from unhaze.training.validation import score_network
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


@dataclass(slots=True, kw_only=True)
class State(NetworkState[Model]):
    """A training at some step; the teacher is frozen and comes from its file, so no checkpoint holds it."""

    teacher: Model


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
    """One optimiser step of the student; the values of the loss terms, means over all processes."""
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    values: dict[str, Tensor] = {}
    for part in batch.to(device).parts(config.accumulate):
        with autocast(device, config.precision):
            restored = state.network.restore(part.hazy)
        terms = restoration_terms(restored, part.clear, part.hazy, config.loss)
        with torch.no_grad(), autocast(device, config.precision):
            taught = state.teacher.restore(part.hazy)
        terms["affinity"] = config.affinity * affinity(restored, taught, config)
        add_gradients(terms, state.scaler, parts=config.accumulate, values=values)
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({**values, "norm": norm})


def affinity(restored: Restored, taught: Restored, config: Config) -> Tensor:
    """How far the student's features are from the teacher's.

    Raises:
        UsageError: They have no features of the same names and shapes.
    """
    names = sorted(name for name in restored.aux if name.startswith("feat") and name in taught.aux)
    student, teacher = ([each.aux[name] for name in names] for each in (restored, taught))
    if not names or any(own.shape != other.shape for own, other in zip(student, teacher, strict=True)):
        raise UsageError(
            f"{config.network} and {config.teacher} have no features of the same shapes; take a student and the "
            "teacher of CoA."
        )
    return feature_affinity(student, teacher)


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
    device = choose_device(config.device)
    join_processes(device)
    state = setup(config)
    dataset, held_out = open_data(config.data, data, config.seed)
    settings, facts = asdict(config), data_facts(dataset, config.data)
    with RunRecord(out, config.loop, settings=settings, data=facts, batch=config.data.batch, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        for batch in batches(dataset, config.data, seed=config.seed, first=state.steps_done, steps=config.steps):
            values = step(state, batch, config)
            done, scores = state.steps_done, None
            check_values(values, done)
            if run.is_validation(done):
                strips = Path(out) / "strips" / f"step-{done:07d}.png"
                scores = score_network(state.average.network, held_out, config.protocol, device, strips)
            run.record(done, values, scores)
            if run.is_checkpoint(done):
                run.save(done, state.state_dict())
    leave_processes()
    return state


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and write the student's averaged weights as ``weights.safetensors`` into ``out``; its path."""
    state = train(config, data, out, resume=resume)
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_weights(state.average.network.state_dict(), path, resolve_network(config.network), overwrite=True)
    return path


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise, with a teacher that need not be trained for that."""
    state, batch = setup(config, teacher=create_network(resolve_network(config.teacher))), random_batch(config.data)
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
