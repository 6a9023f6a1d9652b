"""Depth fused into a trained network: the two stages of P2.

"Can Large Pretrained Depth Estimation Models Help With Image Dehazing?", Methods, "Overall Framework", its two-stage
training strategy: the network is trained on colour alone first; then the fusion modules, which change nothing at first
because of their zero convolutions, are trained with it (or alone, Table 4), by cosine annealing with restarts and with
gradient accumulation. Stage 1 is the recipe
``supervised``; this is stage 2, and also the whole where the network starts fresh. Known gaps: the numbers of the
learning rates of Table 7 are lost in the text ("set according to each baseline" is not), it names no loss, and no code
is public.
"""

from __future__ import annotations

import time
from ast import literal_eval
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unhaze.data.batch import Batch
from unhaze.data.dataset import Dataset, Sample
from unhaze.depth import create_depth
from unhaze.depth.base import gives_features
from unhaze.errors import UsageError
from unhaze.models.guided import Freeze, GuidedDehazer, create_model, save_model
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.device import choose_device
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.loss import LossConfig, restoration_terms
from unhaze.training.pairs import (
    CACHED,
    DataConfig,
    batches,
    cached_source,
    data_facts,
    has_depth,
    inspect_data,
    no_depth,
    open_data,
    random_batch,
)
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
from unhaze.training.validation import Validation, one_by_one
from unhaze.types import Restored

__all__ = ["Config", "State", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]

State = NetworkState[GuidedDehazer]
_FROM_DATA = ("stored", "shuffled")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        model: ``"<network>+<fusion>"``.
        backbone_weights: Weights of stage 1; empty for a fresh network.
        fresh: Whether a fresh network will do. Presets of a second stage say no, because without the first they would
            train something else.
        sites: Stages at which depth is fused; those of P2, Table 7, if empty.
        depth: ``"stored"`` for the depth of the data set, ``"shuffled"`` for that of another picture of the batch (the
            control that shows whether depth matters), the name of an estimator, which sees each view, or ``"cached:"``
            and that name: what it finds in whole pictures, features included, run once per picture and kept.
        depth_weights: File or folder with the weights of the estimator.
        depth_options: Arguments of the estimator, ``"name=value"``; ``features=path`` takes what the decoder of Depth
            Anything makes of its maps in place of the maps of its transformer.
        freeze: ``"backbone"`` trains the fusion alone (P2, Table 4).
        switches: Parts of the fusion module to leave out, ``"name"``; see its class.
    """

    model: str = "dehazeformer-t+hgdf"
    backbone_weights: str = ""
    fresh: bool = True
    sites: tuple[str, ...] = ()
    depth: str = "stored"
    depth_weights: str = ""
    depth_options: tuple[str, ...] = ()
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
    if not (config.fresh or config.backbone_weights):
        raise UsageError(
            f"This is the second stage of {config.model}, which goes on from trained weights of the network; name them "
            "with --set backbone_weights=FILE, or train a fresh network with --set fresh=True."
        )
    prepare_process(config.seed, config.threads)
    model = _create(config)
    if model.fusions.compares and not _is_live(config):
        raise UsageError(
            f"{config.model} compares depth before and after, which stored depth cannot do; name an estimator with "
            "--set depth=NAME."
        )
    device = choose_device(config.device)
    return begin(model, config.optimizer, ema=config.ema, precision=config.precision, device=device)


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms, means over all processes."""
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    if config.depth == "shuffled":
        batch = shuffle_depth(batch)
    values: dict[str, Tensor] = {}
    for part in batch.to(device).parts(config.accumulate):
        with autocast(device, config.precision):
            restored = restore(state.network, part, config)
        terms = restoration_terms(restored, part.clear, part.hazy, config.loss)
        add_gradients(terms, state.scaler, parts=config.accumulate, values=values)
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({**values, "norm": norm})


def restore(model: GuidedDehazer, batch: Batch, config: Config) -> Restored:
    """What the network makes of a batch and of its depth: the estimator's of these views, or what came with them."""
    if _is_live(config):
        return model.restore(batch.hazy)
    return model.restore(batch.hazy, DepthView(batch.nearness, batch.features or (batch.nearness,)))


