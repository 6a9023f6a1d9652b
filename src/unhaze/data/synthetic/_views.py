"""Views of clear scenes, varied so that few stand for many, and what a camera makes of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from unhaze.data.synthetic._bank import SEGMENTS, Scene
from unhaze.data.synthetic._haze import enlarge_airlight, smooth_noise
from unhaze.physics.color import luminance
from unhaze.physics.guided_filter import guided_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.data.synthetic.scenes import SynthesisConfig

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = ["degrade", "dim_below", "make_high_key", "make_overcast", "take_view", "to_bytes", "vary_scene"]


class _View(NamedTuple):
    """Part of a scene: clear (h, w, 3) in [0, 1]; the others as in the scene, the sky in [0, 1]."""

    clear: FloatArray
    depth: FloatArray | None
    segments: ByteArray
    sky: FloatArray | None


def take_view(scene: Scene, rng: np.random.Generator, zoom: tuple[float, float], height: int, width: int) -> _View:
    """A random part of a scene with the shape asked for, mirrored half of the time."""
    full_height, full_width = scene.image.shape[:2]
    share = rng.uniform(*zoom) if rng.random() < 0.6 else 1.0
    scale = min(full_height / height, full_width / width) * share
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = min(rows, full_height), min(columns, full_width)
    top, left = int(rng.integers(full_height - rows + 1)), int(rng.integers(full_width - columns + 1))
    part = np.s_[top : top + rows, left : left + columns]
    mirrored = rng.random() < 0.5

    def take(array: NDArray[Any], interpolation: int) -> NDArray[Any]:
        resized = cv2.resize(array[part], (width, height), interpolation=interpolation)
        return np.ascontiguousarray(resized[:, ::-1] if mirrored else resized)

    smooth = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return _View(
        np.asarray(take(scene.image, smooth), np.float32) / np.float32(255),
        None if scene.depth is None else np.asarray(take(scene.depth, smooth), np.float32),
        np.asarray(take(scene.segments, cv2.INTER_NEAREST), np.uint8),
        None if scene.sky is None else np.asarray(take(scene.sky, smooth), np.float32) / np.float32(255),
    )


def vary_scene(view: _View, rng: np.random.Generator, config: SynthesisConfig, indoors: bool) -> FloatArray:
    """The clear view with other paint, light and tone, so that few scenes stand for many."""
    clear = view.clear
    if rng.random() < config.repaint * (1 if indoors else 1 / 4):
        spread = rng.uniform(0.1, 0.4)
        brightness = rng.normal(0, spread, (SEGMENTS, 1)) + rng.normal(0, spread / 3, (SEGMENTS, 3))
        paint, gray = brightness.astype(np.float32)[view.segments], luminance(clear)
        for channel in range(3):
            smooth = guided_filter(gray, np.ascontiguousarray(paint[..., channel]), 5, 1e-3)  # no staircases at edges
            clear[..., channel] = np.clip(clear[..., channel] * np.exp(smooth), 0, 1)
    if rng.random() < config.relight:
        strength, (height, width) = np.float32(rng.uniform(0.1, 0.4)), clear.shape[:2]
        light = np.exp(strength * smooth_noise(rng, height, width, int(rng.integers(1, 4))))
        clear = np.clip(clear * light[..., None], 0, 1)
    # exposure, contrast, white balance and saturation
    if rng.random() < 0.25:
        return clear
    if rng.random() < (0.4 if indoors else 0.0):  # paint and furniture may have any colour; skies and leaves may not
        clear = clear[..., rng.permutation(3)]
    gray = clear.mean(axis=2, keepdims=True)
    clear = gray + (clear - gray) * np.float32(rng.uniform(0.5, 1.3))
    clear = np.clip(clear, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.22)))
    balance = np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    return np.asarray(np.clip(clear * balance * np.float32(rng.uniform(0.75, 1.1)), 0, 1), np.float32)


def make_high_key(clear: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A bright and pale exposure whose darkest parts stay dark: it looks like haze, and is none."""
    gray = clear.mean(axis=2, keepdims=True)
    clear = gray + (clear - gray) * np.float32(rng.uniform(0.1, 1.0))
    clear = np.clip(clear * np.float32(rng.uniform(1.0, 1.4)), 0, 1) ** np.float32(rng.uniform(0.45, 1.0))
    lift = np.float32(rng.uniform(0, 0.08))
    return np.asarray(lift + clear * (1 - lift), np.float32)


def make_overcast(clear: FloatArray, sky: FloatArray, airlight: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The scene under a sky of the colour of the haze, changing a little towards the top, with faint clouds."""
    height, width = sky.shape
    y = np.linspace(0.5, -0.5, height, dtype=np.float32)[:, None]
    change = np.float32(rng.normal(0, 0.08)) * y + np.float32(rng.normal(0, 0.02))
    change = change + np.float32(abs(rng.normal(0, 0.02))) * smooth_noise(rng, height, width, int(rng.integers(2, 9)))
    color = enlarge_airlight(airlight, height, width) * (1 + change[..., None])
    color = color + rng.normal(0, 0.008, 3).astype(np.float32)
    return np.asarray(clear + (np.clip(color, 0, 1) - clear) * sky[..., None], np.float32)


def dim_below(clear: FloatArray, light: FloatArray, rng: np.random.Generator) -> FloatArray:
    """In dim haze the scene is dim as well: no sun shines on it."""
    bright = float(np.percentile(clear[::4, ::4].max(axis=2), 97))
    goal = float(light.mean()) * rng.uniform(0.85, 1.25)
    return clear * np.float32(goal / bright) if bright > goal and rng.random() < 0.8 else clear


def degrade(hazy: FloatArray, rng: np.random.Generator, config: SynthesisConfig) -> ByteArray:
    """What a camera and a file do to the hazy picture."""
    height, width = hazy.shape[:2]
    if rng.random() < config.blur:
        hazy = np.asarray(cv2.GaussianBlur(hazy, (0, 0), rng.uniform(0.3, 1.0)), np.float32)
    if rng.random() < config.noise:
        hazy = hazy + rng.standard_normal(hazy.shape, np.float32) * np.float32(rng.uniform(0.002, 0.015))
    if rng.random() < config.shrink:
        share = rng.uniform(0.5, 0.95)
        size = (max(1, round(width * share)), max(1, round(height * share)))
        small = cv2.resize(hazy, size, interpolation=cv2.INTER_AREA)
        hazy = np.asarray(cv2.resize(small, (width, height)), np.float32)
    pixels = to_bytes(hazy)
    if rng.random() < config.jpeg:
        stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))])[1]
        pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def to_bytes(image: FloatArray) -> ByteArray:
    """Values in [0, 1] as bytes, rounded half up; what lies outside is clipped."""
    return np.asarray(np.clip(image * 255 + np.float32(0.5), 0, 255), np.uint8)
