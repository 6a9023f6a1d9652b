"""What priors on haze say of a transmission, as losses on photographs that have no clear twin.

Of PSD: Chen, Wang, Yang, Liu, "PSD: Principled Synthetic-to-Real Dehazing Guided by Physical Priors", CVPR 2021;
official code zychen-ustc/PSD-Principled-Synthetic-to-Real-Dehazing-Guided-by-Physical-Priors at 268b02a (MIT). The
energy of the dark channel is that of Golts, Freedman, Elad, "Unsupervised Single Image Dehazing Using Dark Channel
Prior Loss", IEEE TIP 2020.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["bright_channel_loss", "channel_extreme", "dark_channel_energy", "sky_loss", "spread_contrast"]


def channel_extreme(image: Tensor, patch: int, *, bright: bool = False) -> Tensor:
    """Dark channel, (B, 1, H, W): the least value of any channel within a square; or the largest.

    Args:
        image: (B, 3, H, W).
        patch: Odd side of the square [px].
        bright: The largest value instead.
    """
    if bright:
        return F.max_pool2d(image.amax(1, keepdim=True), patch, 1, patch // 2)
    return -F.max_pool2d(-image.amin(1, keepdim=True), patch, 1, patch // 2)


def dark_channel_energy(
    hazy: Tensor,
    transmission: Tensor,
    *,
    patch: int = 15,
    share: float = 0.001,
    omega: float = 0.95,
    fidelity: float = 0.01,
    matting: bool = False,
) -> Tensor:
    """How uneven a transmission is, and how far from that of the dark channel prior.

    Args:
        hazy: (B, 3, H, W) RGB in [0, 1].
        transmission: (B, 1, H, W).
        patch: Window of the dark channel [px].
        share: Share of the pixels with the brightest dark channel, of which the brightest gives the airlight.
        omega: Share of the haze that the prior takes away.
        fidelity: Weight of the distance to the prior.
        matting: Weigh differences within a 3x3 window by the matting Laplacian of the hazy picture, as the paper has
            it. In the official code a matrix product stands where the products are meant entry by entry, so that the
            weights of a window add up to 9, whatever it shows: then all 81 differences count alike.

    Returns:
        Sum over the batch, over the number of windows of a picture.
    """
    with torch.no_grad():
        dark = channel_extreme(hazy, patch).flatten(1)
        chosen = dark.topk(max(1, int(share * dark.shape[1])), 1).indices
        seen = hazy.flatten(2).gather(2, chosen[:, None].expand(-1, 3, -1))
        brightest = seen.amax(1).argmax(1)[:, None, None].expand(-1, 3, 1)
        airlight = seen.gather(2, brightest)[..., None].clamp(min=1e-3)
        prior = 1 - omega * channel_extreme(hazy / airlight, patch)
    # squared differences of all pairs of the pixels of each 3x3 window: (B, windows, 9, 9)
    windows = F.unfold(transmission, 3).mT
    differences = (windows[..., :, None] - windows[..., None, :]).square()
    weights = _matting_weights(hazy) if matting else torch.full_like(differences, 9.0)
    smoothness = (differences * weights).sum()
    return (smoothness + fidelity * (transmission - prior).square().sum()) / differences.shape[1]


@torch.no_grad()
def _matting_weights(image: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Weights of the pairs of pixels of each 3x3 window, Levin et al., IEEE TPAMI 2008: (B, windows, 9, 9)."""
    batch, channels = image.shape[:2]
    pixels = F.unfold(image, 3).view(batch, channels, 9, -1).permute(0, 3, 2, 1)  # (B, windows, 9, 3)
    centred = pixels - pixels.mean(2, keepdim=True)
    covariance = centred.mT @ centred / 9 + epsilon / 9 * torch.eye(channels, dtype=image.dtype, device=image.device)
    return (centred @ torch.linalg.solve(covariance, centred.mT) + 1) / 9


def bright_channel_loss(
    hazy: Tensor, transmission: Tensor, *, patch: int = 35, share: float = 1e-4, omega: float = 0.95
) -> Tensor:
    """Smooth L1 distance of a transmission from that of the bright channel prior.

    Args:
        hazy: (B, 3, H, W) RGB in [0, 1].
        transmission: (B, 1, H, W).
        patch: Window of the bright channel [px].
        share: Share of the pixels with the darkest bright channel, whose mean is the airlight.
        omega: Share of the haze that the prior takes away.
    """
    with torch.no_grad():
        bright = channel_extreme(hazy, patch, bright=True).flatten(1)
        chosen = bright.topk(max(1, int(share * bright.shape[1])), 1, largest=False).indices
        airlight = hazy.flatten(2).gather(2, chosen[:, None].expand(-1, 3, -1)).mean(2)[..., None, None]
        prior = 1 - omega * channel_extreme((1 - hazy) / (1 - airlight + 1e-6), patch, bright=True)
    return F.smooth_l1_loss(transmission, prior)


def sky_loss(hazy: Tensor, image: Tensor, before: Tensor, *, patch: int = 15, least: float = 0.8) -> Tensor:
    """Smooth L1 distance between two images where the dark channel of the hazy one is bright; 0 without such places.

    Args:
        hazy: (B, 3, H, W) RGB in [0, 1].
        image: (B, 3, H, W), that a network restores now.
        before: (B, 3, H, W), that it restored before it saw photographs.
        patch: Window of the dark channel [px].
        least: The dark channel of sky. The official code has .6 on values in [-1, 1].
    """
    sky = (channel_extreme(hazy, patch) > least).expand_as(hazy)
    if not sky.any():
        return image.new_zeros(())
    return F.smooth_l1_loss(image[sky], before[sky])


def spread_contrast(hazy: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] with its contrast spread by CLAHE, in 8 bits, plane by plane."""
    clahe = cv2.createCLAHE(clipLimit=3, tileGridSize=(16, 16))
    codes = (hazy * 255 + 0.5).to(torch.uint8).cpu().numpy()
    spread = np.stack([clahe.apply(plane) for plane in codes.reshape(-1, *codes.shape[2:])])
    return torch.from_numpy(spread.reshape(codes.shape)).to(hazy) / 255
