"""Many machines: pictures dehazed by a cluster of Ray, and what a fleet of any size costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.distributed.ray import RayBatch, dehaze_dataset
    from unhaze.distributed.simulation import Machine, Workload, simulate

__all__ = ["Machine", "RayBatch", "Workload", "dehaze_dataset", "simulate"]

__getattr__ = loads_on_use(
    __name__,
    {
        "RayBatch": "unhaze.distributed.ray",
        "dehaze_dataset": "unhaze.distributed.ray",
        "Machine": "unhaze.distributed.simulation",
        "Workload": "unhaze.distributed.simulation",
        "simulate": "unhaze.distributed.simulation",
    },
)
