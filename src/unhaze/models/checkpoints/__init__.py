"""Trained weights: read safely, recognise what they belong to, bring official ones under our names.

A file never runs code: ``.safetensors`` holds tensors only, and files of ``torch.save`` are read as data, in which the
name of a class or function stands for nothing. Names are loaded on first use, since they need torch, and the weights
that ship in this folder do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "NetworkCard": "cards",
    "network_card": "cards",
    "Fit": "detect",
    "Match": "detect",
    "compare": "detect",
    "identify": "detect",
    "Conversion": "loading",
    "convert_weights": "loading",
    "flush_subnormals": "loading",
    "load_network": "loading",
    "load_weights": "loading",
    "save_weights": "loading",
    "WeightsError": "reading",
    "WeightsFile": "reading",
    "read_facts": "reading",
    "read_weights": "reading",
    "unwrap_state": "reading",
}

__all__ = [
    "Conversion",
    "Fit",
    "Match",
    "NetworkCard",
    "WeightsError",
    "WeightsFile",
    "compare",
    "convert_weights",
    "flush_subnormals",
    "identify",
    "load_network",
    "load_weights",
    "network_card",
    "read_facts",
    "read_weights",
    "save_weights",
    "unwrap_state",
]

if TYPE_CHECKING:
    from unhaze.models.checkpoints.cards import NetworkCard, network_card
    from unhaze.models.checkpoints.detect import Fit, Match, compare, identify
    from unhaze.models.checkpoints.loading import (
        Conversion,
        convert_weights,
        flush_subnormals,
        load_network,
        load_weights,
        save_weights,
    )
    from unhaze.models.checkpoints.reading import WeightsError, WeightsFile, read_facts, read_weights, unwrap_state


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
