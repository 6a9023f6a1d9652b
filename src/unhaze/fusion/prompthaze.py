"""PromptHaze: a depth prompt that is updated prompt by prompt, and a strength that says how much of it acts.

Paper: Ye, Chen, Chen, Chai, Ren, Xing, Li, Zhu, "PromptHaze: Prompting Real-world Dehazing via Depth Anything Model",
AAAI 2025. There is no public code: this module is written from the abstract, which says that a depth prompt from
Depth Anything is updated iteratively, prompt by prompt, that the background is restored progressively, and that the
dehazing strength can be controlled. Everything else is our reading, with widths that meet the costs in Table 1 of P2
("Can Large Pretrained Depth Estimation Models Help With Image Dehazing?"):

- A prompt has the size at which the estimator gives its features. That of the first site is made of these features,
  that of every other one also of what the site before it handed on.
- Each site has two rounds. In a round the features of the stage, shrunk to the prompt's size, update the prompt; the
  means of both decide how strongly each of its channels acts; then the prompt, times the strength, scales and shifts
  the features, and two convolutions make of them what is restored.
- What the rounds restored is added to the stage's output through a convolution that starts at zero. Nothing between the
  prompt and that sum has a bias, so that strength 0 is the network without depth, trained or not.

The paper iterates over the network; here an iteration is a round of a site, all within one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.errors import UsageError
from unhaze.fusion.base import Fusion, Site, deepest_near
from unhaze.models.layers.bands import in_bands
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.stage import Block
from unhaze.types import DepthLevel, Stage

__all__ = ["Chain", "PromptHazeFusion", "PromptHazeSite", "Round"]


RESTORE = 5  # width of what is restored, over that of the stage
GATE = 8  # the same of the gate


@dataclass(frozen=True, slots=True)
class Chain:
    """What the sites share in one forward pass.

    Attributes:
        depth: Depth of the picture.
        strength: Factor of every prompt.
        handed: The prompt that each site handed on so far, by its stage. A pass writes each entry before it reads it.
    """

    depth: DepthView
    strength: float
    handed: dict[str, Tensor] = field(default_factory=dict)


class Round(nn.Module):
    """One update of the prompt, and what the prompt then restores.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = RESTORE * channels
        self.update = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.gate = nn.Sequential(
            nn.Linear(2 * channels, GATE * channels), nn.GELU(), nn.Linear(GATE * channels, channels), nn.Sigmoid()
        )
        self.modulate = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)
        self.restore = nn.Sequential(
            nn.Conv2d(channels, wide, 3, padding=1, bias=False),
            nn.GELU(),
            nn.Conv2d(wide, channels, 3, padding=1, bias=False),
        )

    def forward(self, features: Tensor, prompt: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Features (B, C, H, W) and prompt (B, C, h, w) to what is added to the features, and the prompt updated."""
        seen = _averaged(features, (prompt.shape[-2], prompt.shape[-1]))
        prompt = prompt + F.gelu(self.update(torch.cat((seen, prompt), 1)))
        acting = strength * self.gate(torch.cat((seen, prompt), 1).mean((2, 3)))[:, :, None, None]
        enlarged = F.interpolate(acting * prompt, size=features.shape[-2:], mode="bilinear", align_corners=False)
        channels = RESTORE * features.shape[1]
        return in_bands(self._restore, features, enlarged, channels=channels, halo=3), prompt

    def _restore(self, features: Tensor, prompt: Tensor) -> Tensor:
        scale, shift = self.modulate(prompt).chunk(2, 1)
        restored: Tensor = self.restore(torch.addcmul(shift, scale, features))
        return restored


class PromptHazeSite(Site):
    """``y = F(x) + Z(c)``, c what a prompt that is updated in rounds restores.

    Args:
        stage: Where it acts.
        levels: Levels of the estimator; the deepest of those nearest to the stage's stride is used.
        before: Name of the stage whose prompt is taken over; ``None`` at the first site.
        hands_on: Whether a later site takes over the prompt.
        rounds: How often the prompt is updated.
        hidden: Channels of a prompt on its way to the next site.
    """

    def __init__(
        self,
        stage: Stage,
        levels: Sequence[DepthLevel],
        before: str | None = None,
        hands_on: bool = False,
        rounds: int = 2,
        hidden: int = 64,
    ) -> None:
        super().__init__(stage, levels)
        self.name, self.before, self.level = stage.name, before, deepest_near(stage, levels)
        channels = stage.channels
        self.project = nn.Conv2d(levels[self.level].channels, channels, 3, padding=1)
        self.take = None if before is None else nn.Conv2d(hidden, channels, 1)
        self.rounds = nn.ModuleList(Round(channels) for _ in range(rounds))
        self.hand = nn.Conv2d(channels, hidden, 1) if hands_on else None
        self.join = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.zeros_(self.join.weight)

    def forward(self, block: Block, x: Tensor, prompt: Chain) -> Tensor:
        """See :meth:`Site.forward`; ``x`` (B, C, h, w) keeps its shape."""
        y = block(x)
        state, change = self._first_prompt(prompt), torch.zeros_like(y)
        for update in self.rounds:
            restored, state = update(y + change, state, prompt.strength)
            change = change + restored
        if self.hand is not None:
            prompt.handed[self.name] = self.hand(state)
        return y + self.join(change)

    def _first_prompt(self, chain: Chain) -> Tensor:
        mapped = chain.depth.mapped(self.level, self.project)
        state = mapped.feature_at(self.level, _own_size(mapped, self.level))
        if self.take is None:
            return state
        assert self.before is not None
        taken = self.take(chain.handed[self.before])
        return state + F.interpolate(taken, size=state.shape[-2:], mode="bilinear", align_corners=False)


class PromptHazeFusion(Fusion):
    """A chain of prompts; sites must be given in the order in which their stages run.

    Args:
        sites: The stages of the network at which it acts.
        levels: Feature maps that the depth estimator gives, fine to coarse.
        strength: Factor of every prompt, at least 0. 0 leaves the depth out; 1 is what the weights are trained for.
        rounds: Updates of the prompt at each site.
        hidden: Channels of a prompt on its way from site to site.

    Attributes:
        strength: May be changed between pictures.

    Raises:
        UsageError: The strength is negative or not a number.
    """

    site = PromptHazeSite

    def __init__(
        self,
        sites: Sequence[Stage],
        levels: Sequence[DepthLevel],
        strength: float = 1.0,
        rounds: int = 2,
        hidden: int = 64,
    ) -> None:
        super().__init__((), levels)
        self.strength = strength
        names = [stage.name for stage in sites]
        before = [None, *names][: len(names)]
        for stage, name in zip(sites, before, strict=True):
            hands_on = stage.name != names[-1]
            self.sites[stage.name] = PromptHazeSite(stage, levels, name, hands_on, rounds, hidden)

    def prepare(self, depth: DepthView) -> Chain:
        """See :meth:`Fusion.prepare`: made anew for each pass, so that passes know nothing of each other."""
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise UsageError(f"The dehazing strength is {self.strength}; give a number from 0, where 1 is normal.")
        return Chain(depth, self.strength)


def _own_size(depth: DepthView, level: int) -> tuple[int, int]:
    """Rows and columns that the part has of what the estimator gave."""
    height, width = depth.features[level].shape[-2:]
    if depth.box == (0.0, 0.0, 1.0, 1.0):
        return height, width
    top, left, bottom, right = depth.box
    return max(1, round(height * (bottom - top))), max(1, round(width * (right - left)))


def _averaged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Means over the cells of a grid of (rows, columns), as products with matrices: any sizes, in every exporter."""
    return _shares(size[0], x.shape[-2], x) @ x @ _shares(size[1], x.shape[-1], x).mT


def _shares(cells: int, pixels: int, like: Tensor) -> Tensor:
    """(cells, pixels) matrix of how much of each cell lies in which pixel."""
    low = torch.arange(cells, device=like.device, dtype=torch.float64)[:, None] * (pixels / cells)
    left = torch.arange(pixels, device=like.device, dtype=torch.float64)
    overlap = torch.minimum(low + pixels / cells, left + 1) - torch.maximum(low, left)
    return (overlap.clamp(min=0) * (cells / pixels)).to(like.dtype)
