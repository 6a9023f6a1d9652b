"""Rain: DID-Data and SPA-Data, on which P2 shows that its fusion is not bound to haze.

DID-Data: Zhang and Patel, "Density-Aware Single Image De-Raining", CVPR 2018, as packed for DRSformer: ``input`` and
``target`` with the same names. SPA-Data: Wang et al., "Spatial Attentive Single-Image Deraining with a High Quality
Real Rain Dataset", CVPR 2019: in ``real_world/SCENE/12-34.png`` the part before the dash names the clear picture
``real_world_gt/SCENE/12.png``; its test set has ``rain/rain-001.png`` and ``norain/norain-001.png``. Here the rainy
pictures stand in the place of the hazy ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from unhaze.data.layouts.base import CLEAR, SAME_NAME, Layout, Part, Rule

__all__ = ["DID_DATA", "SPA_DATA"]

_RAINY = ("input", "rain", "rainy")
_DRY = (*CLEAR, "norain", "ground_truth")


def _before_dash(stem: str) -> Sequence[str]:
    return (stem.split("-", 1)[0],)


def _no_rain(stem: str) -> Sequence[str]:
    return (stem.replace("rain", "norain", 1),) if stem.startswith("rain") else ()


DID_DATA = Layout(
    name="did-data",
    summary="Synthetic rain of three densities, 12,000 pairs to train on and 1,200 to test.",
    parts={
        "train": Part(("train/DID-Data", "DID-Data/train", "train"), (12_000,)),
        "test": Part(("test/DID-Data", "DID-Data/test", "test"), (1_200,)),
    },
    hazy=_RAINY,
    clear=_DRY,
    rules=(SAME_NAME,),
    paper="Zhang and Patel, Density-Aware Single Image De-Raining Using a Multi-Stream Dense Network, CVPR 2018",
    source="https://github.com/cschenxiang/DRSformer",
)

SPA_DATA = Layout(
    name="spa-data",
    summary="Real rain from videos, 638,492 pairs to train on and 1,000 to test.",
    parts={
        "train": Part(("train/SPA-Data", "SPA-Data/train", "train", "SPA-Data", ""), (638_492,)),
        "test": Part(
            ("test/SPA-Data", "SPA-Data/test", "Testing/real_test_1000", "test/small", "real_test_1000", "test"),
            (1_000,),
        ),
    },
    hazy=(*_RAINY, "real_world", "Training_Enhanced_rain_jpg"),
    clear=(*_DRY, "real_world_gt"),
    rules=(SAME_NAME, Rule("before-dash", _before_dash, shared=True), Rule("rain-norain", _no_rain)),
    paper="Wang et al., Spatial Attentive Single-Image Deraining with a High Quality Real Rain Dataset, CVPR 2019",
    source="https://github.com/stevewongv/SPANet",
)
