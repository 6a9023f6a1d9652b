"""unhaze removes haze, fog and smoke from photographs and video.

>>> import numpy as np, unhaze
>>> hazy = np.full((4, 6, 3), 200, np.uint8)
>>> unhaze.dehaze(hazy, strength=0.0).shape
(4, 6, 3)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unhaze.lazy import loads_on_use

__version__ = "0.1.0"

# module -> its public names; loaded on first use, so that `import unhaze` stays cheap
_HOMES = {
    "unhaze.restore.dehazer": ("Dehazer", "dehaze"),
    "unhaze.models.catalogue": ("create_model", "list_models", "load_model", "model_info"),
    "unhaze.types": ("DehazeResult", "DepthMap", "ModelInfo"),
    "unhaze.errors": (
        "ImageDecodeError",
        "ImageEncodeError",
        "ImageError",
        "ImageTooLargeError",
        "ImageValueError",
        "MissingDependencyError",
        "MissingError",
        "OutputError",
        "OutputExistsError",
        "OverBudgetError",
        "PluginWarning",
        "UnhazeError",
        "UnknownNameError",
        "UnsupportedImageError",
        "UsageError",
        "WeightsError",
        "WeightsNotFoundError",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_ROOMS = ("depth", "fusion", "images", "losses", "metrics", "models", "physics")

__all__ = [
    "DehazeResult",
    "Dehazer",
    "DepthMap",
    "ImageDecodeError",
    "ImageEncodeError",
    "ImageError",
    "ImageTooLargeError",
    "ImageValueError",
    "MissingDependencyError",
    "MissingError",
    "ModelInfo",
    "OutputError",
    "OutputExistsError",
    "OverBudgetError",
    "PluginWarning",
    "UnhazeError",
    "UnknownNameError",
    "UnsupportedImageError",
    "UsageError",
    "WeightsError",
    "WeightsNotFoundError",
    "__version__",
    "create_model",
    "dehaze",
    "list_models",
    "load_model",
    "model_info",
]

if TYPE_CHECKING:
    from unhaze import depth as depth
    from unhaze import fusion as fusion
    from unhaze import images as images
    from unhaze import losses as losses
    from unhaze import metrics as metrics
    from unhaze import models as models
    from unhaze import physics as physics
    from unhaze.errors import (
        ImageDecodeError,
        ImageEncodeError,
        ImageError,
        ImageTooLargeError,
        ImageValueError,
        MissingDependencyError,
        MissingError,
        OutputError,
        OutputExistsError,
        OverBudgetError,
        PluginWarning,
        UnhazeError,
        UnknownNameError,
        UnsupportedImageError,
        UsageError,
        WeightsError,
        WeightsNotFoundError,
    )
    from unhaze.models.catalogue import create_model, list_models, load_model, model_info
    from unhaze.restore.dehazer import Dehazer, dehaze
    from unhaze.types import DehazeResult, DepthMap, ModelInfo


_of_homes = loads_on_use(__name__, _HOME)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:  # `import unhaze` is enough for unhaze.metrics.PSNR
        return import_module(f"unhaze.{name}")
    return _of_homes(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
