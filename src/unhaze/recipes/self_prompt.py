"""SelfPromer's two networks, one after the other: an autoencoder of clear pictures, then the network that restores.

Wang, Pan, Lin, Dong, Wang, Wu, "SelfPromer: Self-Prompt Dehazing Transformers with Depth-Consistency", AAAI 2024;
official code supersupercong/SelfPromer at c940330 (CC BY-NC-SA 4.0).

Stage ``autoencoder`` restores clear pictures from themselves through a codebook: L1, LPIPS, the codebook's loss, and a
part of what a discriminator says. Stage ``restoration`` begins with these weights and keeps the codebook and everything
behind it. Its prompt is made of two depth maps, of the hazy and of the clear picture, that the autoencoder encodes; its
features are drawn to the codes that the autoencoder chose for the clear picture
(:func:`~unhaze.training.prompting.code_loss`), and 0.4 (1 - SSIM) is added. In each step the network comes first, then
the discriminator.

Other than the official code: LPIPS is that of AlexNet, where it has the variant of VGG16, and is left out with
``perceptual=0``; the autoencoder is trained without a prompt, for which the official code, as published, would need
depth that it does not give; the estimator is any of the catalogue in place of MiDaS. At inference there is no clear
picture: the second depth map is then that of a first restoration (``unhaze run``'s networks have no prompt at all).

A run is a function of its configuration; resuming is exact, as in ``supervised``.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unhaze.data.batch import Batch
from unhaze.errors import UnknownNameError, UsageError
from unhaze.losses.adversarial import Objective, UNetDiscriminator, discriminator_loss, generator_loss
from unhaze.metrics.functional.lpips import LpipsNetwork, load_lpips
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import load_weights, save_weights
from unhaze.models.layers.depth_view import nearness
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import resolve_network
from unhaze.models.selfpromer import SelfPromer
from unhaze.recipes import adversarial, supervised
from unhaze.recipes.supervised import describe, inspect
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.loss import LossConfig, restoration_terms
from unhaze.training.pairs import batches, data_facts, open_data, random_batch
from unhaze.training.prompting import code_loss, depth_estimator, keep_prior, stage_network, trained_autoencoder
from unhaze.training.record import RunRecord, check_values
from unhaze.training.state import begin, estimate_cost, place, prepare_process
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
from unhaze.training.validation import Validation, one_by_one
from unhaze.types import Restored

__all__ = ["Config", "State", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]

STAGES = ("autoencoder", "restoration")


@dataclass(frozen=True, slots=True)
class Config(supervised.Config):
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        network: ``selfpromer-hq`` for the first stage, ``selfpromer-lq`` for the second.
        stage: ``"autoencoder"`` or ``"restoration"``.
        autoencoder_weights: What the first stage wrote; in the second alone.
        depth: Estimator that sees each view, in the second stage.
        depth_weights: File or folder with its weights.
        codebook: Weight of the loss on codes.
        perceptual: Weight of LPIPS; 0 leaves it out, and AlexNet with it.
        alexnet: Torchvision's file for it; that of ``UNHAZE_ALEXNET_WEIGHTS`` if empty.
        adversarial: Weight of what the discriminator says.
        objective: See :mod:`unhaze.losses.adversarial`.
        discriminator_channels: Its width.
        discriminator_optimizer: Its own; the schedule is that of the network.
        accumulate: Must be 1.
    """

    network: str = "selfpromer-hq"
    stage: Literal["autoencoder", "restoration"] = "autoencoder"
    autoencoder_weights: str = ""
    depth: str = "compact"
    depth_weights: str = ""
    codebook: float = 1.0
    perceptual: float = 1.0
    alexnet: str = ""
    adversarial: float = 0.1
    objective: Objective = "hinge"
    discriminator_channels: int = 64
    discriminator_optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig("adam", 4e-4, betas=(0.9, 0.99))
    )
    loss: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig("constant"))


@dataclass(slots=True, kw_only=True)
class State(adversarial.State):
    """A training at some step; what is frozen comes from files, so no checkpoint holds it.

    Attributes:
        autoencoder: What guides the second stage; ``None`` in the first.
        estimator: What finds depth, likewise.
        perceptual: LPIPS, or ``None``.
    """

    autoencoder: SelfPromer | None
    estimator: nn.Module | None
    perceptual: LpipsNetwork | None


