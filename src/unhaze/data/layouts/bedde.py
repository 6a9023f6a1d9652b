"""BeDDE: hazy photographs of cities, each beside one clear photograph of the same view.

Every city has a folder with ``fog``, ``gt`` and ``mask``; ``beijing/fog/beijing_1.png`` belongs to the only picture in
``beijing/gt``. exBeDDE, 167 of them with results of ten methods in further folders, lies the same; what people thought
of the results is in MATLAB files, which are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhaze.data.dataset import PairedDataset
from unhaze.data.layouts.base import Found, first_child
from unhaze.data.pairing import Listing, Pairing, list_pictures
from unhaze.errors import UsageError
from unhaze.images.files import READ_SUFFIXES

__all__ = ["BEDDE", "EXBEDDE", "Cities"]


@dataclass(frozen=True, slots=True)
class Cities:
    """Folders that each hold hazy pictures of one view and its clear picture."""

    name: str = "bedde"
    summary: str = "Cities in real haze, each view with one clear photograph, 208 pairs."
    splits: tuple[str, ...] = ("test",)
    paper: str = (
        "Zhao et al., Dehazing Evaluation: Real-World Benchmark Datasets, Criteria, and Baselines, IEEE TIP 2020"
    )
    source: str = "https://github.com/xiaofeng94/BeDDE-for-defogging"
    license: str = "none stated"
    pairs: int = 208
    place: str = "BeDDE"

    def open(
        self, root: str | Path, split: str | None = None, *, strict: bool = False, **options: Any
    ) -> PairedDataset:
        """Pair the hazy pictures of every city with its clear one.

        The views were taken on different days, so that light and traffic differ; the masks, which say where a pair
        shows the same, are MATLAB files and are not read.

        Args:
            root: The folder of the cities, or the one that holds it under its name.
            split: ``test``; there is no other.
            strict: Raise where something is not as published.
            options: Options of :class:`~unhaze.data.dataset.PairedDataset`.

        Raises:
            UsageError: There is no such split, no city, or a city has not exactly one clear picture.
        """
        root = Path(root)
        if split not in (None, *self.splits):
            raise UsageError(f"{self.name} has no split {split}; it has test only.")
        if not root.is_dir():
            raise UsageError(f"There is no folder {root}; give the folder that holds {self.name}.")
        folder = first_child(root, (self.place,)) or root
        hazy: list[str] = []
        clear: list[str] = []
        pairs: list[tuple[str, str]] = []
        for city in sorted(path for path in folder.iterdir() if path.is_dir()):
            fog, truth = first_child(city, ("fog",)), first_child(city, ("gt",))
            if fog is None or truth is None:
                continue
            targets = [f"{city.name}/{truth.name}/{name}" for name in list_pictures(truth, READ_SUFFIXES).names]
            if len(targets) != 1:
                raise UsageError(f"{truth} holds {len(targets)} pictures, but a city has one clear picture.")
            found = [f"{city.name}/{fog.name}/{name}" for name in list_pictures(fog, READ_SUFFIXES).names]
            hazy += found
            clear += targets
            pairs += [(name, targets[0]) for name in found]
        if not pairs:
            raise UsageError(
                f"{folder} holds no city of {self.name}: no folder in it has a folder fog beside a folder gt."
            )
        pairing = Pairing("city", "Every picture of a city has the same clear one.", tuple(pairs), (), {}, ())
        sides = Listing(folder, tuple(hazy), ()), Listing(folder, tuple(clear), ())
        place = Found(self.name, self.splits[0], root, folder, *sides, pairing)
        return place.dataset(published=(self.pairs,), strict=strict, **options)


BEDDE = Cities()
EXBEDDE = Cities(
    "exbedde", "The part of BeDDE whose restored pictures people have judged, 167 pairs.", pairs=167, place="exBeDDE"
)
