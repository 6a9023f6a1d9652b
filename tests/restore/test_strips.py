"""The restoration at full resolution: equal however it is cut up, and equal to the formula written plainly."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.models.catalogue import create_haze_model, finds_haze, list_models
from unhaze.restore.haze_field import HazeField, solve_field, working_view
from unhaze.restore.options import DehazeOptions
from unhaze.restore.strips import RowBlender, full_scale, restore_strips, transmission_strips

WHITE = {"uint8": 255, "uint16": 65535, "float32": 1}


def convert(photo, dtype):
    return (photo.astype(np.float64) * (WHITE[dtype] / 255)).astype(dtype)


def random_field(rng, shape, *, local_airlight=False, lift=0.4):
    slope, offset, confidence = rng.uniform(-0.5, 0.5, (3, *shape)).astype(np.float32)
    airlight = rng.uniform(0.5, 1, (*shape, 3) if local_airlight else 3).astype(np.float32)
    return HazeField(slope, offset + 0.6, airlight, confidence, lift)


def enlarge(small, height, width):
    large = cv2.resize(small.astype(np.float64), (width, height), interpolation=cv2.INTER_LINEAR)
    return large.reshape(height, width, *small.shape[2:])


def invert(view, gain, airlight, color_blend):
    """Brightness with ``gain``, colour differences with a gain that is nearer to 1; float64, (H, W, 3)."""
    weights = np.array([0.299, 0.587, 0.114])
    gray, gray_airlight = (view @ weights)[..., None], np.asarray(airlight @ weights)[..., None]
    gain = gain[..., None]
    bright = gray_airlight + (gray - gray_airlight) * gain
    color_gain = np.minimum(1 + (gain - 1) * color_blend, 3)
    tint = (airlight - gray_airlight) + ((view - gray) - (airlight - gray_airlight)) * color_gain
    return bright + tint


def bound_of_the_range(view, airlight, margin=4 / 255):
    """Meng et al. 2013, Eq. 7: the least transmission that keeps every channel within [margin, 1 - margin]."""
    to_white = (view - airlight) / np.maximum(1 - margin - airlight, 1e-3)
    to_black = (airlight - view) / np.maximum(airlight - margin, 1e-3)
    return np.minimum(np.maximum(to_white, to_black).max(axis=2), 1)


def restore(pixels, field, options, **how):
    out = np.empty_like(pixels)
    restore_strips(pixels, out, field, options, **how)
    return out


@pytest.mark.parametrize("model", [name for name in list_models() if finds_haze(name)])
@pytest.mark.parametrize("dtype", WHITE)
def test_strips_of_any_height_equal_the_whole_picture_bit_for_bit(photo, model, dtype):
    pixels = convert(photo[:301, :413], dtype)
    options = DehazeOptions(strength=0.7)
    field = solve_field(working_view(pixels, full_scale(pixels)), create_haze_model(model), options)
    whole = restore(pixels, field, options, strip_pixels=1 << 30)
    with ThreadPoolExecutor(3) as pool:
        for rows in (1, 2, 37, 300):
            strips = restore(pixels, field, options, strip_pixels=rows * 413, pool=pool)
            np.testing.assert_array_equal(strips, whole)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    small=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(sorted(WHITE)),
    color=st.booleans(),
    local_airlight=st.booleans(),
    strength=st.floats(-1, 1),
    color_blend=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_strips_equal_the_formula(height, width, small, dtype, color, local_airlight, strength, color_blend, seed):
    rng = np.random.default_rng(seed)
    shape = (height, width, 3) if color else (height, width)
    pixels = (rng.random(shape) * WHITE[dtype]).astype(dtype)
    field = random_field(rng, (min(height, small[0]), min(width, small[1])), local_airlight=local_airlight)
    options = DehazeOptions(strength=strength, color_blend=color_blend)
    result = restore(pixels, field, options, strip_pixels=3 * width)

    view = pixels.astype(np.float64) / WHITE[dtype]
    view = view if color else np.repeat(view[..., None], 3, 2)
    gray = view @ (0.299, 0.587, 0.114)
    transmission = np.clip(enlarge(field.slope, height, width) * gray + enlarge(field.offset, height, width), 0.12, 1)
    airlight = enlarge(field.airlight, height, width) if local_airlight else field.airlight
    if not color:
        airlight = np.repeat((airlight @ (0.299, 0.587, 0.114))[..., None], 3, -1)
    if strength > 0:
        transmission = np.maximum(transmission, bound_of_the_range(view, airlight))
    gain, blend = transmission**-strength, color_blend if color else 1
    plain = np.clip(invert(view, gain, airlight, blend), 0, 1)
    lift = field.lift * max(strength, 0)
    plain = plain * (1 + lift) / (1 + lift * plain)
    plain = plain if color else plain[..., 0]
    if strength == 0:
        plain = pixels / WHITE[dtype]
    step = 1 / WHITE[dtype] if dtype != "float32" else 0
    np.testing.assert_allclose(result / np.float64(WHITE[dtype]), plain, atol=0.501 * step + 2e-5)


def test_full_colour_blend_is_the_scattering_model():
    """J = A + (I - A) / t, down to t = 1/3."""
    rng = np.random.default_rng(3)
    pixels = rng.uniform(0.6, 0.8, (5, 7, 3)).astype(np.float32)
    field = HazeField(
        np.zeros((5, 7), np.float32),
        rng.uniform(0.5, 1, (5, 7)).astype(np.float32),
        np.array([0.7, 0.75, 0.8], np.float32),
        np.ones((5, 7), np.float32),
        lift=0.0,
    )
    expected = field.airlight + (pixels - field.airlight) / field.offset[..., None]
    np.testing.assert_allclose(restore(pixels, field, DehazeOptions(color_blend=1.0)), expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    small=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    seed=st.integers(0, 2**31),
)
def test_rows_are_enlarged_as_opencv_does(small, size, seed):
    height, width = max(size[0], small[0]), max(size[1], small[1])
    values = np.random.default_rng(seed).random(small, np.float32)
    blender = RowBlender.enlarge(values, height, width)
    rows = np.vstack([blender.rows(y, y + 1) for y in range(height)])
    expected = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_array_equal(rows, blender.rows(0, height))


def test_transmission_map_is_the_one_that_was_used():
    """Where nothing would be clipped."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(170, 200, (90, 120, 3), np.uint8)
    field = random_field(rng, (9, 12), lift=0.0)
    calm = {"slope": field.slope / 5, "offset": field.offset / 5 + 0.5}
    field = replace(field, airlight=np.array([0.7, 0.72, 0.74], np.float32), **calm)
    transmission = transmission_strips(pixels, field)
    airlight = field.airlight * 255
    expected = airlight + (pixels - airlight) / transmission[..., None]
    assert 4 < expected.min() < expected.max() < 251
    assert np.abs(restore(pixels, field, DehazeOptions(color_blend=1.0)) - expected).max() <= 0.502


