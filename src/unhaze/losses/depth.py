"""Losses on depth maps, and on images where depth maps differ.

Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR
2024 (P1); official code zhoushen1/DCMPNet at e21e2a0.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = [
    "error_weights",
    "mean_over_known",
    "perceived_depth_loss",
    "perceived_image_loss",
    "softmax_weights",
    "weighted_l1",
]

EPS = 1e-7  # of the official code


def weighted_l1(preds: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean of weights times absolute error: || A (M - M') ||_1 over the number of entries.

    Args:
        preds: (B, C, H, W).
        target: The same shape.
        weights: (B, 1, H, W), or any shape that fits; with a mean of 1 the loss keeps the size of the plain one.

    >>> import torch
    >>> float(weighted_l1(torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.5, 1.5]]]])))
    1.0
    """
    return (weights * (preds - target)).abs().mean()


def softmax_weights(difference: Tensor) -> Tensor:
    """Weights of the official code: a softmax over all entries of a signed difference, summed over channels.

    They sum to 1 (and a little) over the pixels of each picture, so that a loss weighed by them is smaller than the
    plain one by a factor of the number of pixels. An entry that is too dark counts less than one that is right.

    Args:
        difference: (B, C, H, W), restored minus clear.

    Returns:
        (B, 1, H, W).
    """
    shares = difference.flatten(1).softmax(1) + EPS
    return shares.view_as(difference).sum(1, keepdim=True)


def error_weights(difference: Tensor) -> Tensor:
    """Weights from the size of a difference alone: a softmax over pixels, times their number, without gradient.

    As :func:`softmax_weights`, but with a mean of 1, so that the loss keeps the size of the plain one, and what is too
    dark counts as much as what is too bright.

    Args:
        difference: (B, C, H, W), restored minus clear.

    Returns:
        (B, 1, H, W), mean 1.
    """
    size = difference.detach().abs().sum(1, keepdim=True)
    return size.flatten(1).softmax(1).view_as(size) * (size.shape[-2] * size.shape[-1])


def perceived_depth_loss(
    restored_depth: Tensor, hazy_depth: Tensor, clear_depth: Tensor, weights: Tensor, known: Tensor
) -> Tensor:
    """Eq. 9: what trains the depth network.

    The paper prints the depth of the restored image in both terms; its text says that the second constrains the depth
    of the hazy image, which is followed here.

    Args:
        restored_depth: (B, 1, H, W), M of u*, estimated from the restored image.
        hazy_depth: (B, 1, H, W), estimated from the hazy image.
        clear_depth: (B, 1, H, W), M of u.
        weights: (B, 1, H, W), A of the difference between restored and clear image.
        known: (B,) whether ``clear_depth`` means anything; other pictures do not count.
    """
    focused = (weights * (restored_depth - clear_depth)).abs()
    return mean_over_known(focused + (hazy_depth - clear_depth).abs(), known)  # Eq. 9


def perceived_image_loss(restored: Tensor, clear: Tensor, weights: Tensor) -> Tensor:
    """First term of Eq. 11: L1 of the restored image, weighed by what the depth maps say.

    Args:
        restored: (B, 3, H, W), u*.
        clear: (B, 3, H, W), u.
        weights: (B, 1, H, W), A of the difference between the depth maps of the two.
    """
    return weighted_l1(restored, clear, weights)  # Eq. 11


def mean_over_known(error: Tensor, known: Tensor) -> Tensor:
    """Mean over the pictures that count; 0 where none does.

    Args:
        error: (B, C, H, W).
        known: (B,) bool.
    """
    if bool(known.all()):
        return error.mean()
    share = known.to(error)
    return F.linear(error.mean(dim=(1, 2, 3)), share).squeeze() / share.sum().clamp(min=1)
