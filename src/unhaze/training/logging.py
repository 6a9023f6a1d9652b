"""What a training writes down: one JSON object per line, and strips of pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JsonLog", "TensorBoardLog", "write_strips"]


class JsonLog:
    """A JSONL file that is appended to, one flushed line at a time.

    Args:
        path: The file; folders are made.
        resume_at: Drop lines whose ``step`` is above this: they belong to work that was lost and is done again.
    """

    def __init__(self, path: str | Path, *, resume_at: int | None = None) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if resume_at is not None and self.path.exists():
            kept = [line for line in self.path.read_text("utf-8").splitlines() if _step_of(line) <= resume_at]
            self.path.write_text("".join(f"{line}\n" for line in kept), "utf-8")

    def write(self, **values: Any) -> None:
        """Append one object; floats are rounded to six digits."""
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")


class TensorBoardLog:
    """The same values for TensorBoard.

    Args:
        folder: For its files.
        resume_at: Values of later steps, of work that was lost, are hidden.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path, resume_at: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingDependencyError("tensorboard", "tensorboard", "write TensorBoard files") from error
        self._writer = SummaryWriter(str(folder), purge_step=resume_at + 1 if resume_at else None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


def write_strips(path: str | Path, rows: Sequence[Sequence[NDArray[np.floating[Any]]]]) -> None:
    """Write pictures side by side, one strip per row, as PNG.

    Args:
        path: The file; folders are made.
        rows: Of pictures (h, w, 3) or (h, w) in [0, 1]; the same number in each row and the same size everywhere.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    strips = [np.hstack([_to_color(picture) for picture in row]) for row in rows]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2BGR))


def _to_color(picture: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    pixels = np.asarray(np.clip(np.nan_to_num(picture) * 255 + 0.5, 0, 255), np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _step_of(line: str) -> int:
    """The step of a line; a line cut off by a crash belongs to lost work."""
    try:
        return int(json.loads(line).get("step", 0))
    except (ValueError, AttributeError):
        return 2**62
