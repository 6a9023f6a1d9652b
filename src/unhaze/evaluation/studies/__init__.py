"""Studies of what networks and depth estimators do with haze.

:mod:`~unhaze.evaluation.studies.consistency` asks how far haze moves features (P2, "Can Large Pretrained Depth
Estimation Models Help With Image Dehazing?", Figs. 1 to 3), :mod:`~unhaze.evaluation.studies.divergence` how far it
moves depth (P2, Fig. 9). Both need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# public name -> module that defines it; loaded on first use, because all but the scenes need torch
_HOME = {
    "ClearScene": "scenes",
    "Consistency": "consistency",
    "Divergence": "divergence",
    "haze_levels": "scenes",
    "load_scenes": "scenes",
    "measure_consistency": "consistency",
    "measure_divergence": "divergence",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unhaze.evaluation.studies' has no attribute {name!r}")
    return getattr(import_module(f"unhaze.evaluation.studies.{_HOME[name]}"), name)
