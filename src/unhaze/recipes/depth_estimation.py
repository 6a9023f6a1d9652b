"""A depth network that sees through haze: taught by true depth, and by its own view of the clear picture.

Own procedure, the "future work" of "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?" (P2):
depth that haze does not move. Each step sees every view twice, clear and hazed on the fly
(:mod:`unhaze.default.synthesis`).

    d' = (d - median d) / mean |d - median d|       Ranftl et al. 2022, Eqs. 5 and 6; d is inverse depth
    data         |d' - g'|, g the true inverse depth, clear and hazed; L1, without their trimming
    gradient     differences of d' - g' to the neighbours at four scales (Ranftl et al. 2022, Eq. 11)
    consistency  |d'(hazed) - stop_gradient(d'(clear))|, also where no depth is known

Scenes, held-out places included, are those of :mod:`unhaze.default.scenes`. A run is a function of its configuration:
one that was killed and resumed gives the weights of one that was not.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from unhaze.default import recipe as default
from unhaze.default.export import round_weights, write_onnx
from unhaze.default.network import count_parameters, imagenet_encoder_weights
from unhaze.default.scenes import SceneBank
from unhaze.default.synthesis import SynthesisConfig
from unhaze.depth.compact_v2 import OUTPUT
from unhaze.depth.lite_network import DepthNetwork, field_weights
from unhaze.training.record import LoopConfig, RunRecord, check_values
from unhaze.training.state import ExponentialMovingAverage, NetworkState, estimate_cost, prepare_process
from unhaze.training.steps import create_scaler, warmup_cosine

__all__ = ["Config", "State", "describe", "inspect", "losses", "main", "rehearse", "setup", "step", "train"]

_SCALES = 4  # of the gradient term


def _kinds() -> SynthesisConfig:
    kinds = (("room", 0.5), ("boxes", 0.02), ("road", 0.22), ("indoors", 0.1), ("outdoors", 0.16))
    return SynthesisConfig(clear=0.05, high_key=0.0, plain=0.42, estimated=0.0, weights=kinds)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on, data apart.

    Attributes:
        data: How views are hazed, and how often a scene is of each kind.
        start: First weights: the encoder after ImageNet, or the whole network but its head as the default dehazes,
            which itself began with that encoder; ``"random"`` for tests.
        frozen: Number of the encoder's first blocks that stay as they are, with the stem; kernels within channels
            always do, since their gradients take most of the time of a step on a processor.
        gradient, consistency: Weights of these terms beside the data term.
        batch: Scenes of a step; each is seen clear and hazed.
        short, long: Sides of a view [px]; each step draws its own, within a factor of exp(vary).
        lr: Peak of the rate, after ``warmup`` steps, before a cosine; the encoder has the share ``encoder`` of it.
        clip: Largest norm of the gradient.
        ema: Of the averaged weights, which are what is written.
    """

    seed: int = 1
    data: SynthesisConfig = field(default_factory=_kinds)
    start: Literal["imagenet", "field-m", "random"] = "field-m"
    frozen: int = 5
    gradient: float = 0.5
    consistency: float = 0.5
    batch: int = 4
    short: int = 160
    long: int = 224
    vary: float = 0.2
    portrait: float = 0.25
    boxes: int = 40
    lr: float = 4e-4
    encoder: float = 0.25
    warmup: int = 40
    weight_decay: float = 1e-3
    clip: float = 1.0
    ema: float = 0.99
    precision: Literal["bf16", "fp32"] = "bf16"
    device: str = "cpu"
    threads: int = 1
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=500, checkpoint_every=50, log_every=10))

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.loop.steps


State = NetworkState[DepthNetwork]


def setup(config: Config) -> State:
    """A training at step 0.

    Raises:
        MissingDependencyError: The package with the first weights is not installed.
    """
    prepare_process(config.seed, config.threads)
    network = DepthNetwork()
    if config.start == "imagenet":
        network.encoder.load_state_dict(imagenet_encoder_weights())
    elif config.start == "field-m":
        network.load_state_dict(field_weights())
    network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
    network.encoder.stem.requires_grad_(False)
    for number, block in enumerate(network.encoder.blocks):
        for name, each in block.named_parameters():
            each.requires_grad_(number >= config.frozen and not name.startswith("spread"))
    groups = [
        {
            "params": [
                each
                for name, each in network.named_parameters()
                if each.requires_grad and name.startswith("encoder") == encoder and (each.ndim > 1) == decayed
            ],
            "weight_decay": config.weight_decay if decayed else 0.0,
            "scale": config.encoder if encoder else 1.0,
        }
        for encoder in (False, True)
        for decayed in (False, True)
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99))
    scaler = create_scaler(torch.device(config.device), config.precision)
    return State(network.train(), ExponentialMovingAverage(network, config.ema), optimizer, scaler)


