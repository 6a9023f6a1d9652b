"""From what the user names to a list of jobs: which picture goes where. Nothing is decoded and nothing written.

Everything that would lose a file is found here, before the first picture is touched: an output that is an input, two
inputs with one output name, an output that exists already.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from unhaze.errors import (
    ImageDecodeError,
    OutputError,
    UnhazeError,
    UnknownNameError,
    UnsupportedImageError,
    UsageError,
)
from unhaze.io.images import (
    READ_SUFFIXES,
    WRITE_FORMATS,
    ImageInfo,
    default_output_format,
    format_for_suffix,
    identify,
)

__all__ = [
    "DEFAULT_SUFFIX",
    "SIDE_PRODUCTS",
    "Existing",
    "Found",
    "Job",
    "Planner",
    "output_ending",
    "plan",
    "side_paths",
]

Existing = Literal["error", "skip", "overwrite"]

DEFAULT_SUFFIX = "-dehazed"
SIDE_PRODUCTS = {"compare": ".jpg", "transmission": ".png", "depth": ".png", "confidence": ".png"}

_WILDCARDS = frozenset("*?[")
# kinds of picture that people ask for as output but that no writer exists for
_FOREIGN_SUFFIXES = frozenset({".gif", ".jxl", ".heic", ".heif", ".jp2", ".exr", ".pdf"})


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be a picture.

    Attributes:
        source: The file.
        below: Folder of its output, relative to the output folder.
        error: Why it cannot be looked at, if so.
    """

    source: Path
    below: Path = Path()
    error: UnhazeError | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One input and what is to become of it: ready where neither ``skip`` nor ``error`` is set.

    Attributes:
        source: The input.
        output: The restored picture; ``None`` where planning did not come that far.
        info: What the header of the input says.
        sides: Further files to write: a name of ``SIDE_PRODUCTS`` to its path.
        overwrite: Whether outputs that exist may be replaced.
        skip: Why nothing needs to be done.
        error: Why nothing can be done.
    """

    source: Path
    output: Path | None = None
    info: ImageInfo | None = None
    sides: Mapping[str, Path] = field(default_factory=dict)
    overwrite: bool = False
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


def plan(
    inputs: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    suffix: str | None = None,
    format: str = "keep",
    recursive: bool = True,
    existing: Existing = "error",
    sides: Iterable[str] = (),
) -> list[Job]:
    """List what is to be done, in a fixed order: inputs as given, the files of a folder by name.

    Args:
        inputs: Files, folders and patterns such as ``photos/**/*.jpg``.
        output: A file for a single picture, or a folder, in which the tree of an input folder is repeated. Without it,
            outputs lie beside their inputs.
        suffix: Added to the name of an output; ``None`` stands for ``"-dehazed"`` beside the input, else for nothing.
        format: A name of :data:`~unhaze.io.images.WRITE_FORMATS`, or ``"keep"``.
        recursive: Whether to look into the folders of a folder.
        existing: What to do with an output that exists: report an error, skip the input, or overwrite.
        sides: Further products, names of ``SIDE_PRODUCTS``.

    Raises:
        UsageError: The options contradict each other. Whatever concerns one input is the ``error`` of its job instead.
    """
    planner = Planner(
        inputs, output=output, suffix=suffix, format=format, recursive=recursive, existing=existing, sides=sides
    )
    return planner.jobs(planner.find())


def side_paths(output: Path, stem: str, sides: Iterable[str]) -> dict[str, Path]:
    """Where the side products of an output go: beside it, named after the input or a chosen name.

    >>> side_paths(Path("out/photo-dehazed.jpg"), "photo", ["depth"])["depth"].as_posix()
    'out/photo-depth.png'
    """
    return {side: output.with_name(f"{stem}-{side}{SIDE_PRODUCTS[side]}") for side in sides}


class Planner:
    """Finds pictures and plans jobs for them, as often as asked; arguments as for :func:`plan`.

    Args:
        existing: As for :func:`plan`, or a function of (source, output) that decides for each output that exists.
    """

    def __init__(
        self,
        inputs: Sequence[str | Path],
        *,
        output: str | Path | None = None,
        suffix: str | None = None,
        format: str = "keep",
        recursive: bool = True,
        existing: Existing | Callable[[Path, Path], Existing] = "error",
        sides: Iterable[str] = (),
    ) -> None:
        self._inputs = [str(name) for name in inputs]
        self._output = None if output is None else Path(output)
        self._suffix = (DEFAULT_SUFFIX if output is None else "") if suffix is None else suffix
        self._format = format
        self._recursive = recursive
        self._existing = existing
        self._sides = tuple(sides)
        self._to_file = self._names_one_file()
        self._check_options()

    def find(self) -> list[Found]:
        """Everything the inputs stand for, each file once."""
        found: dict[str, Found] = {}
        for name in self._inputs:
            for item in self._expand(name):
                found.setdefault(os.path.normpath(item.source.absolute()), item)
        return list(found.values())

    def jobs(self, found: Iterable[Found]) -> list[Job]:
        """The jobs for what was found, dangers for existing files recognised."""
        jobs = [self._job(item) for item in found]
        return self._heed_existing(_refuse_collisions(_refuse_inputs_as_outputs(jobs)))

    # -- options ------------------------------------------------------------------------------------------------------

    def _names_one_file(self) -> bool:
        """Whether the output option is the name of a picture rather than of a folder."""
        if self._output is None or self._output.is_dir():
            return False
        suffix = self._output.suffix.lower()
        if format_for_suffix(suffix):
            return True
        if suffix in READ_SUFFIXES | _FOREIGN_SUFFIXES:
            raise UsageError(
                f"{self._output} cannot be written: there is no writer for {suffix}; "
                f"use one of {', '.join(sorted(WRITE_FORMATS.values()))}."
            )
        if self._output.exists():
            raise UsageError(
                f"{self._output} is a file and no picture; name a folder, or a picture for a single input."
            )
        return False

    def _check_options(self) -> None:
        if self._format != "keep" and self._format not in WRITE_FORMATS:
            raise UnknownNameError("format", self._format, ["keep", *WRITE_FORMATS])
        for name in self._sides:
            if name not in SIDE_PRODUCTS:
                raise UnknownNameError("product", name, SIDE_PRODUCTS)
        if Path(f"a{self._suffix}").name != f"a{self._suffix}" or "\0" in self._suffix:
            raise UsageError(f"The suffix {self._suffix!r} cannot be part of a file name; leave out slashes.")
        self._check_output()

    def _check_output(self) -> None:
        if self._output is None:
            if not self._suffix:
                raise UsageError("An empty suffix beside the input would replace it; name another folder with -o.")
        elif self._to_file:
            self._check_output_file(self._output)
        elif not self._suffix and any(_is_same(self._output, Path(name)) for name in self._inputs):
            raise UsageError(f"{self._output} is input and output folder at once; name another folder, or a suffix.")

    def _check_output_file(self, output: Path) -> None:
        if len(self._inputs) != 1 or Path(self._inputs[0]).is_dir() or _is_pattern(self._inputs[0]):
            raise UsageError(f"{output} is one file, but there may be several inputs; name a folder with -o.")
        named = format_for_suffix(output.suffix.lower())
        if self._format not in ("keep", named):
            raise UsageError(
                f"The format is {self._format}, but the output {output} says {named}; leave out one of them."
            )

    # -- finding ------------------------------------------------------------------------------------------------------

    def _expand(self, name: str) -> Iterator[Found]:
        path = Path(name)
        try:
            if path.is_dir():
                top = Path() if len(self._inputs) == 1 else Path(Path(os.path.normpath(path.absolute())).name)
                yield from self._walk(path, top)
            elif path.is_file():
                yield Found(path)
            elif path.exists():
                yield Found(path, error=UnsupportedImageError(f"{path} is not a regular file; pipe it in with '-'."))
            elif _is_pattern(name):
                yield from self._match(name)
            else:
                yield Found(path, error=ImageDecodeError(f"{path} does not exist; check the name."))
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            yield Found(path, error=_unreadable(path, error))

    def _match(self, pattern: str) -> Iterator[Found]:
        base, rest = _split_pattern(pattern)
        files: defaultdict[Path, list[str]] = defaultdict(list)
        for path in base.glob(rest):
            if path.is_file():
                files[path.parent].append(path.name)
        if not files:
            yield Found(Path(pattern), error=ImageDecodeError(f"{pattern} matches no file; check the pattern."))
        for folder in sorted(files):
            below = folder.relative_to(base)
            if not any(map(_is_hidden, below.parts)) and not self._is_output_folder(folder):
                yield from self._pictures(folder, files[folder], below)

    def _walk(self, top: Path, below: Path) -> Iterator[Found]:
        errors: list[OSError] = []
        for here, folders, names in os.walk(top, onerror=errors.append):
            folder = Path(here)
            folders[:] = sorted(name for name in folders if self._enters(folder / name))
            yield from self._pictures(folder, names, below / folder.relative_to(top))
        for error in errors:
            folder = Path(error.filename)
            yield Found(folder, error=_unreadable(folder, error))

    def _enters(self, folder: Path) -> bool:
        return self._recursive and not _is_hidden(folder.name) and not self._is_output_folder(folder)

    def _is_output_folder(self, folder: Path) -> bool:
        return self._output is not None and not self._to_file and _is_same(self._output, folder)

    def _pictures(self, folder: Path, names: Iterable[str], below: Path) -> Iterator[Found]:
        """Files that are pictures by their suffix and were not made by us."""
        pictures = [folder / name for name in sorted(names) if not _is_hidden(name)]
        pictures = [path for path in pictures if path.suffix.lower() in READ_SUFFIXES and path.is_file()]
        stems = {path.stem for path in pictures}
        yield from (Found(path, below) for path in pictures if not self._is_own_product(path.stem, stems))

    def _is_own_product(self, stem: str, stems: set[str]) -> bool:
        # what lies beside the inputs under the suffix of this run is ours even if the original is gone; other tags are
        # ours only next to their original, for a photograph may well be called "fog-depth"
        if self._output is None and stem.endswith(self._suffix):
            return True
        tags = (DEFAULT_SUFFIX, *(f"-{side}" for side in SIDE_PRODUCTS))
        return any(stem.endswith(tag) and stem.removesuffix(tag) in stems for tag in tags)

    # -- naming -------------------------------------------------------------------------------------------------------

    def _job(self, item: Found) -> Job:
        if item.error:
            return Job(item.source, error=item.error)
        try:
            info = identify(item.source)
        except UnhazeError as error:
            return Job(item.source, error=error)
        except OSError as error:
            return Job(item.source, error=_unreadable(item.source, error))
        output = self._target(item, info)
        stem = output.stem if self._to_file else item.source.stem
        return Job(item.source, output, info, side_paths(output, stem, self._sides))

    def _target(self, item: Found, info: ImageInfo) -> Path:
        if self._to_file:
            assert self._output is not None
            return self._output
        folder = item.source.parent if self._output is None else self._output / item.below
        return folder / f"{item.source.stem}{self._suffix}{output_ending(item.source, info, self._format)}"

    # -- outputs that exist -------------------------------------------------------------------------------------------

    def _heed_existing(self, jobs: list[Job]) -> list[Job]:
        return [self._heed(job) if job.ready else job for job in jobs]

    def _heed(self, job: Job) -> Job:
        there = [path for path in job.products if os.path.lexists(path)]
        if not there:
            return job
        assert job.output is not None
        policy = self._existing(job.source, job.output) if callable(self._existing) else self._existing
        if policy == "skip":
            # the restored picture is written last: side products without it are left from a run that was cut short
            is_done = job.output in there
            return replace(job, skip=f"{job.output} exists.") if is_done else replace(job, overwrite=True)
        if policy == "error":
            message = f"{there[0]} exists; use --overwrite to replace it, or --skip-existing."
            return replace(job, error=OutputError(message))
        return replace(job, overwrite=True)


def _refuse_inputs_as_outputs(jobs: list[Job]) -> list[Job]:
    """Refuse to write to any file that is read, whatever name it goes by: links and letter case included."""
    sources = {identity: job.source for job in jobs if (identity := _identity(job.source))}

    def check(job: Job) -> Job:
        for path in job.products:
            identity = _identity(path)
            victim = sources.get(identity) if identity else None
            if victim is not None:
                role = "its own output" if victim == job.source else f"the output of {job.source}"
                return replace(job, error=OutputError(f"{victim} would be {role}; name another folder or suffix."))
        return job

    return [check(job) if job.ready else job for job in jobs]


def _refuse_collisions(jobs: list[Job]) -> list[Job]:
    """Of several inputs with one output name none is processed: whichever came last would replace the others."""
    claims: defaultdict[str, list[Job]] = defaultdict(list)
    key = _ClaimKey()
    for job in jobs:
        for path in job.products if job.ready else ():
            claims[key(path)].append(job)

    def check(job: Job) -> Job:
        for path in job.products:
            rivals = claims[key(path)]
            if len(rivals) > 1:
                return replace(job, error=OutputError(_collision_sentence(path, [rival.source for rival in rivals])))
        return job

    return [check(job) if job.ready else job for job in jobs]


def _collision_sentence(path: Path, sources: list[Path]) -> str:
    named = ", ".join(map(str, sources[:3])) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
    return f"{named} would all be written to {path}; rename them, or choose another format, suffix or folder."


class _ClaimKey:
    """Maps paths that mean one file to one string, before the file exists."""

    def __init__(self) -> None:
        self._folders: dict[Path, tuple[str, bool]] = {}

    def __call__(self, path: Path) -> str:
        if path.parent not in self._folders:
            folder = path.parent.resolve()
            self._folders[path.parent] = (str(folder), _ignores_case(folder))
        folder_name, ignores_case = self._folders[path.parent]
        key = os.path.join(folder_name, path.name)  # noqa: PTH118  a string is what is wanted
        return unicodedata.normalize("NFC", key).casefold() if ignores_case else key


def _ignores_case(folder: Path) -> bool:
    """Whether names that differ in case only are one file there, asked of the folder's own name."""
    for place in (folder, *folder.parents):
        twin = place.with_name(place.name.swapcase()) if place.name else place
        if twin != place and place.exists():
            return _is_same(place, twin)
    return False


def output_ending(source: Path, info: ImageInfo, format: str = "keep") -> str:
    """Ending of the output of ``source``: its own where that fits the format, for a wrong ending a right one."""
    wanted = _kept_format(info) if format == "keep" else format
    return source.suffix if format_for_suffix(source.suffix.lower()) == wanted else WRITE_FORMATS[wanted]


def _kept_format(info: ImageInfo) -> str:
    format = default_output_format(info)
    # the stand-in for HEIC cannot hold transparency
    return "png" if format == "jpeg" != info.format and info.has_alpha else format


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_same(first: Path, second: Path) -> bool:
    identity = _identity(first)
    return identity is not None and identity == _identity(second)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_pattern(name: str) -> bool:
    return not _WILDCARDS.isdisjoint(name)


def _split_pattern(pattern: str) -> tuple[Path, str]:
    """The folder that holds every match, and the pattern below it."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if _is_pattern(part))
    return Path(*parts[:first]), str(Path(*parts[first:]))


def _unreadable(path: Path, error: OSError | ValueError) -> ImageDecodeError:
    reason = getattr(error, "strerror", None) or error
    what = "folder" if path.is_dir() else "file"
    return ImageDecodeError(f"The {what} {path} cannot be read ({reason}); check its name and permissions.")
