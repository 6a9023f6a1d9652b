"""From an estimate to a haze field: small, aligned to edges, and ready for any resolution.

The field is solved once on a small view of the whole picture. Whatever describes the whole picture (airlight, exposure)
is fixed here, so the restoration of one strip never depends on how the rest was cut up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import UsageError
from unhaze.physics.color import luminance
from unhaze.physics.guided_filter import box_mean, guided_coefficients
from unhaze.restore.options import DehazeOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.classic.base import HazeEstimate, HazeModel

    FloatArray = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = [
    "CLEAR_CHANGE",
    "MINIMUM_TRANSMISSION",
    "VIEW_SIZE",
    "HazeField",
    "exposure_lift",
    "fill_hidden",
    "solve_field",
    "working_view",
]

VIEW_SIZE = 640  # long side of the view [px]
MINIMUM_TRANSMISSION = 0.12  # below it a picture of 8 bits holds noise, not scene
BEYOND_SIGHT = 0.15  # share of the scene's light below which nothing of it can be made out

AIRLIGHT_TOLERANCE = 0.12  # how near the airlight a colour counts as haze itself (Jiang et al. 2013 use 50 / 255)
SKY_SHARE = 0.7  # share of the optical depth that full sky protection takes back
SKY_WINDOW = 4  # radius of the smoothness test, in pixels of a view of VIEW_SIZE
SKY_SMOOTH = (0.008, 0.03)  # standard deviation of brightness: certainly sky .. certainly not
SKY_BRIGHT = (0.55, 0.85)  # brightness relative to the airlight: certainly not sky .. may be sky
SKY_MINIMUM_AREA = 0.01

EXPOSURE_SHARE = 0.75  # how far the log-average brightness is brought back towards that of the hazy picture
EXPOSURE_CEILING = 0.45  # a bright veil is no brightness of the scene
EXPOSURE_MAXIMUM = 1.5
# A scene that comes out of the haze darker by more than this, white being 1, looks underexposed, whatever it was.
DARKEST_CHANGE = 0.08
STRONGEST_LIFT = 8.0

# Mean change of brightness below which a picture is called clear: 2.5 steps of 8 bits. Of 45 clear photographs
# ``field-m`` changes 35 by less, and of 25 hazy ones the two in which it misses the haze.
CLEAR_CHANGE = 0.01


@dataclass(frozen=True, slots=True)
class HazeField:
    """The haze of one picture, at the resolution of its view or smaller.

    The transmission at full resolution is ``slope * luminance + offset``, both maps enlarged bilinearly: a fast guided
    filter (He and Sun 2015) whose guide is the full-resolution picture.

    Attributes:
        slope, offset: (h, w) float32 coefficients of the guided filter.
        airlight: (3,) float32 RGB in (0, 1], or (h, w, 3) where it changes over the picture.
        confidence: (h, w) float32 in [0, 1].
        lift: Curvature of the brightening curve at strength 1; 0 leaves the brightness alone.
        least: Smallest transmission that is restored.
        change: How much the brightness of the picture changes when all of this haze is removed: mean of
            ``|J - I|`` over the view, white is 1.
        density: Mean optical depth ``-ln(transmission)`` over the view, before anything is protected or spared.
        beyond_sight: Share of the view where less than ``BEYOND_SIGHT`` of the scene's light comes through.
        spared: How far the haze was left because the picture looks clear, 0 to 1.
    """

    slope: FloatArray
    offset: FloatArray
    airlight: FloatArray
    confidence: FloatArray
    lift: float
    least: float = MINIMUM_TRANSMISSION
    change: float = 1.0
    density: float = 0.0
    beyond_sight: float = 0.0
    spared: float = 0.0

    @property
    def looks_clear(self) -> bool:
        """Whether there is so little haze that removing it can hardly be seen."""
        return self.change < CLEAR_CHANGE

    def transmission(self, gray: FloatArray) -> FloatArray:
        """Transmission (h, w) in [``least``, 1] for the luminance (h, w) of the picture at this size."""
        return np.asarray(np.clip(self.slope * gray + self.offset, self.least, 1), np.float32)


def working_view(pixels: NDArray[Any], full_scale: float, hidden: Mask | None = None) -> FloatArray:
    """Shrink a picture to the view that models see.

    Args:
        pixels: (H, W) or (H, W, 3), any real type.
        full_scale: The value that stands for white; pixels with larger values, hot ones mostly, play no part.
        hidden: (H, W), pixels that show nothing: whatever they hold, the view is the same.

    Returns:
        (h, w, 3) float32 in [0, 1], long side at most ``VIEW_SIZE``; area-averaged, so noise averages out too.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, VIEW_SIZE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    white = np.float32(full_scale)
    if pixels.dtype.kind != "u" or white < np.iinfo(pixels.dtype).max:
        exceeding: Mask = np.asarray(np.asarray(pixels > white).reshape(height, width, -1).any(axis=2))
        if exceeding.any() and not exceeding.all():
            hidden = exceeding if hidden is None else hidden | exceeding
    if hidden is None:
        small = pixels if scale == 1.0 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        view = np.clip(small.astype(np.float32) / white, 0.0, 1.0)
    else:
        view = _view_of_visible(pixels, white, hidden, size)
    view = view.reshape(size[1], size[0], *pixels.shape[2:])  # OpenCV drops an axis of length one
    return np.ascontiguousarray(view if view.ndim == 3 else np.repeat(view[..., None], 3, axis=2))


