"""How far haze moves features from those of the clear twin, over levels of haze.

Study: "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?" (P2), Figs. 1 to 3, which show clouds of
features. Here distances are measured instead, because what a projection such as t-SNE shows of distances is not to be
relied on; see :mod:`~unhaze.evaluation.studies.distance` for the three of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch

from unhaze.evaluation.studies.base import Case, cases_of, mean_transmissions, to_json, transposed
from unhaze.evaluation.studies.distance import cosine_distance, relative_distance, scene_distance
from unhaze.evaluation.studies.probes import Origin, Probe
from unhaze.evaluation.studies.scenes import ClearScene
from unhaze.evaluation.studies.spread import Spread, spread_of

__all__ = ["MEASURES", "Consistency", "Measure", "StageDistances", "measure_consistency"]

Measure = Literal["relative", "cosine", "scene"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

Values = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class StageDistances:
    """Distances at one stage of one probe; each (levels, pictures).

    Attributes:
        probe: Name of the probe.
        weights: ``"trained"``, ``"random"`` or ``"none"``.
        stage: Name of the stage.
        channels: C of its features.
        relative: See :func:`~unhaze.evaluation.studies.distance.relative_distance`.
        cosine: See :func:`~unhaze.evaluation.studies.distance.cosine_distance`; NaN for one channel.
        scene: See :func:`~unhaze.evaluation.studies.distance.scene_distance`; NaN where there is no other picture.
    """

    probe: str
    weights: Origin
    stage: str
    channels: int
    relative: Values
    cosine: Values
    scene: Values

    def spread(self, measure: Measure, level: int) -> Spread:
        """Over pictures, at a level given by its index."""
        values: Values = getattr(self, measure)
        return spread_of(values[level])


@dataclass(frozen=True, slots=True)
class Consistency:
    """Result of :func:`measure_consistency`.

    Attributes:
        betas: Scattering coefficients [1/m].
        airlight: Grey of the haze.
        pictures: Their names.
        transmission: Mean over pixels and pictures, per level.
        stages: One entry per probe and stage.
    """

    betas: tuple[float, ...]
    airlight: float
    pictures: tuple[str, ...]
    transmission: tuple[float, ...]
    stages: tuple[StageDistances, ...]

    def to_json(self) -> str:
        """Everything, with mean, deviation and interval per level; numbers without meaning are null."""
        facts = asdict(self)
        for entry, stage in zip(facts["stages"], self.stages, strict=True):
            entry["summary"] = {
                measure: [asdict(stage.spread(measure, level)) for level in range(len(self.betas))]
                for measure in MEASURES
            }
        return to_json(facts)


@torch.no_grad()
def measure_consistency(
    probes: Sequence[Probe],
    scenes: Sequence[ClearScene],
    betas: Sequence[float],
    *,
    airlight: float = 0.85,
    progress: Callable[[], None] = lambda: None,
) -> Consistency:
    """Distance of the features of hazy pictures to those of their clear twins.

    The result is a function of the arguments alone.

    Args:
        probes: Where features come from.
        scenes: Clear pictures of known depth.
        betas: Scattering coefficients [1/m].
        airlight: Grey of the haze in [0, 1].
        progress: Called once per picture.

    Raises:
        UsageError: There is no picture or no level, or the airlight is outside [0, 1].
    """
    found: dict[tuple[int, str], list[dict[Measure, list[float]]]] = defaultdict(list)
    channels: dict[tuple[int, str], int] = {}
    transmission = []
    for case in cases_of(scenes, betas, airlight):
        for number, probe in enumerate(probes):
            for stage, (width, distances) in _distances(probe, case).items():
                found[number, stage].append(distances)
                channels[number, stage] = width
        transmission.append(case.transmission)
        progress()
    stages = tuple(
        StageDistances(
            probes[number].name,
            probes[number].weights,
            stage,
            channels[number, stage],
            **{measure: transposed([each[measure] for each in pictures]) for measure in MEASURES},
        )
        for (number, stage), pictures in found.items()
    )
    names = tuple(scene.name for scene in scenes)
    return Consistency(tuple(betas), airlight, names, mean_transmissions(transmission), stages)


def _distances(probe: Probe, case: Case) -> Mapping[str, tuple[int, dict[Measure, list[float]]]]:
    """Stage to its channels and its distances at every level."""
    clear = probe.features(case.clear, case.depth)
    other = None if case.other is None else probe.features(case.other, case.other_depth)
    found: dict[str, tuple[int, dict[Measure, list[float]]]] = {
        stage: (each.shape[1], {measure: [] for measure in MEASURES}) for stage, each in clear.items()
    }
    for hazy in case.hazy:
        for stage, moved in probe.features(hazy, case.depth).items():
            _, lists = found[stage]
            lists["relative"].append(relative_distance(moved, clear[stage]))
            lists["cosine"].append(cosine_distance(moved, clear[stage]))
            apart = float("nan") if other is None else scene_distance(moved, clear[stage], other[stage])
            lists["scene"].append(apart)
    return found
