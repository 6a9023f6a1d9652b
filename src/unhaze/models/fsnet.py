"""FSNet: OKNet's skeleton whose blocks weigh means against details, and split maps by filters of their own.

Paper: Cui, Ren, Cao, Knoll, "Image Restoration via Frequency Selection", IEEE TPAMI 2024.
Official code: c-yn/FSNet at 139b3c4 (MIT), Dehazing/ITS.
Deviations: none in the function. Dehazing/OTS takes means over windows of 210/256 of the map instead of the whole map
(keys and shapes are the same); that form is not here. Shares of low and high frequencies that the official code makes
and never uses (``lamb_l``, ``lamb_h``) are kept for its checkpoints.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models._pyramid_unet import SKELETON_KEYS, PyramidUNet
from unhaze.models.base import KeyMap
from unhaze.models.layers.dynamic_conv import dynamic_depthwise
from unhaze.types import ImageContract

__all__ = ["FSNet", "fsnet_its"]


class FSNet(PyramidUNet):
    """Frequency Selection Network.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Residual blocks per level, at least 4; the last of each selects frequencies.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^(\w+\.\d)\.layers\.(layers|down|conv)\.", r"\1.layers.#\2."),
        (r"#layers\.", "blocks."),
        (r"#down\.", "down."),
        (r"#conv\.", "merge."),
        (r"\.conv([12])\.main\.0\.", r".conv\1."),
        (r"\.dyna\.", ".select3."),
        (r"\.dyna_2\.", ".select5."),
        (r"\.(select\d)\.conv\.", r".\1.predict."),
        (r"\.(select\d)\.bn\.", r".\1.norm."),
        (r"\.(select\d)\.modulate\.fcs\.0\.", r".\1.weigh_high."),
        (r"\.(select\d)\.modulate\.fcs\.1\.", r".\1.weigh_low."),
        (r"\.(select\d)\.modulate\.fc\.", r".\1.squeeze."),
        (r"\.(select\d)\.modulate\.out\.", r".\1.leave."),
        (r"\.lamb_l$", ".unused_low"),
        (r"\.lamb_h$", ".unused_high"),
        (r"\.localap\.h$", ".local_detail"),
        (r"\.localap\.l$", ".local_mean"),
        (r"\.global_ap\.fscale_h$", ".global_detail"),
        (r"\.global_ap\.fscale_d$", ".global_mean"),
        *SKELETON_KEYS,
    )
    contract = ImageContract(multiple_of=8)
    dead = (r"\.select[35]\.unused_(low|high)$",)

    def __init__(self, channels: int = 32, num_blocks: int = 16) -> None:
        def level(width: int) -> nn.Module:
            blocks = [ResidualBlock(width, select=i == num_blocks - 1) for i in range(num_blocks)]
            return Hourglass(width, blocks) if width == channels else nn.Sequential(*blocks)

        super().__init__(channels, level)


class Hourglass(nn.Module):
    """Blocks of which the middle half works at half the size; the outermost level has them.

    Args:
        channels: C.
        blocks: At least 4.
    """

    def __init__(self, channels: int, blocks: list[ResidualBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.down = nn.Conv2d(channels, channels, 2, stride=2, groups=channels)
        self.merge = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        outer = len(self.blocks) // 4
        out = skip = x
        for i, block in enumerate(self.blocks):
            if i == outer:
                skip, out = out, self.down(out)
            if i == len(self.blocks) - outer:
                enlarged = F.interpolate(out, skip.shape[2:], mode="bilinear")
                out = self.merge(torch.cat((enlarged, skip), 1))
            out = block(out)
        return out + x


class ResidualBlock(nn.Module):
    """Two convolutions; between them one half of the channels is weighed as a whole, the other in four quarters.

    Args:
        channels: C.
        select: Split both halves into frequencies before.
    """

    def __init__(self, channels: int, *, select: bool) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.select3 = FrequencySelection(half, 3) if select else nn.Identity()
        self.select5 = FrequencySelection(half, 5) if select else nn.Identity()
        self.local_detail = nn.Parameter(torch.zeros(4 * half))
        self.local_mean = nn.Parameter(torch.zeros(4 * half))
        self.global_mean = nn.Parameter(torch.zeros(half))
        self.global_detail = nn.Parameter(torch.zeros(half))

    def forward(self, x: Tensor) -> Tensor:
        whole, quartered = F.gelu(self.conv1(x)).chunk(2, 1)
        whole, quartered = self.select3(whole), self.select5(quartered)
        whole = weigh_mean(whole, self.global_mean, self.global_detail + 1)
        # every quarter of the map beside the others as channels of their own, and back
        batch, channels, height, width = whole.shape
        quartered = quartered.reshape(batch, channels, 2, height // 2, 2, width // 2).transpose(3, 4)
        quartered = weigh_mean(quartered.flatten(1, 3), self.local_mean, self.local_detail)
        quartered = quartered.view(batch, channels, 2, 2, height // 2, width // 2).transpose(3, 4)
        return self.conv2(torch.cat((whole, quartered.reshape(batch, -1, height, width)), 1)) + x


def weigh_mean(x: Tensor, of_mean: Tensor, of_detail: Tensor) -> Tensor:
    """The mean of each channel of (B, C, H, W) and what differs from it, each times a number per channel (C,)."""
    mean = x.mean((2, 3), keepdim=True)
    of_mean, of_detail = of_mean.view(-1, 1, 1), of_detail.view(-1, 1, 1)
    return x * of_detail + mean * (of_mean - of_detail)


class FrequencySelection(nn.Module):
    """A filter that the image brings along splits a map in two, which are weighed against one another.

    Args:
        channels: C.
        size: Taps of the filter, down and across.
    """

    GROUPS: ClassVar[int] = 8

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        taps = self.GROUPS * size * size
        self.predict = nn.Conv2d(channels, taps, 1, bias=False)
        nn.init.kaiming_normal_(self.predict.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(taps)
        self.unused_low = nn.Parameter(torch.zeros(channels))
        self.unused_high = nn.Parameter(torch.zeros(channels))
        hidden = max(channels // 2, 32)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.weigh_high = nn.Conv2d(hidden, channels, 1)
        self.weigh_low = nn.Conv2d(hidden, channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        mean = x.mean((2, 3), keepdim=True)
        taps = self.norm(self.predict(mean)).view(batch, self.GROUPS, self.size**2).softmax(2)
        kernel = taps.view(batch, self.GROUPS, self.size, self.size)
        low = dynamic_depthwise(x, kernel.repeat_interleave(channels // self.GROUPS, 1))
        squeezed = self.squeeze(mean)  # low and high are the map together
        weights = torch.cat((self.weigh_high(squeezed), self.weigh_low(squeezed)), 1).softmax(1)
        of_high, of_low = weights.chunk(2, 1)
        out: Tensor = self.leave(x * of_high + low * (of_low - of_high))
        return out


def fsnet_its(**overrides: Any) -> FSNet:
    """The dehazing network for RESIDE's indoor set."""
    return FSNet(**overrides)
