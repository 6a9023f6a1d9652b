"""What both studies do alike: haze every scene at every level, and write numbers as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unhaze.errors import UsageError
from unhaze.evaluation.studies.scenes import ClearScene, hazed, partner_of

if TYPE_CHECKING:
    from unhaze.evaluation.studies.scenes import FloatArray

__all__ = ["Case", "cases_of", "mean_transmissions", "to_json", "transposed"]


@dataclass(frozen=True, slots=True)
class Case:
    """One picture at all levels.

    Attributes:
        clear: (1, 3, H, W) in [0, 1].
        depth: (1, 1, H, W) [m].
        hazy: The clear picture at each level.
        other: Another clear picture, ``None`` where there is only one.
        other_depth: Its depth.
        transmission: Mean transmission at each level.
    """

    clear: Tensor
    depth: Tensor
    hazy: tuple[Tensor, ...]
    other: Tensor | None
    other_depth: Tensor
    transmission: tuple[float, ...]


def cases_of(scenes: Sequence[ClearScene], betas: Sequence[float], airlight: float) -> Iterator[Case]:
    """Every scene with its hazy versions.

    Raises:
        UsageError: There is no scene or no level, or the airlight is outside [0, 1].
    """
    if not scenes or not betas:
        raise UsageError("A study needs at least one picture and one level of haze.")
    if not 0 <= airlight <= 1:
        raise UsageError(f"The airlight is {airlight}, but must be in [0, 1].")
    for index, scene in enumerate(scenes):
        other = scenes[partner_of(index, len(scenes))]
        hazy = [hazed(scene, beta, airlight) for beta in betas]
        yield Case(
            clear=_image(scene.clear),
            depth=torch.from_numpy(scene.depth)[None, None],
            hazy=tuple(_image(picture) for picture, _ in hazy),
            other=_image(other.clear) if other is not scene else None,
            other_depth=torch.from_numpy(other.depth)[None, None],
            transmission=tuple(share for _, share in hazy),
        )


def mean_transmissions(per_picture: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Mean over pictures of (pictures, levels)."""
    return tuple(math.fsum(level) / len(level) for level in zip(*per_picture, strict=True))


def transposed(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """(pictures, levels) to (levels, pictures)."""
    return tuple(zip(*rows, strict=True))


def to_json(facts: Any) -> str:
    """JSON of nested facts; numbers that are none become null, because JSON has no word for them."""
    return json.dumps(_plain(facts), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(facts: Any) -> Any:
    if isinstance(facts, float):
        return float(f"{facts:.6g}") if math.isfinite(facts) else None
    if isinstance(facts, dict):
        return {key: _plain(each) for key, each in facts.items()}
    if isinstance(facts, list | tuple):
        return [_plain(each) for each in facts]
    return facts


def _image(pixels: FloatArray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
