"""Parts of single networks against obvious references."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812

from unhaze.models.dcmpnet import DifferencePerceptron  # noqa: E402
from unhaze.models.gcanet import edge_strength  # noqa: E402
from unhaze.models.networks import create_network  # noqa: E402
from unhaze.models.oknet import large_depthwise  # noqa: E402
from unhaze.models.sadnet import Haar  # noqa: E402
from unhaze.models.sgdnet import rgb_to_ycbcr  # noqa: E402


@pytest.mark.parametrize("size", [(4, 5), (9, 30), (40, 21)])
@pytest.mark.parametrize("kernel", [5, 31])
def test_large_kernels_equal_a_convolution(size, kernel):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, *size, dtype=torch.float64), torch.randn(3, kernel, kernel, dtype=torch.float64)
    expected = F.conv2d(x, weight.unsqueeze(1), padding=kernel // 2, groups=3)
    torch.testing.assert_close(large_depthwise(x, weight), expected)


def test_edge_strength_by_hand():
    image = torch.zeros(1, 3, 3, 4)
    image[0, 1, 1, 2] = 12.0  # one bright green pixel: four differences at it, one at each neighbour
    expected = torch.zeros(3, 4)
    expected[1, 2] = 4.0
    expected[0, 2] = expected[2, 2] = expected[1, 1] = expected[1, 3] = 1.0
    torch.testing.assert_close(edge_strength(image)[0, 0], expected)


def test_haar_comes_back():
    haar = Haar(3)
    x = torch.rand(1, 3, 6, 8)
    bands = haar(x)
    assert bands.shape == (1, 3, 4, 3, 4)
    torch.testing.assert_close(bands[:, :, 0], 2 * F.avg_pool2d(x, 2))
    torch.testing.assert_close(haar.inverse(bands.flatten(1, 2)), x)
    assert not any(p.requires_grad for p in haar.parameters())


def test_ycbcr_equals_jfif():
    from PIL import Image

    rgb = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("YCbCr"), np.float32) / 255
    ours = rgb_to_ycbcr(torch.from_numpy(rgb / 255.0).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1.5 / 255)


@pytest.mark.parametrize("row", ["", "legm", "mfm", "msaam", "de"])
def test_rows_of_the_dcmpnet_ablation(row):
    """Each row of Table 2 adds one part to the row before it."""
    parts = ["legm", "mfm", "msaam", "de"]
    on = parts[: parts.index(row) + 1] if row else []
    network = create_network("dcmpnet-paper", **{part: part in on for part in parts}).eval()
    with torch.no_grad():
        restored = network.restore(torch.rand(1, 3, 32, 40))
    assert restored.image.shape == (1, 3, 32, 40)
    assert ("depth" in restored.aux) == ("de" in on)


@pytest.mark.parametrize("name", ["dcmpnet-official", "dcmpnet-paper"])
@pytest.mark.parametrize("width", [5, 8, 12])
def test_sizes_of_dcmpnet(name, width):
    """Stages say what the blocks really get, and heads divide every width."""
    network = create_network(
        name, width=width, num_blocks=(1, 2, 2, 1, 1), unet_width=6, depth_channels=(3, 4, 5, 6), depth_growth=2
    ).eval()
    seen = []

    def watch(stage, block, x):
        out = block(x)
        seen.append((stage, tuple(x.shape), tuple(out.shape)))
        return out

    with torch.no_grad():
        restored = network.restore(torch.rand(1, 3, 32, 40), watch)
    assert restored.image.shape == (1, 3, 32, 40)
    expected = [(stage.name, (1, stage.channels, 32 // stage.stride, 40 // stage.stride)) for stage in network.stages]
    assert [(stage, before) for stage, before, _ in seen] == expected
    assert [(stage, after) for stage, _, after in seen] == expected
    assert [stage.channels for stage in network.stages] == [width, 2 * width, 4 * width, 2 * width, width]
    heads = [block.mixer.num_heads for level in (network.enc2, network.mid) for block in level if block.mixer.attention]
    assert heads == {5: [2, 5], 8: [4, 4], 12: [4, 6]}[width]


def test_the_difference_perceptron_learns_where_the_difference_lies():
    torch.manual_seed(0)
    perceptron = DifferencePerceptron(3)
    difference = torch.zeros(2, 3, 12, 16)
    difference[:, :, 3:6, 4:9] = 0.5
    optimizer = torch.optim.Adam(perceptron.parameters(), lr=0.01)
    for _ in range(30):
        weights = perceptron(difference)
        assert weights.shape == (2, 1, 12, 16)
        torch.testing.assert_close(weights.mean((1, 2, 3)), torch.ones(2))
        optimizer.zero_grad()
        (-weights * difference.mean(1, keepdim=True)).mean().backward()
        optimizer.step()
    assert weights[:, :, 4, 6].min() > 4 * weights[:, :, 10, 12].max()
