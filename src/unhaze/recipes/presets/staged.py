"""Settings of trainings in stages, and of those that go on with photographs of real haze."""

from __future__ import annotations

from dataclasses import replace

from unhaze.recipes import adaptation, prompted, self_prompt
from unhaze.recipes.presets.published import pairs, steps
from unhaze.training.loss import LossConfig
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

__all__ = ["coa_adapted", "prompthaze_its", "selfpromer_hq_its", "selfpromer_lq_its"]


def selfpromer_hq_its() -> self_prompt.Config:
    """SelfPromer's autoencoder on clear pictures of ITS: L1, LPIPS, codes, 0.1 hinge, Adam 1e-4, 500,000 steps of 6.

    The discriminator's rate is 4e-4; both stay. Crops of 256, mirrored and turned. Needs AlexNet for LPIPS, see
    ``alexnet``, or ``--set perceptual=0``. Official code: supersupercong/SelfPromer at c940330,
    ``train_selfpromer_HQ_pretrain_stage.yml``. :func:`selfpromer_lq_its` follows.
    """
    return self_prompt.Config(
        data=pairs("reside-its", 256, 6, turn=True),
        optimizer=OptimizerConfig("adam", 1e-4, betas=(0.9, 0.99)),
        loop=steps(500_000),
        ema=0.0,
    )


def selfpromer_lq_its() -> self_prompt.Config:
    """SelfPromer on ITS: L1, 0.4 (1 - SSIM), LPIPS, codes, 0.1 hinge, Adam 1e-4, 402,000 steps of 10; needs the first.

    ``--set autoencoder_weights=FILE`` names what :func:`selfpromer_hq_its` wrote. The rate is halved at 24,000, 80,000
    and 160,000 steps: the official file has 24000 as its last milestone, which its scheduler sorts. Depth is that of
    Depth Anything V2 small, where the official code has MiDaS (DPT with Next-ViT).
    """
    first = selfpromer_hq_its()
    return replace(
        first,
        network="selfpromer-lq",
        stage="restoration",
        depth="depth-anything-v2-small",
        data=pairs("reside-its", 256, 10, turn=True),
        loss=LossConfig(ssim=0.4, zero_padded=True),
        discriminator_optimizer=replace(first.discriminator_optimizer, lr=1e-4),
        schedule=ScheduleConfig("steps", milestones=(24_000, 80_000, 160_000), factor=0.5),
        loop=steps(402_000),
    )


def coa_adapted() -> adaptation.Config:
    """CoA's third stage, on photographs of real haze: L1 to an average of itself and 0.5 of a text loss by CLIP.

    Adam 1e-7 to 1e-8, 20,000 steps of 24 crops of 256, mirrored and turned; the average moves every 1,000 steps. Needs
    ``--set weights=FILE`` (the student of ``coa-student-its``) and ``--set clip=FOLDER``. The prompts that the authors
    learnt are not public, so texts are words. Official code: YanZhang-zy/CoA at f94b8c4, ``EMA.py``.
    """
    return adaptation.Config(
        data=DataConfig("photographs", "all", "", crop=256, batch=24, turn=True, workers=4),
        optimizer=OptimizerConfig("adam", 1e-7),
        schedule=ScheduleConfig("cosine", final=0.1),
        loop=steps(20_000),
        ema=0.0,
    )


def prompthaze_its() -> prompted.Config:
    """PromptHaze as far as it is known, with DehazeFormer-T on ITS: AdamW 2e-4, 15,000 steps of 7 crops of 256.

    Charbonnier and 0.5 contrastive loss. The paper's network, its terms on beta and A, its data and its schedule are
    not known or not here, see :mod:`unhaze.recipes.prompted`; half a cosine to a hundredth and ITS are ours.
    """
    return prompted.Config(
        depth="depth-anything-v2-small",
        data=pairs("reside-its", 256, 7, turn=True),
        loss=LossConfig(l1=0.0, charbonnier=1.0, contrastive=0.5),
        optimizer=OptimizerConfig("adamw", 2e-4),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=LoopConfig(steps=15_000, checkpoint_every=1000, log_every=100, validate_every=1000),
        ema=0.0,
    )
