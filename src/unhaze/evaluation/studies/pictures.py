"""Pictures of features and of depth over levels of haze, as P2 shows them (Figs. 1 to 3, 11, 12).

P2's text does not say how its pictures were made. Here features of several channels become colours by their first three
principal components, found in the features of the clear picture alone, and shown on the scale of these: what haze does
not move keeps its colour from left to right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unhaze.evaluation.studies.probes import Probe
from unhaze.evaluation.studies.scenes import ClearScene, hazed

__all__ = ["ComponentColors", "feature_sheet"]

_ENDS = (0.01, 0.99)  # shares of the clear picture's values that become black and white
_LABEL, _TEXT = 16, 0.4  # height of a line of text [px], its scale


class ComponentColors:
    """Features to colours: three principal components, or the one channel there is.

    Args:
        features: (1, C, h, w) of the clear picture.
    """

    def __init__(self, features: Tensor) -> None:
        pixels = features.flatten(2)[0].T.double()  # (h w, C)
        self.mean = pixels.mean(0)
        if pixels.shape[1] < 3:
            self.axes = torch.eye(pixels.shape[1], dtype=torch.float64)[:, :1]
        else:
            _, _, rows = torch.linalg.svd(pixels - self.mean, full_matrices=False)
            axes = rows[:3]
            # a component has no sign of its own: its largest part points up, so that a picture is always the same
            largest = axes.abs().argmax(1, keepdim=True)
            self.axes = (axes * axes.gather(1, largest).sign()).T
        found = (pixels - self.mean) @ self.axes
        self.low, self.high = (torch.quantile(found[:: 1 + len(found) // 100_000], end, dim=0) for end in _ENDS)

    def __call__(self, features: Tensor) -> NDArray[np.uint8]:
        """(1, C, h, w) as a picture (h, w, 3)."""
        pixels = (features.flatten(2)[0].T.double() - self.mean) @ self.axes
        shown = ((pixels - self.low) / (self.high - self.low).clamp(min=1e-12)).clamp(0, 1)
        picture = (255 * shown + 0.5).to(torch.uint8).reshape(*features.shape[-2:], -1).expand(-1, -1, 3)
        return np.ascontiguousarray(picture.numpy())


@torch.no_grad()
def feature_sheet(
    probes: Sequence[Probe], scene: ClearScene, betas: Sequence[float], airlight: float = 0.85
) -> NDArray[np.uint8]:
    """One scene: levels of haze across, what is seen of it down.

    Args:
        probes: Networks, estimators and controls; each of their stages is a row. Depth is the row ``nearness``.
        scene: The clear scene; its twin without haze is the first column.
        betas: Scattering coefficients [1/m], a column each.
        airlight: Grey of the haze in [0, 1].

    Returns:
        (H, W, 3) RGB.
    """
    pictures = [scene.clear, *(hazed(scene, beta, airlight)[0] for beta in betas)]
    images = [torch.from_numpy(picture).permute(2, 0, 1)[None] for picture in pictures]
    depth = torch.from_numpy(scene.depth)[None, None]
    height, width = scene.clear.shape[:2]
    titles = ["clear", *(f"beta {beta:g} 1/m" for beta in betas)]
    rows: list[NDArray[Any]] = [
        np.hstack([_label(title, width) for title in titles]),
        np.hstack([(255 * np.clip(picture, 0, 1) + 0.5).astype(np.uint8) for picture in pictures]),
    ]
    for probe in probes:
        found = [probe.features(image, depth) for image in images]
        for stage, features in found[0].items():
            colors = ComponentColors(features)
            rows.append(_label(f"{probe.name}: {stage}", width * len(images)))
            shown = (colors(each[stage]) for each in found)
            rows.append(
                np.hstack([cv2.resize(each, (width, height), interpolation=cv2.INTER_NEAREST) for each in shown])
            )
    return np.ascontiguousarray(np.vstack(rows), np.uint8)


def _label(text: str, width: int) -> NDArray[np.uint8]:
    """A line of text on white, (16, width, 3)."""
    line = np.full((_LABEL, width, 3), 255, np.uint8)
    cv2.putText(line, text, (3, _LABEL - 4), cv2.FONT_HERSHEY_SIMPLEX, _TEXT, (0, 0, 0), 1, cv2.LINE_AA)
    return line
