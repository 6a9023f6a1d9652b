"""One picture scored under a protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from unhaze.errors import ImageError, MissingError, UnknownNameError, UsageError
from unhaze.evaluation.protocols import Protocol, match_target
from unhaze.metrics import create_metric, list_metrics, metric_info

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from unhaze.metrics import Metric

__all__ = ["Scores", "metric_label", "read_batch", "resolve_metrics", "score_picture", "unavailable_reason"]

_PEAK_METRICS = {"psnr", "psnr_y"}


@dataclass(frozen=True, slots=True)
class Scores:
    """What one picture got.

    Attributes:
        values: Metric -> value; infinite where the protocol says so.
        dropped: Metric -> share in [0, 1] of the picture that the metric left out (flat areas), where it tells.
        errors: Metric -> why it has no value.
    """

    values: dict[str, float]
    dropped: dict[str, float]
    errors: dict[str, str]


def read_batch(source: Path | bytes) -> Tensor:
    """Decode a picture as protocols want it.

    Args:
        source: Path or content of a picture file.

    Returns:
        (1, 3, H, W) float64 RGB in [0, 1]: upright, alpha and ICC profile ignored, grey spread over three channels.

    Raises:
        ImageError: Not a picture that can be read, or floating values outside [0, 1].
    """
    from unhaze.images.files import read_image
    from unhaze.metrics.functional import as_batch

    return as_batch(read_image(source, finite=True).pixels)


def resolve_metrics(
    names: Sequence[str] | None, protocol: Protocol, *, has_target: bool, has_hazy: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Metrics to compute, and those of the protocol that cannot be, with the reason.

    Args:
        names: What the user asks for; ``ssim`` means the SSIM of the protocol. ``None``: what the protocol reports.
        protocol: The protocol.
        has_target: Whether clear pictures are given.
        has_hazy: Whether hazy pictures are given.

    Raises:
        UnknownNameError: No metric has such a name.
        UsageError: A metric that was asked for needs pictures that are not given, or nothing is left to compute.
        MissingError: A metric that was asked for needs something that is not installed.
    """
    wanted = (
        protocol.metrics
        if names is None
        else tuple(dict.fromkeys((protocol.ssim_metric if name == "ssim" else name) for name in names))
    )
    for name in wanted:
        if name not in list_metrics():
            raise UnknownNameError("metric", name, list_metrics())
    lacking = {}
    for name in wanted:
        info = metric_info(name)
        if info.needs_target and not has_target:
            lacking[name] = "it needs the clear pictures, and no targets are given."
        elif info.needs_hazy and not has_hazy:
            lacking[name] = "it needs the hazy pictures, and none are given."
        elif (reason := unavailable_reason(name)) is not None:
            lacking[name] = reason
    if names is not None and lacking:
        name, reason = next(iter(lacking.items()))
        raise (MissingError if unavailable_reason(name) else UsageError)(
            f"The metric {name} cannot be scored: {reason}"
        )
    left = tuple(name for name in wanted if name not in lacking)
    if not left:
        raise UsageError(f"Nothing can be scored under {protocol.name}: give --target or --hazy, or other metrics.")
    return left, lacking


def unavailable_reason(name: str) -> str | None:
    """Why a metric cannot be created here, or ``None`` where it can."""
    try:
        create_metric(name)
    except MissingError as error:
        return str(error)
    return None


def score_picture(
    restored: Tensor,
    *,
    target: Tensor | None = None,
    hazy: Tensor | None = None,
    protocol: Protocol,
    metrics: Sequence[str],
    target_rule: str = "equal",
) -> Scores:
    """Score one picture.

    Args:
        restored: (1, 3, H, W) RGB in [0, 1].
        target: The clear picture; its size may differ where ``target_rule`` covers it.
        hazy: (1, 3, H, W), the hazy picture.
        protocol: The recipe.
        metrics: Names in ``unhaze.metrics``.
        target_rule: Name in :data:`~unhaze.evaluation.protocols.TARGET_RULES`.

    Raises:
        ImageError: The sizes do not fit; the message says both. A metric that is not defined for the picture is no
            error here, but an entry of ``Scores.errors``.
    """
    from unhaze.metrics.functional import fade_details, niqe_details

    detailed: dict[str, Callable[[Tensor], Any]] = {"niqe": niqe_details, "fade": fade_details}
    clear = None if target is None else protocol.prepare(match_target(restored, target, target_rule))
    before = None if hazy is None else protocol.prepare(hazy)
    after = protocol.prepare(restored)
    values: dict[str, float] = {}
    dropped: dict[str, float] = {}
    errors: dict[str, str] = {}
    for name in metrics:
        try:
            if name in detailed:
                details = detailed[name](after)
                values[name], dropped[name] = float(details.value), float(details.dropped)
                continue
            value = float(_metric(name, protocol.identical_psnr).score(after, clear, hazy=before))
            if math.isnan(value):
                raise UsageError(f"The metric {name} has no value for this picture.")
            values[name] = value
        except (ImageError, UsageError) as error:
            errors[name] = str(error)
    return Scores(values, dropped, errors)


def metric_label(name: str) -> str:
    """How a metric is called in tables, its convention included.

    >>> metric_label("ssim_dcmpnet"), metric_label("psnr_y"), metric_label("niqe")
    ('SSIM (dcmpnet)', 'PSNR-Y', 'NIQE')
    """
    if name == "ssim":
        return "SSIM (gaussian)"
    if name.startswith("ssim_"):
        return f"SSIM ({name.removeprefix('ssim_')})"
    plain = {
        "clipped": "newly clipped",
        "chroma_shift": "chroma shift",
        "lightness_change": "L* change",
        "ring": "ring",
    }
    return plain.get(name, name.upper().replace("_", "-"))


@cache
def _metric(name: str, identical: float) -> Metric:
    return create_metric(name, **({"identical": identical} if name in _PEAK_METRICS else {}))
