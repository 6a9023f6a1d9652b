"""How the field network is trained.

Own procedure. Whole pictures are seen small, hazed on the fly (``unhaze.data.synthetic``), and the loss is taken where
it counts: on the restored picture, after the transmission has gone through the same guided filter and the same
inversion that the dehazer applies at full resolution. In addition the transmission, the airlight and, where it is
known, the depth are taught directly, so that haze and depth teach each other.

    J = (I - A) / t + A                               He et al. 2011, Eq. 22
    t >= max over c of (A - I) / A, (I - A) / (1 - A)  Meng et al. 2013, Eq. 7
    t = up(a) luma(I) + up(b), a and b guided by I    He and Sun 2015, Algorithm 2

The whole run is a function of its configuration: sample number n is the same whatever came before, so a run that was
killed and resumed gives the weights of one that was not, bit for bit, on the same machine with the same threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from unhaze.backbones.field import MULTIPLE, FieldNetwork, FieldOutput, count_parameters
from unhaze.data.synthetic import Sample, SceneBank, SynthesisConfig, synthesize
from unhaze.errors import UsageError
from unhaze.training.checkpoint import latest_checkpoint, load_checkpoint
from unhaze.training.ema import ExponentialMovingAverage
from unhaze.training.logging import write_strips
from unhaze.training.loop import LoopConfig, Progress, run_steps
from unhaze.training.memory import keep_freed_memory
from unhaze.training.schedules import warmup_cosine
from unhaze.training.seed import random_state, restore_random_state, seed_everything

__all__ = ["Config", "State", "main", "setup", "step", "train"]

FILTER_RADIUS = 0.02  # of the guided filter, share of the long side
FILTER_EPS = 1e-3
MINIMUM_TRANSMISSION = 0.1
_LOADERS, _PREFETCHED = 3, 6


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Arguments of :class:`~unhaze.backbones.field.FieldNetwork`."""

    widths: tuple[int, ...] = (20, 36, 72, 128, 160)
    blocks: tuple[int, ...] = (1, 2, 4, 2)
    attention: tuple[int, ...] = (2, 2)
    context: int = 128


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW with warm-up, a constant rate, and a cosine decay at the end.

    Attributes:
        lr: Peak learning rate.
        warmup: Steps until it is reached.
        decay: Last steps of the training, over which it falls.
        final: Share of it that is left at the end.
        weight_decay: Decoupled, on everything that is not a bias.
        clip: Largest norm of the gradient.
    """

    lr: float = 1.2e-3
    warmup: int = 300
    decay: int = 12000
    final: float = 0.01
    weight_decay: float = 1e-3
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the terms; 0 leaves one out."""

    restored: float = 2.0
    decibel: float = 0.05
    gradient: float = 0.5
    transmission: float = 1.0
    optical_depth: float = 0.1
    airlight: float = 2.0
    depth: float = 0.1
    confidence: float = 0.02


