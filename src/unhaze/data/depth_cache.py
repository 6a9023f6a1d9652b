"""Where the depth of a sample comes from.

Estimating depth is far slower than training on it, so it is estimated once and kept on disk by
:mod:`unhaze.depth`. This module only says what a data set expects of whatever gives it depth: a cache, an estimator,
or a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unhaze.types import DepthMap

__all__ = ["DepthSource"]


@runtime_checkable
class DepthSource(Protocol):
    """Gives the depth of a picture; called once per sample, before anything is cut or turned.

    It must be deterministic. With workers it is copied into each, so it must be picklable and open its files late.
    """

    def __call__(self, pixels: NDArray[np.uint8], name: str) -> DepthMap[NDArray[np.float32]] | None:
        """Depth of one whole picture.

        Args:
            pixels: (H, W, 3) uint8 RGB; may be read-only.
            name: Name of the pair.

        Returns:
            (H, W) float32 with its kind, which says which end is near; ``None`` where the depth is not known. Features
            (1, C, h, w) of the whole picture go to the sample's ``meta["depth_features"]``, uncut.
        """
        ...
