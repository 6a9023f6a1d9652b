"""Filters that an image brings along, against taps moved one by one."""

import pytest

torch = pytest.importorskip("torch")

from unhaze.models.layers.dynamic_conv import dynamic_depthwise  # noqa: E402
from unhaze.models.layers.padding import mirror_edges  # noqa: E402


def mirrored(index, size):
    """The pixel that lies at ``index`` of an endlessly mirrored line of ``size`` pixels."""
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


@pytest.mark.parametrize("size", [(3, 3), (1, 3), (5, 1)])
@pytest.mark.parametrize("dilation", [1, 4])
def test_every_tap_is_where_it_belongs(size, dilation):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 6, generator=generator, dtype=torch.float64)
    kernel = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for row in range(4):
        for column in range(6):
            for down in range(size[0]):
                for across in range(size[1]):
                    seen_row = mirrored(row + dilation * (down - size[0] // 2), 4)
                    seen_column = mirrored(column + dilation * (across - size[1] // 2), 6)
                    expected[:, :, row, column] += kernel[:, :, down, across] * x[:, :, seen_row, seen_column]
    torch.testing.assert_close(dynamic_depthwise(x, kernel, dilation), expected)
    torch.testing.assert_close(dynamic_depthwise(x.to(memory_format=torch.channels_last), kernel, dilation), expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 7)])
def test_mirroring_a_small_map_goes_on_and_on(size):
    x = torch.arange(float(size[0] * size[1])).view(1, 1, *size)
    wide = mirror_edges(x, 5, 6)
    assert wide.shape[2:] == (size[0] + 10, size[1] + 12)
    for row in range(wide.shape[2]):
        for column in range(wide.shape[3]):
            source = x[
                0,
                0,
                mirrored(row - 5, size[0]) if size[0] > 1 else 0,
                mirrored(column - 6, size[1]) if size[1] > 1 else 0,
            ]
            assert wide[0, 0, row, column] == source
