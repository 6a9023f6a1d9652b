"""PSD: a network that tells image, transmission and airlight learns from pairs, then from photographs and priors.

Chen, Wang, Yang, Liu, "PSD: Principled Synthetic-to-Real Dehazing Guided by Physical Priors", CVPR 2021; official code
zychen-ustc/PSD-Principled-Synthetic-to-Real-Dehazing-Guided-by-Physical-Priors at 268b02a (MIT). Two stages, of which
:class:`TermWeights` says what counts:

1. on pairs, the restored image is held against the clear one, and the hazy picture against what the scattering model
   makes of image, transmission and airlight;
2. on pairs and photographs of real haze, what the scattering model makes of the network's answer, and of the
   photograph with its contrast spread (CLAHE), must be the photograph; priors hold the transmission; and features and
   skies must stay what they were after the first stage ("learning without forgetting").

As in the official code, CLAHE limits contrast at 3 in 16x16 tiles. There it runs over all pixels of a picture as one
column; here over the planes of a view, each by itself. There the losses see hazy pictures in [-1, 1] beside images in
[0, 1]; here all are in [0, 1], as the scattering model has them.

A run is a function of its configuration and of the weights it starts from; resuming is exact, as in ``supervised``.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.data import create_dataset
from unhaze.data.batch import Batch
from unhaze.data.dataset import Dataset
from unhaze.data.transforms import random_view
from unhaze.errors import UsageError
from unhaze.losses.priors import bright_channel_loss, dark_channel_energy, sky_loss, spread_contrast
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import create_network, resolve_network
from unhaze.recipes import supervised
from unhaze.recipes.supervised import describe, inspect
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.pairs import batches, data_facts, open_data, random_batch
from unhaze.training.record import RunRecord, check_values
from unhaze.training.state import NetworkState, estimate_cost, place
from unhaze.training.steps import add_gradients, autocast, descend, rate_factor, set_rate
from unhaze.training.validation import score_network

__all__ = ["Config", "State", "TermWeights", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]


@dataclass(frozen=True, slots=True)
class TermWeights:
    """Weights of the terms; 0 leaves one out.

    Attributes:
        clear: The restored image of pairs against the clear one.
        rehazed: The hazy picture of pairs against the scattering model's.
        reconstruction: The photograph against the scattering model's.
        clahe: The photograph against the scattering model's with CLAHE's picture for the image.
        kept_pairs, kept_photographs: Features on either, against those before the photographs.
        kept_sky: Skies of photographs, likewise.
        dark: Energy of the dark channel.
        bright: Distance from the bright channel.
    """

    clear: float = 0.0
    rehazed: float = 0.0
    reconstruction: float = 0.0
    clahe: float = 0.0
    kept_pairs: float = 0.0
    kept_photographs: float = 0.0
    kept_sky: float = 0.0
    dark: float = 0.0
    bright: float = 0.0

    @property
    def needs_photographs(self) -> bool:
        """Whether any term is one of photographs."""
        of_pairs = ("clear", "rehazed", "kept_pairs")
        return any(value for name, value in asdict(self).items() if name not in of_pairs)

    @property
    def needs_memory(self) -> bool:
        """Whether any term looks back at the network that the run began with."""
        return bool(self.kept_pairs or self.kept_photographs or self.kept_sky)


@dataclass(frozen=True, slots=True)
class Config(supervised.Config):
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        network: One of PSD's.
        terms: What counts; ``loss`` is not looked at.
        photographs: Folder of photographs of real haze; empty where no term needs them.
        photographs_dataset: How it lies on disk, a name of the catalogue.
        matting: See :func:`~unhaze.losses.priors.dark_channel_energy`.
        accumulate: Must be 1.
    """

    network: str = "psd-msbdn"
    terms: TermWeights = field(default_factory=lambda: TermWeights(clear=1.0, rehazed=1.0))
    photographs: str = ""
    photographs_dataset: str = "rtts"
    matting: bool = False


