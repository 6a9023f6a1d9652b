"""Boundary constraint and contextual regularisation: scene colours lie inside a cube, and depth jumps at edges only.

Paper: G. Meng, Y. Wang, J. Duan, S. Xiang, C. Pan, "Efficient Image Dehazing with Boundary Constraint and Contextual
Regularization", ICCV 2013. Deviations: solved on a small view, aligned to the edges by a fast guided filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unhaze.classic.base import HazeEstimate, relative_odd_size
from unhaze.physics.airlight import brightest_dark_pixels
from unhaze.physics.priors import boundary_transmission, contextual_regularization, dark_channel
from unhaze.types import ModelInfo

if TYPE_CHECKING:
    from unhaze.classic.base import FloatArray

AIRLIGHT_PATCH = 15 / 600
PATCH = 7 / 600
SOFTENING = 0.85  # exponent on the transmission in the authors' code, which the paper leaves out
LEAST = 1e-3  # the regularised map may overshoot


class BoundaryConstraint:
    """Meng et al. 2013, Eqs. 7-21."""

    info = ModelInfo(
        name="bccr",
        summary="Boundary constraint with contextual regularisation: crisp edges, bright scenes keep their whites.",
        paper="Meng et al.: Efficient Image Dehazing with Boundary Constraint and Contextual Regularization. 2013.",
        url="https://doi.org/10.1109/ICCV.2013.82",
    )

    def estimate(self, view: FloatArray) -> HazeEstimate:
        """Estimate the haze of ``view``, (h, w, 3) float32 RGB in [0, 1]."""
        airlight = brightest_dark_pixels(view, dark_channel(view, relative_odd_size(view, AIRLIGHT_PATCH)))
        bound = boundary_transmission(view, airlight, patch=relative_odd_size(view, PATCH))
        smooth = np.clip(contextual_regularization(bound, view), LEAST, 1)
        return HazeEstimate(smooth ** np.float32(SOFTENING), airlight)