def step(state: State, batch: default.Batch, config: Config) -> dict[str, float]:
    """One optimiser step; the values of the loss terms."""
    rate = config.lr * warmup_cosine(state.steps_done, total=config.loop.steps, warmup=config.warmup, final=0.02)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    batch = default.Batch(*(each.to(config.device) for each in batch))
    views = torch.cat([batch.clear, batch.hazy]).contiguous(memory_format=torch.channels_last)
    with torch.autocast(views.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        logarithms = state.network(views)
    clear, hazy = logarithms.exp().chunk(2)
    inverse = 1 / F.avg_pool2d(batch.depth, 2).clamp(min=1e-3)
    terms = losses(clear, hazy, inverse, batch.depth_known.flatten() > 0)
    total = terms["data"] + config.gradient * terms["gradient"] + config.consistency * terms["consistency"]
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
    state.optimizer.step()
    state.average.update(state.network)
    state.steps_done += 1
    values = {"loss": total, **terms, "norm": norm}
    return {name: float(value.detach()) for name, value in values.items()}


def losses(clear: Tensor, hazy: Tensor, inverse: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Terms of the loss, before their weights.

    Args:
        clear: (B, 1, h, w) inverse depth predicted from the clear views, up to scale and shift.
        hazy: The same from the hazed ones.
        inverse: True inverse depth; anything where it is not known.
        known: (B,) whether it is.
    """
    clear, hazy = affine_invariant(clear), affine_invariant(hazy)
    error = torch.cat([clear, hazy]) - affine_invariant(inverse).repeat(2, 1, 1, 1)
    counts = known.repeat(2)
    share = counts.float().mean()
    error = error[counts] if counts.any() else error[:1] * 0
    gradient = error.new_zeros(())
    for scale in range(_SCALES):
        coarse = error[..., :: 2**scale, :: 2**scale]
        gradient = gradient + coarse.diff(dim=-1).abs().mean() + coarse.diff(dim=-2).abs().mean()
    return {
        "data": error.abs().mean() * share,
        "gradient": gradient * share / _SCALES,
        "consistency": (hazy - clear.detach()).abs().mean(),
    }


def affine_invariant(inverse: Tensor) -> Tensor:
    """Inverse depth (B, 1, h, w) of median 0 and mean deviation 1 (Ranftl et al. 2022, Eqs. 5 and 6)."""
    centred = inverse - inverse.flatten(1).median(dim=1).values[:, None, None, None]
    return centred / centred.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-4)


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start.

    Args:
        config: All settings.
        data: Folder with the sources of :mod:`unhaze.default.scenes`.
        out: Folder of the run.
        resume: ``"auto"`` for the newest checkpoint in ``out`` if there is one, or a checkpoint file.

    Raises:
        UsageError: The data is missing, ``out`` holds another run, or the checkpoint is of other settings or data.
    """
    loaded = SceneBank.load(data, "train", boxes=config.boxes)
    # the few outdoor scenes whose depth is known are drawn, and taught, like roads
    bank = SceneBank(
        [
            replace(each, group="road") if each.group == "outdoors" and each.depth is not None else each
            for each in loaded.scenes
        ]
    )
    state, facts, settings = setup(config), default.data_facts(bank), asdict(config)
    views = _view_config(config)
    with RunRecord(out, config.loop, settings=settings, data=facts, batch=config.batch, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        for batch in default.batches(bank, views, state.steps_done):
            values = step(state, batch, config)
            check_values(values, state.steps_done)
            run.record(state.steps_done, values)
            if run.is_checkpoint(state.steps_done):
                run.save(state.steps_done, state.state_dict())
    return state


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and export the averaged network as ``compact-v2.onnx`` into ``out``; its path."""
    state = train(config, data, out, resume=resume)
    return write_onnx(round_weights(state.average.network.cpu()), Path(out) / "compact-v2.onnx", [OUTPUT])


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return {
        "config": plain,
        "parameters": count_parameters(DepthNetwork()),
        "steps": config.loop.steps,
        "samples": config.loop.steps * config.batch,
    }


def inspect(config: Config, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run.

    Raises:
        UsageError: The folder is missing, or its scenes are.
    """
    return {"folder": str(data), "scenes": len(SceneBank.load(data, "train"))}


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise."""
    state, noise = setup(config), torch.rand(config.batch, 3, 160, 224)
    depth, ones = torch.rand(config.batch, 1, 160, 224) + 0.5, torch.ones(config.batch, 1, 1, 1)
    batch = default.Batch(noise, noise, depth, noise, ones.flatten(), depth, ones, ones)
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.loop.steps)


def _view_config(config: Config) -> default.Config:
    """What the default's loader of views has to know."""
    return default.Config(
        seed=config.seed,
        data=config.data,
        steps=config.loop.steps,
        batch=config.batch,
        short=config.short,
        long=config.long,
        vary=config.vary,
        portrait=config.portrait,
    )
