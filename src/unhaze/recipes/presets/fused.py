"""Settings of P2: a depth fusion added to published networks."""

from __future__ import annotations

from unhaze.recipes import depth_fusion
from unhaze.recipes.presets.published import pairs, steps
from unhaze.training.steps import OptimizerConfig, ScheduleConfig

__all__ = [
    "coa_hgdf_6k",
    "deanet_hgdf_6k",
    "dehazeformer_hgdf_6k",
    "dnmgdt_hgdf_6k",
    "mb_taylorformer_hgdf_6k",
    "mitnet_hgdf_6k",
    "oknet_hgdf_6k",
    "sadnet_hgdf_6k",
    "sgdnet_hgdf_6k",
]


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
