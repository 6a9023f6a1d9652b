"""D4: transmission and density of the haze from one image, learnt without pairs by hazing what was dehazed.

Paper: Yang, Wang, Liu, Zhang, Guo, Tao, "Self-augmented Unpaired Image Dehazing via Density and Depth Decomposition",
CVPR 2022.
Official code: YaN9-Y/D4 at 85cdf94 (no licence stated).
Deviations: none in the function. The encoder starts with fresh weights, where the official code downloads those of
EfficientNet-Lite3 trained on ImageNet. The optional guided filter of the transmission is not here.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["D4", "D4_KEYS", "REHAZE_KEYS", "DepthNet", "RehazeNet", "d4_indoor", "d4_real"]

# official names of what dehazing and depth estimation have in common
D4_KEYS: KeyMap = (
    (r"^pretrained\.layer1\.0\.", "encoder.stem."),
    (r"^pretrained\.layer1\.1\.", "encoder.stem_norm."),
    (r"^pretrained\.layer1\.3\.0\.", "encoder.enter."),
    (r"^pretrained\.layer1\.4\.", "encoder.level1."),
    (r"^pretrained\.layer([234])\.0\.", r"encoder.level\1."),
    *((rf"^pretrained\.layer3\.1\.{i}\.", f"encoder.level3.{i + 5}.") for i in range(5)),
    (r"^pretrained\.layer4\.1\.0\.", "encoder.level4.6."),
    (r"\.conv_dw\.", ".depthwise."),
    (r"\.enter\.conv_pw\.", ".enter.narrow."),
    (r"\.conv_pwl\.", ".narrow."),
    (r"\.conv_pw\.", ".widen."),
    (r"\.enter\.bn1\.", ".enter.norm2."),
    (r"\.enter\.bn2\.", ".enter.norm3."),
    (r"\.bn([123])\.", r".norm\1."),
    (r"^scratch\.layer([1-4])_rn\.1\.", r"decoder.adapt\1."),
    (r"^scratch\.refinenet([1-4])\.", r"decoder.refine\1."),
    (r"\.resConfUnit1\.", ".of_skip."),
    (r"\.resConfUnit2\.", ".of_sum."),
    (r"\.out_conv\.", ".leave."),
    (r"^scratch\.output_conv\.1\.", "decoder.head1."),
    (r"^scratch\.output_conv\.4\.", "decoder.head2."),
    (r"^scratch\.output_conv\.6\.", "decoder.head3."),
    (r"^final_conv_beta_([12])\.0\.", r"density\1."),
)
REHAZE_KEYS: KeyMap = (
    (r"^enc_conv([0-3])\.1\.", r"enc\1.conv."),
    (r"^enc_conv([0-3])\.2\.", r"enc\1.norm."),
    (r"^bottleneck([1-4])\.res\.1\.", r"mid.\1.conv1."),
    (r"^bottleneck([1-4])\.res\.2\.", r"mid.\1.norm1."),
    (r"^bottleneck([1-4])\.res\.5\.", r"mid.\1.conv2."),
    (r"^bottleneck([1-4])\.res\.6\.", r"mid.\1.norm2."),
    *((rf"^mid\.{i}\.", f"mid.{i - 1}.") for i in range(1, 5)),
    (r"^dec_conv_last\.1\.", "dec3.conv."),
    (r"^dec_conv_last_2\.1\.", "dec4.conv."),
    (r"^dec_conv([12])\.1\.", r"dec\1.conv."),
    (r"^dec_conv([12])\.2\.", r"dec\1.norm."),
)


class D4(Model):
    """The dehazing network of D4; physics gives its image.

    ``aux`` holds ``transmission`` and ``depth``, (B, 1, H, W), and ``density``, (B, 1, 1, 1).

    Args:
        channels: Width of the decoder at the finest size.
        density: Least and greatest density of the haze.
        brightest: Take the largest value of each channel for the airlight (RESIDE's indoor set), not the largest among
            the thousandth of the pixels with the brightest dark channel.
    """

    KEY_MAP: ClassVar[KeyMap] = D4_KEYS
    contract = ImageContract(multiple_of=32, minimum=64)
    dead = (r"^decoder\.refine4\.of_skip\.",)

    def __init__(
        self, channels: int = 32, density: tuple[float, float] = (0.6, 1.8), *, brightest: bool = True
    ) -> None:
        super().__init__()
        self.bounds, self.brightest = density, brightest
        self.stages = (
            Stage("enc1", 32, 4),
            Stage("enc2", 48, 8),
            Stage("enc3", 136, 16),
            *(Stage(f"dec{i}", channels * 2 ** (i - 1), 2 ** (i + 1)) for i in (4, 3, 2, 1)),
        )
        self.encoder = LiteEncoder()
        self.decoder = DenseDecoder(channels)
        self.density1 = nn.Conv2d(sum(LiteEncoder.WIDTHS), 2 * channels, 1)
        self.density2 = nn.Conv2d(2 * channels, 1, 1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        levels = self.encoder(image, run)
        # the density teaches its own two layers only
        means = torch.cat([x.mean((2, 3), keepdim=True).detach() for x in levels], 1)
        density = between(self.density2(self.density1(means)), *self.bounds)
        transmission = between(self.decoder(levels, run), 0, 1).clamp(0.05, 0.95)
        airlight = image.amax((2, 3), keepdim=True) if self.brightest else dark_channel_airlight(image)
        restored = ((image - airlight) / transmission + airlight).clamp(0, 1)
        depth = -transmission.log() / density
        return Restored(restored, aux={"transmission": transmission, "depth": depth, "density": density})


class DepthNet(nn.Module):
    """The depth network of D4, which sees clear images.

    Args:
        channels: Width of the decoder at the finest size.
        bounds: Least and greatest depth.
    """

    def __init__(self, channels: int = 32, bounds: tuple[float, float] = (0.2, 5.0)) -> None:
        super().__init__()
        self.bounds = bounds
        self.encoder = LiteEncoder()
        self.decoder = DenseDecoder(channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], sides a multiple of 32 from 64 on, to (B, 1, H, W); far is large."""
        return between(self.decoder(self.encoder(image, run_block), run_block), *self.bounds)


def between(x: Tensor, low: float, high: float) -> Tensor:
    """Any number into (low, high)."""
    return low + (high - low) * (torch.tanh(x) + 1) / 2


def dark_channel_airlight(image: Tensor, window: int = 15, share: float = 0.001, most: float = 220 / 255) -> Tensor:
    """The airlight by the dark channel, (B, 3, 1, 1), bounded from above, for (B, 3, H, W) images in [0, 1]."""
    half = window // 2
    dark = -F.max_pool2d(-F.pad(image.amin(1, keepdim=True), (half,) * 4, value=1.0), window, stride=1)
    chosen = dark.flatten(2).topk(max(1, int(dark[0].numel() * share)), 2).indices
    seen = image.flatten(2).gather(2, chosen.expand(-1, 3, -1))
    return seen.amax(2)[..., None, None].clamp(max=most)


class LiteEncoder(nn.Module):
    """EfficientNet-Lite3 without its last layers (Tan, Le, ICML 2019); maps at 1/4, 1/8, 1/16 and 1/32."""

    WIDTHS: ClassVar[tuple[int, int, int, int]] = (32, 48, 136, 384)

    def __init__(self) -> None:
        super().__init__()

        def blocks(channels: int, out_channels: int, kernel: int, stride: int, number: int) -> list[nn.Module]:
            first = InvertedBlock(channels, out_channels, kernel, stride)
            return [first, *(InvertedBlock(out_channels, out_channels, kernel, 1) for _ in range(number - 1))]

        self.stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(32, eps=1e-3)
        self.enter = InvertedBlock(32, 24, 3, 1, widen=1)
        self.level1 = nn.Sequential(*blocks(24, 32, 3, 2, 3))
        self.level2 = nn.Sequential(*blocks(32, 48, 5, 2, 3))
        self.level3 = nn.Sequential(*blocks(48, 96, 3, 2, 5), *blocks(96, 136, 5, 1, 5))
        self.level4 = nn.Sequential(*blocks(136, 232, 5, 2, 6), *blocks(232, 384, 3, 1, 1))

    def forward(self, image: Tensor, run: Runner) -> list[Tensor]:
        """Maps from fine to coarse."""
        x = self.enter(F.relu6(self.stem_norm(self.stem(pad_for_stride(image, 3)))))
        level1 = run("enc1", self.level1[1:], self.level1[0](x))
        level2 = run("enc2", self.level2[1:], self.level2[0](level1))
        level3 = run("enc3", self.level3[6:], self.level3[:6](level2))
        return [level1, level2, level3, self.level4(level3)]


def pad_for_stride(x: Tensor, kernel: int) -> Tensor:
    """TensorFlow's "same" padding of maps with even sides for a stride of 2: one more behind than before."""
    before = (kernel - 2) // 2
    return F.pad(x, (before, kernel - 2 - before) * 2)


class InvertedBlock(nn.Module):
    """A depthwise convolution between 1x1 ones, around which the map is added where it keeps its shape.

    Args:
        channels: C.
        out_channels: Channels of the result.
        kernel: Side of the depthwise convolution.
        stride: 1 or 2.
        widen: Width of the depthwise convolution over C; with 1, the first 1x1 convolution is left out.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, widen: int = 6) -> None:
        super().__init__()
        hidden = widen * channels
        self.kernel, self.stride = kernel, stride
        self.keeps = stride == 1 and channels == out_channels
        self.widen = nn.Conv2d(channels, hidden, 1, bias=False) if widen > 1 else None
        self.norm1 = nn.BatchNorm2d(hidden, eps=1e-3) if widen > 1 else None
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, stride, padding, groups=hidden, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden, eps=1e-3)
        self.narrow = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.widen is None or self.norm1 is None else F.relu6(self.norm1(self.widen(x)))
        y = pad_for_stride(y, self.kernel) if self.stride == 2 else y
        y = self.norm3(self.narrow(F.relu6(self.norm2(self.depthwise(y)))))
        return x + y if self.keeps else y


class DenseDecoder(nn.Module):
    """From four maps to one number per pixel, coarse to fine (MiDaS-small, Ranftl et al., IEEE TPAMI 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(4)]
        self.adapt1, self.adapt2, self.adapt3, self.adapt4 = (
            nn.Conv2d(encoded, width, 3, padding=1, padding_mode="reflect", bias=False)
            for encoded, width in zip(LiteEncoder.WIDTHS, widths, strict=True)
        )
        self.refine1, self.refine2, self.refine3, self.refine4 = (
            Refinement(width, widths[max(i - 1, 0)]) for i, width in enumerate(widths)
        )
        self.head1 = nn.Conv2d(channels, channels // 2, 3, padding=1, padding_mode="reflect")
        self.head2 = nn.Conv2d(channels // 2, 32, 3, padding=1, padding_mode="reflect")
        self.head3 = nn.Conv2d(32, 1, 1)

    def forward(self, levels: list[Tensor], run: Runner) -> Tensor:
        """Maps at 1/4, 1/8, 1/16 and 1/32 to (B, 1, H, W)."""
        level1, level2, level3, level4 = levels
        x = self.refine4(run("dec4", self.refine4.of_sum, self.adapt4(level4)))
        x = self.refine3(run("dec3", self.refine3.of_sum, x + self.refine3.of_skip(self.adapt3(level3))))
        x = self.refine2(run("dec2", self.refine2.of_sum, x + self.refine2.of_skip(self.adapt2(level2))))
        x = self.refine1(run("dec1", self.refine1.of_sum, x + self.refine1.of_skip(self.adapt1(level1))))
        x = F.interpolate(self.head1(x), scale_factor=2, mode="bilinear")
        return self.head3(F.relu(self.head2(x)))


class Refinement(nn.Module):
    """Residual units for a skip and for its sum with what is coarser, and the way to twice the size."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.of_skip = PreactivatedUnit(channels)
        self.of_sum = PreactivatedUnit(channels)
        self.leave = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The projection runs before the enlargement, which is the same and cheaper."""
        return F.interpolate(self.leave(x), scale_factor=2, mode="bilinear", align_corners=True)


class PreactivatedUnit(nn.Module):
    """Two convolutions, each behind a ReLU, added to the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.relu(self.conv1(F.relu(x))))
        return out


class RehazeNet(nn.Module):
    """The hazing network of D4: the scattering model, refined.

    Args:
        channels: Width at full resolution.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        self.enc0 = MirroredConv(3, c1 // 2, normed=False)
        self.enc1 = MirroredConv(c1 // 2, c1)
        self.enc2 = MirroredConv(c1, c2, stride=2)
        self.enc3 = MirroredConv(c2, c3, stride=2)
        self.mid = nn.Sequential(*(RehazeBlock(c3) for _ in range(4)))
        self.dec1 = MirroredConv(2 * c3, c2)
        self.dec2 = MirroredConv(2 * c2, c1, normed=False)
        self.dec3 = MirroredConv(2 * c1, c1, normed=False)
        self.dec4 = MirroredConv(c1, 3, normed=False)

    def forward(self, image: Tensor, depth: Tensor, density: Tensor) -> Tensor:
        """A hazy image in [0, 1].

        Args:
            image: (B, 3, H, W) clear RGB in [0, 1], sides a multiple of 4.
            depth: (B, 1, H, W), far is large.
            density: (B, 1, 1, 1), haze per unit of depth.
        """
        transmission = (-depth * density).exp()
        hazy = torch.lerp(image.amax((2, 3), keepdim=True), image, transmission)
        full = self.enc1(self.enc0(hazy))
        half = self.enc2(full)
        quarter = self.enc3(half)
        x = torch.cat((self.mid(quarter), quarter), 1)
        x = self.dec1(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
        x = F.interpolate(torch.cat((x, half), 1), scale_factor=2, mode="bilinear", align_corners=True)
        x = self.dec4(self.dec3(torch.cat((self.dec2(x), full), 1)))
        return ((2 * hazy - 1 + torch.tanh(x)).clamp(-1, 1) + 1) / 2


class MirroredConv(nn.Module):
    """A 3x3 convolution that mirrors at the borders, normalisation, a leaky ReLU."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1, *, normed: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, stride, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(out_channels) if normed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class RehazeBlock(nn.Module):
    """Two normalised convolutions around a leaky ReLU, added to the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.norm2(self.conv2(F.leaky_relu(self.norm1(self.conv1(x)), 0.2)))
        return out


def d4_indoor(**overrides: Any) -> D4:
    """The airlight is the brightest value of each channel, as for RESIDE's indoor set."""
    return D4(**({"brightest": True} | overrides))


def d4_real(**overrides: Any) -> D4:
    """The airlight follows from the dark channel, as for every other set."""
    return D4(**({"brightest": False} | overrides))
