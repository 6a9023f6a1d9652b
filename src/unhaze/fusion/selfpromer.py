"""SelfPromer's plug-in: features are prompted by how the depth of the picture and of its restoration differ.

Paper: Wang, Pan, Lin, Dong, Wang, Wu, "SelfPromer: Self-Prompt Dehazing Transformers with Depth-Consistency", AAAI
2024. Official code: supersupercong/SelfPromer at c940330 (CC BY-NC-SA 4.0).

Kept: the prompt is the absolute difference of two encoded depths times the features; it is added to the features
(prompt embedding) and, in every transformer block, to the normalised features that queries are made of, while keys and
values are made of these without it (prompt attention); blocks of pre-normalisation, attention without bias in queries,
keys and values, heads of 32 channels, and a feed-forward part of four times the width.
Changed to plug into any network, as P2 ("Can Large Pretrained Depth Estimation Models Help With
Image Dehazing?", Table 1) does: features of the depth estimator are the encoded depths, and two convolutions bring
their difference to the width of the stage; attention is within windows, because stages are larger than the 1/8 of the
official network; heads may be smaller where the stage is narrow; what comes out is added to the stage's output through
a convolution that starts at zero. P2 does not print widths and kernels: with the ten blocks of the official network and
3x3 convolutions, parameters and operations come within a tenth of the overhead that it prints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.fusion.base import Fusion, Site, deepest_near
from unhaze.models.layers.bands import row_bands
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.padding import pad_to_multiple
from unhaze.models.layers.stage import Block
from unhaze.types import DepthLevel, Stage

__all__ = ["PromptedBlock", "SelfPromerFusion", "SelfPromerSite"]

WINDOW = 8  # side of the windows of attention
HEAD = 32  # channels of a head


class PromptedBlock(nn.Module):
    """A transformer block whose queries are shifted by the prompt.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        most = max(1, channels // HEAD)
        self.num_heads = next(number for number in range(most, 0, -1) if channels % number == 0)
        self.norm1 = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        """Pixels of windows, (windows, pixels, C), to the same; the prompt has that shape too."""
        normed = self.norm1(x)
        parts = (self.query(normed + prompt), *self.key_value(normed).chunk(2, 2))
        heads = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        x = x + self.project(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class SelfPromerSite(Site):
    """``y = F(x) + Z(T(F(x) + p, p))`` with the prompt ``p = E(|d - d'|) * F(x)``.

    Args:
        stage: Where it acts.
        levels: Levels of the estimator; E takes the deepest of those nearest to the stage's stride.
        num_blocks: Transformer blocks in T.
    """

    def __init__(self, stage: Stage, levels: Sequence[DepthLevel], num_blocks: int = 10) -> None:
        super().__init__(stage, levels)
        self.level = deepest_near(stage, levels)
        channels = stage.channels
        self.project = nn.Conv2d(levels[self.level].channels, channels, 3, padding=1)
        self.embed = nn.Conv2d(channels, channels, 3, padding=1)
        self.blocks = nn.ModuleList(PromptedBlock(channels) for _ in range(num_blocks))
        self.join = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)  # type: ignore[arg-type]

    def forward(self, block: Block, x: Tensor, prompt: DepthView) -> Tensor:
        """See :meth:`Site.forward`; ``x`` is (B, C, h, w).

        Without depth of a restoration there is no prompt, and the stage runs alone.
        """
        y = block(x)
        if prompt.restored is None:
            return y
        difference = self._difference(prompt, prompt.restored, (y.shape[-2], y.shape[-1]))
        return y + self.join(self._think(y, difference * y))

    def _difference(self, depth: DepthView, restored: DepthView, size: tuple[int, int]) -> Tensor:
        """E(|d - d'|) at (rows, columns); the wide maps stay as small as the estimator gives them."""
        other = restored.features[self.level]
        mapped = depth.mapped(self.level, lambda features: F.gelu(self.project((features - other).abs())))
        embedded: Tensor = self.embed(mapped.feature_at(self.level, size))
        return embedded

    def _think(self, y: Tensor, prompt: Tensor) -> Tensor:
        height, width = y.shape[-2:]
        whole = pad_to_multiple(torch.stack((y + prompt, prompt)).flatten(0, 1), WINDOW).unflatten(0, (2, -1))
        bands = row_bands(y, 4 * y.shape[1], multiple=WINDOW)
        # the last band has the rows that were added
        ends = [*(last for _, last in bands[:-1]), whole.shape[-2]]
        parts = [self._think_of_band(whole[..., first:end, :]) for (first, _), end in zip(bands, ends, strict=True)]
        return torch.cat(parts, 2)[..., :height, :width]

    def _think_of_band(self, band: Tensor) -> Tensor:
        """Prompted features and prompt, (2, B, C, H, W), to features (B, C, H, W); sides are multiples of a window."""
        _, batch, channels, height, width = band.shape
        grid = (height // WINDOW, WINDOW, width // WINDOW, WINDOW)
        windows = band.reshape(2, batch, channels, *grid).permute(0, 1, 3, 5, 4, 6, 2)
        x, prompt = windows.reshape(2, -1, WINDOW**2, channels)
        for block in self.blocks:
            x = block(x, prompt)
        grid = (height // WINDOW, width // WINDOW, WINDOW, WINDOW)
        return x.reshape(batch, *grid, channels).permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, height, width)


class SelfPromerFusion(Fusion):
    """Prompts made of two depths at every site."""

    site = SelfPromerSite
    compares = True
