"""DCMPNet's training as the paper says: a dehazing network and a depth network that are to promote each other.

Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR
2024 (P1). The official code does something else, see :mod:`unhaze.recipes.mutual_promotion_official`, and an earlier
one of the same authors something third, see :mod:`unhaze.recipes.mutual_promotion_2023`.

One depth network serves both tasks, and every training step is two steps, one after the other, each with an optimiser
of its own:

1. the depth network, on the restored image as it is and on the hazy one (Eq. 9 and 10), with weights that a perceptron
   makes of u* - u (Eq. 8);
2. the dehazing network (Eq. 11 and 12), with weights that a perceptron makes of the difference of the depth maps of u*
   and u, the contrastive term, and the term of its U-Net (Eq. 5).

In the letters of the paper: ``restored`` is u*, ``batch.hazy`` u~* and ``batch.clear`` u; Phi is the dehazing network
with weights w_d and rate eta_d, Psi the depth network with w_e and eta_e; M_u*, M_u~* and M_u are the depth maps of u*,
u~* and u, R_u*/u is u* - u; A_d,r weighs depth errors and A_e,r image errors. l_depth is Eq. 9, l_dehaze Eq. 11 with
the lambda_i of :mod:`unhaze.losses.contrastive`, l_UNET Eq. 5. Both steps together are the "dual-task collaborative
mutual promotion learning"; Eqs. 3 and 4 are its outline.

Eq. 12 uses the depth network after its step. u* is computed once, with the depth network in LEGM's input as it was
before that step, and serves both steps, which saves a forward pass; the weights of step 2 are of the new one.

Where the text is silent: the features of the clear image in Eq. 5 are a target without gradient, its term is the sum
over the three maps that the U-Net hands on, and each batch, hazy or clear, is normalised by its own statistics, which
takes a part of their difference away; the weights have a mean of one; and the perceptrons are trained against the loss
(``perception``), because one that is trained with it learns to look away from what is badly restored. Whether the
weights of Eq. 11 pass gradients on into u* is not said either; they do, unless ``detach_weights`` is set. A step is a
step of the schedule; VGG19 may be the authors' weights (see ``unhaze.losses.vgg19``).

A run is a function of its configuration: one that was killed and resumed gives the weights of one that was not, bit for
bit, on the same machine with the same threads. N processes (``torchrun``) share each batch; batch normalisation in the
U-Net sees the share of its process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.data.batch import Batch
from unhaze.errors import UsageError
from unhaze.losses.depth import error_weights, perceived_depth_loss, perceived_image_loss
from unhaze.models.layers.device import choose_device
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

__all__ = [
    "Config",
    "State",
    "dehazing_step",
    "depth_step",
    "describe",
    "inspect",
    "main",
    "setup",
    "step",
    "train",
    "unet_loss",
]


@dataclass(frozen=True, slots=True)
class Config(PromotionConfig):
    """Everything a run depends on, data apart; see :class:`~unhaze.training.promotion.PromotionConfig`."""

    def __post_init__(self) -> None:
        if self.variant != "paper":
            raise UsageError(
                f"variant is {self.variant!r}, but this recipe is the paper's; for that of the official code take the "
                "preset dcmpnet-official."
            )


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One step of both networks, one after the other; the values of the loss terms, means over all processes."""
    set_rates(state, config)
    device = choose_device(config.device)
    batch = batch.to(device)
    batch = batch._replace(hazy=batch.hazy.contiguous(), clear=batch.clear.contiguous())  # as loaded, channels are last
    if state.depth is not None:
        state.depth.requires_grad_(False)  # it is not the dehazing loss that trains it (Eq. 12)
    with autocast(device, config.precision), _outputs_of(state.network.get_submodule("unet")) as of_unet:
        restored = state.network(2 * batch.hazy - 1).image
    values: dict[str, Tensor] = {}
    clear_depth, known = batch.nearness, batch.depth_known
    if state.depth is not None:
        clear_depth, known = clear_depth_of(state, batch, config)
        values |= depth_step(state, restored.detach().float(), batch, (clear_depth, known), config)
    values |= dehazing_step(state, restored, of_unet[0], batch, (clear_depth, known), config)
    if state.average is not None:
        state.average.update(state.network)
    state.steps_done += 1
    return average_values(values)


