"""Learned Perceptual Image Patch Similarity (LPIPS), version 0.1, AlexNet.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The unreasonable effectiveness of deep features as a perceptual
metric", CVPR 2018. The learned heads are shipped (BSD-2-Clause; the notice lies next to them). The AlexNet they were
learned for is not: the caller names torchvision's file, and no other backbone is accepted under this name.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.errors import WeightsNotFoundError
from unhaze.metrics.functional._common import check_pair, check_side, load_parameters

if TYPE_CHECKING:
    from io import BufferedReader

__all__ = ["WEIGHTS_VARIABLE", "LpipsNetwork", "load_lpips", "lpips"]

WEIGHTS_NAME = "alexnet-owt-7be5be79.pth"
WEIGHTS_SHA256 = "7be5be79"  # the first digits, as in the name that torchvision gave the file
WEIGHTS_VARIABLE = "UNHAZE_ALEXNET_WEIGHTS"
SMALLEST_SIDE = 31  # AlexNet's last pooling has one output then

# input channels, output channels, kernel, stride, padding, index in torchvision's `features`
CONVOLUTIONS = (
    (3, 64, 11, 4, 2, 0),
    (64, 192, 5, 1, 2, 3),
    (192, 384, 3, 1, 1, 6),
    (384, 256, 3, 1, 1, 8),
    (256, 256, 3, 1, 1, 10),
)
POOLED_BEFORE = (1, 2)  # positions in CONVOLUTIONS that follow a 3x3 max pooling of stride 2

# ImageNet mean and deviation, moved to images in [-1, 1]
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class LpipsNetwork(nn.Module):
    """AlexNet's convolutions and the learned weight of each of their channels; frozen.

    Use :func:`load_lpips`, which checks that the weights are the right ones; this class takes what it is given.

    Args:
        weights: ``features.{0,3,6,8,10}.{weight,bias}`` of torchvision's AlexNet; other entries are ignored.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        for inputs, outputs, kernel, stride, padding, index in CONVOLUTIONS:
            layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            layer.load_state_dict({part: weights[f"features.{index}.{part}"] for part in ("weight", "bias")})
            self.convolutions.append(layer)
        for i in range(len(CONVOLUTIONS)):
            self.register_buffer(f"head{i}", torch.as_tensor(load_parameters("lpips")[f"head{i}"])[:, None, None])
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])
        self.requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Activations (B, C, h, w) after each of the five rectifiers, scaled to unit length over channels."""
        x = (images * 2 - 1 - self.get_buffer("shift")) / self.get_buffer("scale")
        activations = []
        for position, layer in enumerate(self.convolutions):
            if position in POOLED_BEFORE:
                x = functional.max_pool2d(x, 3, 2)
            x = functional.relu(layer(x))
            activations.append(x / (x.square().sum(dim=1, keepdim=True).add(1e-20).sqrt() + 1e-10))
        return activations

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        """Distance of (B, 3, H, W) images in [0, 1]: (B,)."""
        distance = preds.new_zeros(len(preds))
        for i, (first, second) in enumerate(zip(self.features(preds), self.features(target), strict=True)):
            weighted = (first - second).square() * self.get_buffer(f"head{i}")
            distance = distance + weighted.sum(dim=1).mean(dim=(1, 2))  # Eq. 1
        return distance


def load_lpips(weights: str | os.PathLike[str] | None = None) -> LpipsNetwork:
    """The network, on the CPU, from torchvision's AlexNet weights.

    Args:
        weights: Path of ``alexnet-owt-7be5be79.pth``; by default what the environment variable
            ``UNHAZE_ALEXNET_WEIGHTS`` names.

    Raises:
        WeightsNotFoundError: No path is given, there is no such file, or its SHA-256 is not the expected one.
    """
    place = weights or os.environ.get(WEIGHTS_VARIABLE)
    if not place:
        raise WeightsNotFoundError(
            f"LPIPS is unavailable without AlexNet: name torchvision's {WEIGHTS_NAME} with weights=, "
            f"or in the environment variable {WEIGHTS_VARIABLE}."
        )
    try:
        with Path(place).open("rb") as stream:
            return LpipsNetwork(_read_verified(stream, Path(place)))
    except OSError as error:
        raise WeightsNotFoundError(f"LPIPS is unavailable: {place} cannot be read ({error.strerror}).") from error


def _read_verified(stream: BufferedReader, place: Path) -> Mapping[str, Tensor]:
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if not digest.startswith(WEIGHTS_SHA256):
        raise WeightsNotFoundError(
            f"LPIPS is unavailable: {place} is not torchvision's {WEIGHTS_NAME} "
            f"(its SHA-256 starts with {digest[:8]}, not {WEIGHTS_SHA256})."
        )
    stream.seek(0)
    try:
        state: Mapping[str, Tensor] = torch.load(stream, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsNotFoundError(f"LPIPS is unavailable: {place} is not a file of torch weights.") from error
    return state


def lpips(preds: Tensor, target: Tensor, network: LpipsNetwork) -> Tensor:
    """Learned perceptual distance; lower is better, 0 for equal pictures.

    Args:
        preds: (B, 3, H, W) sRGB in [0, 1], at least 31 pixels on each side.
        target: The same shape.
        network: From :func:`load_lpips`, on the device of the images. Computes in its own dtype.

    Returns:
        (B,) float64, at least 0.

    Raises:
        ImageValueError: Not such images, the two do not match, or they are too small.
    """
    first, second = check_pair(preds, target)
    check_side(first, SMALLEST_SIDE, "LPIPS")
    dtype = network.get_buffer("head0").dtype
    distance: Tensor = network(first.to(dtype), second.to(dtype))
    return distance.double()
