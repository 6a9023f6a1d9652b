"""Settings of P2: published networks on its data sets (stage 1), and then with a depth fusion (stage 2).

"Can Large Pretrained Depth Estimation Models Help With Image Dehazing?", Implementation Details and Table 7. From the
text: crops of 256, the batch of each network, gradients accumulated, a cosine with restarts in stage 2, and that "the
initial learning rate is set according to each baseline". The numbers of those rates, of steps and of periods are lost
in the text at hand. Inferred, since the paper says "standard training protocols" and names no loss: optimiser, rate,
loss, clipping, augmentation and averaging are those of the network's own preset (``published.py``); with no average of
weights but for SGDNet, whose code has one. What stage 2 cannot repeat of an own recipe: DNMGDT's discriminator, and
CoA's teacher.
"""

from __future__ import annotations

from dataclasses import replace

from unhaze.recipes import adversarial, depth_fusion, supervised
from unhaze.recipes.presets.published import (
    RESIDE_6K,
    coa_teacher_its,
    deanet_its,
    dehazeformer_6k,
    dehazeformer_its,
    dnmgdt_6k,
    drsformer_did,
    drsformer_spa,
    epochs,
    mb_taylorformer_its,
    mitnet_its,
    oknet_its,
    oknet_ots,
    sadnet_its,
    sgdnet_rw2ah,
    steps,
)
from unhaze.training.steps import ScheduleConfig

__all__ = [
    "coa_6k",
    "coa_hgdf_6k",
    "coa_hgdf_its",
    "coa_hgdf_ots",
    "coa_hgdf_rw2ah",
    "deanet_6k",
    "deanet_hgdf_6k",
    "dehazeformer_hgdf_6k",
    "dehazeformer_hgdf_its",
    "dehazeformer_hgdf_ots",
    "dehazeformer_hgdf_rw2ah",
    "dnmgdt_hgdf_6k",
    "drsformer_hgdf_did",
    "drsformer_hgdf_spa",
    "mb_taylorformer_6k",
    "mb_taylorformer_hgdf_6k",
    "mb_taylorformer_hgdf_its",
    "mb_taylorformer_hgdf_ots",
    "mb_taylorformer_hgdf_rw2ah",
    "mitnet_6k",
    "mitnet_hgdf_6k",
    "oknet_6k",
    "oknet_hgdf_6k",
    "oknet_hgdf_its",
    "oknet_hgdf_ots",
    "oknet_hgdf_rw2ah",
    "sadnet_6k",
    "sadnet_hgdf_6k",
    "sgdnet_6k",
    "sgdnet_hgdf_6k",
    "sgdnet_hgdf_its",
    "sgdnet_hgdf_ots",
    "sgdnet_hgdf_rw2ah",
]


def first_stage(own: supervised.Config, batch: int) -> supervised.Config:
    """Stage 1 on RESIDE-6K: the network's own preset with P2's crop and batch.

    A thousand epochs of a cosine to a hundredth, as DehazeFormer's code has for this set; P2's number is lost.
    """
    return replace(
        own,
        data=replace(own.data, dataset="reside-6k", crop=256, batch=batch),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=epochs(1000, RESIDE_6K, batch),
    )


def second_stage(own: supervised.Config | adversarial.Config, dataset: str, batch: int) -> depth_fusion.Config:
    """Stage 2: HGDF on the network, with the network's own settings; needs the weights of stage 1.

    Two periods of 20,000 steps, each from the full rate to a hundredth; P2's are lost.
    """
    return depth_fusion.Config(
        model=f"{own.network}+hgdf",
        fresh=False,
        depth="depth-anything-v2-small",
        data=replace(own.data, dataset=dataset, crop=256, batch=batch),
        loss=own.loss,
        optimizer=own.optimizer,
        schedule=ScheduleConfig("restarts", periods=(20_000, 20_000), finals=(0.01, 0.01)),
        loop=steps(40_000),
        accumulate=4,
        ema=own.ema,
    )


def coa_own() -> supervised.Config:
    """The student that P2's Table 1 measures, with the loss of its teacher."""
    return replace(coa_teacher_its(), network="coa-deploy_rb8")


def mb_taylorformer_6k() -> supervised.Config:
    """MB-TaylorFormer-B on RESIDE-6K, stage 1 of P2."""
    return first_stage(mb_taylorformer_its(), 32)


def mitnet_6k() -> supervised.Config:
    """MITNet on RESIDE-6K, stage 1 of P2."""
    return first_stage(mitnet_its(), 32)


def sadnet_6k() -> supervised.Config:
    """SAD-Net on RESIDE-6K, stage 1 of P2."""
    return first_stage(sadnet_its(), 64)


def oknet_6k() -> supervised.Config:
    """OKNet on RESIDE-6K, stage 1 of P2."""
    return first_stage(oknet_its(), 64)


def deanet_6k() -> supervised.Config:
    """DEA-Net on RESIDE-6K, stage 1 of P2."""
    return first_stage(deanet_its(), 16)


def coa_6k() -> supervised.Config:
    """CoA with eight residual blocks on RESIDE-6K, stage 1 of P2."""
    return first_stage(coa_own(), 64)


def sgdnet_6k() -> supervised.Config:
    """SGDNet on RESIDE-6K, stage 1 of P2."""
    return first_stage(sgdnet_rw2ah(), 16)


