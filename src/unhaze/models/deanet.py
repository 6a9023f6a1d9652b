"""DEA-Net: difference convolutions, folded into plain ones after training, and content-guided attention.

Paper: Chen, He, Lu, "DEA-Net: Single Image Dehazing Based on Detail-Enhanced Convolution and Content-Guided Attention",
IEEE TIP 2024.
Official code: cecret3350/DEA-Net at 599d4d5 (no licence stated).
Deviations: none in the function. Training and deploy form are one class; :meth:`DEANet.folded` goes from one to the
other. The input of the pixel attention is never put together, since its convolution is linear.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.models._detail_unet import SKELETON_KEYS, DetailUNet
from unhaze.models.base import KeyMap
from unhaze.models.layers.content_attention import ContentAttention
from unhaze.models.layers.detail_conv import DETAIL_KEYS, DetailConv, fold_detail_convs
from unhaze.types import ImageContract

__all__ = ["DEANet", "deanet_deploy", "deanet_train"]


class DEANet(DetailUNet):
    """Detail-Enhanced Attention Network.

    Args:
        channels: Width at full resolution; it doubles with every level.
        num_blocks: Blocks of the two outer levels, each way; the innermost has twice as many.
        detail: Training form, with :class:`DetailConv`; otherwise the deploy form.
    """

    KEY_MAP: ClassVar[KeyMap] = (*DETAIL_KEYS, *SKELETON_KEYS)
    contract = ImageContract(multiple_of=4, minimum=16)

    def __init__(self, channels: int = 32, num_blocks: int = 4, detail: bool = True) -> None:
        super().__init__(
            channels,
            num_blocks,
            outer_block=lambda width: DetailBlock(width, detail=detail, attention=False),
            inner_block=lambda width: DetailBlock(width, detail=detail, attention=True),
        )
        self.detail = detail

    def folded(self) -> DEANet:
        """See :meth:`Backbone.folded`."""
        network = copy.deepcopy(self)
        fold_detail_convs(network)
        network.detail = False
        return network


class DetailBlock(nn.Module):
    """DEB, or DEAB if there is attention: two convolutions, the first around a connection of its own."""

    def __init__(self, channels: int, *, detail: bool, attention: bool) -> None:
        super().__init__()
        self.conv1 = DetailConv(channels) if detail else nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = ContentAttention(channels, reduction=8) if attention else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu_(self.conv1(x)) + x)
        return x + y if self.attention is None else torch.addcmul(x, y, self.attention(y))


def deanet_train(**overrides: Any) -> DEANet:
    """The form that is trained."""
    return DEANet(**overrides)


def deanet_deploy(**overrides: Any) -> DEANet:
    """The form that runs."""
    return DEANet(**({"detail": False} | overrides))
