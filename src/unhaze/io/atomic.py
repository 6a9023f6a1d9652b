"""Outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unhaze.errors import OutputError

__all__ = ["atomic_output"]

# the kernel allows 255 bytes for a name; the temporary name adds a dot, eight hexadecimal digits and ".part"
_LONGEST_STEM = 255 - len("..12345678.part")


@contextmanager
def atomic_output(path: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to ``path`` when the block ends well.

    The temporary file lies in the folder of ``path``; its name begins with ``.`` and ends with ``.part``. Whatever
    happens, either the whole output is at ``path`` or ``path`` is as it was, and no temporary file is left.

    Args:
        path: Where the output shall be. A symbolic link is followed: the file it names is replaced, the link stays.
        overwrite: Whether an existing file may be replaced. If not, a file that another program puts at ``path``
            while the block runs is left alone too.

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
        _refuse_bad_target(shown, target, overwrite)
        temporary = _create_temporary(target)
    except OSError as error:
        raise _explain(error, shown) from error
    try:
        yield temporary
        _take_over_mode(temporary, target)
        _move(temporary, target, shown, overwrite)
    except OSError as error:
        raise _explain(error, shown) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_bad_target(shown: Path, target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise OutputError(f"{shown} is a folder; name a file in it instead.")
    if not target.parent.is_dir():
        raise OutputError(f"The folder {shown.parent} does not exist; create it first.")
    if target.exists():
        if not overwrite:
            raise _exists(shown)
        if not target.is_file():
            raise OutputError(f"{shown} is a device or a pipe, not a file that can be replaced; name another output.")


def _create_temporary(target: Path) -> Path:
    stem = os.fsencode(target.name)[:_LONGEST_STEM].decode(errors="ignore")
    while True:
        temporary = target.with_name(f".{stem}.{secrets.token_hex(4)}.part")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return temporary


def _take_over_mode(temporary: Path, target: Path) -> None:
    if target.exists():
        temporary.chmod(target.stat().st_mode & 0o777)


def _move(temporary: Path, target: Path, shown: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, fails when the target has appeared meanwhile
    except FileExistsError as error:
        raise _exists(shown) from error
    except OSError:  # FAT, some network folders: no hard links
        if target.exists():
            raise _exists(shown) from None
        temporary.rename(target)


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
