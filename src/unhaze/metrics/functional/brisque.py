"""Blind/Referenceless Image Spatial Quality Evaluator (BRISQUE), with the model of its authors' release.

A. Mittal, A. K. Moorthy, A. C. Bovik, "No-reference image quality assessment in the spatial domain", IEEE TIP 21(12),
2012. Follows the release of the Laboratory for Image and Video Engineering, UT Austin (whose notice lies next to the
parameters): MATLAB's rounded grey, zeros around the picture, neighbours that wrap around it, and a support vector
regression on the scores of the LIVE database. MathWorks' ``brisque`` has another model.

Deviation: MSCN coefficients below 1e-8 are set to 0, as for NIQE; the release rounds its features to six decimals on
the way to the regression.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unhaze.errors import ImageValueError
from unhaze.metrics.functional._color import code_values, grey_codes
from unhaze.metrics.functional._common import check_images, check_side, gaussian_shapes, load_parameters
from unhaze.metrics.functional._filters import halved, local_contrast

__all__ = ["brisque", "brisque_features"]

SMALLEST_SIDE = 16
SHIFTS = ((0, 1), (1, 0), (1, 1), (-1, 1))


def brisque(preds: Tensor) -> Tensor:
    """Distortion as people see it; lower is better, as a rule within 0 and 100.

    Args:
        preds: (B, 3, H, W) in [0, 1], at least 16 pixels on each side. Scored as the 8-bit picture it rounds to.

    Returns:
        (B,) float64.

    Raises:
        ImageValueError: Not such images, too small, or without any texture.
    """
    features = brisque_features(preds)
    model = {
        name: torch.as_tensor(array).double().to(features.device) for name, array in load_parameters("brisque").items()
    }
    scaled = 2 * (features - model["least"]) / (model["greatest"] - model["least"]) - 1
    distances = (scaled[:, None] - model["vectors"]).square().sum(-1)
    scores: Tensor = (torch.exp(-model["gamma"] * distances) * model["coefficients"]).sum(1) - model["rho"]
    return scores


@torch.no_grad()
def brisque_features(preds: Tensor) -> Tensor:
    """The 36 features of a picture: 18 at its size and 18 at half of it, (B, 36) float64.

    Args:
        preds: (B, 3, H, W) in [0, 1].

    Raises:
        ImageValueError: As :func:`brisque`.
    """
    images = check_images(preds)
    check_side(images, SMALLEST_SIDE, "BRISQUE")
    grey = grey_codes(code_values(images))
    features = torch.cat((_of_scale(grey), _of_scale(halved(grey))), dim=1)
    if not features.isfinite().all():
        raise ImageValueError("BRISQUE is not defined for a picture without texture.")
    return features


def _of_scale(grey: Tensor) -> Tensor:
    coefficients = local_contrast(grey, "constant").normalised
    # moment fit of a generalised Gaussian: shape and variance
    values = coefficients.flatten(1)
    variance = values.square().mean(1)
    shapes, moments = gaussian_shapes(values.device)
    nearest = _nearest(moments.reciprocal(), variance / values.abs().mean(1).square())
    features = [shapes[nearest], variance]
    for shift in SHIFTS:
        features += _fit_sides(coefficients * coefficients.roll(shift, dims=(-2, -1)))
    return torch.stack(features, dim=-1)


def _fit_sides(values: Tensor) -> list[Tensor]:
    """Moment fit of an asymmetric generalised Gaussian: shape, mean, variance to the left and to the right."""
    values = values.flatten(1)
    left = (values.clamp(max=0).square().sum(1) / (values < 0).sum(1)).sqrt()
    right = (values.clamp(min=0).square().sum(1) / (values > 0).sum(1)).sqrt()
    ratio = left / right
    moment = values.abs().mean(1).square() / values.square().mean(1)
    moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square()
    shapes, moments = gaussian_shapes(values.device)
    alpha = shapes[_nearest(moments, moment)]
    log_gamma1, log_gamma2, log_gamma3 = (torch.lgamma(k / alpha) for k in (1, 2, 3))
    mean = (right - left) * torch.exp(log_gamma2 - log_gamma1 + (log_gamma1 - log_gamma3) / 2)
    return [alpha, mean, left.square(), right.square()]


def _nearest(table: Tensor, wanted: Tensor) -> Tensor:
    return (table - wanted[:, None]).abs().argmin(1)
