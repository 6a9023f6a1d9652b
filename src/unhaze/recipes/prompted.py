"""PromptHaze's training as far as it is known: a network with depth prompts learns to dehaze by as much as it is told.

Ye, Chen, Chen, Chai, Ren, Xing, Li, Zhu, "PromptHaze: Prompting Real-world Dehazing via Depth Anything Model", AAAI
2025. There is no public code. Known, and done here: the target of a strength alpha is alpha J + (1 - alpha) I, with
alpha from 0.4 to 1 and told to the network; Charbonnier and 0.5 contrastive loss; AdamW 2e-4, 15,000 steps of 7 crops
of 256.

**Not** PromptHaze as published, because only an outline is known:

* the network. Ours is any of the catalogue with :mod:`unhaze.fusion.prompthaze`, which multiplies its prompts by alpha;
* beta and A, which the paper regresses from the encoder, gives to the decoder by AdaLN, and adds as 0.2 L1. There is no
  such head here, and no such term;
* the strengths between 0.4 and 1, taken in four even steps, one for each training step;
* inference, which estimates depth again on what was dehazed and raises alpha, again and again. :func:`progress` does
  that with any estimator, and one pass at strength 1 is what is validated.

A run is a function of its configuration; resuming is exact: which strength a step has depends on the seed and the
step's number alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unhaze.data.batch import Batch
from unhaze.errors import UsageError
from unhaze.fusion.prompthaze import PromptHazeFusion
from unhaze.models.guided import GuidedDehazer, save_model
from unhaze.models.layers.device import choose_device
from unhaze.recipes import depth_fusion
from unhaze.recipes.depth_fusion import State, describe, inspect, open_samples, restore, validate
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.loss import restoration_terms
from unhaze.training.pairs import batches, data_facts, random_batch
from unhaze.training.record import RunRecord, check_values
from unhaze.training.state import estimate_cost
from unhaze.training.steps import add_gradients, autocast, descend, rate_factor, set_rate

__all__ = ["Config", "State", "describe", "inspect", "main", "progress", "rehearse", "setup", "step", "train"]

_STREAM = 2  # keeps what is drawn here apart from what is drawn for the samples


@dataclass(frozen=True, slots=True)
class Config(depth_fusion.Config):
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.depth_fusion.Config`.

    Attributes:
        model: ``"<network>+prompthaze"``.
        strengths: The alphas; a step has one of them, at random.
    """

    model: str = "dehazeformer-t+prompthaze"
    strengths: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0)


def setup(config: Config) -> State:
    """A training at step 0; see :func:`unhaze.recipes.depth_fusion.setup`.

    Raises:
        UsageError: A setting cannot work, or the fusion takes no strength.
    """
    if not config.strengths or not all(0 < strength <= 1 for strength in config.strengths):
        raise UsageError(f"strengths is {config.strengths}, but must be one or more numbers above 0 and up to 1.")
    state = depth_fusion.setup(config)
    prompts_of(state.network)
    return state


def prompts_of(model: GuidedDehazer) -> PromptHazeFusion:
    """The fusion that takes a strength.

    Raises:
        UsageError: The model has another one.
    """
    if not isinstance(model.fusions, PromptHazeFusion):
        raise UsageError("Only prompts of PromptHaze take a strength; take --set model=NETWORK+prompthaze.")
    return model.fusions


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms, means over all processes."""
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    strength = strength_of(state.steps_done, config)
    if config.depth == "shuffled":
        batch = depth_fusion.shuffle_depth(batch)
    values: dict[str, Tensor] = {}
    for part in batch.to(device).parts(config.accumulate):
        prompts_of(state.network).strength = strength
        with autocast(device, config.precision):
            restored = restore(state.network, part, config)
        target = torch.lerp(part.hazy, part.clear, strength)
        terms = restoration_terms(restored, target, part.hazy, config.loss)
        add_gradients(terms, state.scaler, parts=config.accumulate, values=values)
    prompts_of(state.network).strength = 1.0
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({**values, "norm": norm}) | {"strength": strength}


def strength_of(step_number: int, config: Config) -> float:
    """The alpha of a step."""
    drawn = np.random.default_rng((config.seed, step_number, _STREAM)).integers(len(config.strengths))
    return float(config.strengths[int(drawn)])


@torch.no_grad()
def progress(model: GuidedDehazer, image: Tensor, strengths: Sequence[float] = (0.4, 0.6, 0.8, 1.0)) -> Tensor:
    """Dehaze by more and more, with depth that is estimated again on what was dehazed last.

    Args:
        model: With prompts of PromptHaze and an estimator, in evaluation mode.
        image: (B, 3, H, W) in [0, 1].
        strengths: One for each pass, rising.

    Returns:
        The picture after the last pass, (B, 3, H, W) in [0, 1].

    Raises:
        UsageError: The model takes no strength.
    """
    prompts, seen = prompts_of(model), image
    before = prompts.strength
    try:
        for strength in strengths:
            prompts.strength = strength
            seen = model.restore(image, model.view_depth(seen, None)).image.clamp(0, 1)
    finally:
        prompts.strength = before
    return seen


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
    join_processes(choose_device(config.device))
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
                strips = Path(out) / "strips" / f"step-{done:07d}.png"
                scores = validate(state.average.network, held_out, config, strips)
            run.record(done, values, scores)
            if run.is_checkpoint(done):
                run.save(done, state.state_dict())
    leave_processes()
    return state


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and write the averaged weights as in :func:`unhaze.recipes.depth_fusion.main`; the path of the whole."""
    model = train(config, data, out, resume=resume).average.network
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_model(model, Path(out) / "fusion.safetensors", "fusions", overwrite=True)
        save_model(model, path, overwrite=True)
    return path


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise; see :func:`unhaze.recipes.supervised.rehearse`."""
    state, batch = setup(config), random_batch(config.data)
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
