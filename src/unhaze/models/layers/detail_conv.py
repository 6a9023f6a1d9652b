"""Detail-enhanced convolution: five 3x3 convolutions that fold into one. DEA-Net, CoA.

Chen, He, Lu, "DEA-Net: Single Image Dehazing Based on Detail-Enhanced Convolution and Content-Guided Attention", IEEE
TIP 2024, Sec. III-A.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = [
    "DETAIL_KEYS",
    "DetailConv",
    "angular_kernel",
    "central_kernel",
    "fold_detail_convs",
    "horizontal_kernel",
    "vertical_kernel",
]

# official names of the five convolutions
DETAIL_KEYS = (
    (r"\.conv1_1\.conv\.", ".central."),
    (r"\.conv1_2\.conv\.", ".horizontal."),
    (r"\.conv1_3\.conv\.", ".vertical."),
    (r"\.conv1_4\.conv\.", ".angular."),
    (r"\.conv1_5\.", ".plain."),
)

# where each weight of a flattened 3x3 kernel goes when the kernel turns clockwise by an eighth
_TURNED = (3, 0, 1, 6, 4, 2, 7, 8, 5)


def central_kernel(weight: Tensor) -> Tensor:
    """Differences to the centre: a (C, C, 3, 3) kernel that sums to zero."""
    return weight - F.pad(weight.sum((2, 3), keepdim=True), (1, 1, 1, 1))


def horizontal_kernel(weight: Tensor) -> Tensor:
    """Left column minus right column; (C, C, 3) to (C, C, 3, 3)."""
    column = weight.unsqueeze(3)
    return F.pad(column, (0, 2)) - F.pad(column, (2, 0))


def vertical_kernel(weight: Tensor) -> Tensor:
    """Upper row minus lower row; (C, C, 3) to (C, C, 3, 3)."""
    row = weight.unsqueeze(2)
    return F.pad(row, (0, 0, 0, 2)) - F.pad(row, (0, 0, 2, 0))


def angular_kernel(weight: Tensor) -> Tensor:
    """Differences to the neighbour around the centre, (C, C, 3, 3); the centre becomes zero."""
    return weight - weight.flatten(2)[..., _TURNED].view_as(weight)


class DetailConv(nn.Module):
    """Sum of a plain and four difference convolutions, computed as one convolution.

    Args:
        channels: C in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.central = nn.Conv2d(channels, channels, 3)
        self.horizontal = nn.Conv1d(channels, channels, 3)
        self.vertical = nn.Conv1d(channels, channels, 3)
        self.angular = nn.Conv2d(channels, channels, 3)
        self.plain = nn.Conv2d(channels, channels, 3)

    def kernel(self) -> Tensor:
        """(C, C, 3, 3): all five kernels in one."""
        return (
            central_kernel(self.central.weight)
            + horizontal_kernel(self.horizontal.weight)
            + vertical_kernel(self.vertical.weight)
            + angular_kernel(self.angular.weight)
            + self.plain.weight
        )

    def bias(self) -> Tensor:
        """(C,): the sum of all five."""
        return sum(layer.bias for layer in self.children())  # type: ignore[misc, return-value]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.conv2d(x, self.kernel(), self.bias(), padding=1)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """One plain convolution with the same function."""
        kernel = self.kernel()
        channels = kernel.shape[0]
        conv = nn.Conv2d(channels, channels, 3, padding=1, device=kernel.device, dtype=kernel.dtype)
        conv.weight.copy_(kernel)
        assert conv.bias is not None
        conv.bias.copy_(self.bias())
        return conv


def fold_detail_convs(network: nn.Module) -> None:
    """Replace every :class:`DetailConv` inside ``network`` by the plain convolution that it amounts to."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DetailConv):
                setattr(parent, name, child.folded())
