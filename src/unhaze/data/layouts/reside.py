"""RESIDE: indoor and outdoor training sets, SOTS, and the selection RESIDE-6K.

Li et al., "Benchmarking Single-Image Dehazing and Beyond", IEEE TIP 2019. RESIDE-6K is a selection of ITS and OTS that
came with DehazeFormer (Song et al., IEEE TIP 2023).

Names: ``1_1_0.90179.png`` (ITS: scene, number, airlight), ``0001_0.8_0.2.jpg`` (OTS, SOTS-outdoor: scene, airlight,
scattering coefficient) and ``1400_1.png`` (SOTS-indoor) belong to ``1.png``, ``0001.jpg`` or ``.png``, and
``1400.png``. Packings for DehazeFormer repeat the clear picture under the name of every hazy one.
"""

from __future__ import annotations

from unhaze.data.layouts.base import BEFORE_UNDERSCORE, CLEAR, HAZY, SAME_NAME, Layout, Part

__all__ = ["RESIDE_6K", "RESIDE_ITS", "RESIDE_OTS", "SOTS_INDOOR", "SOTS_OUTDOOR"]

_PAPER = "Li et al., Benchmarking Single-Image Dehazing and Beyond, IEEE TIP 2019"
_SOURCE = "https://sites.google.com/view/reside-dehaze-datasets"
_RULES = (BEFORE_UNDERSCORE, SAME_NAME)

RESIDE_ITS = Layout(
    name="reside-its",
    summary="RESIDE indoor training set: synthetic haze, depth from NYU2 and Middlebury.",
    parts={
        "train": Part(
            ("ITS/train", "RESIDE-IN/train", "reside-indoor/train", "ITS_v2", "train", "ITS", ""), (13_990, 100_000)
        ),
        "validation": Part(("ITS/val", "val"), (10_000,)),
    },
    hazy=(*HAZY, "ITS_haze"),
    clear=(*CLEAR, "ITS_clear"),
    rules=_RULES,
    border="sots-indoor",
    paper=_PAPER,
    source=_SOURCE,
)

RESIDE_OTS = Layout(
    name="reside-ots",
    summary="RESIDE outdoor training set: synthetic haze, depth estimated from single pictures.",
    parts={
        "train": Part(
            ("OTS/train", "RESIDE-OUT/train", "reside-outdoor/train", "OTS_BETA", "OTS_ALPHA", "train", "OTS", ""),
            (313_950, 72_135),
        ),
    },
    hazy=(*HAZY, "OTS"),
    clear=(*CLEAR, "clear_images"),
    rules=_RULES,
    paper=_PAPER,
    source=_SOURCE,
)

SOTS_INDOOR = Layout(
    name="sots-indoor",
    summary="RESIDE indoor test set: 50 scenes, ten hazy pictures of each.",
    parts={
        "test": Part(
            (
                "SOTS/indoor",
                "RESIDE-IN/test",
                "reside-indoor/test",
                "ITS/test",
                "indoor",
                "nyuhaze500",
                "test",
                "SOTS",
                "",
            ),
            (500,),
        ),
    },
    rules=_RULES,
    border="sots-indoor",
    paper=_PAPER,
    source=_SOURCE,
)

SOTS_OUTDOOR = Layout(
    name="sots-outdoor",
    summary="RESIDE outdoor test set: 500 hazy pictures of 492 scenes.",
    parts={
        "test": Part(
            ("SOTS/outdoor", "RESIDE-OUT/test", "reside-outdoor/test", "OTS/test", "outdoor", "test", ""), (500,)
        ),
    },
    rules=_RULES,
    paper=_PAPER,
    source=_SOURCE,
)

RESIDE_6K = Layout(
    name="reside-6k",
    summary="3,000 indoor and 3,000 outdoor pairs of RESIDE to train on, 1,000 mixed pairs to test.",
    parts={
        "train": Part(("RESIDE-6K/train", "train"), (6_000,)),
        "test": Part(("RESIDE-6K/test", "test"), (1_000,)),
    },
    rules=(SAME_NAME, BEFORE_UNDERSCORE),
    paper="Song et al., Vision Transformers for Single Image Dehazing, IEEE TIP 2023",
    source="https://github.com/IDKiro/DehazeFormer",
)
