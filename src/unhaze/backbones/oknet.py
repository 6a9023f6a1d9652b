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

from unhaze.backbones._base import Backbone, KeyMap
from unhaze.nn.norms import InstanceNorm
from unhaze.nn.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["VARIANTS", "OKNet", "oknet"]


class OKNet(Backbone):
    """Omni-Kernel Network.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Residual blocks per level.
        kernel: Side of the large kernel, odd.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"\.main\.0\.main\.0\.(?=\w+$)", ".conv1."),
        (r"\.main\.1\.main\.0\.(?=\w+$)", ".conv2."),
        *(
            (rf"^SCM{scm}\.{official}\.", f"embed{level}.{ours}.")
            for scm, level in ((1, 3), (2, 2))
            for official, ours in (
                ("conv1", 0),
                ("conv2", 2),
                (r"main\.2\.main\.0", 4),
                (r"main\.3\.main\.0", 6),
                (r"main\.4", 7),
            )
        ),
        (r"^FAM1\.merge\.main\.0\.", "fuse3."),
        (r"^FAM2\.merge\.main\.0\.", "fuse2."),
        *(
            (rf"^feat_extract\.{i}\.main\.0\.", f"{ours}.")
            for i, ours in enumerate(("stem", "down1", "down2", "up2", "up1", "head1"))
        ),
        *((rf"^Encoder\.{i}\.layers\.", f"enc{i + 1}.") for i in range(3)),
        *((rf"^Decoder\.{i}\.layers\.", f"dec{3 - i}.") for i in range(3)),
        (r"^Convs\.0\.main\.0\.", "merge2."),
        (r"^Convs\.1\.main\.0\.", "merge1."),
        (r"^ConvsOut\.0\.main\.0\.", "head3."),
        (r"^ConvsOut\.1\.main\.0\.", "head2."),
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
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        self.stages = (
            Stage("enc1", c1, 1),
            Stage("enc2", c2, 2),
            Stage("enc3", c3, 4),
            Stage("mid", c3, 4),
            Stage("dec3", c3, 4),
            Stage("dec2", c2, 2),
            Stage("dec1", c1, 1),
        )

        def blocks(width: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width) for _ in range(num_blocks)))

        self.stem = nn.Conv2d(3, c1, 3, padding=1)
        self.enc1 = blocks(c1)
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.embed2 = image_embedding(c2)
        self.fuse2 = nn.Conv2d(2 * c2, c2, 3, padding=1)
        self.enc2 = blocks(c2)
        self.down2 = nn.Conv2d(c2, c3, 3, stride=2, padding=1)
        self.embed3 = image_embedding(c3)
        self.fuse3 = nn.Conv2d(2 * c3, c3, 3, padding=1)
        self.enc3 = blocks(c3)
        self.mid = OmniKernel(c3, kernel)
        self.dec3 = blocks(c3)
        self.head3 = nn.Conv2d(c3, 3, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(c3, c2, 4, stride=2, padding=1)
        self.merge2 = nn.Conv2d(2 * c2, c2, 1)
        self.dec2 = blocks(c2)
        self.head2 = nn.Conv2d(c2, 3, 3, padding=1)
        self.up1 = nn.ConvTranspose2d(c2, c1, 4, stride=2, padding=1)
        self.merge1 = nn.Conv2d(2 * c1, c1, 1)
        self.dec1 = blocks(c1)
        self.head1 = nn.Conv2d(c1, 3, 3, padding=1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Backbone.forward`; the image is in [0, 1]. ``pyramid`` holds 1/4 and 1/2."""
        half = image[..., ::2, ::2]
        quarter = half[..., ::2, ::2]
        enc1 = run("enc1", self.enc1, F.gelu(self.stem(image)))  # (B, C, H, W)
        x = torch.cat((F.gelu(self.down1(enc1)), self.embed2(half)), 1)
        enc2 = run("enc2", self.enc2, self.fuse2(x))  # (B, 2C, H/2, W/2)
        x = torch.cat((F.gelu(self.down2(enc2)), self.embed3(quarter)), 1)
        x = run("enc3", self.enc3, self.fuse3(x))  # (B, 4C, H/4, W/4)
        dec3 = run("dec3", self.dec3, run("mid", self.mid, x))
        x = torch.cat((F.gelu(self.up2(dec3)), enc2), 1)
        dec2 = run("dec2", self.dec2, F.gelu(self.merge2(x)))
        x = torch.cat((F.gelu(self.up1(dec2)), enc1), 1)
        dec1 = run("dec1", self.dec1, F.gelu(self.merge1(x)))
        pyramid = (self.head3(dec3) + quarter, self.head2(dec2) + half)
        return Restored(self.head1(dec1) + image, pyramid)


class ResidualBlock(nn.Module):
    """Two convolutions around a GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.gelu(self.conv1(x))) + x


def image_embedding(channels: int) -> nn.Sequential:
    """Features of a shrunken input image."""
    return nn.Sequential(
        nn.Conv2d(3, channels // 4, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(channels // 4, channels // 2, 1),
        nn.GELU(),
        nn.Conv2d(channels // 2, channels // 2, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(channels // 2, channels, 1),
        InstanceNorm(channels),
    )


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
        out = x + self._local(entered) + self.modulate(weighed)
        return self.leave(F.relu_(out))

    def _local(self, x: Tensor) -> Tensor:
        """All four depthwise convolutions at once: smaller kernels are the middle of a large one."""
        layers = (self.square, self.row, self.column, self.point)
        half = self.square.kernel_size[0] // 2
        kernel = self.square.weight
        bias = torch.stack([layer.bias for layer in layers if layer.bias is not None]).sum(0)
        for layer in layers[1:]:
            tall, wide = (half - size // 2 for size in layer.kernel_size)
            kernel = kernel + F.pad(layer.weight, (wide, wide, tall, tall))
        return large_depthwise(x, kernel[:, 0]).add_(bias.view(-1, 1, 1))


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


VARIANTS = {"base": oknet}
