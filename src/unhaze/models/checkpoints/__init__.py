"""Trained weights: read safely, recognise what they belong to, bring official ones under our names.

A file never runs code: ``.safetensors`` holds tensors only, and files of ``torch.save`` are read as data, in which the
name of a class or function stands for nothing. Names are loaded on first use, since they need torch, and the weights
that ship in this folder do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.lazy import loads_on_use

__getattr__ = loads_on_use(
    __name__,
    {
        "NetworkCard": "unhaze.models.checkpoints.cards",
        "network_card": "unhaze.models.checkpoints.cards",
        "Fit": "unhaze.models.checkpoints.detect",
        "Match": "unhaze.models.checkpoints.detect",
        "compare": "unhaze.models.checkpoints.detect",
        "identify": "unhaze.models.checkpoints.detect",
        "Conversion": "unhaze.models.checkpoints.loading",
        "convert_weights": "unhaze.models.checkpoints.loading",
        "flush_subnormals": "unhaze.models.checkpoints.loading",
        "load_network": "unhaze.models.checkpoints.loading",
        "load_weights": "unhaze.models.checkpoints.loading",
        "recognise": "unhaze.models.checkpoints.loading",
        "save_weights": "unhaze.models.checkpoints.loading",
        "WeightsError": "unhaze.errors",
        "WeightsFile": "unhaze.models.checkpoints.reading",
        "read_facts": "unhaze.models.checkpoints.reading",
        "read_weights": "unhaze.models.checkpoints.reading",
        "unwrap_state": "unhaze.models.checkpoints.reading",
    },
)

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
    "recognise",
    "save_weights",
    "unwrap_state",
]

if TYPE_CHECKING:
    from unhaze.errors import WeightsError
    from unhaze.models.checkpoints.cards import NetworkCard, network_card
    from unhaze.models.checkpoints.detect import Fit, Match, compare, identify
    from unhaze.models.checkpoints.loading import (
        Conversion,
        convert_weights,
        flush_subnormals,
        load_network,
        load_weights,
        recognise,
        save_weights,
    )
    from unhaze.models.checkpoints.reading import WeightsFile, read_facts, read_weights, unwrap_state
