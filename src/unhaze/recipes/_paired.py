"""What recipes share that learn from pairs of a hazy and a clear picture: batches, the state of a training, scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from unhaze.data import create_dataset, describe_dataset
from unhaze.data._base import Dataset, PairedDataset, Sample, Series
from unhaze.data.synthetic import SynthesisConfig
from unhaze.data.transforms import CenterCrop, Compose, ResizeToAtLeast, random_view
from unhaze.errors import UsageError
from unhaze.evaluation.protocols import get_protocol
from unhaze.evaluation.scoring import score_picture
from unhaze.nn.depth_view import nearness
from unhaze.training.distributed import rank, world_size
from unhaze.training.ema import ExponentialMovingAverage
from unhaze.training.logging import write_strips
from unhaze.training.seed import random_state, restore_random_state
from unhaze.types import DepthMap, Restored

__all__ = [
    "Batch",
    "DataConfig",
    "NetworkState",
    "batches",
    "data_facts",
    "open_data",
    "score_network",
    "validation_samples",
]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which pairs, and what of them the network sees.

    Attributes:
        dataset: Name in the catalogue (``unhaze data list``).
        split: To train on; the data set's first if empty.
        validation: Split to validate on. If empty, or if the data set has no such split, the last ``held_out`` pairs
            are kept out of the training for it.
        held_out: Pairs to validate on.
        crop: Side of the views [px].
        batch: Pictures of a step, all processes and all parts of an accumulated step together.
        edge_decay: See :class:`~unhaze.data.transforms.RandomCrop`.
        vertical: Mirror top-bottom, too; left-right is always done.
        turn: Turn by quarters.
        workers: Processes that make samples; they change nothing but speed.
        on_error: ``"stop"`` or ``"skip"``, at a picture that cannot be read.
        known_depth: Of ``synthetic``, only scenes whose depth is known, by day, with haze that follows it.
    """

    dataset: str = "synthetic"
    split: str = ""
    validation: str = "validation"
    held_out: int = 16
    crop: int = 256
    batch: int = 8
    edge_decay: float = 0.0
    vertical: bool = False
    turn: bool = False
    workers: int = 0
    on_error: str = "stop"
    known_depth: bool = False


class Batch(NamedTuple):
    """Samples as tensors.

    Attributes:
        hazy, clear: (B, 3, H, W) in [0, 1].
        nearness: (B, 1, H, W) in [0, 1], 1 where the whole picture is nearest; 0 everywhere where depth is not known.
        depth_known: (B,) bool.
        skipped: Names and messages of pairs that could not be read.
    """

    hazy: Tensor
    clear: Tensor
    nearness: Tensor
    depth_known: Tensor
    skipped: tuple[tuple[str, str], ...]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        hazy, clear, near, known, skipped = self
        return Batch(hazy.to(device), clear.to(device), near.to(device), known.to(device), skipped)

    def parts(self, count: int) -> list[Batch]:
        """Cut into ``count`` batches of equal size, for accumulation."""
        if len(self.hazy) % count:
            raise UsageError(f"A batch of {len(self.hazy)} cannot be cut into {count} equal parts; change accumulate.")
        hazy, clear, near, known = (
            part.chunk(count) for part in (self.hazy, self.clear, self.nearness, self.depth_known)
        )
        return [Batch(hazy[i], clear[i], near[i], known[i], () if i else self.skipped) for i in range(count)]


@dataclass(slots=True)
class NetworkState(Generic[ModuleT]):
    """A training of one network at some step."""

    network: ModuleT
    average: ExponentialMovingAverage[ModuleT]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    steps_done: int = 0

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "step": self.steps_done,
            "network": self.network.state_dict(),
            "ema": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.steps_done = int(state["step"])
        restore_random_state(state["random"])


# -- data -------------------------------------------------------------------------------------------------------------


def open_data(config: DataConfig, root: str | Path, seed: int, depth: Any = None) -> tuple[Dataset, list[Sample]]:
    """The data set to train on, and the samples to validate on.

    Args:
        config: Which pairs.
        root: Folder of the data set.
        seed: Of everything random.
        depth: Gives the depth of a picture, see :mod:`unhaze.data.depth_cache`; what is stored if ``None``.

    Raises:
        UsageError: There is no such data set or split, files are missing, or too few pairs would be left.
    """
    has_validation = config.validation in describe_dataset(config.dataset).splits
    if config.dataset == "synthetic":
        options: dict[str, Any] = {"size": (config.crop, config.crop)}
        if config.known_depth:
            options |= {"config": SynthesisConfig(weights=(0.45, 0.55, 0.0), agnostic=0.0, clear=0.05), "night": 0.0}
        train: Any = create_dataset(config.dataset, root, config.split or "train", seed=seed, **options)
        # the same pictures for every seed, so that runs can be compared
        held: Any = create_dataset(config.dataset, root, "validation", seed=0, **options | {"night": 0.0})
        return train, validation_samples(held, config.held_out)
    view = random_view(config.crop, edge_decay=config.edge_decay, vertical=config.vertical, turn=config.turn)
    options = {"seed": seed, "on_error": config.on_error, "depth": depth}
    train = create_dataset(config.dataset, root, config.split or None, transform=Compose((_spread, view)), **options)
    held_view = Compose((_spread, ResizeToAtLeast(config.crop), CenterCrop(2 * config.crop)))
    if has_validation:
        held = create_dataset(config.dataset, root, config.validation, transform=held_view, **options)
        return train, validation_samples(held, config.held_out)
    assert isinstance(train, PairedDataset)
    if len(train) <= config.held_out:
        raise UsageError(
            f"{root} has {len(train)} pairs, too few to keep {config.held_out} for validation; "
            "lower it with --set data.held_out=N."
        )
    held = train.select(range(len(train) - config.held_out, len(train)))
    held.transform = held_view
    return train.select(range(len(train) - config.held_out)), validation_samples(held, config.held_out)