@dataclass(frozen=True, slots=True)
class StageConfig:
    """A part of the training: ``steps`` steps on ``batch`` views of ``short`` x ``long`` pixels, multiples of 32.

    With ``vary`` each step draws its own size: both sides within a factor of exp(vary) of those.
    """

    steps: int
    batch: int
    short: int
    long: int
    vary: float = 0.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on, data apart.

    Attributes:
        stages: One after the other; the learning rate runs over all of them.
        stop: Step after which the run ends, as the first part of another; 0 for none. The learning rate is that of the
            whole.
        first: A run to do before, in ``first`` in the folder of this one, which goes on from its averaged weights.
        start: Checkpoint of a run that was done before, in place of ``first``; neither for random weights.
        rooms: Rooms that are rendered for the training (:mod:`unhaze.data.rooms`).
        portrait: Share of the steps that see upright pictures.
        precision: ``"bf16"`` runs the network, not the loss, in bfloat16.
        threads: Of torch; results differ in the last bits between numbers of threads.
        checkpoint_every, log_every, strip_every: In steps.
    """

    seed: int = 1
    data: SynthesisConfig = field(default_factory=SynthesisConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    stages: tuple[StageConfig, ...] = (
        StageConfig(10500, 8, 128, 192, 0.2),
        StageConfig(5000, 8, 160, 224, 0.2),
        StageConfig(1000, 8, 192, 256, 0.2),
    )
    stop: int = 0
    first: Config | None = None
    start: str = ""
    rooms: int = 400
    portrait: float = 0.2
    ema: float = 0.999
    precision: Literal["bf16", "fp32"] = "bf16"
    threads: int = 1
    checkpoint_every: int = 250
    log_every: int = 50
    strip_every: int = 1000

    @property
    def scheduled(self) -> int:
        """Number of steps of all stages, over which the learning rate runs."""
        return sum(stage.steps for stage in self.stages)

    @property
    def steps(self) -> int:
        """Number of steps that are taken."""
        return min(self.stop or self.scheduled, self.scheduled)


class Batch(NamedTuple):
    """Samples as tensors; pictures (B, 3, H, W) in [0, 1], maps (B, 1, H, W), flags (B, 1, 1, 1) of 0 and 1."""

    hazy: Tensor
    clear: Tensor
    transmission: Tensor
    airlight: Tensor  # (B, 3, g, g)
    depth: Tensor
    depth_known: Tensor
    in_srgb: Tensor


@dataclass(slots=True)
class State:
    """A training at some step."""

    network: FieldNetwork
    average: ExponentialMovingAverage[FieldNetwork]
    optimizer: torch.optim.Optimizer
    steps_done: int = 0

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "step": self.steps_done,
            "network": self.network.state_dict(),
            "ema": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = int(state["step"])
        restore_random_state(state["random"])


def create_network(config: NetworkConfig) -> FieldNetwork:
    """The untrained network."""
    if (len(config.widths), len(config.blocks), len(config.attention)) != (5, 4, 2):
        raise UsageError("network.widths takes five numbers, network.blocks four and network.attention two.")
    return FieldNetwork(**asdict(config))


def setup(config: Config, start: str | Path = "") -> State:
    """A training at step 0.

    Args:
        config: All settings.
        start: Checkpoint whose averaged weights are the first; what ``config`` says if empty.
    """
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    seed_everything(config.seed)
    network = create_network(config.network)
    if start or config.start:
        _load_start(network, start or config.start)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [each for each in network.parameters() if each.ndim > 1]
    others = [each for each in network.parameters() if each.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.optimizer.weight_decay}, {"params": others, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=config.optimizer.lr, betas=(0.9, 0.99))
    return State(network.train(), ExponentialMovingAverage(network, config.ema), optimizer)


def _load_start(network: FieldNetwork, path: str | Path) -> None:
    """Load the averaged weights of another run."""
    if not Path(path).is_file():
        raise UsageError(f"There is no checkpoint {path} to start from; give the last one of the run before by start=.")
    saved = load_checkpoint(Path(path))
    try:
        network.load_state_dict(saved["ema"]["network"])
    except (KeyError, RuntimeError) as error:
        raise UsageError(f"{path} is no checkpoint of this network; start from a run with the same widths.") from error


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.steps_done)
    output = predict(state.network, batch.hazy, config.precision)
    terms, _ = losses(output, batch)
    weights = asdict(config.loss)
    total = torch.stack([weights[name] * value for name, value in terms.items() if weights[name]]).sum()
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.optimizer.clip)
    state.optimizer.step()
    state.average.update(state.network)
    state.steps_done += 1
    values = {"loss": total, "norm": norm, **terms}
    return {name: float(value.detach()) for name, value in values.items()}


def learning_rate(config: Config, number: int) -> float:
    """Of step ``number``, from 0."""
    settings = config.optimizer
    if number < settings.warmup:
        return settings.lr * (number + 1) / settings.warmup
    first = max(settings.warmup, config.scheduled - settings.decay)
    share = warmup_cosine(max(0, number - first), total=config.scheduled - first, warmup=0, final=settings.final)
    return settings.lr * share


def predict(network: FieldNetwork, hazy: Tensor, precision: str) -> FieldOutput:
    """Run the network on (B, 3, H, W)."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output: FieldOutput = network(hazy.contiguous(memory_format=torch.channels_last))
    return output


