"""Neural Image Assessment (NIMA): how people rate a photograph, 1 to 10, on VGG16 and the ratings of AVA.

H. Talebi, P. Milanfar, "NIMA: Neural image assessment", IEEE TIP 27(8), 2018, with VGG16 and mean pooling as in
IQA-PyTorch (``nima-vgg16-ava``), whose weights are what papers on dehazing use. They are not shipped.
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.metrics.functional._common import check_images
from unhaze.metrics.functional._weights import KnownFile, load_verified

__all__ = ["NIMA_FILE", "NimaNetwork", "load_nima", "nima"]

NIMA_FILE = KnownFile(
    "NIMA",
    "NIMA_VGG16_ava-dc4e8265.pth",
    "https://huggingface.co/chaofengc/IQA-PyTorch-Weights",
    "dc4e8265",
    "UNHAZE_NIMA_WEIGHTS",
)
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# channels of VGG16's convolutions, level by level, and their places in torchvision's ``features``
LEVELS = ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28)))


class NimaNetwork(nn.Module):
    """VGG16's convolutions and one linear layer to ten ratings; names as in the published file."""

    def __init__(self) -> None:
        super().__init__()
        convolutions: dict[str, nn.Module] = {}
        channels = 3
        for width, places in LEVELS:
            for place in places:
                convolutions[f"features_{place}"] = nn.Conv2d(channels, width, 3, padding=1)
                channels = width
        self.base_model = nn.ModuleDict(convolutions)
        self.classifier = nn.ModuleDict({"2": nn.Linear(channels, 10)})
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Shares of the ratings 1 to 10, (B, 10), of (B, 3, 224, 224) in [0, 1]."""
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        for _, places in LEVELS:
            for place in places:
                x = F.relu(self.base_model[f"features_{place}"](x))
            x = F.max_pool2d(x, 2)
        shares: Tensor = self.classifier["2"](x.mean((2, 3))).softmax(1)
        return shares


def load_nima(weights: str | os.PathLike[str] | None = None) -> NimaNetwork:
    """The network, on the CPU, frozen.

    Args:
        weights: Path of ``NIMA_VGG16_ava-dc4e8265.pth``; by default what ``UNHAZE_NIMA_WEIGHTS`` names.

    Raises:
        WeightsNotFoundError: No path is given, there is no such file, or its SHA-256 is not the expected one.
    """
    network = NimaNetwork()
    network.load_state_dict(load_verified(NIMA_FILE, weights))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def nima(preds: Tensor, network: NimaNetwork) -> Tensor:
    """Mean rating; higher is better.

    Args:
        preds: (B, 3, H, W) sRGB in [0, 1]. The shorter side is brought to 224 px, the middle is judged.
        network: From :func:`load_nima`. Computes in its own dtype.

    Returns:
        (B,) float64, in [1, 10].

    Raises:
        ImageValueError: Not such images.
    """
    images = check_images(preds).to(network.get_buffer("mean").dtype)
    height, width = images.shape[-2:]
    # as torchvision does: the longer side is cut down to a whole number of pixels, the middle is rounded to even
    size = (SIDE, int(SIDE * width / height)) if height <= width else (int(SIDE * height / width), SIDE)
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    top, left = (round((side - SIDE) / 2) for side in size)
    shares: Tensor = network(small[..., top : top + SIDE, left : left + SIDE]).double()
    return shares @ torch.arange(1, 11, dtype=torch.float64, device=shares.device)
