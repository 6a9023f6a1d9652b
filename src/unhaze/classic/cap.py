"""Colour attenuation prior: the deeper the haze, the brighter and the less saturated the picture.

Paper: Q. Zhu, J. Mai, L. Shao, "A Fast Single Image Haze Removal Algorithm Using Color Attenuation Prior", IEEE TIP
24(11), 2015. Deviations: the fast guided filter on a small view takes the place of the full-resolution one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unhaze.classic.base import HazeEstimate, relative_odd_size
from unhaze.physics.airlight import brightest_dark_pixels
from unhaze.physics.priors import color_attenuation_depth, color_attenuation_transmission
from unhaze.types import ModelInfo

if TYPE_CHECKING:
    from unhaze.classic.base import FloatArray

PATCH = 15 / 600


class ColorAttenuationPrior:
    """Zhu, Mai and Shao 2015, Eqs. 8-23."""

    info = ModelInfo(
        name="cap",
        summary="Colour attenuation prior: gentle, never breaks a picture, leaves dense fog in place.",
        paper="Zhu, Mai, Shao: A Fast Single Image Haze Removal Algorithm Using Color Attenuation Prior. TIP 2015.",
        url="https://doi.org/10.1109/TIP.2015.2446191",
    )

    def estimate(self, view: FloatArray) -> HazeEstimate:
        """Estimate the haze of ``view``, (h, w, 3) float32 RGB in [0, 1]."""
        depth = color_attenuation_depth(view, relative_odd_size(view, PATCH))
        # the farthest 0.1 % of the picture stand for the airlight, as the darkest patches do in the dark channel prior
        airlight = brightest_dark_pixels(view, depth)
        return HazeEstimate(color_attenuation_transmission(np.maximum(depth, 0)), airlight)
