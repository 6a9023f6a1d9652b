"""How much memory a network needs for a picture, found out without computing anything."""

from __future__ import annotations

import copy
import weakref
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from unhaze.models.base import Model
from unhaze.models.guided import GuidedDehazer
from unhaze.models.layers.depth_view import DepthView

NetworkT = TypeVar("NetworkT", bound="Model | GuidedDehazer")
_ESTIMATED_AT = 518  # long side at which estimators see a picture, about [px]

__all__ = ["PeakMeter", "peak_activations", "skeleton"]


class PeakMeter(TorchDispatchMode):
    """Adds up the memory of all tensors that are made within it, and remembers the most at one time.

    Attributes:
        peak: Bytes. What a single operation takes aside while it runs is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: dict[int, int] = {}
        self._total = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and take note of its outputs."""
        outputs = operation(*args, **(kwargs or {}))
        for output in tree_iter(outputs):
            if isinstance(output, Tensor):
                storage = output.untyped_storage()
                key = storage._cdata  # the one number that views of a storage share
                if key not in self._live:
                    self._live[key] = storage.nbytes()
                    self._total += self._live[key]
                    self.peak = max(self.peak, self._total)
                    weakref.finalize(storage, self._remove, key)
        return outputs

    def _remove(self, key: int) -> None:
        self._total -= self._live.pop(key)


def skeleton(network: NetworkT) -> NetworkT:
    """A copy without numbers and without depth estimator, which computes shapes only."""
    if not isinstance(network, GuidedDehazer):
        return copy.deepcopy(network).to("meta")
    blind = GuidedDehazer(network.backbone, network.fusions, spec=network.spec)
    return cast("NetworkT", copy.deepcopy(blind.train(network.training)).to("meta"))


def peak_activations(meta_network: Model | GuidedDehazer, height: int, width: int) -> int:
    """Most bytes of tensors alive at one time while a network restores a picture, weights not counted.

    What a depth estimator takes is not counted.

    Args:
        meta_network: From :func:`skeleton`.
        height: Rows [px].
        width: Columns [px].
    """
    image = torch.empty(1, 3, height, width, device="meta").to(memory_format=torch.channels_last)
    with torch.no_grad(), PeakMeter() as meter:
        if isinstance(meta_network, GuidedDehazer):
            # depth without numbers, of the shapes that an estimator gives
            assert meta_network.spec is not None
            levels = meta_network.spec.levels
            sides = [max(1, int(_ESTIMATED_AT / level.stride)) for level in levels]
            maps = [torch.empty(1, level.channels, n, n, device="meta") for level, n in zip(levels, sides, strict=True)]
            view = DepthView(torch.empty(1, 1, _ESTIMATED_AT, _ESTIMATED_AT, device="meta"), tuple(maps))
            blank_depth = replace(view, restored=view) if meta_network.fusions.compares else view
            meta_network.restore(image, blank_depth)
        else:
            meta_network.restore(image)
    peak: int = meter.peak
    return peak
