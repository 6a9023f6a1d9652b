"""A map computed in bands is the map computed at once."""

from __future__ import annotations

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from unhaze.models.layers import bands  # noqa: E402
from unhaze.models.layers.bands import in_bands, row_bands  # noqa: E402
from unhaze.models.networks import create_network  # noqa: E402

SMALL = {
    "dcmpnet-official": {},
    "dehazeformer-t": {"num_blocks": (2, 2, 2, 1, 1)},
    "dehazeformer-m": {"num_blocks": (2, 2, 2, 1, 1)},
    "drsformer-mefc": {"num_blocks": (1, 1, 1, 1)},
    "mb_taylorformer-b": {"num_blocks": (1, 1, 1, 1), "num_branches": (1, 1, 1, 1)},
    "selfpromer-lq": {"num_blocks": 1, "codebook": 64},
    "sgdnet-base": {"num_blocks": (1, 1, 1, 1), "decoder_blocks": 1},
}


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_in_bands(monkeypatch, order):
    monkeypatch.setattr(bands, "BAND", 1)
    conv = torch.nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect").double()
    x = torch.rand(2, 3, 50, 7, dtype=torch.double).to(memory_format=order)
    with torch.no_grad():
        assert len(row_bands(x, 5, halo=1)) > 3
        out = in_bands(conv, x, channels=5, halo=1)
        torch.testing.assert_close(out, conv(x), rtol=1e-12, atol=1e-12)
        wrong = in_bands(conv, x, channels=5, halo=0)
    assert (wrong - conv(x)).abs().max() > 1e-3


def test_bands_cover_every_row_once(monkeypatch):
    monkeypatch.setattr(bands, "BAND", 1)
    with torch.no_grad():
        for height in range(1, 80):
            edges = row_bands(torch.rand(1, 1, height, 3), 1, multiple=8, start=-4)
            assert edges[0][0] == 0
            assert edges[-1][1] == height
            assert all(a[1] == b[0] and a[1] % 8 == 4 for a, b in pairwise(edges))


def test_one_band_while_gradients_are_recorded(monkeypatch):
    monkeypatch.setattr(bands, "BAND", 1)
    assert row_bands(torch.rand(1, 1, 500, 3), 1) == [(0, 500)]


@pytest.mark.parametrize("name", SMALL)
def test_a_network_in_bands(monkeypatch, name):
    torch.manual_seed(0)
    network = create_network(name, **SMALL[name]).eval()
    image = torch.rand(1, 3, 136, 32)
    with torch.no_grad():
        whole = network.restore(image).image
        monkeypatch.setattr(bands, "BAND", 1)
        parts = network.restore(image).image
    assert (whole - image).abs().max() > 1e-3
    # a near tie in a choice of the largest entries may fall either way in float32
    limit = 1e-2 if name.startswith("drsformer") else 1e-5
    assert (parts - whole).norm() <= limit * (whole - image).norm()
