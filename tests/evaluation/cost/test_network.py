import sys

import pytest

torch = pytest.importorskip("torch")

from unhaze.evaluation.cost.network import count_macs, measure_cost, time_network  # noqa: E402
from unhaze.models.networks import create_network  # noqa: E402


def test_a_network_of_convolutions_alone():
    cost = measure_cost("aodnet-base", 40, 30, repeats=0)
    weights = 1761 - 15  # all but the biases
    assert cost.parameters == cost.convention_parameters == 1761
    assert cost.macs == weights * 40 * 30
    assert cost.convention_macs == weights * 224 * 224
    assert cost.timing is None


# operations of the official code at 256x256, in units of 1e9, where ours computes the same products
@pytest.mark.parametrize(("name", "flops"), [("deanet-deploy", 64.45), ("dnmgdt-base", 22.05), ("sadnet-base", 95.32)])
def test_everything_counted(name, flops):
    with torch.device("meta"):
        network = create_network(name).eval()
    assert 2 * count_macs(network, 256, 256) / 1e9 == pytest.approx(flops, abs=0.0051)


def test_time_and_memory():
    timing = time_network(create_network("aodnet-base").eval(), 512, 512, repeats=2)
    assert timing.seconds > 0
    if sys.platform == "linux" and timing.peak_memory is not None:
        one_map = 3 * 512 * 512 * 4
        assert one_map < timing.peak_memory < 60 * one_map
