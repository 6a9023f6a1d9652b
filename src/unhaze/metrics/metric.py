"""What all metric classes share: they gather one value per picture and average them."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from unhaze.errors import UsageError
from unhaze.metrics._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Metric", "MetricInfo"]


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """Facts about a metric.

    Attributes:
        name: Its name in the catalogue, which labels results.
        higher_is_better: Whether the better of two pictures has the higher value.
        needs_target: Whether it compares with the clear picture.
        needs_hazy: Whether it compares with the hazy input.
        differentiable: Whether gradients flow to ``preds``.
        color_space: What of the picture it looks at.
        source: The paper, and the code whose convention is followed.
        range: Smallest and largest possible value.
        unit: ``"dB"``, ``"%"``, ``"bit"`` or empty.
    """

    name: str
    higher_is_better: bool
    needs_target: bool
    needs_hazy: bool
    differentiable: bool
    color_space: str
    source: str
    range: tuple[float, float]
    unit: str = ""


class Metric(ABC):
    """One value per picture, gathered over batches.

    A subclass sets ``info`` and implements :meth:`score`. Options are keyword arguments of its constructor.
    """

    info: ClassVar[MetricInfo]

    def __init__(self) -> None:
        self._values: list[Tensor] = []

    @classmethod
    def create(cls, **options: Any) -> Self:
        """The constructor, with an unknown option as a clear error.

        Raises:
            UsageError: The metric has no such option.
        """
        known = [name for name in inspect.signature(cls).parameters if name != "self"]
        unknown = sorted(set(options) - set(known))
        if unknown:
            offer = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UsageError(f"The metric {cls.info.name} has no option {', '.join(unknown)}; {offer}.")
        return cls(**options)

    @abstractmethod
    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """The value of each picture, (B,) float64, without gathering it; gradients flow where ``info`` says so.

        Args:
            preds: (B, 3, H, W) RGB in [0, 1].
            target: The clear pictures, of the same shape; ignored by a metric that needs none.
            hazy: The hazy pictures, of the same shape; ignored by a metric that needs none.

        Raises:
            ImageValueError: An input that the metric is not defined for.
            UsageError: A picture that the metric needs is not given.
        """

    def update(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> None:
        """Score a batch (B, 3, H, W) as :meth:`score` does and gather its values; one that fails leaves nothing."""
        with torch.no_grad():
            self._values.append(self.score(preds, target, hazy=hazy).cpu())

    def __call__(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> float:
        """:meth:`update` with a batch, (B, 3, H, W) RGB in [0, 1] as for :meth:`score`, and its mean value."""
        self.update(preds, target, hazy=hazy)
        return float(self._values[-1].mean())

    @property
    def values(self) -> Tensor:
        """The values of all pictures so far, in order: (N,) float64 on the CPU."""
        return torch.cat(self._values) if self._values else torch.empty(0, dtype=torch.float64)

    def compute(self) -> float:
        """The mean over all pictures so far.

        Raises:
            UsageError: There are none.
        """
        if not self._values:
            raise UsageError(f"The metric {self.info.name} has no values yet; call update first.")
        return float(self.values.mean())

    def reset(self) -> None:
        """Forget all values."""
        self._values.clear()

    def _needed(self, images: Tensor | None, name: str) -> Tensor:
        if images is None:
            raise UsageError(f"The metric {self.info.name} needs {name}.")
        return images
