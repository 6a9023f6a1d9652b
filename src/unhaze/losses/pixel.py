"""Losses on pixels, and how a loss is taken over the sizes that a network returns."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.errors import UnknownNameError
from unhaze.types import Restored

__all__ = ["charbonnier", "over_pyramid", "pixel_loss", "target_of_size"]


def charbonnier(preds: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """Mean of sqrt(error² + eps²): an L1 that is smooth at 0 (Charbonnier et al., ICIP 1994).

    Args:
        preds: Predictions of any shape.
        target: The same shape.
        eps: Where it turns from square to straight, in units of the values; positive, so that gradients stay finite.

    >>> import torch
    >>> float(charbonnier(torch.zeros(4), torch.zeros(4), eps=0.5))
    0.5
    """
    return ((preds - target).square() + eps**2).sqrt().mean()


def pixel_loss(preds: Tensor, target: Tensor, kind: str = "l1") -> Tensor:
    """A loss on pixels by name: ``"l1"``, ``"mse"`` or ``"charbonnier"``.

    Args:
        preds: (B, C, H, W).
        target: The same shape.
        kind: Its name.

    Returns:
        The mean, without shape.

    Raises:
        UnknownNameError: There is no such loss.
    """
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "l1": F.l1_loss,
        "mse": F.mse_loss,
        "charbonnier": charbonnier,
    }
    if kind not in losses:
        raise UnknownNameError("pixel loss", kind, losses)
    return losses[kind](preds, target)


def target_of_size(target: Tensor, size: tuple[int, int]) -> Tensor:
    """The target as the official codes of OKNet and SGDN make it smaller: bilinearly and without smoothing.

    At a quarter of the size only the middle four of each 16 pixels count.

    Args:
        target: (B, 3, H, W).
        size: (h, w) to reach.
    """
    if target.shape[-2:] == size:
        return target
    return F.interpolate(target, size=size, mode="bilinear", align_corners=False)


def over_pyramid(loss: Callable[[Tensor, Tensor], Tensor], restored: Restored, target: Tensor) -> Tensor:
    """Sum of a loss over the restored image and all smaller ones that the network returns.

    Args:
        loss: Takes preds and target of one size.
        restored: What a network returned.
        target: (B, 3, H, W), of the size of ``restored.image``.

    >>> import torch
    >>> quarter, whole = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 8, 8)
    >>> float(over_pyramid(pixel_loss, Restored(whole, (quarter,)), torch.ones(1, 3, 8, 8)))
    2.0
    """
    total = loss(restored.image, target)
    for image in restored.pyramid:
        total = total + loss(image, target_of_size(target, (image.shape[-2], image.shape[-1])))
    return total
