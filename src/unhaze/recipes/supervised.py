"""Training on pairs with a loss on the restored picture: what most papers on dehazing do.

Every network of the catalogue can be trained by it; a preset holds what the network's official code uses (loss,
optimiser, schedule, crop, batch). Known gap to all of them: they count epochs and this recipe counts steps, so a preset
gives the steps that the published number of epochs makes on the published data.

A run is a function of its configuration: a run that was killed and resumed gives the weights of one that was not, bit
for bit, on the same machine with the same threads. N processes (``torchrun``) share each batch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import load_weights, save_weights
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import create_network, resolve_network
from unhaze.recipes._loss import LossConfig, restoration_terms
from unhaze.recipes._paired import (
    Batch,
    DataConfig,
    NetworkState,
    batches,
    data_facts,
    describe_network,
    inspect_data,
    open_data,
    score_network,
)
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.ema import ExponentialMovingAverage
from unhaze.training.loop import LoopConfig, Progress, run_steps
from unhaze.training.memory import keep_freed_memory, resident_peak
from unhaze.training.optim import (
    OptimizerConfig,
    Precision,
    autocast,
    create_optimizer,
    create_scaler,
    descend,
    set_rate,
)
from unhaze.training.schedules import ScheduleConfig, rate_factor
from unhaze.training.seed import seed_everything

__all__ = ["Config", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]

State = NetworkState[Model]
ModuleT = TypeVar("ModuleT", bound=nn.Module)


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
    """A training at step 0."""
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    seed_everything(config.seed)
    network = create_network(resolve_network(config.network))
    if config.weights:
        load_weights(network, config.weights)
    device = choose_device(config.device)
    network = place(network, device)
    average = ExponentialMovingAverage(network, config.ema)
    optimizer = create_optimizer(network.parameters(), config.optimizer)
    return NetworkState(network.train(), average, optimizer, create_scaler(device, config.precision))


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms."""

    def restore(part: Batch) -> Any:
        return state.network.restore(part.hazy)

    return descend_on(state, batch, config, restore)


def descend_on(
    state: Any,
    batch: Batch,
    config: Any,
    restore: Callable[[Batch], Any],
    further: Callable[[Any, Batch], dict[str, Tensor]] | None = None,
) -> dict[str, float]:
    """The step itself, for any way of restoring: accumulate, average over processes, clip, step, average weights.

    Args:
        state: Of which ``network`` is trained.
        batch: All pictures of the step.
        config: Of any recipe for one network and one optimiser.
        restore: Restores a part of the batch.
        further: Terms beside those of ``config.loss``, given what was restored and of which part.
    """
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    sums: dict[str, Tensor] = {}
    for part in batch.to(device).parts(config.accumulate):
        with autocast(device, config.precision):
            restored = restore(part)
        terms = restoration_terms(restored, part.clear, part.hazy, config.loss)
        if further is not None:
            terms |= further(restored, part)
        total = torch.stack(list(terms.values())).sum() / config.accumulate
        state.scaler.scale(total).backward()
        for name, value in {"loss": total * config.accumulate, **terms}.items():
            sums[name] = sums.get(name, total.new_zeros(())) + value.detach() / config.accumulate
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({**sums, "norm": norm})


