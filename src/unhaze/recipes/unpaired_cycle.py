"""D4: dehazing and hazing learn from each other, from hazy and clear pictures that do not belong together.

Yang, Wang, Liu, Zhang, Guo, Tao, "Self-augmented Unpaired Image Dehazing via Density and Depth Decomposition", CVPR
2022; official code YaN9-Y/D4 at 85cdf94 (no licence stated). Each step:

1. two discriminators learn to tell clear pictures from dehazed ones, and hazy ones from those that were hazed;
2. the dehazing network (transmission and density of the haze) and the hazing network learn from the way there and
   back: a hazy picture is dehazed and hazed again with its own density and with the depth that is estimated of what was
   dehazed; a clear one is hazed with a random density and its estimated depth and dehazed again, its density found
   again. Both must come back, and the discriminators must not tell what came between;
3. the depth network learns, from what was dehazed, the depth that the dehazing network saw in the haze.

The data set is one of pairs, of which the hazy picture of one step and the clear one of another are taken: nothing is
learnt of pairs. The depth of a clear picture is that of its view; the official code resizes whole pictures to a view
first. The networks begin with fresh weights, where the official encoder is that of EfficientNet-Lite3 on ImageNet.

A run is a function of its configuration: one that was killed and resumed gives the weights of one that was not, bit for
bit, on the same machine with the same threads. N processes (``torchrun``) share each batch.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.errors import UsageError
from unhaze.losses.adversarial import ProbabilityDiscriminator, discriminator_loss, generator_loss
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.d4 import D4, DepthNet, RehazeNet
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import resolve_network
from unhaze.recipes import supervised
from unhaze.recipes.supervised import describe, inspect
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.pairs import batches, data_facts, open_data, random_batch
from unhaze.training.record import RunRecord, check_values
from unhaze.training.state import NetworkState, estimate_cost, place
from unhaze.training.steps import (
    OptimizerConfig,
    autocast,
    create_optimizer,
    create_scaler,
    descend,
    rate_factor,
    set_rate,
)
from unhaze.training.validation import score_network

__all__ = ["Config", "State", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]


@dataclass(frozen=True, slots=True)
class Config(supervised.Config):
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        network: One of D4's; ``optimizer`` and ``schedule`` are its own and those of the hazing network.
        cycle: Weight of the ways there and back; ``loss`` is not looked at.
        adversarial: Weight of what the discriminators say.
        density: Weight of the density that must be found again.
        depth_optimizer, discriminator_optimizer: For the depth network and the discriminators, at a constant rate.
        discriminator_channels: Width of their first layers.
        accumulate: Must be 1.
    """

    network: str = "d4-indoor"
    cycle: float = 1.0
    adversarial: float = 0.2
    density: float = 1.0
    depth_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", 1e-4))
    discriminator_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", 1e-5))
    discriminator_channels: int = 64


