"""Checkpoints that survive a crash: written beside the old one and moved into place."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from unhaze.errors import WeightsNotFoundError

__all__ = ["latest_checkpoint", "load_checkpoint", "save_checkpoint"]

_PATTERN = "step-*.pt"


def save_checkpoint(folder: str | Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write ``state`` as ``step-NNNNNNN.pt`` and delete all but the newest ``keep``.

    A reader sees the whole file or none, also after a power cut.

    Args:
        folder: Made if missing.
        step: Number of steps done.
        state: Tensors, numbers, strings, lists and dictionaries only; anything else cannot be loaded again.
        keep: How many checkpoints stay.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:07d}.pt"
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    for old in sorted(folder.glob(_PATTERN))[:-keep]:
        old.unlink()
    return target


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint with the most steps, or ``None``."""
    found = sorted(Path(folder).glob(_PATTERN))
    return found[-1] if found else None


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU; only plain data is unpickled.

    Raises:
        WeightsNotFoundError: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no checkpoint {path}; give an existing file, or start without --resume.")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