def shuffle_depth(batch: Batch) -> Batch:
    """The batch with every picture's depth given to the next.

    Raises:
        UsageError: There is no other picture.
    """
    if len(batch.hazy) < 2:
        raise UsageError("Depth can only be shuffled within batches of two or more; raise data.batch.")
    return batch._replace(nearness=batch.nearness.roll(1, 0))


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
    device = choose_device(config.device)
    join_processes(device)
    state = setup(config)
    dataset, held_out = open_samples(state, config, data)
    settings, facts = asdict(config), data_facts(dataset, config.data)
    with RunRecord(out, config.loop, settings=settings, data=facts, batch=config.data.batch, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        for batch in batches(dataset, config.data, seed=config.seed, first=state.steps_done, steps=config.steps):
            values = step(state, batch, config)
            done, scores = state.steps_done, None
            check_values(values, done)
            if run.is_validation(done):
                scores = validate(
                    state.average.network, held_out, config, Path(out) / "strips" / f"step-{done:07d}.png"
                )
            run.record(done, values, scores)
            if run.is_checkpoint(done):
                run.save(done, state.state_dict())
    leave_processes()
    return state


@torch.no_grad()
def validate(model: GuidedDehazer, held_out: list[Sample], config: Config, strips: Path) -> dict[str, float]:
    """Mean scores of a model with the depth that it learns from, and a strip of the first samples."""
    validation = Validation(config.protocol)
    for batch in one_by_one(held_out, choose_device(config.device)):
        validation.add(batch, restore(model, batch, config).image)
    validation.write_strips(strips)
    return validation.scores()


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and write the averaged weights: ``weights.safetensors``, and the fusion alone, ``fusion.safetensors``.

    Returns:
        Path of the whole.
    """
    model = train(config, data, out, resume=resume).average.network
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_model(model, Path(out) / "fusion.safetensors", "fusions", overwrite=True)
        save_model(model, path, overwrite=True)
    return path


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    model = _create(replace(config, backbone_weights=""))
    samples = config.steps * config.data.batch
    return {"config": asdict(config), **count_parameters(model), "steps": config.steps, "samples": samples}


def inspect(config: Config, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run; no estimator is run."""
    return inspect_data(config.data, data, config.seed, depth_setting="depth" if config.depth in _FROM_DATA else "")


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise; see :func:`unhaze.recipes.supervised.rehearse`."""
    state, batch = setup(config), random_batch(config.data)
    estimator, crop = state.network.estimator, config.data.crop
    if not _is_live(config) and estimator is not None and gives_features(estimator):
        sides = [max(1, round(crop / level.stride)) for level in estimator.levels]
        shapes = [
            (len(batch.hazy), each.channels, side, side) for each, side in zip(estimator.levels, sides, strict=True)
        ]
        batch = batch._replace(features=tuple(torch.rand(shape) for shape in shapes))
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.steps)


def _create(config: Config) -> GuidedDehazer:
    estimator = None
    options = _depth_options(config)
    if config.depth not in _FROM_DATA:
        given: dict[str, Any] = {"weights": config.depth_weights} if config.depth_weights else {}
        estimator = create_depth(config.depth.removeprefix(CACHED), **given, **options)
    switches: dict[str, Any] = dict.fromkeys(config.switches, False)
    return create_model(
        config.model,
        estimator,
        sites=config.sites or None,
        freeze=config.freeze,
        backbone_weights=config.backbone_weights or None,
        depth_options=options,
        **switches,
    )


def _depth_options(config: Config) -> dict[str, Any]:
    """Arguments of the estimator, as numbers where they are numbers."""
    options: dict[str, Any] = {}
    for each in config.depth_options:
        name, equals, text = each.partition("=")
        if not equals:
            raise UsageError(f"depth_options takes name=value, but has {each!r}.")
        try:
            options[name] = literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text
    return options


def _is_live(config: Config) -> bool:
    """Whether an estimator looks at each view."""
    return config.depth not in _FROM_DATA and not config.depth.startswith(CACHED)


def open_samples(state: State, config: Config, data: str | Path) -> tuple[Dataset, list[Sample]]:
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
