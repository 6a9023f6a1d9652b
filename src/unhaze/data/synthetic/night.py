"""Night: a scene lit by lamps, seen through haze that the lamps make glow.

The light at a pixel is that of lamps of several colours, so the airlight differs from place to place, and each lamp
has a halo:

    I = L (R t) + L' (1 - t) + G    Zhang et al., "Fast Haze Removal for Nighttime Image Using Maximum Reflectance
                                    Prior", CVPR 2017, Eq. 3, with the glow G of Li et al., "Nighttime Haze Removal
                                    with Glow and Multiple Light Colors", ICCV 2015, Eq. 4

with reflectance R, illumination L, and L' the illumination of the haze itself, which is smoother. All of it happens in
linear light. The halo of a lamp falls off exponentially, and is wider and brighter the more haze lies before the lamp;
that stands for the atmospheric point spread function of Narasimhan and Nayar (CVPR 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from unhaze.physics.color import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

__all__ = ["Lamp", "NightView", "draw_lamps", "night_view"]

# linear RGB of common lamps: sodium, warm and cold white, mercury, and a few signs
_COLORS = np.array(
    [(1, 0.42, 0.08), (1, 0.62, 0.28), (1, 0.86, 0.66), (0.78, 0.9, 1), (0.6, 1, 0.85), (1, 0.15, 0.12), (0.2, 0.35, 1)]
)
_ODDS = (0.3, 0.25, 0.2, 0.12, 0.05, 0.05, 0.03)
_SKY_COLOR = np.array((0.55, 0.7, 1.0))  # moonlight and skyglow, bluish to a camera set to lamps
_WHITE_REFLECTANCE = 0.8


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light source.

    Attributes:
        x, y: Place, in shares of the width and the height.
        color: Linear RGB.
        power: Illumination of what is next to it, relative to the other lamps.
        reach: Distance at which its light has halved, in long sides of the picture.
        size: Radius of the lamp itself, likewise; 0 for a lamp outside the picture.
    """

    x: float
    y: float
    color: tuple[float, float, float]
    power: float
    reach: float
    size: float


@dataclass(frozen=True, slots=True)
class NightView:
    """What :func:`night_view` makes. h x w is the size of the picture.

    Attributes:
        hazy, clear: (h, w, 3) float32 RGB, sRGB-encoded, in [0, 1]; both under the same lamps and exposure.
        airlight: (h, w, 3) float32 RGB, sRGB-encoded, in [0, 1]: the colour of endless haze at each place, without
            glow.
    """

    hazy: FloatArray
    clear: FloatArray
    airlight: FloatArray


def draw_lamps(rng: np.random.Generator) -> tuple[Lamp, ...]:
    """Three to nine lamps, most in the upper half, some beyond the edge; most of one kind, as along a street."""
    main = rng.choice(len(_COLORS), p=_ODDS)
    lamps = []
    for _ in range(int(rng.integers(3, 10))):
        kind = main if rng.random() < 0.6 else rng.choice(len(_COLORS), p=_ODDS)
        color = _COLORS[kind] * np.exp(rng.normal(0, 0.06, 3))
        x, y = rng.uniform(-0.15, 1.15), rng.beta(1.5, 2.5) * 1.2 - 0.1
        inside = 0 <= x <= 1 and 0 <= y <= 1
        lamps.append(
            Lamp(
                x,
                y,
                (float(color[0]), float(color[1]), float(color[2])),
                power=float(np.exp(rng.normal(0, 0.5))),
                reach=rng.uniform(0.06, 0.3),
                size=float(rng.uniform(0.004, 0.015)) if inside else 0.0,
            )
        )
    return tuple(lamps)


