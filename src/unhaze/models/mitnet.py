"""MITNet: one U-Net for the amplitude spectrum, a second one for the phase, and an exchange between them.

Paper: Shen, Zhao, Zhang, Zhang, "Mutual Information-driven Triple Interaction Network for Efficient Image Dehazing",
ACM MM 2023.
Official code: it-hao/MITNet at e1243aa (no licence stated).
Deviations: none in the function. In the official code a slip in positional arguments takes the spectrum away from the
decoder of the first stage, which adds its projection twice instead; its checkpoints depend on that, so this does it
too, and keeps the convolutions that have no effect (``spectral`` and ``join`` under ``dec5`` to ``dec7``). Amplitudes
are scaled in place of being taken apart and put together, and the nine taps of the dynamic filters run one after the
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["MITNet", "mitnet"]

Domain = Literal["amplitude", "phase", "none"]


class MITNet(Model):
    """Mutual Information-driven Triple Interaction Network.

    ``enc1..enc4`` and ``dec7..dec5`` are the first stage of the paper, ``enc5..enc7``, ``mid`` and ``dec3..dec1`` the
    second.

    Args:
        channels: Width at full resolution; it doubles with every one of the four levels.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"\.fftConv2\.", ".spectral."),
        (r"\.resConv\.", ".body."),
        (r"\.csff_enc\.", ".from_encoder."),
        (r"\.csff_dec\.", ".from_decoder."),
        (r"(path_\d\.\d)\.fusion\.", r"\1.join."),
        (r"\.conv_block\.fusion\.", ".join."),
        (r"\.conv_block\.", "."),
        (r"\.afg\.sekg\.conv_sa\.", ".filter.per_pixel."),
        (r"\.afg\.sekg\.conv_ca\.", ".filter.per_channel."),
        (r"\.afg\.fusion\.", ".filter.join."),
        (r"\.afg\.kernel\.", ".filter.taps."),
        *((rf"^down_path_1\.{i}\.", f"enc{i + 1}.") for i in range(4)),
        *((rf"^up_path_1\.{i}\.", f"dec{7 - i}.") for i in range(3)),
        *((rf"^down_path_2\.{i}\.", f"{name}.") for i, name in enumerate(("enc5", "enc6", "enc7", "mid"))),
        *((rf"^up_path_2\.{i}\.", f"dec{3 - i}.") for i in range(3)),
        *((rf"^skip_conv_1\.{i}\.", f"skip{3 - i}.") for i in range(3)),
        (r"^conv_01\.", "stem1."),
        (r"^conv_02\.", "stem2."),
        (r"^cat12\.", "merge."),
        (r"^sam12\.conv1\.", "supervise.enter."),
        (r"^sam12\.conv2\.", "supervise.head."),
        (r"^sam12\.conv3\.", "supervise.gate."),
        (r"^fci\.conv_(pha|amp)\.", r"exchange.\1.enter."),
        (r"^fci\.fusion_(pha|amp)\.", r"exchange.\1.join."),
        (r"^fci\.resize_(pha|amp)\.(\d)\.(\d)\.", r"exchange.\1.resize.\2to\3."),
        (r"^(exchange\..+)\.body\.(\d)\.bot\.", r"\1.\2."),
        (r"^exchange\.pha\.", "exchange.phase."),
        (r"^exchange\.amp\.", "exchange.amplitude."),
        (r"^last\.", "head."),
    )
    contract = ImageContract(multiple_of=16)
    dead = (r"^dec[567]\.(spectral|join)\.",)

    def __init__(self, channels: int = 20) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(4)]
        self.stages = (
            *(Stage(f"enc{i + 1}", widths[i], 2**i) for i in range(4)),
            *(Stage(f"dec{i + 5}", widths[i], 2**i) for i in (2, 1, 0)),
            *(Stage(f"enc{i + 5}", widths[i], 2**i) for i in range(3)),
            Stage("mid", widths[3], 8),
            *(Stage(f"dec{i + 1}", widths[i], 2**i) for i in (2, 1, 0)),
        )
        self.stem1 = nn.Conv2d(3, channels, 3, padding=1)
        self.stem2 = nn.Conv2d(3, channels, 3, padding=1)

        def encoders(before: int, width: int, down: bool = True) -> tuple[SpectralBlock, SpectralBlock]:
            first = SpectralBlock(before, width, "amplitude", down=down)
            return first, SpectralBlock(before, width, "phase", down=down, cross=down)

        def decoders(width: int) -> tuple[nn.Conv2d, UpBlock, UpBlock]:
            skip, first = nn.Conv2d(width, width, 3, padding=1), UpBlock(width, "none", filtered=False)
            return skip, first, UpBlock(width, "phase", filtered=True)

        # encoders 1 to 4 and decoders 5 to 7 are the first stage, the others the second
        self.enc1, self.enc5 = encoders(channels, widths[0])
        self.enc2, self.enc6 = encoders(widths[0], widths[1])
        self.enc3, self.enc7 = encoders(widths[1], widths[2])
        self.enc4, self.mid = encoders(widths[2], widths[3], down=False)
        self.skip1, self.dec5, self.dec1 = decoders(widths[0])
        self.skip2, self.dec6, self.dec2 = decoders(widths[1])
        self.skip3, self.dec7, self.dec3 = decoders(widths[2])
        self.supervise = Supervision(channels)
        self.merge = nn.Conv2d(2 * channels, channels, 1)
        self.exchange = nn.ModuleDict({kind: Exchange(widths[:3]) for kind in ("phase", "amplitude")})
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1].

        ``aux``: ``stage1`` the image of the first stage, ``stage1_amplitude`` and ``stage1_phase`` its spectrum,
        ``input_phase``, and the features ``phase0..2`` and ``amplitude0..2``, fine to coarse, that the mutual
        information is taken of.
        """
        encoded: list[Tensor] = []  # and decoded: features of the first stage, fine to coarse
        x = self.stem1(image)
        for i, block in enumerate((self.enc1, self.enc2, self.enc3)):
            encoded.append(run(f"enc{i + 1}", block.spectrum, block(x)))
            x = block.downsample(encoded[-1])
        x = run("enc4", self.enc4.spectrum, self.enc4(x))
        decoded: list[Tensor] = []
        for i, up, skip in ((2, self.dec7, self.skip3), (1, self.dec6, self.skip2), (0, self.dec5, self.skip1)):
            x = run(f"dec{i + 5}", up.spectrum, up(up.up(x), skip(encoded[i])))
            decoded.insert(0, x)
        guide, stage1 = self.supervise(decoded[0], image)
        spectrum, hazy = torch.fft.rfft2(stage1), torch.fft.rfft2(image)
        mixed = torch.fft.irfft2(torch.polar(spectrum.abs(), hazy.angle()), s=image.shape[-2:])

        x = self.merge(torch.cat((self.stem2(mixed), guide), 1))
        phases: list[Tensor] = []
        for i, block in enumerate((self.enc5, self.enc6, self.enc7)):
            x = run(f"enc{i + 5}", block.spectrum, block(x)) + block.crossing(encoded[i], decoded[i])
            phases.append(x)
            x = block.downsample(x)
        x = run("mid", self.mid.spectrum, self.mid(x))
        phase, amplitude = self.exchange["phase"](phases), self.exchange["amplitude"](decoded)
        for i, up in ((2, self.dec3), (1, self.dec2), (0, self.dec1)):
            x = up.up(x)
            x = run(f"dec{i + 1}", up.spectrum, up(x, up.filter(x, phase[i], amplitude[i])))
        aux = {
            "stage1": stage1,
            "stage1_amplitude": spectrum.abs(),
            "stage1_phase": spectrum.angle(),
            "input_phase": hazy.angle(),
            **{f"phase{i}": feature for i, feature in enumerate(phases)},
            **{f"amplitude{i}": feature for i, feature in enumerate(decoded)},
        }
        return Restored(self.head(x) + image, aux=aux)


class SpectralBlock(nn.Module):
    """A residual block, :meth:`forward`, and a change of its amplitudes or phases, :meth:`spectrum`.

    Args:
        channels: Input width.
        out_channels: Output width.
        domain: What of the spectrum is changed.
        down: Whether there is a convolution that halves the size.
        cross: Whether features of the first stage are added.
    """

    def __init__(
        self, channels: int, out_channels: int, domain: Domain, *, down: bool = False, cross: bool = False
    ) -> None:
        super().__init__()
        self.domain = domain
        self.body = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.identity = nn.Conv2d(channels, out_channels, 1)
        self.spectral = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(out_channels, out_channels, 1),
        )
        self.join = nn.Conv2d(2 * out_channels, out_channels, 1)
        if down:
            self.downsample = nn.Conv2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False)
        if cross:
            self.from_encoder = nn.Conv2d(out_channels, out_channels, 3, padding=1)
            self.from_decoder = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        projected = self.identity(x)
        return self.body(x) + (2 * projected if self.domain == "none" else projected)

    def spectrum(self, x: Tensor) -> Tensor:
        """``x`` joined with itself after its spectrum was changed; ``x`` where it is not to be changed."""
        if self.domain == "none":
            return x
        before = torch.fft.rfft2(x)
        size = before.abs()
        if self.domain == "phase":
            after = torch.polar(size, self.spectral(before.angle()))
        else:
            zero = size == 0  # the phase of nothing counts as 0
            after = torch.where(zero, 1, before / torch.where(zero, 1, size)) * self.spectral(size)
        return self.join(torch.cat((x, torch.fft.irfft2(after, s=x.shape[-2:])), 1))

    def crossing(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        """What the first stage adds."""
        return self.from_encoder(encoded) + self.from_decoder(decoded)


class UpBlock(SpectralBlock):
    """A spectral block of an enlarged map and a second one.

    Args:
        channels: Output width, half the input's.
        domain: What of the spectrum is changed.
        filtered: Whether there is a dynamic filter, which makes the second map.
    """

    def __init__(self, channels: int, domain: Domain, *, filtered: bool) -> None:
        super().__init__(2 * channels, channels, domain)
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        if filtered:
            self.filter = DynamicFilter(channels)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat((x, other), 1))


class DynamicFilter(nn.Module):
    """A 3x3 filter for every pixel and channel, made of features of both stages."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(3 * channels, channels, 1)
        self.per_pixel = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.per_channel = nn.Conv1d(1, 1, 3, padding=1)
        self.taps = nn.Conv2d(channels, 9 * channels, 1)

    def forward(self, x: Tensor, phase: Tensor, amplitude: Tensor) -> Tensor:
        joined = self.join(torch.cat((x, phase, amplitude), 1))
        means = joined.mean((2, 3)).unsqueeze(1)  # (B, 1, C)
        context = self.per_pixel(joined) + self.per_channel(means).transpose(1, 2).unsqueeze(3)
        height, width = x.shape[2:]
        assert self.taps.bias is not None
        weights, biases = self.taps.weight.unflatten(0, (-1, 9)), self.taps.bias.unflatten(0, (-1, 9))
        padded = F.pad(x, (1, 1, 1, 1))
        out = x
        for tap in range(9):
            shifted = padded[..., tap // 3 : tap // 3 + height, tap % 3 : tap % 3 + width]
            out = torch.addcmul(out, shifted, F.conv2d(context, weights[:, tap], biases[:, tap]))
        return out


class Exchange(nn.Module):
    """Features of all sizes, each joined with the others.

    The sizes are treated in turn, fine to coarse, and later ones see what earlier ones have become.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths)
        self.join = nn.ModuleList(nn.Conv2d(len(widths) * width, width, 1) for width in widths)
        self.resize = nn.ModuleDict(
            {f"{i}to{j}": resizing(widths[i], j - i) for i in range(3) for j in range(3) if i != j}
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        maps = [enter(x) for enter, x in zip(self.enter, features, strict=True)]
        for i, join in enumerate(self.join):
            others = [self.resize[f"{j}to{i}"](maps[j]) for j in range(len(maps)) if j != i]
            maps[i] = join(torch.cat((maps[i], *others), 1))
        return maps


def resizing(channels: int, levels: int) -> nn.Sequential:
    """Halves the size and doubles the width ``levels`` times; the reverse for a negative number."""
    steps: list[nn.Module] = []
    for _ in range(abs(levels)):
        if levels > 0:
            pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
            steps.append(nn.Sequential(pool, nn.Conv2d(channels, 2 * channels, 1)))
            channels *= 2
        else:
            up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            steps.append(nn.Sequential(nn.Conv2d(channels, channels // 2, 1), up))
            channels //= 2
    return nn.Sequential(*steps)


class Supervision(nn.Module):
    """The first stage's image, and features gated by it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, 3, 3, padding=1)
        self.gate = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        restored = self.head(x) + image
        return torch.addcmul(x, self.enter(x), self.gate(restored).sigmoid()), restored


def mitnet(**overrides: Any) -> MITNet:
    """The network of the paper."""
    return MITNet(**overrides)