def validation_samples(dataset: Dataset, count: int) -> list[Sample]:
    """``count`` samples spread evenly over a data set, or all; of an endless one the first."""
    total = len(dataset)
    if total > 1 << 24:
        return [dataset[index] for index in range(count)]
    places = np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
    return [dataset[int(place)] for place in places]


def data_facts(dataset: Dataset, config: DataConfig) -> dict[str, Any]:
    """What identifies the training data: name, size, and a digest of the names of all pairs."""
    facts: dict[str, Any] = {"dataset": config.dataset, "split": getattr(dataset, "split", ""), "length": len(dataset)}
    if isinstance(dataset, PairedDataset):
        names = "\n".join(pair.name for pair in dataset.pairs)
        facts["sha256"] = hashlib.sha256(names.encode()).hexdigest()
    elif (bank := getattr(dataset, "bank", None)) is not None:
        digest = hashlib.sha256()
        for scene in bank.scenes:
            digest.update(scene.name.encode() + scene.image.tobytes())
        facts["sha256"] = digest.hexdigest()
    return facts


def batches(dataset: Dataset, config: DataConfig, *, seed: int, first: int, steps: int) -> Iterator[Batch]:
    """Batches of the steps ``first`` to ``steps``; this process's share of each.

    Sample number n is the same whatever came before, so a resumed training sees what it would have seen.

    Raises:
        UsageError: The batch cannot be shared among the processes.
    """
    if config.batch % world_size():
        raise UsageError(f"A batch of {config.batch} cannot be shared by {world_size()} processes; choose a multiple.")
    share = config.batch // world_size()
    series = Series(dataset, steps * config.batch, seed=seed, shuffle=len(dataset) < 1 << 24)
    numbers = [
        number
        for step in range(first, steps)
        for number in range(step * config.batch + rank() * share, step * config.batch + (rank() + 1) * share)
    ]
    loader: DataLoader[Any] = DataLoader(
        _Numbered(series),
        batch_size=share,
        sampler=numbers,
        num_workers=config.workers,
        collate_fn=collate,
        persistent_workers=config.workers > 0,
    )
    return iter(loader)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size."""

    def pictures(name: str) -> Tensor:
        stacked = np.stack([getattr(sample, name) for sample in samples])
        pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    blank = np.zeros(samples[0].hazy.shape[:2], np.float32)
    near = [blank if sample.depth is None else _near(sample.depth) for sample in samples]
    return Batch(
        pictures("hazy"),
        pictures("clear"),
        torch.from_numpy(np.stack(near))[:, None],
        torch.tensor([sample.depth is not None for sample in samples]),
        tuple(entry for sample in samples for entry in sample.meta.get("skipped", ())),
    )


class _Numbered(TorchDataset[Sample]):
    def __init__(self, series: Series) -> None:
        self.series = series

    def __getitem__(self, index: int) -> Sample:
        return self.series[index]


def _near(depth: DepthMap[Any]) -> Any:
    """Nearness of a map (H, W); one that :func:`_spread` has seen is that already."""
    if depth.kind == "inverse_relative":
        return np.clip(depth.map, 0, 1).astype(np.float32)
    return nearness(torch.from_numpy(np.ascontiguousarray(depth.map))[None, None], depth.kind)[0, 0].numpy()


def _spread(sample: Sample, _rng: np.random.Generator) -> Sample:
    """Depth as nearness within the whole picture, before it is cut."""
    if sample.depth is None:
        return sample
    whole = torch.from_numpy(np.ascontiguousarray(sample.depth.map, np.float32))[None, None]
    near = nearness(whole, sample.depth.kind)[0, 0].numpy()
    return Sample(sample.hazy, sample.clear, DepthMap(near, "inverse_relative"), sample.name, sample.meta)


# -- validation -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def score_network(
    restore: Callable[[Batch], Restored],
    samples: Sequence[Sample],
    protocol: str,
    device: torch.device,
    strips: Path | None = None,
) -> dict[str, float]:
    """Mean scores over samples, and a strip hazy | restored | clear of the first ones.

    Args:
        restore: Restores a batch.
        samples: To score.
        protocol: Name of a protocol (``unhaze.evaluation``); its PSNR and SSIM are taken.
        device: Where the network is.
        strips: PNG to write.

    Returns:
        ``psnr`` [dB] and ``ssim``, by their names in the protocol.
    """
    recipe = get_protocol(protocol)
    metrics = ("psnr", recipe.ssim_metric)
    totals: dict[str, list[float]] = {name: [] for name in metrics}
    rows: list[list[Any]] = []
    for sample in samples:
        batch = collate([sample]).to(device)
        restored = restore(batch).image.clamp(0, 1)
        scores = score_picture(restored.double(), target=batch.clear.double(), protocol=recipe, metrics=metrics)
        for name, value in scores.values.items():
            totals[name].append(min(value, 100.0))
        if len(rows) < 6:
            rows.append([_picture(each) for each in (batch.hazy, restored, batch.clear)])
    if strips is not None and rows:
        smallest = min(row[0].shape[0] for row in rows), min(row[0].shape[1] for row in rows)
        write_strips(strips, [[each[: smallest[0], : smallest[1]] for each in row] for row in rows])
    return {"ssim" if name != "psnr" else name: float(np.mean(values)) for name, values in totals.items() if values}


def _picture(batch: Tensor) -> Any:
    return batch[0].permute(1, 2, 0).float().cpu().numpy()


def describe_network(network: nn.Module) -> Mapping[str, int]:
    """Numbers of parameters."""
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained": sum(p.numel() for p in network.parameters() if p.requires_grad),
    }
