"""A network that is built to be filled is the one that is built as usual, but for the values that are put in."""

import pytest

torch = pytest.importorskip("torch")

from tests.networks import REDUCED, smallest_of_each_family  # noqa: E402
from torch import nn  # noqa: E402

from unhaze.models.checkpoints.unfilled import build_unfilled, with_room  # noqa: E402
from unhaze.models.networks import create_network, list_networks  # noqa: E402


@pytest.mark.parametrize("name", list_networks())
def test_every_network_is_built_without_values(name):
    """And whatever no file holds is there."""
    network = build_unfilled(lambda: create_network(name))
    assert all(parameter.is_meta for parameter in network.parameters() if parameter.numel() > 100_000)
    network = with_room(network)
    assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


@pytest.mark.parametrize("name", smallest_of_each_family())
def test_it_does_what_one_built_as_usual_does(name):
    options = REDUCED.get(name.rsplit("-", 1)[0], {})
    usual = create_network(name, **options).eval()
    network = with_room(build_unfilled(lambda: create_network(name, **options))).eval()
    state = usual.state_dict()
    assert {key: (x.shape, x.dtype) for key, x in network.state_dict().items()} == {
        key: (x.shape, x.dtype) for key, x in state.items()
    }
    assert [x.requires_grad for x in network.parameters()] == [x.requires_grad for x in usual.parameters()]
    network.load_state_dict(state)
    for (key, theirs), ours in zip(usual.named_buffers(), network.buffers(), strict=True):
        assert torch.equal(ours, theirs), key
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network.restore(image).image, usual.restore(image).image)


class NeedsValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = float(torch.empty(3).fill_(2).sum())


class KeepsATable(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3).fill_(1))
        self.register_buffer("table", torch.empty(2).fill_(5), persistent=False)


class KeepsATensor(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.empty(2).fill_(5)


def test_what_needs_values_of_its_own_has_them():
    assert build_unfilled(NeedsValues).scale == 6
    for kind in (KeepsATable, KeepsATensor):
        assert build_unfilled(kind).table.tolist() == [5, 5]


def test_nothing_is_drawn_from_the_random_numbers_of_the_caller():
    before = torch.get_rng_state()
    build_unfilled(lambda: create_network("aodnet-base"))
    assert torch.equal(torch.get_rng_state(), before)
