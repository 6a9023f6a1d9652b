"""Normalisations of (B, C, H, W) maps: over the channels of a pixel, over the pixels of a channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["ChannelNorm", "GroupNorm", "InstanceNorm", "group_norm", "normalised"]

# [B] of a map whose moments are taken at a time, so that the three passes over it find it in a core's cache
_BAND = 1 << 18


class ChannelNorm(nn.Module):
    """Layer normalisation over C, for every pixel.

    Args:
        channels: C.
        centred: Subtract the mean and add a bias; without it, values are only divided by their standard deviation
            (the "bias-free" form of Restormer).
    """

    def __init__(self, channels: int, *, centred: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if centred else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if self.bias is not None:
            rows = x.permute(0, 2, 3, 1)  # a view of channels-last maps, on which all of this is fastest
            return F.layer_norm(rows, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)
        # torch.var over the channels of channels-last maps takes several times as long
        variance = (x - x.mean(1, keepdim=True)).square_().mean(1, keepdim=True)
        scale = (variance + self.eps).rsqrt()
        return x * scale * self.weight.view(-1, 1, 1)


class GroupNorm(nn.GroupNorm):
    """Group normalisation that is as exact on channels-last maps as on others, see :func:`group_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation with scale and shift, as groups of one channel.

    torch's own works on a copy in another layout where maps are channels-last; this takes a fifth of the time there.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return group_norm(x, self.num_features, self.weight, self.bias, self.eps)


def normalised(x: Tensor) -> Tensor:
    """Instance normalisation without scale and shift of (B, C, H, W); a single pixel becomes 0."""
    centred = x - x.mean((2, 3), keepdim=True)
    return centred * (centred.square().mean((2, 3), keepdim=True) + 1e-5).rsqrt()


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise every group of channels over its channels and pixels.

    torch adds up the values and squares of channels-last maps on a CPU one by one in float32. Where means are several
    standard deviations, and pixels many, nothing is left of the variance: at 376x480 and a mean of six deviations
    results are wrong by 4e-3, at 60 by 0.5. Here moments are those of bands around their own means, merged in float64;
    that takes a fifth longer and is exact to 1e-6. Unlike ``F.group_norm`` it takes groups of a single value, too.

    Args:
        x: (B, C, H, W).
        num_groups: How many groups the C channels make, in order.
        weight: (C,), scale after the division by the standard deviation; 1 if ``None``.
        bias: (C,), added last; 0 if ``None``.
        eps: Added to the variance.

    Returns:
        (B, C, H, W) in the layout of ``x``.
    """
    is_exact_in_torch = x.is_contiguous() and not x.is_contiguous(memory_format=torch.channels_last)
    if is_exact_in_torch or x.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.group_norm(x, num_groups, weight, bias, eps)
    if torch.is_grad_enabled():
        normed = torch.group_norm(x.contiguous(), num_groups, weight, bias, eps)
        return normed.contiguous(memory_format=torch.channels_last)
    variance, mean = (moment.unflatten(1, (num_groups, -1)) for moment in _moments(x))  # (B, groups, C / groups)
    of_group = mean.mean(2, keepdim=True)
    variance = (variance + (mean - of_group).square()).mean(2, keepdim=True)
    scale = (variance + eps).rsqrt().expand_as(mean)
    if weight is not None:
        scale = scale * weight.double().view(num_groups, -1)
    shift = -of_group * scale
    if bias is not None:
        shift = shift + bias.double().view(num_groups, -1)
    dtype = torch.promote_types(x.dtype, torch.float32)
    scale, shift = (each.flatten(1).to(dtype)[:, :, None, None] for each in (scale, shift))
    return torch.addcmul(shift, x, scale).to(x.dtype)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean over the pixels of a map, (B, C) each, in float64."""
    batch, channels, height, width = x.shape
    rows = max(1, _BAND // (batch * channels * width * x.element_size()))
    sizes, means, squares = [], [], []
    for band in x.split(rows, 2):
        part = band.to(torch.promote_types(x.dtype, torch.float32))
        mean = part.mean((2, 3), keepdim=True)
        sizes.append(part.shape[2] * width)
        means.append(mean[:, :, 0, 0])
        squares.append((part - mean).square_().sum((2, 3)))
    share = x.new_tensor(sizes, dtype=torch.float64).div_(height * width).view(-1, 1, 1)
    of_bands = torch.stack(means).double()
    mean = (share * of_bands).sum(0)
    # the variance within bands and that of their means (Chan, Golub, LeVeque 1983)
    variance = torch.stack(squares).double().sum(0) / (height * width) + (share * (of_bands - mean).square()).sum(0)
    return variance, mean
