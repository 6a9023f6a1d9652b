"""What recipes share that learn from pairs of a hazy and a clear picture: batches, the state of a training, scores."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from unhaze.data import create_dataset, dataset_info
from unhaze.data.dataset import Dataset, DepthOf, PairedDataset, Sample, Series
from unhaze.data.synthetic.scenes import SynthesisConfig
from unhaze.data.transforms import CenterCrop, Compose, ResizeToAtLeast, View, random_view
from unhaze.depth.base import DepthEstimator
from unhaze.depth.cache import CachedDepth, DepthCache
from unhaze.errors import UsageError
from unhaze.evaluation.protocols import get_protocol
from unhaze.evaluation.scoring import score_picture
from unhaze.models.layers.depth_view import DepthView, nearness
from unhaze.training.distributed import rank, world_size
from unhaze.training.ema import ExponentialMovingAverage
from unhaze.training.logging import write_strips
from unhaze.training.seed import random_state, restore_random_state
from unhaze.types import DepthMap, Restored

if TYPE_CHECKING:
    from unhaze.data.depth_cache import DepthSource

__all__ = [
    "CACHED",
    "Batch",
    "DataConfig",
    "NetworkState",
    "batches",
    "cached_source",
    "data_facts",
    "has_depth",
    "inspect_data",
    "no_depth",
    "open_data",
    "score_network",
    "validation_samples",
]

ModuleT = TypeVar("ModuleT", bound=nn.Module)

CACHED = "cached:"  # before the name of an estimator: its depth of whole pictures, from the cache


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
        features: Feature maps (B, C, h, w) of the depth of these views, fine to coarse; empty where there are none.
    """

    hazy: Tensor
    clear: Tensor
    nearness: Tensor
    depth_known: Tensor
    skipped: tuple[tuple[str, str], ...]
    features: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        hazy, clear, near, known, skipped, features = self
        return Batch(
            hazy.to(device),
            clear.to(device),
            near.to(device),
            known.to(device),
            skipped,
            tuple(each.to(device) for each in features),
        )

    def parts(self, count: int) -> list[Batch]:
        """Cut into ``count`` batches of equal size, for accumulation."""
        if len(self.hazy) % count:
            raise UsageError(f"A batch of {len(self.hazy)} cannot be cut into {count} equal parts; change accumulate.")
        hazy, clear, near, known = (
            part.chunk(count) for part in (self.hazy, self.clear, self.nearness, self.depth_known)
        )
        features = [each.chunk(count) for each in self.features]
        return [
            Batch(
                hazy[i],
                clear[i],
                near[i],
                known[i],
                () if i else self.skipped,
                tuple(each[i] for each in features),
            )
            for i in range(count)
        ]


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


def open_data(
    config: DataConfig,
    root: str | Path,
    seed: int,
    depth: DepthSource | None = None,
    *,
    depth_of: DepthOf = "hazy",
) -> tuple[Dataset, list[Sample]]:
    """The data set to train on, and the samples to validate on.

    Args:
        config: Which pairs.
        root: Folder of the data set.
        seed: Of everything random.
        depth: Gives the depth of a whole picture, see :func:`cached_source`; what is stored if ``None``. The map is cut
            and mirrored with the views, and so are features, see :class:`FeatureCut`.
        depth_of: The picture whose depth is taken.

    Raises:
        UsageError: There is no such data set or split, files are missing, too few pairs would be left, or depth is to
            be kept of pictures that are seen once only.
    """
    has_validation = config.validation in dataset_info(config.dataset).splits
    if config.dataset == "synthetic":
        if depth is not None:
            raise UsageError(
                "The data set synthetic never shows a picture twice, so there is no depth to keep; take the depth that "
                "it brings, or an estimator without cached: before its name."
            )
        options: dict[str, Any] = {"size": (config.crop, config.crop)}
        if config.known_depth:
            options |= {"config": SynthesisConfig(weights=(0.45, 0.55, 0.0), agnostic=0.0, clear=0.05), "night": 0.0}
        train: Any = create_dataset(config.dataset, root, config.split or "train", seed=seed, **options)
        # the same pictures for every seed, so that runs can be compared
        held: Any = create_dataset(config.dataset, root, "validation", seed=0, **options | {"night": 0.0})
        return train, validation_samples(held, config.held_out)
    view = random_view(config.crop, edge_decay=config.edge_decay, vertical=config.vertical, turn=config.turn)
    options = {"seed": seed, "on_error": config.on_error, "depth": depth, "depth_of": depth_of}
    train = create_dataset(config.dataset, root, config.split or None, transform=Compose((_spread, view)), **options)
    if depth is not None:
        train.transform = Compose((_spread, view, FeatureCut(_sides_of_features(train, config.crop))))
    held_view = Compose((_spread, ResizeToAtLeast(config.crop), CenterCrop(2 * config.crop), FeatureCut()))
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


def inspect_data(config: DataConfig, root: str | Path, seed: int, *, depth_setting: str = "") -> dict[str, Any]:
    """What a training would find in a folder, for a dry run: read as the training reads it, but for stored depth.

    Pictures that haze is added to are all read, and of pairs those that are kept for the validation.

    Args:
        config: Which pairs.
        root: Folder of the data set.
        seed: Of everything random.
        depth_setting: The setting that asks for depth that comes with the data; empty where none does.

    Raises:
        UsageError: As for :func:`open_data`; or depth is wanted and no picture has any.
    """
    dataset, held_out = open_data(config, root, seed)
    if depth_setting and not has_depth(dataset):
        raise no_depth(config, root, depth_setting)
    bank = getattr(dataset, "bank", None)
    found: dict[str, Any] = {
        "folder": str(root),
        "dataset": config.dataset,
        "split": getattr(dataset, "split", ""),
        "pictures" if bank is not None else "pairs": len(dataset if bank is None else bank),
        "validation_samples": len(held_out),
    }
    if bank is not None:
        found["with_depth"] = sum(scene.depth is not None for scene in bank.scenes)
    report = getattr(dataset, "report", None)
    found["left_out"] = [*getattr(dataset, "skipped", {}).values(), *(() if report is None else report.problems)]
    return found


