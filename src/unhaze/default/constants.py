"""Facts of the default that training and use must agree on. Without torch."""

from __future__ import annotations

__all__ = [
    "CLEAR_DEPTH",
    "GUIDE_EPS",
    "GUIDE_RADIUS",
    "LARGEST_GAIN",
    "LEAST_TRANSMISSION",
    "MULTIPLE",
    "NETWORK_SIZE",
    "network_shape",
]

NETWORK_SIZE = 288  # long side of what the network sees [px]
MULTIPLE = 32  # its sides are multiples of it
GUIDE_RADIUS = 0.02  # of the guided filter, share of the long side
GUIDE_EPS = 1e-3  # its regularisation
LARGEST_GAIN = 2.0  # logarithm of the most by which the darkest parts are brightened
LEAST_TRANSMISSION = 0.15  # behind denser haze the target is the haze itself: no detail is drawn out of noise
# Mean optical depth: what is found in clear pictures, mostly .. haze. Below it the network sees what is not there.
CLEAR_DEPTH = (0.015, 0.05)


def network_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of what the network sees of a picture.

    >>> network_shape(1080, 1920), network_shape(4000, 3000), network_shape(1, 1)
    ((160, 288), (288, 224), (288, 288))
    """
    scale = NETWORK_SIZE / max(height, width)
    rows, columns = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns
