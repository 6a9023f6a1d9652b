"""Outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unhaze.errors import OutputError

__all__ = [
    "Signature",
    "atomic_output",
    "find_leftovers",
    "make_folder",
    "signature_of",
    "temporary_path",
    "temporary_stem",
]

Signature = tuple[int, int]
"""Size [bytes] and time of the last change [ns] of a file: what is compared to see whether it has changed."""

# the kernel allows 255 bytes for a name; the temporary name adds a dot, eight hexadecimal digits and ".part"
_LONGEST_STEM = 255 - len("..12345678.part")
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part", re.DOTALL)


def signature_of(path: str | Path) -> Signature | None:
    """The signature of a regular file; ``None`` where there is none."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def make_folder(folder: Path) -> list[Path]:
    """Make the folder of an output, and those it lies in; returns those that were not there, the innermost first.

    Raises:
        OutputError: It cannot be made.
    """
    missing = []
    for place in (folder, *folder.parents):
        if os.path.exists(place):  # noqa: PTH110 - that of Path raises for names that are too long
            break
        missing.append(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"The folder {folder} cannot be made ({reason}); choose another.") from error
    return missing


def temporary_stem(name: str) -> str:
    """The part of a temporary name that tells for which output it is."""
    return os.fsencode(name)[:_LONGEST_STEM].decode(errors="ignore")


def temporary_path(target: Path) -> Path:
    """Create an empty temporary file for ``target``, in its folder.

    Raises:
        OSError: It cannot be created.
    """
    while True:
        temporary = target.with_name(f".{temporary_stem(target.name)}.{secrets.token_hex(4)}.part")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return temporary


def find_leftovers(folder: Path) -> dict[str, list[Path]]:
    """Temporary files in a folder by the stem of their output; of programs that were killed, or that run right now."""
    found: dict[str, list[Path]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") and (match := _TEMPORARY.fullmatch(entry.name)):
                    found.setdefault(match[1], []).append(folder / entry.name)
    except OSError:
        return {}
    return found


@contextmanager
def atomic_output(path: str | Path, *, overwrite: bool | Signature) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to ``path`` when the block ends well.

    The temporary file lies in the folder of ``path``; its name begins with ``.`` and ends with ``.part``. Whatever
    happens, either the whole output is at ``path`` or ``path`` is as it was, and no temporary file is left.

    Args:
        path: Where the output shall be. A symbolic link is followed: the file it names is replaced, the link stays.
        overwrite: Whether an existing file may be replaced. If not, a file that another program puts at ``path``
            while the block runs is left alone too. A signature allows to replace the file that has it, and no other.

    Yields:
        The temporary path; it names an empty file.

    Raises:
        OutputError: The output exists and may not be replaced, its folder is missing or read-only, the disk is full,
            or it cannot be written for another reason of the file system.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_output(target, overwrite=False) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    shown, target = Path(path), Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise OutputError(f"{shown} is a folder; name a file in it instead.")
        if not target.parent.is_dir():
            raise OutputError(f"The folder {shown.parent} does not exist; create it first.")
        if target.exists():
            if not overwrite:
                raise _exists(shown)
            if not target.is_file():
                raise OutputError(
                    f"{shown} is a device or a pipe, not a file that can be replaced; name another output."
                )
            _refuse_changed(shown, target, overwrite)
        temporary = temporary_path(target)
    except OSError as error:
        raise _explain(error, shown) from error
    try:
        yield temporary
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        if overwrite is True or (overwrite and target.exists()):
            _refuse_changed(shown, target, overwrite)
            temporary.replace(target)
            return
        try:
            os.link(temporary, target)  # unlike a rename, fails when the target has appeared meanwhile
        except FileExistsError as error:
            if temporary.stat().st_nlink < 2:  # over a network it may have worked, and the answer been lost
                raise _exists(shown) from error
        except OSError:  # FAT, some network folders: no hard links
            if target.exists():
                raise _exists(shown) from None
            temporary.rename(target)
    except OSError as error:
        raise _explain(error, shown) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_changed(shown: Path, target: Path, overwrite: bool | Signature) -> None:
    if not isinstance(overwrite, bool) and signature_of(target) not in (None, overwrite):
        raise OutputError(f"{shown} was changed by another program; move it away, or allow overwriting.")


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists already; allow overwriting or choose another name.")


def _explain(error: OSError, path: Path) -> OutputError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return OutputError(f"There is no space left to write {path}; free some space or choose another folder.")
        case errno.EACCES | errno.EPERM:
            return OutputError(
                f"You may not write to the folder {path.parent}; change its permissions or choose another."
            )
        case errno.EROFS:
            return OutputError(f"{path.parent} is on a read-only file system; choose another folder.")
        case errno.ENAMETOOLONG:
            return OutputError(f"The name {path.name[:40]}... is too long for the file system; choose a shorter one.")
        case _:
            return OutputError(f"{path} cannot be written: {error.strerror or error}; choose another place.")
