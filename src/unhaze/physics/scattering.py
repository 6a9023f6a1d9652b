"""The atmospheric scattering model, both ways (Koschmieder 1924; He, Sun and Tang 2011, Eqs. 1 and 2).

    I(x) = J(x) t(x) + A (1 - t(x)),    t(x) = exp(-beta d(x))

with the hazy picture I, the clear picture J, the airlight A, the transmission t, the scattering coefficient beta [1/m]
and the depth d [m]. They are Eqs. 1 and 2 of "Depth Information Assisted Collaborative Mutual Promotion Network for
Single Image Dehazing" and Eq. 1 of "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?".

All functions work on numpy arrays and on torch tensors (where they are differentiable), and follow the broadcasting
rules of either: for an (H, W, 3) picture give the transmission as (H, W, 1) and the airlight as (3,) or (H, W, 3); for
a (B, 3, H, W) batch give (B, 1, H, W) and (B, 3, 1, 1). All arguments of one call are of the same kind, plain numbers
apart.
"""

from __future__ import annotations

from typing import Any, TypeVar

from unhaze.errors import UsageError
from unhaze.physics.color import Space, array_namespace, linear_to_srgb, srgb_to_linear

__all__ = ["add_haze", "depth_from_transmission", "remove_haze", "scale_optical_depth", "transmission_from_depth"]

ArrayT = TypeVar("ArrayT")


def transmission_from_depth(depth: ArrayT, beta: Any) -> ArrayT:
    """Share of light that travels ``depth`` without being scattered: t = exp(-beta d) (He et al. 2011, Eq. 2).

    Args:
        depth: Distance from the camera [m], not negative, (H, W) or any other shape.
        beta: Scattering coefficient [1/m], not negative: a number, or an array that broadcasts against ``depth`` (a
            density that differs from place to place). Visibility is about 3.9 / beta metres.

    Returns:
        Transmission in (0, 1], shape of ``depth``; 0 where the depth is infinite.

    Raises:
        UsageError: ``beta`` is a negative number.
    """
    if isinstance(beta, int | float) and not beta >= 0:
        raise UsageError(f"beta must not be negative, but is {beta}; give a scattering coefficient in 1/m, e.g. 0.01.")
    transmission: ArrayT = array_namespace(depth).exp(-beta * depth)
    return transmission


def depth_from_transmission(transmission: ArrayT, beta: Any = 1.0) -> ArrayT:
    """Depth at which ``transmission`` is left, d = -ln(t) / beta; the inverse of :func:`transmission_from_depth`.

    Args:
        transmission: Values in (0, 1], (H, W) or any other shape. 0 gives an infinite depth in tensors; numpy warns as
            well.
        beta: Scattering coefficient [1/m], positive. With the default 1 the result is the optical depth, which is the
            depth up to an unknown scale.

    Returns:
        Depth [m], not negative, shape of ``transmission``.

    Raises:
        UsageError: ``beta`` is a number and not positive.
    """
    if isinstance(beta, int | float) and not beta > 0:
        raise UsageError(f"beta must be positive, but is {beta}; give a scattering coefficient in 1/m, e.g. 0.01.")
    depth: ArrayT = array_namespace(transmission).log(transmission) / -beta
    return depth


def add_haze(clear: ArrayT, transmission: Any, airlight: Any, *, space: Space = "srgb") -> ArrayT:
    """Haze a clear picture: I = J t + A (1 - t) (He et al. 2011, Eq. 1).

    Args:
        clear: Clear picture J, sRGB-encoded, nominally in [0, 1]: (H, W, 3), (B, 3, H, W) or any other shape.
        transmission: Share of light t that arrives unscattered, in [0, 1]; broadcasts against ``clear``: (H, W, 1) or
            (B, 1, H, W).
        airlight: Colour of the haze A, sRGB-encoded, in [0, 1]; broadcasts against ``clear``: (3,) or (B, 3, 1, 1).
        space: Light in which the model is applied. ``"linear"`` is the physics; ``"srgb"`` applies it to the encoded
            values, as most data sets (RESIDE among them) and classic methods do. Values given and returned are
            sRGB-encoded in both cases.

    Returns:
        Hazy picture I, sRGB-encoded, type and shape of ``clear``; inside [0, 1] where the inputs are.

    Raises:
        UsageError: ``space`` is neither.
    """
    scene, light = _enter(clear, space), _enter(airlight, space)
    hazy: ArrayT = _leave((scene - light) * transmission + light, space)
    return hazy


def remove_haze(
    hazy: ArrayT, transmission: Any, airlight: Any, *, space: Space = "srgb", minimum: float = 0.0
) -> ArrayT:
    """Restore a hazy picture: J = (I - A) / max(t, minimum) + A (He et al. 2011, Eq. 22); inverts :func:`add_haze`.

    Args:
        hazy: Hazy picture I, sRGB-encoded, nominally in [0, 1]: (H, W, 3), (B, 3, H, W) or any other shape.
        transmission: Share of light t that arrives unscattered, in (0, 1]; broadcasts against ``hazy``: (H, W, 1) or
            (B, 1, H, W).
        airlight: Colour of the haze A, sRGB-encoded, in [0, 1]; broadcasts against ``hazy``: (3,) or (B, 3, 1, 1).
        space: Light in which the model is inverted; values given and returned are sRGB-encoded in both cases.
        minimum: Transmission below which no more haze is taken away, because noise would be all that is left; He et
            al. use 0.1. With 0 the transmission must be positive everywhere.

    Returns:
        Restored picture J, sRGB-encoded, type and shape of ``hazy``. Not clipped: where the model does not fit, values
        leave [0, 1].

    Raises:
        UsageError: ``space`` is neither, or ``minimum`` is outside [0, 1].
    """
    if not 0 <= minimum <= 1:
        raise UsageError(f"The minimum transmission must be in [0, 1], but is {minimum}.")
    scene, light = _enter(hazy, space), _enter(airlight, space)
    if minimum > 0:
        transmission = array_namespace(transmission).clip(transmission, minimum, None)
    restored: ArrayT = _leave((scene - light) / transmission + light, space)
    return restored


def scale_optical_depth(transmission: ArrayT, strength: Any) -> ArrayT:
    """Transmission through ``strength`` times as much haze: t ** strength, for the optical depth -ln(t) scales.

    Args:
        transmission: Values in (0, 1], (H, W) or any other shape.
        strength: Factor of the optical depth. 1 changes nothing, 0 is no haze at all (t = 1), and a negative factor
            gives the reciprocal, with which :func:`remove_haze` adds haze.

    Returns:
        Transmission, of the same shape; in (0, 1] for a ``strength`` that is not negative.
    """
    base: Any = transmission
    scaled: ArrayT = base**strength
    return scaled


def _enter(encoded: Any, space: Space) -> Any:
    if space == "srgb":
        return encoded
    if space == "linear":
        return srgb_to_linear(encoded)
    raise UsageError(f"There is no light space {space!r}; choose 'srgb' or 'linear'.")


def _leave(values: Any, space: Space) -> Any:
    return linear_to_srgb(values) if space == "linear" else values
