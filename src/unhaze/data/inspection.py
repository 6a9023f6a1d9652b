"""Looking at a data set: is it whole, what is in it, and what does it look like."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.data.dataset import Dataset, PairedDataset, Sample
from unhaze.data.shards import Stored, damaged_members
from unhaze.errors import ImageError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Statistics", "contact_sheet", "spread", "statistics", "unreadable_pairs"]

_DARK_WINDOW = 15  # [px], He et al. 2011
_GAP = 4  # [px] between the pictures of a sheet
_BACKGROUND = 32
_AHEAD = 4  # samples per thread that may wait to be looked at


@dataclass(frozen=True, slots=True)
class _Facts:
    """One sample in numbers; all values in [0, 1]."""

    name: str
    size: tuple[int, int]
    hazy_key: str
    clear_key: str
    moments: NDArray[np.float64]  # (2, 2, 3): hazy and clear; mean and mean square; RGB
    dark: tuple[float, float]
    has_depth: bool


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is in a data set.

    Attributes:
        pairs: Number of pairs.
        looked_at: Number of pairs that the figures are of.
        sizes: (width, height) to how often it occurs, most frequent first.
        hazy_mean, hazy_std, clear_mean, clear_std: RGB, values in [0, 1]; each picture counts the same.
        dark_hazy, dark_clear: Mean of the dark channel (15x15 px, He et al. 2011), in [0, 1]. It grows with haze, and
            is near 0 in clear outdoor pictures.
        with_depth: Number of pairs with depth.
        hazy_duplicates, clear_duplicates: Names of pairs whose pictures are the same, pixel for pixel, though the files
            are not.
        unreadable: Name to message.
    """

    pairs: int
    looked_at: int
    sizes: dict[tuple[int, int], int]
    hazy_mean: tuple[float, ...]
    hazy_std: tuple[float, ...]
    clear_mean: tuple[float, ...]
    clear_std: tuple[float, ...]
    dark_hazy: float
    dark_clear: float
    with_depth: int
    hazy_duplicates: list[list[str]] = field(default_factory=list)
    clear_duplicates: list[list[str]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def spread(count: int, limit: int | None) -> list[int]:
    """At most ``limit`` of ``count`` indices, evenly spread from the first to the last.

    >>> spread(10, 4)
    [0, 3, 6, 9]
    """
    if limit is None or limit >= count:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, limit).round()]


