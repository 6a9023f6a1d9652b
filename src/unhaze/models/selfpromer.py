"""SelfPromer: a vector-quantised autoencoder whose attention is prompted by how two depth maps differ.

Paper: Wang, Pan, Lin, Dong, Wu, "SelfPromer: Self-Prompt Dehazing Transformers with Depth-Consistency",
arXiv:2303.07033.
Official code: supersupercong/SelfPromer at c940330 (CC BY-NC-SA 4.0), class ``FeMaSRNet``.
Deviations: none in the function. ``selfpromer-lq`` restores; ``selfpromer-hq`` is the autoencoder of clear images that
is trained first and then turns depth maps into the features of the prompt (``encode_depth``). Without depth features
there is no prompt. The alignment layers of ``selfpromer-hq`` have no effect and are kept for its checkpoints.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models.base import KeyMap, Model
from unhaze.models.layers.deform import deform_conv2d
from unhaze.models.layers.norms import GroupNorm
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["SelfPromer", "selfpromer_hq", "selfpromer_lq"]


class SelfPromer(Model):
    """Self-prompt dehazing transformer.

    Args:
        restores: The network that restores, with features of the encoder in the decoder; otherwise the autoencoder.
        num_blocks: Transformer blocks at 1/8.
        codebook: Number of codes.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^after_quant_group\.0\.conv\.", "leave_codes."),
        (r"^before_quant_group\.0\.", "enter_codes."),
        (r"^quantize_group\.0\.embedding\.", "codes."),
        (r"^multiscale_encoder\.in_conv\.0\.", "stem."),
        (r"^multiscale_encoder\.in_conv\.(weight|bias)$", r"stem.\1"),
        (r"^multiscale_encoder\.in_conv\.([12])\.", r"stem_blocks.res\1."),
        *((rf"^multiscale_encoder\.blocks\.{i}\.0\.", f"down{i + 1}.") for i in range(3)),
        *((rf"^multiscale_encoder\.blocks\.{i}\.([12])\.", rf"enc{i + 1}.res\1.") for i in range(3)),
        *((rf"^decoder_group\.{i}\.block\.1\.", f"up{3 - i}.") for i in range(3)),
        *((rf"^decoder_group\.{i}\.block\.{j + 1}\.", f"dec{3 - i}.res{j}.") for i in range(3) for j in (1, 2)),
        *((rf"^upsampler\.{i}\.{j - 1}\.", f"guide{3 - i}.res{j}.") for i in range(3) for j in (1, 2)),
        *((rf"^dcn_fusion\.{i}\.", f"align{3 - i}.") for i in range(3)),
        (r"\.DCNv2Pack([12])\.conv_offset\.", r".offset\1."),
        (r"\.DCNv2Pack([12])\.", r".deform\1."),
        (r"^(align\d)\.fusion([12])\.", r"\1.enter\2."),
        (r"^(align\d)\.fusion\.", r"\1.join."),
        (r"\.conv\.0\.norm\.", ".norm1."),
        (r"\.conv\.2\.", ".conv1."),
        (r"\.conv\.3\.norm\.", ".norm2."),
        (r"\.conv\.5\.", ".conv2."),
        (r"^transformer\.", "mid."),
        (r"^(mid\.\d+)\.attn\.q\.", r"\1.query."),
        (r"^(mid\.\d+)\.attn\.kv\.", r"\1.key_value."),
        (r"^(mid\.\d+)\.attn\.proj\.", r"\1.project."),
        (r"^(mid\.\d+)\.mlp\.fc1\.", r"\1.mlp.0."),
        (r"^(mid\.\d+)\.mlp\.fc2\.", r"\1.mlp.2."),
        (r"^out_conv\.", "head."),
    )
    contract = ImageContract(multiple_of=8, minimum=8)

    def __init__(self, restores: bool = True, num_blocks: int = 10, codebook: int = 1024) -> None:
        super().__init__()
        self.restores = restores
        if not restores:
            self.dead = (r"^align\d\.",)
        widths = (64, 128, 256, 256)
        self.stages = (
            *(Stage(f"enc{i}", widths[i], 2**i) for i in (1, 2, 3)),
            Stage("mid", 256, 8),
            *(Stage(f"dec{i}", widths[i - 1], 2 ** (i - 1)) for i in (3, 2, 1)),
        )
        # the autoencoder's first kernel is even; its map, one pixel short, is then enlarged
        self.stem = nn.Conv2d(3, 64, 3 if restores else 4, padding=1)
        self.stem_blocks = residual_blocks(64) if restores else nn.Identity()

        def way_down(fine: int, coarse: int) -> tuple[nn.Conv2d, nn.Sequential, Alignment, nn.Module]:
            down, encoder = nn.Conv2d(fine, coarse, 3, stride=2, padding=1), residual_blocks(coarse)
            return down, encoder, Alignment(coarse), residual_blocks(coarse) if restores else nn.Identity()

        def way_up(coarse: int, fine: int) -> tuple[nn.Conv2d, nn.Sequential]:
            return nn.Conv2d(coarse, fine, 3, padding=1), residual_blocks(fine)

        self.down1, self.enc1, self.align1, self.guide1 = way_down(widths[0], widths[1])
        self.up1, self.dec1 = way_up(widths[1], widths[0])
        self.down2, self.enc2, self.align2, self.guide2 = way_down(widths[1], widths[2])
        self.up2, self.dec2 = way_up(widths[2], widths[1])
        self.down3, self.enc3, self.align3, self.guide3 = way_down(widths[2], widths[3])
        self.up3, self.dec3 = way_up(widths[3], widths[2])
        self.mid = nn.ModuleList(PromptedBlock(256) for _ in range(num_blocks))
        self.enter_codes = nn.Conv2d(256, 512, 1)
        self.codes = nn.Embedding(codebook, 512)
        nn.init.uniform_(self.codes.weight, -1 / codebook, 1 / codebook)
        self.leave_codes = nn.Conv2d(512, 256, 3, padding=1)
        self.head = nn.Conv2d(64, 3, 3, padding=1)

    def forward(
        self, image: Tensor, run: Runner = run_block, depth_features: tuple[Tensor, Tensor] | None = None
    ) -> Restored:
        """See :meth:`Model.forward`; the image is (B, 3, H, W) in [0, 1].

        Args:
            image: (B, 3, H, W).
            run: Runs the stages.
            depth_features: What :meth:`encode_depth` of the autoencoder makes of two depth maps, of the hazy image and
                of the clear one or of a restored one. (B, 256, H/8, W/8) each.

        Returns:
            ``aux`` holds ``latent``, (B, 512, H/8, W/8), what codes are chosen for, ``indices``, (B, 1, H/8, W/8), the
            codes that were chosen, and ``codebook_loss``.
        """
        encoded = self._encode(image, run)
        prompt = None if depth_features is None else (depth_features[0] - depth_features[1]).abs() * encoded[2]
        x = encoded[2] if prompt is None else encoded[2] + prompt
        transformed = run("mid", lambda y: self._transform(y, prompt), x)
        latent = self.enter_codes(transformed)
        quantised, indices, loss = self._quantise(latent)
        x = self.leave_codes(quantised)
        for name, align, guide, up, decoder in (
            ("dec3", self.align3, self.guide3, self.up3, self.dec3),
            ("dec2", self.align2, self.guide2, self.up2, self.dec2),
            ("dec1", self.align1, self.guide1, self.up1, self.dec1),
        ):
            if self.restores:
                aligned = align(encoded.pop(), transformed)
                x = x + guide(aligned)
                del aligned
            x = run(name, decoder, up(F.interpolate(x, scale_factor=2)))
        return Restored(self.head(x), aux={"latent": latent, "indices": indices, "codebook_loss": loss})

    def encode_depth(self, depth: Tensor) -> Tensor:
        """Features, (B, 256, H/8, W/8), of a depth map in [0, 1], (B, 1, H, W)."""
        return self._encode(depth.clamp(0, 1).expand(-1, 3, -1, -1), run_block)[2]

    def _encode(self, image: Tensor, run: Runner) -> list[Tensor]:
        """Maps at 1/2, 1/4 and 1/8."""
        x = self.stem(image)
        x = self.stem_blocks(x) if self.restores else F.interpolate(x, image.shape[2:])
        half = run("enc1", self.enc1, self.down1(x))
        quarter = run("enc2", self.enc2, self.down2(half))
        return [half, quarter, run("enc3", self.enc3, self.down3(quarter))]

    def _transform(self, x: Tensor, prompt: Tensor | None) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, C)
        prompts = None if prompt is None else prompt.flatten(2).transpose(1, 2)
        for block in self.mid:
            tokens = block(tokens, prompts)
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])

    def _quantise(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest code for every pixel, which it was, and the loss that draws both together."""
        rows, codes = x.permute(0, 2, 3, 1).flatten(0, 2), self.codes.weight
        distance = rows.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * rows @ codes.t()
        indices = distance.argmin(1)
        nearest = self.codes(indices).view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)
        loss = (nearest - x.detach()).square().mean() + 0.25 * (nearest.detach() - x).square().mean()
        through = x + (nearest - x).detach()  # the gradient passes as if nothing had been chosen
        return through, indices.view(x.shape[0], 1, *x.shape[2:]), loss


class ResidualBlock(nn.Module):
    """Group normalisation, SiLU and a convolution, twice, around a connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(32, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = GroupNorm(32, channels, eps=1e-6)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x), inplace=True))
        return x + self.conv2(F.silu(self.norm2(y), inplace=True))


