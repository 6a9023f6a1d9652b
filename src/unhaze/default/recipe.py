"""How the default is trained.

Own procedure. Whole pictures are seen small, hazed on the fly (:mod:`unhaze.default.synthesis`), and the loss is taken
where it counts, on the restored picture (``_loss.py``).

A run has three parts: the first one learns on scenes with known depth and on random depth; its own depth of the scenes
that come without one is what their haze follows in the second; the third adds haze that lies in the distance alone.

The whole run is a function of its configuration: sample number n is the same whatever came before, so a run that was
killed and resumed gives the weights of one that was not, bit for bit, on the same machine with the same threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from unhaze.default._loss import Batch, LossConfig, losses, restore
from unhaze.default.constants import MULTIPLE, network_shape
from unhaze.default.network import FieldNetwork, FieldOutput, count_parameters, imagenet_encoder_weights
from unhaze.default.scenes import SceneBank
from unhaze.default.synthesis import Sample, SynthesisConfig, synthesize
from unhaze.errors import UsageError
from unhaze.training.checkpoint import latest_checkpoint, load_checkpoint
from unhaze.training.record import LoopConfig, RunRecord, check_values
from unhaze.training.state import ExponentialMovingAverage, NetworkState, prepare_process
from unhaze.training.steps import create_scaler, warmup_cosine
from unhaze.training.validation import write_strips

__all__ = ["Batch", "Config", "LossConfig", "State", "main", "setup", "step", "train"]

_LOADERS, _PREFETCHED = 2, 6


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Arguments of :class:`~unhaze.default.network.FieldNetwork`, and how it begins.

    Attributes:
        widths, attention, context: See there.
        imagenet: Begin with an encoder that has seen ImageNet.
        frozen: Number of the encoder's first blocks that stay as they are, with the stem; kernels within channels
            (``spread``) always do, since their gradients take most of the time of a step on a processor.
    """

    widths: tuple[int, ...] = (20, 32, 56, 96, 160)
    attention: tuple[int, ...] = (2, 1)
    context: int = 128
    imagenet: bool = True
    frozen: int = 5


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW with warm-up, a constant rate, and a cosine decay at the end.

    Attributes:
        lr: Peak learning rate.
        encoder: Share of it for the encoder.
        warmup: Steps until it is reached.
        decay: Share of the steps, at the end, over which it falls.
        final: Share of it that is left at the end.
        weight_decay: Decoupled, on everything that is not a bias.
        clip: Largest norm of the gradient.
    """

    lr: float = 1.2e-3
    encoder: float = 0.25
    warmup: int = 300
    decay: float = 0.6
    final: float = 0.02
    weight_decay: float = 1e-3
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on, data apart.

    Attributes:
        steps: Optimiser steps.
        batch: Views of a step.
        short, long: Sides of a view [px]; with ``vary`` each step draws its own, within a factor of exp(vary).
        first: A run to do before, in ``first`` in the folder of this one, which goes on from its averaged weights and
            hazes scenes without depth by the depth it finds in them.
        boxes: Rooms of boxes that are rendered for the training.
        portrait: Share of the steps that see upright pictures.
        precision: ``"bf16"`` runs the network, not the loss, in bfloat16.
        device: ``"cpu"``, ``"cuda"``...
        threads: Of torch; results differ in the last bits between numbers of threads.
        checkpoint_every, log_every, strip_every: In steps.
    """

    seed: int = 1
    data: SynthesisConfig = field(default_factory=SynthesisConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    steps: int = 7000
    batch: int = 8
    short: int = 176
    long: int = 240
    vary: float = 0.25
    first: Config | None = None
    boxes: int = 120
    portrait: float = 0.25
    ema: float = 0.999
    precision: Literal["bf16", "fp32"] = "bf16"
    device: str = "cpu"
    threads: int = 1
    checkpoint_every: int = 250
    log_every: int = 50
    strip_every: int = 500


State = NetworkState[FieldNetwork]


def default_config() -> Config:
    """The settings of the network that ships."""
    kinds = (("room", 0.38), ("boxes", 0.01), ("road", 0.15), ("indoors", 0.16), ("outdoors", 0.3))
    first = Config(
        data=SynthesisConfig(estimated=0.0, weights=kinds),
        optimizer=OptimizerConfig(decay=0.3, final=0.3),
        loss=LossConfig(depth=0.3),
        steps=6000,
        short=128,
        long=176,
    )
    second = Config(
        seed=2,
        data=SynthesisConfig(clear=0.12, high_key=0.2, plain=0.42, thin=0.2, weights=kinds),
        optimizer=OptimizerConfig(lr=1e-3, decay=0.75),
        loss=LossConfig(gain=0.3),
        steps=7000,
        short=160,
        long=224,
        first=first,
    )
    # haze in the distance alone, and no photograph called clear whose own distance is veiled
    distant = replace(second.data, clear=0.16, plain=0.35, distant=0.35, veiled=0.35)
    return replace(
        second, seed=3, data=distant, optimizer=OptimizerConfig(lr=5e-4, decay=1.0), steps=3600, first=second
    )


def create_network(config: NetworkConfig) -> FieldNetwork:
    """The untrained network; the encoder as ImageNet left it where the settings say so."""
    if (len(config.widths), len(config.attention)) != (5, 2):
        raise UsageError("network.widths takes five numbers and network.attention two.")
    network = FieldNetwork(config.widths, config.attention, config.context)  # type: ignore[arg-type]
    if config.imagenet:
        network.encoder.load_state_dict(imagenet_encoder_weights())
    return network


def setup(config: Config, start: str | Path = "") -> State:
    """A training at step 0.

    Args:
        config: All settings.
        start: Checkpoint whose averaged weights are the first.
    """
    prepare_process(config.seed, config.threads)
    network = create_network(config.network)
    if start:
        network.load_state_dict(load_checkpoint(Path(start))["ema"]["network"])
    network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
    network.encoder.stem.requires_grad_(False)
    for name, each in network.encoder.named_parameters():
        parts = name.split(".")
        if parts[0] == "blocks" and (int(parts[1]) < config.network.frozen or parts[2] == "spread"):
            each.requires_grad_(False)
    groups = []
    for encoder in (False, True):
        for decayed in (False, True):
            chosen = [
                each
                for name, each in network.named_parameters()
                if each.requires_grad and name.startswith("encoder") == encoder and (each.ndim > 1) == decayed
            ]
            decay = config.optimizer.weight_decay if decayed else 0.0
            scale = config.optimizer.encoder if encoder else 1.0
            groups.append({"params": chosen, "weight_decay": decay, "scale": scale})
    optimizer = torch.optim.AdamW(groups, lr=config.optimizer.lr, betas=(0.9, 0.99))
    scaler = create_scaler(torch.device(config.device), config.precision)
    return State(network.train(), ExponentialMovingAverage(network, config.ema), optimizer, scaler)


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms."""
    rate = learning_rate(config, state.steps_done)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    batch = Batch(*(each.to(config.device) for each in batch))
    output = predict(state.network, batch.hazy, config.precision)
    terms, _ = losses(output, batch)
    weights = asdict(config.loss)
    total = torch.stack([weights[name] * value for name, value in terms.items() if weights[name]]).sum()
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.optimizer.clip)
    if torch.isfinite(norm):  # a single broken step must not end a run of hours
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
    first = max(settings.warmup, round(config.steps * (1 - settings.decay)))
    total = max(1, config.steps - first)
    return settings.lr * warmup_cosine(max(0, number - first), total=total, warmup=0, final=settings.final)


def predict(network: FieldNetwork, hazy: Tensor, precision: str) -> FieldOutput:
    """Run the network on (B, 3, H, W)."""
    with torch.autocast(hazy.device.type, torch.bfloat16, enabled=precision == "bf16"):
        output: FieldOutput = network(hazy.contiguous(memory_format=torch.channels_last))
    return output


def make_batch(bank: SceneBank, config: Config, number: int) -> Batch:
    """The batch of step ``number``, from 0."""
    rng = np.random.default_rng((config.seed, 2**31, number))
    upright = rng.random() < config.portrait
    factors = np.exp(rng.uniform(-config.vary, config.vary, 2))
    short, long = sorted(
        max(1, round(side * factor / MULTIPLE)) * MULTIPLE
        for side, factor in zip((config.short, config.long), factors, strict=True)
    )
    height, width = (long, short) if upright else (short, long)
    indices = range(number * config.batch, (number + 1) * config.batch)
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
        gain=torch.tensor([each.gain for each in samples]),
        depth=torch.from_numpy(np.stack([blank if each.depth is None else each.depth for each in samples]))[:, None],
        depth_known=flags([each.depth is not None for each in samples]),
        in_srgb=flags([each.in_srgb for each in samples]),
    )


def estimate_missing_depth(bank: SceneBank, network: FieldNetwork) -> SceneBank:
    """The same scenes, those without depth with what ``network`` finds in the clear picture, of median 1."""
    network = network.eval()

    def complete(scene: Any) -> Any:
        if scene.depth is not None:
            return scene
        height, width = scene.image.shape[:2]
        view = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float() / 255
        view = F.interpolate(view, size=network_shape(height, width), mode="bilinear", antialias=True)
        device = next(network.parameters()).device
        with torch.inference_mode():
            output = network(view.to(device).contiguous(memory_format=torch.channels_last))
        log_depth = F.interpolate(output.log_depth.float().cpu(), size=(height, width), mode="bilinear")[0, 0]
        depth = torch.exp((log_depth - log_depth.median()).clamp(-3, 3))
        return replace(scene, depth=depth.numpy().astype(np.float32))

    return SceneBank([complete(scene) for scene in bank.scenes])


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start.

    Args:
        config: All settings.
        data: Folder with the sources of :mod:`unhaze.default.scenes`.
        out: Folder of the run: ``config.json``, ``log.jsonl``, ``strips/``, ``checkpoints/``.
        resume: ``"auto"`` for the newest checkpoint in ``out`` if there is one, or a checkpoint file.

    Raises:
        UsageError: The data is missing, ``out`` holds another run, or the checkpoint is of other settings or data.
    """
    return train_parts(config, SceneBank.load(data, "train", boxes=config.boxes), Path(out), resume)


def train_parts(config: Config, bank: SceneBank, out: Path, resume: str | Path | None) -> State:
    """The part that has to come before, if there is one, and then this one; see :func:`train`."""
    start: str | Path = ""
    facts = data_facts(bank)
    if config.first is not None:
        first = train_parts(config.first, bank, out / "first", "auto" if resume else None)
        start = latest_checkpoint(out / "first" / "checkpoints") or ""
        bank = estimate_missing_depth(bank, first.average.network)
    if config.data.veiled:
        bank = bank.without_veiled(config.data.veiled)
    state = setup(config, start)
    loop = LoopConfig(steps=config.steps, checkpoint_every=config.checkpoint_every, log_every=config.log_every)
    with RunRecord(out, loop, settings=asdict(config), data=facts, batch=config.batch, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        for batch in batches(bank, config, state.steps_done):
            values = step(state, batch, config)
            done = state.steps_done
            if done % config.strip_every == 0 or done == config.steps:
                show(state, batch, config, out / "strips" / f"step-{done:07d}.png")
            check_values(values, done)
            run.record(done, values)
            if run.is_checkpoint(done):
                run.save(done, state.state_dict())
    return state


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and export the averaged network as ``field.onnx`` into ``out``; its path."""
    from unhaze.default.export import export_field

    state = train(config, data, out, resume=resume)
    return export_field(state.average.network, Path(out) / "field.onnx")


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    runs = [config] if config.first is None else [config.first, config]
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return {
        "config": plain,
        "parameters": count_parameters(create_network(replace(config.network, imagenet=False))),
        "steps": sum(run.steps for run in runs),
        "samples": sum(run.steps * run.batch for run in runs),
    }


def inspect(config: Config, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run.

    Raises:
        UsageError: The folder is missing, or its scenes are.
    """
    return {"folder": str(data), "scenes": len(SceneBank.load(data, "train"))}


def batches(bank: SceneBank, config: Config, first: int) -> Iterator[Batch]:
    """Batches of the remaining steps in order, made in threads while the network trains."""
    with ThreadPoolExecutor(_LOADERS, thread_name_prefix="synthesis") as pool:
        pending: list[Future[Batch]] = []
        for number in range(first, config.steps):
            for ahead in range(number + len(pending), min(number + _PREFETCHED + 1, config.steps)):
                pending.append(pool.submit(make_batch, bank, config, ahead))
            yield pending.pop(0).result()


def data_facts(bank: SceneBank) -> dict[str, Any]:
    """What identifies the scenes: how many, and a digest of their names and pixels."""
    digest = hashlib.sha256()
    for scene in bank.scenes:
        digest.update(scene.name.encode())
        digest.update(scene.image.tobytes())
    return {"scenes": len(bank), "sha256": digest.hexdigest()}


def show(state: State, batch: Batch, config: Config, path: Path) -> None:
    """Hazy, restored, clear, transmission and true transmission of a few samples."""
    few = Batch(*(each[:6].to(config.device) for each in batch))
    hazy, clear, true_transmission = (F.avg_pool2d(each, 2) for each in (few.hazy, few.clear, few.transmission))
    with torch.no_grad():
        restored, transmission = restore(predict(state.average.network, few.hazy, config.precision), hazy)
    columns = (hazy, restored, clear, transmission.expand(-1, 3, -1, -1), true_transmission.expand(-1, 3, -1, -1))
    rows = [[column[i].permute(1, 2, 0).cpu().numpy() for column in columns] for i in range(len(hazy))]
    write_strips(path, rows)
