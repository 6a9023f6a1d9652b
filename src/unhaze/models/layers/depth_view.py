"""Depth of a whole picture, as a network needs it: at any size, and for any part of the picture.

Depth is estimated once on the whole picture. A tile takes its part of it, and each stage of a network takes that part
at the size of its own features. Both are one bilinear sampling of the estimator's maps, so a tile sees exactly what it
would see in the whole picture, and nothing large is ever stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.types import DepthKind, DepthMap

__all__ = ["DepthView", "nearness"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class DepthView:
    """Depth of a part of a picture.

    Attributes:
        nearness: (B, 1, h, w) in [0, 1], 1 where the whole picture is nearest, see :func:`nearness`.
        features: Feature maps (B, C, h, w) of the estimator, fine to coarse. Where it has none, ``nearness`` alone.
        box: Top, left, bottom and right edge of the part, as shares of the picture's sides. Beyond 0 and 1 the border
            goes on.
        restored: Depth of what a network made of the picture so far, for plug-ins that compare the two.
    """

    nearness: Tensor
    features: tuple[Tensor, ...]
    box: Box = (0.0, 0.0, 1.0, 1.0)
    restored: DepthView | None = None

    @classmethod
    def of(cls, depth: DepthMap[Tensor], restored: DepthMap[Tensor] | None = None) -> DepthView:
        """The whole of an estimator's output.

        Args:
            depth: Depth of the hazy picture; ``map`` (B, 1, H, W).
            restored: Depth of its restoration, by the same estimator; the same shapes.
        """
        near = nearness(depth.map, depth.kind)
        return cls(near, depth.features or (near,), restored=None if restored is None else cls.of(restored))

    def crop(self, top: float, left: float, bottom: float, right: float) -> DepthView:
        """The part within these edges, shares of the sides of this view."""
        y0, x0, y1, x1 = self.box
        tall, wide = y1 - y0, x1 - x0
        box = (y0 + top * tall, x0 + left * wide, y0 + bottom * tall, x0 + right * wide)
        restored = None if self.restored is None else self.restored.crop(top, left, bottom, right)
        return replace(self, box=box, restored=restored)

    def mapped(self, level: int, function: Callable[[Tensor], Tensor]) -> DepthView:
        """The same view with ``function`` of one feature map in its place.

        The function gets the map of the whole picture, (B, C, h, w), at the size at which the estimator gave it. So
        convolutions see beyond the edges of a part, and reducing channels here costs less than after
        :meth:`feature_at`.
        """
        features = list(self.features)
        features[level] = function(features[level])
        return replace(self, features=tuple(features))

    def nearness_at(self, size: tuple[int, int]) -> Tensor:
        """``nearness`` of the view at (rows, columns): (B, 1, rows, columns)."""
        return _sample(self.nearness, self.box, size)

    def feature_at(self, level: int, size: tuple[int, int]) -> Tensor:
        """The feature map of a level at (rows, columns): (B, C, rows, columns)."""
        return _sample(self.features[level], self.box, size)


def nearness(depth: Tensor, kind: DepthKind) -> Tensor:
    """Depth of any kind on one scale: 1 for the nearest pixel of each picture, 0 for the farthest.

    Metric depth is inverted first, because that is what estimators of inverse depth give up to scale and shift.

    Args:
        depth: (B, 1, H, W).
        kind: What its numbers mean, see :class:`~unhaze.types.DepthMap`.

    Returns:
        (B, 1, H, W) in [0, 1]; 0 everywhere where the depth is flat.

    >>> nearness(torch.tensor([[[[1.0, 2.0, 5.0]]]]), "relative").flatten().tolist()
    [1.0, 0.75, 0.0]
    >>> nearness(torch.tensor([[[[1.0, 2.0, 3.0]]]]), "metric").flatten()
    tensor([1.0000, 0.2500, 0.0000])
    """
    if kind == "metric":
        depth = 1 / depth.clamp(min=1e-3)  # [1/m]
    elif kind == "relative":
        depth = -depth
    low, high = depth.amin((1, 2, 3), keepdim=True), depth.amax((1, 2, 3), keepdim=True)
    return (depth - low) / (high - low).clamp(min=1e-8)


def _sample(maps: Tensor, box: Box, size: tuple[int, int]) -> Tensor:
    """Bilinear sampling of the part ``box``; for the whole it is that of ``F.interpolate`` without antialiasing."""
    if box == (0.0, 0.0, 1.0, 1.0):
        if maps.shape[-2:] == torch.Size(size):
            return maps
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    top, left, bottom, right = box
    rows = _weights(size[0], maps.shape[-2], top, bottom, maps)
    columns = _weights(size[1], maps.shape[-1], left, right, maps)
    return rows @ maps @ columns.mT


def _weights(wanted: int, given: int, start: float, stop: float, like: Tensor) -> Tensor:
    """(wanted, given) matrix of linear interpolation between pixel centres, constant beyond the border."""
    centres = torch.arange(wanted, device=like.device, dtype=torch.float64).add(0.5).div(wanted)
    position = ((start + centres * (stop - start)) * given - 0.5).clamp(0, given - 1)
    distance = position[:, None] - torch.arange(given, device=like.device, dtype=torch.float64)
    return (1 - distance.abs()).clamp(min=0).to(like.dtype)
