"""The field network: it sees a whole picture small and predicts its haze, not its pixels.

Own design; the idea of solving small and restoring large is that of He and Sun, "Fast Guided Filter", 2015, and of
Gharbi et al., "Deep Bilateral Learning", 2017. A U-Net with 3 x 3 convolutions where resolution is high, large
depth-wise kernels (Liu et al., "A ConvNet for the 2020s", 2022) and attention (Vaswani et al., 2017) where it is low,
and a summary of the whole picture that modulates the decoder (Perez et al., "FiLM", 2018): how bright the haze is, and
how dense, can be told from the whole picture only. The darkest channel of the neighbourhood (He et al. 2011, Eq. 5) is
given to the network as an input because strided convolutions cannot take a minimum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["MULTIPLE", "FieldNetwork", "FieldOutput", "count_parameters"]

MULTIPLE = 32  # height and width of the input must be multiples of it

_DARK_WINDOW = 7
_HEADS = 4  # of the attention
_LOGIT_OFFSET = 1.5  # of the airlight: bright haze is the usual case


class FieldOutput(NamedTuple):
    """What the network says about a batch of views (B, 3, H, W).

    Attributes:
        optical_depth: (B, 1, H/2, W/2), not negative; the transmission is its exp(-x).
        airlight: (B, 3) in (0, 1), sRGB-encoded; one colour for the whole picture.
        log_depth: (B, 1, H/2, W/2) logarithm of the depth, up to a constant per picture.
        confidence: (B, 1, H/2, W/2) logits of how near the restored picture will be to the scene.
    """

    optical_depth: Tensor
    airlight: Tensor
    log_depth: Tensor
    confidence: Tensor


class FieldNetwork(nn.Module):
    """Haze field of a view.

    Args:
        widths: Channels at strides 2, 4, 8, 16 and 32.
        blocks: Blocks at strides 4, 8, 16 and 32.
        attention: How many of the last blocks at strides 16 and 32 are followed by attention over the whole picture.
        context: Length of the summary of the whole picture.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int, int] = (20, 36, 72, 128, 160),
        blocks: tuple[int, int, int, int] = (1, 2, 4, 2),
        attention: tuple[int, int] = (2, 2),
        context: int = 128,
    ) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = widths
        self.stem = _ConvAct(3, c2 - 1, stride=2)
        self.enc4 = nn.Sequential(_ConvAct(c2, c4, stride=2), *(_ResidualBlock(c4) for _ in range(blocks[0])))
        self.enc8 = nn.Sequential(_ConvAct(c4, c8, stride=2), *(_ResidualBlock(c8) for _ in range(blocks[1])))
        self.enc16 = nn.Sequential(_ConvAct(c8, c16, stride=2), *_coarse_blocks(c16, blocks[2], attention[0]))
        self.enc32 = nn.Sequential(_ConvAct(c16, c32, stride=2), *_coarse_blocks(c32, blocks[3], attention[1]))
        self.context = _Context((c8, c32), context)
        self.bottom = _Modulated(_LargeKernelBlock(c32), c32, context)
        self.dec16 = _Join(c32, c16, _LargeKernelBlock(c16), context)
        self.dec8 = _Join(c16, c8, _ResidualBlock(c8), context)
        self.dec4 = _Join(c8, c4, _ResidualBlock(c4), context)
        self.dec2 = _Join(c4, c2, _ConvAct(c2, c2), context)
        self.head = nn.Conv2d(c2, 3, 3, padding=1)
        self.global_density = nn.Linear(context, 1)
        self.airlight = nn.Conv2d(c16, 4, 1)  # a colour from each place, and how much it counts
        self.global_airlight = nn.Linear(context, 3)
        _start_neutral(self)

    def forward(self, image: Tensor) -> FieldOutput:
        """Predict the haze of ``image`` (B, 3, H, W) RGB in [0, 1], H and W multiples of ``MULTIPLE``."""
        x2 = torch.cat([self.stem((image - 0.5) * 4), _dark_channel(image)], dim=1)
        x4 = self.enc4(x2)
        x8 = self.enc8(x4)
        x16 = self.enc16(x8)
        x32 = self.enc32(x16)
        summary = self.context((x8, x32))
        y32 = self.bottom(x32, summary)
        y16 = self.dec16(y32, x16, summary)
        y8 = self.dec8(y16, x8, summary)
        y4 = self.dec4(y8, x4, summary)
        y2 = self.dec2(y4, x2, summary)
        density, log_depth, confidence = self.head(y2).float().split(1, dim=1)
        scale = self.global_density(summary).float()[..., None, None]
        colors, votes = self.airlight(y16).float().flatten(2).split((3, 1), dim=1)
        pooled = (colors * votes.softmax(dim=2)).sum(dim=2)
        light = pooled + self.global_airlight(summary).float() + _LOGIT_OFFSET
        return FieldOutput(F.softplus(density + scale), torch.sigmoid(light), log_depth, confidence)