def test_nothing_is_clipped_that_was_not(photo):
    """Full colour blend, no lift: the boundary constraint holds in every channel."""
    field = random_field(np.random.default_rng(7), (30, 40), lift=0.0)
    field = replace(field, offset=np.maximum(field.offset, 0.9))
    restored = restore(photo, field, DehazeOptions(color_blend=1.0))
    was_inside = ((photo > 4) & (photo < 251)).all(axis=2)
    assert was_inside.mean() > 0.5
    assert restored[was_inside].min() >= 3
    assert restored[was_inside].max() <= 252


def test_strength_is_monotone_in_every_pixel_without_exposure(hazy_photo):
    """Each pixel moves away from where it was, in one direction, as strength grows."""
    pixels = (hazy_photo[0] / np.float32(255)).astype(np.float32)
    results = []
    for strength in (-1, -0.5, 0, 0.25, 0.5, 0.75, 1):
        options = DehazeOptions(strength=strength, keep_exposure=0.0)
        field = solve_field(working_view(pixels, 1.0), create_haze_model("dcp"), options)
        results.append(restore(pixels, field, options))
    steps = np.diff(np.stack(results), axis=0)
    # with color_blend < 1 both gains grow with strength, so a pixel channel may turn once, near its own airlight
    one_way = ((steps >= -2e-3).all(axis=0)) | ((steps <= 2e-3).all(axis=0))
    assert one_way.mean() > 0.99
