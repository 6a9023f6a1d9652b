"""A metric: the standard deviation of the brightness, which haze makes small."""

from __future__ import annotations

from torch import Tensor

from unhaze.metrics import Metric, MetricInfo


class Contrast(Metric):
    """Standard deviation of the mean of the channels."""

    info = MetricInfo(
        name="contrast",
        higher_is_better=True,
        needs_target=False,
        needs_hazy=False,
        differentiable=True,
        color_space="mean of R, G and B",
        source="an example",
        range=(0.0, 0.5),
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """The value of each picture of (B, 3, H, W) in [0, 1], as (B,) float64."""
        return preds.double().mean(dim=1).flatten(1).std(dim=1, correction=0)
