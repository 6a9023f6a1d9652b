"""Pairs of a hazy and a clear picture to train on: which, with whose depth, and as batches in an order of their own."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from unhaze.data import create_dataset, dataset_info
from unhaze.data.batch import Batch, collate
from unhaze.data.dataset import Dataset, DepthOf, PairedDataset, Sample, Series
from unhaze.data.depth_transforms import FeatureCut, depth_as_nearness
from unhaze.data.synthetic.scenes import SynthesisConfig
from unhaze.data.transforms import CenterCrop, Compose, ResizeToAtLeast, random_view
from unhaze.depth.base import DepthEstimator
from unhaze.depth.cache import CachedDepth, DepthCache
from unhaze.errors import UsageError
from unhaze.training.distributed import rank, world_size

if TYPE_CHECKING:
    from unhaze.data.depth_cache import DepthSource

__all__ = [
    "CACHED",
    "DataConfig",
    "batches",
    "cached_source",
    "data_facts",
    "has_depth",
    "inspect_data",
    "no_depth",
    "open_data",
    "random_batch",
    "validation_samples",
]

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
            and mirrored with the views, and so are features, see :class:`~unhaze.data.depth_transforms.FeatureCut`.
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
    train = create_dataset(
        config.dataset, root, config.split or None, transform=Compose((depth_as_nearness, view)), **options
    )
    if depth is not None:
        train.transform = Compose((depth_as_nearness, view, FeatureCut(_sides_of_features(train, config.crop))))
    held_view = Compose((depth_as_nearness, ResizeToAtLeast(config.crop), CenterCrop(2 * config.crop), FeatureCut()))
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
        series,  # type: ignore[arg-type]  # a sequence serves as a torch data set
        batch_size=share,
        sampler=numbers,
        num_workers=config.workers,
        collate_fn=collate,
        persistent_workers=config.workers > 0,
    )
    # a loader draws a random number when it begins, which a resumed run would draw at another place
    with torch.random.fork_rng(devices=[]):
        stream = iter(loader)
    warned: set[str] = set()
    for batch in stream:
        for name, message in batch.skipped:
            if name not in warned:
                warned.add(name)
                warnings.warn(f"{name} was passed over. {message}", stacklevel=2)
        yield batch


def random_batch(config: DataConfig) -> Batch:
    """Noise in the shape of a batch, to tell how long a step takes."""
    size = (config.batch, 3, config.crop, config.crop)
    hazy, clear, near = torch.rand(size), torch.rand(size), torch.rand(size)[:, :1]
    return Batch(hazy, clear, near, torch.ones(size[0], dtype=torch.bool), ())


def _sides_of_features(dataset: Dataset, crop: int) -> tuple[int, ...]:
    """Sides of feature maps of a crop, as dense as they are on the first picture; empty without features."""
    first = dataset.at(0)
    features = first.meta.get("depth_features", ())
    if not features:
        return ()
    height, width = first.meta["view"].resized
    density = [sqrt(each.shape[-2] * each.shape[-1] / (height * width)) for each in features]
    return tuple(max(1, round(crop * each)) for each in density)
