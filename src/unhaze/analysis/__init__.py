"""Studies of what networks and depth estimators do with haze.

:mod:`~unhaze.analysis.consistency` asks how far haze moves features (P2, "Can Large Pretrained Depth Estimation Models
Help With Image Dehazing?", Figs. 1 to 3), :mod:`~unhaze.analysis.divergence` how far it moves depth (P2, Fig. 9). Both
need torch.
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
    from unhaze.analysis.consistency import Consistency, measure_consistency
    from unhaze.analysis.divergence import Divergence, measure_divergence
    from unhaze.analysis.scenes import ClearScene, haze_levels, load_scenes


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unhaze.analysis' has no attribute {name!r}")
    return getattr(import_module(f"unhaze.analysis.{_HOME[name]}"), name)
