"""The models of the literature, one file each, and the catalogue of everything that dehazes.

The catalogue takes one name for a classic model, the default, or a network, with or without a fusion module:

>>> from unhaze.models import list_models, model_info
>>> model_info("dcp").kind, len(list_models("network")) > 40
('classic', True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.classic.base import HazeEstimate, HazeModel
    from unhaze.models.base import Model
    from unhaze.models.catalogue import create_model, list_models, load_model, model_info, resolve_model
    from unhaze.models.guided import GuidedDehazer, save_model
    from unhaze.models.layers.stage import Runner, run_block
    from unhaze.models.networks import register_network
    from unhaze.types import ImageContract, ModelInfo, Restored, Stage

__all__ = [
    "GuidedDehazer",
    "HazeEstimate",
    "HazeModel",
    "ImageContract",
    "Model",
    "ModelInfo",
    "Restored",
    "Runner",
    "Stage",
    "create_model",
    "list_models",
    "load_model",
    "model_info",
    "register_network",
    "resolve_model",
    "run_block",
    "save_model",
]

__getattr__ = loads_on_use(
    __name__,
    {
        "GuidedDehazer": "unhaze.models.guided",
        "HazeEstimate": "unhaze.classic.base",
        "HazeModel": "unhaze.classic.base",
        "ImageContract": "unhaze.types",
        "Model": "unhaze.models.base",
        "ModelInfo": "unhaze.types",
        "Restored": "unhaze.types",
        "Runner": "unhaze.models.layers.stage",
        "Stage": "unhaze.types",
        "create_model": "unhaze.models.catalogue",
        "list_models": "unhaze.models.catalogue",
        "load_model": "unhaze.models.catalogue",
        "model_info": "unhaze.models.catalogue",
        "register_network": "unhaze.models.networks",
        "resolve_model": "unhaze.models.catalogue",
        "run_block": "unhaze.models.layers.stage",
        "save_model": "unhaze.models.guided",
    },
)
