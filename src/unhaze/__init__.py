"""unhaze removes haze, fog and smoke from photographs and video.

>>> import numpy as np, unhaze
>>> hazy = np.full((4, 6, 3), 200, np.uint8)
>>> unhaze.dehaze(hazy, strength=0.0).shape
(4, 6, 3)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it; loaded on first use, so that `import unhaze` stays cheap
_HOME = {
    "Dehazer": "unhaze.inference.dehazer",
    "create_model": "unhaze.guided",
    "dehaze": "unhaze.inference.dehazer",
    "list_methods": "unhaze.inference.methods",
    "DehazeResult": "unhaze.types",
    "DepthMap": "unhaze.types",
    "UnhazeError": "unhaze.errors",
}

__all__ = [
    "DehazeResult",
    "Dehazer",
    "DepthMap",
    "UnhazeError",
    "__version__",
    "create_model",
    "dehaze",
    "list_methods",
]

if TYPE_CHECKING:
    from unhaze.errors import UnhazeError
    from unhaze.guided import create_model
    from unhaze.inference.dehazer import Dehazer, dehaze
    from unhaze.inference.methods import list_methods
    from unhaze.types import DehazeResult, DepthMap


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unhaze' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