@dataclass(slots=True, kw_only=True)
class State(NetworkState[Model]):
    """A training at some step: that of the dehazing network, and what it plays with.

    Attributes:
        others: ``rehaze``, ``depth``, and the discriminators ``of_clear`` and ``of_hazy``.
        optimizers: ``depth`` and ``discriminators``; the dehazing and the hazing network share the first one.
        scalers: One for each of these.
    """

    others: nn.ModuleDict
    optimizers: dict[str, torch.optim.Optimizer]
    scalers: dict[str, torch.amp.GradScaler]

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return NetworkState.state_dict(self) | {
            "others": self.others.state_dict(),
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.items()},
            "scalers": {name: each.state_dict() for name, each in self.scalers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.others.load_state_dict(state["others"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            self.scalers[name].load_state_dict(state["scalers"][name])
        NetworkState.load_state_dict(self, state)

    def players(self) -> list[nn.Parameter]:
        """Parameters of the dehazing and the hazing network."""
        return [*self.network.parameters(), *self.others["rehaze"].parameters()]

    def judges(self) -> list[nn.Parameter]:
        """Parameters of the discriminators."""
        return [*self.others["of_clear"].parameters(), *self.others["of_hazy"].parameters()]


class Ways(NamedTuple):
    """The ways there and back."""

    dehazed: Tensor  # a hazy picture dehazed,
    rehazed: Tensor  # and hazed again
    seen_depth: Tensor  # the depth that was seen in its haze
    hazed: Tensor  # a clear picture hazed,
    restored: Tensor  # and dehazed again
    density: Tensor  # of the haze that it got
    found_density: Tensor  # of that which was found in it


def setup(config: Config) -> State:
    """A training at step 0.

    Raises:
        UsageError: A setting cannot work.
    """
    if config.accumulate != 1:
        raise UsageError("The recipe unpaired_cycle cannot cut batches into parts; take --set accumulate=1.")
    if config.data.crop % 32 or config.data.crop < 64:
        raise UsageError("D4 needs crops whose side is a multiple of 32 from 64 on; change data.crop.")
    begun = supervised.setup(config)
    if not isinstance(begun.network, D4):
        raise UsageError(f"{config.network} finds no density of haze; take d4-indoor or d4-real.")
    device = choose_device(config.device)
    width = config.discriminator_channels
    others = nn.ModuleDict(
        {
            "rehaze": RehazeNet(),
            "depth": DepthNet(),
            "of_clear": ProbabilityDiscriminator(width),
            "of_hazy": ProbabilityDiscriminator(width),
        }
    )
    state = State(
        begun.network,
        begun.average,
        begun.optimizer,
        begun.scaler,
        others=place(others, device).train(),
        optimizers={},
        scalers={name: create_scaler(device, config.precision) for name in ("depth", "discriminators")},
    )
    state.optimizer = create_optimizer(state.players(), config.optimizer)
    state.optimizers["depth"] = create_optimizer(others["depth"].parameters(), config.depth_optimizer)
    state.optimizers["discriminators"] = create_optimizer(state.judges(), config.discriminator_optimizer)
    return state


def step(state: State, hazy: Tensor, clear: Tensor, config: Config) -> dict[str, float]:
    """One step of the discriminators, the dehazing and hazing networks, and the depth network.

    Args:
        state: Changed.
        hazy: (B, 3, H, W) in [0, 1].
        clear: Others, likewise.
        config: All settings.

    Returns:
        The values of the loss terms, means over all processes.
    """
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    hazy, clear = hazy.to(device), clear.to(device)
    with autocast(device, config.precision):
        ways = there_and_back(state, hazy, clear)
    judged = judge(state, ways, hazy, clear, config)
    terms = player_terms(state, ways, hazy, clear, config)
    total = torch.stack(list(terms.values())).sum()
    state.scaler.scale(total).backward()
    norm = descend(state.optimizer, state.scaler, state.players(), config.optimizer.clip)
    depth = learn_depth(state, ways, config)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({"loss": total, **terms, "discriminators": judged, "depth": depth, "norm": norm})


def there_and_back(state: State, hazy: Tensor, clear: Tensor) -> Ways:
    """Hazy pictures without and with their haze, clear ones with and without haze."""
    network, rehaze, depth = state.network, state.others["rehaze"], state.others["depth"]
    assert isinstance(network, D4)
    first = network.restore(hazy)
    rehazed = rehaze(first.image, depth(first.image), first.aux["density"])
    low, high = network.bounds
    density = low + (high - low) * torch.rand(len(clear), 1, 1, 1).to(clear.device)
    hazed = rehaze(clear, depth(clear), density)
    second = network.restore(hazed)
    found = second.aux["density"]
    return Ways(first.image, rehazed, first.aux["depth"], hazed, second.image, density, found)


def judge(state: State, ways: Ways, hazy: Tensor, clear: Tensor, config: Config) -> Tensor:
    """The discriminators' step; their mean loss."""
    for parameter in state.judges():
        parameter.requires_grad_(True)
    with autocast(choose_device(config.device), config.precision):
        verdicts = [
            (state.others[name](real), state.others[name](fake.detach()))
            for name, real, fake in (("of_clear", clear, ways.dehazed), ("of_hazy", hazy, ways.hazed))
        ]
    loss = torch.stack([discriminator_loss(real.float(), fake.float(), "lsgan") for real, fake in verdicts]).sum()
    scaler = state.scalers["discriminators"]
    scaler.scale(loss).backward()
    descend(state.optimizers["discriminators"], scaler, state.judges(), config.discriminator_optimizer.clip)
    return loss.detach() / 2


def player_terms(state: State, ways: Ways, hazy: Tensor, clear: Tensor, config: Config) -> dict[str, Tensor]:
    """What the dehazing and the hazing network learn from, weighted."""
    for parameter in state.judges():
        parameter.requires_grad_(False)  # just improved, they only pass the gradient on
    with autocast(choose_device(config.device), config.precision):
        verdicts = state.others["of_clear"](ways.dehazed), state.others["of_hazy"](ways.hazed)
    deceived = torch.stack([generator_loss(each.float(), "lsgan") for each in verdicts]).mean()
    back = F.l1_loss(ways.restored.float(), clear) + F.l1_loss(ways.rehazed.float(), hazy)
    return {
        "cycle": config.cycle * back,
        "adversarial": config.adversarial * deceived,
        "density": config.density * F.mse_loss(ways.found_density.float(), ways.density),
    }


def learn_depth(state: State, ways: Ways, config: Config) -> Tensor:
    """The depth network's step; its loss."""
    network, scaler = state.others["depth"], state.scalers["depth"]
    network.zero_grad(set_to_none=True)  # the ways went through it, and it learns nothing from them
    with autocast(choose_device(config.device), config.precision):
        found = network(ways.dehazed.detach())
    loss = F.l1_loss(found.float(), ways.seen_depth.detach().float())
    scaler.scale(loss).backward()
    descend(state.optimizers["depth"], scaler, network.parameters(), config.depth_optimizer.clip)
    return loss.detach()


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
        where: dict[str, Any] = {"first": state.steps_done, "steps": config.steps}
        # two orders of the same pictures, so that what is hazy and what is clear do not belong together
        orders = [batches(dataset, config.data, seed=2 * config.seed + i, **where) for i in (0, 1)]
        for hazy, clear in zip(*orders, strict=True):
            values = step(state, hazy.hazy, clear.clear, config)
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
    """Train, and write the dehazing network's averaged weights as ``weights.safetensors``, the others not; its path."""
    state = train(config, data, out, resume=resume)
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_weights(state.average.network.state_dict(), path, resolve_network(config.network), overwrite=True)
    return path


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise; see :func:`unhaze.recipes.supervised.rehearse`."""
    state, batch = setup(config), random_batch(config.data)
    step(state, batch.hazy, batch.clear, config)
    started = time.perf_counter()
    step(state, batch.hazy, batch.clear, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
