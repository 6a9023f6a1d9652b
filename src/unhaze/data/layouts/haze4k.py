"""Haze4K: synthetic haze, indoors and outdoors, with the transmission of each picture.

Liu et al., "From Synthetic to Real: Image Dehazing Collaborating with Unlabeled Real Data", ACM MM 2021.
``train/haze/1_0.68_0.66.png`` (scene, airlight, scattering coefficient) belongs to ``train/gt/1.png``; ``trans`` is
not read.
"""

from __future__ import annotations

from unhaze.data.layouts.base import BEFORE_UNDERSCORE, CLEAR, HAZY, SAME_NAME, Layout, Part

__all__ = ["HAZE4K"]

HAZE4K = Layout(
    name="haze4k",
    summary="Synthetic haze, 3,000 pairs to train on and 1,000 to test.",
    parts={
        "train": Part(("Haze4K/train", "Haze4K/Haze4K/train", "train", "Haze4K-T", "Haze4K/Haze4K-T"), (3_000,)),
        "test": Part(("Haze4K/test", "Haze4K/Haze4K/test", "test", "Haze4K-V", "Haze4K/Haze4K-V"), (1_000,)),
    },
    hazy=(*HAZY, "in"),
    clear=CLEAR,
    rules=(BEFORE_UNDERSCORE, SAME_NAME),
    paper="Liu et al., From Synthetic to Real: Image Dehazing Collaborating with Unlabeled Real Data, ACM MM 2021",
    source="https://github.com/liuye123321/DMT-Net",
)
