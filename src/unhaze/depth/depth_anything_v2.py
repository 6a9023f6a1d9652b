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


def _origin(size: str, commercial: bool) -> Origin:
    name, repository = f"depth-anything-v2-{size}", f"depth-anything/Depth-Anything-V2-{size.title()}"
    return Origin(
        name=name,
        size=size,
        weights=f"{repository}-hf",
        address=f"https://huggingface.co/{repository}/resolve/main/depth_anything_v2_vit{size[0]}.pth",
        license=depth_info(name).license,
        commercial=commercial,
        official_size=shortest_518,
    )


depth_anything_v2_small = partial(build, _origin("small", commercial=True))  # 24.8 M parameters
depth_anything_v2_base = partial(build, _origin("base", commercial=False))  # 97.5 M
depth_anything_v2_large = partial(build, _origin("large", commercial=False))  # 335.3 M
