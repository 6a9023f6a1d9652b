"""Many machines: what a fleet of any size costs, and what it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.distributed.simulation import Machine, Workload, simulate

__all__ = ["Machine", "Workload", "simulate"]

__getattr__ = loads_on_use(
    __name__,
    {
        "Machine": "unhaze.distributed.simulation",
        "Workload": "unhaze.distributed.simulation",
        "simulate": "unhaze.distributed.simulation",
    },
)
