"""What held-out pictures say of DCMPNet while it trains: of the restoration, and of its depth.

Depth is validated beside the restoration (P1, Fig. 7 and Table 2: "improvement in both depth estimation and dehazing"):
``val_depth_error`` is the mean absolute difference between the depth of the restored picture and that of the clear one,
``val_depth_error_hazy`` the same of the hazy picture, both on the teacher's scale; and beside the strips of pictures
lie strips of depth, ``step-0000200-depth.png``: hazy, restored, clear, and below them the depth of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unhaze.data.batch import Batch
from unhaze.data.dataset import Sample
from unhaze.losses.depth import mean_over_known
from unhaze.models.layers.device import choose_device
from unhaze.training.promotion import CROP_MULTIPLE, PromotionConfig, State, clear_depth_of, trained_network
from unhaze.training.validation import one_by_one, score_network, write_strips

__all__ = ["score_depth", "validate"]

_SHOWN = 3  # samples in a strip of depth, two rows each


def validate(
    state: State, held_out: Sequence[Sample], config: PromotionConfig, strips: Path, done: int
) -> dict[str, float]:
    """What held-out pictures say after ``done`` steps; the network is left in training mode.

    Args:
        state: At that step.
        held_out: Pictures that are not trained on.
        config: All settings.
        strips: Folder for strips of pictures and of depth.
        done: Steps.

    Returns:
        Score by name, of the protocol and of :func:`score_depth`.
    """
    network = trained_network(state).eval()
    name = f"step-{done:07d}"
    scores = score_network(network, held_out, config.protocol, choose_device(config.device), strips / f"{name}.png")
    scores |= score_depth(state, held_out, config, strips / f"{name}-depth.png")
    state.network.train()
    return scores


@torch.no_grad()
def score_depth(
    state: State, samples: Sequence[Sample], config: PromotionConfig, strips: Path | None = None
) -> dict[str, float]:
    """How far the depth of restored and of hazy pictures is from that of the clear ones; nothing without depth.

    Args:
        state: Its networks in any mode; they are left in it.
        samples: With clear pictures; those without depth do not count.
        config: All settings.
        strips: PNG to write.

    Returns:
        ``depth_error`` and ``depth_error_hazy``: mean absolute differences of M_u* and of M_hazy from M_u.
    """
    network = trained_network(state)
    # the network of the averaged weights has a depth network of its own
    depth = getattr(network, "depth", None) if config.variant == "paper" else state.depth
    if depth is None:
        return {}
    was_training = (network.training, depth.training)
    network.eval(), depth.eval()
    errors: dict[str, list[float]] = {"depth_error": [], "depth_error_hazy": []}
    rows: list[list[NDArray[np.floating[Any]]]] = []
    for whole in one_by_one(samples, choose_device(config.device)):
        batch = _cut(whole)
        restored = network.restore(batch.hazy).image.clamp(0, 1)
        target, known = clear_depth_of(state, batch, config)
        if not bool(known.all()):
            continue
        maps = [depth(2 * image - 1).float() for image in (batch.hazy, restored)]
        for name, found in zip(("depth_error_hazy", "depth_error"), maps, strict=True):
            errors[name].append(float(mean_over_known((found - target).abs(), known)))
        if len(rows) < 2 * _SHOWN:
            rows.append([_shown(image) for image in (batch.hazy, restored, batch.clear)])
            low, high = target.amin(), target.amax()
            rows.append([_shown((each - low) / (high - low).clamp(min=1e-6)) for each in (*maps, target)])
    network.train(was_training[0])
    depth.train(was_training[1])
    if strips is not None and rows:
        height, width = (min(row[0].shape[axis] for row in rows) for axis in (0, 1))
        write_strips(strips, [[picture[:height, :width] for picture in row] for row in rows])
    return {name: float(np.mean(values)) for name, values in errors.items() if values}


def _cut(batch: Batch) -> Batch:
    """The sample, with sides that every network here takes."""
    height, width = (side - side % CROP_MULTIPLE or side for side in batch.hazy.shape[-2:])
    return batch._replace(
        hazy=batch.hazy[..., :height, :width],
        clear=batch.clear[..., :height, :width],
        nearness=batch.nearness[..., :height, :width],
    )


def _shown(picture: Tensor) -> NDArray[np.floating[Any]]:
    """(1, C, H, W) as (H, W, 3) in [0, 1]."""
    array: NDArray[np.floating[Any]] = picture[0].expand(3, -1, -1).permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()
    return array
