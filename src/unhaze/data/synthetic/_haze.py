"""Haze drawn at random: the depth that it follows, how dense it is, and its colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from unhaze.data.synthetic._bank import SEGMENTS
from unhaze.physics.color import linear_to_srgb, luminance, srgb_to_linear
from unhaze.physics.guided_filter import guided_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.data.synthetic.scenes import SynthesisConfig

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = [
    "AIRLIGHT_GRID",
    "apply_haze",
    "draw_airlight",
    "draw_optical_depth",
    "enlarge_airlight",
    "push_back_haze",
    "random_depth",
    "share_lost",
    "smooth_noise",
    "soften_depth",
]

AIRLIGHT_GRID = 4  # the airlight of a sample is given on AIRLIGHT_GRID x AIRLIGHT_GRID points


def draw_airlight(rng: np.random.Generator) -> FloatArray:
    """Colour of the haze: mostly bright and grey, at times dim, warm or cold."""
    value = rng.uniform(*((0.7, 1.0), (0.5, 0.85), (0.3, 0.6))[rng.choice(3, p=(0.6, 0.27, 0.13))])
    kind = rng.choice(4, p=(0.45, 0.25, 0.15, 0.15))
    if kind == 0:
        tint = rng.normal(0, 0.008, 3)
    elif kind == 1:
        tint = rng.normal(0, 0.03, 3)
    else:
        amount = rng.uniform(0, 0.14)
        warm = np.array((1.0, 0.45, -0.6)) if kind == 2 else np.array((-0.9, 0.0, 0.6))
        tint = amount * warm + rng.normal(0, 0.01, 3)
    return np.clip(value + tint * value, 0.15, 1.0).astype(np.float32)


def draw_optical_depth(depth: FloatArray, rng: np.random.Generator, config: SynthesisConfig, plain: bool) -> FloatArray:
    height, width = depth.shape
    low, high = config.optical_depth
    mean = np.exp(rng.uniform(np.log(low), np.log(high))) if rng.random() < 0.5 else rng.uniform(0.2, high)
    optical = depth * np.float32(mean)
    if not plain and rng.random() < config.patchy:
        noise = smooth_noise(rng, height, width, int(rng.integers(2, 8)))
        optical = optical * np.exp(np.float32(rng.uniform(0.1, 0.4)) * noise)
    return np.asarray(np.minimum(optical, np.float32(rng.uniform(2.2, 4.0))), np.float32)


def random_depth(clear: FloatArray, segments: ByteArray, rng: np.random.Generator, room: float) -> FloatArray:
    """A depth that has nothing to do with the scene, or little: smooth, or following edges of the picture."""
    height, width = clear.shape[:2]
    kind = rng.choice(4, p=(0.15, 0.2, 0.4, 0.25))
    log_depth = _room(rng, height, width) if rng.random() < room else _ramp(rng, height, width)
    if kind == 0:
        log_depth = np.zeros_like(log_depth)  # even veil
    elif kind == 1:
        log_depth = 0.6 * smooth_noise(rng, height, width, int(rng.integers(2, 6)))
    elif kind == 2:
        levels = rng.standard_normal(SEGMENTS).astype(np.float32) * np.float32(rng.uniform(0.2, 0.8))
        log_depth = log_depth + guided_filter(luminance(clear), levels[segments], 5, 1e-3)  # no staircases at edges
    else:
        soft = cv2.GaussianBlur(clear, (0, 0), rng.uniform(0.6, 3.0))
        weights = rng.normal(0, 1.2, 3).astype(np.float32) + np.float32(rng.normal(0.4, 0.6))
        log_depth = log_depth + (soft - soft.mean(axis=(0, 1))) @ weights
    return np.exp(np.clip(log_depth, -3, 3)).astype(np.float32)


def _ramp(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Logarithm of a depth that grows towards a horizon, most often upwards, as it does in most photographs."""
    y = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    slope, tilt = rng.normal(1.0, 0.9), rng.normal(0, 0.5)
    horizon = rng.uniform(0.35, 1.3)
    return np.asarray(slope * np.minimum(y, horizon) ** rng.uniform(0.7, 2.5) * 1.6 + tilt * x, np.float32)


def _room(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Logarithm of the depth of an empty box seen from inside: floor, ceiling, walls and the end of the room."""
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] - np.float32(rng.normal(0, 0.15))
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] - np.float32(rng.normal(0, 0.25))
    floor, ceiling, left, right = np.exp(rng.normal(0, 0.5, 4)).astype(np.float32)
    nearness = np.maximum(np.maximum(y / floor, -y / ceiling), np.maximum(x / right, -x / left))
    return np.asarray(-np.log(np.maximum(nearness, np.float32(rng.uniform(0.08, 0.35)))), np.float32)


def push_back_haze(depth: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Depth beyond where the haze begins, which is behind up to two thirds of the view."""
    first = np.quantile(depth[::4, ::4], rng.uniform(0.1, 0.67))
    beyond = np.maximum(depth - np.float32(first), 0)
    return np.asarray(beyond + np.float32(1e-2) * depth, np.float32)


def soften_depth(depth: FloatArray, rng: np.random.Generator, even: float) -> FloatArray:
    """Change the spread of a depth and bring its mean to 1."""
    depth = np.minimum(depth, np.float32(rng.uniform(3, 12)) * np.median(depth))
    if rng.random() < even:
        return np.asarray(depth / depth.mean(), np.float32)
    depth = depth ** np.float32(rng.uniform(0.6, 1.1))
    depth = depth + np.float32(rng.uniform(0, 0.5)) * depth.mean()  # haze between the camera and the nearest thing
    return np.asarray(depth / depth.mean(), np.float32)


def share_lost(optical: FloatArray, sky: FloatArray) -> float:
    """Share of the light of the sky that the haze takes."""
    return float(1 - np.exp(-(optical * sky).sum() / max(float(sky.sum()), 1e-3)))


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> FloatArray:
    """Smooth noise of deviation about 1 with ``cells`` patches along a side."""
    knots = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def apply_haze(clear: FloatArray, transmission: FloatArray, airlight: FloatArray, in_srgb: bool) -> FloatArray:
    """Koschmieder's model, I = J t + A (1 - t) (He et al. 2011, Eq. 1)."""
    height, width = transmission.shape
    light = enlarge_airlight(airlight, height, width)
    share = transmission[..., None]
    if in_srgb:
        return clear * share + light * (1 - share)
    return linear_to_srgb(srgb_to_linear(clear) * share + srgb_to_linear(light) * (1 - share))


def enlarge_airlight(airlight: FloatArray, height: int, width: int) -> FloatArray:
    """Airlight (height, width, 3) from its grid, whose corners are the corners of the picture."""
    if np.ptp(airlight, axis=(0, 1)).max() == 0:
        return airlight[:1, :1]
    last = AIRLIGHT_GRID - 1
    y = np.linspace(0, last, height, dtype=np.float32)[:, None]
    x = np.linspace(0, last, width, dtype=np.float32)[None, :]
    y, x = np.broadcast_to(y, (height, width)).copy(), np.broadcast_to(x, (height, width)).copy()
    return np.asarray(cv2.remap(airlight, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
