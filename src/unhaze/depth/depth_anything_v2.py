"""Depth Anything V2: relative inverse depth of any picture, in three sizes (DAv2-S, -M and -L in P2, Table 8).

Paper: Yang, Kang, Huang, Zhao, Xu, Feng, Zhao, "Depth Anything V2", NeurIPS 2024.
Official code: DepthAnything/Depth-Anything-V2 at a561b84 (Apache-2.0). Weights: small Apache-2.0; base and large
CC-BY-NC-4.0, not for commercial use.
Deviations: image size and resizing, see :class:`~unhaze.depth._depth_anything.DepthAnything`; an option gives the
official ones.
"""

from __future__ import annotations

from functools import partial

from unhaze.depth import depth_info
from unhaze.depth._depth_anything import Origin, build, shortest_518

__all__ = ["depth_anything_v2_base", "depth_anything_v2_large", "depth_anything_v2_small"]


_REPOSITORY = "depth-anything/Depth-Anything-V2-"

depth_anything_v2_small, depth_anything_v2_base, depth_anything_v2_large = (  # 24.8, 97.5 and 335.3 M parameters
    partial(
        build,
        Origin(
            name=f"depth-anything-v2-{size}",
            size=size,
            weights=f"{_REPOSITORY}{size.title()}-hf",
            address=f"https://huggingface.co/{_REPOSITORY}{size.title()}/resolve/main/"
            f"depth_anything_v2_vit{size[0]}.pth",
            license=depth_info(f"depth-anything-v2-{size}").license,
            commercial=size == "small",
            official_size=shortest_518,
        ),
    )
    for size in ("small", "base", "large")
)
