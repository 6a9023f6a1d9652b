"""Samples as a batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UsageError
from unhaze.types import DepthMap

if TYPE_CHECKING:
    from torch import Tensor

    from unhaze.data.dataset import Sample

__all__ = ["Batch", "collate"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size.

    Attributes:
        hazy, clear: (B, 3, H, W) RGB: uint8 from :func:`collate`, float32 in [0, 1] from :meth:`as_float`.
        depth: (B, 1, H, W) float32 with its kind, where every sample has depth of one kind; else ``None``.
        names: Of the samples.
        meta: Of the samples.
    """

    hazy: Tensor
    clear: Tensor
    depth: DepthMap[Tensor] | None
    names: tuple[str, ...]
    meta: tuple[Any, ...]

    def as_float(self, device: Any = None) -> Batch:
        """The batch on a device, pictures as float32 in [0, 1]; bytes are moved, which are a quarter.

        Args:
            device: Of torch; ``None`` for where the batch is.
        """
        return replace(
            self,
            hazy=_unit(self.hazy, device),
            clear=_unit(self.clear, device),
            depth=None if self.depth is None else replace(self.depth, map=self.depth.map.to(device)),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; give it to a ``DataLoader`` as ``collate_fn``, and call :meth:`Batch.as_float` on what comes.

    Pictures stay bytes on their way from the workers: floats would double what a crop from packed pixels costs.

    Raises:
        UsageError: The samples have several sizes.
    """
    import torch

    sizes = {sample.hazy.shape for sample in samples}
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for height, width, _ in sorted(sizes)[:3])
        raise UsageError(f"Pictures of several sizes ({shown} px) make no batch; crop them, or take batches of one.")

    def pictures(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples])).permute(0, 3, 1, 2)

    maps = [sample.depth for sample in samples if sample.depth is not None]
    depth = None
    if len(maps) == len(samples) and len({each.kind for each in maps}) == 1:
        depth = DepthMap(torch.from_numpy(np.stack([each.map for each in maps]))[:, None], maps[0].kind)
    return Batch(
        hazy=pictures("hazy"),
        clear=pictures("clear"),
        depth=depth,
        names=tuple(sample.name for sample in samples),
        meta=tuple(sample.meta for sample in samples),
    )


def _unit(pictures: Tensor, device: Any) -> Tensor:
    import torch

    moved = pictures.to(device)
    if moved.is_floating_point():
        return moved
    # rows of pixels become planes in the same pass, in half the time of two
    return moved.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
