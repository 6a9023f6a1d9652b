"""Fog Aware Density Evaluator (FADE), with the parameters of its authors' release.

L. K. Choi, J. You, A. C. Bovik, "Referenceless prediction of perceptual fog density and perceptual image defogging",
IEEE TIP 24(11), 2015. Follows the release of the Laboratory for Image and Video Engineering, UT Austin (whose notice
lies next to the parameters), where paper and release differ too.

Deviation: in flat areas the MSCN coefficients of the release are rounding noise, whose sign decides whether a patch
counts. Here they are 0, and a patch that is flat throughout is dropped; the share of dropped patches is reported.
Pictures without flat areas are not affected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unhaze.errors import ImageValueError
from unhaze.metrics.functional._color import code_values, grey_codes
from unhaze.metrics.functional._common import check_images, check_side, load_parameters
from unhaze.metrics.functional._filters import blocks, correlate, local_contrast

__all__ = ["FadeDetails", "fade", "fade_details"]

PATCH = 8
SMALLEST_SIDE = 16  # the contrast filter needs ten rows, two patches a variance that means something
# integer greys differ by at least 1, which alone makes the smallest deviation 0.0125: less means a constant window
FLAT_DEVIATION = 1e-3
CONTRAST_GAIN = 0.1  # semi-saturation of the contrast energy
# noise thresholds of the contrast energy of grey, yellow-blue and red-green
CONTRAST_NOISE = (9.225496406318721e-4 * 255, 8.969246659629488e-4 * 255, 2.069284034165411e-4 * 255)


@dataclass(frozen=True, slots=True, eq=False)
class FadeDetails:
    """FADE of a batch, where the fog is, and what could not be used.

    Attributes:
        value: (B,) float64, the fog density.
        map: (B, H // 8, W // 8) float64, the fog density of every 8x8 patch; NaN where it was dropped.
        dropped: (B,) float64 in [0, 1], the share of patches that were dropped: flat or black ones, and those without
            any positive or any negative pair product.
    """

    value: Tensor
    map: Tensor
    dropped: Tensor


class _Model(NamedTuple):
    """A Gaussian of patch features, with W = B^(-1/2) for B = covariance / 2."""

    mean: Tensor
    whitening: Tensor
    whitened_ones: Tensor


def fade(preds: Tensor) -> Tensor:
    """Perceived fog density; lower is less fog.

    The contrast of every patch is measured against the strongest of the picture, so a crop or a tile has another
    density than the same area within the whole.

    Args:
        preds: (B, 3, H, W) in [0, 1], at least 16 pixels on each side. Scored as the 8-bit picture it rounds to;
            rows and columns beyond a multiple of 8 are left out.

    Returns:
        (B,) float64, at least 0.

    Raises:
        ImageValueError: Not such images, too small, or without a single patch that could be used.
    """
    return fade_details(preds).value


@torch.no_grad()
def fade_details(preds: Tensor) -> FadeDetails:
    """As :func:`fade`, together with the map of densities and the share of dropped patches.

    Args:
        preds: (B, 3, H, W) RGB in [0, 1].

    Raises:
        ImageValueError: As :func:`fade`.
    """
    images = check_images(preds)
    check_side(images, SMALLEST_SIDE, "FADE")
    rows, columns = images.shape[2] // PATCH, images.shape[3] // PATCH
    codes = code_values(images[:, :, : rows * PATCH, : columns * PATCH])
    features = _features(codes).log1p_()  # (B, P, 12)
    spread = _variance_where(features.nan_to_num(), ~features.isnan())
    to_fog_free, to_foggy = (_distance(features, spread, model) for model in _models(codes.device))
    dropped = to_fog_free.isnan()
    if dropped.all(dim=1).any():
        raise ImageValueError("FADE is not defined for a picture that is flat everywhere.")
    return FadeDetails(
        value=to_fog_free.nanmean(dim=1) / (to_foggy.nanmean(dim=1) + 1),  # Eq. 12, D = Df / (Dff + 1)
        map=(to_fog_free / (to_foggy + 1)).view(-1, rows, columns),
        dropped=dropped.double().mean(dim=1),
    )


def _features(codes: Tensor) -> Tensor:
    """The 12 fog aware features of every patch (Table I), in the order of the release: (B, P, 12)."""
    red, green, blue = codes.unbind(1)
    grey = grey_codes(codes)
    statistics = local_contrast(grey)
    flat = statistics.deviation < FLAT_DEVIATION
    deviation = statistics.deviation.masked_fill(flat, 0.0)
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    darkest, brightest = codes.amin(dim=1), codes.amax(dim=1)
    opponents = (0.299 * red + 0.587 * green + 0.114 * blue, yellow_blue, red_green)
    coefficients = _patches(statistics.normalised)
    pairs = _patches(statistics.normalised * statistics.normalised.roll(1, dims=-2))  # first row pairs with the last
    # D. Hasler and S. Suesstrunk, SPIE 5007, 2003
    across, along = _patches(red_green), _patches(yellow_blue)
    colourfulness = (across.var(dim=-1) + along.var(dim=-1)).sqrt()
    colourfulness = colourfulness + 0.3 * torch.hypot(across.mean(dim=-1), along.mean(dim=-1))
    features = [
        coefficients.var(dim=-1).masked_fill(_patches(flat).all(dim=-1), torch.nan),
        _variance_where(pairs, pairs >= 0),
        _variance_where(pairs, pairs <= 0),
        _mean(deviation),
        _mean(deviation / statistics.mean),  # NaN where black, and so is the patch
        *(_mean(_contrast_energy(*channel)) for channel in zip(opponents, CONTRAST_NOISE, strict=True)),
        _entropy(_patches(grey.to(torch.uint8))),
        _mean(darkest / 255),
        _mean((brightest - darkest) / brightest.clamp(min=1)),
        colourfulness,
    ]
    return torch.stack(features, dim=-1)


def _patches(plane: Tensor) -> Tensor:
    return blocks(plane, PATCH).flatten(-2)


def _mean(plane: Tensor) -> Tensor:
    return _patches(plane).mean(dim=-1)


def _variance_where(values: Tensor, kept: Tensor) -> Tensor:
    """Sample variance of the kept values: 0 for a single one, NaN for none."""
    count = kept.sum(dim=-1)
    mean = (values * kept).sum(dim=-1) / count
    squares = ((values - mean[..., None]).square_() * kept).sum(dim=-1)
    return squares / (count - 1).clamp(min=1)


def _contrast_energy(plane: Tensor, noise: float) -> Tensor:
    """Contrast energy, (B, H, W) to the same shape, after I. I. A. Groen et al., Journal of Vision 2013."""
    # the release copies the first ten and last ten rows and columns as they are, not mirrored
    padded_across = torch.cat((plane[..., 1:10], plane, plane[..., -10:]), dim=-1)
    padded_down = torch.cat((plane[..., 1:10, :], plane, plane[..., -10:, :]), dim=-2)
    across, down = correlate(padded_across, _contrast_taps(), -1), correlate(padded_down, _contrast_taps(), -2)
    response = across.square_().add_(down.square_()).sqrt_()
    peak = response.amax(dim=(-2, -1), keepdim=True)
    energy = (response * peak).div_(response.add_(CONTRAST_GAIN * peak)).sub_(noise)
    return energy.masked_fill_(~(energy > 1e-7), 0.0)  # a plane without contrast is NaN before


@cache
def _contrast_taps() -> tuple[float, ...]:
    """Second derivative of a Gaussian, sigma 3.25, on the release's 20 asymmetric points, reversed for correlation."""
    sigma = 3.25
    x = -9.75 + np.arange(20)
    gaussian = np.exp(-(x**2) / (2 * sigma**2))
    taps = (x**2 / sigma**4 - 1 / sigma**2) * gaussian / gaussian.sum()
    taps -= taps.mean()
    taps /= (0.5 * x**2 * taps).sum()
    return tuple(taps[::-1].tolist())


def _entropy(greys: Tensor) -> Tensor:
    """Entropy [bit] of the 64 greys of each patch."""
    one = torch.ones((), dtype=torch.uint8, device=greys.device).expand_as(greys)
    counts = torch.zeros(*greys.shape[:-1], 256, dtype=torch.uint8, device=greys.device)
    index = greys.long()
    counts.scatter_add_(-1, index, one)
    information = -(torch.arange(PATCH**2 + 1, dtype=torch.float64, device=greys.device) / PATCH**2).log2()
    return information[counts.gather(-1, index).long()].mean(dim=-1)


@cache
def _models(device: torch.device) -> tuple[_Model, _Model]:
    def model(name: str) -> _Model:
        half = torch.as_tensor(load_parameters("fade")[f"{name}_covariance"]) / 2
        identity = torch.eye(len(half), dtype=half.dtype)
        whitening = torch.linalg.solve_triangular(torch.linalg.cholesky(half), identity, upper=False)
        mean = torch.as_tensor(load_parameters("fade")[f"{name}_mean"])
        return _Model(mean.to(device), whitening.to(device), whitening.sum(dim=1).to(device))

    return model("fog_free"), model("foggy")


def _distance(features: Tensor, spread: Tensor, model: _Model) -> Tensor:
    """Mahalanobis-like distance of each patch to a model (Eq. 11): (B, P).

    The release adds the patch's scalar variance s to every entry of the covariance, A = (S + s 1 1') / 2, so the
    Sherman-Morrison formula gives A^-1 from the inverse of S / 2 that all patches share.
    """
    offset = (model.mean - features) @ model.whitening.mT
    along_ones = offset @ model.whitened_ones
    alpha = spread / 2
    correction = alpha * along_ones.square() / (1 + alpha * model.whitened_ones.square().sum())
    return (offset.square().sum(dim=-1) - correction).clamp_(min=0).sqrt_()
