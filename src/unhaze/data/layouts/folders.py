"""Any folder of hazy pictures beside a folder of clear ones, and any folder of photographs alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhaze.data.dataset import PairedDataset
from unhaze.data.layouts.base import CLEAR, HAZY, Found, first_child
from unhaze.data.pairing import list_pictures, pair_names
from unhaze.errors import UnknownNameError, UsageError
from unhaze.images.files import READ_SUFFIXES

__all__ = ["FOLDERS", "PHOTOGRAPHS", "FolderPair", "Photographs"]


@dataclass(frozen=True, slots=True)
class FolderPair:
    """A data set of one's own: no published number of pairs, and a rule of one's choice."""

    name: str = "folders"
    summary: str = "Any folder of hazy pictures beside a folder of clear ones."
    splits: tuple[str, ...] = ("all",)
    paper: str = ""
    source: str = ""
    license: str = "yours to know"

    def open(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        hazy: str | None = None,
        clear: str | None = None,
        pairing: str = "auto",
        strict: bool = False,
        **options: Any,
    ) -> PairedDataset:
        """Pair the pictures of two folders.

        Args:
            root: The folder that holds both.
            split: A folder in ``root`` that holds both instead, such as ``train``; ``None`` or ``all`` for ``root``.
            hazy: Folder of hazy pictures; ``None`` for one named ``hazy``, ``haze`` or ``input``.
            clear: Folder of clear pictures; ``None`` for one named ``clear``, ``gt``, ``clean`` or ``target``.
            pairing: ``auto``, ``same-name``, ``reside``, ``o-haze`` or ``regex:EXPRESSION``, see
                :func:`~unhaze.data.pairing.parse_rule`.
            strict: Raise where a picture has no partner.
            options: Options of :class:`~unhaze.data.dataset.PairedDataset`.

        Raises:
            UsageError: A folder is missing, or nothing pairs.
        """
        root = Path(root)
        folder = root if split in (None, "all") else root / str(split)
        sides = [
            list_pictures(_side(folder, given, names, what), READ_SUFFIXES)
            for given, names, what in ((hazy, HAZY, "hazy"), (clear, CLEAR, "clear"))
        ]
        outcome = pair_names(sides[0].names, sides[1].names, pairing)
        found = Found(self.name, split or "all", root, folder, sides[0], sides[1], outcome)
        return found.dataset(strict=strict, **options)


@dataclass(frozen=True, slots=True)
class Photographs:
    """Pictures without partners, for trainings that look at hazy pictures alone; each stands for its clear one, too."""

    name: str = "photographs"
    summary: str = "Any folder of photographs, each paired with itself: for trainings without targets."
    splits: tuple[str, ...] = ("all",)
    paper: str = ""
    source: str = ""
    license: str = "yours to know"

    def open(
        self, root: str | Path, split: str | None = None, *, strict: bool = False, **options: Any
    ) -> PairedDataset:
        """List a folder and its sub-folders.

        Args:
            root: The folder.
            split: ``all`` or ``None``.
            strict: Changes nothing; no picture can be without a partner.
            options: Options of :class:`~unhaze.data.dataset.PairedDataset`.

        Raises:
            UsageError: The folder is missing or holds no picture.
            UnknownNameError: There is no such split.
        """
        if split not in (None, "all"):
            raise UnknownNameError("split of photographs", split, self.splits)
        pictures = list_pictures(Path(root), READ_SUFFIXES)
        outcome = pair_names(pictures.names, pictures.names, "same-name")
        found = Found(self.name, "all", Path(root), Path(root), pictures, pictures, outcome)
        return found.dataset(strict=strict, **options)


FOLDERS, PHOTOGRAPHS = FolderPair(), Photographs()


def _side(folder: Path, given: str | None, names: tuple[str, ...], what: str) -> Path:
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; give the one that holds the hazy and the clear pictures.")
    found = first_child(folder, names) if given is None else folder / given
    if found is None or not found.is_dir():
        wanted = ", ".join(names) if given is None else given
        raise UsageError(f"{folder} has no folder of {what} pictures ({wanted}); name it with {what}=FOLDER.")
    return found