@dataclass(slots=True, kw_only=True)
class State(NetworkState[Model]):
    """A training at some step; the memory is frozen and comes from the file of weights, so no checkpoint holds it."""

    memory: Model | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a network of PSD says of a hazy picture; all in [0, 1], at its size.

    Attributes:
        image: (B, 3, H, W).
        transmission: (B, 1, H, W).
        airlight: (B, 3, 1, 1).
        features: (B, C, H, W), that the transmission is told from.
    """

    image: Tensor
    transmission: Tensor
    airlight: Tensor
    features: Tensor

    def rehazed(self, image: Tensor) -> Tensor:
        """What the scattering model makes of an image."""
        return self.transmission * image + (1 - self.transmission) * self.airlight


def setup(config: Config, *, untrained: bool = False) -> State:
    """A training at step 0.

    Args:
        config: All settings.
        untrained: Let a run that looks back begin with fresh weights, to rehearse it.

    Raises:
        UsageError: A setting cannot work.
    """
    if config.accumulate != 1:
        raise UsageError("The recipe prior_guidance cannot cut batches into parts; take --set accumulate=1.")
    if not any(asdict(config.terms).values()):
        raise UsageError("All weights of the terms are 0; give at least one, for example --set terms.clear=1.0.")
    if config.terms.needs_memory and not (config.weights or untrained):
        raise UsageError(
            "To keep what a network knows, it must know something; name its weights with --set weights=FILE, or train "
            "them with the preset psd-ots."
        )
    begun = supervised.setup(config)
    if not hasattr(begun.network, "transmission_head"):
        raise UsageError(f"{config.network} tells no transmission; take psd-msbdn, psd-ffanet or psd-gcanet.")
    memory = None
    if config.terms.needs_memory:
        memory = create_network(resolve_network(config.network))
        memory.load_state_dict(begun.network.state_dict())
        memory = place(memory, choose_device(config.device)).eval().requires_grad_(False)
    return State(begun.network, begun.average, begun.optimizer, begun.scaler, memory=memory)


def step(state: State, batch: Batch, photographs: Tensor | None, config: Config) -> dict[str, float]:
    """One optimiser step.

    Args:
        state: Changed.
        batch: Pairs.
        photographs: (B, 3, H, W) in [0, 1]; ``None`` where no term needs them.
        config: All settings.

    Returns:
        The values of the loss terms, means over all processes.
    """
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    weights, batch, values = config.terms, batch.to(device), dict[str, Tensor]()
    terms: dict[str, Tensor] = {}
    if weights.clear or weights.rehazed or weights.kept_pairs:
        told = answer(state.network, batch.hazy, config)
        terms["clear"] = F.smooth_l1_loss(told.image, batch.clear)
        terms["rehazed"] = F.smooth_l1_loss(told.rehazed(told.image), batch.hazy)
        if weights.kept_pairs:
            terms["kept_pairs"] = F.smooth_l1_loss(told.features, remembered(state, batch.hazy, config).features)
    if weights.needs_photographs:
        if photographs is None:
            raise UsageError("A term needs photographs of real haze; name their folder with --set photographs=FOLDER.")
        terms |= photograph_terms(state, photographs.to(device), config)
    wanted = {name: getattr(weights, name) * value for name, value in terms.items() if getattr(weights, name)}
    add_gradients(wanted, state.scaler, parts=1, values=values)
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    return average_values({**values, "norm": norm})


def photograph_terms(state: State, hazy: Tensor, config: Config) -> dict[str, Tensor]:
    """The terms of photographs, without their weights."""
    told = answer(state.network, hazy, config)
    terms = {
        "reconstruction": F.smooth_l1_loss(told.rehazed(told.image), hazy),
        "clahe": F.smooth_l1_loss(told.rehazed(spread_contrast(hazy)), hazy),
        "dark": dark_channel_energy(hazy, told.transmission, matting=config.matting),
        "bright": bright_channel_loss(hazy, told.transmission),
    }
    if config.terms.kept_photographs or config.terms.kept_sky:
        before = remembered(state, hazy, config)
        terms["kept_photographs"] = F.smooth_l1_loss(told.features, before.features)
        terms["kept_sky"] = sky_loss(hazy, told.image, before.image)
    return terms


def answer(network: Model, hazy: Tensor, config: Config) -> Answer:
    """What a network says of (B, 3, H, W) in [0, 1]."""
    seen: list[Tensor] = []
    head = network.get_submodule("transmission_head")
    hook = head.register_forward_pre_hook(lambda _module, arguments: seen.append(arguments[0]))
    try:
        with autocast(choose_device(config.device), config.precision):
            restored = network.restore(hazy)
    finally:
        hook.remove()
    height, width = hazy.shape[-2:]
    transmission = restored.aux["transmission"].float()[..., :height, :width]
    return Answer(restored.image.float(), transmission, restored.aux["airlight"].float(), seen[0].float())


def remembered(state: State, hazy: Tensor, config: Config) -> Answer:
    """What the network said before the run began."""
    assert state.memory is not None
    with torch.no_grad():
        return answer(state.memory, hazy, config)


def open_photographs(config: Config) -> Dataset | None:
    """Views of the photographs, as large as those of the pairs; ``None`` where no term needs them."""
    if not config.terms.needs_photographs:
        return None
    if not config.photographs:
        raise UsageError("A term needs photographs of real haze; name their folder with --set photographs=FOLDER.")
    return create_dataset(
        config.photographs_dataset,
        config.photographs,
        transform=random_view(config.data.crop),
        seed=config.seed,
        on_error=config.data.on_error,
    )


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
    device = choose_device(config.device)
    join_processes(device)
    state = setup(config)
    dataset, held_out = open_data(config.data, data, config.seed)
    real = open_photographs(config)
    settings, facts = asdict(config), data_facts(dataset, config.data)
    if real is not None:
        facts["photographs"] = data_facts(real, replace(config.data, dataset=config.photographs_dataset))
    with RunRecord(out, config.loop, settings=settings, data=facts, batch=config.data.batch, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        where = {"seed": config.seed, "first": state.steps_done, "steps": config.steps}
        seen = None if real is None else batches(real, config.data, **where)
        for batch in batches(dataset, config.data, **where):
            values = step(state, batch, None if seen is None else next(seen).hazy, config)
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
    state, batch = setup(config, untrained=True), random_batch(config.data)
    step(state, batch, batch.hazy, config)
    started = time.perf_counter()
    step(state, batch, batch.hazy, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
