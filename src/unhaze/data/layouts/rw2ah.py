"""RW2AH: real haze, recorded by fixed web cameras on hazy and on clear days.

Fang et al., "Guided Real Image Dehazing using YCbCr Color Space" (SGDNet), AAAI 2025, where it is also called R2WD.
Pictures of a pair have the same name, as ``1-0001-03.png``, in ``train/input`` and ``train/gt``.
"""

from __future__ import annotations

from unhaze.data.layouts.base import SAME_NAME, Layout, Part

__all__ = ["RW2AH"]

RW2AH = Layout(
    name="rw2ah",
    summary="Real haze seen by fixed web cameras, 1,758 aligned pairs.",
    parts={
        "train": Part(("RW2AH/train", "R2WD/train", "train"), (1_406,)),
        "test": Part(("RW2AH/test", "R2WD/test", "test"), (352,)),
    },
    rules=(SAME_NAME,),
    paper="Fang et al., Guided Real Image Dehazing using YCbCr Color Space, AAAI 2025",
    source="https://github.com/fiwy0527/AAAI25_SGDN",
)
