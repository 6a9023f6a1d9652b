"""What finds haze: it looks at a small view of the whole picture and says how much haze lies where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unhaze.types import ModelInfo

    FloatArray = NDArray[np.float32]

__all__ = ["HazeEstimate", "HazeModel", "relative_odd_size"]


@dataclass(frozen=True, slots=True)
class HazeEstimate:
    """Haze at the resolution of the view, or smaller: (h, w) below.

    Attributes:
        transmission: (h, w) float32 in (0, 1], not yet aligned to the edges of the picture, nor bounded from below.
        airlight: float32 RGB in (0, 1], sRGB-encoded: (3,), one colour for the whole picture, or (h, w, 3).
        confidence: (h, w) float32 in [0, 1]; ``None`` where the model has none, which makes it follow from the
            transmission and the sky.
        lift: Curvature of the curve that gives brightness back, 0 for none, from a model that knows how bright the
            scene should be and deals with skies itself, as a trained one does. ``None``: the transmission is raised in
            skies, and brightness that went with the haze is given back by rule.
        clear: How surely the whole picture holds no haze worth removing, 0 to 1; it is left alone to that degree,
            unless an option says otherwise.
        least_transmission: Denser haze is restored as if it were of this transmission: below it a picture of 8 bits
            holds noise, not scene.
        guide_radius: Radius of the guided filter that aligns the transmission to edges, as a share of the long side.
        guide_eps: Its regularisation; smaller keeps weaker edges.
    """

    transmission: FloatArray
    airlight: FloatArray
    confidence: FloatArray | None = None
    lift: float | None = None
    clear: float = 0.0
    least_transmission: float = 0.12
    guide_radius: float = 30 / 640
    guide_eps: float = 1e-3


class HazeModel(Protocol):
    """Estimates the haze of a whole picture from a small view of it. Stateless, so any thread may call it."""

    info: ModelInfo

    def estimate(self, view: FloatArray) -> HazeEstimate:
        """Estimate the haze of ``view``, (h, w, 3) float32 RGB in [0, 1], sRGB-encoded."""
        ...


def relative_odd_size(view: FloatArray, share: float) -> int:
    """An odd number of pixels, ``share`` of the long side of ``view``: windows mean the same at every resolution.

    >>> import numpy as np
    >>> relative_odd_size(np.zeros((480, 640, 3), np.float32), 0.025)
    17
    >>> relative_odd_size(np.zeros((1, 9, 3), np.float32), 0.025)
    1
    """
    return 2 * round(max(view.shape[:2]) * share / 2) + 1 if max(view.shape[:2]) * share > 1 else 1
