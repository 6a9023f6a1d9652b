"""MUSIQ: a transformer over patches of a picture at three sizes, trained on the ratings of KonIQ-10k.

J. Ke, Q. Wang, Y. Wang, P. Milanfar, F. Yang, "MUSIQ: Multi-scale image quality transformer", ICCV 2021; official code
google-research/google-research, ``musiq`` (Apache-2.0). Follows the port in IQA-PyTorch, with whose weights papers on
dehazing compute it: its smaller sizes are made by bicubic interpolation, where the official code has a Gaussian. The
weights are not shipped.
"""

from __future__ import annotations

import math
import os

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.metrics.functional._common import check_images, check_side
from unhaze.metrics.functional._weights import KnownFile, load_verified

__all__ = ["MUSIQ_FILE", "MusiqNetwork", "load_musiq", "musiq"]

MUSIQ_FILE = KnownFile(
    "MUSIQ",
    "musiq_koniq_ckpt-e95806b9.pth",
    "https://huggingface.co/chaofengc/IQA-PyTorch-Weights",
    "e95806b9eae5f3814c410f574ba8e552362bd5bc63d758ed5b97860f5d6185aa",
    "UNHAZE_MUSIQ_WEIGHTS",
)
LONGER_SIDES = (224, 384)  # of the smaller sizes [px]; the picture itself is the third
PATCH = 32
SMALLEST_SIDE = 16
GRID = 10  # places that are told apart along each side


