"""A model that finds haze: the airlight is the brightest colour, and haze is what looks like it."""

from __future__ import annotations

import numpy as np

from unhaze.models import HazeEstimate, ModelInfo


class BrightestPixel:
    """What is near the brightest colour of the picture is hazy."""

    info = ModelInfo(
        name="brightest",
        summary="What is near the brightest colour of the picture is hazy; an example, not a good model.",
        paper="An example.",
        url="https://example.org",
    )

    def estimate(self, view: np.ndarray) -> HazeEstimate:
        """Estimate the haze of ``view``, (h, w, 3) float32 RGB in [0, 1]."""
        brightness = view.mean(axis=2)
        airlight = view.reshape(-1, 3)[brightness.argmax()].clip(0.05, 1)
        distance = np.abs(view - airlight).max(axis=2)
        return HazeEstimate((0.3 + 0.7 * distance).astype(np.float32), airlight.astype(np.float32))