def residual_blocks(channels: int) -> nn.Sequential:
    """Two residual blocks."""
    return nn.Sequential(OrderedDict(res1=ResidualBlock(channels), res2=ResidualBlock(channels)))


class PromptedBlock(nn.Module):
    """A transformer block whose queries are shifted by the prompt."""

    def __init__(self, channels: int, num_heads: int = 8) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor, prompt: Tensor | None) -> Tensor:
        normed = self.norm1(x)
        query = self.query(normed if prompt is None else normed + prompt)
        parts = (query, *self.key_value(normed).chunk(2, 2))
        heads = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in parts)  # (B, heads, N, C / heads)
        x = x + self.project(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class Alignment(nn.Module):
    """Features of the encoder and of the transformer, each aligned with the other by a deformable convolution.

    Args:
        channels: C of the encoder's features; the transformer's have 256.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter1, self.offset1, self.deform1 = _alignment_layers(channels)
        self.enter2, self.offset2, self.deform2 = _alignment_layers(channels)
        self.join = nn.Conv2d(2 * channels, channels, 1)
        for parameter in (*self.offset1.parameters(), *self.offset2.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, encoded: Tensor, transformed: Tensor) -> Tensor:
        channels = encoded.shape[1]
        for_encoded, for_transformed = self.enter1.weight.split((channels, transformed.shape[1]), 1)
        first = _entered(encoded, for_encoded, transformed, for_transformed, self.enter1.bias)
        of_first, of_second = self.join.weight.chunk(2, 1)
        deformed = _deform(self.offset1, self.deform1, encoded, first)
        aligned = F.conv2d(deformed, of_first, self.join.bias)
        for_transformed, for_encoded = self.enter2.weight.split((transformed.shape[1], channels), 1)
        second = _entered(encoded, for_encoded, transformed, for_transformed, self.enter2.bias)
        return aligned + F.conv2d(_deform(self.offset2, self.deform2, second, encoded), of_second)


def _alignment_layers(channels: int) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    return (
        nn.Conv2d(channels + 256, channels, 1),
        nn.Conv2d(channels, 27, 3, padding=1),
        nn.Conv2d(channels, channels, 3),
    )


def _deform(offset_conv: nn.Conv2d, conv: nn.Conv2d, x: Tensor, guide: Tensor) -> Tensor:
    """``conv`` of ``x`` (B, C, H, W) where the offsets and weights that ``guide`` gives place its taps."""
    offset, mask = offset_conv(guide).split((18, 9), 1)
    return deform_conv2d(x, offset, conv.weight, conv.bias, mask.sigmoid())


def _entered(
    encoded: Tensor, for_encoded: Tensor, transformed: Tensor, for_transformed: Tensor, bias: Tensor | None
) -> Tensor:
    """A 1x1 convolution of both maps beside each other; enlarging the small one commutes with it, so comes last."""
    enlarged = F.interpolate(F.conv2d(transformed, for_transformed, bias), encoded.shape[2:])
    return F.conv2d(encoded, for_encoded) + enlarged


def selfpromer_lq(**overrides: Any) -> SelfPromer:
    """The network that restores."""
    return SelfPromer(**overrides)


def selfpromer_hq(**overrides: Any) -> SelfPromer:
    """The autoencoder of clear images, which also encodes depth."""
    return SelfPromer(**({"restores": False} | overrides))
