"""What all depth estimators have in common."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.types import DepthKind, DepthLevel, DepthMap

__all__ = ["DepthEstimator", "announce_license", "at_own_size", "at_size_of", "gives_features"]

torch.export.register_dataclass(DepthMap, serialized_type_name="unhaze.types.DepthMap")

_announced: set[str] = set()


class DepthEstimator(nn.Module):
    """Estimates depth from one image.

    Attributes:
        name: In the catalogue; empty for one that is not from there.
        identity: What the result depends on, weights included: the name in the catalogue, then facts, separated by
            slashes. Results are cached under it.
        kind: What the numbers of the map mean, and with it which end is near.
        levels: Channels and stride of the features, fine to coarse. An estimator without features declares its map:
            one channel, stride 1.
        license: Licence of the weights, SPDX name or a few words.
        commercial: Whether that licence allows commercial use; ``None`` where it does not say.
    """

    name: str = ""
    identity: str = ""
    kind: DepthKind = "inverse_relative"
    levels: tuple[DepthLevel, ...] = (DepthLevel(1, 1),)
    license: str = "none stated"
    commercial: bool | None = None

    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """Estimate depth.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], sRGB-encoded, of any size; the estimator sees it at its own size.

        Returns:
            ``map`` (B, 1, H, W), and ``features`` as :attr:`levels` declares them, at whatever size the estimator
            works; empty where it has none.
        """
        raise NotImplementedError


def at_own_size(image: Tensor, longest: int, multiple: int) -> Tensor:
    """An image (B, 3, H, W) resized so that its long side is near ``longest`` and both are multiples of ``multiple``.

    The aspect ratio is kept to within rounding. Shrinking is antialiased.
    """
    height, width = image.shape[-2:]
    scale = longest / max(height, width)
    size = [max(multiple, round(side * scale / multiple) * multiple) for side in (height, width)]
    if size == [height, width]:
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def at_size_of(image: Tensor, depth: Tensor) -> Tensor:
    """A map (B, 1, h, w) at the size, and of the type, of the image that it belongs to, bilinearly."""
    if depth.shape[-2:] != image.shape[-2:]:
        depth = F.interpolate(depth, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return depth.to(image)


def gives_features(estimator: DepthEstimator) -> bool:
    """Whether an estimator gives more than a map."""
    return tuple(estimator.levels) != DepthEstimator.levels


def announce_license(estimator: DepthEstimator) -> None:
    """Log, as a warning and once per estimator and process, under which licence its weights are.

    Without a configuration of :mod:`logging`, the line goes to stderr.
    """
    use = {True: "commercial use is allowed", False: "not for commercial use", None: "commercial use is not settled"}
    name = estimator.identity.partition("/")[0] or type(estimator).__name__
    line = f"Licence of the weights of {name}: {estimator.license}; {use[estimator.commercial]}."
    if line not in _announced:
        _announced.add(line)
        logging.getLogger(__name__).warning(line)
