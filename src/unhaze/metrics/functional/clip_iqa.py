"""CLIP-IQA: how much more a picture looks like "good image" than like "bad image", by CLIP.

J. Wang, K. C. K. Chan, C. C. Loy, "Exploring CLIP for assessing the look and feel of images", AAAI 2023, with the five
pairs of texts of IQA-PyTorch's ``clipiqa``, which is what papers on dehazing use (the authors' own code has one pair,
"Good photo." and "Bad photo."). CLIP: Radford et al., ICML 2021, ResNet-50; the embedding of positions is left out of
the pooling, so that pictures of any size are seen whole. The weights are OpenAI's and are not shipped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.metrics.functional._common import check_images, check_side
from unhaze.metrics.functional._weights import KnownFile, load_verified

__all__ = ["CLIP_FILE", "ClipNetwork", "clip_iqa", "load_clip_iqa"]

CLIP_FILE = KnownFile(
    "CLIP-IQA",
    "RN50.pt",
    "https://openaipublic.azureedge.net/clip/models/afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762/RN50.pt",
    "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "UNHAZE_CLIP_IQA_WEIGHTS",
    scripted=True,
)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# words in the vocabulary of CLIP, which is not shipped
GOOD, BAD, SHARP, BLURRY, HIGH, LOW, NOISY = (886,), (2103,), (8157,), (21977,), (1400, 9977), (1042, 9977), (33495,)
IMAGE, EDGES, NOISE_FREE = (2867,), (20938,), (9307, 268, 1139)
PAIRS = (
    (GOOD + IMAGE, BAD + IMAGE),
    (SHARP + IMAGE, BLURRY + IMAGE),
    (SHARP + EDGES, BLURRY + EDGES),
    (HIGH + IMAGE, LOW + IMAGE),  # "high resolution image", "low resolution image"
    (NOISE_FREE + IMAGE, NOISY + IMAGE),
)
HEAD_WIDTH = 64  # channels of a head of attention, in both of CLIP's networks


class Bottleneck(nn.Module):
    """Two convolutions to few channels and one to four times as many; halved by a mean where ``stride`` is 2."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shrink = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))
            if stride > 1 or channels != 4 * width
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 4·width, H', W')."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.shrink(F.relu(self.bn2(self.conv2(y))))))
        return F.relu(y + self.downsample(self.shrink(x)))


