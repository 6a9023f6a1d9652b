"""DCMPNet's training as an earlier code of its authors does it: two losses in alternation, nothing shared.

Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR
2024 (P1); xzxzoo/Dehaze at 2402297 of December 2023 (MIT), nearer to the paper than the later official code
(:mod:`unhaze.recipes.mutual_promotion_official`): it alternates, it detaches, and it has the weights A_e,r of Eq. 11.
It is not known which code made the paper's tables.

A step is, on the same batch:

1. the dehazing network: ``L1(A_e u*, A_e u) + L1(u*, u)``, the contrastive term, and a term of a U-Net that has no
   gradient, all of weight 1. ``A_e`` is a softmax over all pixels of the signed difference of the depth maps of u* and
   u, plus 1e-7, the same for the three channels;
2. the depth network, which is not the one in the dehazing network and sees u* without its gradient:
   ``L1(M_u*, M_u) + 0.1 L1(A_d M_u*, A_d M_u)``, with ``A_d`` a softmax of u* - u.

Softmax weights sum to one over a picture, so that both weighed terms are smaller than the plain ones by the number of
pixels: they are there, and hardly act. The contrastive term is that of the later code, with its frozen projections.
Settings, checkpoints and limits are those of :mod:`unhaze.training.promotion`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.data.batch import Batch
from unhaze.errors import UsageError
from unhaze.losses.depth import mean_over_known, softmax_weights, weighted_l1
from unhaze.models.layers.device import choose_device
from unhaze.recipes.mutual_promotion_official import inert_terms
from unhaze.training.distributed import average_values, join_processes, leave_processes
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
from unhaze.training.steps import autocast, descend

__all__ = ["Config", "State", "describe", "inspect", "main", "setup", "step", "train"]


@dataclass(frozen=True, slots=True)
class Config(PromotionConfig):
    """Everything a run depends on, data apart; see :class:`~unhaze.training.promotion.PromotionConfig`."""

    variant: Literal["paper", "official", "official-2023"] = "official-2023"

    def __post_init__(self) -> None:
        if self.variant != "official-2023":
            raise UsageError(
                f"variant is {self.variant!r}, but this recipe is the code of 2023; the presets dcmpnet-paper and "
                "dcmpnet-official have the others."
            )


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One step of the dehazing network, then one of the depth network; the values of the loss terms."""
    set_rates(state, config)
    device = choose_device(config.device)
    batch = batch.to(device)
    batch = batch._replace(hazy=batch.hazy.contiguous(), clear=batch.clear.contiguous())  # as loaded, channels are last
    assert state.depth is not None
    assert state.depth_optimizer is not None
    clear, (clear_depth, known) = 2 * batch.clear - 1, clear_depth_of(state, batch, config)
    with autocast(device, config.precision):
        restored = state.network(2 * batch.hazy - 1).image
        estimated = state.depth(restored.detach().float()).float()
    dehazing, estimating = parameters_of(state.network, state.depth, state.perceptrons)

    meeting = restored.detach().float().requires_grad_()
    seen = torch.where(known.view(-1, 1, 1, 1), estimated.detach() - clear_depth, torch.zeros_like(clear_depth))
    pixels = F.l1_loss(meeting, clear)
    focused = weighted_l1(meeting, clear, softmax_weights(seen))  # Eq. 11, first term
    state.scaler.scale(pixels + focused).backward()
    values, total = {"l1": pixels, "focused": focused}, (pixels + focused).detach()
    if state.contrastive is not None:
        contrastive = add_contrast(state, meeting, batch, config)
        values["contrastive"], total = contrastive, total + config.loss.contrastive * contrastive
    assert meeting.grad is not None
    restored.backward(meeting.grad.to(restored.dtype))
    descend(state.optimizer, state.scaler, dehazing, config.optimizer.clip)

    weights = softmax_weights(meeting.detach() - clear)
    plain = mean_over_known((estimated - clear_depth).abs(), known)
    weighed = mean_over_known((weights * (estimated - clear_depth)).abs(), known)  # Eq. 9, first term
    depth: Tensor = plain + config.loss.depth * weighed
    state.depth_scaler.scale(depth).backward()
    descend(state.depth_optimizer, state.depth_scaler, estimating, config.depth_optimizer.clip)

    if state.average is not None:
        state.average.update(state.network)
    state.steps_done += 1
    return average_values({"loss": total, **values, "depth": plain, **inert_terms(state, batch)})


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
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
    """Train, and write ``weights.safetensors`` and ``depth.safetensors`` into ``out``; the path of the first."""
    return write_networks(train(config, data, out, resume=resume), config, out)
