"""What a fleet costs and where it waits, from figures that were measured on one machine.

Each picture is read from storage over the network, decoded and dehazed and encoded on processors, and written back. A
node is as fast as the slowest of these, since they overlap; a fleet is as many nodes as the pictures of a day need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from unhaze.errors import UsageError

__all__ = ["Fleet", "Machine", "Workload", "simulate"]

_DAY = 86_400  # [s]
_YEAR = 365 * _DAY  # [s]

Bottleneck = Literal["processor", "network", "storage"]


@dataclass(frozen=True, slots=True)
class Workload:
    """What has to be done.

    Attributes:
        decode, dehaze, encode: Processor time of a picture [core s], measured.
        read, written: Size of its file before and after [bytes].
        requests: Requests to the storage for a picture.
    """

    decode: float
    dehaze: float
    encode: float
    read: int
    written: int
    requests: int = 3

    @property
    def core_seconds(self) -> float:
        """Processor time of a picture [core s]."""
        return self.decode + self.dehaze + self.encode


@dataclass(frozen=True, slots=True)
class Machine:
    """A node and the storage it shares.

    Attributes:
        cores: Processor cores.
        efficiency: Speed of all cores together, over that of one times their number; measured.
        network: [bytes/s], each way.
        price: What an hour costs, in any currency.
        storage_requests: Requests that the storage serves for the whole fleet [1/s]; ``None`` for no limit.
        request_price: What a million requests cost.
        busy: Share of the time in which it works, between failures, starts and empty queues.
    """

    cores: int
    efficiency: float
    network: float
    price: float
    storage_requests: float | None = None
    request_price: float = 0.0
    busy: float = 0.85


@dataclass(frozen=True, slots=True)
class Fleet:
    """The answer.

    Attributes:
        per_node: Pictures that a node does in a second.
        bottleneck: What a node, or the fleet, waits for.
        nodes: How many are needed.
        per_million: Cost of a million pictures.
        camera_year: Cost of one camera for a year.
        feasible: Whether the storage keeps up with the fleet.
    """

    per_node: float
    bottleneck: Bottleneck
    nodes: int
    per_million: float
    camera_year: float
    feasible: bool


def simulate(work: Workload, machine: Machine, per_day: float, *, camera_interval: float = 60.0) -> Fleet:
    """How many nodes a number of pictures a day needs, what they cost, and what they wait for.

    Args:
        work: One picture.
        machine: One node.
        per_day: Pictures.
        camera_interval: Between two pictures of a camera [s].

    Raises:
        UsageError: A number is not more than 0.

    >>> work = Workload(decode=0.01, dehaze=0.04, encode=0.03, read=500_000, written=600_000)
    >>> simulate(work, Machine(cores=8, efficiency=0.9, network=1.25e8, price=0.4), 1e9).nodes
    152
    """
    numbers = (work.core_seconds, work.read, work.written, machine.cores, machine.efficiency, machine.network)
    if min(*numbers, machine.busy, per_day, camera_interval) <= 0:
        raise UsageError("Times, sizes, cores, speeds and counts must all be more than 0.")
    by_processor = machine.cores * machine.efficiency / work.core_seconds
    by_network = machine.network / max(work.read, work.written)  # both ways at once
    per_node = min(by_processor, by_network) * machine.busy
    nodes = math.ceil(per_day / _DAY / per_node)
    requests = per_day / _DAY * work.requests
    feasible = machine.storage_requests is None or requests <= machine.storage_requests
    bottleneck: Bottleneck = "storage" if not feasible else "network" if by_network < by_processor else "processor"
    each = machine.price / 3600 / per_node + work.requests * machine.request_price / 1e6
    return Fleet(per_node, bottleneck, nodes, each * 1e6, each * _YEAR / camera_interval, feasible)
