"""SGDNet: an RGB image guided by its own YCbCr version, which passes through the same encoder.

Paper: Fang et al., "Guided Real Image Dehazing using YCbCr Color Space", AAAI 2025.
Official code: fiwy0527/AAAI25_SGDN at 715c86a (Apache-2.0), class ``SGDN``.
Deviations: none in the function. In the official code the phases go through the layers that are meant for amplitudes,
the layers meant for phases are unused, and so are several layers of the bridges; its checkpoints depend on that, so
this does the same and keeps them (see ``dead``). Every decoder level has two blocks, whatever the official default
says. Stages run on the RGB features; the YCbCr features pass the encoder without a runner, so that a fusion acts once.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.bands import in_bands
from unhaze.models.layers.channel_attention import (
    apply_channel_attention,
    channel_similarity,
    merge_projection,
    mix_channels,
    similarity_and_value,
)
from unhaze.models.layers.norms import ChannelNorm
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["SGDNet", "rgb_to_ycbcr", "sgdnet"]


class SGDNet(Model):
    """Structure-Guided Dehazing Network.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Blocks of the four levels of the encoder.
        decoder_blocks: Blocks of each level of the decoder.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^inconv\.proj\.", "stem."),
        (r"\.blocks\.", "."),
        (r"\.norm([12])\.body\.", r".norm\1."),
        (r"\.token_mixer\.attention\.to_hidden\.", ".mixer.enter."),
        (r"\.token_mixer\.attention\.to_hidden_dw\.", ".mixer.spread."),
        (r"\.token_mixer\.attention\.conv0\.", ".mixer.near."),
        (r"\.token_mixer\.attention\.conv_spatial\.", ".mixer.far."),
        (r"\.token_mixer\.attention\.conv1\.", ".mixer.near_half."),
        (r"\.token_mixer\.attention\.conv2\.", ".mixer.far_half."),
        (r"\.token_mixer\.attention\.conv_squeeze\.", ".mixer.choose."),
        (r"\.token_mixer\.attention\.conv\.", ".mixer.leave."),
        (r"\.gdfn\.mlp\.", ".mlp."),
        *((rf"^layers\.{i}\.", f"enc{i + 1}.") for i in range(4)),
        *((rf"^decoder{i}\.", f"dec{i}.") for i in (4, 3, 2, 1)),
        *((rf"^downs\.{i}\.proj\.", f"down{i + 1}.") for i in range(3)),
        *((rf"^skips\.{i}\.", f"skip{i + 1}.") for i in range(3)),
        *((rf"^fusions\.{i}\.", f"merge{i + 1}.") for i in range(3)),
        (r"^(merge\d)\.mlp\.1\.", r"\1.squeeze."),
        (r"^(merge\d)\.mlp\.3\.", r"\1.excite."),
        *((rf"^up{i}\.proj\.0\.", f"up{i - 1}.") for i in (4, 3, 2)),
        (r"^outconv\.proj\.0\.", "head1."),
        (r"^outconv128\.proj\.0\.", "head2."),
        (r"^outconv64\.proj\.0\.", "head3."),
        *((rf"^sDiffPropagator\.{i}\.", f"bridge{i + 1}.") for i in range(3)),
        (r"\.rgb_feat_conv\.0\.", ".rgb_gate."),
        (r"\.ycbcr_feat_conv\.0\.", ".ycbcr_gate."),
        (r"\.pim\.processmag\.", ".spectrum.used."),
        (r"\.pim\.processpha\.", ".spectrum.unused."),
        (r"\.(color|detail)_attention\.qkv_dwconv\.", r".\1.spread."),
        (r"\.(color|detail)_attention\.project_out\.", r".\1.project."),
        (r"\.(color|detail)_attention\.", r".\1."),
        (r"\.iam\.proj\.", ".join."),
        (r"\.iam\.(rgb|ycbcr)_cab\.", r".\1_interaction."),
        (r"_interaction\.norm\.body\.", "_interaction.norm."),
        (r"_interaction\.ffn\.q_dwconv\.", "_interaction.query_spread."),
        (r"_interaction\.ffn\.q\.", "_interaction.query."),
        (r"_interaction\.ffn\.kv_dwconv\.", "_interaction.key_value_spread."),
        (r"_interaction\.ffn\.kv\.", "_interaction.key_value."),
        (r"_interaction\.ffn\.project_out\.", "_interaction.project."),
        (r"_interaction\.ffn\.", "_interaction."),
        (r"_interaction\.gdfn\.project_in\.", "_interaction.enhance.enter."),
        (r"_interaction\.gdfn\.dwconv\.", "_interaction.enhance.spread."),
        (r"_interaction\.gdfn\.dwconv([12])\.", r"_interaction.enhance.spread\1."),
        (r"_interaction\.gdfn\.project_out\.", "_interaction.enhance.leave."),
    )
    contract = ImageContract(multiple_of=8, minimum=16)
    dead = (
        r"^bridge1\.(detail|color|rgb_gate|ycbcr_gate)\.",
        r"^bridge[23]\.spectrum\.",
        r"^bridge1\.spectrum\.unused\.",
    )

    def __init__(
        self, channels: int = 32, num_blocks: tuple[int, int, int, int] = (4, 4, 6, 8), decoder_blocks: int = 2
    ) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(4)]
        self.stages = (
            *(Stage(f"enc{i + 1}", widths[i], 2**i) for i in range(4)),
            *(Stage(f"dec{i + 1}", widths[i], 2**i) for i in (3, 2, 1, 0)),
        )
        self.stem = nn.Conv2d(3, channels, 3, padding=1, padding_mode="reflect")

        def blocks(level: int) -> tuple[nn.Sequential, nn.Sequential]:
            width, number = widths[level], num_blocks[level]
            encoder = nn.Sequential(*(LargeKernelBlock(width, sum(num_blocks)) for _ in range(number)))
            decoder = nn.Sequential(*(LargeKernelBlock(width, 4 * decoder_blocks) for _ in range(decoder_blocks)))
            return encoder, decoder

        self.enc1, self.dec1 = blocks(0)
        self.enc2, self.dec2 = blocks(1)
        self.enc3, self.dec3 = blocks(2)
        self.enc4, self.dec4 = blocks(3)

        def between(width: int) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d, SkipChoice, ColorBridge, nn.Conv2d]:
            return (
                nn.Conv2d(width, 2 * width, 2, stride=2),
                nn.Conv2d(2 * width, 4 * width, 1),
                nn.Conv2d(width, width, 1),
                SkipChoice(width),
                ColorBridge(width),
                nn.Conv2d(width, 3, 3, padding=1, padding_mode="reflect"),
            )

        self.down1, self.up1, self.skip1, self.merge1, self.bridge1, self.head1 = between(widths[0])
        self.down2, self.up2, self.skip2, self.merge2, self.bridge2, self.head2 = between(widths[1])
        self.down3, self.up3, self.skip3, self.merge3, self.bridge3, self.head3 = between(widths[2])

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]. ``pyramid`` holds 1/4 and 1/2."""
        rgb, ycbcr = self.stem(image), self.stem(rgb_to_ycbcr(image))
        skips: list[Tensor] = []
        small: tuple[Tensor, Tensor] | None = None
        for name, encoder, bridge, skip, down in (
            ("enc1", self.enc1, self.bridge1, self.skip1, self.down1),
            ("enc2", self.enc2, self.bridge2, self.skip2, self.down2),
            ("enc3", self.enc3, self.bridge3, self.skip3, self.down3),
        ):
            rgb, ycbcr = run(name, encoder, rgb), encoder(ycbcr)
            joined, of_rgb, of_ycbcr, small = bridge(rgb, ycbcr, small)
            skips.append(skip(joined))
            rgb, ycbcr = down(rgb + of_rgb), down(ycbcr + of_ycbcr)
        rgb, ycbcr = run("enc4", self.enc4, rgb), self.enc4(ycbcr)
        emphasis = (ycbcr - ycbcr.mean(1, keepdim=True)).mean((2, 3), keepdim=True).softmax(1)
        x = run("dec4", self.dec4, torch.addcmul(ycbcr, rgb, emphasis))
        images: list[Tensor] = []
        for name, up, merge, decoder, head in (
            ("dec3", self.up3, self.merge3, self.dec3, self.head3),
            ("dec2", self.up2, self.merge2, self.dec2, self.head2),
            ("dec1", self.up1, self.merge1, self.dec1, self.head1),
        ):
            x = F.pixel_shuffle(up(x), 2)
            x = run(name, decoder, merge(skips.pop(), x))
            images.append(head(x))
        return Restored(images[2] + image, pyramid=tuple(images[:2]))


def rgb_to_ycbcr(image: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1] to full-range YCbCr in [0, 1] (JFIF)."""
    red, green, blue = image.split(1, 1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    return torch.cat((luma, (blue - luma) * 0.564 + 0.5, (red - luma) * 0.713 + 0.5), 1)


class LargeKernelBlock(nn.Module):
    """Large selective kernels, then a feed-forward part, each around a connection.

    Args:
        channels: C.
        network_blocks: Blocks in the whole network; deeper networks start with smaller weights.
    """

    def __init__(self, channels: int, network_blocks: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.mixer = SelectiveKernel(channels)
        self.norm2 = ChannelNorm(channels)
        hidden = 4 * channels
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
                std = (8 * network_blocks) ** -0.25 * math.sqrt(2 / (fan_in + fan_out))
                nn.init.trunc_normal_(layer.weight, std=std)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        x = in_bands(lambda part: part + self.mixer(self.norm1(part)), x, channels=2 * channels, halo=13)
        return in_bands(lambda part: part + self.mlp(self.norm2(part)), x, channels=4 * channels, halo=2)


class SelectiveKernel(nn.Module):
    """A near and a far kernel, between which every pixel chooses (LSKNet)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.spread = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels, bias=False)
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.near_half = nn.Conv2d(channels, half, 1)
        self.far_half = nn.Conv2d(channels, half, 1)
        self.choose = nn.Conv2d(2, 2, 7, padding=3)
        self.leave = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.spread(self.enter(x)).chunk(2, 1)
        near, far = self.near_half(self.near(first)), self.far_half(self.far(second))
        mean = (near.mean(1, keepdim=True) + far.mean(1, keepdim=True)) / 2
        peak = torch.maximum(near.amax(1, keepdim=True), far.amax(1, keepdim=True))
        of_near, of_far = self.choose(torch.cat((mean, peak), 1)).sigmoid().split(1, 1)
        return x * self.leave(torch.addcmul(near * of_near, far, of_far))


class ColorBridge(nn.Module):
    """Bi-colour guidance bridge: RGB and YCbCr features of one level inform one another.

    The first level mixes their spectra, deeper levels gate them with the small features of the level before.
    """

    def __init__(self, channels: int, num_heads: int = 8) -> None:
        super().__init__()
        self.rgb_interaction = Interaction(channels, num_heads)
        self.ycbcr_interaction = Interaction(channels, num_heads)
        self.join = nn.Conv2d(channels, channels, 1)
        self.color = SelfAttention(channels, num_heads, bias=True)
        self.detail = SelfAttention(channels, num_heads, bias=False)
        self.spectrum = nn.ModuleDict({kind: spectral_layers(channels) for kind in ("used", "unused")})
        half = channels // 2
        self.rgb_gate = nn.Conv2d(half, channels, 3, padding=1, stride=2, groups=half)
        self.ycbcr_gate = nn.Conv2d(half, channels, 3, padding=1, stride=2, groups=half)

    def forward(
        self, rgb: Tensor, ycbcr: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        """The joined features, those of RGB and of YCbCr, and the small ones for the next level."""
        small_rgb, small_ycbcr = F.avg_pool2d(rgb, 2), F.max_pool2d(ycbcr, 2)
        if before is None:
            small_rgb, small_ycbcr = self._mix_spectra(small_rgb, small_ycbcr)
        else:
            small_rgb = self.color.by_tanh(small_rgb * self.rgb_gate(before[0]).softmax(1))
            small_ycbcr = self.detail.by_softmax(small_ycbcr * self.ycbcr_gate(before[1]).softmax(1))
        large_rgb, large_ycbcr = (
            F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True) for x in (small_rgb, small_ycbcr)
        )
        of_rgb = self.rgb_interaction(large_rgb, large_ycbcr)
        of_ycbcr = self.ycbcr_interaction(large_ycbcr, large_rgb)
        return self.join(of_rgb + of_ycbcr), of_rgb, of_ycbcr, (small_rgb, small_ycbcr)

    def _mix_spectra(self, rgb: Tensor, ycbcr: Tensor) -> tuple[Tensor, Tensor]:
        """Phase integration: each keeps its amplitude and takes the sum of both phases."""
        change = self.spectrum["used"]
        spectra = [torch.fft.rfft2(x) for x in (rgb, ycbcr)]
        phase = change(spectra[0].angle()) + change(spectra[1].angle())
        turn = torch.polar(torch.ones_like(phase), phase)
        first, second = (torch.fft.irfft2(change(s.abs()) * turn, s=rgb.shape[-2:]) for s in spectra)
        return first, second


def spectral_layers(channels: int) -> nn.Sequential:
    """Two 1x1 convolutions on amplitudes or phases."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1), nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(channels, channels, 1)
    )


class SelfAttention(nn.Module):
    """Attention among channels, of one of two kinds."""

    def __init__(self, channels: int, num_heads: int, *, bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Conv2d(channels, channels, 1, bias=bias)
        self.spread = nn.Conv2d(channels, 3 * channels, 3, padding=1, groups=channels, bias=bias)
        self.project = nn.Conv2d(channels, channels, 1, bias=bias)

    def by_tanh(self, x: Tensor) -> Tensor:
        """Weights are tanh of the cosine similarity."""
        query, key, value = self._split(x)
        attention = (channel_similarity(query, key) * self.temperature).tanh()
        return apply_channel_attention(attention, value, self.project.weight, self.project.bias)

    def by_softmax(self, x: Tensor) -> Tensor:
        """Weights are a softmax; queries and keys are normalised per pixel, among the channels of a head."""
        query, key, value = self._split(x)
        query, key = F.normalize(query, dim=2), F.normalize(key, dim=2)
        attention = (query @ key.transpose(2, 3) * self.temperature).softmax(-1)
        return apply_channel_attention(attention, value, self.project.weight, self.project.bias)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query and key, (B, heads, C / heads, N), and value, (B, C, H, W)."""
        query, key, value = self.spread(self.qkv(x)).chunk(3, 1)
        return *(part.flatten(2).unflatten(1, (self.num_heads, -1)) for part in (query, key)), value


class Interaction(nn.Module):
    """Cross attention of one colour space to the other, then an enhancement that replaces the features."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = ChannelNorm(channels)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.query_spread = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.key_value_spread = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.hidden = int(channels * 2.66)
        self.enhance = Enhancement(channels, self.hidden)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        def split(part: Tensor, of_other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            query = self.query_spread(self.query(self.norm(part)))
            key, value = self.key_value_spread(self.key_value(self.norm(of_other))).chunk(2, 1)
            return query, key, value

        def enhanced(part: Tensor, of_value: Tensor) -> Tensor:
            return self.enhance(self.norm(part + mix_channels(mixing, of_value)))

        channels = x.shape[1]
        similarity, value = similarity_and_value(
            split, x, other, num_heads=self.num_heads, channels=3 * channels, halo=1
        )
        mixing = merge_projection((similarity * self.temperature).softmax(-1), self.project.weight)
        return in_bands(enhanced, x, value, channels=2 * self.hidden, halo=2)


class Enhancement(nn.Module):
    """Two halves, each changed by a bounded amount, multiplied."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.spread = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.spread1 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.spread2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.leave = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.spread(self.enter(x)).chunk(2, 1)
        return self.leave((self.spread1(first).tanh() + first) * (self.spread2(second).tanh() + second))


class SkipChoice(nn.Module):
    """SK fusion of a skip connection and the decoder's features, per channel."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, 2 * channels, 1, bias=False)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        pooled = skip.mean((2, 3), keepdim=True) + x.mean((2, 3), keepdim=True)
        share = self.excite(F.relu_(self.squeeze(pooled))).unflatten(1, (2, -1)).softmax(1)
        return torch.addcmul(skip * share[:, 0], x, share[:, 1])


def sgdnet(**overrides: Any) -> SGDNet:
    """The network of the paper."""
    return SGDNet(**overrides)
