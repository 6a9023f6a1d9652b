"""Dehamer: a convolutional U-Net whose skips are scaled and shifted by a Swin transformer that knows haze density.

Paper: Guo, Yan, Anwar, Cong, Ren, Li, "Image Dehazing Transformer with Transmission-Aware 3D Position Embedding", CVPR
2022.
Official code: Li-Chongyi/Dehamer at 7091670 (MIT).
Deviations: none in the function. Of the 132 million parameters of official checkpoints 103 million are never used; they
are kept so that checkpoints fit. A slope that all attention units of the official code share by accident is one
parameter here. Paths are not dropped in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.norms import normalised
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["Dehamer", "MultiScaleBlock", "dehamer", "multi_scale_keys"]

WINDOW = 7


def multi_scale_keys(official: str, ours: str, channels: int) -> KeyMap:
    """Rules for one multi-scale block; ``official`` and ``ours`` are what its keys begin with."""
    wide = 2 * channels
    parts = {
        rf"down\.{channels}_2\.body\.0\.": "down1.",
        rf"down\.{wide}_2\.body\.0\.": "down2.",
        rf"down\.{channels}_4\.body\.": "unused_down.",
        r"up\.(\d+_\d)\.body\.": r"unused_up.\1.",
        r"last_up\.1\.body\.0\.": "up1.",
        r"last_up\.2\.body\.": "up2.",
        r"blocks\.(\d)\.0\.body\.0\.": r"units.\1.conv1.",
        r"blocks\.(\d)\.0\.body\.2\.": r"units.\1.conv2.",
        r"blocks\.(\d)\.0\.SA\.spatial\.conv\.": r"units.\1.spatial.",
        r"blocks\.(\d)\.0\.CA\.conv_du\.0\.": r"units.\1.squeeze.",
        r"blocks\.(\d)\.0\.CA\.conv_du\.2\.": r"units.\1.excite.",
        r"blocks\.(\d)\.0\.conv1x1\.": r"units.\1.join.",
        r"selective_kernel\.(\d)\.": r"fuse.\1.",
        r"conv_out\.": "leave.",
    }
    return tuple((rf"^{official}{pattern}", ours + name) for pattern, name in parts.items())


class Dehamer(Model):
    """Dehazing transformer with transmission-aware 3D position embedding.

    Args:
        channels: Width of the first convolutions; that of the transformer is three times as large.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"\.filt$|\.relative_position_index$", None),
        (r"^MSRB\d\.blocks\.\d\.0\.body\.1\.weight$", "slope"),
        *multi_scale_keys(r"MSRB1\.", "unused.block1.", 256),
        *multi_scale_keys(r"MSRB2\.", "dec2.", 128),
        *multi_scale_keys(r"MSRB3\.", "dec1.", 64),
        *multi_scale_keys(r"MSRB4\.", "unused.block4.", 32),
        (r"^swin_1\.patch_embed\.", "embed."),
        *((rf"^swin_1\.layers\.{i}\.blocks\.", f"enc{i + 1}.") for i in range(3)),
        *((rf"^swin_1\.layers\.{i}\.downsample\.", f"merge{i + 1}.") for i in range(2)),
        *((rf"^swin_1\.norm{i}\.", f"enc_norm{i + 1}.") for i in range(3)),
        (r"\.attn\.relative_position_bias_table$", ".bias_table"),
        (r"\.attn\.", "."),
        (r"\.mlp\.", "."),
        (r"^E_block5\.", "unused.down5."),
        (r"^E_block(\d)\.", r"down\1."),
        (r"^PPM(\d)\.features\.(\d)\.1\.", r"pool\1.convs.\2."),
        *(
            (rf"^conv{theirs}_{which}\.", f"{name}{ours}.")
            for theirs, ours in ((1, 3), (2, 2), (3, 1))
            for which, name in ((1, "scale"), (2, "shift"))
        ),
        (r"^conv(3_3|4_\d)\.", r"unused.conv\1."),
        *((rf"^conv{theirs}\.", f"join{ours}.") for theirs, ours in ((1, 3), (2, 2), (3, 1))),
        (r"^conv4\.", "smooth."),
        (r"^_block([26])\.", r"unused.up\1."),
        *((rf"^_block{theirs}\.", f"up{ours}.") for theirs, ours in ((1, 4), (3, 3), (4, 2), (5, 1))),
        (r"^_block7\.", "head."),
    )
    contract = ImageContract(multiple_of=16, minimum=16, mean=(0.64, 0.6, 0.58), std=(0.14, 0.15, 0.152))
    dead = (r"^unused\.", r"^dec[12]\.(unused_up|unused_down|fuse\.[12])\.")

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        c = channels
        self.stages = (
            *(Stage(f"enc{i}", 3 * c * 2 ** (i - 1), 2**i) for i in (1, 2, 3)),
            Stage("dec2", 4 * c, 4),
            Stage("dec1", 2 * c, 2),
        )
        self.embed = PatchEmbedding(3 * c)
        self.enc1, self.enc2, self.enc3 = (
            nn.Sequential(*(SwinBlock(3 * c * 2**i, 3 * 2**i, shift) for shift in (0, WINDOW // 2))) for i in range(3)
        )
        self.merge1, self.merge2 = PatchMerging(3 * c), PatchMerging(6 * c)
        self.enc_norm1, self.enc_norm2, self.enc_norm3 = (nn.LayerNorm(3 * c * 2**i) for i in range(3))
        self.down1, self.down2, self.down3, self.down4 = (
            two_convs(before, width, width)
            for before, width in ((3, c), (2 * c, 2 * c), (4 * c, 4 * c), (8 * c, 8 * c))
        )
        self.pool1, self.pool2, self.pool3, self.pool4 = (PyramidPooling(c * 2**i) for i in range(4))
        self.up4 = two_convs(16 * c, 8 * c, 8 * c)
        self.up3, self.up2, self.up1 = (two_convs(2 * width, width, width) for width in (4 * c, 2 * c, c))
        self.scale3, self.scale2, self.scale1 = (conv(3 * width, 2 * width) for width in (4 * c, 2 * c, c))
        self.shift3, self.shift2, self.shift1 = (conv(3 * width, 2 * width) for width in (4 * c, 2 * c, c))
        self.join3, self.join2, self.join1 = (conv(6 * width, 2 * width) for width in (4 * c, 2 * c, c))
        self.dec2, self.dec1 = MultiScaleBlock(4 * c), MultiScaleBlock(2 * c)
        self.slope = nn.Parameter(torch.full((1,), 0.25))
        self.smooth = conv(c, c)
        self.head = nn.Sequential(conv(c, c), nn.ReLU(inplace=True), conv(c, 3))
        half = 3 * c // 2
        self.unused = nn.ModuleDict(
            {
                "block1": MultiScaleBlock(8 * c),
                "block4": MultiScaleBlock(c),
                "down5": two_convs(16 * c, 16 * c, 16 * c),
                "up2": two_convs(16 * c, 8 * c, 8 * c),
                "up6": two_convs(46, 23, 23),
                "conv3_3": conv(half, half // 2),
                "conv4_1": conv(2 * half, half),
                "conv4_2": conv(half, half // 2),
                "conv4_3": conv(half // 2, half // 4),
                "conv4_4": conv(half // 4, half // 4),
            }
        )

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) normalised by the contract's ``mean`` and ``std``."""
        half = self.embed(image)
        half = half + position_embedding(half, dark_channel(image))
        half = run("enc1", self.enc1, half)
        quarter = run("enc2", self.enc2, self.merge1(half))
        eighth = run("enc3", self.enc3, self.merge2(quarter))
        half, quarter, eighth = (
            norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for norm, x in ((self.enc_norm1, half), (self.enc_norm2, quarter), (self.enc_norm3, eighth))
        )
        skip1 = self.pool1(F.max_pool2d(self.down1(image), 2))  # (B, 2C, H/2, W/2)
        skip2 = self.pool2(F.max_pool2d(self.down2(skip1), 2))
        skip3 = self.pool3(F.max_pool2d(self.down3(skip2), 2))
        deepest = self.pool4(F.max_pool2d(self.down4(skip3), 2))  # (B, 16C, H/16, W/16)
        x = double(self.up4(deepest))
        modulated = normalised(skip3) * self.scale3(eighth) + self.shift3(eighth)
        x = double(self.up3(F.relu(self.join3(torch.cat((skip3, modulated, x), 1)))))
        x = run("dec2", lambda y: self.dec2(y, self.slope), x)
        modulated = normalised(skip2) * self.scale2(quarter) + self.shift2(quarter)
        x = double(self.up2(F.relu(self.join2(torch.cat((skip2, modulated, x), 1)))))
        x = run("dec1", lambda y: self.dec1(y, self.slope), x)
        modulated = normalised(skip1) * self.scale1(half) + self.shift1(half)
        x = double(self.up1(F.relu(self.join1(torch.cat((skip1, modulated, x), 1)))))
        return Restored(self.head(F.relu(self.smooth(x))))


def conv(channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution."""
    return nn.Conv2d(channels, out_channels, 3, padding=1)


def two_convs(channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions with a ReLU behind each."""
    return nn.Sequential(
        conv(channels, hidden), nn.ReLU(inplace=True), conv(hidden, out_channels), nn.ReLU(inplace=True)
    )


def double(x: Tensor) -> Tensor:
    """Twice the size, linearly, corners kept."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def dark_channel(image: Tensor, window: int = 15) -> Tensor:
    """The least value around every pixel, mirrored at the borders; (B, 3, H, W) to (B, 1, H, W)."""
    half = window // 2
    least = F.pad(image.amin(1, keepdim=True), (half,) * 4, "reflect")
    return -F.max_pool2d(-least, window, stride=1)


def position_embedding(x: Tensor, density: Tensor) -> Tensor:
    """Sines and cosines of column, row and haze density, a third of the channels each.

    Args:
        x: (B, C, H, W), for its shape; C a multiple of 6.
        density: (B, 1, H', W').
    """
    batch, channels, height, width = x.shape
    density = F.interpolate(density, (height, width), mode="bicubic")
    number = torch.arange(channels // 3, device=x.device, dtype=x.dtype)
    frequency = 10000 ** (-2 * (number // 2) / (channels // 3)).view(-1, 1, 1)
    rows = torch.arange(height, device=x.device, dtype=x.dtype).view(1, 1, -1, 1).expand(batch, 1, height, width)
    columns = torch.arange(width, device=x.device, dtype=x.dtype).view(1, 1, 1, -1).expand(batch, 1, height, width)
    embedded = []
    for place in (columns, rows, density):
        angle = place / (place.amax((2, 3), keepdim=True) + 1e-6) * (2 * torch.pi) * frequency
        embedded.append(torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(1, 2))
    return torch.cat(embedded, 1)


class PatchEmbedding(nn.Module):
    """Patches of 2x2 pixels as features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 2, stride=2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.proj(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PatchMerging(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        patches = torch.cat((x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]), 3)
        return self.reduction(self.norm(patches)).permute(0, 3, 1, 2)


class SwinBlock(nn.Module):
    """A block of the Swin transformer (Liu et al., ICCV 2021): attention in windows of 7x7, and an MLP.

    Args:
        channels: C.
        num_heads: Heads.
        shift: How far the windows are shifted [px].
    """

    def __init__(self, channels: int, num_heads: int, shift: int) -> None:
        super().__init__()
        self.num_heads, self.shift = num_heads, shift
        self.norm1 = nn.LayerNorm(channels)
        self.bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)
        for layer in (self.qkv, self.proj, self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = x.permute(0, 2, 3, 1)
        x = x + self._attend(self.norm1(x))
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x.permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        down, across = x.shape[1] // WINDOW, x.shape[2] // WINDOW
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        windows = x.view(batch, down, WINDOW, across, WINDOW, channels).transpose(2, 3)
        qkv = self.qkv(windows.reshape(batch, down * across, WINDOW**2, channels))
        query, key, value = qkv.unflatten(3, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        # (1, heads, N, N) for the N pixels of a window, by how far they lie apart
        place = torch.arange(WINDOW, device=x.device)
        apart = place[:, None] - place[None] + WINDOW - 1
        index = apart[:, None, :, None] * (2 * WINDOW - 1) + apart[None, :, None]
        bias = self.bias_table[index.reshape(WINDOW**2, -1)].permute(2, 0, 1)[None]
        bias = bias + self._mask(down, across, x)
        out = F.scaled_dot_product_attention(query, key, value, bias.expand(batch, -1, -1, -1, -1))
        out = self.proj(out.transpose(2, 3).flatten(3))
        out = out.view(batch, down, across, WINDOW, WINDOW, channels).transpose(2, 3).reshape(x.shape)
        if self.shift:
            out = out.roll((self.shift, self.shift), (1, 2))
        return out[:, :height, :width]

    def _mask(self, down: int, across: int, like: Tensor) -> Tensor:
        """(windows, 1, N, N): -100 between pixels that only the shift brought together."""
        if not self.shift:
            return like.new_zeros(down * across, 1, 1, 1)

        def region(windows: int) -> Tensor:
            place = torch.arange(windows * WINDOW, device=like.device)
            return (place >= (windows - 1) * WINDOW).int() + (place >= windows * WINDOW - self.shift).int()

        regions = 3 * region(down)[:, None] + region(across)
        regions = regions.view(down, WINDOW, across, WINDOW).transpose(1, 2).reshape(down * across, 1, -1)
        return -100.0 * (regions[..., None] != regions[..., None, :]).to(like.dtype)


class PyramidPooling(nn.Module):
    """A map beside what it is in 1, 2x2, 3x3 and 4x4 cells; twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels // 4, 1, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        pooled = (F.relu(conv(F.adaptive_avg_pool2d(x, i))) for i, conv in enumerate(self.convs, start=1))
        size = x.shape[2:]
        return torch.cat((x, *(F.interpolate(y, size, mode="bilinear", align_corners=True) for y in pooled)), 1)


class MultiScaleBlock(nn.Module):
    """A multi-scale residual block (MIRNet, Zamir et al., ECCV 2020) of three sizes and one column.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(3)]
        self.units = nn.ModuleList(DualAttention(width) for width in widths)
        self.down1, self.down2 = Halving(widths[0]), Halving(widths[1])
        self.up1 = Doubling(widths[1])
        self.up2 = nn.Sequential(Doubling(widths[2]), Doubling(widths[1]))
        self.fuse = nn.ModuleList(SelectiveFusion(width) for width in widths)
        self.leave = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.unused_down = nn.Sequential(Halving(widths[0]), Halving(widths[1]))
        self.unused_up = nn.ModuleDict(
            {
                f"{widths[2]}_4": nn.Sequential(Doubling(widths[2]), Doubling(widths[1])),
                f"{widths[2]}_2": nn.Sequential(Doubling(widths[2])),
                f"{widths[1]}_2": nn.Sequential(Doubling(widths[1])),
            }
        )

    def forward(self, x: Tensor, slope: Tensor) -> Tensor:
        """(B, C, H, W) to the same; ``slope`` is that of the units' rectifiers, (1,)."""
        full = self.units[0](x, slope)
        half = self.units[1](self.down1(full), slope)
        quarter = self.units[2](self.down2(half), slope)
        out: Tensor = x + self.leave(self.fuse[0]((full, self.up1(half), self.up2(quarter))))
        return out


class DualAttention(nn.Module):
    """Two convolutions, weighed per pixel and per channel beside one another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.spatial = nn.Conv2d(2, 1, 5, padding=2, bias=False)
        self.squeeze = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.excite = nn.Conv2d(channels // 8, channels, 1, bias=False)
        self.join = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def forward(self, x: Tensor, slope: Tensor) -> Tensor:
        y = self.conv2(F.prelu(self.conv1(x), slope))
        per_pixel = self.spatial(torch.cat((y.amax(1, keepdim=True), y.mean(1, keepdim=True)), 1)).sigmoid()
        per_channel = self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        out: Tensor = x + self.join(torch.cat((y * per_pixel, y * per_channel), 1))
        return out


def blurred_half(x: Tensor) -> Tensor:
    """Half the size after a 3x3 binomial blur, mirrored at the borders."""
    line = x.new_tensor((0.25, 0.5, 0.25))
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel, stride=2, groups=x.shape[1])


class Halving(nn.Module):
    """Half the size and twice the channels, by way of convolutions and directly."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.top = nn.ModuleDict(
            {
                "0": nn.Conv2d(channels, channels, 1, bias=False),
                "1": nn.PReLU(),
                "2": nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                "3": nn.PReLU(),
                "5": nn.Conv2d(channels, 2 * channels, 1, bias=False),
            }
        )
        self.bot = nn.ModuleDict({"1": nn.Conv2d(channels, 2 * channels, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name in ("0", "1", "2", "3"):
            y = self.top[name](y)
        out: Tensor = self.top["5"](blurred_half(y)) + self.bot["1"](blurred_half(x))
        return out


class Doubling(nn.Module):
    """Twice the size and half the channels, by way of convolutions and directly."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.top = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.PReLU(),
            nn.ConvTranspose2d(channels, channels, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.PReLU(),
            nn.Conv2d(channels, channels // 2, 1, bias=False),
        )
        self.bot = nn.ModuleDict({"1": nn.Conv2d(channels, channels // 2, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        # the direct way projects before it enlarges, which is the same and cheaper
        out: Tensor = self.top(x) + F.interpolate(self.bot["1"](x), scale_factor=2, mode="bilinear")
        return out


class SelectiveFusion(nn.Module):
    """Three maps weighed against one another per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 8, 4)
        self.conv_du = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.PReLU())
        self.fcs = nn.ModuleList(nn.Conv2d(hidden, channels, 1, bias=False) for _ in range(3))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        mean = torch.stack([x.mean((2, 3), keepdim=True) for x in maps]).sum(0)
        squeezed = self.conv_du(mean)
        weights = torch.stack([layer(squeezed) for layer in self.fcs]).softmax(0)
        return torch.stack([x * weight for x, weight in zip(maps, weights, strict=True)]).sum(0)


def dehamer(**overrides: Any) -> Dehamer:
    """The network of the paper."""
    return Dehamer(**overrides)
