"""GCANet: smoothed dilated convolutions and a gate that weighs features of three depths.

Paper: Chen, He, Fan, Liao, Zhang, Hou, Yuan, Hua, "Gated Context Aggregation Network for Image Dehazing and
Deraining", WACV 2019.
Official code: cddlyf/GCANet at 23846ff (no licence stated).
Deviations: the edge map that the official evaluation feeds in as a fourth channel, and the subtraction of 128, are part
of the network here. An odd side is mirrored by one pixel, where the official evaluation shrinks the picture.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.norms import InstanceNorm
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["GCANet", "edge_strength", "gcanet"]


class GCANet(Model):
    """Gated Context Aggregation Network; its images are in [0, 255].

    Args:
        channels: Width of every layer.
        residual: Predict the difference to the hazy image (dehazing) instead of the image (deraining).
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^conv1\.", "stem.conv."),
        (r"^norm1\.", "stem.norm."),
        (r"^conv2\.", "enc1.conv."),
        (r"^norm2\.", "enc1.norm."),
        (r"^conv3\.", "down.conv."),
        (r"^norm3\.", "down.norm."),
        (r"^deconv3\.", "up.conv."),
        (r"^norm4\.", "up.norm."),
        (r"^deconv2\.", "dec1.conv."),
        (r"^norm5\.", "dec1.norm."),
        (r"^deconv1\.", "head."),
        (r"\.pre_conv([12])\.", r".smooth\1."),
        (r"^(res[1-4])\.", r"enc2.\1."),
        (r"^(res[5-7])\.", r"mid.\1."),
    )
    contract = ImageContract(value_range=(0.0, 255.0), multiple_of=2, minimum=4)

    def __init__(self, channels: int = 64, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.stages = (
            Stage("enc1", channels, 1),
            Stage("enc2", channels, 2),
            Stage("mid", channels, 2),
            Stage("dec1", channels, 1),
        )
        self.stem = NormedConv(nn.Conv2d(4, channels, 3, padding=1, bias=False))
        self.enc1 = NormedConv(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        self.down = NormedConv(nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False))
        blocks = {
            f"res{i}": DilatedResidualBlock(channels, dilation)
            for i, dilation in enumerate((2, 2, 2, 4, 4, 4, 1), start=1)
        }
        self.enc2 = nn.Sequential(OrderedDict(list(blocks.items())[:4]))
        self.mid = nn.Sequential(OrderedDict(list(blocks.items())[4:]))
        self.gate = nn.Conv2d(3 * channels, 3, 3, padding=1)
        self.up = NormedConv(nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1))
        self.dec1 = NormedConv(nn.Conv2d(channels, channels, 3, padding=1))
        self.head = nn.Conv2d(channels, 3, 1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 255]."""
        return self.decode(image, self.features(image, run), run)

    def features(self, image: Tensor, run: Runner) -> Tensor:
        """Gated features of three depths at the size of the image, (B, C, H, W)."""
        x = self.stem(torch.cat((image, edge_strength(image)), 1) - 128)
        low = self.down(run("enc1", self.enc1, x))
        middle = run("enc2", self.enc2, low)
        high = run("mid", self.mid, middle)
        weights = self.gate(torch.cat((low, middle, high), 1)).split(1, 1)
        x = low * weights[0] + middle * weights[1] + high * weights[2]
        return self.up(x)

    def decode(self, image: Tensor, features: Tensor, run: Runner) -> Restored:
        """The image (B, 3, H, W) from its features (B, C, H/2, W/2)."""
        out = self.head(run("dec1", self.dec1, features))
        if self.residual:
            return Restored(image + out, aux={"residual": out})
        return Restored(F.relu(out))


class NormedConv(nn.Module):
    """A convolution, instance normalisation, ReLU."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = InstanceNorm(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.norm(self.conv(x)))


class SharedSmoothing(nn.Module):
    """One small kernel that filters every channel; it starts as the identity."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.pad(torch.ones(1, 1, 1, 1), (size // 2,) * 4))

    def forward(self, x: Tensor) -> Tensor:
        channels, size = x.shape[1], self.weight.shape[-1]
        return F.conv2d(x, self.weight.expand(channels, -1, -1, -1), padding=size // 2, groups=channels)


class DilatedResidualBlock(nn.Module):
    """Two dilated convolutions, each behind a smoothing that keeps the dilation from leaving a grid."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()

        def conv() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)

        def smoothing() -> nn.Module:
            return SharedSmoothing(2 * dilation - 1) if dilation > 1 else nn.Identity()

        self.smooth1, self.conv1 = smoothing(), conv()
        self.norm1 = InstanceNorm(channels)
        self.smooth2, self.conv2 = smoothing(), conv()
        self.norm2 = InstanceNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.norm1(self.conv1(self.smooth1(x))))
        y = self.norm2(self.conv2(self.smooth2(y)))
        return F.relu_(x + y)


def edge_strength(image: Tensor) -> Tensor:
    """How much each pixel differs from its neighbours.

    Args:
        image: (B, C, H, W).

    Returns:
        (B, 1, H, W): the absolute differences to the four neighbours (to those that exist), averaged over channels and
        divided by 4.
    """
    across = (image[..., 1:] - image[..., :-1]).abs().mean(1, keepdim=True)
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean(1, keepdim=True)
    return (F.pad(across, (1, 0)) + F.pad(across, (0, 1)) + F.pad(down, (0, 0, 1, 0)) + F.pad(down, (0, 0, 0, 1))) / 4


def gcanet(**overrides: Any) -> GCANet:
    """The dehazing network of the paper."""
    return GCANet(**overrides)