def restore(output: FieldOutput, hazy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the dehazer does with an estimate.

    Args:
        output: Of the network.
        hazy: (B, 3, h, w), the picture at the size of the transmission.

    Returns:
        Restored picture (B, 3, h, w), not clipped; transmission (B, 1, h, w) after the guided filter; airlight
        (B, 3, 1, 1).
    """
    size = hazy.shape[-2:]
    luma = hazy.mul(hazy.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    radius = max(1, round(FILTER_RADIUS * max(size)))
    airlight = output.airlight[..., None, None]
    bounded = torch.maximum(torch.exp(-output.optical_depth), least_transmission(hazy, airlight.detach()))
    slope, offset = _guided_coefficients(luma, bounded, radius)
    transmission = (slope * luma + offset).clamp(MINIMUM_TRANSMISSION, 1)
    return (hazy - airlight) / transmission + airlight, transmission, airlight  # He et al. 2011, Eq. 22


def least_transmission(hazy: Tensor, airlight: Tensor) -> Tensor:
    """Transmission below which the restored picture would leave [0, 1] (Meng et al. 2013, Eq. 7), (B, 1, h, w)."""
    dark = (airlight - hazy) / airlight
    bright = (hazy - airlight) / (1 - airlight)
    return torch.maximum(dark, bright).amax(dim=1, keepdim=True).clamp(0, 1)


def losses(output: FieldOutput, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """Terms of the loss by the names of :class:`LossConfig`, and the restored pictures.

    All are taken at half the size of the view, that of the predicted maps, where they cost a quarter.
    """
    hazy, clear, true_transmission = (F.avg_pool2d(each, 2) for each in (batch.hazy, batch.clear, batch.transmission))
    restored, transmission, airlight = restore(output, hazy)
    error = restored - clear
    true_light = F.interpolate(batch.airlight, size=hazy.shape[-2:], mode="bilinear", align_corners=True)
    squared = error.clamp(-1, 1).square().mean(dim=(1, 2, 3))
    # below the least transmission any haze is as good as opaque
    visible = true_transmission > MINIMUM_TRANSMISSION
    optical_error = (output.optical_depth + true_transmission.clamp(min=MINIMUM_TRANSMISSION).log()) * visible
    closeness = torch.exp(-10 * error.detach().abs().mean(dim=1, keepdim=True))
    terms = {
        "restored": error.abs().mean(),
        # mean PSNR in units of 10 dB; beyond 40 dB nobody sees a difference
        "decibel": torch.log10(squared + 1e-4).mean(),
        "gradient": _gradients(error).abs().mean(),
        "transmission": _mean((transmission - true_transmission).abs(), batch.in_srgb),
        "optical_depth": _mean(optical_error.abs(), batch.in_srgb),
        # the colour of the haze matters, and shows, where there is haze
        "airlight": ((airlight - true_light).abs() * (1 - true_transmission)).mean(),
        "depth": _depth_loss(output.log_depth, batch),
        "confidence": F.binary_cross_entropy_with_logits(output.confidence, closeness),
    }
    return terms, restored


def make_batch(bank: SceneBank, config: Config, number: int) -> Batch:
    """The batch of step ``number``, from 0."""
    first, stage = _stage_of(config, number)
    rng = np.random.default_rng((config.seed, 2**31, number))
    upright = rng.random() < config.portrait
    factors = np.exp(rng.uniform(-stage.vary, stage.vary, 2))
    short, long = sorted(
        max(1, round(side * factor / MULTIPLE)) * MULTIPLE
        for side, factor in zip((stage.short, stage.long), factors, strict=True)
    )
    height, width = (long, short) if upright else (short, long)
    indices = range(first, first + stage.batch)
    return collate([synthesize(bank, config.data, config.seed, index, height, width) for index in indices])


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one size."""

    def pictures(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(each, name) for each in samples])).permute(0, 3, 1, 2).float()

    def flags(values: list[bool]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)

    blank = np.ones(samples[0].transmission.shape, np.float32)
    return Batch(
        hazy=pictures("hazy") / 255,
        clear=pictures("clear") / 255,
        transmission=torch.from_numpy(np.stack([each.transmission for each in samples]))[:, None],
        airlight=pictures("airlight"),
        depth=torch.from_numpy(np.stack([blank if each.depth is None else each.depth for each in samples]))[:, None],
        depth_known=flags([each.depth is not None for each in samples]),
        in_srgb=flags([each.in_srgb for each in samples]),
    )


