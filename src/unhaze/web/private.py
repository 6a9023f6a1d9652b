"""Folders for the few files of a service that need a name: a video is read and written by libraries that want a path.

All else lies on the disk without a name. A folder is locked as long as it is used, so that a service that starts tells
what a killed one has left from what another one uses.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where leftovers stay until the folder of temporary files is emptied
    fcntl = None  # type: ignore[assignment]

__all__ = ["private_folder", "remove_leftovers"]

_PREFIX = "unhaze-serve-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that nobody else may read; gone with the block."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _lock(folder, wait=True)
        if lock is not None or fcntl is None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_leftovers() -> int:
    """Remove the folders of services that were killed; how many there were."""
    count = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*") if fcntl is not None else ():
        lock = _lock(folder, wait=False)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            count += 1
    return count


def _lock(folder: Path, *, wait: bool) -> int | None:
    """A descriptor that locks a folder of ours; ``None`` where it is somebody else's, is in use or has gone."""
    if fcntl is None:
        return None
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(lock).st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if folder.exists():  # whoever had the lock before may have removed it
                    return lock
        except OSError:
            pass
        os.close(lock)
    return None