class MusiqNetwork(nn.Module):
    """The network; names as in the published file.

    Args:
        width: Channels of the transformer.
        blocks: How many the transformer has.
        heads: How many its attention has.
        hidden: Width of its perceptrons.
    """

    def __init__(self, width: int = 384, blocks: int = 14, heads: int = 6, hidden: int = 1152) -> None:
        super().__init__()
        self.conv_root = StandardizedConv(3, 64, 7, 2)
        self.gn_root = nn.GroupNorm(32, 64, eps=1e-6)
        self.block1 = Bottleneck(64, 256)
        self.embedding = nn.Linear(256 * (PATCH // 4) ** 2, width)
        self.transformer_encoder = Encoder(width, blocks, heads, hidden)
        self.head = nn.Linear(width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Ratings, (B,), of (B, 3, H, W) in [0, 1]."""
        batch, _, height, width = images.shape
        sizes: list[tuple[int, int] | None] = []
        for side in LONGER_SIDES:
            ratio = side / max(height, width)
            sizes.append((round(height * ratio), round(width * ratio)))
        tokens, places, scales = [], [], []
        for scale, size in enumerate([*sizes, None]):
            shown = 2 * images - 1
            if size is not None:
                shown = F.interpolate(shown, size, mode="bicubic", align_corners=False)
            rows, columns = (math.ceil(side / PATCH) for side in shown.shape[-2:])
            patches = F.unfold(pad_same(shown, PATCH, PATCH), PATCH, stride=PATCH).mT.reshape(-1, 3, PATCH, PATCH)
            maps = F.relu(self.gn_root(self.conv_root(patches)))
            maps = self.block1(F.max_pool2d(pad_same(maps, 3, 2), 3, 2))
            embedded = self.embedding(maps.permute(0, 2, 3, 1).flatten(1))
            tokens.append(embedded.view(batch, rows * columns, -1))
            places.append((nearest(rows)[:, None] * GRID + nearest(columns)[None]).flatten())
            scales.append(torch.full((rows * columns,), scale))
        where = torch.cat(places).to(images.device), torch.cat(scales).to(images.device)
        ratings: Tensor = self.head(self.transformer_encoder(torch.cat(tokens, 1), *where))[:, 0]
        return ratings


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around maps as TensorFlow's "same" has them: an odd one behind."""
    missing = [(math.ceil(side / stride) - 1) * stride + kernel - side for side in x.shape[-2:]]
    top, left = (each // 2 for each in missing)
    return F.pad(x, (left, missing[1] - left, top, missing[0] - top))


def nearest(count: int) -> Tensor:
    """Which of ``GRID`` places each of ``count`` patches in a row takes."""
    grid = torch.arange(GRID, dtype=torch.float32)[None, None]
    return F.interpolate(grid, count, mode="nearest")[0, 0].long()


class StandardizedConv(nn.Conv2d):
    """A convolution whose filters have mean 0 and deviation 1, padded to "same"."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, out_channels, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(pad_same(x, self.kernel_size[0], self.stride[0]), weight, stride=self.stride)


class Bottleneck(nn.Module):
    """Three normalised convolutions beside one."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = StandardizedConv(channels, channels, 1)
        self.gn1 = nn.GroupNorm(32, channels, eps=1e-4)
        self.conv2 = StandardizedConv(channels, channels, 3)
        self.gn2 = nn.GroupNorm(32, channels, eps=1e-4)
        self.conv3 = StandardizedConv(channels, out_channels, 1)
        self.gn3 = nn.GroupNorm(32, out_channels, eps=1e-4)
        self.conv_proj = StandardizedConv(channels, out_channels, 1)
        self.gn_proj = nn.GroupNorm(32, out_channels, eps=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.gn1(self.conv1(x)))
        y = F.relu(self.gn2(self.conv2(y)))
        return F.relu(self.gn3(self.conv3(y)) + self.gn_proj(self.conv_proj(x)))


class Encoder(nn.Module):
    """A transformer over tokens that know their place and size; what it makes of a further one is the result."""

    def __init__(self, width: int, blocks: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.posembed_input = nn.ParameterDict({"position_emb": torch.zeros(1, GRID * GRID, width)})
        self.scaleembed_input = nn.ParameterDict({"scale_emb": torch.zeros(len(LONGER_SIDES) + 1, width)})
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.transformer = nn.ModuleDict({f"encoderblock_{i}": Block(width, heads, hidden) for i in range(blocks)})
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Tensor, places: Tensor, scales: Tensor) -> Tensor:
        """(B, N, C) with (N,) places and (N,) scales to (B, C)."""
        x = tokens + self.posembed_input["position_emb"][0, places] + self.scaleembed_input["scale_emb"][scales]
        x = torch.cat((self.cls.expand(len(x), -1, -1), x), 1)
        for block in self.transformer.values():
            x = block(x)
        first: Tensor = self.encoder_norm(x)[:, 0]
        return first


class Block(nn.Module):
    """Attention and a perceptron, each behind a normalisation."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value", "out")})
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        parts = [
            self.attention[name](y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        ]
        y = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = x + self.attention["out"](y)
        out: Tensor = x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return out


def load_musiq(weights: str | os.PathLike[str] | None = None) -> MusiqNetwork:
    """The network, on the CPU, frozen.

    Args:
        weights: Path of ``musiq_koniq_ckpt-e95806b9.pth``; by default what ``UNHAZE_MUSIQ_WEIGHTS`` names.

    Raises:
        WeightsNotFoundError: No path is given, there is no such file, or its SHA-256 is not the expected one.
    """
    network = MusiqNetwork()
    network.load_state_dict(load_verified(MUSIQ_FILE, weights))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def musiq(preds: Tensor, network: MusiqNetwork) -> Tensor:
    """Rating of a picture as people gave it in KonIQ-10k; higher is better, about 0 to 100.

    Args:
        preds: (B, 3, H, W) sRGB in [0, 1], sides of at least 16 px.
        network: From :func:`load_musiq`. Computes in its own dtype.

    Returns:
        (B,) float64.

    Raises:
        ImageValueError: Not such images, or too small.
    """
    images = check_images(preds)
    check_side(images, SMALLEST_SIDE, "MUSIQ")
    ratings: Tensor = network(images.to(network.head.weight.dtype))
    return ratings.double()
