"""Visibility index (VI) and realness index (RI): how alike two pictures are where haze hides, and where edges show.

S. Zhao, L. Zhang, S. Huang, Y. Shen, S. Zhao, "Dehazing evaluation: real-world benchmark datasets, criteria, and
baselines", IEEE TIP 29, 2020. Constants and sizes are those of the authors' MATLAB code (xiaofeng94/BeDDE-for-defogging
at ec95608). There, a mask leaves out what differs between the two photographs; here all of the picture counts. The
phase congruency of RI is that of P. Kovesi, "Image features from phase congruency", Videre 1(3), 1999, with the
constants of FSIM (L. Zhang et al., IEEE TIP 2011).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.errors import ImageValueError
from unhaze.metrics.functional._color import code_values, weighted_sum
from unhaze.metrics.functional._common import check_pair, check_side

__all__ = ["phase_congruency", "ri", "vi"]

SMALLEST_SIDE = 16
PATCH = 15  # of the dark channel [px]
BRIGHTEST = 0.01  # share of pixels that the airlight is the mean of
GRADIENT_CONSTANT = 160.0  # on codes 0 to 255
HAZE_EXPONENT = 0.4
LUMA = (0.299, 0.587, 0.114)
CONGRUENCY_CONSTANT = 0.85
CHROMA_CONSTANT, CHROMA_EXPONENT = 130.0, 0.02
CHROMA = ((0.30, 0.04, -0.35), (0.34, -0.60, 0.17))  # M and N of the LMN space
SCALES, ORIENTATIONS, SHORTEST_WAVE = 4, 4, 6.0
RADIAL_SPREAD, ANGULAR_SPREAD = 0.55, math.pi / 4 / 1.2
NOISE_DEVIATIONS, NOISE_DIVISOR = 2.0, 1.7
SCHARR = ((3.0, 0.0, -3.0), (10.0, 0.0, -10.0), (3.0, 0.0, -3.0))  # over 16


@torch.no_grad()
def vi(preds: Tensor, target: Tensor) -> Tensor:
    """Visibility index; higher is better, 1 for equal pictures.

    Args:
        preds: (B, 3, H, W) in [0, 1], sides of at least 16 px. Scored as the 8-bit picture it rounds to.
        target: The clear pictures, of the same shape.

    Returns:
        (B,) float64, at most 1.

    Raises:
        ImageValueError: Not such images, or two that hold no haze at all, or nothing else, for which it is not defined.
    """
    first, second = check_pair(preds, target)
    check_side(first, SMALLEST_SIDE, "VI")
    codes, clear_codes = code_values(first), code_values(second)
    found, clear = _halved(_transmission(codes / 255)), _halved(_transmission(clear_codes / 255))
    haze = torch.maximum(1 - found, 1 - clear)
    total = haze.sum(dim=(-2, -1))
    if (total.abs() < 1e-9).any():
        raise ImageValueError("VI is not defined for two pictures without any haze in their dark channels.")
    alike = _similarity(clear, found, clear.mean(dim=(-2, -1), keepdim=True))
    edges = _similarity(_slope(clear_codes), _slope(codes), GRADIENT_CONSTANT)
    value = (_power(alike, HAZE_EXPONENT) * edges * haze).sum(dim=(-2, -1)) / total
    if value.isnan().any():
        raise ImageValueError("VI is not defined for two pictures whose dark channels see haze alone.")
    return value


@torch.no_grad()
def ri(preds: Tensor, target: Tensor) -> Tensor:
    """Realness index; higher is better, 1 for equal pictures.

    Args:
        preds: (B, 3, H, W) in [0, 1], sides of at least 16 px. Scored as the 8-bit picture it rounds to.
        target: The clear pictures, of the same shape.

    Returns:
        (B,) float64, at most 1.

    Raises:
        ImageValueError: Not such images, or two without any structure, for which it is not defined.
    """
    first, second = check_pair(preds, target)
    check_side(first, SMALLEST_SIDE, "RI")
    codes, clear_codes = code_values(first), code_values(second)
    found, clear = (phase_congruency(_halved(weighted_sum(each, LUMA))) for each in (codes, clear_codes))
    weight = torch.maximum(found, clear)
    total = weight.sum(dim=(-2, -1))
    if not (total > 0).all():
        raise ImageValueError("RI is not defined for two pictures without any structure.")
    alike = _similarity(clear, found, CONGRUENCY_CONSTANT)
    planes = [[_halved(weighted_sum(each, weights)) for each in (clear_codes, codes)] for weights in CHROMA]
    chroma = torch.stack([_similarity(own, other, CHROMA_CONSTANT) for own, other in planes]).prod(0)
    return (alike * _power(chroma, CHROMA_EXPONENT) * weight).sum(dim=(-2, -1)) / total


def phase_congruency(planes: Tensor) -> Tensor:
    """How much the waves of all lengths agree at each pixel, in [0, 1], over four orientations.

    Args:
        planes: (B, H, W) float64.

    Returns:
        (B, H, W); NaN where a plane has no wave at all.
    """
    height, width = planes.shape[-2:]
    spectrum = torch.fft.fft2(planes)
    # radius and angle of every bin of the spectrum; the radius of the constant is 1, so that its logarithm is none
    rows, columns = (
        torch.fft.ifftshift(
            (torch.arange(side, dtype=torch.float64, device=planes.device) - side // 2) / (side - side % 2)
        )
        for side in (height, width)
    )
    radius, angle = torch.hypot(rows[:, None], columns[None, :]), torch.atan2(-rows[:, None], columns[None, :])
    radius[0, 0] = 1
    radial = []  # log-Gabor filters
    for scale in range(SCALES):
        centre = 1 / (SHORTEST_WAVE * 2**scale)
        low_pass = 1 / (1 + (radius / 0.45) ** 30)
        response = torch.exp(-(radius / centre).log().square() / (2 * math.log(RADIAL_SPREAD) ** 2)) * low_pass
        response[0, 0] = 0
        radial.append(response)
    energies, amplitudes = torch.zeros_like(planes), torch.zeros_like(planes)
    for orientation in range(ORIENTATIONS):
        turned = angle - orientation * math.pi / ORIENTATIONS
        distance = torch.atan2(turned.sin(), turned.cos())
        spread = torch.exp(-distance.square() / (2 * ANGULAR_SPREAD**2))
        filters = [each * spread for each in radial]
        waves = [torch.fft.ifft2(spectrum * each) for each in filters]
        # length of the waves along their mean, less what lies across it
        total = torch.stack(waves).sum(0)
        mean = total / (total.abs() + 1e-4)
        parts = [wave * mean.conj() for wave in waves]
        agreement = torch.stack([part.real - part.imag.abs() for part in parts]).sum(0)
        energies += (agreement - _noise_threshold(waves[0], filters)).clamp(min=0)
        amplitudes += torch.stack([wave.abs() for wave in waves]).sum(0)
    return energies / amplitudes


def _noise_threshold(shortest: Tensor, filters: list[Tensor]) -> Tensor:
    """The energy that noise of the strength seen in the shortest wave would have, (B, 1, 1)."""
    squared = shortest.abs().square().flatten(1)
    # the mean of the two middle values, where torch's median takes the lower one
    median = (squared.median(1).values - (-squared).median(1).values) / 2
    power = median / math.log(2) / filters[0].square().sum()
    kernels = [torch.fft.ifft2(each).real * math.sqrt(each.numel()) for each in filters]
    alone = torch.stack([kernel.square().sum() for kernel in kernels]).sum()
    together = torch.stack(kernels).sum(0).square().sum() - alone  # twice the sum over pairs
    tau = (power * (alone + together)).sqrt()
    threshold = tau * (math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2)) / NOISE_DIVISOR
    return threshold[:, None, None]


def _power(values: Tensor, exponent: float) -> Tensor:
    """Real part of a power, which is complex where a value is negative, as in the authors' code."""
    return torch.where(values < 0, math.cos(math.pi * exponent), 1.0) * values.abs() ** exponent


def _similarity(first: Tensor, second: Tensor, constant: Tensor | float) -> Tensor:
    return (2 * first * second + constant) / (first.square() + second.square() + constant)


def _transmission(images: Tensor) -> Tensor:
    """(B, H, W) by the dark channel prior; nothing bounds it below."""
    # column by column, as MATLAB counts pixels: it decides among equals
    dark = _dark_channel(images).mT.flatten(1)
    brightest = dark.sort(dim=1, descending=True, stable=True).indices[:, : int(dark.shape[1] * BRIGHTEST)]
    pixels = images.mT.flatten(2)
    airlight = pixels.gather(2, brightest[:, None].expand(-1, 3, -1)).mean(dim=2)
    return 1 - _dark_channel(images / airlight.clamp(min=1e-12)[..., None, None])


def _dark_channel(images: Tensor) -> Tensor:
    darkest = images.amin(dim=1, keepdim=True)
    return -functional.max_pool2d(-darkest, PATCH, 1, PATCH // 2)[:, 0]


def _halved(planes: Tensor) -> Tensor:
    """Means of 2x2 pixels; what lies beyond an odd side is 0."""
    height, width = planes.shape[-2:]
    return functional.avg_pool2d(functional.pad(planes[:, None], (0, width % 2, 0, height % 2)), 2)[:, 0]


def _slope(codes: Tensor) -> Tensor:
    """Length of the Scharr gradient of the halved luma, zeros around the picture."""
    luma = _halved(weighted_sum(codes, LUMA))[:, None]
    across = luma.new_tensor(SCHARR)[None, None] / 16
    return torch.hypot(*(functional.conv2d(luma, taps, padding=1)[:, 0] for taps in (across, across.mT)))
