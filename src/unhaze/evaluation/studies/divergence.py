"""How far haze moves estimated depth: Kullback-Leibler divergence between depth of a clear and of a hazy picture.

Study: "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?" (P2), Fig. 9 and Appendix B. The text
says "the Kullback-Leibler (KL) divergence between depth predictions" on hazy pictures and their ground truth, and not
how a depth map becomes a distribution, nor which of the two comes first, nor how zeros are kept out of the logarithm.
So its figures cannot be compared with these, and two definitions are offered:

``pixels``: a map is a distribution of its nearness over the places of the picture; it changes when near things are seen
elsewhere. ``histogram``: a distribution of nearness values; places do not matter.

Both take nearness, 1 for the nearest pixel of a picture and 0 for the farthest, so that estimators of any kind and
scale compare, and both are KL(clear || hazy) in nats: what is lost by taking the depth of the hazy picture for that of
the clear one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from unhaze.depth.base import DepthEstimator, at_size_of
from unhaze.evaluation.studies.base import cases_of, mean_transmissions, to_json, transposed
from unhaze.evaluation.studies.probes import Origin
from unhaze.evaluation.studies.scenes import ClearScene
from unhaze.evaluation.studies.spread import Spread, spread_of
from unhaze.models.layers.depth_view import nearness
from unhaze.types import DepthMap

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Divergence",
    "EstimatorDivergence",
    "control_estimators",
    "histogram_divergence",
    "kl_divergence",
    "measure_divergence",
    "pixel_divergence",
]

Definition = Literal["pixels", "histogram"]
DEFINITIONS: tuple[Definition, ...] = get_args(Definition)

FLOOR = 1e-3
"""Added to the nearness of every pixel, so that the farthest one has a share."""

BINS = 64
PSEUDO_COUNT = 0.5
"""Added to every bin (Krichevsky and Trofimov 1981)."""

_PATCH = 15  # [px] of the dark channel (He et al. 2011)

Values = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class EstimatorDivergence:
    """Divergences of one estimator [nat].

    Attributes:
        name: Name of the estimator.
        weights: ``"trained"``, ``"random"`` or ``"none"``.
        parameters: How many weights torch counts; 0 where they are elsewhere, as in ONNX.
        pixels: (levels, pictures), see :func:`pixel_divergence`.
        histogram: (levels, pictures), see :func:`histogram_divergence`.
        other_pixels: (pictures,) the same between a clear picture and another clear one, for scale; NaN for one
            picture.
        other_histogram: (pictures,) the same.
    """

    name: str
    weights: Origin
    parameters: int
    pixels: Values
    histogram: Values
    other_pixels: tuple[float, ...]
    other_histogram: tuple[float, ...]

    def spread(self, definition: Definition, level: int) -> Spread:
        """Over pictures, at a level given by its index."""
        values: Values = getattr(self, definition)
        return spread_of(values[level])

    def other(self, definition: Definition) -> Spread:
        """Over pictures, of clear pictures to other clear ones."""
        return spread_of(self.other_pixels if definition == "pixels" else self.other_histogram)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Result of :func:`measure_divergence`.

    Attributes:
        betas: Scattering coefficients [1/m].
        airlight: Grey of the haze.
        pictures: Their names.
        transmission: Mean over pixels and pictures, per level.
        estimators: One entry each.
    """

    betas: tuple[float, ...]
    airlight: float
    pictures: tuple[str, ...]
    transmission: tuple[float, ...]
    estimators: tuple[EstimatorDivergence, ...]

    def to_json(self) -> str:
        """Everything, with mean, deviation and interval per level; numbers without meaning are null."""
        facts = asdict(self)
        for entry, estimator in zip(facts["estimators"], self.estimators, strict=True):
            entry["summary"] = {
                definition: [asdict(estimator.spread(definition, level)) for level in range(len(self.betas))]
                for definition in DEFINITIONS
            }
        return to_json(facts)


