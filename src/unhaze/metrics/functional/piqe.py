"""Perception based Image Quality Evaluator (PIQE).

N. Venkatanath, D. Praneeth, M. C. Bh, S. S. Channappayya, S. S. Medasani, "Blind image quality evaluation using
perception based features", National Conference on Communications, 2015. Follows MATLAB's ``piqe``, with its padding
to whole blocks and its choice of surround columns, on the grey of OpenCV as its Python port ``pypiqe`` does. That grey
differs from MATLAB's ``rgb2gray`` by one code in up to 0.5 % of the pixels, which moves the value by up to 0.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unhaze.metrics.functional._color import code_values, opencv_grey_codes
from unhaze.metrics.functional._common import check_images
from unhaze.metrics.functional._filters import blocks, local_contrast, mirrored

__all__ = ["PiqeDetails", "piqe", "piqe_details"]

BLOCK = 16
SEGMENT = 6  # pixels of a block edge that are looked at together
ACTIVE_VARIANCE = 0.1
IMPAIRED_DEVIATION = 0.1
CENTRE = (7, 8)
# MATLAB deletes column 8 and then column 9 of what is left, which was column 10: column 9 is centre and surround
SURROUND = tuple(column for column in range(BLOCK) if column not in (7, 9))


@dataclass(frozen=True, slots=True, eq=False)
class PiqeDetails:
    """PIQE of a batch, and its maps of (B, ceil(H / 16), ceil(W / 16)) blocks.

    Attributes:
        value: (B,) float64 in [0, 100].
        active: bool, blocks with enough activity to be judged.
        impaired: bool, active blocks with a noticeable artifact.
        noisy: bool, active blocks with noise.
    """

    value: Tensor
    active: Tensor
    impaired: Tensor
    noisy: Tensor


def piqe(preds: Tensor) -> Tensor:
    """Share and strength of visible distortion; lower is better, 100 for a picture without any activity.

    Args:
        preds: (B, 3, H, W) in [0, 1], of any size. Scored as the 8-bit picture it rounds to.

    Returns:
        (B,) float64 in [0, 100].

    Raises:
        ImageValueError: Not such images.
    """
    return piqe_details(preds).value


@torch.no_grad()
def piqe_details(preds: Tensor) -> PiqeDetails:
    """As :func:`piqe`, together with the maps of judged, impaired and noisy blocks.

    Args:
        preds: (B, 3, H, W) RGB in [0, 1].

    Raises:
        ImageValueError: As :func:`piqe`.
    """
    grey = opencv_grey_codes(code_values(check_images(preds)))
    down, across = -(-grey.shape[1] // BLOCK), -(-grey.shape[2] // BLOCK)  # blocks
    grey = mirrored(grey, -2, 0, down * BLOCK - grey.shape[1])
    grey = mirrored(grey, -1, 0, across * BLOCK - grey.shape[2])
    peak = grey.amax(dim=(-2, -1), keepdim=True).clamp(min=1)
    stretched = (255 * (grey / peak) + 0.5).floor_()
    tiles = blocks(local_contrast(stretched).normalised, BLOCK)  # (B, P, 16, 16)

    variance = tiles.flatten(-2).var(dim=-1)
    active = variance > ACTIVE_VARIANCE
    # impaired: any six neighbouring pixels along any of the four edges hardly differ
    edges = torch.stack((tiles[..., 0, :], tiles[..., -1, :], tiles[..., 0], tiles[..., -1]), dim=-2)
    segments = edges.unfold(-1, SEGMENT, 1)  # (B, P, 4, 11, 6)
    impaired = active & (segments.std(dim=-1) < IMPAIRED_DEVIATION).flatten(-2).any(dim=-1)
    # noisy: the two centre columns vary as the rest of the block does
    centre, surround = (
        tiles.index_select(-1, torch.tensor(columns, device=tiles.device)).flatten(-2).std(dim=-1)
        for columns in (CENTRE, SURROUND)
    )
    ratio = centre / surround
    ratio = ratio.masked_fill(ratio.isnan(), 0.0)
    deviation = variance.sqrt()
    beta = (deviation - ratio).abs() / torch.maximum(deviation, ratio)
    noisy = active & (deviation > 2 * beta)
    distortion = (impaired * (1 - variance) + noisy * variance).sum(dim=1)
    value = 100 * (distortion + 1) / (active.sum(dim=1) + 1)  # Eq. 9 with C = 1
    maps = (mask.view(-1, down, across) for mask in (active, impaired, noisy))
    return PiqeDetails(value, *maps)
