from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhaze.distributed.simulation import Machine, Workload, simulate
from unhaze.errors import UsageError

WORK = Workload(decode=0.02, dehaze=0.05, encode=0.03, read=1_000_000, written=500_000, requests=3)
NODE = Machine(cores=10, efficiency=1.0, network=1e9, price=3.6, busy=1.0)


def test_by_hand():
    fleet = simulate(WORK, NODE, 864_000 * 100)
    assert fleet.per_node == pytest.approx(100)  # 10 cores, 0.1 s each
    assert (fleet.nodes, fleet.bottleneck, fleet.feasible) == (10, "processor", True)
    assert fleet.per_million == pytest.approx(10)  # 10,000 s of a node at 0.001 a second
    assert fleet.camera_year == pytest.approx(525_600 * 10 / 1e6)


def test_the_bottleneck_moves():
    assert simulate(WORK, replace(NODE, network=5e7), 1e6).bottleneck == "network"
    assert simulate(WORK, replace(NODE, network=5e7), 1e6).per_node == pytest.approx(50)
    slow = simulate(WORK, replace(NODE, storage_requests=3500), 1e9)
    assert (slow.bottleneck, slow.feasible) == ("storage", False)


@given(st.floats(1e3, 1e10), st.integers(1, 256), st.floats(1e6, 1e11))
def test_the_fleet_is_enough_and_no_larger(per_day, cores, network):
    fleet = simulate(WORK, replace(NODE, cores=cores, network=network), per_day)
    capacity = fleet.per_node * 86_400
    assert fleet.nodes * capacity >= per_day * (1 - 1e-9)
    assert (fleet.nodes - 1) * capacity < per_day * (1 + 1e-9)


def test_nonsense_is_refused():
    with pytest.raises(UsageError, match="more than 0"):
        simulate(replace(WORK, read=0), NODE, 1e6)
