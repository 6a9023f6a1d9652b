"""The transformer of DehazeFormer, which DCMPNet uses as well.

Song, He, Qian, Du, "Vision Transformers for Single Image Dehazing", IEEE TIP 2023. Everything works on (B, C, H, W).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.layers.bands import in_bands, put_band, row_bands

__all__ = [
    "BLOCK_KEYS",
    "ConvKind",
    "RescaleNorm",
    "SkipMerge",
    "TransformerBlock",
    "WindowMixer",
    "transformer_blocks",
]

ConvKind = Literal["dense", "depthwise"]

# official names
BLOCK_KEYS = (
    (r"\.relative_positions$", None),
    (r"\.norm1\.meta1\.", ".norm.to_scale."),
    (r"\.norm1\.meta2\.", ".norm.to_shift."),
    (r"\.norm1\.", ".norm."),
    (r"\.attn\.attn\.meta\.", ".mixer.bias."),
    (r"\.attn\.conv\.", ".mixer.conv."),
    (r"\.attn\.QK\.", ".mixer.query_key."),
    (r"\.attn\.V\.", ".mixer.value."),
    (r"\.attn\.proj\.", ".mixer.project."),
    (r"\.mlp\.mlp\.", ".mlp."),
    (r"\.blocks\.", "."),
)


class RescaleNorm(nn.Module):
    """RescaleNorm: layer normalisation over the whole map that also returns what it takes away.

    Args:
        channels: C of the (B, C, H, W) input.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.to_scale = nn.Conv2d(1, channels, 1)
        self.to_shift = nn.Conv2d(1, channels, 1)
        for layer, start in ((self.to_scale, 1.0), (self.to_shift, 0.0)):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, start)

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Factor and offset, (B, C, 1, 1), that normalise the map, and those that bring its statistics back."""
        variance, mean = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
        std = (variance + self.eps).sqrt()
        factor = self.weight / std
        return (factor, self.bias - mean * factor), (self.to_scale(std), self.to_shift(mean))


class WindowMixer(nn.Module):
    """Attention within windows beside a convolution of the values (W-MHSA-PC), or the convolution alone.

    Args:
        channels: C.
        num_heads: Heads of the attention.
        window: Side of a window.
        shift: Offset of the windows. The map is mirrored at its borders, not rolled around.
        attention: Whether there is attention at all.
        conv: The convolution beside it.
    """

    def __init__(
        self, channels: int, num_heads: int, window: int, shift: int, *, attention: bool, conv: ConvKind
    ) -> None:
        super().__init__()
        self.num_heads, self.window, self.shift, self.attention = num_heads, window, shift, attention
        self.conv: nn.Module
        if conv == "dense":
            self.conv = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            )
        else:
            self.conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, padding_mode="reflect")
        self.halo = 2  # rows that the convolution beside the attention sees above and below
        self.projected = attention or conv == "depthwise"
        if self.projected:
            self.value = nn.Conv2d(channels, channels, 1)
            self.project = nn.Conv2d(channels, channels, 1)
        if attention:
            self.query_key = nn.Conv2d(channels, 2 * channels, 1)
            self.bias = nn.Sequential(nn.Linear(2, 256), nn.ReLU(inplace=True), nn.Linear(256, num_heads))
            # all offsets between two pixels of a window on a signed logarithmic scale, and which one each pair has
            span = torch.arange(1 - window, window, dtype=torch.float32)
            log = span.sign() * (1 + span.abs()).log()
            offsets = torch.stack(torch.meshgrid(log, log, indexing="ij"), -1).view(-1, 2)  # ((2w - 1)^2, 2)
            at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
            down, across = at[:, :, None] - at[:, None, :] + window - 1  # (w^2, w^2) each
            self.register_buffer("offsets", offsets, persistent=False)
            self.register_buffer("offset_index", down * (2 * window - 1) + across, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if self.attention:
            return self.mix_rows(x, 0, x.shape[2], x.shape[2], self.position_bias())
        return self.project(self.conv(self.value(x))) if self.projected else self.conv(x)

    def mix_rows(self, x: Tensor, first: int, last: int, height: int, bias: Tensor) -> Tensor:
        """Rows ``first`` to ``last`` of the result, between which no window is cut.

        Args:
            x: (B, C, H', W), those rows and the ``halo`` rows above and below that the image has.
            first: The first row.
            last: Behind the last row.
            height: Rows of the image.
            bias: From :meth:`position_bias`.
        """
        channels, above = x.shape[1], min(first, self.halo)
        rows = slice(above, above + last - first)
        weight = torch.cat((self.query_key.weight, self.value.weight))
        assert self.query_key.bias is not None
        assert self.value.bias is not None
        qkv = F.conv2d(x, weight, torch.cat((self.query_key.bias, self.value.bias)))
        mixed = self.conv(qkv[:, 2 * channels :])[:, :, rows]
        return self.project(mixed + self._attend(qkv[:, :, rows], first == 0, last == height, bias))

    def _attend(self, qkv: Tensor, top: bool, bottom: bool, bias: Tensor) -> Tensor:
        """Attention within the windows of (B, 3C, H, W), which begins and ends with windows or with the image."""
        batch, _, height, width = qkv.shape
        side, above = self.window, self.shift if top else 0
        below, right = (-(height + above) % side if bottom else 0), -(width + self.shift) % side
        if self.shift or below or right:
            qkv = F.pad(qkv, (self.shift, right, above, below), "reflect")
        rows, columns = qkv.shape[2] // side, qkv.shape[3] // side
        split = qkv.reshape(batch, 3, self.num_heads, -1, rows, side, columns, side)
        query, key, value = split.permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(
            3, batch * rows * columns, self.num_heads, side * side, -1
        )  # (windows, heads, pixels, C / heads) each
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out = out.reshape(batch, rows, columns, self.num_heads, side, side, -1).permute(0, 3, 6, 1, 4, 2, 5)
        out = out.reshape(batch, -1, rows * side, columns * side)
        return out[:, :, above : above + height, self.shift : self.shift + width]

    def position_bias(self) -> Tensor:
        """(1, heads, pixels, pixels): a bias for every pair; each of the few distinct offsets is computed once."""
        bias = self.bias(self.offsets)[self.offset_index]
        return bias.permute(2, 0, 1).unsqueeze(0)


class TransformerBlock(nn.Module):
    """Mixing of pixels, then of channels, each around a connection.

    Args:
        channels: C.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden width over C.
        window: Side of a window.
        shift: Offset of the windows.
        attention: Whether pixels are mixed by attention too; only then is the map normalised.
        conv: The convolution that mixes pixels.
        network_blocks: Blocks in the whole network; deeper networks start with smaller weights.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        mlp_ratio: float,
        *,
        window: int = 8,
        shift: int = 0,
        attention: bool,
        conv: ConvKind,
        network_blocks: int,
    ) -> None:
        super().__init__()
        self.norm = RescaleNorm(channels) if attention else None
        self.mixer = WindowMixer(channels, num_heads, window, shift, attention=attention, conv=conv)
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1))
        self.widest = max(3 * channels, hidden) if attention else hidden
        for name, layer in (*self.mixer.named_modules(), *self.mlp.named_modules()):
            if isinstance(layer, nn.Conv2d):
                gain = 1.0 if name == "query_key" else (8 * network_blocks) ** -0.25
                fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
                nn.init.trunc_normal_(layer.weight, std=gain * math.sqrt(2 / (fan_in + fan_out)))
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if self.norm is None:
            return in_bands(self._without_attention, x, channels=self.widest, halo=self.mixer.halo)
        # rows of windows at a time, with statistics of the whole map
        norm, back = self.norm(x)
        bias, out = self.mixer.position_bias(), None
        window, halo = self.mixer.window, self.mixer.halo
        for first, last in row_bands(x, self.widest, halo=halo, multiple=window, start=-self.mixer.shift):
            above = max(first - halo, 0)
            part = x[:, :, above : last + halo]
            mixed = self.mixer.mix_rows(torch.addcmul(norm[1], part, norm[0]), first, last, x.shape[2], bias)
            part = torch.addcmul(part[:, :, first - above : last - above] + back[1], mixed, back[0])
            part = part + self.mlp(part)
            if last - first == x.shape[2]:
                return part
            out = put_band(out, part, first, x.shape[2])
        assert out is not None
        return out

    def _without_attention(self, x: Tensor) -> Tensor:
        x = x + self.mixer(x)
        return x + self.mlp(x)