class AttentionPool(nn.Module):
    """One vector of a map: its mean attends to all pixels and to itself.

    Args:
        channels: C.
        out_channels: Length of the vector.
        places: Length of the embedding of positions, which the file has and CLIP-IQA leaves out.
    """

    def __init__(self, channels: int, out_channels: int, places: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(places, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels)."""
        pixels = x.flatten(2).transpose(1, 2)
        tokens = torch.cat((pixels.mean(1, keepdim=True), pixels), 1)
        query, key, value = (
            project(each).unflatten(2, (-1, HEAD_WIDTH)).transpose(1, 2)
            for project, each in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        pooled: Tensor = self.c_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(1))
        return pooled


class VisualNetwork(nn.Module):
    """CLIP's ResNet: three convolutions at the entry, means instead of strides, attention at the end.

    Args:
        width: C after the entry.
        blocks: Bottlenecks of the four levels.
        out_channels: Length of the result.
        places: See :class:`AttentionPool`.
    """

    def __init__(self, width: int, blocks: tuple[int, ...], out_channels: int, places: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                Bottleneck(width << level + 1 if level else width, width << level, 2 if level else 1),
                *(Bottleneck(4 * width << level, width << level, 1) for _ in range(count - 1)),
            )
            for level, count in enumerate(blocks)
        )
        self.attnpool = AttentionPool(32 * width, out_channels, places)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), normalised, to (B, out_channels)."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        pooled: Tensor = self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return pooled


class TextBlock(nn.Module):
    """A block of CLIP's text network: attention to earlier words, and an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD_WIDTH, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, words, width) to the same; ``mask``, (words, words), is true where a word is not to look."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp["c_fc"](self.ln_2(x))
        out: Tensor = x + self.mlp["c_proj"](inner * torch.sigmoid(1.702 * inner))
        return out


class ClipNetwork(nn.Module):
    """CLIP with a ResNet; names and sizes as in the published file.

    Args:
        state: Tensors of the file, whose shapes say how large the networks are.

    Raises:
        KeyError: A tensor is missing that tells a size.
        RuntimeError: The tensors do not fit together.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()

        def count(prefix: str) -> int:
            return len({key.removeprefix(prefix).partition(".")[0] for key in state if key.startswith(prefix)})

        words, width = state["positional_embedding"].shape
        self.visual = VisualNetwork(
            state["visual.conv3.weight"].shape[0],
            tuple(count(f"visual.layer{level}.") for level in range(1, 5)),
            state["text_projection"].shape[1],
            state["visual.attnpool.positional_embedding"].shape[0],
        )
        blocks = (TextBlock(width) for _ in range(count("transformer.resblocks.")))
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.token_embedding = nn.Embedding(state["token_embedding.weight"].shape[0], width)
        self.positional_embedding = nn.Parameter(torch.zeros(words, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, state["text_projection"].shape[1]))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        sizes = {"input_resolution", "context_length", "vocab_size"}  # numbers that the file keeps among its tensors
        self.load_state_dict({key: value.float() for key, value in state.items() if key not in sizes})

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scaled cosines, (B, T), of (B, 3, H, W) pictures in [0, 1] and (T, words) texts."""
        seen = self.visual((images - self.get_buffer("mean")) / self.get_buffer("std"))
        cosines = F.normalize(seen, dim=1) @ F.normalize(self.read(texts), dim=1).T
        return self.logit_scale.exp() * cosines

    def read(self, texts: Tensor) -> Tensor:
        """Features, (T, D), of texts: (T, words) numbers of the vocabulary, of which the largest ends the text."""
        words = texts.shape[1]
        x = self.token_embedding(texts) + self.positional_embedding[:words]
        ahead = torch.ones(words, words, dtype=torch.bool, device=texts.device).triu(1)
        for block in self.get_submodule("transformer.resblocks").children():
            x = block(x, ahead)
        ends = x[torch.arange(len(texts)), texts.argmax(1)]
        projected: Tensor = self.ln_final(ends) @ self.text_projection
        return projected


def load_clip_iqa(weights: str | os.PathLike[str] | None = None) -> ClipNetwork:
    """The network, on the CPU, frozen.

    Args:
        weights: Path of OpenAI's ``RN50.pt``; by default what ``UNHAZE_CLIP_IQA_WEIGHTS`` names.

    Raises:
        WeightsNotFoundError: No path is given, there is no such file, or its SHA-256 is not the expected one.
    """
    return ClipNetwork(load_verified(CLIP_FILE, weights)).eval().requires_grad_(False)


@torch.no_grad()
def clip_iqa(preds: Tensor, network: ClipNetwork) -> Tensor:
    """Share of the good text, a mean over five pairs; higher is better.

    Args:
        preds: (B, 3, H, W) sRGB in [0, 1], at least 32 px on both sides, seen at their own size.
        network: From :func:`load_clip_iqa`. Computes in its own dtype.

    Returns:
        (B,) float64, in [0, 1].

    Raises:
        ImageValueError: Not such images, or smaller ones.
    """
    images = check_images(preds).to(network.get_buffer("mean").dtype)
    check_side(images, 32, "CLIP-IQA")
    vocabulary = network.token_embedding.num_embeddings
    begin, end = vocabulary - 2, vocabulary - 1
    texts = [[begin, *text, end] for pair in PAIRS for text in pair]
    longest = max(map(len, texts))
    padded = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=images.device)
    scores: Tensor = network(images, padded).double()
    return scores.reshape(-1, len(PAIRS), 2).softmax(2)[..., 0].mean(1)