def count_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def _dark_channel(image: Tensor) -> Tensor:
    """Minimum over channels and window (He et al. 2011, Eq. 5) at half the size, (B, 1, H/2, W/2), scaled."""
    inverse = F.max_pool2d(1 - image.amin(dim=1, keepdim=True), _DARK_WINDOW, 2, _DARK_WINDOW // 2)
    return (0.75 - inverse) * 4


def _start_neutral(network: FieldNetwork) -> None:
    """Begin with an even haze of bright grey: a sane picture from the first step on."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, _ResidualBlock | _LargeKernelBlock | _Attention):
            module.begin_small()
    for layer in (network.head, network.global_density, network.airlight, network.global_airlight):
        nn.init.normal_(layer.weight, std=1e-2)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


class _ConvAct(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(inplace=True))


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _ConvAct(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def begin_small(self) -> None:
        """Begin near the identity: without norms, deep sums of full-sized branches grow."""
        nn.init.normal_(self.second.weight, std=0.1 / (9 * self.second.in_channels) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x))
        return out


class _LargeKernelBlock(nn.Module):
    """Depth-wise 7 x 7, then two point-wise layers (Liu et al. 2022, Fig. 4), without the norm."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.widen = nn.Conv2d(channels, channels * expansion, 1)
        self.narrow = nn.Conv2d(channels * expansion, channels, 1)

    def begin_small(self) -> None:
        """Begin near the identity."""
        nn.init.normal_(self.narrow.weight, std=0.1 / self.narrow.in_channels**0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.narrow(F.relu(self.widen(self.spread(x))))
        return out


class _Attention(nn.Module):
    """Attention of every place to every other (Vaswani et al. 2017, Eq. 1), added to its input.

    Places know where they are from the convolutions before, which see the zeros around the picture.
    """

    def __init__(self, channels: int, heads: int = _HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def begin_small(self) -> None:
        """Begin near the identity."""
        nn.init.normal_(self.out.weight, std=0.1 / self.out.in_features**0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        mixed = self.mix(self.norm(x.flatten(2).transpose(1, 2)))
        split = mixed.reshape(batch, height * width, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-2, -1) * (channels // self.heads) ** -0.5).softmax(dim=-1)
        joined = self.out((weights @ value).transpose(1, 2).reshape(batch, height * width, channels))
        return x + joined.transpose(1, 2).reshape(batch, channels, height, width)


def _coarse_blocks(channels: int, count: int, attention: int) -> list[nn.Module]:
    """Large kernels, the last ``attention`` of them each followed by attention."""
    pairs = [
        (_LargeKernelBlock(channels), _Attention(channels) if i < attention else None) for i in reversed(range(count))
    ]
    return [block for pair in pairs for block in pair if block is not None]


class _Context(nn.Module):
    """Mean, largest and smallest response over the whole picture, summed up in one vector."""

    def __init__(self, channels: tuple[int, ...], length: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * sum(channels), length),
            nn.ReLU(inplace=True),
            nn.Linear(length, length),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        pooled = [each for x in features for each in (x.mean(dim=(2, 3)), x.amax(dim=(2, 3)), x.amin(dim=(2, 3)))]
        out: Tensor = self.layers(torch.cat(pooled, dim=1))
        return out


class _Modulated(nn.Module):
    """A block whose input is scaled and shifted per channel by the context (Perez et al. 2018, Eq. 2)."""

    def __init__(self, block: nn.Module, channels: int, context: int) -> None:
        super().__init__()
        self.block = block
        self.film = nn.Linear(context, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        scale, shift = self.film(context)[..., None, None].chunk(2, dim=1)
        out: Tensor = self.block(x * (1 + scale) + shift)
        return out


class _Join(nn.Module):
    """Enlarge coarse features to the size of fine ones, add both, and refine."""

    def __init__(self, coarse: int, fine: int, block: nn.Module, context: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(coarse, fine, 1, bias=False)
        self.refine = _Modulated(block, fine, context)

    def forward(self, coarse: Tensor, fine: Tensor, context: Tensor) -> Tensor:
        enlarged = F.interpolate(self.project(coarse), scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = self.refine(enlarged + fine, context)
        return out