def _view_of_visible(pixels: NDArray[Any], white: np.float32, hidden: Mask, size: tuple[int, int]) -> FloatArray:
    """The mean of the visible pixels of each area, (h, w, C); where there are none, that of the nearest with some."""
    height, width = hidden.shape
    view = np.zeros((size[1], size[0], pixels.shape[2] if pixels.ndim == 3 else 1), np.float32)
    shares = np.zeros((size[1], size[0]), np.float32)
    for row in range(size[1]):
        # as INTER_AREA weighs the rows: by how much of each lies within
        start, stop = row * height / size[1], (row + 1) * height / size[1]
        rows = slice(int(start), min(height, int(np.ceil(stop - 1e-9))))
        inside = np.minimum(np.arange(rows.start, rows.stop) + 1, stop) - np.maximum(
            np.arange(rows.start, rows.stop), start
        )
        shown = ~hidden[rows]
        strip = np.clip(
            np.where(shown[..., None] if pixels.ndim == 3 else shown, pixels[rows], 0).astype(np.float32) / white, 0, 1
        )
        weights = inside.astype(np.float32)
        line = np.tensordot(weights, strip, 1).reshape(1, width, -1)
        share = (weights @ shown.astype(np.float32)).reshape(1, width)
        view[row] = cv2.resize(line, (size[0], 1), interpolation=cv2.INTER_AREA).reshape(size[0], -1)
        shares[row] = cv2.resize(share, (size[0], 1), interpolation=cv2.INTER_AREA)
    empty = shares <= 0
    view /= np.where(empty, 1, shares)[..., None]
    fill_hidden(view, empty)
    return view


