"""Small trainings, to try things out."""

from __future__ import annotations

from unhaze.recipes import depth_fusion, supervised
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

__all__ = ["hgdf_small", "supervised_small"]


def supervised_small() -> supervised.Config:
    """DehazeFormer-T for an hour on two cores, on haze that is made on the fly; to try things out."""
    return supervised.Config(
        data=DataConfig(crop=96, batch=4, held_out=24),
        optimizer=OptimizerConfig("adamw", 4e-4, clip=1.0),
        schedule=ScheduleConfig("cosine", warmup=50, final=0.02),
        loop=LoopConfig(steps=3000, validate_every=500),
        ema=0.99,
    )


def hgdf_small() -> depth_fusion.Config:
    """HGDF on DehazeFormer-T with the depth that comes with the pictures; to try things out."""
    base = supervised_small()
    return depth_fusion.Config(
        model="dehazeformer-t+hgdf",
        data=base.data,
        optimizer=base.optimizer,
        schedule=base.schedule,
        loop=base.loop,
        ema=base.ema,
    )