def setup(config: Config, *, autoencoder: SelfPromer | None = None) -> State:
    """A training at step 0.

    Args:
        config: All settings.
        autoencoder: What guides the second stage; created and filled as configured if ``None``.

    Raises:
        UsageError: A setting cannot work.
        WeightsNotFoundError: Weights of the autoencoder, of the estimator or of AlexNet are missing.
    """
    if config.stage not in STAGES:
        raise UnknownNameError("stage of SelfPromer", config.stage, STAGES)
    if config.accumulate != 1:
        raise UsageError("The recipe self_prompt cannot cut batches into parts; take --set accumulate=1.")
    prepare_process(config.seed, config.threads)
    device = choose_device(config.device)
    network = stage_network(config.network, restores=config.stage == "restoration")
    estimator = None
    if config.stage == "restoration":
        autoencoder = autoencoder or trained_autoencoder(config.autoencoder_weights)
        estimator = depth_estimator(config.depth, config.depth_weights)
        keep_prior(network, autoencoder)
    if config.weights:
        load_weights(network, config.weights)
    model: Model = network
    begun = begin(model, config.optimizer, ema=config.ema, precision=config.precision, device=device)
    discriminator = place(UNetDiscriminator(config.discriminator_channels), device).train()
    return State(
        begun.network,
        begun.average,
        begun.optimizer,
        begun.scaler,
        discriminator=discriminator,
        discriminator_optimizer=create_optimizer(discriminator.parameters(), config.discriminator_optimizer),
        discriminator_scaler=create_scaler(device, config.precision),
        autoencoder=None if autoencoder is None else place(autoencoder, device).eval().requires_grad_(False),
        estimator=None if estimator is None else estimator.to(device),
        perceptual=load_lpips(config.alexnet or None).to(device) if config.perceptual else None,
    )


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One step of the network and one of the discriminator; the values of the loss terms, means over all processes."""
    factor = rate_factor(config.schedule, state.steps_done, config.steps)
    set_rate(state.optimizer, config.optimizer.lr * factor)
    set_rate(state.discriminator_optimizer, config.discriminator_optimizer.lr * factor)
    device = choose_device(config.device)
    batch = batch.to(device)
    state.discriminator.requires_grad_(False)
    with autocast(device, config.precision):
        restored, wanted = run_network(state, batch)
    terms = restoration_terms(restored, batch.clear, batch.hazy, config.loss)
    terms["codebook"] = config.codebook * code_term(state, restored, wanted)
    if state.perceptual is not None:
        terms["perceptual"] = config.perceptual * state.perceptual(restored.image.float(), batch.clear).mean()
    verdicts = judge(state, restored.image, config)
    terms["adversarial"] = config.adversarial * generator_loss(verdicts, config.objective)
    total = torch.stack(list(terms.values())).sum()
    state.scaler.scale(total).backward()
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    told = discriminate(state, restored.image.detach(), batch.clear, config)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({"loss": total, **terms, "discriminator": told, "norm": norm})


def run_network(state: State, batch: Batch) -> tuple[Restored, Tensor | None]:
    """What the network makes of a batch, and, in the second stage, the codes of the clear pictures."""
    if state.autoencoder is None:
        return state.network(batch.clear), None
    with torch.no_grad():
        depths = (depth_of(state, image) for image in (batch.hazy, batch.clear))
        prompt = tuple(state.autoencoder.encode_depth(each) for each in depths)
        wanted = state.autoencoder(batch.clear).aux["indices"]
    return state.network(batch.hazy, depth_features=prompt), wanted


def depth_of(state: State, image: Tensor) -> Tensor:
    """Depth (B, 1, H, W) in [0, 1] of pictures, near is large."""
    assert state.estimator is not None
    found = state.estimator(image)
    return nearness(found.map.float(), found.kind)


def code_term(state: State, restored: Restored, wanted: Tensor | None) -> Tensor:
    """The loss on codes: the codebook's own, or the distance to the codes of the clear picture."""
    if wanted is None:
        return restored.aux["codebook_loss"].float()
    return code_loss(restored.aux["latent"].float(), state.network.get_submodule("codes")(wanted[:, 0]))


def discriminate(state: State, restored: Tensor, clear: Tensor, config: Config) -> Tensor:
    """The discriminator's step; its loss."""
    state.discriminator.requires_grad_(True)
    real, fake = (judge(state, image, config) for image in (clear, restored))
    loss = discriminator_loss(real, fake, config.objective)
    state.discriminator_scaler.scale(loss).backward()
    clip = config.discriminator_optimizer.clip
    descend(state.discriminator_optimizer, state.discriminator_scaler, state.discriminator.parameters(), clip)
    return loss.detach()


def judge(state: State, image: Tensor, config: Config) -> Tensor:
    """What the discriminator says of pictures (B, 3, H, W) in [0, 1], pixel by pixel."""
    with autocast(choose_device(config.device), config.precision):
        verdicts: Tensor = state.discriminator(image.float())
    return verdicts.float()


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
    join_processes(choose_device(config.device))
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
                scores = validate(state, held_out, config, Path(out) / "strips" / f"step-{done:07d}.png")
            run.record(done, values, scores)
            if run.is_checkpoint(done):
                run.save(done, state.state_dict())
    leave_processes()
    return state


@torch.no_grad()
def validate(state: State, held_out: list[Any], config: Config, strips: Path) -> dict[str, float]:
    """Mean scores of the averaged network: of what the autoencoder gives back, or of hazy pictures restored twice.

    No clear picture helps: the prompt of the second pass is made of the depth of what the first, without one, gives.
    """
    validation, network = Validation(config.protocol), state.average.network
    for batch in one_by_one(held_out, choose_device(config.device)):
        if state.autoencoder is None:
            validation.add(batch, network.restore(batch.clear).image)
            continue
        first = network.restore(batch.hazy).image.clamp(0, 1)
        # the prompt has an eighth of the size that the network works at
        sides = [slice(0, side - side % 8) for side in batch.hazy.shape[-2:]]
        depths = (depth_of(state, image[..., sides[0], sides[1]]) for image in (batch.hazy, first))
        prompt = tuple(state.autoencoder.encode_depth(each) for each in depths)
        second = first.clone()
        second[..., sides[0], sides[1]] = network(batch.hazy[..., sides[0], sides[1]], depth_features=prompt).image
        validation.add(batch, second)
    validation.write_strips(strips)
    return validation.scores()


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and write the network's averaged weights as ``weights.safetensors`` into ``out``; its path."""
    state = train(config, data, out, resume=resume)
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_weights(state.average.network.state_dict(), path, resolve_network(config.network), overwrite=True)
    return path


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise; LPIPS and the estimator count only where their weights are given."""
    batch, autoencoder = random_batch(config.data), None
    if not config.alexnet:
        config = replace(config, perceptual=0.0)
    if config.stage == "restoration" and not config.depth_weights:
        config = replace(config, depth="compact")
    if config.stage == "restoration" and not config.autoencoder_weights:
        autoencoder = stage_network("selfpromer-hq", restores=False)
    state = setup(config, autoencoder=autoencoder)
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
