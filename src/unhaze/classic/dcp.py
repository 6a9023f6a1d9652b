"""Dark channel prior: in a clear outdoor picture nearly every patch holds a pixel that is dark in some channel.

Paper: K. He, J. Sun, X. Tang, "Single Image Haze Removal Using Dark Channel Prior", IEEE TPAMI 33(12), 2011.
Deviations: the transmission is estimated on a small view and aligned to the edges by a fast guided filter instead of
soft matting, and the airlight is the mean of the haziest pixels, which is steadier than the brightest one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.classic.base import HazeEstimate, relative_odd_size
from unhaze.physics.airlight import brightest_dark_pixels
from unhaze.physics.priors import dark_channel, dark_channel_transmission
from unhaze.types import ModelInfo

if TYPE_CHECKING:
    from unhaze.classic.base import FloatArray

# 15 pixels on the 600-pixel pictures of the paper
PATCH = 15 / 600


class DarkChannelPrior:
    """He, Sun and Tang 2011, Eqs. 5-12."""

    info = ModelInfo(
        name="dcp",
        summary="Dark channel prior with guided filter: strong, quick, fits most outdoor scenes.",
        paper="He, Sun, Tang: Single Image Haze Removal Using Dark Channel Prior. TPAMI 2011.",
        url="https://doi.org/10.1109/TPAMI.2010.168",
    )

    def estimate(self, view: FloatArray) -> HazeEstimate:
        """Estimate the haze of ``view``, (h, w, 3) float32 RGB in [0, 1]."""
        patch = relative_odd_size(view, PATCH)
        airlight = brightest_dark_pixels(view, dark_channel(view, patch))
        return HazeEstimate(dark_channel_transmission(view, airlight, patch), airlight)
