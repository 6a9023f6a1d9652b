"""Pairs, and a discriminator that must not tell restored pictures from clear ones.

Every step is two: the discriminator learns to tell the clear pictures of the batch from what the network makes of its
hazy ones, then the network takes the loss on pairs and a part of what the discriminator now says. Each has an optimiser
of its own.

Of DNMGDT (Su, Wang, Cui, Cai, He, Li, "Real Scene Single Image Dehazing Network with Multi-Prior Guidance and Domain
Transfer", IEEE TMM 2025; official code NianWang-HJJGCDX/DNMGDT at f302544, MIT) this is the part that pairs suffice
for. Not here, because they need photographs of real haze and what several priors make of them: the guidance by these,
and the exchange of haze between real and synthetic pictures with its consistency term. There the discriminator sees
restored real photographs; here it sees the restored pictures of the pairs.

A run is a function of its configuration: one that was killed and resumed gives the weights of one that was not, bit for
bit, on the same machine with the same threads. N processes (``torchrun``) share each batch.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unhaze.data.batch import Batch
from unhaze.errors import UsageError
from unhaze.losses.adversarial import Objective, PatchDiscriminator, discriminator_loss, generator_loss
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import resolve_network
from unhaze.recipes import supervised
from unhaze.recipes.supervised import describe, inspect
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.loss import restoration_terms
from unhaze.training.pairs import batches, data_facts, open_data, random_batch
from unhaze.training.record import RunRecord, check_values
from unhaze.training.state import NetworkState, estimate_cost, place
from unhaze.training.steps import (
    OptimizerConfig,
    ScheduleConfig,
    autocast,
    create_optimizer,
    create_scaler,
    descend,
    rate_factor,
    set_rate,
)
from unhaze.training.validation import score_network

__all__ = ["Config", "State", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]

LEAST_CROP = 32  # of the discriminator


@dataclass(frozen=True, slots=True)
class Config(supervised.Config):
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        network: The network that restores.
        adversarial: Weight of what the discriminator says, beside the terms of ``loss``.
        objective: ``"vanilla"``, ``"lsgan"`` or ``"hinge"``; see :mod:`unhaze.losses.adversarial`.
        discriminator_channels: Width of its first layer.
        discriminator_optimizer, discriminator_schedule: Its own.
        accumulate: Must be 1; the two steps would need each part of a batch at the same time.
    """

    network: str = "dnmgdt-base"
    adversarial: float = 0.01
    objective: Objective = "vanilla"
    discriminator_channels: int = 64
    discriminator_optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig("adam", 2e-4, betas=(0.5, 0.99))
    )
    discriminator_schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig("constant"))


@dataclass(slots=True, kw_only=True)
class State(NetworkState[Model]):
    """A training at some step: that of the network, and the discriminator's."""

    discriminator: nn.Module
    discriminator_optimizer: torch.optim.Optimizer
    discriminator_scaler: torch.amp.GradScaler

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return NetworkState.state_dict(self) | parts

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        NetworkState.load_state_dict(self, state)

    def _parts(self) -> dict[str, Any]:
        return {
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
            "discriminator_scaler": self.discriminator_scaler,
        }


def setup(config: Config) -> State:
    """A training at step 0.

    Raises:
        UsageError: A setting cannot work.
    """
    if config.accumulate != 1:
        raise UsageError("The recipe adversarial cannot cut batches into parts; take --set accumulate=1.")
    if config.data.crop < LEAST_CROP:
        raise UsageError(f"The discriminator needs crops of at least {LEAST_CROP} px; raise data.crop.")
    begun = supervised.setup(config)
    device = choose_device(config.device)
    discriminator = place(PatchDiscriminator(config.discriminator_channels), device).train()
    return State(
        begun.network,
        begun.average,
        begun.optimizer,
        begun.scaler,
        discriminator=discriminator,
        discriminator_optimizer=create_optimizer(discriminator.parameters(), config.discriminator_optimizer),
        discriminator_scaler=create_scaler(device, config.precision),
    )


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One step of the discriminator and one of the network; the values of the loss terms, means over all processes."""
    for optimizer, settings, schedule in (
        (state.optimizer, config.optimizer, config.schedule),
        (state.discriminator_optimizer, config.discriminator_optimizer, config.discriminator_schedule),
    ):
        set_rate(optimizer, settings.lr * rate_factor(schedule, state.steps_done, config.steps))
    batch = batch.to(choose_device(config.device))
    with autocast(choose_device(config.device), config.precision):
        restored = state.network.restore(batch.hazy)
    told = discriminate(state, restored.image.detach(), batch.clear, config)
    terms = restoration_terms(restored, batch.clear, batch.hazy, config.loss)
    state.discriminator.requires_grad_(False)  # just improved, it only passes the gradient on
    terms["adversarial"] = config.adversarial * generator_loss(judge(state, restored.image, config), config.objective)
    total = torch.stack(list(terms.values())).sum()
    state.scaler.scale(total).backward()
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({"loss": total, **terms, "discriminator": told, "norm": norm})


def discriminate(state: State, restored: Tensor, clear: Tensor, config: Config) -> Tensor:
    """The discriminator's step; its loss."""
    state.discriminator.requires_grad_(True)
    fake, real = (judge(state, image, config) for image in (restored, clear))
    loss = discriminator_loss(real, fake, config.objective)
    state.discriminator_scaler.scale(loss).backward()
    clip = config.discriminator_optimizer.clip
    descend(state.discriminator_optimizer, state.discriminator_scaler, state.discriminator.parameters(), clip)
    return loss.detach()


def judge(state: State, image: Tensor, config: Config) -> Tensor:
    """What the discriminator says of pictures (B, 3, H, W) in [0, 1], place by place."""
    with autocast(choose_device(config.device), config.precision):
        verdicts: Tensor = state.discriminator(2 * image.float() - 1)
    return verdicts.float()


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
    """Train, and write the network's averaged weights as ``weights.safetensors`` into ``out``; its path."""
    state = train(config, data, out, resume=resume)
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_weights(state.average.network.state_dict(), path, resolve_network(config.network), overwrite=True)
    return path


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise; see :func:`unhaze.recipes.supervised.rehearse`."""
    state, batch = setup(config), random_batch(config.data)
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
