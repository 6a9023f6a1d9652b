"""Distill-Any-Depth: the networks of Depth Anything V2, trained further by several teachers.

Rows "DSv2" of P2 ("Can Large Pretrained Depth Estimation Models Help With Image Dehazing?", Table 8) are read as this.

Paper: He, Guo, Li, Li, Cui, Zhang, "Distill Any Depth: Distillation Creates a Stronger Monocular Depth Estimator",
arXiv 2502.19204, 2025.
Official code: Westlake-AGI-Lab/Distill-Any-Depth (MIT). Weights: the authors state MIT in their repository and
Apache-2.0 on the hub. They started from those of Depth Anything V2, whose base and large are CC-BY-NC-4.0; whether base
and large may be used commercially is therefore not clear.
Deviations: image size and resizing, see :class:`~unhaze.depth._depth_anything.DepthAnything`. The official code
squeezes every image to 700 x 700, whatever its aspect ratio; ``preprocessing="official"`` does the same.
"""

from __future__ import annotations

from functools import partial

from unhaze.depth import depth_info
from unhaze.depth._depth_anything import Origin, build

__all__ = ["distill_any_depth_base", "distill_any_depth_large", "distill_any_depth_small"]

OFFICIAL_SIDE = 700  # [px]


def _square(height: int, width: int) -> tuple[int, int]:
    return OFFICIAL_SIDE, OFFICIAL_SIDE


_REPOSITORY = "xingyang1/Distill-Any-Depth"

distill_any_depth_small, distill_any_depth_base, distill_any_depth_large = (  # 24.8, 97.5 and 335.3 M parameters
    partial(
        build,
        Origin(
            name=f"distill-any-depth-{size}",
            size=size,
            weights=f"{_REPOSITORY}/{size}/model.safetensors",
            address=f"https://huggingface.co/{_REPOSITORY}/resolve/main/{size}/model.safetensors",
            license=depth_info(f"distill-any-depth-{size}").license,
            commercial=True if size == "small" else None,  # of the others it is not clear
            official_size=_square,
        ),
    )
    for size in ("small", "base", "large")
)
