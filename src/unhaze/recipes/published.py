"""Published settings of networks that are trained on pairs, as presets of ``supervised`` and ``depth_fusion``.

Facts are those of the official code (loss, optimiser, schedule, crop, batch, epochs). Where a code counts epochs, the
steps are epochs times published pictures over the batch. What a recipe cannot do is said in its docstring.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unhaze.recipes import depth_fusion, supervised
from unhaze.recipes._loss import LossConfig
from unhaze.recipes._paired import DataConfig
from unhaze.training.loop import LoopConfig
from unhaze.training.optim import OptimizerConfig
from unhaze.training.schedules import ScheduleConfig

__all__ = [
    "coa_hgdf_6k",
    "coa_teacher_its",
    "deanet_hgdf_6k",
    "deanet_its",
    "dehazeformer_6k",
    "dehazeformer_hgdf_6k",
    "dehazeformer_its",
    "dehazeformer_t_6k",
    "dnmgdt_hgdf_6k",
    "drsformer_did",
    "drsformer_spa",
    "hgdf_small",
    "mb_taylorformer_hgdf_6k",
    "mb_taylorformer_its",
    "mitnet_hgdf_6k",
    "oknet_hgdf_6k",
    "oknet_its",
    "oknet_ots",
    "sadnet_hgdf_6k",
    "sadnet_its",
    "sgdnet_hgdf_6k",
    "sgdnet_rw2ah",
    "supervised_small",
]

ITS, OTS, RESIDE_6K = 13_990, 313_950, 6_000  # pictures to train on


def epochs(count: int, pictures: int, batch: int) -> LoopConfig:
    """A loop of that many passes over so many pictures; validated some fifty times."""
    steps = count * pictures // batch
    return LoopConfig(steps=steps, checkpoint_every=1000, log_every=100, validate_every=max(1, steps // 50))


def steps(count: int) -> LoopConfig:
    """A loop of that many steps."""
    return LoopConfig(steps=count, checkpoint_every=1000, log_every=100, validate_every=max(1, count // 50))


def pairs(dataset: str, crop: int, batch: int, **options: Any) -> DataConfig:
    """Pairs of a published data set; validated on its test split where it has one, as the official codes do."""
    return DataConfig(dataset, "train", "test", crop=crop, batch=batch, workers=4, **options)


def dehazeformer_its() -> supervised.Config:
    """DehazeFormer-M on ITS: AdamW 2e-4, half a cosine to a hundredth, 300 epochs, crops of 256, batch 16, L1."""
    return supervised.Config(
        network="dehazeformer-m",
        data=pairs("reside-its", 256, 16, turn=True),
        optimizer=OptimizerConfig("adamw", 2e-4, weight_decay=0.01),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=epochs(300, ITS, 16),
        ema=0.0,
    )


def dehazeformer_6k() -> supervised.Config:
    """DehazeFormer-M on RESIDE-6K: AdamW 1e-4, 1000 epochs, mirrored left-right only."""
    base = dehazeformer_its()
    data = pairs("reside-6k", 256, 16)
    return replace(base, data=data, optimizer=replace(base.optimizer, lr=1e-4), loop=epochs(1000, RESIDE_6K, 16))


def dehazeformer_t_6k() -> supervised.Config:
    """DehazeFormer-T on RESIDE-6K: batch 32 and twice the rate of M."""
    base = dehazeformer_6k()
    return replace(
        base,
        network="dehazeformer-t",
        data=replace(base.data, batch=32),
        optimizer=replace(base.optimizer, lr=2e-4),
        loop=epochs(1000, RESIDE_6K, 32),
    )


def mb_taylorformer_its() -> supervised.Config:
    """MB-TaylorFormer-B on ITS: AdamW 2e-4 for 200,000 steps, then a cosine of 300,000, gradients clipped, L1."""
    return supervised.Config(
        network="mb_taylorformer-b",
        data=pairs("reside-its", 256, 8, vertical=True, turn=True),
        optimizer=OptimizerConfig("adamw", 2e-4, weight_decay=1e-4, clip=0.01),
        schedule=ScheduleConfig("restarts", periods=(200_000, 300_000), finals=(1.0, 0.05)),
        loop=steps(500_000),
        ema=0.0,
    )


def oknet_its() -> supervised.Config:
    """OKNet on ITS: L1 and 0.1 L1 of the spectrum at three sizes, Adam 2e-4, 3 epochs of warm-up, 1000 epochs."""
    per_epoch = ITS // 8
    return supervised.Config(
        network="oknet-base",
        data=pairs("reside-its", 256, 8),
        loss=LossConfig(l1=1.0, frequency=0.1, coefficients="all"),
        optimizer=OptimizerConfig("adam", 2e-4, clip=0.001),
        schedule=ScheduleConfig("cosine", warmup=3 * per_epoch, final=1e-6 / 2e-4),
        loop=epochs(1000, ITS, 8),
        ema=0.0,
    )


def oknet_ots() -> supervised.Config:
    """OKNet on OTS: Adam 1e-4, one epoch of warm-up, 30 epochs."""
    base = oknet_its()
    return replace(
        base,
        data=pairs("reside-ots", 256, 8),
        optimizer=OptimizerConfig("adam", 1e-4, clip=0.01),
        schedule=ScheduleConfig("cosine", warmup=OTS // 8, final=1e-2),
        loop=epochs(30, OTS, 8),
    )


def sgdnet_rw2ah() -> supervised.Config:
    """SGDNet: L1, 0.5 (1 - SSIM) and 0.1 L1 of the spectrum at three sizes, AdamW 4e-4, 420,000 steps, EMA 0.999."""
    return supervised.Config(
        network="sgdnet-base",
        data=pairs("rw2ah", 256, 16, vertical=True, turn=True),
        loss=LossConfig(l1=1.0, ssim=0.5, frequency=0.1),
        optimizer=OptimizerConfig("adamw", 4e-4),
        schedule=ScheduleConfig("cosine", final=1e-4),
        loop=steps(420_000),
        ema=0.999,
    )


def deanet_its() -> supervised.Config:
    """DEA-Net-CR on ITS: L1 and 0.1 times the contrastive term, Adam 1e-4 to 1e-6, 1.5 million steps of 16."""
    return supervised.Config(
        network="deanet-train",
        data=pairs("reside-its", 256, 16, turn=True),
        loss=LossConfig(l1=1.0, contrastive=0.1),
        optimizer=OptimizerConfig("adam", 1e-4),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=steps(300 * 5000),
        ema=0.0,
    )


def sadnet_its() -> supervised.Config:
    """SAD-Net: as DEA-Net, with crops of 640, batch 2, 120,000 steps. Its official VGG19 has random weights."""
    base = deanet_its()
    data = pairs("reside-its", 640, 2, turn=True)
    return replace(base, network="sadnet-base", data=data, loop=steps(300 * 400))


def coa_teacher_its() -> supervised.Config:
    """CoA's teacher: 0.8 L1, 0.2 (1 - SSIM), 0.05 contrastive, Adam 1e-4 to 1e-6, 100,000 steps of 24.

    The students learn from the teacher's features, which this recipe does not do.
    """
    return supervised.Config(
        network="coa-teacher",
        data=pairs("reside-its", 256, 24, turn=True),
        loss=LossConfig(l1=0.8, ssim=0.2, contrastive=0.05, zero_padded=True),
        optimizer=OptimizerConfig("adam", 1e-4),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=steps(20 * 5000),
        ema=0.0,
    )


def drsformer_did() -> supervised.Config:
    """DRSformer on DID-Data (rain): L1, AdamW 3e-4, cosines of 92,000 and 208,000 steps, crops of 128."""
    return supervised.Config(
        network="drsformer-mefc",
        data=pairs("did-data", 128, 8, vertical=True, turn=True),
        optimizer=OptimizerConfig("adamw", 3e-4, weight_decay=1e-4, clip=0.01),
        schedule=ScheduleConfig("restarts", periods=(92_000, 208_000), finals=(1.0, 1e-6 / 3e-4)),
        loop=steps(300_000),
        ema=0.0,
    )


def drsformer_spa() -> supervised.Config:
    """DRSformer on SPA-Data: the variant without MEFC."""
    return replace(drsformer_did(), network="drsformer-spa", data=pairs("spa-data", 128, 8, vertical=True, turn=True))


def hgdf_6k(network: str, batch: int) -> depth_fusion.Config:
    """Stage 2 of P2 on RESIDE-6K: cosine with restarts, batch of Table 7; steps and rate are ours, P2's are lost."""
    return depth_fusion.Config(
        model=f"{network}+hgdf",
        depth="depth-anything-v2-small",
        data=pairs("reside-6k", 256, batch),
        optimizer=OptimizerConfig("adamw", 1e-4, weight_decay=1e-4),
        schedule=ScheduleConfig("restarts", periods=(20_000, 20_000), finals=(0.01, 0.01)),
        loop=steps(40_000),
        accumulate=4,
    )


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


