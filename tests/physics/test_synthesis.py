import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import BSpline

from unhaze.errors import UnknownNameError, UsageError
from unhaze.physics import DEPTH_KINDS, analytic_depth, haze_field, remove_haze, synthesis, synthesize_haze

sides = st.integers(1, 50)


def reduced(x, factor):
    height, width = x.shape
    return x.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3))


@given(st.sampled_from(DEPTH_KINDS), sides, sides, st.none() | st.integers(0, 99))
def test_depth_of_any_size_is_within_its_range(kind, height, width, seed):
    depth = analytic_depth(kind, height, width, seed=seed)
    assert depth.shape == (height, width)
    assert depth.dtype == np.float32
    assert depth.flags.c_contiguous
    assert depth.flags.writeable
    assert depth.min() >= 1
    assert depth.max() <= 200


@pytest.mark.parametrize("kind", DEPTH_KINDS)
@pytest.mark.parametrize("seed", [None, 3])
def test_depth_has_the_same_shape_at_any_resolution(kind, seed):
    small, large = (analytic_depth(kind, h, w, seed=seed) for h, w in ((60, 90), (180, 270)))
    # every third pixel of the large one has its centre where the small one has
    np.testing.assert_allclose(large[1::3, 1::3], small, rtol=1e-5)


def test_plane_by_similar_triangles():
    depth = analytic_depth("plane", 300, 4)
    y = (250 + 0.5) / 300
    # camera 1.5 m up, focal length one picture height, horizon at a third
    assert depth[250, 0] == pytest.approx(1.5 / (y - 1 / 3), rel=1e-5)
    assert np.all(depth[:100] == 200)
    assert np.all(np.diff(depth[:, 0]) <= 0)


def test_ramp_is_linear_from_far_to_near():
    depth = analytic_depth("ramp", 100, 3)
    np.testing.assert_allclose(np.diff(depth[:, 1]), -1.99, rtol=1e-3)
    assert depth[0, 0] == pytest.approx(200 - 0.995, rel=1e-5)
    assert depth[-1, 0] == pytest.approx(1 + 0.995, rel=1e-5)
    np.testing.assert_array_equal(depth, analytic_depth("ramp", 100, 3, seed=5))


def test_radial_is_farthest_in_the_centre():
    depth = analytic_depth("radial", 41, 41)
    assert depth.argmax() == 20 * 41 + 20
    np.testing.assert_allclose(depth, depth[::-1, ::-1], rtol=1e-5)
    assert np.all(np.diff(depth[20, 20:]) <= 0)


def test_constant_is_constant():
    assert np.unique(analytic_depth("constant", 5, 6)).tolist() == [50]


@pytest.mark.parametrize("kind", ["plane", "radial"])
def test_seed_moves_the_scene(kind):
    first, again, other = (analytic_depth(kind, 40, 40, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1
    assert np.abs(first - analytic_depth(kind, 40, 40)).max() > 1


def test_unknown_depth_names_its_neighbour():
    with pytest.raises(UnknownNameError, match="plane"):
        analytic_depth("plain", 4, 4)


@given(sides, sides, st.integers(0, 9), st.floats(0.05, 2), st.floats(0, 1.5))
def test_field_of_any_size_is_positive_with_mean_one(height, width, seed, scale, contrast):
    field = haze_field(height, width, seed=seed, scale=scale, contrast=contrast)
    assert field.shape == (height, width)
    assert field.dtype == np.float32
    assert field.min() > 0
    assert field.mean(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_field_looks_the_same_at_any_resolution():
    small, large = haze_field(60, 80, seed=4), haze_field(240, 320, seed=4)
    np.testing.assert_allclose(reduced(large, 4), small, rtol=0.01)


def test_field_is_as_rough_as_asked():
    logs = [np.log(haze_field(64, 64, seed=seed, contrast=0.5)).std() for seed in range(40)]
    # a picture holds only a few patches: their spread within one picture is a little less than that of all haze
    assert 0.4 < np.mean(logs) < 0.52
    assert np.all(haze_field(8, 9, seed=0, contrast=0.0) == 1)


def test_smaller_scale_has_smaller_patches():
    steps = [np.abs(np.diff(haze_field(128, 128, seed=1, scale=scale), axis=1)).mean() for scale in (0.1, 0.3, 0.9)]
    assert steps == sorted(steps, reverse=True)


def test_field_is_smooth():
    field = np.log(haze_field(400, 400, seed=2, contrast=1.0))
    assert np.abs(np.diff(field, n=2, axis=0)).max() < 0.01


def test_field_depends_on_the_seed_only():
    first, again, other = (haze_field(20, 30, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05


@pytest.mark.parametrize("space", ["srgb", "linear"])
@pytest.mark.parametrize("shape", [(12, 16, 3), (12, 16), (1, 1, 3), (1, 3, 3)])
def test_synthesized_haze_can_be_removed(space, shape):
    clear = np.random.default_rng(0).random(shape, dtype=np.float32)
    light = np.array([0.8, 0.85, 0.9], np.float32) if len(shape) == 3 else 0.85
    depth, density = analytic_depth("radial", *shape[:2]), haze_field(*shape[:2], seed=1)
    hazy, transmission = synthesize_haze(clear, depth, beta=0.01, airlight=light, density=density, space=space)
    assert hazy.dtype == transmission.dtype == np.float32
    assert hazy.shape == clear.shape
    assert hazy.min() >= 0
    assert hazy.max() <= 1
    np.testing.assert_allclose(transmission, np.exp(-0.01 * depth * density), rtol=1e-5)
    shared = transmission[..., None] if len(shape) == 3 else transmission
    np.testing.assert_allclose(remove_haze(hazy, shared, light, space=space), clear, atol=2e-4)


def test_no_haze_changes_nothing():
    clear = np.random.default_rng(1).random((4, 5, 3), dtype=np.float32)
    hazy, transmission = synthesize_haze(clear, analytic_depth("plane", 4, 5), beta=0, airlight=0.9)
    np.testing.assert_allclose(hazy, clear, atol=1e-6)
    assert np.all(transmission == 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: analytic_depth("plane", 0, 4),
        lambda: haze_field(4, 0, seed=0),
        lambda: haze_field(4, 4, seed=0, scale=0.0),
        lambda: haze_field(4, 4, seed=0, contrast=-1.0),
        lambda: synthesize_haze(np.ones((4, 4, 3)), np.ones((3, 4)), beta=0.1, airlight=0.8),
        lambda: synthesize_haze(np.ones((4, 4, 3)), np.ones((4, 4)), beta=0.1, airlight=0.8, density=np.ones((4, 3))),
        lambda: synthesize_haze(np.ones((4, 4, 3)), np.ones((4, 4)), beta=-0.1, airlight=0.8),
    ],
)
def test_values_without_meaning_are_refused(call):
    with pytest.raises(UsageError):
        call()


def test_the_strength_of_a_spline_surface_is_exact():
    basis = BSpline.basis_element(np.arange(5.0))
    squared = sum(quad(lambda place: basis(place) ** 2, knot, knot + 1)[0] for knot in range(4))
    assert pytest.approx(squared, rel=1e-9) == synthesis._SPLINE_RMS
