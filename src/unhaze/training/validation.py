"""Scores of held-out samples, and strips of pictures that show what they are about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor

from unhaze.data.batch import Batch, collate
from unhaze.data.dataset import Sample
from unhaze.evaluation.protocols import get_protocol
from unhaze.evaluation.scoring import score_picture
from unhaze.images.atomic import atomic_output
from unhaze.models.base import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Validation", "one_by_one", "score_network", "write_strips"]

_SHOWN = 6  # rows of a strip


class Validation:
    """Mean scores over samples that were restored one by one.

    Args:
        protocol: Name of a protocol (``unhaze.evaluation``); its PSNR and SSIM are taken.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = get_protocol(protocol)
        self._values: dict[str, list[float]] = {"psnr": [], self._protocol.ssim_metric: []}
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, batch: Batch, restored: Tensor) -> None:
        """Score a sample.

        Args:
            batch: The sample alone.
            restored: (1, 3, H, W), what a network made of it; values beyond [0, 1] are clipped.
        """
        restored = restored.clamp(0, 1)
        found = score_picture(
            restored.double(), target=batch.clear.double(), protocol=self._protocol, metrics=tuple(self._values)
        )
        for name, value in found.values.items():
            self._values[name].append(min(value, 100.0))
        if len(self._rows) < _SHOWN:
            self._rows.append((batch.hazy, restored, batch.clear))

    def scores(self) -> dict[str, float]:
        """Means: ``psnr`` [dB] and ``ssim``."""
        return {
            name if name == "psnr" else "ssim": float(np.mean(values))
            for name, values in self._values.items()
            if values
        }

    def write_strips(self, path: Path) -> None:
        """Write the first samples as PNG: hazy | restored | clear, cut to the size of the smallest."""
        if self._rows:
            height, width = (min(row[0].shape[axis] for row in self._rows) for axis in (-2, -1))
            write_strips(
                path,
                [
                    [each[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy() for each in row]
                    for row in self._rows
                ],
            )


@torch.no_grad()
def score_network(
    network: Model, samples: Sequence[Sample], protocol: str, device: torch.device, strips: Path | None = None
) -> dict[str, float]:
    """Mean scores of a network that needs the hazy picture alone; see :class:`Validation`.

    Args:
        network: In evaluation mode.
        samples: To score.
        protocol: Name of a protocol.
        device: Where the network is.
        strips: PNG to write.
    """
    validation = Validation(protocol)
    for batch in one_by_one(samples, device):
        validation.add(batch, network.restore(batch.hazy).image)
    if strips is not None:
        validation.write_strips(strips)
    return validation.scores()


def one_by_one(samples: Sequence[Sample], device: torch.device) -> Iterator[Batch]:
    """Every sample as a batch of one, whatever its size, on a device."""
    return (collate([sample]).to(device) for sample in samples)


def write_strips(path: str | Path, rows: Sequence[Sequence[NDArray[np.floating[Any]]]]) -> None:
    """Write pictures side by side, one strip per row, as PNG.

    Args:
        path: The file; folders are made.
        rows: Of pictures (h, w, 3) or (h, w) in [0, 1]; the same number in each row and the same size everywhere.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    strips = []
    for row in rows:
        scaled = (np.clip(np.nan_to_num(picture) * 255 + 0.5, 0, 255).astype(np.uint8) for picture in row)
        strips.append(np.hstack([each if each.ndim == 3 else np.repeat(each[..., None], 3, axis=2) for each in scaled]))
    _, encoded = cv2.imencode(".png", cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2BGR))
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_bytes(encoded.tobytes())