def mb_taylorformer_hgdf_6k() -> depth_fusion.Config:
    """MB-TaylorFormer-B with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(mb_taylorformer_its(), "reside-6k", 32)


def dehazeformer_hgdf_6k() -> depth_fusion.Config:
    """DehazeFormer-M with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(dehazeformer_6k(), "reside-6k", 64)


def mitnet_hgdf_6k() -> depth_fusion.Config:
    """MITNet with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(mitnet_its(), "reside-6k", 32)


def sadnet_hgdf_6k() -> depth_fusion.Config:
    """SAD-Net with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(sadnet_its(), "reside-6k", 64)


def oknet_hgdf_6k() -> depth_fusion.Config:
    """OKNet with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(oknet_its(), "reside-6k", 64)


def deanet_hgdf_6k() -> depth_fusion.Config:
    """DEA-Net with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(deanet_its(), "reside-6k", 16)


def dnmgdt_hgdf_6k() -> depth_fusion.Config:
    """DNMGDT with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(dnmgdt_6k(), "reside-6k", 64)


def coa_hgdf_6k() -> depth_fusion.Config:
    """CoA with eight residual blocks with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(coa_own(), "reside-6k", 64)


def sgdnet_hgdf_6k() -> depth_fusion.Config:
    """SGDNet with HGDF on RESIDE-6K: a row of P2, Table 10."""
    return second_stage(sgdnet_rw2ah(), "reside-6k", 16)


def mb_taylorformer_hgdf_rw2ah() -> depth_fusion.Config:
    """MB-TaylorFormer-B with HGDF on RW2AH: a row of P2, Table 1."""
    return second_stage(mb_taylorformer_its(), "rw2ah", 32)


def dehazeformer_hgdf_rw2ah() -> depth_fusion.Config:
    """DehazeFormer-M with HGDF on RW2AH: a row of P2, Table 1."""
    return second_stage(dehazeformer_its(), "rw2ah", 64)


def oknet_hgdf_rw2ah() -> depth_fusion.Config:
    """OKNet with HGDF on RW2AH: a row of P2, Table 1."""
    return second_stage(oknet_its(), "rw2ah", 64)


def coa_hgdf_rw2ah() -> depth_fusion.Config:
    """CoA with eight residual blocks with HGDF on RW2AH: a row of P2, Table 1."""
    return second_stage(coa_own(), "rw2ah", 64)


def sgdnet_hgdf_rw2ah() -> depth_fusion.Config:
    """SGDNet with HGDF on RW2AH: a row of P2, Table 1."""
    return second_stage(sgdnet_rw2ah(), "rw2ah", 16)


def mb_taylorformer_hgdf_its() -> depth_fusion.Config:
    """MB-TaylorFormer-B with HGDF on RESIDE's indoor set: a row of P2, Table 2."""
    return second_stage(mb_taylorformer_its(), "reside-its", 32)


def dehazeformer_hgdf_its() -> depth_fusion.Config:
    """DehazeFormer-M with HGDF on RESIDE's indoor set: a row of P2, Table 2."""
    return second_stage(dehazeformer_its(), "reside-its", 64)


def oknet_hgdf_its() -> depth_fusion.Config:
    """OKNet with HGDF on RESIDE's indoor set: a row of P2, Table 2."""
    return second_stage(oknet_its(), "reside-its", 64)


def coa_hgdf_its() -> depth_fusion.Config:
    """CoA with eight residual blocks with HGDF on RESIDE's indoor set: a row of P2, Table 2."""
    return second_stage(coa_own(), "reside-its", 64)


def sgdnet_hgdf_its() -> depth_fusion.Config:
    """SGDNet with HGDF on RESIDE's indoor set: a row of P2, Table 2."""
    return second_stage(sgdnet_rw2ah(), "reside-its", 16)


def mb_taylorformer_hgdf_ots() -> depth_fusion.Config:
    """MB-TaylorFormer-B with HGDF on RESIDE's outdoor set: a row of P2, Table 9."""
    return second_stage(mb_taylorformer_its(), "reside-ots", 32)


def dehazeformer_hgdf_ots() -> depth_fusion.Config:
    """DehazeFormer-M with HGDF on RESIDE's outdoor set: a row of P2, Table 9."""
    return second_stage(dehazeformer_its(), "reside-ots", 64)


def oknet_hgdf_ots() -> depth_fusion.Config:
    """OKNet with HGDF on RESIDE's outdoor set: a row of P2, Table 9."""
    return second_stage(oknet_ots(), "reside-ots", 64)


def coa_hgdf_ots() -> depth_fusion.Config:
    """CoA with eight residual blocks with HGDF on RESIDE's outdoor set: a row of P2, Table 9."""
    return second_stage(coa_own(), "reside-ots", 64)


def sgdnet_hgdf_ots() -> depth_fusion.Config:
    """SGDNet with HGDF on RESIDE's outdoor set: a row of P2, Table 9."""
    return second_stage(sgdnet_rw2ah(), "reside-ots", 16)


def drsformer_hgdf_did() -> depth_fusion.Config:
    """DRSformer with HGDF on DID-Data (rain): the last row of P2, Table 5."""
    return replace(second_stage(drsformer_did(), "did-data", 8), data=drsformer_did().data)


def drsformer_hgdf_spa() -> depth_fusion.Config:
    """DRSformer with HGDF on SPA-Data (rain): the last row of P2, Table 5."""
    return replace(second_stage(drsformer_spa(), "spa-data", 8), data=drsformer_spa().data)