def depth_step(
    state: State, restored: Tensor, batch: Batch, target: tuple[Tensor, Tensor], config: Config
) -> dict[str, Tensor]:
    """Step 1, Eq. 10: the depth network alone, from u* as it is."""
    assert state.depth is not None
    assert state.depth_optimizer is not None
    clear_depth, known = target
    state.depth.requires_grad_(True)
    with autocast(choose_device(config.device), config.precision):
        of_restored, of_hazy = state.depth(torch.cat((restored, 2 * batch.hazy - 1))).float().chunk(2)
    weights = weights_of(state, "image", restored - (2 * batch.clear - 1), config)  # Eq. 8
    loss = perceived_depth_loss(of_restored, of_hazy, clear_depth, weights, known)  # Eq. 9
    state.depth_scaler.scale(loss).backward()
    _, estimating = parameters_of(state.network, state.depth, state.perceptrons)
    turn_perceptron(state, "image", config)
    descend(state.depth_optimizer, state.depth_scaler, estimating, config.depth_optimizer.clip)
    state.depth.requires_grad_(False)
    return {"depth": loss}


def dehazing_step(
    state: State,
    restored: Tensor,
    of_unet: tuple[Tensor, ...],
    batch: Batch,
    target: tuple[Tensor, Tensor],
    config: Config,
) -> dict[str, Tensor]:
    """Step 2, Eq. 12: the dehazing network alone; the depth network, just improved, passes gradients on."""
    device, loss = choose_device(config.device), config.loss
    clear_depth, known = target
    meeting = restored.detach().float().requires_grad_()
    weights: Tensor = meeting.new_ones(())
    if state.depth is not None and config.perception != "off":
        with autocast(device, config.precision):
            seen = meeting.detach() if config.detach_weights else meeting
            difference = state.depth(seen).float() - clear_depth
        weights = weights_of(state, "depth", difference, config)
        weights = torch.where(known.view(-1, 1, 1, 1), weights, torch.ones_like(weights))
    image = perceived_image_loss(meeting, 2 * batch.clear - 1, weights)  # Eq. 11, first term
    state.scaler.scale(image).backward()
    values, total = {"l1": image}, image.detach()
    if state.contrastive is not None:
        contrastive = add_contrast(state, meeting, batch, config)
        values["contrastive"], total = contrastive, total + loss.contrastive * contrastive
    assert meeting.grad is not None
    ends: list[Tensor] = [restored]
    gradients: list[Tensor | None] = [meeting.grad.to(restored.dtype)]
    if loss.unet:
        unet = unet_loss(state, of_unet, batch, config)
        ends.append(state.scaler.scale(loss.unet * unet))
        gradients.append(None)
        values["unet"], total = unet, total + loss.unet * unet.detach()
    torch.autograd.backward(ends, gradients)
    turn_perceptron(state, "depth", config)
    dehazing, _ = parameters_of(state.network, state.depth, state.perceptrons)
    descend(state.optimizer, state.scaler, dehazing, config.optimizer.clip)
    return {"loss": total, **values}


def unet_loss(state: State, of_hazy: tuple[Tensor, ...], batch: Batch, config: Config) -> Tensor:
    """Eq. 5; were the features of the clear image to move, too, equal features of everything would be best."""
    unet = state.network.get_submodule("unet")
    with torch.no_grad(), autocast(choose_device(config.device), config.precision), _statistics_kept(unet):
        of_clear = unet(2 * batch.clear - 1)
    terms = [F.l1_loss(hazy.float(), clear.float()) for hazy, clear in zip(of_hazy, of_clear, strict=True)]
    return torch.stack(terms).sum()  # Eq. 5


def weights_of(state: State, name: str, difference: Tensor, config: Config) -> Tensor:
    """What a perceptron makes of a difference, or its size alone; 1 without perception."""
    if config.perception == "error":
        return error_weights(difference)
    if name not in state.perceptrons:
        return difference.new_ones(())
    weights: Tensor = state.perceptrons[name](difference)
    return weights


def turn_perceptron(state: State, name: str, config: Config) -> None:
    """Let the perceptron climb where the network descends, if so configured."""
    if name in state.perceptrons and config.perception == "against":
        for parameter in state.perceptrons[name].parameters():
            if parameter.grad is not None:
                parameter.grad.neg_()


@contextmanager
def _outputs_of(module: nn.Module) -> Iterator[list[tuple[Tensor, ...]]]:
    """The tensors that a module returns while this lasts."""
    outputs: list[tuple[Tensor, ...]] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch normalisation goes on as in training but leaves its running statistics, which are those of hazy images."""
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


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
