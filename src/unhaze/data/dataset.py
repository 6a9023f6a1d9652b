"""What all data sets have in common: samples, and how one is read, seeded and, where its file is broken, replaced.

A sample is a function of seed, epoch and index alone, so neither the number of workers nor a restart changes what a
training sees. Nothing here imports torch; a data set works as the map-style data set of a torch ``DataLoader`` all the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from unhaze.errors import ImageError, ImageValueError, UsageError
from unhaze.images.files import read_image
from unhaze.types import DepthMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.data.depth_cache import DepthSource
    from unhaze.data.layouts.base import Report

    ByteArray = NDArray[np.uint8]
    FloatArray = NDArray[np.float32]

__all__ = [
    "Border",
    "Dataset",
    "DepthOf",
    "OnError",
    "Pair",
    "PairedDataset",
    "Sample",
    "Series",
    "Transform",
    "align",
    "decode_pixels",
    "in_range",
    "own",
    "read_pixels",
]

OnError = Literal["stop", "skip"]
DepthOf = Literal["hazy", "clear"]
Border = Literal["equal", "sots-indoor"]

_SOTS_HAZY, _SOTS_CLEAR, _SOTS_BORDER = (460, 620), (480, 640), 10  # (H, W) of SOTS-indoor in RESIDE
_LONGEST_ORDER = 1 << 24  # samples of an epoch that are put in order
_LONGEST_GAP = 32  # unreadable pairs in a row; beyond it the data set is broken, not a file


@dataclass(frozen=True, slots=True)
class Sample:
    """A hazy picture, its clear twin, and what is known of both. H x W is one size.

    Attributes:
        hazy, clear: (H, W, 3) uint8 RGB, sRGB-encoded, writable and contiguous.
        depth: (H, W) depth with its kind, which says which end is near; ``None`` where there is none.
        name: Name of the pair, unique in its data set.
        meta: What else is known: ``dataset``, ``split``; ``view``, where the sample lies in the whole picture;
            ``depth_features``, features of the whole picture's depth, which no transform cuts; ``skipped``, names and
            messages of unreadable pairs in whose place this one stands; and what a synthesis knows
            (``transmission``, ``airlight``, ``in_srgb``, ``kind``).
    """

    hazy: ByteArray
    clear: ByteArray
    depth: DepthMap[FloatArray] | None
    name: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def map_pixels(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Sample:
        """The sample with ``change`` applied to both pictures and to the depth map, which loses its features."""
        depth = None if self.depth is None else DepthMap(change(self.depth.map), self.depth.kind)
        meta = self.meta
        if isinstance(meta.get("transmission"), np.ndarray):
            meta = {**meta, "transmission": change(meta["transmission"])}
        return replace(self, hazy=change(self.hazy), clear=change(self.clear), depth=depth, meta=meta)


Transform = Callable[[Sample, np.random.Generator], Sample]
"""Changes a sample at random; the generator is all it may draw from."""


class Dataset(Protocol):
    """A sequence of samples."""

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Sample ``index`` of the first epoch."""
        ...

    def at(self, index: int, epoch: int = 0) -> Sample:
        """Sample ``index`` of an epoch."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """Where one sample comes from.

    Attributes:
        name: Name of the pair.
        hazy, clear: What the reader of the data set understands; for files, the path below the root.
        depth: Likewise, where depth is stored with the pictures.
    """

    name: str
    hazy: Any
    clear: Any
    depth: Any = None


def read_pixels(root: Path, file: str) -> ByteArray:
    """Read a picture file as (H, W, 3) uint8 RGB, upright.

    Args:
        root: Folder of the data set.
        file: Path below it.

    Raises:
        ImageError: The file is missing, broken, or of a kind that is not handled; the message names it.
    """
    return decode_pixels(root / file)


def decode_pixels(source: Path | bytes) -> ByteArray:
    """Decode a picture as (H, W, 3) uint8 RGB, upright.

    Alpha and colour profile are ignored, grey is spread over three channels, and deeper values are rounded to 8 bits.

    Args:
        source: Path or content of a picture file.

    Raises:
        ImageError: It is missing, broken, or of a kind that is not handled.
    """
    pixels = read_image(source, finite=True).pixels
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def align(hazy: ByteArray, clear: ByteArray, border: Border, name: str) -> tuple[ByteArray, ByteArray]:
    """Bring a pair to one size where the rule says how.

    Args:
        hazy: (H, W, 3).
        clear: (H', W', 3).
        border: ``"sots-indoor"`` cuts 10 px off each side of a clear picture of 640x480 px whose hazy one has 620x460:
            the clear pictures of SOTS-indoor have a white frame. ``"equal"`` cuts nothing.
        name: Name of the pair, for the message.

    Raises:
        ImageValueError: The sizes differ and no rule covers them.
    """
    sizes = hazy.shape[:2], clear.shape[:2]
    if sizes[0] == sizes[1]:
        return hazy, clear
    if border == "sots-indoor" and sizes == (_SOTS_HAZY, _SOTS_CLEAR):
        return hazy, clear[_SOTS_BORDER:-_SOTS_BORDER, _SOTS_BORDER:-_SOTS_BORDER]
    raise ImageValueError(
        f"The hazy picture of {name} is {hazy.shape[1]}x{hazy.shape[0]} px but its clear one "
        f"{clear.shape[1]}x{clear.shape[0]} px; pictures of a pair must have the same size."
    )


class PairedDataset:
    """Pairs of pictures, read when they are asked for.

    Args:
        pairs: In a fixed order, on which the samples depend.
        root: Folder below which the files lie.
        name: Name of the data set.
        split: Split of the data set.
        report: What was found when the data set was opened.
        border: Rule of :func:`align`.
        transform: Applied to each sample with a generator of its own.
        depth: Gives the depth of a picture, for instance from a cache; see :mod:`unhaze.data.depth_cache`.
        depth_of: The picture whose depth is taken.
        depth_kind: What depth that is stored with the pairs means.
        seed: Seed of everything random.
        on_error: What happens at a picture that cannot be read. ``"stop"`` raises its error, which names the file.
            ``"skip"`` takes the next readable pair instead, and says so in the sample's ``meta["skipped"]`` and in
            :attr:`skipped`.
        reader: Gives the pixels of what a pair names.

    Attributes:
        skipped: Name to message of each pair that this process found unreadable. With workers, each knows its own;
            the samples tell the training process.
        epoch: Epoch of ``dataset[index]``; a worker that lives on does not hear of a change, so endless training
            takes a :class:`Series` instead.

    Raises:
        UsageError: There is no pair, or an option has a value that is none.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        root: str | Path,
        *,
        name: str = "pairs",
        split: str = "all",
        report: Report | None = None,
        border: Border = "equal",
        transform: Transform | None = None,
        depth: DepthSource | None = None,
        depth_of: DepthOf = "hazy",
        depth_kind: str = "relative",
        seed: int = 0,
        on_error: OnError = "stop",
        reader: Callable[[Path, Any], NDArray[Any]] = read_pixels,
    ) -> None:
        for what, value, known in (("on_error", on_error, OnError), ("depth_of", depth_of, DepthOf)):
            if value not in get_args(known):
                raise UsageError(f"{what} is {value!r}; choose {' or '.join(get_args(known))}.")
        if seed < 0:
            raise UsageError(f"The seed must not be negative, but is {seed}.")
        if not pairs:
            raise UsageError(f"The data set {name} has no pairs; check its folder with: unhaze data check")
        self.pairs, self.root, self.name, self.split, self.report = tuple(pairs), Path(root), name, split, report
        self.border, self.transform, self.seed, self.on_error = border, transform, seed, on_error
        self.depth, self.depth_of, self.depth_kind, self.reader = depth, depth_of, depth_kind, reader
        self.epoch = 0
        self.skipped: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Sample ``index`` of the epoch that is set; negative numbers count from the end.

        Raises:
            IndexError: There is no such sample.
            ImageError: A picture cannot be read, and ``on_error`` is ``"stop"``.
        """
        return self.at(in_range(index, len(self)), self.epoch)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def at(self, index: int, epoch: int = 0) -> Sample:
        """Sample ``index`` of ``epoch``, transformed; the same whoever asks, and when."""
        skipped: list[tuple[str, str]] = []
        for offset in range(min(len(self), _LONGEST_GAP)):  # the pair, or the first behind it that can be read
            place = (index + offset) % len(self)
            try:
                sample = self.load(place)
                break
            except ImageError as error:
                if self.on_error == "stop":
                    raise
                skipped.append((self.pairs[place].name, str(error)))
                self.skipped[self.pairs[place].name] = str(error)
        else:
            raise UsageError(
                f"{len(skipped)} pairs of {self.name} in a row cannot be read, the first because: {skipped[0][1]} "
                "Check the data set with: unhaze data check"
            )
        if skipped:
            sample = replace(sample, meta={**sample.meta, "skipped": tuple(skipped)})
        if self.transform is not None:
            sample = self.transform(sample, np.random.default_rng((self.seed, epoch, index)))
        return own(sample)

    def load(self, index: int) -> Sample:
        """Pair ``index`` as stored, without transform; its pixels may be read-only.

        Raises:
            ImageError: A picture cannot be read, or the pair has two sizes.
        """
        pair = self.pairs[index]
        hazy = self.reader(self.root, pair.hazy)
        clear = hazy.copy() if pair.clear == pair.hazy else self.reader(self.root, pair.clear)
        hazy, clear = align(hazy, clear, self.border, pair.name)
        depth: DepthMap[FloatArray] | None = None
        if self.depth is not None:
            pixels = hazy if self.depth_of == "hazy" else clear
            depth = self.depth(pixels, pair.name)
            if depth is not None and depth.map.shape != pixels.shape[:2]:
                raise UsageError(
                    f"The depth of {pair.name} has shape {depth.map.shape}, but its picture {pixels.shape[:2]}; "
                    "empty the depth cache and fill it again."
                )
        elif pair.depth is not None:
            depth = DepthMap(self.reader(self.root, pair.depth), self.depth_kind)  # type: ignore[arg-type]
        meta: dict[str, Any] = {"dataset": self.name, "split": self.split}
        if depth is not None and depth.features:
            meta["depth_features"] = depth.features
        return Sample(hazy, clear, depth, pair.name, meta)

    def select(self, indices: Sequence[int]) -> PairedDataset:
        """The same data set with some of its pairs only, in the order given."""
        chosen: PairedDataset = object.__new__(type(self))
        chosen.__dict__.update(self.__dict__)
        chosen.pairs, chosen.skipped = tuple(self.pairs[index] for index in indices), {}
        return chosen


class Series:
    """The endless series of samples that a training sees, epoch after epoch, cut to a length.

    Sample number ``n`` belongs to epoch ``n // len(dataset)``; each epoch has an order of its own. A training that is
    resumed at step s goes on at number s times the batch, and sees what it would have seen.

    Args:
        dataset: Where the samples come from.
        length: Number of samples.
        seed: Seed of the order.
        shuffle: Whether the order is random. A data set without end, whose samples are drawn at random anyway, is
            taken in its own order.
    """

    def __init__(self, dataset: Dataset, length: int, *, seed: int = 0, shuffle: bool = True) -> None:
        self.dataset, self.length, self.seed = dataset, length, seed
        self.shuffle = shuffle and len(dataset) <= _LONGEST_ORDER

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Sample:
        epoch, place = divmod(in_range(number, self.length), len(self.dataset))
        index = int(_order(self.seed, epoch, len(self.dataset))[place]) if self.shuffle else place
        return self.dataset.at(index, epoch)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def own(sample: Sample) -> Sample:
    """A sample whose arrays are its own: crops are views, and stored pixels cannot be written to."""
    arrays: list[NDArray[Any]] = [sample.hazy, sample.clear]
    if sample.depth is not None:
        arrays.append(sample.depth.map)
    if all(array.flags.c_contiguous and array.flags.writeable for array in arrays):
        return sample
    return sample.map_pixels(lambda array: np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"]))


def in_range(index: int, length: int) -> int:
    """``index`` counted from the front.

    Raises:
        IndexError: There is no such sample.
    """
    if not -length <= index < length:
        raise IndexError(f"There is no sample {index} among {length}.")
    return index % length
