"""What a user may choose about the restoration, whatever the method."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real

from unhaze.errors import UsageError

__all__ = ["DEFAULT_METHOD", "DEFAULT_TEMPORAL", "DehazeOptions"]

DEFAULT_METHOD = "field-m"
DEFAULT_TEMPORAL = 0.97  # share of the haze of a still frame that comes from the frames before


@dataclass(frozen=True)
class DehazeOptions:
    """How the estimated haze is turned into a picture. All numbers mean the same at every resolution.

    Attributes:
        strength: -1 to 1; scales the optical depth that is removed. 1 removes all haze that was found, 0 leaves the
            picture as it is, bit for bit, negative values add haze of the same shape and colour.
        color_blend: 0 to 1; how far colour differences grow along with contrast. 1 is the scattering model, which
            exaggerates the tints of dense haze; 0 restores brightness only and keeps the hazy colours. They never grow
            more than threefold.
        protect_sky: 0 to 1; how far skies, and areas whose colour is that of the haze itself, are left alone. There is
            no scene to recover there, only noise and compression blocks to amplify.
        keep_exposure: 0 to 1; how much of the brightness that is lost with the haze is given back by a smooth curve.
        spare_clear: 0 to 1; how far pictures that look clear to a method that can tell are left alone. 0 removes the
            little that is found in them all the same.

    Raises:
        UsageError: A value lies outside its range.
    """

    strength: float = 1.0
    color_blend: float = 0.8
    protect_sky: float = 1.0
    keep_exposure: float = 1.0
    spare_clear: float = 1.0

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            low = -1.0 if option.name == "strength" else 0.0
            if not (isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= 1.0):
                raise UsageError(f"{option.name} is {value!r}, but must be a number between {low:g} and 1.")
