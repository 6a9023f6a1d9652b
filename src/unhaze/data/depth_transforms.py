"""Transforms of samples with depth: what a network is told of a whole picture, cut with the views of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from unhaze.data.dataset import Sample
from unhaze.data.transforms import View
from unhaze.models.layers.depth_view import DepthView, nearness
from unhaze.types import DepthMap

__all__ = ["FeatureCut", "depth_as_nearness"]


def depth_as_nearness(sample: Sample, _rng: np.random.Generator) -> Sample:
    """Depth as nearness within the whole picture, before it is cut."""
    if sample.depth is None:
        return sample
    whole = torch.from_numpy(np.ascontiguousarray(sample.depth.map, np.float32))[None, None]
    near = nearness(whole, sample.depth.kind)[0, 0].numpy()
    return Sample(sample.hazy, sample.clear, DepthMap(near, "inverse_relative"), sample.name, sample.meta)


@dataclass(frozen=True, slots=True)
class FeatureCut:
    """Features of the depth of a whole picture, cut, mirrored and turned like the view that a sample shows of it.

    Attributes:
        sides: Rows and columns of each feature map of a view, so that views of pictures of several sizes make a batch;
            if empty, as many as fall on the view.
    """

    sides: tuple[int, ...] = ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws nothing; the last of all transforms."""
        features = sample.meta.get("depth_features", ())
        if not features:
            return sample
        view: View = sample.meta["view"]
        sizes = [(side, side) for side in self.sides]
        if not sizes:  # as many rows and columns of the whole picture's maps as fall on the view
            height, width = view.resized
            shapes = [each.shape[-2:] for each in features]
            sizes = [
                (max(1, round(view.height * rows / height)), max(1, round(view.width * columns / width)))
                for rows, columns in shapes
            ]
        cut = tuple(_cut(each, view, size) for each, size in zip(features, sizes, strict=True))
        return replace(sample, meta={**sample.meta, "depth_features": cut})


def _cut(features: Any, view: View, size: tuple[int, int]) -> Any:
    """(1, C, h, w) of the whole picture to (1, C, *size) of a view, sampled as in the whole picture."""
    whole = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    (height, width), bottom, right = view.resized, view.top + view.height, view.left + view.width
    box = (view.top / height, view.left / width, bottom / height, right / width)
    part = DepthView(whole, (whole,), box).feature_at(0, size)
    part = part.flip([axis for axis, mirrored in ((-1, view.flip_x), (-2, view.flip_y)) if mirrored])
    return part.rot90(view.turns, (-2, -1)).contiguous().numpy()
