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
    """DRDB: five dilated convolutions, each of which sees all before it, and what they add.

    Args:
        channels: C in and out.
        growth: Channels that every convolution adds.
    """

    def __init__(self, channels: int, growth: int = 32) -> None:
        super().__init__()
        for i in range(5):
            self.add_module(f"conv{i + 1}", nn.Conv2d(channels + i * growth, growth, 3, padding=2, dilation=2))
        self.project = nn.Conv2d(channels + 5 * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return in_bands(self._grow, x, channels=self.project.in_channels, halo=10)

    def _grow(self, x: Tensor) -> Tensor:
        grown = x
        for i in range(5):
            grown = torch.cat((grown, F.relu_(self.get_submodule(f"conv{i + 1}")(grown))), 1)
        return x + F.relu_(self.project(grown))


class DenseDepthNetwork(nn.Module):
    """DE: four blocks on the way down to 1/16, four on the way up, no connections between them.

    Args:
        channels: Width at 1/2, 1/4, 1/8 and 1/16.
        growth: Of the blocks.
    """

    def __init__(self, channels: tuple[int, int, int, int] = (24, 48, 96, 128), growth: int = 32) -> None:
        super().__init__()
        widths = (3, *channels)
        for i in range(4):
            self.add_module(f"block{i + 1}", DilatedDenseBlock(widths[i], growth))
            self.add_module(f"down{i + 1}", nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1))
            self.add_module(f"block{i + 5}", DilatedDenseBlock(widths[4 - i], growth))
            self.add_module(f"up{i + 1}", nn.ConvTranspose2d(widths[4 - i], widths[3 - i], 4, stride=2, padding=1))
        self.head = nn.Conv2d(3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Depth of any scale, unbounded, (B, 1, H, W), of an image in [-1, 1], (B, 3, H, W)."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Depth as from :meth:`forward`, and what the blocks on the way up give.

        Returns:
            Depth, and (B, C, h, w) for the four ``channels``, fine (1/2) to coarse (1/16).
        """
        x = image
        for i in (1, 2, 3, 4):
            x = self.get_submodule(f"down{i}")(self.get_submodule(f"block{i}")(x))
        features = []
        for i in (1, 2, 3, 4):
            x = self.get_submodule(f"block{i + 4}")(x)
            features.append(x)
            x = self.get_submodule(f"up{i}")(x)
        depth = self.head(x)[..., : image.shape[-2], : image.shape[-1]]  # sides become multiples of 16 on the way
        return depth, tuple(reversed(features))
