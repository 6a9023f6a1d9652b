"""DE, the depth network that DCMPNet trains beside its dehazing network.

Paper: Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing",
CVPR 2024.
Official code: zhoushen1/DCMPNet at e21e2a0 (MIT), class ``DN``.
Deviations: none from the code, which has no connections where the paper's text says "U-Net"; pictures are brought to
the scale of its training pictures first.

It learns RA-Depth's sigmoid disparity of clear pictures, so near is large. Its output is linear and not bounded.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from unhaze.depth._weights import digest, fill, refuse_noise
from unhaze.depth.base import DepthEstimator, at_own_size, at_size_of
from unhaze.errors import UsageError
from unhaze.models.base import rename_keys
from unhaze.models.checkpoints.reading import read_weights
from unhaze.models.layers.dense_depth import DEPTH_KEYS, DenseDepthNetwork
from unhaze.types import DepthLevel, DepthMap

__all__ = ["DCMPNetDepth", "dcmpnet_de"]

CHANNELS = (24, 48, 96, 128)
MULTIPLE = 16
TRAINING_SIDE = 624  # the pictures of RESIDE's indoor set are 620 x 460


class DCMPNetDepth(DepthEstimator):
    """Disparity up to scale and shift, near is large; features of the blocks on the way up, 1/2 to 1/16.

    Args:
        longest: Longest side of what the network sees [px]; both sides become multiples of 16.

    Raises:
        UsageError: ``longest`` is too small.
    """

    kind = "inverse_relative"
    levels = tuple(DepthLevel(channels, 2 << i) for i, channels in enumerate(CHANNELS))
    license = "MIT"
    commercial = True

    def __init__(self, longest: int = TRAINING_SIDE) -> None:
        super().__init__()
        if longest < MULTIPLE:
            raise UsageError(f"longest is {longest}, but dcmpnet-de needs at least {MULTIPLE} pixels.")
        self.longest = longest
        self.network = DenseDepthNetwork(CHANNELS)

    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """See :meth:`DepthEstimator.forward`; (B, 3, H, W) to a map (B, 1, H, W)."""
        pixels = at_own_size(image.float(), self.longest, MULTIPLE).to(self.network.head.weight.dtype)
        disparity, features = self.network.with_features(2 * pixels - 1)
        return DepthMap(at_size_of(image, disparity), "inverse_relative", features)


def dcmpnet_de(
    weights: str | Path | None = None, *, longest: int = TRAINING_SIDE, untrained: bool = False
) -> DCMPNetDepth:
    """DE with official or own weights.

    Args:
        weights: The official checkpoint of ``DN``, or a file with a ``DenseDepthNetwork`` under our names.
        longest: Longest side of what the network sees [px].
        untrained: Random weights, to be trained or for tests; the depth is noise.

    Raises:
        WeightsNotFoundError: No weights were named, or the file is missing.
        UsageError: The weights are damaged or do not fit, or an option cannot work.
    """
    refuse_noise("dcmpnet-de", weights, untrained, "a checkpoint of DCMPNet's depth network")
    estimator = DCMPNetDepth(longest)
    if weights is not None:
        fill(estimator.network, rename_keys(read_weights(weights).tensors, DEPTH_KEYS), weights, "dcmpnet-de")
    estimator.identity = f"dcmpnet-de/{longest}/{digest(estimator)}"
    return estimator
