"""The model that runs by default: a trained network sees the whole picture small and predicts its haze.

Own design, see :mod:`unhaze.default.network` for the network and ``docs/models/field-m.md`` for its training, its
figures and what it fails on. Runs in onnxruntime or OpenVINO; torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from unhaze.classic.base import HazeEstimate
from unhaze.default.constants import (
    CLEAR_DEPTH,
    COLORFUL,
    COLORFUL_SHARE,
    DARKEST_SURFACE,
    FOG_LEAST_WEIGHT,
    FOG_RADIUS,
    FOG_SMOOTH,
    FOG_TRANSMISSION,
    FOG_WINDOW,
    GUIDE_EPS,
    GUIDE_RADIUS,
    HEDGED_DEPTH,
    HEDGED_SHARE,
    LEAST_TRANSMISSION,
    LIGHT_RANGE,
    SURE_TRANSMISSION,
    network_shape,
)
from unhaze.errors import WeightsError, WeightsNotFoundError
from unhaze.physics.color import luminance
from unhaze.physics.guided_filter import box_mean
from unhaze.restore.engines.onnx import OnnxEngine
from unhaze.types import ModelInfo

if TYPE_CHECKING:
    from unhaze.classic.base import FloatArray

__all__ = ["WEIGHTS", "FieldMaps", "FieldModel"]

WEIGHTS = "field-m.onnx"
_RANKS = {"transmission": 4, "airlight": 4, "gain": 1, "log_depth": 4, "confidence": 4}  # of what the network says


@dataclass(frozen=True, slots=True)
class FieldMaps:
    """All that the network says about a view, at its own resolution.

    Attributes:
        transmission: (h, w) float32 in (0, 1].
        airlight: (h, w, 3) float32 RGB in (0, 1), sRGB-encoded, smooth.
        gain: Logarithm of the factor by which the darkest parts of the scene should be brighter, in [0, 2].
        log_depth: (h, w) float32, logarithm of the depth up to an unknown constant.
        confidence: (h, w) float32 in [0, 1]; low where the restored picture will be far from the scene.
    """

    transmission: FloatArray
    airlight: FloatArray
    gain: float
    log_depth: FloatArray
    confidence: FloatArray


class FieldModel:
    """The field network in an ONNX engine; any thread may call it.

    Args:
        weights: ONNX file; the one that ships with unhaze by default.
        engine: One of :data:`~unhaze.restore.engines.onnx.ENGINES`.
        threads: Processor cores for the network; default all that this process may use.

    Raises:
        WeightsNotFoundError: There is no such file.
        UnknownNameError: There is no such engine.
        MissingError: The engine is not installed.
    """

    info = ModelInfo(
        name="field-m",
        summary="Small trained network: natural colours, clear pictures stay as they are, fog that hides all stays.",
        paper="Own design; He and Sun: Fast Guided Filter. 2015, for the way to full resolution.",
        url="https://arxiv.org/abs/1505.00996",
        has_network=True,
        kind="default",
        license="Apache-2.0",
    )

    def __init__(self, weights: str | Path | None = None, *, engine: str = "auto", threads: int | None = None) -> None:
        self.weights = Path(weights) if weights else Path(str(files("unhaze.default") / WEIGHTS))
        if not self.weights.is_file():
            raise WeightsNotFoundError(f"The weights {self.weights} are missing; install unhaze again.")
        self.engine = OnnxEngine(self.weights, engine=engine, threads=threads)

    def maps(self, view: FloatArray) -> FieldMaps:
        """Everything the network says about ``view`` (h, w, 3) float32 RGB in [0, 1].

        It is asked about the view and about its mirror image, and the mean is taken, so that the mirror image of a
        picture gives the mirror image of the result.

        Raises:
            WeightsError: The file holds another network.
        """
        height, width = network_shape(*view.shape[:2])
        shrinks = height * width < view.shape[0] * view.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(view, (width, height), interpolation=how), np.float32)
        answers = []
        for each in (small, small[:, ::-1]):
            said = self.engine.run(view=np.ascontiguousarray(each.transpose(2, 0, 1)[None], np.float32))
            if {name: values.ndim for name, values in said.items()} != _RANKS:
                raise WeightsError(f"{self.weights} is no network of {self.info.name}; name another file.")
            outputs = {name: values[0] for name, values in said.items()}  # without the batch
            answers.append({"optical_depth": -np.log(outputs.pop("transmission")), **outputs})
        seen, mirrored = answers
        mean = {
            name: (values + (mirrored[name] if values.ndim < 2 else mirrored[name][..., ::-1])) / np.float32(2)
            for name, values in seen.items()
        }
        airlight = np.ascontiguousarray(mean["airlight"].transpose(1, 2, 0))
        return FieldMaps(
            np.exp(-mean["optical_depth"][0]),
            airlight,
            float(mean["gain"]),
            mean["log_depth"][0],
            mean["confidence"][0],
        )

    def estimate(self, view: FloatArray) -> HazeEstimate:
        """Estimate the haze of ``view``, (h, w, 3) float32 RGB in [0, 1]."""
        maps = self.maps(view)
        # no larger than the view: a tiny picture has nothing to align more pixels to
        size = tuple(min(sides) for sides in zip(maps.transmission.shape, view.shape[:2], strict=True))
        transmission, airlight, confidence = (
            _shrink(each, size) for each in (maps.transmission, maps.airlight, maps.confidence)
        )
        small = _shrink(view, size)
        # nothing in a picture without colours tells the colour of its haze
        colorfulness = float(np.quantile(small.max(axis=2) - small.min(axis=2), COLORFUL_SHARE))
        gray = airlight.mean(axis=2, keepdims=True)
        airlight = gray + (airlight - gray) * np.float32(min(1.0, colorfulness / COLORFUL))
        airlight = airlight_of_fog(small, transmission, airlight)
        low, high = CLEAR_DEPTH
        depth = -float(np.log(transmission).mean())
        clear = float(np.clip((high - depth) / (high - low), 0, 1))
        firm = firm_transmission(small, transmission, airlight)
        # where most of the haze that was found cannot be there, no brightness was lost that could be given back
        kept = min(2 * abs(float(np.log(firm).mean())) / max(depth, 1e-3), 1.0)
        return HazeEstimate(
            firm,
            airlight,
            confidence * np.clip(transmission / np.float32(SURE_TRANSMISSION), 0, 1),
            lift=float(np.expm1(maps.gain)) * kept,
            clear=clear * clear * (3 - 2 * clear),
            least_transmission=LEAST_TRANSMISSION,
            guide_radius=GUIDE_RADIUS,
            guide_eps=GUIDE_EPS,
        )


def _shrink(values: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """A map or picture reduced to ``size``, (h, w)."""
    if values.shape[:2] == size:
        return values
    small = cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(*size, *values.shape[2:])


def airlight_of_fog(view: FloatArray, transmission: FloatArray, airlight: FloatArray) -> FloatArray:
    """The airlight (h, w, 3) brought to what the picture itself shows where hardly anything of the scene comes through.

    There the picture is the airlight, and an error of the network would be magnified by 1 / t - 1 into a dark cloud or
    a bright blob. The correction is the mean difference over the neighbourhood, weighted by how little comes through.

    Args:
        view: (h, w, 3) float32.
        transmission: (h, w) float32.
        airlight: (h, w, 3) float32, as the network says.
    """
    opaque, begins = FOG_TRANSMISSION
    weight = np.clip((begins - transmission) / np.float32(begins - opaque), 0, 1)
    gray = luminance(view)
    mean = box_mean(gray, FOG_WINDOW)
    deviation = np.sqrt(np.maximum(box_mean(gray * gray, FOG_WINDOW) - mean * mean, 0))
    smooth, textured = FOG_SMOOTH
    weight *= np.clip((textured - deviation) / np.float32(textured - smooth), 0, 1)
    if not weight.any():
        return airlight
    sigma = FOG_RADIUS * max(transmission.shape)
    shift = cv2.GaussianBlur(weight[..., None] * (view - airlight), (0, 0), sigma)
    total = cv2.GaussianBlur(weight, (0, 0), sigma) + np.float32(FOG_LEAST_WEIGHT)
    low, high = LIGHT_RANGE
    return np.asarray(np.clip(airlight + shift.reshape(airlight.shape) / total[..., None], low, high), np.float32)


def firm_transmission(view: FloatArray, transmission: FloatArray, airlight: FloatArray) -> FloatArray:
    """The transmission (h, w) that is acted on: without the network's caution, and kind to what is dark.

    Medium haze is taken as denser than the network says, which hedges (``HEDGED_SHARE``). And no small area comes out
    darker than ``DARKEST_SURFACE``, or than it is if it is darker: the boundary constraint of Meng et al. 2013, Eq. 7,
    on means. Under trees or at night the airlight is darker than elsewhere; with too bright a one the last of the
    light is taken away, unevenly in the three channels, and what remains is purple.

    Args:
        view: (h, w, 3) float32.
        transmission: (h, w) float32, as the network says.
        airlight: (h, w, 3) float32.
    """
    depth = -np.log(transmission)
    share = np.interp(depth, HEDGED_DEPTH, (0, HEDGED_SHARE, HEDGED_SHARE, 0))
    firm = np.exp(-depth * (1 + share))
    for channel, light in zip(cv2.split(view), cv2.split(airlight), strict=True):
        mean = box_mean(channel, FOG_WINDOW)
        darkest = np.minimum(mean, np.float32(DARKEST_SURFACE))
        np.maximum(firm, (light - mean) / np.maximum(light - darkest, np.float32(1e-3)), out=firm)
    return np.asarray(np.minimum(firm, 1), np.float32)
