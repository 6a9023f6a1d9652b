"""The field network on its own."""

import pytest
import torch

from unhaze.backbones.field import FieldNetwork, _Attention, count_parameters


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FieldNetwork().eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 160), (288, 384)])
def test_shapes_and_ranges(network, size):
    height, width = size
    with torch.no_grad():
        output = network(torch.rand(2, 3, height, width))
    assert (
        output.optical_depth.shape
        == output.log_depth.shape
        == output.confidence.shape
        == (2, 1, height // 2, width // 2)
    )
    assert output.airlight.shape == (2, 3)
    assert output.optical_depth.min() >= 0
    assert 0 < output.airlight.min() <= output.airlight.max() < 1


def test_it_is_small(network):
    from torch.utils.flop_counter import FlopCounterMode

    assert count_parameters(network) * 2 < 3_900_000  # stored as float16
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 288, 384))
    assert counter.get_total_flops() / 2 < 1.5e9


def test_every_parameter_learns():
    torch.manual_seed(1)
    network = FieldNetwork((4, 4, 8, 8, 8), (1, 1, 1, 1), (1, 1), 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for _ in range(2):  # layers behind one that begins at zero learn from the second step on
        optimizer.zero_grad()
        sum((part - 0.3).square().mean() for part in network(torch.rand(2, 3, 64, 64))).backward()
        optimizer.step()
    silent = [
        name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0
    ]
    assert not silent


def test_the_whole_picture_matters(network):
    image = torch.full((1, 3, 128, 256), 0.4)
    other = image.clone()
    other[..., -32:] = 0.9
    with torch.no_grad():
        near, far = network(image).optical_depth[..., 0], network(other).optical_depth[..., 0]
    assert not torch.equal(near, far)


def test_batches_are_independent(network):
    images = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        together = network(images).optical_depth
        alone = torch.cat([network(image[None]).optical_depth for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_attention_is_that_of_torch():
    torch.manual_seed(2)
    own = _Attention(8, heads=2)
    torch.nn.init.normal_(own.norm.weight)
    reference = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    reference.in_proj_weight.data, reference.in_proj_bias.data = own.mix.weight.data, own.mix.bias.data
    reference.out_proj.weight.data, reference.out_proj.bias.data = own.out.weight.data, own.out.bias.data
    x = torch.randn(3, 8, 4, 5)
    tokens = own.norm(x.flatten(2).transpose(1, 2))
    expected = x + reference(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(own(x), expected)
    assert not torch.allclose(own(x), x, atol=1e-3)
