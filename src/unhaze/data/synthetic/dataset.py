"""The data set ``synthetic``: hazy pictures made on the fly from clear ones, by day and by night.

Scenes, views and haze by day are those of :mod:`unhaze.data.synthetic.scenes`: even and patchy haze, tinted and uneven
airlight, haze that follows the depth and haze that does not, then sensor noise, blur and JPEG. A share of the samples
is turned into night by :mod:`unhaze.data.synthetic.night`, with the noise of a camera in the dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unhaze.data.dataset import Sample, Transform, in_range, own
from unhaze.data.layouts.base import Report
from unhaze.data.synthetic import scenes as synthetic
from unhaze.data.synthetic.night import draw_lamps, night_view
from unhaze.data.synthetic.scenes import AIRLIGHT_GRID, SceneBank, SynthesisConfig, synthesize, to_bytes
from unhaze.errors import UnknownNameError, UsageError
from unhaze.types import DepthMap

__all__ = ["SYNTHETIC", "SyntheticDataset", "SyntheticEntry"]

_NIGHT_STREAM = 1  # keeps what is drawn for the night apart from what is drawn for the view
ENDLESS = 1 << 31


class SyntheticDataset:
    """Samples made when they are asked for; sample ``index`` is a function of the seed and its number alone.

    Args:
        bank: Where scenes come from.
        size: (H, W) of a sample [px].
        config: What is drawn how often by day.
        night: Share of the samples that show night.
        seed: Seed of everything.
        length: Number of samples of an epoch.
        transform: Applied to each sample with a generator of its own.
        split: Split of the scenes, for ``meta``.
        root: Where the scenes were read, for messages.

    Raises:
        UsageError: ``night`` is no share, or a number is out of range.
    """

    name = "synthetic"

    def __init__(
        self,
        bank: SceneBank,
        size: tuple[int, int] = (256, 256),
        *,
        config: SynthesisConfig | None = None,
        night: float = 0.1,
        seed: int = 0,
        length: int = ENDLESS,
        transform: Transform | None = None,
        split: str = "train",
        root: Path | None = None,
    ) -> None:
        if not 0 <= night <= 1:
            raise UsageError(f"night is {night:g}, but must lie between 0 and 1.")
        if seed < 0 or length < 1 or min(size) < 1:
            raise UsageError(f"seed {seed}, length {length} and size {size} must be positive; seed may be 0.")
        self.bank, self.size, self.config, self.night = bank, size, config or SynthesisConfig(), night
        self.seed, self.length, self.transform, self.split, self.root = seed, length, transform, split, root
        self.report = Report(
            self.name, split, ".", len(bank), len(bank), len(bank), rule="made on the fly", ignored=tuple(bank.skipped)
        )
        self.skipped: dict[str, str] = bank.skipped

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Sample ``index`` of the first epoch.

        Raises:
            IndexError: There is no such sample.
        """
        return self.at(in_range(index, self.length))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(self.length))

    def at(self, index: int, epoch: int = 0) -> Sample:
        """Sample ``index`` of ``epoch``; every epoch has new ones."""
        number = epoch * self.length + index
        rng = np.random.default_rng((self.seed, number, _NIGHT_STREAM))
        kind = "night" if rng.random() < self.night else "day"
        if kind == "night":
            made = self._night(number, rng)
        else:
            made = synthesize(self.bank, self.config, self.seed, number, *self.size)
        depth = None if made.depth is None else DepthMap(made.depth, "metric")
        meta: dict[str, Any] = {
            "dataset": self.name,
            "split": self.split,
            "kind": kind,
            "transmission": made.transmission,
            "airlight": made.airlight,
            "in_srgb": made.in_srgb,
        }
        sample = Sample(made.hazy, made.clear, depth, f"{number:08d}", meta)
        return sample if self.transform is None else own(self.transform(sample, rng))

    def _night(self, number: int, rng: np.random.Generator) -> synthetic.Sample:
        # at night nothing is degraded before the lamps are lit
        clean = replace(self.config, clear=0.0, noise=0.0, blur=0.0, shrink=0.0, jpeg=0.0)
        made = synthesize(self.bank, clean, self.seed, number, *self.size)
        view = night_view(
            np.asarray(made.clear, np.float32) / np.float32(255),
            made.transmission,
            draw_lamps(rng),
            ambient=rng.uniform(0.01, 0.15),
            exposure=rng.uniform(0.1, 0.3),
            glow=rng.uniform(0.2, 1.0),
        )
        grid = np.asarray(cv2.resize(view.airlight, (AIRLIGHT_GRID,) * 2, interpolation=cv2.INTER_AREA), np.float32)
        # a camera in the dark: noise that grows with the root of the light, and JPEG
        shot, read = rng.uniform(0.0, 0.03), rng.uniform(0.002, 0.02)
        deviation = np.sqrt(np.float32(shot**2) * view.hazy + np.float32(read**2))
        pixels = to_bytes(view.hazy + rng.standard_normal(view.hazy.shape, np.float32) * deviation)
        if rng.random() < 0.6:
            stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))])[1]
            # encoded and decoded without regard to the order of channels, which swaps them twice
            pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)
        return replace(made, hazy=pixels, clear=to_bytes(view.clear), airlight=grid, in_srgb=False)


@dataclass(frozen=True, slots=True)
class SyntheticEntry:
    """The catalogue's entry for :class:`SyntheticDataset`."""

    name: str = "synthetic"
    summary: str = "Haze made on the fly from clear pictures and depth, by day and by night."
    splits: tuple[str, ...] = ("train", "validation")
    paper: str = ""
    source: str = "your own pictures: any folder, or rgbd/, camvid/ and clear/ below one"
    license: str = "that of the pictures"

    def open(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        strict: bool = False,
        on_error: str = "stop",
        **options: Any,
    ) -> SyntheticDataset:
        """Read the scenes of a split.

        Args:
            root: Any folder of clear pictures, see :mod:`unhaze.data.synthetic.scenes`.
            split: ``train`` or ``validation``.
            strict: Raise where a picture cannot be read.
            on_error: ``"stop"`` is all there is: pictures are read once, at the start; those that cannot be read are
                named in the log and passed over.
            options: Options of :class:`SyntheticDataset`.

        Raises:
            UnknownNameError: There is no such split.
            UsageError: The folder is missing, or holds no picture of the split that can be read.
        """
        split = split or self.splits[0]
        if split not in self.splits:
            raise UnknownNameError("split of synthetic", split, self.splits)
        if on_error != "stop":
            raise UsageError("The data set synthetic reads its scenes once, at the start; on_error can only be stop.")
        bank = SceneBank.load(root, split)  # type: ignore[arg-type]  # checked above
        if strict and bank.skipped:
            raise UsageError(f"{len(bank.skipped)} pictures cannot be read. {next(iter(bank.skipped.values()))}")
        return SyntheticDataset(bank, split=split, root=Path(root), **options)


SYNTHETIC = SyntheticEntry()
