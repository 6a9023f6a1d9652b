import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.patience import HUNG

from unhaze.errors import UsageError
from unhaze.physics import (
    add_haze,
    depth_from_transmission,
    remove_haze,
    scale_optical_depth,
    transmission_from_depth,
)

SPACES = ["srgb", "linear"]
AIRLIGHT = np.array([0.8, 0.85, 0.9], np.float32)

pictures = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)),
    elements=st.floats(0, 1, width=32),
)


def test_known_values():
    assert transmission_from_depth(np.array([0.0, 100.0]), 0.01) == pytest.approx([1.0, np.exp(-1)])
    assert depth_from_transmission(np.array([1.0, np.exp(-2)]), 0.02) == pytest.approx([0.0, 100.0])
    assert add_haze(np.array([0.2]), 0.25, 0.8) == pytest.approx([0.2 * 0.25 + 0.8 * 0.75])
    assert remove_haze(np.array([0.65]), 0.25, 0.8) == pytest.approx([0.2])
    assert scale_optical_depth(np.array([0.25]), 0.5) == pytest.approx([0.5])


def test_linear_space_mixes_light_not_codes():
    # half white and half black light is 0.5 in light, which sRGB encodes as 0.7354
    assert add_haze(np.zeros(1), 0.5, 1.0, space="linear") == pytest.approx([0.735357], abs=1e-5)
    assert add_haze(np.zeros(1), 0.5, 1.0, space="srgb") == pytest.approx([0.5])


@pytest.mark.parametrize("space", SPACES)
@given(clear=pictures, transmission=st.floats(0.0625, 1, width=32))
def test_removing_undoes_adding(space, clear, transmission):
    share = np.full((*clear.shape[:2], 1), transmission, np.float32)
    hazy = add_haze(clear, share, AIRLIGHT, space=space)
    assert hazy.dtype == np.float32
    assert hazy.min() >= -1e-6
    assert hazy.max() <= 1 + 1e-6
    np.testing.assert_allclose(remove_haze(hazy, share, AIRLIGHT, space=space), clear, atol=1e-4)


@given(depth=st.floats(0, 1000), beta=st.floats(1e-4, 0.05))
def test_depth_round_trip(depth, beta):
    transmission = transmission_from_depth(np.array([depth]), beta)
    assert 0 < transmission[0] <= 1
    assert depth_from_transmission(transmission, beta) == pytest.approx([depth], rel=1e-9, abs=1e-9)


@given(st.floats(0.01, 1), st.floats(0, 3), st.floats(0, 3))
def test_more_strength_is_less_transmission(transmission, a, b):
    weak, strong = sorted((a, b))
    share = np.array([transmission])
    assert scale_optical_depth(share, strong) <= scale_optical_depth(share, weak)


def test_scaled_optical_depth_is_scaled_density():
    depth = np.linspace(0, 300, 7)
    scaled = scale_optical_depth(transmission_from_depth(depth, 0.01), 2.5)
    np.testing.assert_allclose(scaled, transmission_from_depth(depth, 0.025), rtol=1e-12)


@pytest.mark.parametrize("space", SPACES)
def test_ends(space):
    clear = np.random.default_rng(0).random((3, 4, 3), dtype=np.float32)
    np.testing.assert_allclose(add_haze(clear, 1.0, AIRLIGHT, space=space), clear, atol=1e-5)
    opaque = add_haze(clear, 0.0, AIRLIGHT, space=space)
    np.testing.assert_allclose(opaque, np.broadcast_to(AIRLIGHT, clear.shape), atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_haze_draws_every_value_towards_the_airlight(space):
    clear = np.linspace(0, 1, 33, dtype=np.float32)
    distance = [np.abs(add_haze(clear, share, 0.7, space=space) - 0.7) for share in (0.9, 0.5, 0.1)]
    assert np.all(distance[0] >= distance[1] - 1e-6)
    assert np.all(distance[1] >= distance[2] - 1e-6)


def test_minimum_bounds_the_amplification():
    hazy, share = np.array([0.7, 0.7]), np.array([0.001, 0.5])
    np.testing.assert_allclose(remove_haze(hazy, share, 0.8, minimum=0.1), [0.8 - 0.1 / 0.1, 0.8 - 0.1 / 0.5])


def test_airlight_may_differ_from_place_to_place():
    rng = np.random.default_rng(1)
    clear, light = rng.random((2, 4, 5, 3), dtype=np.float32)
    share = rng.uniform(0.2, 1, (4, 5, 1)).astype(np.float32)
    hazy = add_haze(clear, share, light)
    for place in np.ndindex(4, 5):
        np.testing.assert_allclose(
            hazy[place], clear[place] * share[place] + light[place] * (1 - share[place]), atol=1e-6
        )


@pytest.mark.parametrize("space", SPACES)
def test_torch_agrees_with_numpy(space):
    rng = np.random.default_rng(2)
    clear, share = rng.random((4, 5, 3), dtype=np.float32), rng.uniform(0.1, 1, (4, 5, 1)).astype(np.float32)
    batch, batch_share = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (clear, share))
    light = torch.from_numpy(AIRLIGHT)[None, :, None, None]
    for function in (add_haze, remove_haze):
        expected = function(clear, share, AIRLIGHT, space=space)
        result = function(batch, batch_share, light, space=space)
        assert result.dtype == torch.float32
        np.testing.assert_allclose(result[0].permute(1, 2, 0).numpy(), expected, atol=2e-5)
    clamped = remove_haze(batch, batch_share, light, space=space, minimum=0.5)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(clamped, remove_haze(clear, share, AIRLIGHT, space=space, minimum=0.5), atol=2e-5)
    np.testing.assert_allclose(scale_optical_depth(batch_share, 0.3)[0, 0], share[..., 0] ** 0.3, rtol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_gradients(space):
    generator = torch.Generator().manual_seed(0)
    clear = torch.rand(1, 3, 2, 3, generator=generator, dtype=torch.float64).mul_(0.9).add_(0.05).requires_grad_()
    depth = torch.rand(1, 1, 2, 3, generator=generator, dtype=torch.float64).mul_(9).add_(1).requires_grad_()
    beta = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    light = torch.tensor([0.7, 0.8, 0.9], dtype=torch.float64)[:, None, None].requires_grad_()

    def hazed(clear, depth, beta, light):
        return add_haze(clear, transmission_from_depth(depth, beta), light, space=space)

    def restored(clear, depth, beta, light):
        return remove_haze(clear, scale_optical_depth(transmission_from_depth(depth, beta), 0.5), light, space=space)

    assert torch.autograd.gradcheck(hazed, (clear, depth, beta, light))
    assert torch.autograd.gradcheck(restored, (clear, depth, beta, light))
    assert torch.autograd.gradcheck(depth_from_transmission, (depth / 20,))


def test_transmission_zero_is_infinitely_far_in_tensors():
    assert depth_from_transmission(torch.zeros(1)).item() == float("inf")
    assert transmission_from_depth(np.array([np.inf]), 0.01)[0] == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: transmission_from_depth(np.ones(1), -0.1),
        lambda: transmission_from_depth(np.ones(1), float("nan")),
        lambda: depth_from_transmission(np.ones(1), 0.0),
        lambda: add_haze(np.ones(1), 1.0, 1.0, space="hsv"),
        lambda: remove_haze(np.ones(1), 1.0, 1.0, space="hsv"),
        lambda: remove_haze(np.ones(1), 1.0, 1.0, minimum=-0.1),
        lambda: remove_haze(np.ones(1), 1.0, 1.0, minimum=1.1),
    ],
)
def test_values_without_meaning_are_refused(call):
    with pytest.raises(UsageError):
        call()


def test_numpy_path_never_loads_torch():
    script = (
        "import sys, numpy as np, unhaze.physics as p\n"
        "p.remove_haze(p.add_haze(np.ones((2, 2, 3)), 0.5, 0.8, space='linear'), 0.5, 0.8, minimum=0.1)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=HUNG)
