"""Settings of P1, as the paper has them and as its code has them."""

from __future__ import annotations

from dataclasses import replace

import torch

from unhaze.recipes import mutual_promotion, mutual_promotion_2023, mutual_promotion_official
from unhaze.recipes.presets.published import ITS, OTS
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

__all__ = ["dcmpnet_official", "dcmpnet_official_2023", "dcmpnet_paper", "dcmpnet_paper_ots", "dcmpnet_small"]

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


def dcmpnet_official_2023() -> mutual_promotion_2023.Config:
    """DCMPNet as an earlier code of its authors trains it: in alternation, Adam 1e-4, 600 epochs, batch 5."""
    return mutual_promotion_2023.Config(
        data=DataConfig("reside-its", crop=256, batch=5, edge_decay=0.1, turn=True, workers=4),
        optimizer=OptimizerConfig("adam", lr=1e-4),
        depth_optimizer=OptimizerConfig("adam", lr=1e-4),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=replace(_LOOP, steps=600 * (ITS // 5)),
    )


def dcmpnet_paper() -> mutual_promotion.Config:
    """DCMPNet on RESIDE's indoor set with the settings of the paper: two steps in alternation, Adam 1e-3, 600 epochs.

    The paper names no batch; that of the official code is taken, as is the rate at the end, a hundredth. The paper
    names no mixed precision, so there is none.
    """
    return mutual_promotion.Config(
        data=DataConfig("reside-its", crop=256, batch=_BATCH, vertical=True, workers=4),
        optimizer=OptimizerConfig("adam", lr=1e-3),
        depth_optimizer=OptimizerConfig("adam", lr=1e-3),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=_LOOP,
    )


def dcmpnet_paper_ots() -> mutual_promotion.Config:
    """DCMPNet on RESIDE's outdoor set with the settings of the paper: as indoors, for 60 epochs.

    Half of P1, Table 1. It is validated on the outdoor test pairs where ``--set data.validation=test`` finds them.
    """
    base = dcmpnet_paper()
    steps = 60 * (OTS // _BATCH)
    return replace(
        base,
        data=replace(base.data, dataset="reside-ots"),
        loop=replace(base.loop, steps=steps, checkpoint_every=5000, validate_every=steps // 50),
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
