"""What a student learns from the features of its teacher, as CoA trains with it.

Ma, Feng, Zhang, Liu, Fan, Liu, "CoA: Towards Real Image Dehazing via Compression-and-Adaptation", CVPR 2025; official
code YanZhang-zy/CoA at f94b8c4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["feature_affinity"]


def feature_affinity(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """How far features of a student are from its teacher's, over levels.

    Of each level, squared differences of the features, of their softmax over the places of a channel, of the means and
    of the variances of the channels. A softmax of the cosines between student and teacher weighs the levels: the more
    alike, the more weight, and the gradient passes through the weights, too. (The official code takes the first
    difference in patches of 4x4, which is the same wherever these fit.)

    Args:
        student: (B, C, H, W), one per level.
        teacher: The same shapes.

    >>> features = [torch.rand(1, 2, 4, 4), torch.rand(1, 4, 2, 2)]
    >>> float(feature_affinity(features, features))
    0.0
    """
    pairs = [(s.float(), t.float()) for s, t in zip(student, teacher, strict=True)]
    cosines = torch.stack([F.cosine_similarity(s.flatten(1), t.flatten(1)).mean() for s, t in pairs])
    return (cosines.softmax(0) * torch.stack([_distance(s, t) for s, t in pairs])).sum()


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    s, t = student.flatten(2), teacher.flatten(2)  # (B, C, N)
    views = (
        (s, t),
        (s.softmax(2), t.softmax(2)),
        (s.mean(2), t.mean(2)),
        (s.var(2, correction=0), t.var(2, correction=0)),
    )
    return torch.stack([F.mse_loss(*view) for view in views]).sum()
