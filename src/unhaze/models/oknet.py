"""OKNet: a three-level U-Net whose bottleneck sees everything through a 63x63 kernel and the spectrum.

Paper: Cui, Ren, Knoll, "Omni-Kernel Network for Image Restoration", AAAI 2024.
Official code: c-yn/OKNet at 159cbc1 (MIT), Dehazing/ITS.
Deviations: none in the function. The four depthwise kernels (1x63, 63x1, 63x63, 1x1) are summed into one and applied
by way of the spectrum. Weighing a spectrum by one number per channel is done without a transform, which it does not
need. One convolution of the official code has no effect (``mid.modulate.unused``) and is kept for its checkpoints.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models._pyramid_unet import SKELETON_KEYS, PyramidUNet
from unhaze.models.base import KeyMap
from unhaze.types import ImageContract

__all__ = ["OKNet", "oknet"]


class OKNet(PyramidUNet):
    """Omni-Kernel Network.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Residual blocks per level.
        kernel: Side of the large kernel, odd.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"\.main\.0\.main\.0\.(?=\w+$)", ".conv1."),
        (r"\.main\.1\.main\.0\.(?=\w+$)", ".conv2."),
        *SKELETON_KEYS,
        (r"^bottelneck\.in_conv\.0\.", "mid.enter."),
        (r"^bottelneck\.out_conv\.", "mid.leave."),
        (r"^bottelneck\.dw_13\.", "mid.row."),
        (r"^bottelneck\.dw_31\.", "mid.column."),
        (r"^bottelneck\.dw_33\.", "mid.square."),
        (r"^bottelneck\.dw_11\.", "mid.point."),
        (r"^bottelneck\.fac_conv\.", "mid.weigh_spectrum."),
        (r"^bottelneck\.conv\.", "mid.weigh_channels."),
        (r"^bottelneck\.fgm\.conv\.", "mid.modulate.unused."),
        (r"^bottelneck\.fgm\.dwconv1\.", "mid.modulate.weight."),
        (r"^bottelneck\.fgm\.dwconv2\.", "mid.modulate.signal."),
        (r"^bottelneck\.fgm\.", "mid.modulate."),
    )
    contract = ImageContract(multiple_of=4)
    dead = (r"^mid\.modulate\.unused\.",)

    def __init__(self, channels: int = 32, num_blocks: int = 4, kernel: int = 63) -> None:
        def level(width: int) -> nn.Module:
            return nn.Sequential(*(ResidualBlock(width) for _ in range(num_blocks)))

        super().__init__(channels, level, OmniKernel(4 * channels, kernel))


class ResidualBlock(nn.Module):
    """Two convolutions around a GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.gelu(self.conv1(x))) + x


class OmniKernel(nn.Module):
    """The omni-kernel module: large, local and global branches, summed.

    Args:
        channels: C.
        kernel: Side K of the large kernel, odd.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)
        self.row = nn.Conv2d(channels, channels, (1, kernel), groups=channels)
        self.column = nn.Conv2d(channels, channels, (kernel, 1), groups=channels)
        self.square = nn.Conv2d(channels, channels, kernel, groups=channels)
        self.point = nn.Conv2d(channels, channels, 1, groups=channels)
        self.weigh_spectrum = nn.Conv2d(channels, channels, 1)
        self.weigh_channels = nn.Conv2d(channels, channels, 1)
        self.modulate = SpectralGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        entered = F.gelu(self.enter(x))
        # |F^-1(w F(x))| = |w x| for a real w that is the same at every frequency
        spectral = (self.weigh_spectrum(entered.mean((2, 3), keepdim=True)) * entered).abs()
        weighed = self.weigh_channels(spectral.mean((2, 3), keepdim=True)) * spectral
        # all four depthwise convolutions at once: smaller kernels are the middle of a large one
        layers = (self.square, self.row, self.column, self.point)
        half = self.square.kernel_size[0] // 2
        kernel = self.square.weight
        bias = torch.stack([layer.bias for layer in layers if layer.bias is not None]).sum(0)
        for layer in layers[1:]:
            tall, wide = (half - size // 2 for size in layer.kernel_size)
            kernel = kernel + F.pad(layer.weight, (wide, wide, tall, tall))
        out = x + large_depthwise(entered, kernel[:, 0]).add_(bias.view(-1, 1, 1))
        return self.leave(F.relu_(out + self.modulate(weighed)))


def large_depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """A depthwise convolution with zero padding, by way of the spectrum: 40 times faster on a CPU for a 63x63 kernel.

    Args:
        x: (B, C, H, W).
        kernel: (C, K, K), K odd.
    """
    size, half = kernel.shape[-1], kernel.shape[-1] // 2
    # half a kernel of zeros keeps the wrap-around off the part that is kept; multiples of 8 transform faster
    rows, columns = (-(-max(side + half, size) // 8) * 8 for side in x.shape[-2:])
    spectrum = torch.fft.rfft2(x, (rows, columns)) * torch.fft.rfft2(kernel.flip(-2, -1), (rows, columns))
    full = torch.fft.irfft2(spectrum, (rows, columns))
    return full[..., half : half + x.shape[-2], half : half + x.shape[-1]]


class SpectralGate(nn.Module):
    """Frequency-based gating: one map weighs the spectrum of another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.unused = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.weight = nn.Conv2d(channels, channels, 1)
        self.signal = nn.Conv2d(channels, channels, 1)
        self.alpha = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gated = torch.fft.ifft2(self.weight(x) * torch.fft.fft2(self.signal(x))).abs()
        return gated * self.alpha + x * self.beta


def oknet(**overrides: Any) -> OKNet:
    """The dehazing network of the paper."""
    return OKNet(**overrides)