def unreadable_pairs(
    dataset: PairedDataset, *, threads: int = 2, progress: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """Read every pair; name and message of each that cannot be read, is of two sizes, or has changed in its shard."""
    wrong: dict[str, str] = {}
    for index, result in _each(lambda i: dataset.load(i) and None, range(len(dataset)), threads):
        if isinstance(result, ImageError):
            wrong[dataset.pairs[index].name] = str(result)
        progress()
    is_packed = isinstance(dataset.pairs[0].hazy, tuple)
    return {**(damaged_members(dataset) if is_packed else {}), **wrong}


def statistics(
    dataset: Dataset, *, limit: int | None = None, threads: int = 2, progress: Callable[[], None] = lambda: None
) -> Statistics:
    """Measure a data set.

    Args:
        dataset: Its transform, if any, is not applied.
        limit: Look at no more pairs than this, evenly spread; ``None`` for all.
        threads: Threads that decode.
        progress: Called after each pair.

    Raises:
        UsageError: No pair can be read.
    """
    facts: list[_Facts] = []
    unreadable: dict[str, str] = {}
    indices = spread(len(dataset), limit)
    for index, result in _each(lambda i: _facts(dataset, i), indices, threads):
        if isinstance(result, ImageError):
            name = dataset.pairs[index].name if isinstance(dataset, PairedDataset) else str(index)
            unreadable[name] = str(result)
        else:
            facts.append(result)
        progress()
    if not facts:
        raise UsageError(f"No pair can be read, the first because: {next(iter(unreadable.values()))}")
    moments = np.stack([each.moments for each in facts]).mean(axis=0)
    stds = np.sqrt(np.maximum(moments[:, 1] - moments[:, 0] ** 2, 0))
    means = moments[:, 0]
    dark = np.array([each.dark for each in facts]).mean(axis=0)
    return Statistics(
        pairs=len(dataset),
        looked_at=len(indices),
        sizes=dict(Counter((each.size[1], each.size[0]) for each in facts).most_common()),
        hazy_mean=_rounded(means[0]),
        hazy_std=_rounded(stds[0]),
        clear_mean=_rounded(means[1]),
        clear_std=_rounded(stds[1]),
        dark_hazy=round(float(dark[0]), 4),
        dark_clear=round(float(dark[1]), 4),
        with_depth=sum(each.has_depth for each in facts),
        hazy_duplicates=_duplicates([(each.hazy_key, each.name) for each in facts]),
        clear_duplicates=_clear_duplicates(dataset, facts),
        unreadable=unreadable,
    )


def contact_sheet(samples: Sequence[Sample], *, height: int = 160, columns: int = 2) -> NDArray[np.uint8]:
    """A picture of samples: hazy, clear, and depth (near is bright) where there is any, side by side.

    Args:
        samples: At least one.
        height: Height of each picture [px].
        columns: Samples side by side.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UsageError: There is no sample.
    """
    if not samples:
        raise UsageError("There is no sample to show; ask for at least one.")
    with_depth = any(sample.depth is not None for sample in samples)
    cells = [_cell(sample, height, with_depth) for sample in samples]
    width = max(cell.shape[1] for cell in cells)
    rows = -(-len(cells) // columns)
    across = min(columns, len(cells))
    sheet = np.full((rows * (height + _GAP) + _GAP, across * (width + _GAP) + _GAP, 3), _BACKGROUND, np.uint8)
    for number, cell in enumerate(cells):
        top = _GAP + (number // columns) * (height + _GAP)
        left = _GAP + (number % columns) * (width + _GAP)
        sheet[top : top + height, left : left + cell.shape[1]] = cell
    return sheet


def _each(work: Callable[[int], Any], indices: Sequence[int], threads: int) -> Iterator[tuple[int, Any]]:
    """Index and result, or image error, of each piece of work, in order; few are in memory at a time."""

    def attempt(index: int) -> Any:
        try:
            return work(index)
        except ImageError as error:
            return error

    step = max(1, threads) * _AHEAD
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(indices), step):
            some = indices[start : start + step]
            yield from zip(some, pool.map(attempt, some), strict=True)


def _facts(dataset: Dataset, index: int) -> _Facts:
    sample = dataset.load(index) if isinstance(dataset, PairedDataset) else dataset[index]
    keys, moments, dark = [], [], []
    for pixels in (sample.hazy, sample.clear):
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16)
        digest.update(str(pixels.shape).encode())
        keys.append(digest.hexdigest())
        values = pixels.reshape(-1, 3).astype(np.float64) / 255
        moments.append([values.mean(axis=0), np.square(values).mean(axis=0)])
        window = np.ones((_DARK_WINDOW, _DARK_WINDOW), np.uint8)
        dark.append(float(cv2.erode(np.ascontiguousarray(pixels.min(axis=2)), window).mean()) / 255)
    return _Facts(
        name=sample.name,
        size=(sample.hazy.shape[0], sample.hazy.shape[1]),
        hazy_key=keys[0],
        clear_key=keys[1],
        moments=np.array(moments),
        dark=(dark[0], dark[1]),
        has_depth=sample.depth is not None,
    )


def _duplicates(keys: Sequence[tuple[str, str]]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, name in keys:
        groups[key].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _clear_duplicates(dataset: Dataset, facts: Sequence[_Facts]) -> list[list[str]]:
    """As for hazy pictures, but a clear file that several hazy ones share counts once."""
    if not isinstance(dataset, PairedDataset):
        return []
    files = {}
    for pair in dataset.pairs:
        packed = isinstance(pair.clear, tuple) and isinstance(pair.clear[1], Stored)
        files[pair.name] = f"{pair.clear[0]}:{pair.clear[1].offset}" if packed else str(pair.clear)
    once = {(each.clear_key, files[each.name]): each.name for each in reversed(facts)}
    return _duplicates([(key, name) for (key, _), name in reversed(once.items())])


def _cell(sample: Sample, height: int, with_depth: bool) -> NDArray[np.uint8]:
    pictures = [sample.hazy, sample.clear]
    if with_depth:
        gray = np.full(sample.hazy.shape[:2], _BACKGROUND, np.uint8)
        if sample.depth is not None:
            # far things differ by many metres and look alike; their inverse does not
            depth = sample.depth
            near = 1 / np.maximum(depth.map, 1e-6) if depth.far_is_large else depth.map
            low, high = np.percentile(near, (1, 99))
            gray = np.clip((near - low) / max(float(high - low), 1e-9) * 255, 0, 255).astype(np.uint8)
        pictures.append(np.repeat(gray[..., None], 3, axis=2))
    width = max(1, round(sample.hazy.shape[1] * height / sample.hazy.shape[0]))
    smooth = cv2.INTER_AREA if height < sample.hazy.shape[0] else cv2.INTER_LINEAR
    return np.hstack([np.asarray(cv2.resize(each, (width, height), interpolation=smooth)) for each in pictures])


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
