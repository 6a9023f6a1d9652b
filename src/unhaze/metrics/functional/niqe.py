"""Naturalness Image Quality Evaluator (NIQE), with the parameters of its authors' release.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer", IEEE Signal Processing
Letters 20(3), 2013. Follows the release of the Laboratory for Image and Video Engineering, UT Austin (whose notice
lies next to the parameters), on MATLAB's rounded grey, and not the ``niqe`` of MathWorks, whose model differs.

Deviation: MSCN coefficients below 1e-8 are set to 0. In flat areas they are rounding noise, and the release fits one
distribution to each sign of it. Pictures without flat areas are not affected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unhaze.errors import ImageValueError
from unhaze.metrics.functional._color import code_values, grey_codes
from unhaze.metrics.functional._common import check_images, check_side, gaussian_shapes, load_parameters
from unhaze.metrics.functional._filters import blocks, halved, local_contrast

__all__ = ["NiqeDetails", "niqe", "niqe_details"]

BLOCK = 96
SMALLEST_SIDE = 256  # fewer blocks than 2 x 2 give no usable covariance
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True, slots=True, eq=False)
class NiqeDetails:
    """NIQE of a batch, and what it is based on.

    Attributes:
        value: (B,) float64, the distance to pristine pictures.
        dropped: (B,) float64 in [0, 1], the share of blocks left out of the covariance because a distribution could
            not be fitted (a flat block).
        blocks: Number of 96x96 blocks per picture.
    """

    value: Tensor
    dropped: Tensor
    blocks: int


def niqe(preds: Tensor) -> Tensor:
    """Distance of natural scene statistics to those of pristine pictures; lower is better.

    Args:
        preds: (B, 3, H, W) in [0, 1], at least 256 pixels on each side. Scored as the 8-bit picture it rounds to.

    Returns:
        (B,) float64, at least 0.

    Raises:
        ImageValueError: Not such images, too small, or too flat for a covariance.
    """
    return niqe_details(preds).value


@torch.no_grad()
def niqe_details(preds: Tensor) -> NiqeDetails:
    """As :func:`niqe`, together with the share of blocks that could not be used.

    Args:
        preds: (B, 3, H, W) RGB in [0, 1].

    Raises:
        ImageValueError: As :func:`niqe`.
    """
    images = check_images(preds)
    check_side(images, SMALLEST_SIDE, "NIQE")
    grey = grey_codes(code_values(images))
    grey = grey[:, : grey.shape[1] // BLOCK * BLOCK, : grey.shape[2] // BLOCK * BLOCK]
    features = torch.cat((_features(grey, BLOCK), _features(halved(grey), BLOCK // 2)), dim=-1)  # (B, P, 36)
    usable = ~features.isnan().any(dim=-1)
    if (usable.sum(dim=1) < 2).any():
        raise ImageValueError("NIQE is not defined for a picture that is flat nearly everywhere.")
    return NiqeDetails(_distance(features, usable), 1 - usable.double().mean(dim=1), features.shape[1])


def _features(grey: Tensor, size: int) -> Tensor:
    """The 18 features of every block: two of the MSCN coefficients, four of each product of neighbours."""
    coefficients = blocks(local_contrast(grey).normalised, size)  # (B, P, size, size)
    shape, left, right, _ = _fit(coefficients)
    features = [shape, (left + right) / 2]
    for shift in SHIFTS:
        # the release shifts each block by itself, so that neighbours wrap around inside the block
        shape, left, right, mean = _fit(coefficients * coefficients.roll(shift, dims=(-2, -1)))
        features += [shape, mean, left, right]
    return torch.stack(features, dim=-1)


def _fit(values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moment fit of an asymmetric generalised Gaussian (Lasmar et al., ICIP 2009): alpha, beta_l, beta_r, mean."""
    values = values.flatten(-2)
    left = values.clamp(max=0).square_().sum(dim=-1)
    right = values.clamp(min=0).square_().sum(dim=-1)
    mean_square = (left + right) / values.shape[-1]
    sigma_left = (left / (values < 0).sum(dim=-1)).sqrt()
    sigma_right = (right / (values > 0).sum(dim=-1)).sqrt()

    ratio = sigma_left / sigma_right
    moment = values.abs().mean(dim=-1).square() / mean_square
    moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    # the shape in 0.2:0.001:10 whose moment ratio is nearest; the first of the table where there is no moment
    shapes, moments = gaussian_shapes(moment.device)
    above = torch.searchsorted(moments, moment.contiguous()).clamp(1, len(moments) - 1)
    nearest = torch.where(moment - moments[above - 1] <= moments[above] - moment, above - 1, above)
    alpha = shapes[nearest.masked_fill(moment.isnan(), 0)]
    log_gamma1, log_gamma2, log_gamma3 = (torch.lgamma(k / alpha) for k in (1, 2, 3))
    scale = torch.exp((log_gamma1 - log_gamma3) / 2)
    beta_left, beta_right = sigma_left * scale, sigma_right * scale
    mean = (beta_right - beta_left) * torch.exp(log_gamma2 - log_gamma1)
    return alpha, beta_left, beta_right, mean


def _distance(features: Tensor, usable: Tensor) -> Tensor:
    parameters = load_parameters("niqe")
    mean = torch.as_tensor(parameters["mean"], device=features.device)
    covariance = torch.as_tensor(parameters["covariance"], device=features.device)
    count = usable.sum(dim=1)[:, None, None]
    rows = features.masked_fill(~usable[..., None], 0.0)
    rows = (rows - rows.sum(dim=1, keepdim=True) / count).masked_fill(~usable[..., None], 0.0)
    pooled = (rows.mT @ rows / (count - 1) + covariance) / 2
    offset = (mean - features.nanmean(dim=1))[..., None]  # the release takes the mean over every block it can
    squared: Tensor = offset.mT @ torch.linalg.solve(pooled, offset)
    return squared.flatten().sqrt()  # Eq. 10
