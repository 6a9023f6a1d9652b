import pytest

torch = pytest.importorskip("torch")

from unhaze.models.networks import create_network  # noqa: E402
from unhaze.restore.engines.activations import PeakMeter, peak_activations, skeleton  # noqa: E402


def test_the_peak_is_what_lives_at_one_time():
    with PeakMeter() as meter:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b.view(10, 100) * 2  # a view takes nothing
        del b
        del c
        torch.zeros(500)
    assert meter.peak == 2 * 1000 * 4


def test_shapes_are_enough():
    network = create_network("gcanet-base").eval()
    meta = skeleton(network)
    assert all(parameter.device.type == "meta" for parameter in meta.parameters())
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
    with torch.no_grad(), PeakMeter() as meter:
        network.restore(torch.rand(1, 3, 64, 48).to(memory_format=torch.channels_last))
    assert peak_activations(meta, 64, 48) == pytest.approx(meter.peak, rel=0.1)


def test_four_times_the_pixels_take_four_times_the_memory():
    meta = skeleton(create_network("aodnet-base"))
    assert peak_activations(meta, 400, 400) == pytest.approx(4 * peak_activations(meta, 200, 200), rel=0.01)
