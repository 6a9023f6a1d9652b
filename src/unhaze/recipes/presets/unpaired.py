"""Published settings of networks that learn from real haze, or without pairs."""

from __future__ import annotations

from dataclasses import replace

from unhaze.recipes import prior_guidance, unpaired_cycle
from unhaze.recipes.presets.published import pairs, steps
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

__all__ = ["d4_its", "psd_ots", "psd_rtts"]

RTTS = 4_322  # photographs


def psd_ots() -> prior_guidance.Config:
    """PSD's first stage on OTS: smooth L1 of image and rehazed picture, Adam 1e-4, half a cosine of 100,000 steps.

    Batches of 12 crops of 256; those of PSD-FFANet (``main.py``), which the authors give as the example for all.
    """
    return prior_guidance.Config(
        data=pairs("reside-ots", 256, 12),
        terms=prior_guidance.TermWeights(clear=1.0, rehazed=1.0),
        optimizer=OptimizerConfig("adam", 1e-4),
        schedule=ScheduleConfig("cosine", final=0.0),
        loop=steps(100_000),
        ema=0.0,
    )


def psd_rtts() -> prior_guidance.Config:
    """PSD's second stage on OTS and RTTS; needs --set weights=FILE (of psd-ots) and --set photographs=FOLDER.

    Adam 1e-4, four passes over the photographs in batches of 6 crops of 256; weights of the terms as the defaults of
    ``finetune.py``.
    """
    return replace(
        psd_ots(),
        data=pairs("reside-ots", 256, 6),
        terms=prior_guidance.TermWeights(
            reconstruction=1.0,
            clahe=1.0,
            kept_pairs=1.0,
            kept_photographs=1.0,
            kept_sky=1.0,
            dark=2e-3,
            bright=3e-2,
        ),
        schedule=ScheduleConfig("constant"),
        loop=steps(4 * RTTS // 6),
    )


def d4_its() -> unpaired_cycle.Config:
    """D4 on ITS without pairs: Adam 1e-4, halved after 100 epochs of its 1,399 scenes, 1,500,000 steps of 2.

    Discriminators at a tenth of the rate. The official code resizes the largest square of a picture to 256; here crops
    of 256.
    """
    return unpaired_cycle.Config(
        data=pairs("reside-its", 256, 2),
        optimizer=OptimizerConfig("adam", 1e-4),
        schedule=ScheduleConfig("steps", milestones=(100 * 1_399 // 2,), factor=0.5),
        depth_optimizer=OptimizerConfig("adam", 1e-4),
        discriminator_optimizer=OptimizerConfig("adam", 1e-5),
        loop=steps(1_500_000),
        ema=0.0,
    )
