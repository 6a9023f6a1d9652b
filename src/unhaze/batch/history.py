"""What was done for which input, on disk, so that work which was ended goes on exactly where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from unhaze.errors import OutputError
from unhaze.images.atomic import Signature, atomic_output, find_leftovers, signature_of
from unhaze.images.manifest import ReportWriter, read_report

__all__ = ["HISTORY_NAME", "Entry", "History", "move_away"]

HISTORY_NAME = ".unhaze-watch.jsonl"
"""Name of the file, in the output folder."""

_MOST_STALE = 1000  # lines that were overtaken by later ones before the file is written anew


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done for an input.

    Attributes:
        input: Its absolute path.
        signature: How it looked when it was read.
        naming: The options that decide on the names of outputs.
        outputs: The files that were written, and how they looked then.
        left: Where the input was moved to afterwards, or ``"deleted"``; ``None`` if it stayed.
    """

    input: str
    signature: Signature
    naming: str
    outputs: Mapping[Path, Signature] = field(default_factory=dict)
    left: str | None = None

    def changed_output(self) -> Path | None:
        """An output that exists, but no longer looks as it was written."""
        return next((path for path, written in self.outputs.items() if signature_of(path) not in (None, written)), None)


class History:
    """The entries of one output folder, kept in :data:`HISTORY_NAME`; a context manager that closes the file.

    Args:
        folder: The output folder, which must exist.
        naming: The options that decide on the names of outputs; entries made under others are not taken for done.

    Attributes:
        note: What had to be mended, as a sentence.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, folder: Path, naming: str) -> None:
        self._folder, self._path, self._naming = folder, folder / HISTORY_NAME, naming
        self.note: str | None = None
        self._entries: dict[str, Entry] = {}
        self._makers: dict[Path, str] = {}
        for leftover in find_leftovers(folder).get(HISTORY_NAME, ()):
            leftover.unlink(missing_ok=True)
        lines = self._load()
        if lines > len(self._entries) + _MOST_STALE or self.note:
            with atomic_output(self._path, overwrite=True) as temporary, temporary.open("wb") as file:
                for entry in self._entries.values():
                    file.write(json.dumps(self._as_record(entry)).encode() + b"\n")
        self._writer = ReportWriter(self._path)

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def is_done(self, source: Path, signature: Signature) -> bool:
        """Whether the input was done as it is, with outputs of the names they would have now."""
        entry = self.entry(source)
        return entry is not None and entry.signature == signature and entry.naming == self._naming

    def entry(self, source: Path) -> Entry | None:
        """What was last done for an input."""
        return self._entries.get(str(source.absolute()))

    def maker(self, output: Path) -> Path | None:
        """The input that an output was made from."""
        name = self._makers.get(output.absolute())
        return None if name is None else Path(name)

    def missing(self) -> int:
        """How many inputs were done whose restored picture is gone."""
        return sum(
            any(signature_of(path) is None for path in list(entry.outputs)[:1]) for entry in self._entries.values()
        )

    def add(self, source: Path, signature: Signature, outputs: Iterable[Path], left: str | None = None) -> None:
        """Remember that an input was done.

        Raises:
            OutputError: The file cannot be written.
        """
        written = {path.absolute(): found for path in outputs if (found := signature_of(path)) is not None}
        self._put(Entry(str(source.absolute()), signature, self._naming, written, left))

    def leave(self, source: Path, left: str) -> None:
        """Remember that an input that was done has been moved or deleted.

        Raises:
            OutputError: The file cannot be written.
        """
        entry = self.entry(source)
        assert entry is not None
        self._put(Entry(entry.input, entry.signature, entry.naming, entry.outputs, left))

    def _put(self, entry: Entry) -> None:
        self._remember(entry)
        self._writer.write(self._as_record(entry))

    def _remember(self, entry: Entry) -> None:
        self._entries[entry.input] = entry
        self._makers.update(dict.fromkeys(entry.outputs, entry.input))

    def _load(self) -> int:
        """Read the file; returns how many lines it has."""
        lines, folder = 0, self._folder.absolute()
        try:
            with self._path.open("rb") as file:
                if file.read(1) not in (b"", b"{"):
                    self.note = f"{self._path} was damaged; what it told of is judged by times instead."
                    return 0
            for record in read_report(self._path):
                lines += 1
                try:
                    size, when = record["signature"]
                    outputs = {
                        folder / name: (int(bytes_there), int(changed))
                        for name, (bytes_there, changed) in record["outputs"].items()
                    }
                    entry = Entry(
                        str(record["input"]), (int(size), int(when)), str(record["naming"]), outputs, record["left"]
                    )
                except (KeyError, TypeError, ValueError, AttributeError):  # no line of ours
                    continue
                self._remember(entry)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be read ({error.strerror or error}); check its permissions."
            ) from error
        return lines

    def _as_record(self, entry: Entry) -> dict[str, Any]:
        folder = self._folder.absolute()
        return {
            "input": entry.input,
            "signature": list(entry.signature),
            "naming": entry.naming,
            "outputs": {str(path.relative_to(folder)): list(written) for path, written in entry.outputs.items()},
            "left": entry.left,
        }


def move_away(source: Path, target: Path) -> Path:
    """Move a file to ``target``, or to a numbered name beside it where that exists; nothing is ever replaced.

    Returns:
        Where it is now.

    Raises:
        OutputError: It cannot be moved; it is where it was.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {target.parent} cannot be made ({error.strerror or error}).") from error
    number, place = 1, target
    while True:
        try:
            _link_or_copy(source, place)
            break
        except FileExistsError:
            number += 1
            place = target.with_name(f"{target.stem}-{number}{target.suffix}")
    try:
        source.unlink()
    except OSError as error:
        place.unlink(missing_ok=True)
        raise OutputError(f"{source} cannot be moved ({error.strerror or error}); check its permissions.") from error
    return place


def _link_or_copy(source: Path, target: Path) -> None:
    if target.exists():
        raise FileExistsError
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without links
        with atomic_output(target, overwrite=False) as temporary:
            shutil.copyfile(source, temporary)
            shutil.copystat(source, temporary)
