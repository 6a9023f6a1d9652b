"""Checkpoints that survive a crash: written beside the old one, moved into place, and checked before they are used."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import torch

from unhaze.errors import OutputError, UsageError, WeightsNotFoundError
from unhaze.images.atomic import atomic_output
from unhaze.training.distributed import is_main

__all__ = ["latest_checkpoint", "load_checkpoint", "save_checkpoint"]

_NAME = re.compile(r"step-(\d{7,})\.pt")


def save_checkpoint(folder: str | Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write ``state`` as ``step-NNNNNNN.pt`` and delete all but the newest ``keep``.

    A reader sees the whole file or none, also after a power cut.

    Args:
        folder: Made if missing. Files of other names in it are left alone.
        step: Number of steps done.
        state: Tensors, numbers, strings, lists and dictionaries only; anything else cannot be loaded again.
        keep: How many checkpoints stay.

    Raises:
        OutputError: The disk is full, or the folder cannot be written to; the checkpoints before are as they were.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"The folder {folder} cannot be made ({reason}); choose another --out.") from error
    target = folder / f"step-{step:07d}.pt"
    with atomic_output(target, overwrite=True) as temporary, temporary.open("wb") as file:
        _write(state, file)
        file.flush()
        os.fsync(file.fileno())
    # have the new name on the disk before old checkpoints go, where the system can do that
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    for old in _checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return target


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint with the most steps among those that are whole; ``None`` if there is no checkpoint at all.

    Damaged ones that are passed over are told in a warning of this module's logger.

    Raises:
        UsageError: There are checkpoints, but none is whole.
    """
    found = _checkpoints(Path(folder))
    for index, path in enumerate(reversed(found)):
        if _is_sound(path):
            if index and is_main():
                damaged = ", ".join(each.name for each in reversed(found[-index:]))
                line = "%s: damaged or half-written, so the training goes on from %s, the newest that is whole."
                logging.getLogger(__name__).warning(line, damaged, path)
            return path
    if found:
        raise UsageError(
            f"No checkpoint in {folder} is whole ({', '.join(path.name for path in found)}); start over with another "
            "--out, or without --resume after moving them away."
        )
    return None


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU; only plain data is unpickled.

    Raises:
        WeightsNotFoundError: There is no such file.
        UsageError: It is damaged, or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no checkpoint {path}; give an existing file, or start without --resume.")
    if not _has_its_checksums(path):
        raise UsageError(
            f"{path} is damaged, half-written or no checkpoint; --resume auto takes the newest one that is whole."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UsageError(f"{path} is no checkpoint of a training; give one that a run has left.") from error
    if not isinstance(state, dict):
        raise UsageError(f"{path} is no checkpoint of a training; give one that a run has left.")
    return state


def _is_sound(path: Path) -> bool:
    try:
        load_checkpoint(path)
    except (UsageError, WeightsNotFoundError):
        return False
    return True


def _has_its_checksums(path: Path) -> bool:
    """Whether a checkpoint is complete and every part of it has the CRC-32 it was written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, by steps; whatever else lies there is passed over."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found) if path.is_file()]


def _write(state: dict[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(state, file)
    except RuntimeError as error:  # torch's writer complains of its own state when the disk is full
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
