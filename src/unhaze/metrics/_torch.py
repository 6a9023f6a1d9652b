"""torch, or a clear error where it is not installed. Imported first by all that computes."""

from __future__ import annotations

from unhaze.errors import MissingDependencyError

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingDependencyError("torch", "torch", "compute metrics") from error

__all__ = ["torch"]
