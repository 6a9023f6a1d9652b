"""Analytic depth and haze density, to add haze to a clear picture of which no depth is known.

All maps are functions of the place relative to the picture's size, so that the same picture at another resolution gets
the same haze.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UnknownNameError, UsageError
from unhaze.physics.color import Space
from unhaze.physics.scattering import add_haze, transmission_from_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.types import FloatMap

    Coordinates = NDArray[np.float64]

__all__ = ["DEPTH_KINDS", "analytic_depth", "haze_field", "synthesize_haze"]

_NEAR, _FAR = 1.0, 200.0  # [m]
_CAMERA_HEIGHT = 1.5  # [m], eye level
_CORRIDOR = 3.0  # [m], from its middle to a wall
_CONSTANT = 50.0  # [m]
_OCTAVES = 4

DEPTH_KINDS = ("constant", "plane", "radial", "ramp")
"""The kinds of :func:`analytic_depth`."""


def analytic_depth(kind: str, height: int, width: int, *, seed: int | None = None) -> FloatMap:
    """Depth of a simple scene.

    Args:
        kind: ``"plane"``: level ground seen by a pinhole camera 1.5 m above it whose focal length is the height of the
            picture, horizon one third from the top and 200 m, the farthest, above it.
            ``"ramp"``: grows linearly from 1 m at the bottom to 200 m at the top.
            ``"radial"``: a corridor or an avenue, walls 3 m from its middle, farthest in the centre.
            ``"constant"``: 50 m everywhere.
        height: Rows of the picture, at least 1.
        width: Columns of the picture, at least 1.
        seed: Moves the horizon of ``"plane"`` and the vanishing point of ``"radial"`` by up to 15 % of the picture at
            random, for variety; ``None`` leaves them where they are.

    Returns:
        (height, width) float32 depth [m] in [1, 200].

    Raises:
        UnknownNameError: There is no such kind.
        UsageError: A size is below 1.
    """
    _check_size(height, width)
    if kind not in DEPTH_KINDS:
        raise UnknownNameError("analytic depth", kind, DEPTH_KINDS)
    shift_y, shift_x = (0.0, 0.0)
    if seed is not None and kind != "ramp":  # a ramp has no vanishing point to move
        shift_y, shift_x = np.random.default_rng(seed).uniform(-0.15, 0.15, 2)
    y = (np.arange(height)[:, None] + 0.5) / height - shift_y  # from 0 at the top to 1 at the bottom
    x = (np.arange(width)[None, :] + 0.5) / width - shift_x
    match kind:
        case "plane":  # similar triangles; focal length 1, in heights of the picture
            depth = _CAMERA_HEIGHT / np.maximum(y - 1 / 3, 1e-9)
        case "ramp":
            depth = _FAR + (_NEAR - _FAR) * y
        case "radial":
            depth = _CORRIDOR / np.maximum(2 * np.hypot(y - 0.5, x - 0.5), 1e-9)
        case _:
            depth = np.full((1, 1), _CONSTANT)
    depth = np.clip(depth, _NEAR, _FAR)
    return np.ascontiguousarray(np.broadcast_to(depth, (height, width)), np.float32)


def haze_field(height: int, width: int, *, seed: int, scale: float = 0.25, contrast: float = 0.5) -> FloatMap:
    """Smooth random density of patchy haze.

    The logarithm of the density is a sum of octaves of noise, each a cubic B-spline with random values at its knots.

    Args:
        height: Rows of the picture, at least 1.
        width: Columns of the picture, at least 1.
        seed: The same seed gives the same field, at any resolution.
        scale: Size of the largest patches as a share of the longer side, positive.
        contrast: Standard deviation of the logarithm of the density, not negative; 0 is even haze.

    Returns:
        (height, width) float32, positive, with mean 1.

    Raises:
        UsageError: An argument is out of range.
    """
    _check_size(height, width)
    if not scale > 0 or not contrast >= 0:
        raise UsageError(f"scale must be positive and contrast not negative, but they are {scale} and {contrast}.")
    rng = np.random.default_rng(seed)
    longer = max(height, width)
    noise, power = np.zeros((height, width)), 0.0
    for octave in range(_OCTAVES):
        amplitude, cells = 0.5**octave, 2**octave / scale
        # always the knots of a square picture, so that the field depends on neither size nor shape
        knots = rng.standard_normal((int(np.ceil(cells)) + 3,) * 2)
        rows, columns = (_spline_basis((np.arange(n) + 0.5) / longer * cells, len(knots)) for n in (height, width))
        noise += amplitude * (rows @ knots @ columns.T)
        power += (amplitude * _SPLINE_RMS) ** 2
    density = np.exp(contrast / np.sqrt(power) * noise)
    return np.asarray(density / density.mean(), np.float32)


def synthesize_haze(
    clear: NDArray[Any],
    depth: NDArray[Any],
    *,
    beta: float,
    airlight: NDArray[Any] | float,
    density: NDArray[Any] | None = None,
    space: Space = "srgb",
) -> tuple[FloatMap, FloatMap]:
    """Add haze to a clear picture of known depth.

    Args:
        clear: (H, W, 3) RGB or (H, W) grey, sRGB-encoded, in [0, 1].
        depth: (H, W) depth [m].
        beta: Scattering coefficient [1/m], not negative; 0.02 is a thin fog with 200 m visibility.
        airlight: (3,) RGB or a number, sRGB-encoded, in [0, 1].
        density: (H, W) factor of ``beta`` along the line of sight through each pixel, such as a :func:`haze_field`;
            even haze by default.
        space: Light in which the model is applied, see :func:`~unhaze.physics.scattering.add_haze`.

    Returns:
        ``(hazy, transmission)``: the hazy picture, shape of ``clear``, sRGB-encoded, in [0, 1]; and (H, W) transmission
        in [0, 1]; float32.

    Raises:
        UsageError: ``beta`` is negative, or the shapes do not match.
    """
    for name, each in (("depth", depth), ("density", density)):
        if each is not None and each.shape != clear.shape[:2]:
            raise UsageError(f"The {name} has shape {each.shape}, but the picture needs {clear.shape[:2]}.")
    optical = np.asarray(depth, np.float32) if density is None else np.asarray(depth * density, np.float32)
    transmission = transmission_from_depth(optical, float(beta))
    shared = transmission[..., None] if clear.ndim == 3 else transmission
    light = np.asarray(airlight, np.float32)
    return add_haze(np.asarray(clear, np.float32), shared, light, space=space), transmission


def _spline_basis(places: Coordinates, knots: int) -> Coordinates:
    """(N, knots) weight of every knot at every place by the uniform cubic B-spline; place 0 is at the second knot."""
    away = np.abs(places[:, None] + 1 - np.arange(knots))
    inner = 2 / 3 - away**2 + away**3 / 2
    outer = np.maximum(2 - away, 0) ** 3 / 6
    return np.asarray(np.where(away < 1, inner, outer), np.float64)


# root mean square of a spline surface whose knots are independent with variance 1: along one axis the squared weights
# sum up to 151 / 315 in the mean, and there are two axes
_SPLINE_RMS = 151 / 315


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise UsageError(f"A picture of {height} x {width} pixels has none; both sides must be at least 1.")
