"""Any folder of hazy pictures beside a folder of clear ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhaze.data.dataset import PairedDataset
from unhaze.data.layouts.base import CLEAR, HAZY, Found, first_child
from unhaze.data.pairing import list_pictures, pair_names
from unhaze.errors import UsageError
from unhaze.images.files import READ_SUFFIXES

__all__ = ["FOLDERS", "FolderPair"]


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
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}; give the one that holds the hazy and the clear pictures.")
        sides = []
        for given, names, what in ((hazy, HAZY, "hazy"), (clear, CLEAR, "clear")):
            side = first_child(folder, names) if given is None else folder / given
            if side is None or not side.is_dir():
                wanted = ", ".join(names) if given is None else given
                raise UsageError(f"{folder} has no folder of {what} pictures ({wanted}); name it with {what}=FOLDER.")
            sides.append(list_pictures(side, READ_SUFFIXES))
        outcome = pair_names(sides[0].names, sides[1].names, pairing)
        found = Found(self.name, split or "all", root, folder, sides[0], sides[1], outcome)
        return found.dataset(strict=strict, **options)


FOLDERS = FolderPair()
