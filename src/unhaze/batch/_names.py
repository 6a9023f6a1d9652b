"""What the outputs of a job are called, and whose a name is where several inputs come to the same one."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from unhaze.errors import OutputError, UnhazeError
from unhaze.images.atomic import Signature
from unhaze.images.files import WRITE_FORMATS, ImageInfo, default_output_format, format_for_suffix

__all__ = [
    "SIDE_PRODUCTS",
    "Job",
    "Names",
    "is_same",
    "output_ending",
    "refuse_inputs_as_outputs",
    "side_paths",
    "with_ending",
]

SIDE_PRODUCTS = {"compare": ".jpg", "transmission": ".png", "depth": ".png", "confidence": ".png"}


@dataclass(frozen=True, slots=True)
class Job:
    """One input and what is to become of it: ready where neither ``skip`` nor ``error`` is set.

    Attributes:
        source: The input.
        output: The restored picture; ``None`` where planning did not come that far.
        info: What the header of the input says.
        sides: Further files to write: a name of ``SIDE_PRODUCTS`` to its path.
        overwrite: Whether outputs that exist may be replaced.
        existing: The products that were there when the job was planned, and what they looked like. Only these are ever
            replaced, and only as long as they look like that.
        note: A sentence for the user on how the outputs are named.
        skip: Why nothing needs to be done.
        error: Why nothing can be done.
    """

    source: Path
    output: Path | None = None
    info: ImageInfo | None = None
    sides: Mapping[str, Path] = field(default_factory=dict)
    overwrite: bool = False
    existing: Mapping[Path, Signature] = field(default_factory=dict)
    note: str | None = None
    skip: str | None = None
    error: UnhazeError | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to do, and nothing against it."""
        return self.skip is None and self.error is None

    @property
    def products(self) -> list[Path]:
        """Every file that the job writes, the restored picture first."""
        return [path for path in (self.output, *self.sides.values()) if path is not None]


def side_paths(output: Path, stem: str, sides: Iterable[str]) -> dict[str, Path]:
    """Where the side products of an output go: beside it, named after the input or a chosen name.

    >>> side_paths(Path("out/photo-dehazed.jpg"), "photo", ["depth"])["depth"].as_posix()
    'out/photo-depth.png'
    """
    return {side: output.with_name(f"{stem}-{side}{SIDE_PRODUCTS[side]}") for side in sides}


def output_ending(source: Path, info: ImageInfo, format: str = "keep") -> str:
    """Ending of the output of ``source``: its own where that fits the format, for a wrong ending a right one."""
    wanted = format
    if format == "keep":
        wanted = default_output_format(info)
        if wanted == "jpeg" != info.format and info.has_alpha:  # the stand-in for HEIC cannot hold transparency
            wanted = "png"
    return source.suffix if format_for_suffix(source.suffix.lower()) == wanted else WRITE_FORMATS[wanted]


def with_ending(path: Path) -> str:
    """The stem of a name with its ending taken in.

    >>> with_ending(Path("IMG_1.HEIC"))
    'IMG_1-HEIC'
    """
    return f"{path.stem}-{path.suffix.removeprefix('.')}"


class Names:
    """Which input a name of an output belongs to.

    Args:
        maker: Tells which input made an output before.
    """

    def __init__(self, maker: Callable[[Path], Path | None]) -> None:
        self._maker = maker
        self._owners: dict[str, Path] = {}
        self._folders: dict[Path, tuple[str, bool]] = {}

    def owner(self, path: Path, source: Path) -> Path | None:
        """The input other than ``source`` that has the name."""
        owner = self._owners.get(self.key(path)) or self._maker(path)
        return owner if owner != source else None

    def give(self, job: Job) -> None:
        """Let the names of a job be its own."""
        self._owners.update((self.key(path), job.source) for path in job.products)

    def key(self, path: Path) -> str:
        """The same string for all paths that mean one file, before the file exists."""
        if path.parent not in self._folders:
            folder, ignores_case = path.parent.resolve(), False
            # whether names that differ in case only are one file there is asked of the folder's own name
            for place in (folder, *folder.parents):
                twin = place.with_name(place.name.swapcase()) if place.name else place
                if twin != place and os.path.exists(place):  # noqa: PTH110  which never raises
                    with suppress(OSError):  # there is none, as a rule
                        ignores_case = place.samefile(twin)
                    break
            self._folders[path.parent] = (str(folder), ignores_case)
        folder_name, ignores_case = self._folders[path.parent]
        key = os.path.join(folder_name, path.name)  # noqa: PTH118  a string is what is wanted
        return unicodedata.normalize("NFC", key).casefold() if ignores_case else key


def refuse_inputs_as_outputs(jobs: list[Job], further: Iterable[Path]) -> list[Job]:
    """Refuse to write to any file that is read, whatever name it goes by: links and letter case included."""
    named = [*further, *(job.source for job in jobs)]
    sources = {identity: source for source in named if (identity := _identity(source))}

    checked = []
    for job in jobs:
        for path in job.products if job.ready else ():
            identity = _identity(path)
            victim = sources.get(identity) if identity else None
            if victim is not None:
                role = "its own output" if victim == job.source else f"the output of {job.source}"
                error = OutputError(f"{victim} would be {role}; name another folder or suffix.")
                checked.append(replace(job, error=error))
                break
        else:
            checked.append(job)
    return checked


def is_same(first: Path, second: Path) -> bool:
    """Whether two names are those of one file or folder that exists."""
    identity = _identity(first)
    return identity is not None and identity == _identity(second)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