def transformer_blocks(
    channels: int,
    num_blocks: int,
    num_heads: int,
    mlp_ratio: float,
    attention_share: float,
    conv: ConvKind,
    network_blocks: int,
    window: int = 8,
) -> nn.Sequential:
    """One level: the last ``attention_share`` of the blocks have attention, every second one with shifted windows."""
    return nn.Sequential(
        *(
            TransformerBlock(
                channels,
                num_heads,
                mlp_ratio,
                window=window,
                shift=window // 2 if i % 2 else 0,
                attention=i >= num_blocks - attention_share * num_blocks,
                conv=conv,
                network_blocks=network_blocks,
            )
            for i in range(num_blocks)
        )
    )


class SkipMerge(nn.Module):
    """SK fusion: two maps weighed against each other per channel, plus the first of them.

    Args:
        channels: C of both.
        reduction: C over the hidden width, which is at least 4.
        residual: Add the first map.
    """

    def __init__(self, channels: int, reduction: int = 8, *, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        hidden = max(channels // reduction, 4)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 2 * channels, 1, bias=False),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Both maps are (B, C, H, W)."""
        pooled = x.mean((2, 3), keepdim=True) + skip.mean((2, 3), keepdim=True)
        share = self.mlp(pooled).unflatten(1, (2, -1)).softmax(1)
        of_x, of_skip = share[:, 0] + int(self.residual), share[:, 1]
        return in_bands(lambda a, b: torch.addcmul(a * of_x, b, of_skip), x, skip, channels=x.shape[1])
