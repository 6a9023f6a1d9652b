"""Transmission and depth from a single picture, by priors on what clear pictures look like.

Pictures are (H, W, 3) RGB float32, sRGB-encoded, in [0, 1]; ``patch`` is the side of a square window in pixels, odd.
Windows are clipped at the border of the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import UsageError
from unhaze.physics.scattering import transmission_from_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.types import FloatMap

__all__ = [
    "boundary_transmission",
    "color_attenuation_depth",
    "color_attenuation_transmission",
    "contextual_regularization",
    "dark_channel",
    "dark_channel_transmission",
]

# below this a channel of the airlight or a range of radiance is taken as this large: nothing is divided by zero
_TINY = 1 / 255


def dark_channel(image: NDArray[Any], patch: int) -> FloatMap:
    """Smallest value of any channel within a window (He et al. 2011, Eq. 5).

    In clear outdoor pictures it is near 0 outside the sky; haze lifts it.

    Args:
        image: (H, W, 3) RGB, any range.
        patch: Side of the window in pixels, odd; 15 in the paper at about 600 x 450 pixels.

    Returns:
        (H, W) float32.

    Raises:
        UsageError: ``patch`` is even or below 1.
    """
    return _erode(_channel_min(np.asarray(image, np.float32)), patch)


def dark_channel_transmission(image: NDArray[Any], airlight: NDArray[Any], patch: int, omega: float = 0.95) -> FloatMap:
    """Transmission by the dark channel prior, t = 1 - omega · dark(I / A) (He et al. 2011, Eq. 12).

    Args:
        image: (H, W, 3) RGB in [0, 1].
        airlight: (3,) RGB in [0, 1].
        patch: Side of the window in pixels, odd.
        omega: Share of the haze to see, in [0, 1]; what is left keeps distant things looking distant.

    Returns:
        (H, W) float32 in [1 - omega, 1]. Where all channels are brighter than the airlight, which the model does not
        provide for, it is 1 - omega.

    Raises:
        UsageError: ``patch`` is even or below 1, or ``omega`` is outside [0, 1].
    """
    if not 0 <= omega <= 1:
        raise UsageError(f"omega must be in [0, 1], but is {omega}.")
    gain = (1 / np.maximum(airlight, _TINY)).astype(np.float32)
    dark = dark_channel(np.asarray(image, np.float32) * gain, patch)
    return np.float32(1) - np.float32(omega) * np.clip(dark, 0, 1)  # Eq. 12


def color_attenuation_depth(image: NDArray[Any], patch: int) -> FloatMap:
    """Relative depth by the colour attenuation prior (Zhu, Mai and Shao 2015, Eq. 8).

    Haze makes things brighter and paler, so that brightness minus saturation grows with depth. The coefficients are
    those the authors learned. The random term of the
    model (sigma = 0.041337) is left out: it only adds noise to an estimate, and the same picture shall give the same
    depth every time.

    Args:
        image: (H, W, 3) RGB in [0, 1].
        patch: Side of the window of the local minimum (Eq. 19) in pixels, odd; 15 in the paper. It keeps near things
            that are white from being taken for far ones.

    Returns:
        (H, W) float32 in about [-0.66, 1.08]; depth up to scale, far is large.

    Raises:
        UsageError: ``patch`` is even or below 1.
    """
    image = np.asarray(image, np.float32)
    low = _channel_min(image)
    value = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
    saturation = (value - low) / np.maximum(value, np.float32(1e-6))
    depth = np.float32(0.121779) + np.float32(0.959710) * value - np.float32(0.780245) * saturation  # Eq. 8
    return _erode(np.asarray(depth, np.float32), patch)


def color_attenuation_transmission(depth: NDArray[Any], beta: float = 1.0) -> FloatMap:
    """Transmission of a depth by the colour attenuation prior, limited to [0.1, 0.9] (Zhu et al. 2015, Eq. 23).

    Args:
        depth: (H, W) depth of :func:`color_attenuation_depth`, refined or not.
        beta: Scattering coefficient per unit of that depth, not negative.

    Returns:
        (H, W) float32 in [0.1, 0.9].

    Raises:
        UsageError: ``beta`` is negative.
    """
    transmission = transmission_from_depth(np.asarray(depth, np.float32), beta)
    return np.clip(transmission, np.float32(0.1), np.float32(0.9))


def boundary_transmission(
    image: NDArray[Any], airlight: NDArray[Any], *, lower: float = 20 / 255, upper: float = 300 / 255, patch: int = 3
) -> FloatMap:
    """Smallest transmission that keeps the restored radiance within bounds, patch by patch (Meng et al. 2013).

    Args:
        image: (H, W, 3) RGB in [0, 1].
        airlight: (3,) RGB in [0, 1].
        lower: Smallest radiance of a clear picture (C0).
        upper: Largest radiance of a clear picture (C1); above 1 to be safe with bright things.
        patch: Side of the window in pixels, odd; 3 in the authors' code.

    Returns:
        (H, W) float32 in [0, 1]; 0 where a patch has the very colour of the airlight.

    Raises:
        UsageError: ``patch`` is even or below 1, or the bounds are not in order.
    """
    if not lower < upper:
        raise UsageError(
            f"The lower bound of the radiance must be below the upper one, but {lower} is not below {upper}."
        )
    inherent = np.zeros(image.shape[:2], np.float32)
    for plane, light in zip(cv2.split(np.asarray(image, np.float32)), airlight, strict=True):
        darker = (np.float32(light) - plane) * np.float32(1 / max(light - lower, _TINY))
        brighter = (plane - np.float32(light)) * np.float32(1 / max(upper - light, _TINY))
        inherent = np.maximum(inherent, np.maximum(darker, brighter))  # Eq. 7
    largest = cv2.dilate(np.minimum(inherent, np.float32(1)), _window(patch))
    return _erode(np.asarray(largest, np.float32), patch)  # Eq. 9: min of max, a closing


def contextual_regularization(
    transmission: NDArray[Any], image: NDArray[Any], *, weight: float = 2.0, sigma: float = 0.5, iterations: int = 6
) -> FloatMap:
    """Smooth a transmission within things and let it jump between them (Meng et al. 2013, section 3.2 and 3.3).

    Minimises weight / 2 · ||t - t0||² + sum_j || W_j ∘ (D_j ⊗ t) ||_1 (Eq. 18) over a bank of high-order filters D_j,
    with weights W_j that are small where the picture has an edge, by half-quadratic splitting: shrinkage of the filter
    responses and a linear system in turn. Two things differ from the text of the paper. The L1 terms are divided by the
    number of filters, as in the authors' code, to which the usual ``weight`` of 2 belongs; without that, it blurs
    nearly everything away. And the authors solve the system by an FFT, which joins opposite borders of the picture;
    here the picture is mirrored at its borders, and the system solved by the cosine transform that goes with it.

    Args:
        transmission: (H, W) first estimate t0, such as of :func:`boundary_transmission`.
        image: (H, W, 3) RGB in [0, 1], the hazy picture.
        weight: Weight of the first estimate (lambda), positive; smaller is smoother.
        sigma: Deviation of the filter response of the picture at which an edge counts as one, positive.
        iterations: Steps of the continuation. Its penalty beta grows from 1 by the factor 2√2 per step; the paper goes
            up to 2⁸, which is 6 steps.

    Returns:
        (H, W) float32.

    Raises:
        UsageError: An argument is out of range, or the shapes do not match.
    """
    if not weight > 0 or not sigma > 0 or iterations < 0:
        raise UsageError("weight and sigma must be positive and iterations at least 0 for the regularisation.")
    if image.shape[:2] != transmission.shape:
        raise UsageError(f"Picture {image.shape[:2]} and transmission {transmission.shape} differ in size.")
    height, width = transmission.shape
    # the cosine transform of OpenCV takes even sizes only, and is quick for smooth numbers
    tall, wide = (2 * cv2.getOptimalDFTSize((side + 1) // 2) for side in (height, width))
    first = _mirror(np.asarray(transmission, np.float32), 0, tall - height, 0, wide - width)
    framed = _mirror(np.asarray(image, np.float32), 2, tall - height + 2, 2, wide - width + 2)
    edge_weights = []  # W_j = exp(-sum_c (D_j ⊗ I^c)² / (2 sigma²)) (Eq. 17)
    for kernel in _FILTERS:
        response = _filter(framed, kernel)[1:-1, 1:-1]
        energy = np.einsum("hwc,hwc->hw", response, response)
        edge_weights.append(np.exp(energy * np.float32(-0.5 / sigma**2)))
    solved = _split_and_solve(first, edge_weights, weight, iterations)
    return np.ascontiguousarray(solved[:height, :width])


def _split_and_solve(first: FloatMap, edge_weights: list[FloatMap], weight: float, iterations: int) -> FloatMap:
    """Half-quadratic splitting on a map of even size; the weights have a frame of one more pixel all around."""
    first_spectrum, bank_spectrum = cv2.dct(first), _bank_spectrum(*first.shape)
    current = first
    for step in range(iterations):
        beta = (2 * np.sqrt(2)) ** step
        framed = _mirror(current, 2, 2, 2, 2)
        combined = np.zeros_like(first)
        for kernel, edge_weight in zip(_FILTERS, edge_weights, strict=True):
            response = _filter(framed, kernel)[1:-1, 1:-1]
            limit = edge_weight * np.float32(1 / (beta * len(_FILTERS)))
            shrunk = response - np.clip(response, -limit, limit)  # Eq. 20
            combined += _filter(shrunk, kernel[::-1, ::-1])[1:-1, 1:-1]  # the transposed filter
        ratio = np.float32(weight / beta)
        spectrum = (ratio * first_spectrum + cv2.dct(combined)) / (ratio + bank_spectrum)  # Eq. 21
        current = np.asarray(cv2.idct(spectrum), np.float32)
    return current


def _filter_bank() -> list[FloatMap]:
    """Eight Kirsch operators and a Laplacian, each of unit norm (Meng et al. 2013, section 3.2)."""
    ring = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    bank = []
    for turn in range(8):
        kernel = np.zeros((3, 3))
        for place, (row, column) in enumerate(ring):
            kernel[row, column] = 5 if (place - turn) % 8 < 3 else -3
        bank.append(kernel)
    laplacian = np.full((3, 3), -1.0)
    laplacian[1, 1] = 8
    bank.append(laplacian)
    return [(kernel / np.linalg.norm(kernel)).astype(np.float32) for kernel in bank]


_FILTERS = _filter_bank()


def _bank_spectrum(height: int, width: int) -> FloatMap:
    """sum_j |F(D_j)|² at the frequencies of the cosine transform of a (height, width) map.

    The bank holds the mirror image of each of its filters, so this sum is even along both axes: it acts on a mirrored
    map as a factor of each cosine.
    """
    correlation = np.zeros((5, 5))
    for kernel in _FILTERS:
        correlation += cv2.filter2D(np.pad(kernel, 2).astype(np.float64), -1, kernel, borderType=cv2.BORDER_CONSTANT)[
            1:-1, 1:-1
        ]
    offsets = np.arange(-2, 3)
    cosines = [np.cos(np.pi * np.outer(np.arange(side), offsets) / side) for side in (height, width)]
    return (cosines[0] @ correlation @ cosines[1].T).astype(np.float32)


def _filter(x: FloatMap, kernel: FloatMap) -> FloatMap:
    """Correlation with a 3 x 3 kernel; the outermost pixels of the result are of no use."""
    return np.asarray(cv2.filter2D(x, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def _mirror(x: FloatMap, top: int, bottom: int, left: int, right: int) -> FloatMap:
    """Add pixels around, mirrored at the border with the border pixel repeated."""
    return np.asarray(cv2.copyMakeBorder(x, top, bottom, left, right, cv2.BORDER_REFLECT), np.float32)


def _channel_min(image: FloatMap) -> FloatMap:
    # a reduction over the last axis is some thirty times slower
    return np.minimum(np.minimum(image[..., 0], image[..., 1]), image[..., 2])


def _erode(x: FloatMap, patch: int) -> FloatMap:
    return np.asarray(cv2.erode(x, _window(patch)), np.float32)  # by default pixels outside never are the minimum


def _window(patch: int) -> NDArray[np.uint8]:
    if patch < 1 or patch % 2 == 0:
        raise UsageError(
            f"A patch must have an odd side of at least 1 pixel, but is {patch}; take {patch + 1} instead."
        )
    return np.ones((patch, patch), np.uint8)