def kl_divergence(p: Tensor, q: Tensor) -> float:
    """KL(p || q) = sum p ln(p / q) [nat] of two distributions.

    Args:
        p: (N,) or of any other shape, not negative.
        q: The same shape, positive.

    >>> round(kl_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])), 6)  # ln 2
    0.693147
    """
    p, q = p.double(), q.double()
    return max(0.0, float((torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum()))


def pixel_divergence(clear: Tensor, hazy: Tensor) -> float:
    """KL divergence [nat] of nearness as a distribution over places.

    A place has the share (n + 0.001) / sum (n + 0.001) of a map n.

    Args:
        clear: (1, 1, H, W) nearness in [0, 1] on the clear picture.
        hazy: The same on the hazy one.
    """
    shares = [(each.double() + FLOOR) / (each.double() + FLOOR).sum() for each in (clear, hazy)]
    return kl_divergence(*shares)


def histogram_divergence(clear: Tensor, hazy: Tensor) -> float:
    """KL divergence [nat] of histograms of nearness: 64 equal bins on [0, 1], half a pixel added to each.

    Args:
        clear: (1, 1, H, W) nearness in [0, 1] on the clear picture.
        hazy: The same on the hazy one.
    """
    counts = [torch.histc(each.double(), BINS, 0.0, 1.0) + PSEUDO_COUNT for each in (clear, hazy)]
    return kl_divergence(*(count / count.sum() for count in counts))


@torch.no_grad()
def measure_divergence(
    estimators: Mapping[str, tuple[DepthEstimator, Origin]],
    scenes: Sequence[ClearScene],
    betas: Sequence[float],
    *,
    airlight: float = 0.85,
    progress: Callable[[], None] = lambda: None,
) -> Divergence:
    """Divergence between the depth of clear pictures and that of their hazy versions.

    The result is a function of the arguments alone.

    Args:
        estimators: Name to estimator, and where its weights come from.
        scenes: Clear pictures of known depth.
        betas: Scattering coefficients [1/m].
        airlight: Grey of the haze in [0, 1].
        progress: Called once per picture.

    Raises:
        UsageError: There is no picture or no level, or the airlight is outside [0, 1].
    """
    found: dict[str, list[_Picture]] = {name: [] for name in estimators}
    transmission = []
    for case in cases_of(scenes, betas, airlight):
        for name, (estimator, _) in estimators.items():
            clear = _near(estimator, case.clear)
            hazy = [_near(estimator, each) for each in case.hazy]
            other = None if case.other is None else at_size_of(clear, _near(estimator, case.other))
            found[name].append(
                _Picture(
                    [pixel_divergence(clear, each) for each in hazy],
                    [histogram_divergence(clear, each) for each in hazy],
                    math.nan if other is None else pixel_divergence(clear, other),
                    math.nan if other is None else histogram_divergence(clear, other),
                )
            )
        transmission.append(case.transmission)
        progress()
    entries = tuple(
        EstimatorDivergence(
            name,
            weights,
            sum(parameter.numel() for parameter in estimator.parameters()),
            transposed([each.pixels for each in found[name]]),
            transposed([each.histogram for each in found[name]]),
            tuple(each.other_pixels for each in found[name]),
            tuple(each.other_histogram for each in found[name]),
        )
        for name, (estimator, weights) in estimators.items()
    )
    names = tuple(scene.name for scene in scenes)
    return Divergence(tuple(betas), airlight, names, mean_transmissions(transmission), entries)


class DarkChannelDepth(DepthEstimator):
    """Depth as the dark channel alone tells it (He et al. 2011, Eq. 5): the brighter, the farther.

    A control that reads haze and nothing else, so haze must move it.
    """

    kind = "relative"

    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """See :meth:`DepthEstimator.forward`."""
        dark = -torch.nn.functional.max_pool2d(-image.amin(1, keepdim=True), _PATCH, 1, _PATCH // 2)
        return DepthMap(dark, "relative")


class RampDepth(DepthEstimator):
    """The top is far and the bottom near, whatever the picture: a control that cannot be moved, and knows nothing."""

    kind = "relative"

    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """See :meth:`DepthEstimator.forward`."""
        rows = torch.linspace(1, 0, image.shape[-2], dtype=image.dtype)
        return DepthMap(rows[None, None, :, None].expand(len(image), 1, -1, image.shape[-1]), "relative")


def control_estimators() -> dict[str, tuple[DepthEstimator, Origin]]:
    """Depth made by hand, for scale: ``dark channel`` follows haze alone, ``ramp`` does not look at the picture."""
    return {"dark channel": (DarkChannelDepth(), "none"), "ramp": (RampDepth(), "none")}


@dataclass(frozen=True, slots=True)
class _Picture:
    pixels: list[float]
    histogram: list[float]
    other_pixels: float
    other_histogram: float


def _near(estimator: DepthEstimator, image: Tensor) -> Tensor:
    found = estimator(image)
    return nearness(found.map, found.kind)
