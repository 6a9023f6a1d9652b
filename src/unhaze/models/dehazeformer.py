"""DehazeFormer: a U-shaped window transformer with RescaleNorm and mirrored windows.

Paper: Song, He, Qian, Du, "Vision Transformers for Single Image Dehazing", IEEE TIP 2023.
Official code: IDKiro/DehazeFormer at 5af7c34 (MIT).
Deviations: none in the function. The position bias is computed once per distinct offset; the table of relative
positions of official checkpoints is derived, not stored.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.stage import Runner, run_block
from unhaze.models.layers.window_transformer import BLOCK_KEYS, ConvKind, SkipMerge, transformer_blocks
from unhaze.types import ImageContract, Restored, Stage

__all__ = [
    "DehazeFormer",
    "dehazeformer_b",
    "dehazeformer_d",
    "dehazeformer_l",
    "dehazeformer_m",
    "dehazeformer_s",
    "dehazeformer_t",
    "dehazeformer_w",
]


class DehazeFormer(Model):
    """DehazeFormer; its images are in [-1, 1].

    Args:
        channels: Width of ``enc1, enc2, mid, dec2, dec1``; the first two equal the last two, in reverse.
        num_blocks: Blocks, per level.
        num_heads: Heads, per level.
        mlp_ratios: Hidden width over width, per level.
        attention_shares: Share of the blocks that have attention, per level.
        conv: The convolution that mixes pixels.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *BLOCK_KEYS,
        (r"^patch_embed\.proj\.", "stem."),
        (r"^layer1\.", "enc1."),
        (r"^patch_merge([12])\.proj\.", r"down\1."),
        (r"^layer2\.", "enc2."),
        (r"^layer3\.", "mid."),
        (r"^patch_split1\.proj\.", "up2."),
        (r"^fusion1\.", "merge2."),
        (r"^layer4\.", "dec2."),
        (r"^patch_split2\.proj\.", "up1."),
        (r"^fusion2\.", "merge1."),
        (r"^layer5\.", "dec1."),
        (r"^patch_unembed\.proj\.0\.", "head."),
    )
    contract = ImageContract(value_range=(-1.0, 1.0), multiple_of=4, minimum=28)

    def __init__(
        self,
        channels: tuple[int, int, int, int, int] = (24, 48, 96, 48, 24),
        num_blocks: tuple[int, int, int, int, int] = (16, 16, 16, 8, 8),
        num_heads: tuple[int, int, int, int, int] = (2, 4, 6, 1, 1),
        mlp_ratios: tuple[float, float, float, float, float] = (2.0, 4.0, 4.0, 2.0, 2.0),
        attention_shares: tuple[float, float, float, float, float] = (1 / 4, 1 / 2, 3 / 4, 0.0, 0.0),
        conv: ConvKind = "depthwise",
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = channels
        self.stages = tuple(
            Stage(name, width, stride)
            for name, width, stride in zip(
                ("enc1", "enc2", "mid", "dec2", "dec1"), channels, (1, 2, 4, 2, 1), strict=True
            )
        )
        self.enc1, self.enc2, self.mid, self.dec2, self.dec1 = (
            transformer_blocks(*level, conv=conv, network_blocks=sum(num_blocks))
            for level in zip(channels, num_blocks, num_heads, mlp_ratios, attention_shares, strict=True)
        )
        self.stem = nn.Conv2d(3, c1, 3, padding=1, padding_mode="reflect")
        self.down1 = nn.Conv2d(c1, c2, 2, stride=2)
        self.down2 = nn.Conv2d(c2, c3, 2, stride=2)
        self.skip1 = nn.Conv2d(c1, c5, 1)
        self.skip2 = nn.Conv2d(c2, c4, 1)
        self.up2 = nn.Sequential(nn.Conv2d(c3, 4 * c4, 1), nn.PixelShuffle(2))
        self.up1 = nn.Sequential(nn.Conv2d(c4, 4 * c5, 1), nn.PixelShuffle(2))
        self.merge2 = SkipMerge(c4)
        self.merge1 = SkipMerge(c5)
        self.head = nn.Conv2d(c5, 4, 3, padding=1, padding_mode="reflect")

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [-1, 1]."""
        enc1 = run("enc1", self.enc1, self.stem(image))  # (B, C, H, W)
        enc2 = run("enc2", self.enc2, self.down1(enc1))  # (B, 2C, H/2, W/2)
        mid = run("mid", self.mid, self.down2(enc2))  # (B, 4C, H/4, W/4)
        dec2 = run("dec2", self.dec2, self.merge2(self.up2(mid), self.skip2(enc2)))
        x = self.merge1(self.up1(dec2), self.skip1(enc1))
        del enc1, enc2, mid, dec2  # none is needed beside the widest level
        dec1 = run("dec1", self.dec1, x)
        k, b = self.head(dec1).split((1, 3), 1)
        return Restored(k * image - b + image)  # soft reconstruction


def dehazeformer_t(**overrides: Any) -> DehazeFormer:
    """Tiny."""
    return DehazeFormer(**({"num_blocks": (4, 4, 4, 2, 2), "attention_shares": (0, 1 / 2, 1, 0, 0)} | overrides))


def dehazeformer_s(**overrides: Any) -> DehazeFormer:
    """Small."""
    return DehazeFormer(**({"num_blocks": (8, 8, 8, 4, 4)} | overrides))


def dehazeformer_b(**overrides: Any) -> DehazeFormer:
    """Base."""
    return DehazeFormer(**({"num_blocks": (16, 16, 16, 8, 8)} | overrides))


def dehazeformer_d(**overrides: Any) -> DehazeFormer:
    """Deep."""
    return DehazeFormer(**({"num_blocks": (32, 32, 32, 16, 16)} | overrides))


def dehazeformer_w(**overrides: Any) -> DehazeFormer:
    """Wide."""
    return DehazeFormer(**({"channels": (48, 96, 192, 96, 48)} | overrides))


def dehazeformer_m(**overrides: Any) -> DehazeFormer:
    """Modified: dense convolutions beside the attention."""
    return DehazeFormer(**({"num_blocks": (12, 12, 12, 6, 6), "conv": "dense"} | overrides))


def dehazeformer_l(**overrides: Any) -> DehazeFormer:
    """Large: wide, with dense convolutions."""
    settings = {"channels": (48, 96, 192, 96, 48), "num_blocks": (16, 16, 16, 12, 12), "conv": "dense"}
    return DehazeFormer(**(settings | overrides))
