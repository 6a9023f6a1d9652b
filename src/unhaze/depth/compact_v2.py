"""Depth by a small network of ours that was taught to find in a hazy picture what it finds in the clear one.

Own design, see ``docs/models/compact-v2.md``; the network is :mod:`unhaze.depth.lite_network`, its training
:mod:`unhaze.recipes.depth_estimation`. No weights ship with unhaze: those that were trained are no better than the ones
of ``compact``. It runs in onnxruntime. Deviations: none. No gradients pass through it.

It gives the logarithm of the inverse depth, and its exponential is inverse depth up to scale and shift: near is large.
"""

from __future__ import annotations

from pathlib import Path

from unhaze.depth.compact import CompactDepth

__all__ = ["OUTPUT", "CompactV2Depth", "compact_v2"]

OUTPUT = "log_inverse_depth"


class CompactV2Depth(CompactDepth):
    """Inverse depth up to scale and shift, near is large; no features. Arguments and errors as its parent's."""

    kind = "inverse_relative"
    catalogue_name = "compact-v2"
    output = OUTPUT
    shipped = None


def compact_v2(weights: str | Path | None = None) -> CompactV2Depth:
    """The network taught on clear and hazed views; arguments and errors as for :class:`CompactV2Depth`."""
    return CompactV2Depth(weights)