def night_view(
    clear: FloatArray,
    transmission: FloatArray,
    lamps: tuple[Lamp, ...],
    *,
    ambient: float = 0.08,
    exposure: float = 0.25,
    glow: float = 0.6,
) -> NightView:
    """The same scene at night.

    Args:
        clear: (h, w, 3) float32 RGB of the scene by day, sRGB-encoded, in [0, 1]; taken for its reflectance.
        transmission: (h, w) float32 in (0, 1].
        lamps: The light.
        ambient: Light of the sky, relative to lamps of power 1.
        exposure: Mean of the hazy picture, linear, that the camera aims at before bright parts clip.
        glow: Strength of the halos; 0 for none.
    """
    height, width = transmission.shape
    # what lamps and sky shed on each place, drawn small: it is smooth, and a fraction of the work
    rows, columns = _part(height, 4), _part(width, 4)
    coarse = np.broadcast_to(np.asarray(ambient * _SKY_COLOR, np.float32), (rows, columns, 3)).copy()
    for lamp in lamps:
        # inverse square law from a lamp that hangs above what it lights
        near = 1 / (1 + np.square(_distances(lamp, rows, columns) / np.float32(lamp.reach)))
        coarse += near[..., None] * np.asarray(lamp.power * np.array(lamp.color), np.float32)
    blurred = np.asarray(cv2.GaussianBlur(coarse, (0, 0), 0.08 * max(coarse.shape)), np.float32)
    spread = _enlarge(blurred, height, width)
    light = _enlarge(coarse, height, width)
    reflected = srgb_to_linear(clear) * np.float32(_WHITE_REFLECTANCE) * light
    bulbs = _bulbs(lamps, height, width)
    share = transmission[..., None]
    hazy = (reflected + bulbs) * share + spread * (1 - share)  # Zhang et al. 2017, Eq. 3
    hazy = hazy + np.float32(glow) * _halos(lamps, transmission)  # Li et al. 2015, Eq. 4
    gain = np.float32(exposure / max(float(hazy.mean()), 1e-6))
    pictures = [linear_to_srgb(np.clip(each * gain, 0, 1)) for each in (hazy, reflected + bulbs, spread)]
    return NightView(*(np.asarray(each, np.float32) for each in pictures))


def _part(side: int, divisor: int) -> int:
    return max(1, -(-side // divisor))


def _enlarge(smooth: FloatArray, height: int, width: int) -> FloatArray:
    """Smooth light is drawn small, which costs a fraction, and enlarged."""
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


_EVERYTHING = (slice(None), slice(None))


def _distances(lamp: Lamp, height: int, width: int, part: tuple[slice, slice] = _EVERYTHING) -> FloatArray:
    """Distance of each pixel of a part of the picture from a lamp, in long sides."""
    longest = max(height, width)
    y = (np.arange(height, dtype=np.float32)[part[0]] + 0.5 - lamp.y * height) / longest
    x = (np.arange(width, dtype=np.float32)[part[1]] + 0.5 - lamp.x * width) / longest
    return np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)


def _bulbs(lamps: tuple[Lamp, ...], height: int, width: int) -> FloatArray:
    """The lamps themselves, far brighter than what they light."""
    shown = np.zeros((height, width, 3), np.float32)
    for lamp in lamps:
        if lamp.size > 0:
            # the pixels in which a lamp itself can be seen
            radius = 4 * lamp.size * max(height, width) + 1
            rows, columns = (
                slice(max(0, int(center - radius)), max(0, int(center + radius) + 1))
                for center in (lamp.y * height, lamp.x * width)
            )
            around = rows, columns
            disc = np.exp(-np.square(_distances(lamp, height, width, around) / np.float32(lamp.size)))
            shown[around] += disc[..., None] * np.asarray(8 * lamp.power * np.array(lamp.color), np.float32)
    return shown


def _halos(lamps: tuple[Lamp, ...], transmission: FloatArray) -> FloatArray:
    height, width = transmission.shape
    rows, columns = _part(height, 2), _part(width, 2)
    glow = np.zeros((rows, columns, 3), np.float32)
    for lamp in lamps:
        row, column = (min(max(int(share * n), 0), n - 1) for share, n in ((lamp.y, height), (lamp.x, width)))
        scattered = 1 - float(transmission[row, column])
        halo = np.exp(-_distances(lamp, rows, columns) / np.float32(0.02 + 0.1 * scattered))
        glow += halo[..., None] * np.asarray(2 * scattered * lamp.power * np.array(lamp.color), np.float32)
    return _enlarge(glow, height, width)
