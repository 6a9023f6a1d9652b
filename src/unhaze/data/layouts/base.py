"""How a data set lies on disk, as a table, and what is found when it is opened.

A layout names the folders and the files; nothing is guessed beyond it. Folder names are compared without regard to
case. Whatever is missing, doubled or left over is named in the :class:`Report`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unhaze.data.dataset import Border, Pair, PairedDataset
from unhaze.data.pairing import RULES, Keys, Listing, Pairing, list_pictures, pair_with
from unhaze.errors import UnknownNameError, UsageError
from unhaze.images.files import READ_SUFFIXES

__all__ = [
    "BEFORE_UNDERSCORE",
    "CLEAR",
    "HAZY",
    "SAME_NAME",
    "Found",
    "Layout",
    "Part",
    "Report",
    "Rule",
    "descend",
    "few",
    "first_child",
    "open_layout",
]

HAZY = ("hazy", "haze", "input")
CLEAR = ("clear", "gt", "clean", "target")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a hazy picture finds its clear one.

    Attributes:
        name: For reports.
        keys: Stem of a hazy picture to the stems its clear one may have.
        shared: Whether several hazy pictures have one clear one.
    """

    name: str
    keys: Keys
    shared: bool = False


SAME_NAME = Rule("same-name", RULES["same-name"])
BEFORE_UNDERSCORE = Rule("reside", RULES["reside"], shared=True)


@dataclass(frozen=True, slots=True)
class Part:
    """One split of a data set.

    Attributes:
        folders: Below the root, in the order in which they are tried; each holds this split alone, in a folder of hazy
            pictures beside one of clear ones. ``""`` is the root itself.
        pairs: Published numbers of pairs; several where there are several releases.
        whole: Folders that hold all splits, tried after ``folders``.
        numbers: First and last number, as file names begin with, that belong to this split in ``whole``.
    """

    folders: tuple[str, ...]
    pairs: tuple[int, ...] = ()
    whole: tuple[str, ...] = ()
    numbers: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A data set as it is published, and as it is commonly packed anew.

    Attributes:
        name: Catalogue name.
        summary: One line.
        parts: Split to where it lies; the first is the default.
        hazy, clear: Names of the folders of hazy and of clear pictures, in the order in which they are tried.
        rules: How pictures pair; the one that pairs the most is taken, the first among equals.
        is_hazy: Tells hazy pictures from clear ones by the stem, where both may lie in one folder.
        border: Rule for a pair of two sizes, see :func:`~unhaze.data.dataset.align`.
        paper: Who, where, when.
        source: Where to get it.
        license: What its source says of its use.
    """

    name: str
    summary: str
    parts: Mapping[str, Part]
    paper: str
    source: str
    license: str = "none stated"
    hazy: tuple[str, ...] = HAZY
    clear: tuple[str, ...] = CLEAR
    rules: tuple[Rule, ...] = (SAME_NAME,)
    is_hazy: Callable[[str], bool] | None = None
    border: Border = "equal"

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, the default first."""
        return tuple(self.parts)

    def open(self, root: str | Path, split: str | None = None, **options: Any) -> PairedDataset:
        """See :func:`open_layout`."""
        return open_layout(self, root, split, **options)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found when a data set was opened.

    Attributes:
        dataset, split: Which.
        folder: Where its pictures were found, below the root.
        hazy, clear, pairs: Numbers of files and of pairs.
        published: Published numbers of pairs.
        rule: How the pictures were paired.
        missing: Hazy pictures without a clear one; they are left out.
        ambiguous: Hazy pictures that are left out because they fit several, and why.
        unused: Clear pictures without a hazy one.
        ignored: Files that are no pictures.
    """

    dataset: str
    split: str
    folder: str
    hazy: int
    clear: int
    pairs: int
    published: tuple[int, ...] = ()
    rule: str = ""
    missing: tuple[str, ...] = ()
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files, one sentence each."""
        sentences = []
        if self.missing:
            sentences.append(f"{_count(self.missing, 'hazy picture')} without a clear one: {few(self.missing)}.")
        if self.ambiguous:
            shown = few([f"{name} {reason}" for name, reason in self.ambiguous.items()])
            sentences.append(f"{_count(self.ambiguous, 'hazy picture')} left out as ambiguous: {shown}.")
        return tuple(sentences)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What differs from what was published, or is left over, one sentence each."""
        sentences = []
        if self.published and self.pairs not in self.published:
            published = " or ".join(f"{count:,}" for count in self.published)
            sentences.append(f"{self.pairs:,} pairs were found, but {published} were published.")
        if self.unused:
            sentences.append(f"{_count(self.unused, 'clear picture')} without a hazy one: {few(self.unused)}.")
        if self.ignored:
            sentences.append(f"{_count(self.ignored, 'file')} passed over as no picture: {few(self.ignored)}.")
        return tuple(sentences)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems and remarks."""
        return self.problems + self.remarks


