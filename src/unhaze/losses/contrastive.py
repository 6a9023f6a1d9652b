"""Contrastive regularisation: near to the clear picture and far from the hazy one, as VGG19 sees them.

Wu et al., "Contrastive Learning for Compact Single Image Dehazing" (AECR-Net), CVPR 2021, Eq. 4. Zhang, Zhou, Li,
"Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing" (DCMPNet), CVPR 2024, Eq.
11.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.losses.vgg19 import VGG19Features, load_vgg19

__all__ = ["LAYER_WEIGHTS", "ContrastiveLoss", "FrozenProjections", "contrastive_ratio"]

LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # relu1_1 to relu5_1; AECR-Net, Sec. 4.1
EPS = 1e-7


def contrastive_ratio(
    anchor: Sequence[Tensor],
    positive: Sequence[Tensor],
    negative: Sequence[Tensor],
    weights: Sequence[float] = LAYER_WEIGHTS,
) -> Tensor:
    """Weighted sum over layers of L1(anchor, positive) / (L1(anchor, negative) + 1e-7).

    Args:
        anchor: Features of the restored picture, one map (B, C, h, w) per layer.
        positive: Features of the clear picture; no gradient goes into them.
        negative: Features of the hazy picture; likewise.
        weights: One per layer.
    """
    total = anchor[0].new_zeros((), dtype=torch.float32)
    for weight, a, p, n in zip(weights, anchor, positive, negative, strict=True):
        a = a.float()  # in float16 the 1e-7 is lost
        pulled, pushed = F.l1_loss(a, p.detach().float()), F.l1_loss(a, n.detach().float())
        total = total + weight * pulled / (pushed + EPS)  # Eq. 4 and Eq. 11
    return total


class FrozenProjections(nn.Module):
    """Three random networks of 1x1 convolutions, one each for the last features of anchor, positive and negative.

    They are in DCMPNet's official code alone, are never trained, and no paper mentions them. Since they differ, the
    last term is not smallest where restored and clear picture agree.
    """

    def __init__(self, channels: int = 512) -> None:
        super().__init__()
        self.anchor, self.positive, self.negative = (
            nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU(), nn.Conv2d(channels, channels, 1))
            for _ in range(3)
        )
        self.requires_grad_(False)

    def forward(self, features: Sequence[Tensor], role: str) -> tuple[Tensor, ...]:
        """``features``, maps (B, C, h, w), with the last one projected for its role."""
        *first, last = features
        projection = {"anchor": self.anchor, "positive": self.positive, "negative": self.negative}[role]
        return (*first, projection(last))


class ContrastiveLoss(nn.Module):
    """The regularisation with its VGG19; what is frozen is computed without a graph.

    Args:
        features: From :func:`~unhaze.losses.vgg19.load_vgg19`, which is called without arguments if ``None``.
        projections: What DCMPNet's official code puts after the last layer; nothing if ``None``.
        weights: One per layer.

    Raises:
        WeightsNotFoundError: There are no weights for VGG19.
    """

    def __init__(
        self,
        features: VGG19Features | None = None,
        projections: FrozenProjections | None = None,
        weights: Sequence[float] = LAYER_WEIGHTS,
    ) -> None:
        super().__init__()
        self.features = load_vgg19() if features is None else features
        self.projections, self.weights = projections, tuple(weights)

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        """The loss of (B, 3, H, W) images in [0, 1]; gradients go into ``restored`` alone."""
        with torch.no_grad():
            positive, negative = (self._seen(image, role) for image, role in ((clear, "positive"), (hazy, "negative")))
        return contrastive_ratio(self._seen(restored, "anchor"), positive, negative, self.weights)

    def _seen(self, image: Tensor, role: str) -> tuple[Tensor, ...]:
        features = self.features(image)
        return features if self.projections is None else self.projections(features, role)
