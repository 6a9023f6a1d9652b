"""Training on pairs with a loss on the restored picture: what most papers on dehazing do.

Every network of the catalogue can be trained by it; a preset holds what the network's official code uses (loss,
optimiser, schedule, crop, batch). Known gap to all of them: they count epochs and this recipe counts steps, so a preset
gives the steps that the published number of epochs makes on the published data.

A run is a function of its configuration: a run that was killed and resumed gives the weights of one that was not, bit
for bit, on the same machine with the same threads. N processes (``torchrun``) share each batch.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unhaze.data.batch import Batch
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import load_weights, save_weights
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import create_network, resolve_network
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.loss import LossConfig, restoration_terms
from unhaze.training.pairs import DataConfig, batches, data_facts, inspect_data, open_data, random_batch
from unhaze.training.record import LoopConfig, RunRecord, check_values
from unhaze.training.state import NetworkState, begin, count_parameters, estimate_cost, prepare_process
from unhaze.training.steps import (
    OptimizerConfig,
    Precision,
    ScheduleConfig,
    add_gradients,
    autocast,
    descend,
    rate_factor,
    set_rate,
)
from unhaze.training.validation import score_network

__all__ = ["Config", "State", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]

State = NetworkState[Model]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on, data apart.

    Attributes:
        network: Name in the catalogue; the variant may be left out where there is only one.
        weights: File to start from; empty for fresh weights.
        accumulate: Parts that a batch is cut into, one after the other, to save memory.
        ema: Decay of the averaged weights, which are the ones that are validated and written.
        precision: Of the forward pass.
        protocol: That the validation scores by.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: Of torch; results differ in the last bits between numbers of threads.
    """

    network: str = "dehazeformer-t"
    weights: str = ""
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    accumulate: int = 1
    ema: float = 0.999
    precision: Precision = "fp32"
    protocol: str = "full8bit"
    device: str = "auto"
    threads: int = 1

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return self.loop.steps


def setup(config: Config) -> State:
    """A training at step 0.

    Raises:
        UsageError: A setting cannot work.
    """
    prepare_process(config.seed, config.threads)
    network = create_network(resolve_network(config.network))
    if config.weights:
        load_weights(network, config.weights)
    device = choose_device(config.device)
    return begin(network, config.optimizer, ema=config.ema, precision=config.precision, device=device)


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms, means over all processes."""
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    values: dict[str, Tensor] = {}
    for part in batch.to(device).parts(config.accumulate):
        with autocast(device, config.precision):
            restored = state.network.restore(part.hazy)
        terms = restoration_terms(restored, part.clear, part.hazy, config.loss)
        add_gradients(terms, state.scaler, parts=config.accumulate, values=values)
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({**values, "norm": norm})


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start.

    Args:
        config: All settings.
        data: Folder of the data set.
        out: Folder of the run: ``config.json``, ``log.jsonl``, ``strips/``, ``checkpoints/``.
        resume: ``"auto"`` for the newest checkpoint in ``out`` if there is one, or a checkpoint file.

    Raises:
        UsageError: A setting cannot work, the data is missing, ``out`` holds another run, or the checkpoint is of other
            settings or data.
    """
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
    """Train, and write the averaged weights as ``weights.safetensors`` into ``out``; its path."""
    state = train(config, data, out, resume=resume)
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_weights(state.average.network.state_dict(), path, resolve_network(config.network), overwrite=True)
    return path


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    with torch.device("meta"):
        network = create_network(resolve_network(config.network))
    samples = config.steps * config.data.batch
    return {"config": asdict(config), **count_parameters(network), "steps": config.steps, "samples": samples}


def inspect(config: Config, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run."""
    return inspect_data(config.data, data, config.seed)


def rehearse(config: Config) -> dict[str, float]:
    """Two steps on noise, to tell how long the training will take and how much memory.

    Returns:
        See :func:`~unhaze.training.state.estimate_cost`; the time is that of the second step.
    """
    state, batch = setup(config), random_batch(config.data)
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