def fill_hidden(pixels: FloatArray, hidden: Mask) -> None:
    """Give each hidden pixel of (H, W, C) the colour of a visible one near it, in place; grey where all are hidden."""
    if hidden.all():
        pixels[...] = 0.5
    elif hidden.any():
        _, labels = cv2.distanceTransformWithLabels(
            hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        colours = np.zeros((int(labels.max()) + 1, pixels.shape[2]), pixels.dtype)
        colours[labels[~hidden]] = pixels[~hidden]
        pixels[hidden] = colours[labels[hidden]]


def solve_field(view: FloatArray, model: HazeModel, options: DehazeOptions) -> HazeField:
    """Estimate the haze of ``view`` (h, w, 3) and make the field from it.

    Raises:
        UsageError: The model, which may be a stranger's, gives other shapes or values than :class:`HazeEstimate` says.
    """
    estimate = model.estimate(view)
    transmission, airlight = np.asarray(estimate.transmission), np.asarray(estimate.airlight)
    if transmission.ndim != 2 or airlight.shape not in ((3,), (*transmission.shape, 3)):
        raise UsageError(
            f"The model {model.info.name} gives a transmission of shape {transmission.shape} and an airlight of shape "
            f"{airlight.shape}, but must give (h, w) and (3,) or (h, w, 3); ask whoever made it."
        )
    if not (np.isfinite(transmission).all() and np.isfinite(airlight).all() and transmission.min() > 0):
        raise UsageError(
            f"The model {model.info.name} gives values that no haze has (transmission must be above 0); ask whoever "
            "made it."
        )
    height, width = transmission.shape
    if view.shape[:2] != (height, width):
        small = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
        view = np.asarray(small, np.float32).reshape(height, width, 3)
    gray = luminance(view)
    # brightness of the airlight: () for one colour, (h, w) for a map
    gray_airlight = luminance(estimate.airlight.reshape(-1, 1, 3)).reshape(estimate.airlight.shape[:-1])
    sky = np.zeros_like(gray)
    if estimate.lift is None:
        sky = _sky(gray, gray_airlight)
        transmission = _protect(estimate, view, sky, options.protect_sky)
    spared = estimate.clear * options.spare_clear
    if spared:
        transmission = transmission ** np.float32(1 - spared)
    radius = max(1, round(estimate.guide_radius * max(height, width)))
    slope, offset = guided_coefficients(gray, transmission, radius, estimate.guide_eps)
    confidence = estimate.confidence
    if confidence is None:
        seen = np.clip((estimate.transmission - 0.05) / 0.35, 0, 1)
        confidence = np.asarray(seen * (1 - np.float32(options.protect_sky) * sky), np.float32)
    field = HazeField(slope, offset, estimate.airlight, confidence, lift=0.0, least=estimate.least_transmission)
    gain = 1 / field.transmission(gray)
    if estimate.lift is None:
        restored = np.clip(gray * gain + gray_airlight * (1 - gain), 0, 1)  # He et al. 2011, Eq. 22
        lift = exposure_lift(gray, np.asarray(restored, np.float32))
    else:
        lift = _lift_to_floor(gray, field, gray_airlight, estimate.lift * (1 - spared))
    # mean of |J - I| over the view, in brightness; J - I = (1 / t - 1) (I - A) by He et al. 2011, Eq. 1
    change = float(np.mean((gain - 1) * np.abs(gray - gray_airlight)))
    return replace(
        field,
        lift=lift * options.keep_exposure,
        change=change,
        density=abs(float(np.log(np.maximum(estimate.transmission, 1e-3)).mean())),
        beyond_sight=float((estimate.transmission < BEYOND_SIGHT).mean()),
        spared=spared,
    )


def _ramp(x: NDArray[Any], low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, smooth in between."""
    u = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(u * u * (3 - 2 * u), np.float32)


def _sky(gray: FloatArray, airlight: FloatArray) -> FloatArray:
    """How surely each pixel is sky, (h, w) in [0, 1]: bright beside the airlight, smooth, joined to the upper border.

    Args:
        gray: Brightness (h, w).
        airlight: That of the airlight, () or (h, w).
    """
    radius = max(1, round(SKY_WINDOW * max(gray.shape) / VIEW_SIZE))
    mean = box_mean(gray, radius)
    deviation = np.sqrt(np.maximum(box_mean(gray * gray, radius) - mean * mean, 0))
    bright = _ramp(gray / np.maximum(airlight, 1e-3), *SKY_BRIGHT)
    likely = (1 - _ramp(deviation, *SKY_SMOOTH)) * bright
    count, labels, stats, _ = cv2.connectedComponentsWithStats((likely > 0.35).astype(np.uint8), connectivity=4)
    is_sky = np.zeros(count, np.float32)
    is_sky[np.unique(labels[0])] = 1
    is_sky[stats[:, cv2.CC_STAT_AREA] < SKY_MINIMUM_AREA * gray.size] = 0
    is_sky[0] = 0  # the background: everything that is not likely
    return box_mean(is_sky[labels] * likely, radius)


def _protect(estimate: HazeEstimate, view: FloatArray, sky: FloatArray, protection: float) -> FloatArray:
    """Raise the transmission where there is no scene to recover: in skies, and where the colour is the haze's own."""
    radius = max(1, round(7 * max(view.shape[:2]) / VIEW_SIZE))
    red, green, blue = cv2.split(np.abs(view - estimate.airlight))
    distance = box_mean(cv2.max(cv2.max(red, green), blue), radius)
    # Jiang, Hou, Kuang 2013: divide by the distance to the airlight instead of by the transmission where it is small
    tolerance = np.maximum(AIRLIGHT_TOLERANCE / np.maximum(distance, 1e-3), 1) ** np.float32(protection)
    raised = np.clip(estimate.transmission * tolerance, MINIMUM_TRANSMISSION, 1)
    return np.asarray(raised ** (1 - np.float32(SKY_SHARE * protection) * sky), np.float32)


def exposure_lift(gray: FloatArray, restored: FloatArray) -> float:
    """Curvature k of x (1 + k) / (1 + k x) that brings back part of the brightness lost with the haze.

    Args:
        gray: Luminance of the hazy picture, (H, W) or any other shape, in [0, 1].
        restored: That of the restored one.
    """
    before, after = (float(np.exp(np.log(each + 0.02).mean())) for each in (gray, restored))  # logarithmic averages
    if after >= before:
        return 0.0
    goal = float(np.exp(EXPOSURE_SHARE * np.log(min(before, EXPOSURE_CEILING)) + (1 - EXPOSURE_SHARE) * np.log(after)))
    if goal <= after:
        return 0.0
    return float(np.clip((goal - after) / (after * (1 - goal)), 0, EXPOSURE_MAXIMUM))


def _lift_to_floor(gray: FloatArray, field: HazeField, airlight: FloatArray, lift: float) -> float:
    """``lift``, or the larger one with which the picture gets no darker than ``DARKEST_CHANGE``; curvature k."""
    # what would leave the range of the picture is restored less (Meng et al. 2013, Eq. 7), as the strips do it
    bound = np.maximum((airlight - gray) / airlight, (gray - airlight) / np.maximum(1 - airlight, 1e-3))
    gain = 1 / np.maximum(field.transmission(gray), np.minimum(bound, 1))
    restored = np.clip(gray * gain + airlight * (1 - gain), 0, 1)  # He et al. 2011, Eq. 22
    goal = float(gray.mean()) - DARKEST_CHANGE
    low, tried, high = lift, lift, max(lift, STRONGEST_LIFT)
    for step in range(13):  # bisection to a thousandth, where the first one tried does not do
        if float((restored * (1 + tried) / (1 + tried * restored)).mean()) < goal:
            low = tried
        elif step == 0:
            return lift
        else:
            high = tried
        tried = (low + high) / 2
    return high
