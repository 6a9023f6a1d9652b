"""How much a dehazed video flickers, in figures: the input, each frame by itself, and smoothed over time.

* Warping error: what changes from one frame to the next beyond motion. The frame before is moved to the present one by
  the optical flow of the *input* (DIS, OpenCV), so that every row is judged along the same motion, and the mean of
  ``|O_t - warp(O_(t-1))|`` is taken where the flow holds: forward and backward flow agree,
  ``|f + b|^2 <= 0.01 (|f|^2 + |b|^2) + 0.5`` (Ruder et al. 2016, "Artistic style transfer for videos", eq. 3).
  White is 1. See Lai et al. 2018, "Learning blind video temporal consistency", section 4.2.
* Standard deviation over time of what describes a whole frame: airlight, mean transmission, mean brightness. In a still
  scene all of it is flicker; where the camera moves part of it is the scene, which is why the input stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import ImageError
from unhaze.physics.color import luminance
from unhaze.restore.options import DEFAULT_TEMPORAL
from unhaze.restore.strips import full_scale
from unhaze.video.containers import VideoReader
from unhaze.video.smoothing import TemporalSmoother, estimate_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.restore.dehazer import Dehazer
    from unhaze.restore.haze_field import HazeField

    FloatArray = NDArray[np.float32]

__all__ = ["FlickerFigures", "flicker_table", "measure_flicker"]

_LONG_SIDE = 480  # at which motion is found and frames are compared [px]


@dataclass(frozen=True, slots=True)
class FlickerFigures:
    """Figures of one video.

    Attributes:
        name: ``"input"``, ``"frame by frame"`` or ``"smoothed"``.
        warping_error: Mean change beyond motion, white is 1.
        airlight: Standard deviation over time of the mean airlight, white is 1; ``None`` for the input.
        transmission: That of the mean transmission; ``None`` for the input.
        brightness: That of the mean luminance, white is 1.
    """

    name: str
    warping_error: float
    airlight: float | None
    transmission: float | None
    brightness: float


@dataclass(slots=True)
class _Row:
    name: str
    before: FloatArray | None = None
    errors: list[float] = field(default_factory=list)
    airlight: list[float] = field(default_factory=list)
    transmission: list[float] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)

    def add(self, view: FloatArray, motion: tuple[FloatArray, NDArray[np.bool_]] | None) -> None:
        if motion is not None and self.before is not None and motion[1].any():
            flow, valid = motion
            self.errors.append(float(np.abs(view - _warped(self.before, flow)).mean(axis=2)[valid].mean()))
        self.before = view
        self.brightness.append(float(luminance(view).mean()))

    def add_field(self, haze: HazeField, view: FloatArray) -> None:
        height, width = haze.slope.shape
        gray = luminance(np.asarray(cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA), np.float32))
        self.airlight.append(float(haze.airlight.mean()))
        self.transmission.append(float(haze.transmission(np.asarray(gray, np.float32)).mean()))

    def figures(self) -> FlickerFigures:
        return FlickerFigures(
            self.name,
            float(np.mean(self.errors)) if self.errors else 0.0,
            float(np.std(self.airlight)) if self.airlight else None,
            float(np.std(self.transmission)) if self.transmission else None,
            float(np.std(self.brightness)),
        )


def measure_flicker(
    path: str | Path, dehazer: Dehazer, *, temporal: float = DEFAULT_TEMPORAL, limit: int | None = None
) -> list[FlickerFigures]:
    """Figures of a video, of its frames dehazed one by one, and of those smoothed over time.

    Args:
        path: The video.
        dehazer: A model that finds haze.
        temporal: Weight of the smoothing, 0 to 0.98.
        limit: Take only the first so many frames.

    Raises:
        ImageError: The video cannot be read, or has fewer than two frames.
        UsageError: The dehazer is a network, or the weight is out of range.
    """
    rows = (_Row("input"), _Row("frame by frame"), _Row("smoothed"))
    smoother, before, count = TemporalSmoother(temporal), None, 0
    with VideoReader(path) as reader:
        converter, step = reader.info.pixels(dehazer.max_pixels), estimate_step(reader.info.rate)
        for timed in reader.frames():
            pixels = converter.to_pixels(timed.frame)
            view = _view(pixels)
            gray = np.asarray(luminance(view) * 255, np.uint8)
            motion = None if before is None else _motion(gray, before)
            alone = dehazer.solve(pixels)
            smoothed = smoother.follow(pixels) if count % step else None
            rows[0].add(view, motion)
            for row, haze in ((rows[1], alone), (rows[2], smoothed or smoother(alone, pixels))):
                row.add(_view(dehazer.apply(pixels, haze)), motion)
                row.add_field(haze, view)
            before, count = gray, count + 1
            if count == limit:
                break
    if count < 2:
        raise ImageError(f"{path} has {count} frame, and flicker is what changes from one to the next; name a video.")
    return [row.figures() for row in rows]


def flicker_table(figures: list[FlickerFigures]) -> str:
    """The figures as a table in Markdown; white is 1000."""
    lines = [
        "| x 1000 | warping error | airlight, std | transmission, std | brightness, std |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for each in figures:
        values: list[Any] = [each.warping_error, each.airlight, each.transmission, each.brightness]
        shown = ["" if value is None else f"{1000 * value:.2f}" for value in values]
        lines.append(f"| {each.name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _view(pixels: NDArray[Any]) -> FloatArray:
    """A frame shrunk to ``_LONG_SIDE``, (h, w, 3) float32 in [0, 1]."""
    scale = min(1.0, _LONG_SIDE / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small /= np.float32(full_scale(pixels))
    return np.asarray(small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2), np.float32)


def _motion(now: NDArray[np.uint8], before: NDArray[np.uint8]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Where each pixel of ``now`` was in ``before`` (h, w, 2) [px], and where that can be trusted (h, w)."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    backward, forward = search.calc(now, before, None), search.calc(before, now, None)
    returned = _warped(forward, backward)
    apart = ((backward + returned) ** 2).sum(axis=2)
    length = (backward**2).sum(axis=2) + (returned**2).sum(axis=2)
    return backward, apart <= 0.01 * length + 0.5


def _warped(picture: FloatArray, flow: FloatArray) -> FloatArray:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    moved = cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
