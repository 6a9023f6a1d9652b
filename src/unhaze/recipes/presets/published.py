"""Published settings of networks that are trained on pairs, as presets of the recipes that learn from pairs.

Facts are those of the official code (loss, optimiser, schedule, crop, batch, epochs). Where a code counts epochs, the
steps are epochs times published pictures over the batch. What a recipe cannot do is said in its docstring.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unhaze.recipes import adversarial, distillation, supervised
from unhaze.training.loss import LossConfig
from unhaze.training.pairs import DataConfig
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

__all__ = [
    "aecrnet_its",
    "aodnet_its",
    "c2pnet_its",
    "coa_student_its",
    "coa_teacher_its",
    "convir_its",
    "convir_ots",
    "deanet_its",
    "dehamer_nh",
    "dehazeformer_6k",
    "dehazeformer_its",
    "dehazeformer_t_6k",
    "dnmgdt_6k",
    "drsformer_did",
    "drsformer_spa",
    "ffanet_its",
    "ffanet_ots",
    "fsnet_its",
    "gcanet_its",
    "gunet_its",
    "mb_taylorformer_its",
    "mitnet_its",
    "mixdehazenet_its",
    "oknet_its",
    "oknet_ots",
    "sadnet_its",
    "sgdnet_rw2ah",
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


def convir_its() -> supervised.Config:
    """ConvIR-S on ITS: as OKNet, with Adam 1e-4 and batch 4. Settings of c-yn/ConvIR at 05dcbff."""
    return replace(
        oknet_its(),
        network="convir-s",
        data=pairs("reside-its", 256, 4),
        optimizer=OptimizerConfig("adam", 1e-4, clip=0.001),
        schedule=ScheduleConfig("cosine", warmup=3 * (ITS // 4), final=1e-2),
        loop=epochs(1000, ITS, 4),
    )


def convir_ots() -> supervised.Config:
    """ConvIR-S on OTS: as OKNet. Settings of c-yn/ConvIR at 05dcbff."""
    return replace(oknet_ots(), network="convir-s")


def fsnet_its() -> supervised.Config:
    """FSNet on ITS: as OKNet, with Adam 8e-4 and batch 32. Settings of c-yn/FSNet at 139b3c4."""
    return replace(
        oknet_its(),
        network="fsnet-its",
        data=pairs("reside-its", 256, 32),
        optimizer=OptimizerConfig("adam", 8e-4, clip=0.001),
        schedule=ScheduleConfig("cosine", warmup=3 * (ITS // 32), final=1e-6 / 8e-4),
        loop=epochs(1000, ITS, 32),
    )


def gunet_its() -> supervised.Config:
    """gUNet-S on ITS: L1, AdamW 1.6e-3 with decay 0.01, 50 epochs of warm-up, 1000 of 16,384 pictures, batch 128.

    Settings of IDKiro/gUNet at defba83. It stops estimating statistics for the last 200 epochs, which is not here.
    """
    return supervised.Config(
        network="gunet-s",
        data=pairs("reside-its", 256, 128, turn=True),
        optimizer=OptimizerConfig("adamw", 16e-4, weight_decay=0.01),
        schedule=ScheduleConfig("cosine", warmup=50 * 16_384 // 128, final=0.01),
        loop=epochs(1000, 16_384, 128),
        ema=0.0,
    )


def mixdehazenet_its() -> supervised.Config:
    """MixDehazeNet-S on ITS: L1 and 0.1 times a contrastive term, AdamW 2e-4, 500 epochs of batch 36.

    Settings of AmeryXiong/MixDehazeNet at 90a0474, whose contrastive term compares features of ResNet-152; here
    those of VGG19 are compared.
    """
    return supervised.Config(
        network="mixdehazenet-s",
        data=pairs("reside-its", 256, 36, turn=True),
        loss=LossConfig(l1=1.0, contrastive=0.1),
        optimizer=OptimizerConfig("adamw", 2e-4, weight_decay=0.01),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=epochs(500, ITS, 36),
        ema=0.0,
    )


def c2pnet_its() -> supervised.Config:
    """C2PNet on ITS: L1, Adam 1e-4, half a cosine to 0, a million steps of 2 crops of 240, gradients clipped at 0.2.

    Settings of YuZheng9/C2PNet at b09e79c, but for 0.2 times its curricular contrastive term, which needs the
    outputs of six other networks for every picture.
    """
    return supervised.Config(
        network="c2pnet-base",
        data=pairs("reside-its", 240, 2, turn=True),
        optimizer=OptimizerConfig("adam", 1e-4, clip=0.2),
        schedule=ScheduleConfig("cosine", final=0.0),
        loop=steps(1_000_000),
        ema=0.0,
    )


def aecrnet_its() -> supervised.Config:
    """AECR-Net on ITS: L1 and 0.1 times the contrastive term, Adam 1e-4 to 0, 500,000 steps of 16 crops of 240.

    Defaults of GlassyWu/AECR-Net at d046d0f; the weight of the contrastive term, which its command line leaves open, is
    that of the paper.
    """
    return supervised.Config(
        network="aecrnet-base",
        data=pairs("reside-its", 240, 16, turn=True),
        loss=LossConfig(l1=1.0, contrastive=0.1),
        optimizer=OptimizerConfig("adam", 1e-4),
        schedule=ScheduleConfig("cosine", final=0.0),
        loop=steps(100 * 5000),
        ema=0.0,
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

    The official code trains on THaze, which the catalogue does not have. :func:`coa_student_its` follows.
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


def coa_student_its() -> distillation.Config:
    """CoA's student: the teacher's loss and 1.0 affinity of features; needs --set teacher_weights=FILE.

    Adam 1e-4 to 1e-6, 100,000 steps of 24 crops of 256, mirrored and turned. The official code trains on THaze, as for
    the teacher. ``coa-adapted`` follows, on photographs of real haze.
    Official code: YanZhang-zy/CoA at f94b8c4, ``KD.py``.
    """
    teacher = coa_teacher_its()
    return distillation.Config(
        data=teacher.data,
        loss=teacher.loss,
        optimizer=teacher.optimizer,
        schedule=teacher.schedule,
        loop=teacher.loop,
        ema=0.0,
    )


def mitnet_its() -> supervised.Config:
    """MITNet on ITS: L1 of both stages, 0.05 of two spectra, 0.001 mutual information, Adam 2e-4 halved 4 times.

    L1 of the first image (amplitude of the clear picture, phase of the hazy one) and of the second; 0.05 L1 of the
    first image's amplitude and of the second's spectrum. The rate is halved after every 200 of 1000 epochs; batch 8,
    crops of 256, mirrored both ways and turned. As in the official code (it-hao/MITNet at e1243aa) the networks that
    the mutual information is measured by stay random; the term does reach the features through them.
    """
    return supervised.Config(
        network="mitnet-base",
        data=pairs("reside-its", 256, 8, vertical=True, turn=True),
        loss=LossConfig(l1=1.0, frequency=0.05, stage1=1.0, amplitude=0.05, mutual_information=0.001),
        optimizer=OptimizerConfig("adam", 2e-4),
        schedule=ScheduleConfig("steps", milestones=tuple(epoch * ITS // 8 for epoch in (200, 400, 600, 800))),
        loop=epochs(1000, ITS, 8),
        ema=0.0,
    )


def dnmgdt_6k() -> adversarial.Config:
    """DNMGDT, the part for pairs, on RESIDE-6K: 1 - SSIM and 0.01 adversarial, Adam 2e-4, 20 epochs of batch 1.

    The rate is three quarters after 5, 10 and 15 epochs; the discriminator's stays 2e-4. Crops of 256, mirrored. The
    official code (NianWang-HJJGCDX/DNMGDT at f302544) takes 6000 pairs of another set, resized to 320x320 before they
    are cut. Its terms on photographs of real haze are not here: guidance by four priors (weight 1) and consistency
    under exchanged haze (weight 0.8).
    """
    return adversarial.Config(
        data=pairs("reside-6k", 256, 1),
        loss=LossConfig(l1=0.0, ssim=1.0, zero_padded=True),
        optimizer=OptimizerConfig("adam", 2e-4),
        schedule=ScheduleConfig("steps", milestones=tuple(epoch * RESIDE_6K for epoch in (5, 10, 15)), factor=0.75),
        loop=epochs(20, RESIDE_6K, 1),
        ema=0.0,
    )


def ffanet_its() -> supervised.Config:
    """FFA-Net on ITS: L1, Adam 1e-4, half a cosine to 0, 500,000 steps of 2 crops of 240, mirrored and turned.

    The commands in the README of zhilin007/FFA-Net (at 6651bcf), which leave its perceptual term out.
    """
    return supervised.Config(
        network="ffanet-base",
        data=pairs("reside-its", 240, 2, turn=True),
        optimizer=OptimizerConfig("adam", 1e-4),
        schedule=ScheduleConfig("cosine", final=0.0),
        loop=steps(500_000),
        ema=0.0,
    )


def ffanet_ots() -> supervised.Config:
    """FFA-Net on OTS: as on ITS, for a million steps."""
    return replace(ffanet_its(), data=pairs("reside-ots", 240, 2, turn=True), loop=steps(1_000_000))


def aodnet_its() -> supervised.Config:
    """AOD-Net on ITS: squared error, Adam 1e-4 with decay 1e-4, gradients clipped at 0.1, 10 epochs of batch 8.

    Settings of TheFairBear/PyTorch-Image-Dehazing at dc26717. It takes the authors' pictures made of NYU2, whole,
    resized to 480x640 and not mirrored; here crops of 448, mirrored left-right. The rate stays.
    """
    return supervised.Config(
        network="aodnet-base",
        data=pairs("reside-its", 448, 8),
        loss=LossConfig(l1=0.0, mse=1.0),
        optimizer=OptimizerConfig("adam", 1e-4, weight_decay=1e-4, clip=0.1),
        schedule=ScheduleConfig("constant"),
        loop=epochs(10, ITS, 8),
        ema=0.0,
    )


def gcanet_its() -> supervised.Config:
    """GCANet on ITS: squared error in [0, 255], Adam 1e-3, a tenth after every 40 of 100 epochs, batch 1.

    The repository (cddlyf/GCANet at 23846ff) has no training code; these are the defaults of the training script that
    its README links to, as copies of that script have them. It takes whole pictures; here crops of 448, mirrored.
    """
    return supervised.Config(
        network="gcanet-base",
        data=pairs("reside-its", 448, 1),
        loss=LossConfig(l1=0.0, mse=255.0**2),
        optimizer=OptimizerConfig("adam", 1e-3),
        schedule=ScheduleConfig("steps", milestones=(40 * ITS, 80 * ITS), factor=0.1),
        loop=epochs(100, ITS, 1),
        ema=0.0,
    )


def dehamer_nh() -> supervised.Config:
    """Dehamer on NH-HAZE: L1, Adam 1e-4 (.9, .99), 5000 epochs of batch 2, mirrored and turned.

    The command in the README of Li-Chongyi/Dehamer (at 7091670). It takes whole pictures of 800x1200 and lowers the
    rate when the score stops rising; here crops of 512, and the rate stays.
    """
    return supervised.Config(
        network="dehamer-base",
        data=pairs("nh-haze", 512, 2, turn=True),
        optimizer=OptimizerConfig("adam", 1e-4, betas=(0.9, 0.99)),
        schedule=ScheduleConfig("constant"),
        loop=epochs(5000, 45, 2),
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
