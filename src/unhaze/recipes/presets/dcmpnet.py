"""Settings of P1, as the paper has them and as its code has them."""

from __future__ import annotations

import torch

from unhaze.recipes import mutual_promotion, mutual_promotion_official
from unhaze.recipes.presets.published import ITS
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

__all__ = ["dcmpnet_official", "dcmpnet_paper", "dcmpnet_small"]

_BATCH = 8
_LOOP = LoopConfig(steps=600 * (ITS // _BATCH), checkpoint_every=1748, log_every=100, validate_every=8740)


def dcmpnet_official() -> mutual_promotion_official.Config:
    """DCMPNet on RESIDE's indoor set with the settings of the official code: Adam 1e-4, 600 epochs, batch 8."""
    return mutual_promotion_official.Config(
        data=DataConfig("reside-its", crop=256, batch=_BATCH, edge_decay=0.1, turn=True, workers=4),
        optimizer=OptimizerConfig("adam", lr=1e-4),
        depth_optimizer=OptimizerConfig("adam", lr=1e-4),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=_LOOP,
        precision="fp16" if torch.cuda.is_available() else "fp32",
    )


def dcmpnet_paper() -> mutual_promotion.Config:
    """DCMPNet on RESIDE's indoor set with the settings of the paper: two steps in alternation, Adam 1e-3, 600 epochs.

    The paper names no batch; that of the official code is taken.
    """
    return mutual_promotion.Config(
        data=DataConfig("reside-its", crop=256, batch=_BATCH, vertical=True, workers=4),
        optimizer=OptimizerConfig("adam", lr=1e-3),
        depth_optimizer=OptimizerConfig("adam", lr=1e-3),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=_LOOP,
        precision="fp16" if torch.cuda.is_available() else "fp32",
    )


def dcmpnet_small() -> mutual_promotion.Config:
    """DCMPNet by the paper's two steps on haze made on the fly, depth from the default dehazer; an hour of one core."""
    return mutual_promotion.Config(
        teacher="compact",
        data=DataConfig("synthetic", crop=64, batch=4, held_out=8),
        optimizer=OptimizerConfig("adam", lr=4e-4, clip=1.0),
        depth_optimizer=OptimizerConfig("adam", lr=4e-4, clip=1.0),
        schedule=ScheduleConfig("cosine", warmup=50, final=0.01),
        loop=LoopConfig(steps=800, checkpoint_every=100, log_every=20, validate_every=200),
        ema=0.99,
    )
