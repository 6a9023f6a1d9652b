"""Shared blocks against slow and obvious references."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from unhaze.models.layers.channel_attention import apply_channel_attention, channel_similarity  # noqa: E402
from unhaze.models.layers.content_attention import ContentAttention  # noqa: E402
from unhaze.models.layers.deform import deform_conv2d  # noqa: E402
from unhaze.models.layers.detail_conv import DetailConv, fold_detail_convs  # noqa: E402
from unhaze.models.layers.feature_attention import AttentionBlock  # noqa: E402
from unhaze.models.layers.msbdn import BackProjection, ResidualBlock  # noqa: E402
from unhaze.models.layers.norms import ChannelNorm, normalised  # noqa: E402
from unhaze.models.layers.padding import pad_to_multiple  # noqa: E402
from unhaze.models.layers.window_transformer import RescaleNorm, SkipMerge, WindowMixer  # noqa: E402


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def scramble(module):
    """Every parameter random, also those that start at zero or one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    return module.double()


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    multiple=st.integers(1, 9),
    minimum=st.integers(1, 40),
    mode=st.sampled_from(["reflect", "replicate"]),
)
def test_padding_equals_numpy(height, width, multiple, minimum, mode):
    image = torch.arange(2.0 * height * width).view(1, 2, height, width)
    padded = pad_to_multiple(image, multiple, minimum, mode)
    tall, wide = padded.shape[-2:]
    for side, before in ((tall, height), (wide, width)):
        assert side % multiple == 0
        assert side >= max(minimum, before)
        assert side - multiple < max(minimum, before)
    spread = ((0, 0), (0, 0), (0, tall - height), (0, wide - width))
    expected = np.pad(image.numpy(), spread, mode={"reflect": "reflect", "replicate": "edge"}[mode])
    np.testing.assert_array_equal(padded.numpy(), expected)


