"""The depth network of DCMPNet, a chain of dilated dense blocks, and its block.

Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR
2024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.layers.bands import in_bands

__all__ = ["DENSE_BLOCK_KEYS", "DEPTH_KEYS", "DenseDepthNetwork", "DilatedDenseBlock"]

# official names of a block's layers
DENSE_BLOCK_KEYS = (
    (r"\b(DRDB_layer\d|drdb)\.conv\.", r"\1.project."),
    (r"\b(DRDB_layer\d|drdb)\.Dcov(\d)\.", r"\1.conv\2."),
    (r"\bDRDB_layer(\d)\.", r"block\1."),
)
# official names of a network that stands alone
DEPTH_KEYS = (*DENSE_BLOCK_KEYS, (r"^conv([1-4])\.", r"down\1."), (r"^final_conv\.", "head."))


class DilatedDenseBlock(nn.Module):
    """DRDB, dilated residual dense block: five convolutions, each of which sees all before it, and what they add.

    Args:
        channels: C in and out.
        growth: Channels that every convolution adds.
    """

    def __init__(self, channels: int, growth: int = 32) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (
            nn.Conv2d(channels + i * growth, growth, 3, padding=2, dilation=2) for i in range(5)
        )
        self.project = nn.Conv2d(channels + 5 * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return in_bands(self._grow, x, channels=self.project.in_channels, halo=10)

    def _grow(self, x: Tensor) -> Tensor:
        grown = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            grown = torch.cat((grown, F.relu_(conv(grown))), 1)
        return x + F.relu_(self.project(grown))


class DenseDepthNetwork(nn.Module):
    """DE, the Psi of P1: four blocks on the way down to 1/16, four on the way up, no connections between them.

    The paper's text says that it "follows a U-Net structure"; the official code, which is followed, has no connections.

    Args:
        channels: Width at 1/2, 1/4, 1/8 and 1/16.
        growth: Channels that every convolution of a block adds.
    """

    def __init__(self, channels: tuple[int, int, int, int] = (24, 48, 96, 128), growth: int = 32) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = 3, *channels
        # each pair of a way down and a way up is made at once; seeded weights depend on this order
        self.block1, self.down1 = _block_and_down(c0, c1, growth)
        self.block5, self.up1 = _block_and_up(c4, c3, growth)
        self.block2, self.down2 = _block_and_down(c1, c2, growth)
        self.block6, self.up2 = _block_and_up(c3, c2, growth)
        self.block3, self.down3 = _block_and_down(c2, c3, growth)
        self.block7, self.up3 = _block_and_up(c2, c1, growth)
        self.block4, self.down4 = _block_and_down(c3, c4, growth)
        self.block8, self.up4 = _block_and_up(c1, c0, growth)
        self.head = nn.Conv2d(3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Depth of any scale, unbounded, (B, 1, H, W), of an image in [-1, 1], (B, 3, H, W)."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Depth as from :meth:`forward`, and what the blocks on the way up give.

        Returns:
            Depth, and (B, C, h, w) for the four ``channels``, fine (1/2) to coarse (1/16).
        """
        x = self.down1(self.block1(image))
        x = self.down2(self.block2(x))
        x = self.down3(self.block3(x))
        x = self.down4(self.block4(x))
        sixteenth = self.block5(x)
        eighth = self.block6(self.up1(sixteenth))
        quarter = self.block7(self.up2(eighth))
        half = self.block8(self.up3(quarter))
        depth = self.head(self.up4(half))
        depth = depth[..., : image.shape[-2], : image.shape[-1]]  # sides become multiples of 16 on the way
        return depth, (half, quarter, eighth, sixteenth)


def _block_and_down(channels: int, coarse: int, growth: int) -> tuple[DilatedDenseBlock, nn.Conv2d]:
    return DilatedDenseBlock(channels, growth), nn.Conv2d(channels, coarse, 3, stride=2, padding=1)


def _block_and_up(channels: int, fine: int, growth: int) -> tuple[DilatedDenseBlock, nn.ConvTranspose2d]:
    return DilatedDenseBlock(channels, growth), nn.ConvTranspose2d(channels, fine, 4, stride=2, padding=1)
