"""From what the user names to a list of jobs: which picture goes where. Nothing is decoded and nothing written.

Everything that would lose a file is found here, before the first picture is touched: an output that is an input, two
inputs with one output name, an output that exists already.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from unhaze.batch._names import (
    SIDE_PRODUCTS,
    Job,
    Names,
    is_same,
    output_ending,
    refuse_inputs_as_outputs,
    side_paths,
    with_ending,
)
from unhaze.errors import (
    ImageDecodeError,
    OutputError,
    OutputExistsError,
    UnhazeError,
    UnknownNameError,
    UnsupportedImageError,
    UsageError,
)
from unhaze.images.atomic import signature_of
from unhaze.images.files import READ_SUFFIXES, WRITE_FORMATS, ImageInfo, format_for_suffix, identify

__all__ = [
    "DEFAULT_SUFFIX",
    "SIDE_PRODUCTS",
    "Existing",
    "Found",
    "Job",
    "Planner",
    "Shard",
    "output_ending",
    "plan",
    "side_paths",
]

Existing = Literal["error", "skip", "overwrite"]

DEFAULT_SUFFIX = "-dehazed"

_TAGS = (DEFAULT_SUFFIX, *(f"-{side}" for side in SIDE_PRODUCTS))
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
class Shard:
    """One of several equal parts of the inputs: those whose name hashes to its number.

    The hash is that of the path below the input folder, without the ending, so that every machine cuts alike, a picture
    that is added changes nothing for the others, and inputs that compete for one output name stay together.

    Attributes:
        number: From 1 to ``count``.
        count: How many parts there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"2/5"``.

        Raises:
            UsageError: It is no such part.

        >>> Shard.parse("2/5")
        Shard(number=2, count=5)
        """
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UsageError(f"{text!r} is no part of the inputs; write for example 1/3, 2/3 and 3/3 for three parts.")
        return cls(int(number), int(count))

    def holds(self, item: Found) -> bool:
        """Whether an input belongs to this part."""
        name = unicodedata.normalize("NFC", (item.below / item.source.stem).as_posix()).casefold()
        digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.number - 1


def plan(
    inputs: Sequence[str | Path],
    *,
    listed: Sequence[str | Path] = (),
    output: str | Path | None = None,
    suffix: str | None = None,
    format: str = "keep",
    recursive: bool = True,
    existing: Existing = "error",
    sides: Iterable[str] = (),
    shard: Shard | None = None,
) -> list[Job]:
    """List what is to be done, in a fixed order: inputs as given, the files of a folder by name.

    Args:
        inputs: Files, folders and patterns such as ``photos/**/*.jpg``.
        listed: Further files and folders, from a list. A relative path keeps its folders below the output folder.
        output: A file for a single picture, or a folder, in which the tree of an input folder is repeated. Without it,
            outputs lie beside their inputs.
        suffix: Added to the name of an output; ``None`` stands for ``"-dehazed"`` beside the input, else for nothing.
        format: A name of :data:`~unhaze.images.files.WRITE_FORMATS`, or ``"keep"``.
        recursive: Whether to look into the folders of a folder.
        existing: What to do with an output that exists: report an error, skip the input, or overwrite.
        sides: Further products, names of ``SIDE_PRODUCTS``.
        shard: The part of the inputs to plan for; ``None`` for all.

    Raises:
        UsageError: The options contradict each other. Whatever concerns one input is the ``error`` of its job instead.
    """
    planner = Planner(
        inputs,
        listed=listed,
        output=output,
        suffix=suffix,
        format=format,
        recursive=recursive,
        existing=existing,
        sides=sides,
    )
    found = planner.find()
    return planner.jobs([item for item in found if shard is None or shard.holds(item)], beside=found)


class Planner:
    """Finds pictures and plans jobs for them, as often as asked; arguments as for :func:`plan`.

    Args:
        existing: As for :func:`plan`, or a function of (source, output) that decides for each output that exists;
            an error that it returns is that of the job.
        maker: Tells which input, if any, made an output earlier; its name is not given to another input beside it.
        apart: Folders that are passed over like the output folder.
    """

    def __init__(
        self,
        inputs: Sequence[str | Path],
        *,
        listed: Sequence[str | Path] = (),
        output: str | Path | None = None,
        suffix: str | None = None,
        format: str = "keep",
        recursive: bool = True,
        existing: Existing | Callable[[Path, Path], Existing | UnhazeError] = "error",
        sides: Iterable[str] = (),
        maker: Callable[[Path], Path | None] = lambda _: None,
        apart: Iterable[Path] = (),
    ) -> None:
        self._inputs = [str(name) for name in inputs]
        self._listed = [Path(name) for name in listed]
        self._output = output = None if output is None else Path(output)
        self._suffix = (DEFAULT_SUFFIX if output is None else "") if suffix is None else suffix
        self._format = format
        self._recursive = recursive
        self._existing = existing
        self._sides = tuple(sides)
        self._maker, self._apart = maker, tuple(apart)

        # options that contradict each other
        self._to_file = False  # whether the output names a picture rather than a folder
        if output is not None and not os.path.isdir(output):  # noqa: PTH112  which never raises
            ending = output.suffix.lower()
            self._to_file = format_for_suffix(ending) is not None
            if not self._to_file and ending in READ_SUFFIXES | _FOREIGN_SUFFIXES:
                raise UsageError(
                    f"{output} cannot be written: there is no writer for {ending}; "
                    f"use one of {', '.join(sorted(WRITE_FORMATS.values()))}."
                )
            if not self._to_file and os.path.exists(output):  # noqa: PTH110
                raise UsageError(f"{output} is a file and no picture; name a folder, or a picture for a single input.")
        if format != "keep" and format not in WRITE_FORMATS:
            raise UnknownNameError("format", format, ["keep", *WRITE_FORMATS])
        for name in self._sides:
            if name not in SIDE_PRODUCTS:
                raise UnknownNameError("product", name, SIDE_PRODUCTS)
        if Path(f"a{self._suffix}").name != f"a{self._suffix}" or "\0" in self._suffix:
            raise UsageError(f"The suffix {self._suffix!r} cannot be part of a file name; leave out slashes.")
        names = [*self._inputs, *map(str, self._listed)]
        if output is None:
            if not self._suffix:
                raise UsageError("An empty suffix beside the input would replace it; name another folder with -o.")
        elif self._to_file:
            if len(names) != 1 or Path(names[0]).is_dir() or _WILDCARDS.intersection(names[0]):
                raise UsageError(f"{output} is one file, but there may be several inputs; name a folder with -o.")
            named = format_for_suffix(output.suffix.lower())
            if format not in ("keep", named):
                raise UsageError(
                    f"The format is {format}, but the output {output} says {named}; leave out one of them."
                )
        elif not self._suffix and any(is_same(output, Path(name)) for name in names):
            raise UsageError(f"{output} is input and output folder at once; name another folder, or a suffix.")

    def find(self) -> list[Found]:
        """Everything the inputs stand for, each file once."""
        found: dict[str, Found] = {}
        for name in self._inputs:
            for item in self._expand(name, is_listed=False):
                found.setdefault(os.path.normpath(item.source.absolute()), item)
        for path in self._listed:
            for item in self._expand(str(path), is_listed=True):
                found.setdefault(os.path.normpath(item.source.absolute()), item)
        return list(found.values())

    def jobs(self, found: Iterable[Found], beside: Iterable[Found] = ()) -> list[Job]:
        """The jobs for what was found, dangers for existing files recognised.

        Args:
            found: Inputs to plan for.
            beside: Further inputs, which others work on; they are never written to.
        """
        jobs: list[Job] = []
        for item in found:
            info, error = None, item.error
            if error is None:
                try:
                    info = identify(item.source)
                except UnhazeError as failure:
                    error = failure
                except OSError as failure:
                    error = _unreadable(item.source, failure)
            if info is None:
                jobs.append(Job(item.source, error=error))
            elif self._to_file and self._output is not None:
                jobs.append(
                    Job(item.source, self._output, info, side_paths(self._output, self._output.stem, self._sides))
                )
            else:
                folder = item.source.parent if self._output is None else self._output / item.below
                jobs.append(self._named(item.source, info, folder, item.source.stem))
        jobs = refuse_inputs_as_outputs(jobs, [item.source for item in beside])
        jobs = self._separate(jobs)
        for index, job in enumerate(jobs):
            there = [path for path in job.products if os.path.lexists(path)] if job.ready else []
            if not there:
                continue
            seen = {path: signature for path in there if (signature := signature_of(path)) is not None}
            assert job.output is not None
            policy = self._existing(job.source, job.output) if callable(self._existing) else self._existing
            decided: dict[str, Any] = {"overwrite": True}
            if isinstance(policy, UnhazeError):
                decided = {"error": policy}
            elif policy == "skip" and job.output in there:
                # it is written last: side products without it are left from a run that was cut short, and replaced
                decided = {"skip": f"{job.output} exists."}
            elif policy == "error":
                message = f"{there[0]} exists; use --overwrite to replace it, or --skip-existing."
                decided = {"error": OutputExistsError(message)}
            jobs[index] = replace(job, existing=seen, **decided)
        return jobs

    # -- finding ------------------------------------------------------------------------------------------------------

    def _expand(self, name: str, *, is_listed: bool) -> Iterator[Found]:
        """What a name stands for. One from a list is no pattern, and keeps its folders below the output folder."""
        path = Path(name)
        keeps_folders = is_listed and not path.is_absolute() and ".." not in path.parts
        try:
            if path.is_dir():
                top = Path(Path(os.path.normpath(path.absolute())).name)
                if keeps_folders or (len(self._inputs) == 1 and not self._listed):
                    top = path if keeps_folders else Path()
                errors: list[OSError] = []
                for here, folders, names in os.walk(path, onerror=errors.append):
                    folder = Path(here)
                    folders[:] = sorted(each for each in folders if self.enters(folder / each))
                    yield from self._pictures(folder, names, top / folder.relative_to(path))
                for failure in errors:
                    folder = Path(failure.filename)
                    yield Found(folder, error=_unreadable(folder, failure))
            elif path.is_file():
                yield Found(path, path.parent if keeps_folders else Path())
            elif path.exists():
                yield Found(path, error=UnsupportedImageError(f"{path} is not a regular file; pipe it in with '-'."))
            elif not is_listed and _WILDCARDS.intersection(name):
                yield from self._match(name)
            else:
                yield Found(path, error=ImageDecodeError(f"{path} does not exist; check the name."))
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            yield Found(path, error=_unreadable(path, error))

    def _match(self, pattern: str) -> Iterator[Found]:
        # the folder that holds every match, and the pattern below it
        parts = Path(pattern).parts
        first = next(index for index, part in enumerate(parts) if _WILDCARDS.intersection(part))
        base, rest = Path(*parts[:first]), str(Path(*parts[first:]))
        files: defaultdict[Path, list[str]] = defaultdict(list)
        for path in base.glob(rest):
            if path.is_file() or _leads_nowhere(path):
                files[path.parent].append(path.name)
        if not files:
            yield Found(Path(pattern), error=ImageDecodeError(f"{pattern} matches no file; check the pattern."))
        for folder in sorted(files):
            below = folder.relative_to(base)
            if not any(part.startswith(".") for part in below.parts) and not self._is_output_folder(folder):
                yield from self._pictures(folder, files[folder], below)

    def enters(self, folder: Path) -> bool:
        """Whether a folder within an input folder is looked into."""
        return self._recursive and not folder.name.startswith(".") and not self._is_output_folder(folder)

    def _is_output_folder(self, folder: Path) -> bool:
        if self._output is not None and not self._to_file and is_same(self._output, folder):
            return True
        return any(is_same(place, folder) for place in self._apart)

    def _pictures(self, folder: Path, names: Iterable[str], below: Path) -> Iterator[Found]:
        """Files that are pictures by their suffix and were not made by us."""
        names = set(names)
        for name in sorted(names):
            path = folder / name
            if not self.is_picture(name, names):
                continue
            try:
                mode = path.stat().st_mode
            except OSError as error:
                if os.path.islink(path) or not isinstance(error, FileNotFoundError):  # noqa: PTH114  it has not just gone
                    yield Found(path, error=_unreadable(path, error))
                continue
            if stat.S_ISREG(mode):
                yield Found(path, below)

    def is_picture(self, name: str, beside: Collection[str] | Callable[[], Collection[str]]) -> bool:
        """Whether a file of an input folder is a picture by its name, and was not made by us.

        Args:
            name: Name of the file.
            beside: The names of all files of its folder, or a function that lists them.
        """
        stem, suffix = os.path.splitext(name)  # noqa: PTH122  for speed
        if name.startswith(".") or suffix.lower() not in READ_SUFFIXES:
            return False
        # what lies beside the inputs under the suffix of this run is ours even if the original is gone; other tags are
        # ours only next to their original, for a photograph may well be called "fog-depth"
        if self._output is None and stem.endswith(self._suffix):
            return False
        bases = [stem.removesuffix(tag) for tag in _TAGS if stem.endswith(tag)]
        if not bases:
            return True
        others = (Path(each) for each in (beside() if callable(beside) else beside) if not each.startswith("."))
        return not any(
            each.suffix.lower() in READ_SUFFIXES and not {each.stem, with_ending(each)}.isdisjoint(bases)
            for each in others
        )

    # -- naming -------------------------------------------------------------------------------------------------------

    def _named(self, source: Path, info: ImageInfo, folder: Path, stem: str) -> Job:
        """The job whose outputs are named after ``stem``."""
        output = folder / f"{stem}{self._suffix}{output_ending(source, info, self._format)}"
        return Job(source, output, info, side_paths(output, stem, self._sides))

    def _separate(self, jobs: list[Job]) -> list[Job]:
        """Let no two inputs come to one name: whichever came last would replace the others.

        Where files of one folder compete for it, one gets it and the others take their endings into theirs: it goes to
        the file that bears it, else to the first by name, so that it does not depend on the order. Where they are of
        several folders, none is processed.
        """
        names = Names(self._maker)
        apart: list[tuple[Job, Path, Path]] = []
        ready = [
            (job.source.suffix != job.output.suffix, str(job.source), job) for job in jobs if job.ready and job.output
        ]
        for _, _, job in sorted(ready, key=itemgetter(0, 1)):
            rivals = [(path, rival) for path in job.products if (rival := names.owner(path, job.source))]
            if rivals and all(rival.parent == job.source.parent for _, rival in rivals):
                apart.append((job, *rivals[0]))  # named below, when all names that stay are known
            else:
                names.give(job)
        renamed: dict[Path, Job] = {}
        for job, contested, rival in apart:
            assert job.output is not None
            assert job.info is not None
            stem = with_ending(job.source)
            for number in count(2):
                named = self._named(job.source, job.info, job.output.parent, stem)
                if not any(names.owner(path, job.source) for path in named.products):
                    break
                stem = f"{with_ending(job.source)}-{number}"
            names.give(named)
            note = f"named {named.products[0].name}, because {contested.name} is the name for {rival.name}"
            renamed[job.source] = replace(named, note=note)
        separate = [renamed.get(job.source, job) for job in jobs]
        rivals_for: defaultdict[str, list[Path]] = defaultdict(list)
        for job in separate:
            for path in job.products if job.ready else ():
                rivals_for[names.key(path)].append(job.source)
        for index, job in enumerate(separate):
            shared = [path for path in job.products if len(rivals_for[names.key(path)]) > 1] if job.ready else []
            if shared:
                sources = rivals_for[names.key(shared[0])]
                more = f" and {len(sources) - 3} more" if len(sources) > 3 else ""
                error = OutputError(
                    f"{', '.join(map(str, sources[:3]))}{more} would all be written to {shared[0]}; rename them, "
                    "or choose another format, suffix or folder."
                )
                separate[index] = replace(job, error=error)
        return separate


def _leads_nowhere(path: Path) -> bool:
    """Whether a path is a symbolic link without an end: what it names is not there, or it names itself."""
    return os.path.islink(path) and not os.path.exists(path)  # noqa: PTH110, PTH114  which never raise


def _unreadable(path: Path, error: OSError | ValueError) -> ImageDecodeError:
    reason = getattr(error, "strerror", None) or error
    if _leads_nowhere(path):
        return ImageDecodeError(f"The link {path} leads nowhere ({reason}); mend it or remove it.")
    what = "folder" if os.path.isdir(path) else "file"  # noqa: PTH112  which raises where nothing may be looked at
    return ImageDecodeError(f"The {what} {path} cannot be read ({reason}); check its name and permissions.")