def deform_by_loop(x, offset, weight, bias, mask, groups):
    x, offset, weight, mask = (t.numpy() for t in (x, offset, weight, mask))
    batch, channels, height, width = x.shape
    outs, size = weight.shape[0], weight.shape[-1]
    offset_groups = offset.shape[1] // (2 * size * size)
    out = np.zeros((batch, outs, height, width)) + bias.numpy()[None, :, None, None]

    def value(b, c, i, j):
        return x[b, c, i, j] if 0 <= i < height and 0 <= j < width else 0.0

    for b, o, i, j in np.ndindex(out.shape):
        first = o // (outs // groups) * (channels // groups)
        for c in range(channels // groups):
            group = (first + c) // (channels // offset_groups)
            for tap in range(size * size):
                k = group * size * size + tap
                down = i + tap // size - size // 2 + offset[b, 2 * k, i, j]
                across = j + tap % size - size // 2 + offset[b, 2 * k + 1, i, j]
                top, left = int(np.floor(down)), int(np.floor(across))
                share = [(1 - (down - top)), down - top], [(1 - (across - left)), across - left]
                seen = sum(
                    share[0][a] * share[1][e] * value(b, first + c, top + a, left + e) for a in (0, 1) for e in (0, 1)
                )
                out[b, o, i, j] += weight[o, c, tap // size, tap % size] * seen * mask[b, k, i, j]
    return out


@pytest.mark.parametrize(("groups", "offset_groups", "outs"), [(1, 1, 3), (4, 1, 4), (2, 2, 6)])
def test_deformable_convolution_equals_its_definition(groups, offset_groups, outs):
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    offset = 3 * torch.randn(2, 18 * offset_groups, 5, 6, dtype=torch.float64)
    mask = torch.rand(2, 9 * offset_groups, 5, 6, dtype=torch.float64)
    weight = torch.randn(outs, 4 // groups, 3, 3, dtype=torch.float64)
    bias = torch.randn(outs, dtype=torch.float64)
    out = deform_conv2d(x, offset, weight, bias, mask, groups=groups)
    np.testing.assert_allclose(out.numpy(), deform_by_loop(x, offset, weight, bias, mask, groups), atol=1e-12)
    still = deform_conv2d(x, torch.zeros_like(offset), weight, groups=groups)
    torch.testing.assert_close(still, F.conv2d(x, weight, padding=1, groups=groups))


def test_deformable_convolution_has_gradients():
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    offset = (0.3 + 0.4 * torch.rand(1, 18, 4, 4, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: deform_conv2d(*a, groups=2), (x, offset, weight))


@pytest.mark.parametrize("centred", [True, False])
def test_channel_norm_equals_layer_norm(centred):
    norm = scramble(ChannelNorm(6, centred=centred))
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64) + 2
    if centred:
        expected = F.layer_norm(x.permute(0, 2, 3, 1), (6,), norm.weight, norm.bias)
    else:
        rows = x.permute(0, 2, 3, 1)
        expected = rows / torch.sqrt(rows.var(-1, keepdim=True, unbiased=False) + 1e-5) * norm.weight
    torch.testing.assert_close(norm(x), expected.permute(0, 3, 1, 2))


def test_rescale_norm_takes_away_what_it_returns():
    norm = RescaleNorm(3).double()
    with torch.no_grad():
        norm.to_scale.weight.fill_(1)
        norm.to_scale.bias.zero_()
        norm.to_shift.weight.fill_(1)
    x = 3 * torch.randn(2, 3, 5, 4, dtype=torch.float64) + 7
    (factor, offset), (scale, shift) = norm(x)
    normed = factor * x + offset
    torch.testing.assert_close(normed.mean((1, 2, 3)), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(normed * scale + shift, x)


def attention_by_loop(mixer, x):
    """Attention of every window of a mirrored map, pixel by pixel pair."""
    side, heads, shift = mixer.window, mixer.num_heads, mixer.shift
    channels, height, width = x.shape[1:]
    mirror = lambda i, n: abs(i) if i < n else 2 * (n - 1) - i  # noqa: E731
    tall, wide = (-(-(n + shift) // side) * side for n in (height, width))
    rows = [mirror(i - shift, height) for i in range(tall)]
    columns = [mirror(j - shift, width) for j in range(wide)]
    qkv = torch.cat((mixer.query_key(x), mixer.value(x)), 1)[0][:, rows][:, :, columns]
    query, key, value = qkv.view(3, heads, channels // heads, tall, wide)
    at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).view(-1, 2)
    apart = (at[:, None] - at[None]).double()
    bias = mixer.bias(apart.sign() * (1 + apart.abs()).log()).permute(2, 0, 1)
    out = torch.empty_like(value)
    for top in range(0, tall, side):
        for left in range(0, wide, side):
            cut = (..., slice(top, top + side), slice(left, left + side))
            q, k, v = (part[cut].flatten(2) for part in (query, key, value))
            weights = (q.transpose(1, 2) @ k * (channels // heads) ** -0.5 + bias).softmax(-1)
            out[cut] = (v @ weights.transpose(1, 2)).unflatten(2, (side, side))
    attended = out.flatten(0, 1)[:, shift : shift + height, shift : shift + width]
    return mixer.project(mixer.conv(mixer.value(x)) + attended)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (9, 6)])
@pytest.mark.parametrize("conv", ["dense", "depthwise"])
def test_window_attention_equals_a_loop(shift, size, conv):
    mixer = scramble(WindowMixer(6, 2, 4, shift, attention=True, conv=conv))
    mixer.offsets, mixer.offset_index = (
        WindowMixer(6, 2, 4, shift, attention=True, conv=conv).double()._buffers.values()
    )
    x = torch.randn(1, 6, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), attention_by_loop(mixer, x))


def test_skip_merge_is_a_weighted_sum():
    merge = scramble(SkipMerge(8))
    a, b = torch.randn(2, 2, 8, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        same = merge(a, a)
    torch.testing.assert_close(same, 2 * a)  # weights add up to 1, plus the first map
    assert merge(a, b).shape == a.shape


def test_detail_convolution_is_the_sum_of_its_five_parts():
    conv = scramble(DetailConv(3))
    x = torch.randn(1, 3, 6, 7, dtype=torch.float64)
    padded = F.pad(x, (1, 1, 1, 1))
    out = torch.zeros_like(x) + sum(layer.bias for layer in conv.children()).view(1, -1, 1, 1)
    turned = {(0, 0): (1, 0), (0, 1): (0, 0), (0, 2): (0, 1), (1, 0): (2, 0), (1, 1): (1, 1), (1, 2): (0, 2)}
    turned |= {(2, 0): (2, 1), (2, 1): (2, 2), (2, 2): (1, 2)}
    for i in range(3):
        for j in range(3):
            seen = padded[..., i : i + 6, j : j + 7]
            mix = lambda kernel, seen=seen: torch.einsum("oc,bchw->bohw", kernel, seen)  # noqa: E731
            out += mix(conv.plain.weight[..., i, j])
            out += torch.einsum("oc,bchw->bohw", conv.central.weight[..., i, j], seen - x)
            out += mix(conv.angular.weight[..., i, j] - conv.angular.weight[(..., *turned[i, j])])
            if j != 1:
                out += (1 if j == 0 else -1) * mix(conv.horizontal.weight[..., i])
            if i != 1:
                out += (1 if i == 0 else -1) * mix(conv.vertical.weight[..., j])
    torch.testing.assert_close(conv(x), out)
    network = torch.nn.Sequential(conv)
    fold_detail_convs(network)
    assert type(network[0]) is torch.nn.Conv2d
    torch.testing.assert_close(network(x), out)


def test_content_attention_equals_the_grouped_convolution():
    attention = scramble(ContentAttention(8, reduction=4))
    x = torch.randn(2, 8, 9, 8, dtype=torch.float64)
    guide = attention.excite(F.relu(attention.squeeze(x.mean((2, 3), keepdim=True)))) + attention.spatial(
        torch.stack((x.mean(1), x.amax(1)), 1)
    )
    shuffled = F.pad(torch.stack((x, guide), 2).flatten(1, 2), (3, 3, 3, 3), "reflect")
    torch.testing.assert_close(attention(x), attention.pixel(shuffled).sigmoid())


def test_channel_attention_equals_the_long_way():
    query, key = torch.randn(2, 2, 3, 4, 20, dtype=torch.float64)
    value = torch.randn(2, 12, 4, 5, dtype=torch.float64)
    similarity = channel_similarity(query, key)
    torch.testing.assert_close(similarity, F.normalize(query, dim=3) @ F.normalize(key, dim=3).transpose(2, 3))
    project = torch.nn.Conv2d(12, 5, 1).double()
    mixed = (similarity @ value.flatten(2).unflatten(1, (3, 4))).flatten(1, 2).unflatten(2, (4, 5))
    torch.testing.assert_close(apply_channel_attention(similarity, value, project.weight, project.bias), project(mixed))


def test_the_attention_block_weighs_its_change_per_channel_then_per_pixel():
    block, x = scramble(AttentionBlock(16)), torch.randn(2, 16, 5, 4).double()
    change = block.conv2(F.relu(block.conv1(x)) + x)
    rows = change.mean((2, 3))
    of_channel = F.linear(rows, block.channel.squeeze.weight[..., 0, 0], block.channel.squeeze.bias).relu()
    of_channel = F.linear(of_channel, block.channel.excite.weight[..., 0, 0], block.channel.excite.bias).sigmoid()
    change = change * of_channel[..., None, None]
    pixels = change.permute(0, 2, 3, 1)
    of_pixel = F.linear(pixels, block.pixel.squeeze.weight[..., 0, 0], block.pixel.squeeze.bias).relu()
    of_pixel = F.linear(of_pixel, block.pixel.excite.weight[..., 0, 0], block.pixel.excite.bias).sigmoid()
    torch.testing.assert_close(block(x), x + (pixels * of_pixel).permute(0, 3, 1, 2))


@pytest.mark.parametrize("detail", [True, False, None])
def test_a_tenth_of_what_a_residual_block_finds_is_added(detail):
    block, x = scramble(ResidualBlock(4, detail=detail)), torch.randn(1, 4, 6, 5).double()
    y = block.conv1(x)
    y = block.conv2(y.clamp(min=0) + block.relu.weight * y.clamp(max=0))
    torch.testing.assert_close(block(x), x + 0.1 * y)


def test_back_projection_corrects_by_each_earlier_map_the_farthest_first():
    block, x = scramble(BackProjection(16, 2, first="up")), torch.randn(1, 16, 4, 3).double()
    far, near = torch.randn(1, 4, 16, 12).double(), torch.randn(1, 8, 8, 6).double()
    (up0, up1), (down0, down1) = block.up, block.down
    expected = x + down0(down1(up1(up0(x)) - far))
    expected = expected + down0(up0(expected) - near)
    torch.testing.assert_close(block(x, (far, near)), expected)


def test_back_projection_leaves_a_map_that_agrees_with_the_earlier_one():
    block, x = scramble(BackProjection(8, 1, first="down")), torch.randn(1, 8, 6, 4).double()
    with torch.no_grad():
        block.up[0][0].bias.zero_()
    torch.testing.assert_close(block(x, (block.down[0](x),)), x)


def test_plain_normalisation_is_that_of_instances_and_takes_a_single_pixel():
    x = 3 + torch.randn(2, 3, 4, 5).double()
    torch.testing.assert_close(normalised(x), F.instance_norm(x))
    assert not normalised(x[..., :1, :1]).any()
