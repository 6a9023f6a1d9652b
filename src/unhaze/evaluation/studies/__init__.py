"""Studies of what networks and depth estimators do with haze.

:mod:`~unhaze.evaluation.studies.consistency` asks how far haze moves features (P2, "Can Large Pretrained Depth
Estimation Models Help With Image Dehazing?", Figs. 1 to 3), :mod:`~unhaze.evaluation.studies.divergence` how far it
moves depth (P2, Fig. 9). Both need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.lazy import loads_on_use

__getattr__ = loads_on_use(
    __name__,
    {
        "ClearScene": "unhaze.evaluation.studies.scenes",
        "Consistency": "unhaze.evaluation.studies.consistency",
        "Divergence": "unhaze.evaluation.studies.divergence",
        "haze_levels": "unhaze.evaluation.studies.scenes",
        "load_scenes": "unhaze.evaluation.studies.scenes",
        "measure_consistency": "unhaze.evaluation.studies.consistency",
        "measure_divergence": "unhaze.evaluation.studies.divergence",
    },
)

__all__ = [
    "ClearScene",
    "Consistency",
    "Divergence",
    "haze_levels",
    "load_scenes",
    "measure_consistency",
    "measure_divergence",
]

if TYPE_CHECKING:
    from unhaze.evaluation.studies.consistency import Consistency, measure_consistency
    from unhaze.evaluation.studies.divergence import Divergence, measure_divergence
    from unhaze.evaluation.studies.scenes import ClearScene, haze_levels, load_scenes
