"""DCMPNet's training as the official code does it: all losses in one sum.

Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR
2024 (P1); official code zhoushen1/DCMPNet at e21e2a0 (MIT). The text says something else, see
:mod:`unhaze.recipes.mutual_promotion`.

One forward pass, one sum of all losses, one backward pass, then both optimisers step. Nothing is detached. The depth
network of the losses is not the one in the dehazing network and never sees a hazy image. The weights are a softmax over
all entries, which makes their term smaller by the number of pixels. Terms on a third U-Net, which no optimiser holds,
have no gradient; ``inert_terms`` computes and logs them.

Deviations from the official code: a step is a step of the schedule, where it counts epochs; VGG19 may be the authors'
weights (see ``unhaze.losses.vgg19``); the best checkpoint is not picked on the test split.

A run is a function of its configuration: one that was killed and resumed gives the weights of one that was not, bit for
bit, on the same machine with the same threads. N processes (``torchrun``) share each batch; batch normalisation in the
U-Net sees the share of its process.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.data.batch import Batch
from unhaze.errors import UsageError
from unhaze.losses.depth import mean_over_known, softmax_weights
from unhaze.models.layers.device import choose_device
from unhaze.training.distributed import average_gradients, average_values, join_processes, leave_processes
from unhaze.training.pairs import batches, data_facts
from unhaze.training.promotion import (
    PromotionConfig,
    State,
    add_contrast,
    clear_depth_of,
    describe,
    inspect,
    open_pairs,
    parameters_of,
    set_rates,
    setup,
    write_networks,
)
from unhaze.training.promotion_run import validate
from unhaze.training.record import RunRecord, check_values
from unhaze.training.steps import autocast

__all__ = ["Config", "State", "describe", "inspect", "main", "setup", "step", "train"]


@dataclass(frozen=True, slots=True)
class Config(PromotionConfig):
    """Everything a run depends on, data apart; see :class:`~unhaze.training.promotion.PromotionConfig`."""

    variant: Literal["paper", "official"] = "official"

    def __post_init__(self) -> None:
        if self.variant != "official":
            raise UsageError(
                f"variant is {self.variant!r}, but this recipe is the official code's; for that of the paper take the "
                "preset dcmpnet-paper."
            )


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One step of both networks; the values of the loss terms, means over all processes."""
    set_rates(state, config)
    batch = batch.to(choose_device(config.device))
    batch = batch._replace(hazy=batch.hazy.contiguous(), clear=batch.clear.contiguous())  # as loaded, channels are last
    values = add_all_gradients(state, batch, config)
    assert state.depth_optimizer is not None
    dehazing, estimating = parameters_of(state.network, state.depth, state.perceptrons)
    pairs = (
        (state.optimizer, dehazing, config.optimizer.clip),
        (state.depth_optimizer, estimating, config.depth_optimizer.clip),
    )
    # one scale for both, since one backward pass made both gradients
    for optimizer, parameters, clip in pairs:
        average_gradients(parameters)
        state.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, clip if clip else float("inf"))
    for optimizer, _, _ in pairs:
        state.scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
    state.scaler.update()
    if state.average is not None:
        state.average.update(state.network)
    state.steps_done += 1
    return average_values(values)


def add_all_gradients(state: State, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Gradients of L_dehaze + L_depth for all networks; values of the terms."""
    assert state.depth is not None
    device, loss = choose_device(config.device), config.loss
    clear = 2 * batch.clear - 1
    clear_depth, known = clear_depth_of(state, batch, config)
    with autocast(device, config.precision):
        restored = state.network(2 * batch.hazy - 1).image
        # the losses meet the networks behind them in this one tensor: what each needs is freed before the next begins
        meeting = restored.detach().float().requires_grad_()
        estimated = state.depth(meeting).float()
    pixels = F.l1_loss(meeting, clear)
    weights = softmax_weights(meeting - clear)
    depth = mean_over_known((estimated - clear_depth).abs(), known)
    focused = mean_over_known((weights * estimated - weights * clear_depth).abs(), known)  # Eq. 9, first term
    # the depth loss, and once more with a weight in the dehazing loss
    total = pixels + (1 + loss.depth) * depth + focused
    state.scaler.scale(total).backward()
    values = {"l1": pixels, "depth": depth, "focused_depth": focused}
    total = total.detach()
    if state.contrastive is not None:
        contrastive = add_contrast(state, meeting, batch, config)
        values["contrastive"], total = contrastive, total + loss.contrastive * contrastive
    assert meeting.grad is not None
    restored.backward(meeting.grad.to(restored.dtype))
    return {"loss": total, **values, **inert_terms(state, batch)}


@torch.no_grad()
def inert_terms(state: State, batch: Batch) -> dict[str, Tensor]:
    """Eq. 5 on a U-Net that nothing trains; without gradient in the official code, too."""
    if state.inert_unet is None:
        return {}
    maps = (state.inert_unet(2 * image - 1) for image in (batch.hazy, batch.clear))
    return {
        f"inert_unet{i}": F.l1_loss(hazy, clear) for i, (hazy, clear) in enumerate(zip(*maps, strict=True), start=1)
    }


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`.

    Raises:
        UsageError: As there.
        WeightsNotFoundError: Weights of the teacher or of VGG19 are missing.
    """
    join_processes(choose_device(config.device))
    state = setup(config)
    dataset, held_out = open_pairs(config, data)
    settings, facts = asdict(config), data_facts(dataset, config.data)
    with RunRecord(out, config.loop, settings=settings, data=facts, batch=config.data.batch, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        for batch in batches(dataset, config.data, seed=config.seed, first=state.steps_done, steps=config.steps):
            values = step(state, batch, config)
            done, scores = state.steps_done, None
            check_values(values, done)
            if run.is_validation(done):
                scores = validate(state, held_out, config, Path(out) / "strips", done)
            run.record(done, values, scores)
            if run.is_checkpoint(done):
                run.save(done, state.state_dict())
    leave_processes()
    return state


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and write ``weights.safetensors`` into ``out``; its path.

    Beside it lies ``depth.safetensors``, the depth network, for ``dcmpnet-de``.
    """
    return write_networks(train(config, data, out, resume=resume), config, out)
