"""Settings of the depth networks that ship."""

from __future__ import annotations

from unhaze.recipes import depth_estimation

__all__ = ["compact_v2"]


def compact_v2() -> depth_estimation.Config:
    """The depth estimator compact-v2: from the default's weights, clear and hazed views of scenes with depth."""
    return depth_estimation.Config()
