"""AECR-Net: an autoencoder with one shared attention block and one shared deformable convolution at a quarter size.

Paper: Wu, Qu, Lin, Zhou, Qiao, Zhang, Xie, Ma, "Contrastive Learning for Compact Single Image Dehazing", CVPR 2021.
Official code: GlassyWu/AECR-Net at d046d0f (no licence stated).
Deviations: none in the function. The official code needs a compiled deformable convolution (DCNv2) that is not part of
it; here it is the one of ``unhaze.models.layers.deform``. Names of its keys follow DCNv2's public interface.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.deform import deform_conv2d
from unhaze.models.layers.feature_attention import AttentionBlock
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["AECRNet", "aecrnet"]


class AECRNet(Model):
    """Autoencoder of AECR-Net.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: How often the shared attention block runs.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^deconv\.running_deconv$", "whiten.whitening"),
        (r"^deconv\.running_mean$", "whiten.mean"),
        (r"^deconv\.", "whiten."),
        (r"^down1\.1\.", "stem."),
        (r"^down2\.0\.", "down1."),
        (r"^down3\.0\.", "down2."),
        (r"^block\.calayer\.ca\.0\.", "block.channel.squeeze."),
        (r"^block\.calayer\.ca\.2\.", "block.channel.excite."),
        (r"^block\.palayer\.pa\.0\.", "block.pixel.squeeze."),
        (r"^block\.palayer\.pa\.2\.", "block.pixel.excite."),
        (r"^dcn_block\.dcn\.conv_offset_mask\.", "deform.predict."),
        (r"^dcn_block\.dcn\.", "deform."),
        (r"^mix1\.w$", "mix2"),
        (r"^mix2\.w$", "mix1"),
        (r"^up1\.0\.", "up2."),
        (r"^up2\.0\.", "up1."),
        (r"^up3\.1\.", "head."),
    )
    contract = ImageContract(multiple_of=4)

    def __init__(self, channels: int = 64, num_blocks: int = 6) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        self.stages = (Stage("mid", c3, 4), Stage("dec3", c3, 4))
        self.whiten = WhiteningConv(3, 3)
        self.stem = nn.Conv2d(3, c1, 7, padding=3, padding_mode="reflect")
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(c2, c3, 3, stride=2, padding=1)
        self.block = AttentionBlock(c3)
        self.deform = ModulatedDeformConv(c3)
        self.mix2 = nn.Parameter(torch.tensor([-1.0]))
        self.up2 = nn.ConvTranspose2d(c3, c2, 3, stride=2, padding=1, output_padding=1)
        self.mix1 = nn.Parameter(torch.tensor([-0.6]))
        self.up1 = nn.ConvTranspose2d(c2, c1, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Conv2d(c1, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1]."""
        full = F.relu_(self.stem(self.whiten(image)))  # (B, C, H, W)
        half = F.relu_(self.down1(full))  # (B, 2C, H/2, W/2)
        quarter = F.relu_(self.down2(half))  # (B, 4C, H/4, W/4)
        x = run("dec3", self._deform_twice, run("mid", self._blocks, quarter))
        x = torch.lerp(x, quarter, self.mix2.sigmoid())
        x = torch.lerp(F.relu_(self.up2(x)), half, self.mix1.sigmoid())
        return Restored(self.head(F.relu_(self.up1(x))).tanh())

    def _blocks(self, x: Tensor) -> Tensor:
        for _ in range(self.num_blocks):
            x = self.block(x)
        return x

    def _deform_twice(self, x: Tensor) -> Tensor:
        return self.deform(self.deform(x))


class WhiteningConv(nn.Module):
    """A 3x3 convolution whose patches are decorrelated before (network deconvolution, Ye et al., ICLR 2020).

    In training the mean and the covariance are those of the batch; running averages serve afterwards.

    Args:
        channels: C.
        out_channels: Channels of the result.
    """

    EPS: ClassVar[float] = 1e-5
    MOMENTUM: ClassVar[float] = 0.1
    STEPS: ClassVar[int] = 5
    STRIDE: ClassVar[int] = 3  # of the patches that the covariance is estimated from

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, out_channels, 3)
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias
        self.mean: Tensor
        self.whitening: Tensor
        self.register_buffer("mean", torch.zeros(9 * channels))
        self.register_buffer("whitening", torch.eye(9 * channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels, H, W)."""
        mean, whitening = self.mean, self.whitening
        if self.training:
            patches = F.unfold(x, 3, padding=1, stride=self.STRIDE).transpose(1, 2).flatten(0, 1)
            mean = patches.mean(0)
            centred = patches - mean
            covariance = centred.T @ centred / len(patches) + self.EPS * torch.eye(len(mean), device=x.device)
            whitening = inverse_root(covariance, self.STEPS)
            with torch.no_grad():
                self.mean.lerp_(mean, self.MOMENTUM)
                self.whitening.lerp_(whitening, self.MOMENTUM)
        weight = self.weight.flatten(1) @ whitening
        return F.conv2d(x, weight.view_as(self.weight), self.bias - weight @ mean, padding=1)


def inverse_root(matrix: Tensor, steps: int) -> Tensor:
    """About ``matrix ** -0.5`` of a positive definite (N, N) matrix, by coupled Newton iterations."""
    norm, unit = matrix.norm(), torch.eye(len(matrix), device=matrix.device, dtype=matrix.dtype)
    root, inverse = matrix / norm, unit
    for _ in range(steps):
        step = 1.5 * unit - 0.5 * inverse @ root
        root, inverse = root @ step, step @ inverse
    return inverse / norm.sqrt()


class ModulatedDeformConv(nn.Module):
    """A 3x3 deformable convolution that predicts its own offsets and weights of taps (DCNv2).

    Args:
        channels: C in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3)
        self.weight, self.bias = conv.weight, conv.bias
        self.predict = nn.Conv2d(channels, 27, 3, padding=1)
        for parameter in self.predict.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        offset, mask = self.predict(x).split((18, 9), 1)
        return deform_conv2d(x, offset, self.weight, self.bias, mask.sigmoid())


def aecrnet(**overrides: Any) -> AECRNet:
    """The network of the paper."""
    return AECRNet(**overrides)
