"""Enlarging an image until a network accepts its size."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name under which everybody knows it
from torch import Tensor

__all__ = ["mirror_edges", "pad_to_multiple"]


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


def mirror_edges(x: Tensor, down: int, across: int) -> Tensor:
    """Enlarge all four edges by mirroring, again and again where the map is smaller than what is added.

    Args:
        x: (B, C, H, W).
        down: Rows added above and below [px].
        across: Columns added left and right [px].

    >>> mirror_edges(torch.arange(2.0).view(1, 1, 1, 2), 0, 3)[0, 0, 0]
    tensor([1., 0., 1., 0., 1., 0., 1., 0.])
    """
    height, width = x.shape[-2:]
    if down < height and across < width:
        return F.pad(x, (across, across, down, down), "reflect")
    rows = _mirrored(height, height + down, x.device, first=-down)
    columns = _mirrored(width, width + across, x.device, first=-across)
    return x[..., rows[:, None], columns]


def _mirrored(size: int, wanted: int, device: torch.device, first: int = 0) -> Tensor:
    period = max(2 * (size - 1), 1)
    position = torch.arange(first, wanted, device=device) % period
    return torch.minimum(position, period - position) if size > 1 else torch.zeros_like(position)