def no_depth(config: DataConfig, root: str | Path, setting: str) -> UsageError:
    """The error for pictures that bring no depth to a recipe that wants it."""
    # what is shown once only has no depth to keep
    choice = "compact" if config.dataset == "synthetic" else f"{CACHED}NAME"
    return UsageError(
        f"{root} has pictures without depth; take that of an estimator with --set {setting}={choice} (names: unhaze "
        "depth --list)."
    )


def cached_source(estimator: DepthEstimator, config: DataConfig, *, features: bool = False) -> CachedDepth:
    """The depth of whole pictures: from the cache in its usual folder, estimated and kept where it is missing.

    Args:
        estimator: Its identity says which entries are meant. It runs where it is, but on the processor in workers,
            which cannot share a GPU with the training that started them.
        config: Says whether there are workers.
        features: Whether its feature maps are wanted, too.
    """
    if config.workers:
        estimator = copy.deepcopy(estimator).cpu()
    return CachedDepth(estimator, DepthCache(features=features))


def has_depth(dataset: Dataset) -> bool:
    """Whether any picture of a data set comes with its depth, as far as can be told without reading them."""
    if isinstance(dataset, PairedDataset):
        return dataset.depth is not None or any(pair.depth is not None for pair in dataset.pairs)
    bank = getattr(dataset, "bank", None)
    return bank is None or any(scene.depth is not None for scene in bank.scenes)


def validation_samples(dataset: Dataset, count: int) -> list[Sample]:
    """``count`` samples spread evenly over a data set, or all; of an endless one the first."""
    total = len(dataset)
    if total > 1 << 24:
        return [dataset[index] for index in range(count)]
    places = np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
    return [dataset[int(place)] for place in places]


def data_facts(dataset: Dataset, config: DataConfig) -> dict[str, Any]:
    """What identifies the training data: name, size, a digest of the names of all pairs, and whose depth it is."""
    facts: dict[str, Any] = {"dataset": config.dataset, "split": getattr(dataset, "split", ""), "length": len(dataset)}
    if isinstance(dataset, PairedDataset):
        names = "\n".join(pair.name for pair in dataset.pairs)
        facts["sha256"] = hashlib.sha256(names.encode()).hexdigest()
        if isinstance(dataset.depth, CachedDepth):
            facts["depth"] = dataset.depth.estimator.identity
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
    features = [sample.meta.get("depth_features", ()) for sample in samples]
    return Batch(
        pictures("hazy"),
        pictures("clear"),
        torch.from_numpy(np.stack(near))[:, None],
        torch.tensor([sample.depth is not None for sample in samples]),
        tuple(entry for sample in samples for entry in sample.meta.get("skipped", ())),
        tuple(torch.from_numpy(np.concatenate(level)) for level in zip(*features, strict=True)),
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


@dataclass(frozen=True, slots=True)
class FeatureCut:
    """Features of the depth of a whole picture, cut, mirrored and turned like the view that a sample shows of it.

    Attributes:
        sides: Rows and columns of each feature map of a view, so that views of pictures of several sizes make a batch;
            if empty, as many as fall on the view.
    """

    sides: tuple[int, ...] = ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws nothing; the last of all transforms."""
        features = sample.meta.get("depth_features", ())
        if not features:
            return sample
        view: View = sample.meta["view"]
        sizes = [(side, side) for side in self.sides] or [_falling_on(view, each) for each in features]
        cut = tuple(_cut(each, view, size) for each, size in zip(features, sizes, strict=True))
        return replace(sample, meta={**sample.meta, "depth_features": cut})


def _cut(features: Any, view: View, size: tuple[int, int]) -> Any:
    """(1, C, h, w) of the whole picture to (1, C, *size) of a view, sampled as in the whole picture."""
    whole = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    (height, width), bottom, right = view.resized, view.top + view.height, view.left + view.width
    box = (view.top / height, view.left / width, bottom / height, right / width)
    part = DepthView(whole, (whole,), box).feature_at(0, size)
    part = part.flip([axis for axis, mirrored in ((-1, view.flip_x), (-2, view.flip_y)) if mirrored])
    return part.rot90(view.turns, (-2, -1)).contiguous().numpy()


def _falling_on(view: View, features: Any) -> tuple[int, int]:
    """Rows and columns of a feature map of the whole picture that fall on a view."""
    (height, width), (rows, columns) = view.resized, features.shape[-2:]
    return max(1, round(view.height * rows / height)), max(1, round(view.width * columns / width))


def _sides_of_features(dataset: Dataset, crop: int) -> tuple[int, ...]:
    """Sides of feature maps of a crop, as dense as they are on the first picture; empty without features."""
    first = dataset.at(0)
    features = first.meta.get("depth_features", ())
    if not features:
        return ()
    height, width = first.meta["view"].resized
    density = [sqrt(each.shape[-2] * each.shape[-1] / (height * width)) for each in features]
    return tuple(max(1, round(crop * each)) for each in density)


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
