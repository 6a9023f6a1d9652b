"""The sRGB tone curve and luminance.

The tone curve works on numpy arrays, torch tensors and plain numbers alike; torch is used only where a tensor comes in,
and never imported here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.types import FloatMap

__all__ = ["Space", "array_namespace", "linear_to_srgb", "luminance", "srgb_to_linear"]

Space = Literal["srgb", "linear"]
"""The light in which a formula is applied: sRGB-encoded values as they are, or values proportional to light."""

ArrayT = TypeVar("ArrayT")

# IEC 61966-2-1:1999, sections 5.2 and 5.3
_ENCODED_KNEE, _LINEAR_KNEE = 0.04045, 0.0031308
_SLOPE, _OFFSET, _GAMMA = 12.92, 0.055, 2.4


def array_namespace(array: Any) -> Any:
    """The module whose functions work on ``array``: torch for a tensor, numpy for everything else.

    >>> array_namespace(1.0).__name__
    'numpy'
    """
    # a tensor exists only where torch is imported already, so looking it up never loads it
    root = type(array).__module__.partition(".")[0]
    return sys.modules["torch"] if root == "torch" else np


def srgb_to_linear(x: ArrayT) -> ArrayT:
    """Decode sRGB values to linear light (IEC 61966-2-1, section 5.2).

    Args:
        x: Encoded values, (H, W, 3) or any other shape, nominally in [0, 1]: array, tensor or number. Negative values
            follow the odd extension of the curve and values above 1 its power law, so that the curve can be inverted
            everywhere.

    Returns:
        Linear values; type, shape and floating type of ``x``.

    >>> round(srgb_to_linear(0.5), 6)
    0.214041
    """
    xp: Any = array_namespace(x)
    encoded: Any = x
    magnitude = xp.abs(encoded)
    power = ((magnitude + _OFFSET) / (1 + _OFFSET)) ** _GAMMA
    linear = xp.where(magnitude <= _ENCODED_KNEE, encoded / _SLOPE, xp.sign(encoded) * power)
    return _like(x, linear)


def linear_to_srgb(x: ArrayT) -> ArrayT:
    """Encode linear light as sRGB values (IEC 61966-2-1, section 5.3); the inverse of :func:`srgb_to_linear`.

    Args:
        x: Linear values, (H, W, 3) or any other shape, nominally in [0, 1]: array, tensor or number. Values outside
            are handled as by :func:`srgb_to_linear`.

    Returns:
        Encoded values; type, shape and floating type of ``x``.

    >>> round(linear_to_srgb(0.214041), 6)
    0.5
    """
    xp: Any = array_namespace(x)
    linear: Any = x
    magnitude = xp.abs(linear)
    # the root is fed from above the knee only: its infinite slope at 0 would poison gradients of the straight part
    power = (1 + _OFFSET) * xp.clip(magnitude, _LINEAR_KNEE, None) ** (1 / _GAMMA) - _OFFSET
    encoded = xp.where(magnitude <= _LINEAR_KNEE, linear * _SLOPE, xp.sign(linear) * power)
    return _like(x, encoded)


def luminance(rgb: NDArray[Any]) -> FloatMap:
    """Grey version of a picture: Rec. 601 luma, Y = 0.299 R + 0.587 G + 0.114 B, of the values as they are encoded.

    Args:
        rgb: (H, W, 3) RGB float, nominally in [0, 1].

    Returns:
        (H, W) float32 in the same range.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(rgb, np.float32), cv2.COLOR_RGB2GRAY)  # ITU-R BT.601-7, section 2.5.1
    return np.asarray(grey, np.float32)


def _like(x: ArrayT, result: Any) -> ArrayT:
    """A plain number for a plain number: a numpy scalar would turn float32 arrays it meets into float64."""
    values: Any = float(result) if isinstance(x, int | float) else result
    same_kind: ArrayT = values
    return same_kind