def few(names: Iterable[str], shown: int = 3) -> str:
    """The first names, and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more


def open_layout(
    layout: Layout, root: str | Path, split: str | None = None, *, strict: bool = False, **options: Any
) -> PairedDataset:
    """Find and pair the pictures of a data set.

    Args:
        layout: How it lies on disk.
        root: Its folder, or the folder above, as the layout says.
        split: One of ``layout.splits``; ``None`` for the first.
        strict: Raise where the report has a warning.
        options: Options of :class:`~unhaze.data.dataset.PairedDataset`.

    Raises:
        UnknownNameError: There is no such split.
        UsageError: The root or a folder is missing, nothing pairs, or ``strict`` and something is not as published.
    """
    root = Path(root)
    split = split or layout.splits[0]
    if split not in layout.parts:
        raise UnknownNameError(f"split of {layout.name}", split, layout.parts)
    if not root.is_dir():
        raise UsageError(f"There is no folder {root}; give the folder that holds {layout.name}.")
    hazy, clear, folder = _find_sides(layout, root, split)
    # releases in several parts keep hazy pictures in sub-folders and all clear ones in one
    anywhere = not any("/" in name for name in clear.names)
    tried = [
        pair_with(hazy.names, clear.names, rule.name, rule.keys, shared=rule.shared, anywhere=anywhere)
        for rule in layout.rules
    ]
    pairing = max(tried, key=lambda outcome: len(outcome.pairs))  # the first among equals
    found = Found(layout.name, split, root, folder, hazy, clear, pairing)
    options = {"border": layout.border, **options}
    return found.dataset(published=layout.parts[split].pairs, strict=strict, **options)


@dataclass(frozen=True, slots=True)
class Found:
    """The pictures of a data set, paired.

    Attributes:
        name, split: Which data set.
        root, folder: Its root, and the folder below it that holds both sides.
        hazy, clear: The pictures.
        pairing: Which belongs to which.
    """

    name: str
    split: str
    root: Path
    folder: Path
    hazy: Listing
    clear: Listing
    pairing: Pairing

    def report(self, published: tuple[int, ...] = ()) -> Report:
        """What was found."""
        return Report(
            dataset=self.name,
            split=self.split,
            folder=self.folder.relative_to(self.root).as_posix(),
            hazy=len(self.hazy.names),
            clear=len(self.clear.names),
            pairs=len(self.pairing.pairs),
            published=published,
            rule=self.pairing.rule,
            missing=self.pairing.unmatched,
            ambiguous=self.pairing.ambiguous,
            unused=self.pairing.unused,
            ignored=tuple(dict.fromkeys((*self.hazy.ignored, *self.clear.ignored))),
        )

    def dataset(self, *, published: tuple[int, ...] = (), strict: bool = False, **options: Any) -> PairedDataset:
        """The pairs as a data set.

        Raises:
            UsageError: Nothing pairs, or ``strict`` and the report has a warning.
        """
        report = self.report(published)
        if not report.pairs:
            raise UsageError(
                f"No hazy picture of {self.name} finds its clear one: {few(self.hazy.names)} do not go with "
                f"{few(self.clear.names)}; docs/data.md says how they are named."
            )
        if strict and report.warnings:
            raise UsageError(f"{self.name} is not as published: {' '.join(report.warnings)}")
        hazy_at, clear_at = (side.root.relative_to(self.root).as_posix() for side in (self.hazy, self.clear))
        paths = {name: _join(clear_at, name) for name in self.clear.names}  # one string per file, however often used
        pairs = [Pair(_stem(hazy), _join(hazy_at, hazy), paths[clear]) for hazy, clear in self.pairing.pairs]
        return PairedDataset(pairs, self.root, name=self.name, split=self.split, report=report, **options)


def _find_sides(layout: Layout, root: Path, split: str) -> tuple[Listing, Listing, Path]:
    """Hazy and clear pictures of a split, and the folder that holds both."""
    part = layout.parts[split]
    for places, numbers in ((part.folders, None), (part.whole, part.numbers)):
        for place in places:
            folder = descend(root, place)
            found = None if folder is None else _sides_of(layout, folder)
            if found is not None and folder is not None:
                return _only(found[0], numbers), _only(found[1], numbers), folder
    tried = few([place or "the folder itself" for place in (*part.folders, *part.whole)], 6)
    raise UsageError(
        f"{root} does not hold the split {split} of {layout.name}: tried {tried}, but none has a folder of hazy "
        f"pictures ({', '.join(layout.hazy)}) beside one of clear pictures ({', '.join(layout.clear)})."
    )


def _sides_of(layout: Layout, folder: Path) -> tuple[Listing, Listing] | None:
    hazy, clear = (first_child(folder, names) for names in (layout.hazy, layout.clear))
    if hazy is not None and clear is not None:
        return list_pictures(hazy, READ_SUFFIXES), list_pictures(clear, READ_SUFFIXES)
    if layout.is_hazy is None or not any(path.suffix.lower() in READ_SUFFIXES for path in folder.iterdir()):
        return None
    both = list_pictures(folder, READ_SUFFIXES)
    is_hazy = {name: layout.is_hazy(posixpath.basename(_stem(name))) for name in both.names}
    sides = tuple(Listing(folder, tuple(n for n in both.names if is_hazy[n] == wanted), ()) for wanted in (True, False))
    return (sides[0], sides[1]) if sides[0].names and sides[1].names else None


def _only(side: Listing, numbers: tuple[int, int] | None) -> Listing:
    """The pictures whose leading number lies in a range."""
    if numbers is None:
        return side
    leading = [re.match(r"\d+", posixpath.basename(name)) for name in side.names]
    within = range(numbers[0], numbers[1] + 1)
    kept = [name for name, match in zip(side.names, leading, strict=True) if match and int(match[0]) in within]
    return Listing(side.root, tuple(kept), side.ignored)


def descend(root: Path, place: str) -> Path | None:
    """The folder at a path of names in any case; ``None`` if there is none."""
    folder: Path | None = root
    for name in filter(None, place.split("/")):
        folder = None if folder is None else first_child(folder, (name,))
    return folder


def first_child(folder: Path, names: Sequence[str]) -> Path | None:
    """The first sub-folder with one of the names, in any case; the exact case goes before another."""
    children = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name)
    for name in names:
        fitting = [path for path in children if path.name.casefold() == name.casefold()]
        if fitting:
            return next((path for path in fitting if path.name == name), fitting[0])
    return None


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _join(prefix: str, name: str) -> str:
    return name if prefix == "." else f"{prefix}/{name}"


def _count(things: Sequence[str] | Mapping[str, str], noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"
