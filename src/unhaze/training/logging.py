"""What a training writes down: one JSON object per line, and strips of pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import MissingDependencyError, OutputError
from unhaze.images.atomic import atomic_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JsonLog", "TensorBoardLog", "write_strips"]


class JsonLog:
    """A JSONL file that is appended to, one flushed line at a time.

    Args:
        path: The file; folders are made.
        resume_at: Drop lines whose ``step`` is above this: they belong to work that was lost and is done again. Lines
            that a crash has damaged are dropped, too.

    Raises:
        OutputError: The file cannot be read or written.
    """

    def __init__(self, path: str | Path, *, resume_at: int | None = None) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if resume_at is not None and self.path.exists():
                self._cut(resume_at)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, **values: Any) -> None:
        """Append one object; floats are rounded to six digits.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in values.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rounded) + "\n")
        except OSError as error:
            raise self._failure(error) from error

    def _cut(self, step: int) -> None:
        """Drop lines of later steps, and what is no line of a log: the end of one that a crash has cut, or worse."""
        before = self.path.read_bytes()
        kept = b"".join(line + b"\n" for line in before.splitlines() if _step_of(line) <= step)
        if kept != before:
            with atomic_output(self.path, overwrite=True) as temporary:
                temporary.write_bytes(kept)

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(
            f"The log {self.path} cannot be written ({error.strerror or error}); free some space or mend its "
            "permissions, and go on with --resume auto."
        )


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
    _, encoded = cv2.imencode(".png", cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2BGR))
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _to_color(picture: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    pixels = np.asarray(np.clip(np.nan_to_num(picture) * 255 + 0.5, 0, 255), np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _step_of(line: bytes) -> int:
    """The step of a line; a line cut off by a crash belongs to lost work."""
    try:
        return int(json.loads(line).get("step", 0))
    except (ValueError, AttributeError, TypeError):
        return 2**62
