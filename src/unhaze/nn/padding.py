"""Enlarging an image until a network accepts its size."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name under which everybody knows it
from torch import Tensor

__all__ = ["pad_to_multiple"]


def pad_to_multiple(
    image: Tensor, multiple: int, minimum: int = 1, mode: Literal["reflect", "replicate"] = "reflect"
) -> Tensor:
    """Enlarge the right and bottom edges until both sides fit.

    Args:
        image: (B, C, H, W).
        multiple: Both sides of the result are a multiple of it.
        minimum: Both sides of the result are at least this long.
        mode: ``"reflect"`` mirrors without repeating the edge, again and again where the image is too small for one
            mirroring; ``"replicate"`` repeats the edge.

    Returns:
        ``image`` itself where nothing is missing.

    >>> pad_to_multiple(torch.arange(3.0).view(1, 1, 1, 3), 8)[0, 0, 0]
    tensor([0., 1., 2., 1., 0., 1., 2., 1.])
    """
    height, width = image.shape[-2:]
    bottom = -max(height, minimum) % multiple + max(minimum - height, 0)
    right = -max(width, minimum) % multiple + max(minimum - width, 0)
    if not bottom and not right:
        return image
    if mode == "replicate" or (bottom < height and right < width):
        return F.pad(image, (0, right, 0, bottom), mode)
    rows = _mirrored(height, height + bottom, image.device)
    columns = _mirrored(width, width + right, image.device)
    return image[..., rows[:, None], columns]


def _mirrored(size: int, wanted: int, device: torch.device) -> Tensor:
    period = max(2 * (size - 1), 1)
    position = torch.arange(wanted, device=device) % period
    return torch.minimum(position, period - position) if size > 1 else torch.zeros_like(position)