def train(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> State:
    """Train from the newest checkpoint on, or from the start.

    Args:
        config: All settings.
        data: Folder of the data set.
        out: Folder of the run: ``config.json``, ``log.jsonl``, ``strips/``, ``checkpoints/``.
        resume: ``"auto"`` for the newest checkpoint in ``out`` if there is one, or a checkpoint file.
        report: Told where the training stands.

    Raises:
        UsageError: A setting cannot work, the data is missing, ``out`` holds another run, or the checkpoint is of other
            settings or data.
    """
    join_processes(choose_device(config.device))
    state = setup(config)
    train_network(state, config, data, out, resume, report, step)
    return state


def train_network(
    state: Any,
    config: Any,
    data: str | Path,
    out: str | Path,
    resume: str | Path | None,
    report: Callable[[Progress], None] | None,
    take_step: Callable[[Any, Batch, Any], dict[str, float]],
) -> None:
    """What follows ``setup`` in a recipe whose network needs the hazy picture alone: data, validation, loop."""
    dataset, held_out = open_data(config.data, data, config.seed)

    def validate(done: int) -> Mapping[str, float]:
        if not is_main():
            return {}
        strips = Path(out) / "strips" / f"step-{done:07d}.png"
        network, device = state.average.network, choose_device(config.device)
        return score_network(lambda batch: network.restore(batch.hazy), held_out, config.protocol, device, strips)

    run_on_pairs(state, config, dataset, out, resume, report, validate, take_step)
    leave_processes()


def run_on_pairs(
    state: Any,
    config: Any,
    dataset: Any,
    out: str | Path,
    resume: str | Path | None,
    report: Callable[[Progress], None] | None,
    validate: Callable[[int], Mapping[str, float]],
    take_step: Callable[[Any, Batch, Any], dict[str, float]],
) -> None:
    """The loop of a recipe whose steps take batches of pairs."""
    stream: list[Any] = []  # begun at the first step, when a checkpoint has said which that is

    told: set[str] = set()

    def advance(number: int) -> Mapping[str, float]:
        if not stream:
            # a loader draws a random number when it begins, which a resumed run would draw at another place
            with torch.random.fork_rng(devices=[]):
                stream.append(batches(dataset, config.data, seed=config.seed, first=number, steps=config.steps))
        batch = next(stream[0])
        for name, message in batch.skipped:
            if name not in told:
                told.add(name)
                warnings.warn(f"{name} was passed over. {message}", stacklevel=2)
        return take_step(state, batch, config)

    run_steps(
        state,
        config.loop,
        out=out,
        settings=asdict(config),
        data=data_facts(dataset, config.data),
        advance=advance,
        batch=config.data.batch,
        resume=resume,
        validate=validate,
        report=report,
    )


def main(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train, and write the averaged weights as ``weights.safetensors`` into ``out``; its path."""
    return write_weights(train(config, data, out, resume=resume, report=report), config, out)


def write_weights(state: Any, config: Any, out: str | Path) -> Path:
    """The averaged weights of a network of the catalogue as ``weights.safetensors``; its path."""
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_weights(state.average.network.state_dict(), path, resolve_network(config.network), overwrite=True)
    return path


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    with torch.device("meta"):
        network = create_network(resolve_network(config.network))
    samples = config.steps * config.data.batch
    return {"config": asdict(config), **describe_network(network), "steps": config.steps, "samples": samples}


def inspect(config: Any, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run; for the configuration of any recipe without depth."""
    return inspect_data(config.data, data, config.seed)


def rehearse(config: Config) -> dict[str, float]:
    """Two steps on noise, to tell how long the training will take and how much memory.

    Returns:
        ``seconds_per_step`` of the second, ``hours`` of all, and ``peak_memory_mb`` of the process, where the system
        tells.
    """
    return rehearse_steps(setup(config), config, step)


def rehearse_steps(
    state: Any, config: Any, take_step: Callable[[Any, Batch, Any], dict[str, float]]
) -> dict[str, float]:
    """:func:`rehearse`, for any recipe whose steps take batches of pairs."""
    size = (config.data.batch, 3, config.data.crop, config.data.crop)
    hazy, clear, near = torch.rand(size), torch.rand(size), torch.rand(size)[:, :1]
    batch = Batch(hazy, clear, near, torch.ones(size[0], dtype=torch.bool), ())
    take_step(state, batch, config)
    started = time.perf_counter()
    take_step(state, batch, config)
    seconds = time.perf_counter() - started
    peak = resident_peak()
    known = {} if peak is None else {"peak_memory_mb": round(peak / 2**20)}
    return {"seconds_per_step": round(seconds, 3), "hours": round(seconds * config.steps / 3600, 2), **known}


def place(network: ModuleT, device: torch.device) -> ModuleT:
    """A network on a device, in the layout that trains best there.

    On a CPU channels-last makes gradients of normalisations six to twelve times less exact, and those of dilated
    convolutions in bfloat16 no numbers at all (measured with torch 2.13).
    """
    if device.type == "cpu":
        return network.to(device)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
