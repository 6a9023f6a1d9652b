"""Facts of the default that training and use must agree on. Without torch."""

from __future__ import annotations

__all__ = [
    "CLEAR_DEPTH",
    "COLORFUL",
    "COLORFUL_SHARE",
    "DARKEST_SURFACE",
    "DEFAULT_MODEL",
    "FOG_LEAST_WEIGHT",
    "FOG_RADIUS",
    "FOG_SMOOTH",
    "FOG_TRANSMISSION",
    "FOG_WINDOW",
    "GUIDE_EPS",
    "GUIDE_RADIUS",
    "HEDGED_DEPTH",
    "HEDGED_SHARE",
    "LARGEST_GAIN",
    "LEAST_TRANSMISSION",
    "LIGHT_RANGE",
    "MULTIPLE",
    "NETWORK_SIZE",
    "SURE_TRANSMISSION",
    "network_shape",
]

DEFAULT_MODEL = "field-m"  # its name in the catalogue

NETWORK_SIZE = 256  # long side of what the network sees [px]
MULTIPLE = 32  # its sides are multiples of it
GUIDE_RADIUS = 0.02  # of the guided filter, share of the long side
GUIDE_EPS = 1e-3  # its regularisation
LARGEST_GAIN = 2.0  # logarithm of the most by which the darkest parts are brightened
LEAST_TRANSMISSION = 0.15  # behind denser haze the target is the haze itself: no detail is drawn out of noise
# Mean optical depth: what is found in clear pictures, mostly .. haze. Below it the network sees what is not there.
CLEAR_DEPTH = (0.03, 0.08)

# Difference of the channels that all but the most colourful hundredth stay below, from which on a picture has colours.
COLORFUL, COLORFUL_SHARE = 0.02, 0.99

# A network that is not sure answers with the mean of what may be: too little haze where there is some. Optical depths
# that are too small by this share: from the first to the second more and more, from the third to the fourth less and
# less. Denser haze stays as it is found, where errors show as rings.
HEDGED_SHARE, HEDGED_DEPTH = 0.35, (0.05, 0.2, 0.25, 0.7)
DARKEST_SURFACE = 0.1  # mean of a small area without haze; what comes out darker was a shadow under a brighter sky

LIGHT_RANGE = (0.03, 0.985)  # of the airlight; outside, the gradient of the inversion explodes
SURE_TRANSMISSION = 0.4  # below it the scene is less and less sure, however smooth the fog
# Where hardly anything of the scene comes through, the airlight is what the picture shows there, smoothed.
FOG_TRANSMISSION = (0.1, 0.3)  # certainly so .. certainly not
FOG_RADIUS = 0.15  # of the mean, share of the long side
FOG_WINDOW = 2  # radius in which fog is smooth [px of the transmission]
FOG_SMOOTH = (0.004, 0.009)  # deviation of its brightness: certainly fog .. certainly not
FOG_LEAST_WEIGHT = 0.05  # of such pixels in the neighbourhood, at which half of the correction is made


def network_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of what the network sees of a picture.

    >>> network_shape(1080, 1920), network_shape(4000, 3000), network_shape(1, 1)
    ((128, 256), (256, 192), (256, 256))
    """
    scale = NETWORK_SIZE / max(height, width)
    rows, columns = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns
