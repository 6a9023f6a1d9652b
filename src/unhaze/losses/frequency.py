"""Losses on the spectrum of a picture, as OKNet, SGDN and MITNet train with them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unhaze.errors import UnknownNameError

__all__ = ["Coefficients", "amplitude_loss", "frequency_loss", "target_with_phase_of"]

Coefficients = Literal["half", "all"]


def frequency_loss(preds: Tensor, target: Tensor, coefficients: Coefficients = "half") -> Tensor:
    """Mean absolute error of the real and the imaginary parts of the spectrum, which is not scaled.

    Args:
        preds: (B, C, H, W).
        target: The same shape.
        coefficients: Mean over ``"half"`` of the spectrum, which holds all that there is to know (``rfft2``: SGDN,
            MITNet), or over ``"all"`` (``fft2``: OKNet), where the other half repeats it.

    Raises:
        UnknownNameError: There is no such choice.

    >>> float(frequency_loss(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), "all"))  # one of 32 numbers is 16
    0.5
    """
    if coefficients not in ("half", "all"):
        raise UnknownNameError("choice of coefficients", coefficients, ("half", "all"))
    width = preds.shape[-1]
    error = torch.view_as_real(torch.fft.rfft2(preds.float() - target.float())).abs()
    if coefficients == "half":
        return error.mean()
    per_column = error.mean(dim=(0, 1, 2, 4))
    # each column that the half spectrum leaves out mirrors one that it has
    twice = per_column[1 : (width + 1) // 2].sum()
    return (per_column.sum() + twice) / width


def amplitude_loss(amplitude: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of a predicted amplitude (MITNet, first stage).

    Args:
        amplitude: (B, C, H, W // 2 + 1), predicted.
        target: (B, C, H, W), the picture whose amplitude it should be.
    """
    return (amplitude.float() - torch.fft.rfft2(target.float()).abs()).abs().mean()


def target_with_phase_of(target: Tensor, hazy: Tensor) -> Tensor:
    """A picture with the amplitude of ``target`` and the phase of ``hazy``: what MITNet's first stage should return.

    Args:
        target: (B, C, H, W).
        hazy: The same shape.
    """
    spectrum = torch.polar(torch.fft.rfft2(target.float()).abs(), torch.fft.rfft2(hazy.float()).angle())
    return torch.fft.irfft2(spectrum, s=target.shape[-2:])
