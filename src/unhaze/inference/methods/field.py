"""A small trained network that sees the whole picture and predicts its haze.

Own design, see ``unhaze.backbones.field`` for the network and ``docs/models/field-s.md`` for its training, its figures
and what it fails on. Runs in onnxruntime or OpenVINO; torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from unhaze.errors import WeightsNotFoundError
from unhaze.inference.methods._base import HazeEstimate, MethodInfo
from unhaze.inference.onnx_engine import OnnxEngine
from unhaze.physics.color import luminance
from unhaze.physics.guided import box_mean

if TYPE_CHECKING:
    from unhaze.inference.methods._base import FloatArray

__all__ = ["FieldMaps", "FieldMethod"]

NETWORK_SIZE = 224  # long side of what the network sees [px]
MULTIPLE = 32  # its sides are multiples of it
# the network was trained through a guided filter of this radius (share of the long side) and regularisation
GUIDE_RADIUS, GUIDE_EPS = 0.02, 1e-3

# Lower transmission magnifies errors of the airlight into dark or coloured skies, above all where a pixel has the
# colour of the airlight itself and there is no scene to recover. Measured to cost no PSNR.
LEAST_TRANSMISSION, LEAST_IN_SKY = 0.2, 0.55
SKY_DISTANCE = 0.05  # from the airlight, at which a third of that protection is left
SKY_RADIUS = 2  # of the mean of the distance, in pixels of the transmission

# A sky of the colour of the haze has nothing behind it: even small errors of the airlight would darken it unevenly.
SKY_SHARE = 0.8  # of its optical depth that protection takes back
SKY_NEAR = (0.06, 0.14)  # distance from the airlight: certainly sky .. certainly not
SKY_BRIGHTER = (-0.02, 0.01)  # than the airlight: would get darker .. would not
SKY_SMOOTH = (0.003, 0.008)  # standard deviation of brightness over 3 x 3 pixels: certainly sky .. certainly not
SKY_LEAST_AREA = 0.01

# Mean optical depth: what is found in clear pictures, mostly .. haze. Below it the network sees what is not there.
CLEAR_DEPTH = (0.03, 0.1)


@dataclass(frozen=True, slots=True)
class FieldMaps:
    """All that the network says about a view, at its own resolution.

    Attributes:
        transmission: (h, w) float32 in (0, 1].
        airlight: (3,) float32 RGB in (0, 1), sRGB-encoded.
        log_depth: (h, w) float32, logarithm of the depth up to an unknown constant.
        confidence: (h, w) float32 in [0, 1]; low where the restored picture will be far from the scene.
    """

    transmission: FloatArray
    airlight: FloatArray
    log_depth: FloatArray
    confidence: FloatArray


class FieldMethod:
    """The field network in an ONNX engine; any thread may call it.

    Args:
        weights: ONNX file; the one that ships with unhaze by default.
        engine: One of :data:`~unhaze.inference.onnx_engine.ENGINES`.
        threads: Processor cores for the network; default all that this process may use.

    Raises:
        WeightsNotFoundError: There is no such file.
        UnknownNameError: There is no such engine.
        MissingError: The engine is not installed.
    """

    info = MethodInfo(
        name="field-s",
        summary="Small trained network: natural colours, clear pictures stay as they are, thin haze may remain.",
        paper="Own design; He and Sun: Fast Guided Filter. 2015, for the way to full resolution.",
        url="https://arxiv.org/abs/1505.00996",
        has_network=True,
    )

    def __init__(self, weights: str | Path | None = None, *, engine: str = "auto", threads: int | None = None) -> None:
        self.weights = Path(weights) if weights else Path(str(files("unhaze") / "weights" / "field-s.onnx"))
        if not self.weights.is_file():
            raise WeightsNotFoundError(f"The weights {self.weights} are missing; install unhaze again.")
        self.engine = OnnxEngine(self.weights, engine=engine, threads=threads)

    def maps(self, view: FloatArray) -> FieldMaps:
        """Everything the network says about ``view`` (h, w, 3) float32 RGB in [0, 1]."""
        height, width = network_shape(*view.shape[:2])
        shrinks = height * width < view.shape[0] * view.shape[1]
        small = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        batch = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)
        said = self.engine.run(view=batch)
        transmission, log_depth, confidence = (said[name][0, 0] for name in ("transmission", "log_depth", "confidence"))
        return FieldMaps(transmission, said["airlight"][0], log_depth, confidence)

    def estimate(self, view: FloatArray) -> HazeEstimate:
        """Estimate the haze of ``view``, (h, w, 3) float32 RGB in [0, 1]."""
        maps = self.maps(view)
        # no larger than the view: a tiny picture has nothing to align more pixels to
        size = tuple(min(sides) for sides in zip(maps.transmission.shape, view.shape[:2], strict=True))
        small, transmission, confidence = (_shrink(each, size) for each in (view, maps.transmission, maps.confidence))
        bounded = np.maximum(spare_clear(transmission), least_transmission(small, maps.airlight))
        bounded = np.maximum(bounded, np.float32(LEAST_TRANSMISSION))
        kept = 1 - np.float32(SKY_SHARE) * sky_mask(small, maps.airlight)
        protected = np.maximum(bounded, sky_floor(small, maps.airlight)) ** kept
        return HazeEstimate(bounded, maps.airlight, confidence, True, protected, GUIDE_RADIUS, GUIDE_EPS)


def _shrink(values: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """A map or picture reduced to ``size``, (h, w)."""
    if values.shape[:2] == size:
        return values
    small = cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(*size, *values.shape[2:])


def least_transmission(view: FloatArray, airlight: FloatArray) -> FloatArray:
    """Transmission below which the restored view would leave [0, 1] (Meng et al. 2013, Eq. 7), (h, w)."""
    dark = (airlight - view) / airlight
    bright = (view - airlight) / np.maximum(1 - airlight, np.float32(1e-6))
    return np.asarray(np.clip(np.maximum(dark, bright).max(axis=2), 0, 1), np.float32)


def sky_floor(view: FloatArray, airlight: FloatArray) -> FloatArray:
    """Least transmission that is of use (h, w): higher where the colour is that of the airlight."""
    distance = box_mean(np.abs(view - airlight).max(axis=2), SKY_RADIUS)
    likeness = np.exp(-np.square(distance / np.float32(SKY_DISTANCE)))
    floor = LEAST_TRANSMISSION + (LEAST_IN_SKY - LEAST_TRANSMISSION) * likeness
    return np.asarray(floor, np.float32)


def spare_clear(transmission: FloatArray) -> FloatArray:
    """``transmission`` (h, w) raised towards 1 where the whole picture holds hardly any haze."""
    optical_depth = -np.log(transmission)
    return np.exp(-optical_depth * (1 - _falling(optical_depth.mean(), *CLEAR_DEPTH)))


def sky_mask(view: FloatArray, airlight: FloatArray) -> FloatArray:
    """How surely each pixel is a sky of the colour of the haze that would get darker, (h, w) in [0, 1].

    It is smooth and joined to the top. A sky brighter than the airlight becomes brighter, which does no harm.
    """
    gray = luminance(view)
    mean = box_mean(gray, 1)
    deviation = np.sqrt(np.maximum(box_mean(gray * gray, 1) - mean * mean, 0))
    distance = np.abs(view - airlight).max(axis=2)
    likely = _falling(deviation, *SKY_SMOOTH) * _falling(distance, *SKY_NEAR)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((likely > 0.35).astype(np.uint8), connectivity=4)
    is_sky = np.zeros(count, np.float32)
    is_sky[np.unique(labels[0])] = 1
    is_sky[stats[:, cv2.CC_STAT_AREA] < SKY_LEAST_AREA * gray.size] = 0
    is_sky[0] = 0  # the background: everything that is not likely
    brighter = gray - luminance(airlight.reshape(1, 1, 3))
    return box_mean(is_sky[labels] * likely, 1) * _falling(brighter, *SKY_BRIGHTER)


def _falling(x: FloatArray | np.float32, low: float, high: float) -> FloatArray:
    """1 below ``low``, 0 above ``high``, smooth in between."""
    u = np.clip((high - x) / np.float32(high - low), 0, 1)
    return np.asarray(u * u * (3 - 2 * u), np.float32)


def network_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of what the network sees of a picture.

    >>> network_shape(1080, 1920), network_shape(4000, 3000), network_shape(1, 1)
    ((128, 224), (224, 160), (224, 224))
    """
    scale = NETWORK_SIZE / max(height, width)
    rows, columns = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns
