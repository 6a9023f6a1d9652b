"""Group normalisation is exact in every layout, whatever the mean."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from unhaze.models.layers.norms import GroupNorm, InstanceNorm, group_norm  # noqa: E402


def maps(batch, channels, height, width, mean, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = 0.5 * torch.randn(batch, channels, height, width, generator=generator)
    return x + mean * torch.randn(1, channels, 1, 1, generator=generator)


def layouts(x):
    beside = torch.cat((x, x), 1).contiguous(memory_format=torch.channels_last)
    return {
        "contiguous": x.contiguous(),
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "part of channels last": beside[:, : x.shape[1]],
        "columns first": x.transpose(2, 3).contiguous().transpose(2, 3),
    }


@pytest.mark.parametrize("groups", [1, 4, 16])
@pytest.mark.parametrize("layout", layouts(torch.zeros(1, 2, 2, 2)))
@torch.no_grad()
def test_no_layout_loses_digits(groups, layout):
    """torch's own is wrong by 0.01 here on channels-last maps."""
    x = maps(2, 16, 150, 160, mean=10)
    weight, bias = torch.linspace(0.5, 2, 16), torch.linspace(-1, 1, 16)
    expected = F.group_norm(x.double(), groups, weight.double(), bias.double())
    normed = group_norm(layouts(x)[layout], groups, weight, bias)
    assert normed.dtype == torch.float32
    torch.testing.assert_close(normed.double(), expected, rtol=0, atol=2e-5)


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    per_group=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    affine=st.booleans(),
    band=st.sampled_from([1, 64, 1 << 18]),
)
@torch.no_grad()
def test_equals_torch_in_float64(batch, groups, per_group, height, width, affine, band):
    from unhaze.models.layers import norms

    x = maps(batch, groups * per_group, height, width, mean=2).double()
    parameters = [torch.randn(groups * per_group, dtype=torch.float64) if affine else None for _ in range(2)]
    before, norms._BAND = norms._BAND, band
    try:
        normed = group_norm(x.contiguous(memory_format=torch.channels_last), groups, *parameters)
    finally:
        norms._BAND = before
    torch.testing.assert_close(normed, torch.group_norm(x, groups, *parameters), rtol=1e-9, atol=1e-9)


def test_the_layout_stays():
    x = maps(1, 6, 8, 9, mean=1).contiguous(memory_format=torch.channels_last)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert group_norm(x, 3).is_contiguous(memory_format=torch.channels_last)
            assert group_norm(x.contiguous(), 3).is_contiguous()


def test_gradients_are_those_of_torch():
    x = maps(2, 6, 5, 4, mean=3).double()
    norm = GroupNorm(3, 6).double()
    gradients = []
    for each in (x, x.contiguous(memory_format=torch.channels_last)):
        leaf = each.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        norm(leaf).pow(3).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_half_precision_keeps_its_type_and_float32_sums():
    x = maps(1, 4, 60, 70, mean=8).bfloat16().contiguous(memory_format=torch.channels_last)
    normed = InstanceNorm(4).bfloat16()(x)
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed.double(), F.instance_norm(x.double()), rtol=1e-2, atol=1e-2)
