"""Photographs of real haze, which have no clear twins.

RTTS and URHI are parts of RESIDE (Li et al., IEEE TIP 2019): 4,322 photographs of streets with boxes around what is on
them, in ``JPEGImages``, and 4,807 without. Fattal's are those that most papers show (Fattal, ACM TOG 2014), 31 in the
counting of recent papers. Boxes are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhaze.data.dataset import PairedDataset
from unhaze.data.layouts.base import Found, descend
from unhaze.data.pairing import Listing, Pairing, list_pictures
from unhaze.errors import UsageError
from unhaze.images.files import READ_SUFFIXES

__all__ = ["FATTAL", "PHOTOGRAPHS", "RTTS", "URHI", "Photographs"]

_RESIDE = "Li et al., Benchmarking Single-Image Dehazing and Beyond, IEEE TIP 2019"


@dataclass(frozen=True, slots=True)
class Photographs:
    """A folder of hazy pictures alone; in place of its clear picture, each sample repeats the hazy one.

    Attributes:
        places: Folders below the root that hold the pictures, in the order in which they are tried.
        pairs: Published number of pictures; ``None`` for any.
        unpaired: There is no ground truth, so nothing can be compared with one.
    """

    name: str
    summary: str
    places: tuple[str, ...] = ("",)
    pairs: int | None = None
    paper: str = ""
    source: str = ""
    license: str = "none stated"
    splits: tuple[str, ...] = ("all",)
    unpaired: bool = True

    def open(
        self, root: str | Path, split: str | None = None, *, strict: bool = False, **options: Any
    ) -> PairedDataset:
        """Find the pictures.

        Args:
            root: The folder of the data set, or the one that holds it.
            split: ``all``; there is no other.
            strict: Raise where something is not as published.
            options: Options of :class:`~unhaze.data.dataset.PairedDataset`.

        Raises:
            UsageError: There is no such split, no such folder, or no picture in it.
        """
        root = Path(root)
        if split not in (None, *self.splits):
            raise UsageError(f"{self.name} has no split {split}; leave it out.")
        if not root.is_dir():
            raise UsageError(f"There is no folder {root}; give the folder that holds {self.name}.")
        folder = next((place for each in self.places if (place := descend(root, each)) is not None), root)
        hazy = list_pictures(folder, READ_SUFFIXES)
        pairing = Pairing("itself", "There are no clear pictures.", tuple((n, n) for n in hazy.names), (), {}, ())
        found = Found(self.name, self.splits[0], root, folder, hazy, Listing(folder, hazy.names, ()), pairing)
        published = () if self.pairs is None else (self.pairs,)
        return found.dataset(published=published, strict=strict, **options)


RTTS = Photographs(
    "rtts",
    "RESIDE's streets in real haze, 4,322 photographs.",
    ("RTTS/JPEGImages", "JPEGImages", "RTTS", ""),
    4_322,
    _RESIDE,
    "https://sites.google.com/view/reside-dehaze-datasets",
)
URHI = Photographs(
    "urhi",
    "RESIDE's unannotated photographs of real haze, 4,807.",
    ("URHI", ""),
    4_807,
    _RESIDE,
    "https://sites.google.com/view/reside-dehaze-datasets",
)
FATTAL = Photographs(
    "fattal",
    "The photographs that most papers show, 31.",
    ("Fattal", "fattal", ""),
    31,
    "Fattal, Dehazing Using Color-Lines, ACM TOG 2014",
    "https://www.cs.huji.ac.il/~raananf/projects/dehaze_cl/results/",
)
PHOTOGRAPHS = Photographs("photographs", "Any folder of hazy pictures without clear ones.", license="yours to know")
