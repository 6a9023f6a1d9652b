"""What every metric asks of its input, and how arrays and parameter files become tensors."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unhaze.errors import ImageValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["as_batch", "check_images", "check_pair", "check_side", "gaussian_shapes", "load_parameters"]

RANGE_SLACK = 1e-6  # a resize or a colour transform in float32 may leave [0, 1] by this much


def as_batch(pixels: NDArray[np.generic]) -> Tensor:
    """One picture as the batch of one that the metrics take.

    Args:
        pixels: (H, W, 3) RGB or (H, W) grey; uint8 or uint16 over their full range, or floating in [0, 1].

    Returns:
        (1, 3, H, W) float64 in [0, 1].

    Raises:
        ImageValueError: Another shape or type.

    >>> as_batch(np.full((4, 6, 3), 255, np.uint8)).shape
    torch.Size([1, 3, 4, 6])
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageValueError(f"A picture must have shape (H, W, 3) or (H, W), not {pixels.shape}.")
    if pixels.dtype in (np.uint8, np.uint16):
        values = pixels.astype(np.float64) / np.iinfo(pixels.dtype.name).max
    elif np.issubdtype(pixels.dtype, np.floating):
        values = pixels.astype(np.float64)
    else:
        raise ImageValueError(f"A picture must hold uint8, uint16 or floating values, not {pixels.dtype}.")
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def check_images(images: Tensor, name: str = "preds") -> Tensor:
    """A batch that is safe to score, in float64.

    Args:
        images: (B, 3, H, W), floating, in [0, 1].
        name: What the caller calls it, for messages.

    Returns:
        The same values in float64, on the same device (on the CPU where the device knows no float64).

    Raises:
        ImageValueError: Not such a tensor, or it holds NaN, infinity or values outside [0, 1].
    """
    if not isinstance(images, Tensor):
        raise ImageValueError(f"{name} must be a torch tensor, not {type(images).__name__}; as_batch() makes one.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ImageValueError(f"{name} must have shape (B, 3, H, W), not {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ImageValueError(f"{name} must hold floating values in [0, 1], not {images.dtype}; divide by 255.")
    if images.numel() == 0:
        raise ImageValueError(f"{name} is empty: its shape is {tuple(images.shape)}.")
    low, high = (float(value) for value in torch.aminmax(images.detach()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageValueError(f"{name} holds NaN or infinite values.")
    if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
        raise ImageValueError(f"{name} must lie in [0, 1], but spans {low:.4g} to {high:.4g}; rescale or clamp it.")
    if images.device.type == "mps":
        images = images.cpu()
    return images.double()


def check_pair(preds: Tensor, target: Tensor, name: str = "target") -> tuple[Tensor, Tensor]:
    """Two batches that can be compared, in float64.

    Args:
        preds: (B, 3, H, W), floating, in [0, 1].
        target: The same shape, on the same device.
        name: What the caller calls the second, for messages.

    Raises:
        ImageValueError: As :func:`check_images`, or the two do not match.
    """
    first, second = check_images(preds), check_images(target, name)
    if first.shape != second.shape:
        raise ImageValueError(
            f"preds and {name} must have the same shape, but have {tuple(first.shape)} and {tuple(second.shape)}."
        )
    if first.device != second.device:
        raise ImageValueError(
            f"preds and {name} must be on the same device, but are on {first.device} and {second.device}."
        )
    return first, second


def check_side(images: Tensor, smallest: int, metric: str) -> None:
    """Refuse pictures that a metric is not defined for.

    Raises:
        ImageValueError: A side has fewer than ``smallest`` pixels.
    """
    height, width = images.shape[-2:]
    if min(height, width) < smallest:
        raise ImageValueError(
            f"{metric} needs pictures of at least {smallest} pixels on each side, not {width} x {height}."
        )


@cache
def load_parameters(metric: str) -> Mapping[str, NDArray[np.floating]]:
    """The published constants that are shipped for a metric, by name."""
    with files("unhaze.metrics").joinpath("params", f"{metric}.npz").open("rb") as stream, np.load(stream) as arrays:
        return MappingProxyType({name: arrays[name] for name in arrays.files})


@cache
def gaussian_shapes(device: torch.device) -> tuple[Tensor, Tensor]:
    """Shapes 0.2, 0.201, ... 10 of generalised Gaussians, and the squared mean over the mean square that each has.

    The table in which NIQE and BRISQUE look up the shape of a distribution (Lasmar et al., ICIP 2009).
    """
    shapes = 0.2 + 0.001 * torch.arange(9801, dtype=torch.float64)
    moments = torch.exp(2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes))
    return shapes.to(device), moments.to(device)
