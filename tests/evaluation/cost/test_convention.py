import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from unhaze.evaluation.cost.convention import count_by_convention  # noqa: E402
from unhaze.models.base import Model  # noqa: E402
from unhaze.models.layers.stage import run_block  # noqa: E402
from unhaze.models.networks import create_network  # noqa: E402
from unhaze.types import Restored  # noqa: E402


# P2, Table 1, whose numbers are cut, not rounded, and what the counter says of the official code; the last row is not
# in the paper
@pytest.mark.parametrize(
    ("name", "parameters", "macs", "counted"),
    [
        ("mb_taylorformer-b", "2.66", "24.36", (2.6628, 24.362)),
        ("dehazeformer-m", "4.63", "36.02", (4.6335, 36.028)),
        ("oknet-base", "4.42", "30.28", (4.4274, 30.280)),
        ("coa-deploy_rb8", "3.75", "3.06", (3.7521, 3.068)),
        ("sgdnet-base", "10.979", "40.54", (10.9793, 40.543)),
        ("coa-deploy_rb1", "1.68", "2.66", (1.6859, 2.663)),
    ],
)
def test_printed_costs_come_out(name, parameters, macs, counted):
    with torch.device("meta"):
        count = count_by_convention(create_network(name).eval())
    assert f"{count.parameters / 1e6:.6f}".startswith(parameters)
    assert f"{count.macs / 1e9:.6f}".startswith(macs)
    assert count.parameters / 1e6 == pytest.approx(counted[0], abs=0.5001e-4)
    assert count.macs / 1e9 == pytest.approx(counted[1], abs=0.5001e-3)


class Parts(Model):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.never = nn.Conv2d(3, 3, 1)
        self.bare = nn.Parameter(torch.zeros(7))

    def forward(self, image, run=run_block):
        self.layers(image)
        return Restored(image + self.bare.sum())


@pytest.mark.parametrize(
    ("layer", "parameters", "macs"),
    [
        (lambda: nn.Conv2d(3, 6, 3, padding=1), 168, 6 * 8 * 10 * 27),
        (lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3, stride=2), 60, 6 * 4 * 5 * 9),
        (lambda: nn.ConvTranspose2d(3, 5, 2, stride=2), 65, 5 * 16 * 20 * 12),
        (lambda: nn.BatchNorm2d(3), 6, 4 * 240),
        (lambda: nn.InstanceNorm2d(3), 0, 2 * 240),
        (lambda: nn.ReLU(), 0, 0),
        (lambda: nn.PReLU(), 1, 240),
        (lambda: nn.Softmax(dim=1), 0, 80 * 8),
        (lambda: nn.AvgPool2d(2), 0, 60),
        (lambda: nn.AdaptiveAvgPool2d(1), 0, 81 * 3),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), 0, 11 * 960),
        (lambda: nn.Linear(10, 4), 44, 24 * 40),
        (lambda: nn.Sigmoid(), 0, 0),
    ],
)
def test_rules(layer, parameters, macs):
    with torch.device("meta"):
        network = Parts(layer()).eval()
    count = count_by_convention(network, 8, 10)
    assert (count.parameters, count.macs) == (parameters, macs)


def test_counting_leaves_no_trace():
    with torch.device("meta"):
        network = Parts(nn.Conv2d(3, 3, 1))
    first = count_by_convention(network)
    assert not any(module._forward_hooks for module in network.modules())
    assert count_by_convention(network) == first
