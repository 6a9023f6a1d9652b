"""The network of ``compact-v2``: depth from one small view, hazy or clear.

Own design. Encoder and decoder are those of the default's network (:mod:`unhaze.default.network`: EfficientNet-Lite0,
attention at low resolution, a summary of the whole picture), with one head in place of five: the logarithm of the
inverse depth. What is learnt of it is inverse depth up to scale and shift (Ranftl et al., "Towards Robust Monocular
Depth Estimation", TPAMI 2022), so its exponential keeps it positive whatever the shift. Deviations: none.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unhaze.default.network import FieldTrunk, start_small
from unhaze.errors import MissingDependencyError, UsageError

__all__ = ["LOG_RANGE", "DepthNetwork", "field_weights"]

LOG_RANGE = 6.0  # of the logarithm, about 0: a factor of 160,000 between near and far


class DepthNetwork(FieldTrunk):
    """Inverse depth of a view; arguments as for :class:`~unhaze.default.network.FieldTrunk`."""

    def __init__(
        self,
        widths: tuple[int, int, int, int, int] = (20, 32, 56, 96, 160),
        attention: tuple[int, int] = (2, 1),
        context: int = 128,
    ) -> None:
        super().__init__(widths, attention, context)
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)
        start_small(self)
        nn.init.normal_(self.head.weight, std=1e-2)

    def forward(self, view: Tensor) -> Tensor:
        """Logarithm of the inverse depth (B, 1, H/2, W/2), in [-6, 6], near is large.

        Args:
            view: (B, 3, H, W) RGB in [0, 1], sRGB-encoded, H and W multiples of 32.
        """
        features, _, _ = self.decode(view)
        logarithm: Tensor = self.head(features).float().clamp(-LOG_RANGE, LOG_RANGE)
        return logarithm


def field_weights(path: str | Path | None = None) -> dict[str, Tensor]:
    """First weights of a :class:`DepthNetwork` of the default size, from the network that dehazes by default.

    Args:
        path: ONNX file that ``unhaze train field-default`` wrote; the one that ships with unhaze if ``None``.

    Raises:
        MissingDependencyError: onnx is not installed.
        UsageError: The file holds another network.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingDependencyError("onnx", "train", "begin with the weights of the default") from error
    path = Path(path) if path else Path(str(files("unhaze.default") / "field-m.onnx"))
    saved = [
        (each.name.removesuffix("_half"), numpy_helper.to_array(each)) for each in onnx.load(path).graph.initializer
    ]
    named = {name.removeprefix("network."): values for name, values in saved if name.startswith("network.")}
    # the exporter transposes the matrices of linear layers over many places, and takes their names away
    matrices = iter([values.T for name, values in saved if not name.startswith("network.") and values.ndim == 2])
    weights = {}
    for name, own in DepthNetwork().named_parameters():
        values = named[name] if name in named else next(matrices, np.zeros(0))
        if name.startswith("head."):
            values = -values[1:2]  # the second of its three maps is the logarithm of the depth
        if values.shape != tuple(own.shape):
            raise UsageError(
                f"{path} is another network than the default's; give a file of unhaze train field-default."
            )
        weights[name] = torch.from_numpy(np.array(values, np.float32))
    return weights
