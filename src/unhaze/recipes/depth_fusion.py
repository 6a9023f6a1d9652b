"""Depth fused into a trained network: the two stages of P2.

"Can Large Pretrained Depth Estimation Models Help With Image Dehazing?", Methods, "Overall Framework": the network is
trained on colour alone first; then the fusion modules, which change nothing at first because of their zero
convolutions, are trained with it (or alone, Table 4), by a cosine with restarts. Stage 1 is the recipe
``supervised``; this is stage 2, and also the whole where the network starts fresh. Known gaps: the learning rates of
Table 7 are lost in the text, and no code is public.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unhaze.data.dataset import Dataset, Sample
from unhaze.depth import create_depth
from unhaze.depth.base import gives_features
from unhaze.errors import UsageError
from unhaze.models.guided import Freeze, GuidedDehazer, create_model, save_model
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.device import choose_device
from unhaze.recipes._loss import LossConfig
from unhaze.recipes._paired import (
    CACHED,
    Batch,
    DataConfig,
    NetworkState,
    cached_source,
    describe_network,
    has_depth,
    inspect_data,
    no_depth,
    open_data,
    score_network,
)
from unhaze.recipes.supervised import descend_on, place, rehearse_steps, run_on_pairs
from unhaze.training.distributed import is_main, join_processes, leave_processes
from unhaze.training.ema import ExponentialMovingAverage
from unhaze.training.loop import LoopConfig, Progress
from unhaze.training.memory import keep_freed_memory
from unhaze.training.optim import OptimizerConfig, Precision, create_optimizer, create_scaler
from unhaze.training.schedules import ScheduleConfig
from unhaze.training.seed import seed_everything
from unhaze.types import Restored

__all__ = ["Config", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]

State = NetworkState[GuidedDehazer]
_FROM_DATA = ("stored", "shuffled")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        model: ``"<network>+<fusion>"``.
        backbone_weights: Weights of stage 1; empty for a fresh network.
        depth: ``"stored"`` for the depth of the data set, ``"shuffled"`` for that of another picture of the batch (the
            control that shows whether depth matters), the name of an estimator, which sees each view, or ``"cached:"``
            and that name: what it finds in whole pictures, features included, run once per picture and kept.
        depth_weights: File or folder with the weights of the estimator.
        freeze: ``"backbone"`` trains the fusion alone (P2, Table 4).
        switches: Parts of the fusion module to leave out, ``"name"``; see its class.
    """

    model: str = "dehazeformer-t+hgdf"
    backbone_weights: str = ""
    depth: str = "stored"
    depth_weights: str = ""
    freeze: Freeze = "none"
    switches: tuple[str, ...] = ()
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig(shape="restarts"))
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
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    seed_everything(config.seed)
    model = _create(config)
    if model.fusions.compares and not _is_live(config):
        raise UsageError(
            f"{config.model} compares depth before and after, which stored depth cannot do; name an estimator with "
            "--set depth=NAME."
        )
    device = choose_device(config.device)
    model = place(model, device)
    average = ExponentialMovingAverage(model, config.ema)
    optimizer = create_optimizer(model.parameters(), config.optimizer)
    return NetworkState(model.train(), average, optimizer, create_scaler(device, config.precision))


def _create(config: Config) -> GuidedDehazer:
    estimator = None
    if config.depth not in _FROM_DATA:
        name = config.depth.removeprefix(CACHED)
        estimator = create_depth(name, **({"weights": config.depth_weights} if config.depth_weights else {}))
    switches: dict[str, Any] = dict.fromkeys(config.switches, False)
    weights = config.backbone_weights or None
    return create_model(config.model, estimator, freeze=config.freeze, backbone_weights=weights, **switches)


def _is_live(config: Config) -> bool:
    """Whether an estimator looks at each view."""
    return config.depth not in _FROM_DATA and not config.depth.startswith(CACHED)


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms."""
    return descend_on(state, _told(batch, config), config, lambda part: _restore(state.network, part, config))


def _told(batch: Batch, config: Config) -> Batch:
    """The batch with the depth that the network is told."""
    if config.depth != "shuffled":
        return batch
    if len(batch.hazy) < 2:
        raise UsageError("Depth can only be shuffled within batches of two or more; raise data.batch.")
    return batch._replace(nearness=batch.nearness.roll(1, 0))


def _restore(model: GuidedDehazer, batch: Batch, config: Config) -> Restored:
    if _is_live(config):
        return model.restore(batch.hazy)
    return model.restore(batch.hazy, DepthView(batch.nearness, batch.features or (batch.nearness,)))


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
    dataset, held_out = _open(state, config, data)

    def validate(done: int) -> Mapping[str, float]:
        if not is_main():
            return {}
        strips = Path(out) / "strips" / f"step-{done:07d}.png"
        model, device = state.average.network, choose_device(config.device)
        return score_network(lambda batch: _restore(model, batch, config), held_out, config.protocol, device, strips)

    run_on_pairs(state, config, dataset, out, resume, report, validate, step)
    leave_processes()
    return state


def _open(state: State, config: Config, data: str | Path) -> tuple[Dataset, list[Sample]]:
    """Pairs with the depth that is asked for, to train and to validate on."""
    if config.depth.startswith(CACHED):
        estimator = state.network.estimator
        assert estimator is not None
        source = cached_source(estimator, config.data, features=gives_features(estimator))
        return open_data(config.data, data, config.seed, source)
    dataset, held_out = open_data(config.data, data, config.seed)
    if config.depth in _FROM_DATA and not has_depth(dataset):
        raise no_depth(config.data, data, "depth")
    if config.depth == "shuffled":  # a network that learnt from wrong depth is scored on wrong depth
        held_out = [replace(each, depth=held_out[i - 1].depth) for i, each in enumerate(held_out)]
    return dataset, held_out


def main(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train, and write the averaged weights: ``weights.safetensors``, and the fusion alone, ``fusion.safetensors``.

    Returns:
        Path of the whole.
    """
    model = train(config, data, out, resume=resume, report=report).average.network
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_model(model, Path(out) / "fusion.safetensors", "fusions", overwrite=True)
        save_model(model, path, overwrite=True)
    return path


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    model = _create(replace(config, backbone_weights=""))
    samples = config.steps * config.data.batch
    return {"config": asdict(config), **describe_network(model), "steps": config.steps, "samples": samples}


def inspect(config: Config, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run; no estimator is run."""
    return inspect_data(config.data, data, config.seed, depth_setting="depth" if config.depth in _FROM_DATA else "")


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise; see :func:`unhaze.recipes.supervised.rehearse`."""
    state = setup(config)
    estimator = state.network.estimator
    if _is_live(config) or estimator is None or not gives_features(estimator):
        return rehearse_steps(state, config, step)
    crop, levels = config.data.crop, estimator.levels
    noise = tuple(torch.rand(config.data.batch, x.channels, *2 * (max(1, round(crop / x.stride)),)) for x in levels)
    return rehearse_steps(
        state, config, lambda state, batch, config: step(state, batch._replace(features=noise), config)
    )
