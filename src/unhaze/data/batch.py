"""Samples as a batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unhaze.errors import UsageError
from unhaze.models.layers.depth_view import nearness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.data.dataset import Sample
    from unhaze.types import DepthMap

__all__ = ["Batch", "collate"]


class Batch(NamedTuple):
    """Samples as tensors.

    Attributes:
        hazy, clear: (B, 3, H, W) in [0, 1].
        nearness: (B, 1, H, W) in [0, 1], 1 where the whole picture is nearest; 0 everywhere where depth is not known.
        depth_known: (B,) bool.
        skipped: Names and messages of pairs that could not be read.
        features: Feature maps (B, C, h, w) of the depth of these views, fine to coarse; empty where there are none.
    """

    hazy: Tensor
    clear: Tensor
    nearness: Tensor
    depth_known: Tensor
    skipped: tuple[tuple[str, str], ...]
    features: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        hazy, clear, near, known, skipped, features = self
        return Batch(
            hazy.to(device),
            clear.to(device),
            near.to(device),
            known.to(device),
            skipped,
            tuple(each.to(device) for each in features),
        )

    def parts(self, count: int) -> list[Batch]:
        """Cut into ``count`` batches of equal size, for accumulation."""
        if len(self.hazy) % count:
            raise UsageError(f"A batch of {len(self.hazy)} cannot be cut into {count} equal parts; change accumulate.")
        hazy, clear, near, known = (
            part.chunk(count) for part in (self.hazy, self.clear, self.nearness, self.depth_known)
        )
        features = [each.chunk(count) for each in self.features]
        return [
            Batch(
                hazy[i],
                clear[i],
                near[i],
                known[i],
                () if i else self.skipped,
                tuple(each[i] for each in features),
            )
            for i in range(count)
        ]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; give it to a ``DataLoader`` as ``collate_fn``.

    Raises:
        UsageError: The samples have several sizes.
    """
    sizes = {sample.hazy.shape for sample in samples}
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for height, width, _ in sorted(sizes)[:3])
        raise UsageError(f"Pictures of several sizes ({shown} px) make no batch; crop them, or take batches of one.")

    def pictures(name: str) -> Tensor:
        stacked = np.stack([getattr(sample, name) for sample in samples])
        pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    def near(depth: DepthMap[NDArray[np.floating[Any]]] | None) -> NDArray[np.float32]:
        if depth is None:
            return np.zeros(samples[0].hazy.shape[:2], np.float32)
        if depth.kind == "inverse_relative":  # nearness already, see ``depth_as_nearness``
            return np.clip(depth.map, 0, 1).astype(np.float32)
        return nearness(torch.from_numpy(np.ascontiguousarray(depth.map))[None, None], depth.kind)[0, 0].numpy()

    features = [sample.meta.get("depth_features", ()) for sample in samples]
    return Batch(
        pictures("hazy"),
        pictures("clear"),
        torch.from_numpy(np.stack([near(sample.depth) for sample in samples]))[:, None],
        torch.tensor([sample.depth is not None for sample in samples]),
        tuple(entry for sample in samples for entry in sample.meta.get("skipped", ())),
        tuple(torch.from_numpy(np.concatenate(level)) for level in zip(*features, strict=True)),
    )