def mb_taylorformer_hgdf_6k() -> depth_fusion.Config:
    """MB-TaylorFormer-B with HGDF on RESIDE-6K."""
    return hgdf_6k("mb_taylorformer-b", 32)


def dehazeformer_hgdf_6k() -> depth_fusion.Config:
    """DehazeFormer-M with HGDF on RESIDE-6K."""
    return hgdf_6k("dehazeformer-m", 64)


def mitnet_hgdf_6k() -> depth_fusion.Config:
    """MITNet with HGDF on RESIDE-6K."""
    return hgdf_6k("mitnet-base", 32)


def sadnet_hgdf_6k() -> depth_fusion.Config:
    """SAD-Net with HGDF on RESIDE-6K."""
    return hgdf_6k("sadnet-base", 64)


def oknet_hgdf_6k() -> depth_fusion.Config:
    """OKNet with HGDF on RESIDE-6K."""
    return hgdf_6k("oknet-base", 64)


def deanet_hgdf_6k() -> depth_fusion.Config:
    """DEA-Net with HGDF on RESIDE-6K."""
    return hgdf_6k("deanet-train", 16)


def dnmgdt_hgdf_6k() -> depth_fusion.Config:
    """DNMGDT with HGDF on RESIDE-6K."""
    return hgdf_6k("dnmgdt-base", 64)


def coa_hgdf_6k() -> depth_fusion.Config:
    """CoA with eight residual blocks with HGDF on RESIDE-6K."""
    return hgdf_6k("coa-deploy_rb8", 64)


def sgdnet_hgdf_6k() -> depth_fusion.Config:
    """SGDNet with HGDF on RESIDE-6K."""
    return hgdf_6k("sgdnet-base", 16)