def train(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> State:
    """Train from the newest checkpoint on, or from the start.

    Args:
        config: All settings.
        data: Folder with clear pictures, see :mod:`unhaze.data.synthetic`.
        out: Folder of the run: ``config.json``, ``log.jsonl``, ``strips/``, ``checkpoints/``.
        resume: ``"auto"`` for the newest checkpoint in ``out`` if there is one, or a checkpoint file.
        report: Told where the training stands.

    Raises:
        UsageError: The data is missing, ``out`` holds another run, or the checkpoint is of other settings or data.
    """
    bank = cache(lambda rooms: SceneBank.load(data, "train", rooms=rooms))  # rooms take a while to render
    return _train(config, bank, Path(out), resume, report)


def _train(
    config: Config,
    bank_with: Callable[[int], SceneBank],
    out: Path,
    resume: str | Path | None,
    report: Callable[[Progress], None] | None,
) -> State:
    start: str | Path = ""
    if config.first is not None:
        _train(config.first, bank_with, out / "first", "auto" if resume else None, report)
        start = latest_checkpoint(out / "first" / "checkpoints") or ""
    state, bank = setup(config, start), bank_with(config.rooms)
    stream: list[Iterator[tuple[int, Batch]]] = []  # begun when a checkpoint has said with which step

    def advance(number: int) -> dict[str, float]:
        if not stream:
            stream.append(_batches(bank, config, number))
        _, batch = next(stream[0])
        terms = step(state, batch, config)
        if state.steps_done % config.strip_every == 0 or state.steps_done == config.steps:
            _write_strips(state, batch, config, out / "strips" / f"step-{state.steps_done:07d}.png")
        return terms

    run_steps(
        state,
        LoopConfig(steps=config.steps, checkpoint_every=config.checkpoint_every, log_every=config.log_every),
        out=out,
        settings=asdict(config),
        data=_data_facts(bank),
        advance=advance,
        batch=max(stage.batch for stage in config.stages),
        resume=resume,
        report=report,
    )
    return state


def main(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train, and export the averaged network as ``field.onnx`` into ``out``; its path."""
    from unhaze.export.onnx import export_field

    state = train(config, data, out, resume=resume, report=report)
    return export_field(state.average.network, Path(out) / "field.onnx")


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    return {
        "config": _plain(config),
        "parameters": count_parameters(create_network(config.network)),
        "steps": sum(run.steps for run in _runs(config)),
        "samples": sum(_samples(run) for run in _runs(config)),
    }


def inspect(config: Config, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run.

    Raises:
        UsageError: The folder is missing, or nothing in it can be read.
    """
    bank = SceneBank.load(data, "train")
    if any(run.rooms for run in _runs(config)) and not bank.groups["clear"]:
        raise UsageError(f"{data} has no clear pictures for the walls of rooms; add some, or set rooms to 0.")
    groups = {name: len(indices) for name, indices in bank.groups.items() if indices}
    return {"folder": str(data), "pictures": len(bank), "groups": groups, "left_out": [*bank.skipped.values()]}


def _runs(config: Config) -> list[Config]:
    """A run and those before it, the first one first."""
    return [*([] if config.first is None else _runs(config.first)), config]


def _samples(config: Config) -> int:
    begins_at, stage = _stage_of(config, config.steps - 1)
    return begins_at + stage.batch


def _stage_of(config: Config, number: int) -> tuple[int, StageConfig]:
    """Index of the first sample of a step, and its stage."""
    first = 0
    for stage in config.stages:
        if number < stage.steps:
            return first + number * stage.batch, stage
        number, first = number - stage.steps, first + stage.steps * stage.batch
    raise AssertionError("a step beyond the last stage")


def _batches(bank: SceneBank, config: Config, first: int) -> Iterator[tuple[int, Batch]]:
    """Batches of the remaining steps in order, made in threads while the network trains."""
    with ThreadPoolExecutor(_LOADERS, thread_name_prefix="synthesis") as pool:
        pending: list[Future[Batch]] = []
        for number in range(first, config.steps):
            for ahead in range(number + len(pending), min(number + _PREFETCHED + 1, config.steps)):
                pending.append(pool.submit(make_batch, bank, config, ahead))
            yield number, pending.pop(0).result()


def _guided_coefficients(guide: Tensor, source: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """He, Sun and Tang 2013, Eqs. 5, 6 and 8."""
    count = _box_sum(torch.ones_like(guide[:1]), radius)

    def mean(x: Tensor) -> Tensor:
        return _box_sum(x, radius) / count

    mean_guide, mean_source = mean(guide), mean(source)
    variance = (mean(guide * guide) - mean_guide * mean_guide).clamp(min=0)
    slope = (mean(guide * source) - mean_guide * mean_source) / (variance + FILTER_EPS)  # Eq. 5
    offset = mean_source - slope * mean_guide  # Eq. 6
    return mean(slope), mean(offset)  # Eq. 8


def _box_sum(x: Tensor, radius: int) -> Tensor:
    """Sum over the window of (2 radius + 1)² pixels, clipped at the borders, by differences of running sums."""
    for dim in (2, 3):
        length = x.shape[dim]
        sums = F.pad(x.cumsum(dim), (1, 0) if dim == 3 else (0, 0, 1, 0))
        upper = torch.arange(length).add_(radius + 1).clamp_(max=length)
        lower = torch.arange(length).sub_(radius).clamp_(min=0)
        x = sums.index_select(dim, upper) - sums.index_select(dim, lower)
    return x


def _gradients(x: Tensor) -> Tensor:
    """Differences of neighbours along both axes, flattened."""
    return torch.cat([x.diff(dim=2).flatten(), x.diff(dim=3).flatten()])


def _mean(x: Tensor, share: Tensor) -> Tensor:
    """Mean of ``x`` over the samples that count."""
    return (x * share).mean(dim=(1, 2, 3)).sum() / share.sum().clamp(min=1)


def _depth_loss(log_depth: Tensor, batch: Batch) -> Tensor:
    """Difference of logarithms of depth, less its mean: the scale is unknown (Eigen et al. 2014, Eq. 1)."""
    difference = log_depth - F.avg_pool2d(batch.depth, 2).clamp(min=1e-3).log()
    return _mean((difference - difference.mean(dim=(1, 2, 3), keepdim=True)).abs(), batch.depth_known)


def _plain(config: Config) -> dict[str, Any]:
    """The configuration as JSON reads it back."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def _data_facts(bank: SceneBank) -> dict[str, Any]:
    digest = hashlib.sha256()
    for scene in bank.scenes:
        digest.update(scene.name.encode())
        digest.update(scene.image.tobytes())
    return {"scenes": len(bank), "sha256": digest.hexdigest()}


def _write_strips(state: State, batch: Batch, config: Config, path: Path) -> None:
    """Hazy, restored, clear, transmission and true transmission of a few samples."""
    few = Batch(*(each[:6] for each in batch))
    hazy, clear, true_transmission = (F.avg_pool2d(each, 2) for each in (few.hazy, few.clear, few.transmission))
    restored, transmission, _ = restore(predict(state.average.network, few.hazy, config.precision), hazy)
    columns = (hazy, restored, clear, transmission.expand(-1, 3, -1, -1), true_transmission.expand(-1, 3, -1, -1))
    rows = [[column[i].permute(1, 2, 0).numpy() for column in columns] for i in range(len(hazy))]
    write_strips(path, rows)
