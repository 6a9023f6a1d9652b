"""Stages of each family of networks, or of one variant, at which depth is fused by default.

P2 fuses "at the feature extraction layer" and names a kind of block for each network (Table 7), not the stages. Two
networks of different depth have the same overhead there if the blocks are those of the two finest levels of the
encoder, and only then do parameters and operations of all rows of Table 1 fit together (see ``unhaze.fusion.hgdf``).
"""

from __future__ import annotations

__all__ = ["DEFAULT_SITES"]

DEFAULT_SITES: dict[str, tuple[str, ...]] = {
    "mb_taylorformer": ("enc1", "enc2"),  # "MHCA"
    "dehazeformer": ("enc1", "enc2"),  # "DF-Block"
    "mitnet": ("enc1", "enc2"),  # "RAB", residual amplitude blocks: those of the first of its two networks
    "sadnet": ("enc1", "enc2"),  # "SDEB"
    "oknet": ("enc1", "enc2"),  # "ResGroup"
    "deanet": ("enc1", "enc2", "mid"),  # "DEBlock,DEBAlock": the second kind is in the middle only
    "dnmgdt": ("enc1", "enc2"),  # "Conv-L"
    "coa": (
        "enc3",
        "enc4",
    ),  # "ResidualBlock": its finest levels have 8 and 16 channels; the overhead is that of 32, 64
    "coa-teacher": ("dec4", "dec3"),  # its encoder has no such blocks
    "sgdnet": ("enc1", "enc2"),  # "HGDF", which names no block; the overhead is that of OKNet
    "maxim": ("enc1", "enc2"),  # not in P2; those of the first U-Net
    "drsformer": ("enc1", "enc2"),  # not in Table 7; Table 5
}
