"""Scenes so small that a study of them takes no time."""

from __future__ import annotations

import numpy as np

from unhaze.evaluation.studies.scenes import ClearScene


def scenes(count=3, height=24, width=32, depth=5.0):
    """Random pictures; depth grows from top to bottom up to ``depth``."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0.2, 1, height, dtype=np.float32)[:, None] * np.float32(depth)
    return [
        ClearScene(
            f"{i}.png",
            np.float32(rng.integers(0, 256, (height, width, 3))) / np.float32(255),
            np.ascontiguousarray(np.broadcast_to(ramp, (height, width))),
        )
        for i in range(count)
    ]
