"""The default method with the weights that ship, through the whole dehazer where that matters."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from unhaze.errors import WeightsNotFoundError
from unhaze.inference.field import solve_field, working_view
from unhaze.inference.methods.field import (
    LEAST_IN_SKY,
    LEAST_TRANSMISSION,
    MULTIPLE,
    NETWORK_SIZE,
    FieldMethod,
    least_transmission,
    network_shape,
    sky_floor,
)
from unhaze.inference.options import DehazeOptions
from unhaze.inference.strips import restore_strips
from unhaze.physics.synthesis import analytic_depth, synthesize_haze


@pytest.fixture(scope="module")
def method():
    return FieldMethod(threads=1)


def run(method, pixels, **options):
    chosen = DehazeOptions(**options)
    out = np.empty_like(pixels)
    restore_strips(pixels, out, solve_field(working_view(pixels, 255), method, chosen), chosen)
    return out


def psnr(one, other):
    return 10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-6))


def test_the_weights_fit_into_a_wheel(method):
    assert method.weights.stat().st_size <= 4_000_000


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"nowhere\.onnx"):
        FieldMethod(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (37, 5), (480, 640), (640, 480), (64, 2000)])
def test_shape_of_the_view(size):
    rows, columns = network_shape(*size)
    assert rows % MULTIPLE == columns % MULTIPLE == 0
    assert max(rows, columns) == NETWORK_SIZE
    assert min(rows, columns) >= MULTIPLE


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (480, 640)])
def test_maps_of_any_view(method, size):
    view = np.random.default_rng(0).random((*size, 3), np.float32)
    maps = method.maps(view)
    rows, columns = network_shape(*size)
    for each in (maps.transmission, maps.log_depth, maps.confidence):
        assert each.shape == (rows // 2, columns // 2)
        assert np.isfinite(each).all()
    assert 0 < maps.transmission.min() <= maps.transmission.max() <= 1
    assert 0 <= maps.confidence.min() <= maps.confidence.max() <= 1
    assert maps.airlight.shape == (3,)


def test_hazy_pictures_get_clearer(method, photo):
    depth = analytic_depth("ramp", *photo.shape[:2])
    clear = photo.astype(np.float32) / 255
    hazy, transmission = synthesize_haze(clear, depth, beta=0.006, airlight=np.array((0.85, 0.87, 0.9), np.float32))
    hazy = np.round(hazy * 255).astype(np.uint8)
    assert psnr(run(method, hazy), photo) > psnr(hazy, photo) + 1
    estimate = method.estimate(working_view(hazy, 255))
    small = cv2.resize(transmission, estimate.transmission.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(estimate.transmission.ravel(), small.ravel())[0, 1] > 0.6
    np.testing.assert_allclose(estimate.airlight, (0.85, 0.87, 0.9), atol=0.1)


def test_clear_pictures_stay_as_they_are(method, photo):
    assert psnr(run(method, photo), photo) >= 30


def test_strength_zero_is_the_identity(method, hazy_photo):
    np.testing.assert_array_equal(run(method, hazy_photo[0], strength=0.0), hazy_photo[0])


def test_strength_is_monotone(method, hazy_photo):
    hazy = hazy_photo[0].astype(np.float32)
    for steps in ((0.0, 0.25, 0.5, 0.75, 1.0), (0.0, -0.3, -0.6, -1.0)):
        change = [np.abs(run(method, hazy_photo[0], strength=s) - hazy).mean() for s in steps]
        assert np.all(np.diff(change) > 0)


def test_the_resolution_does_not_matter(method, hazy_photo):
    large = cv2.resize(hazy_photo[0], (2560, 1708), interpolation=cv2.INTER_CUBIC)
    size = (640, 427)
    first = run(method, cv2.resize(large, size, interpolation=cv2.INTER_AREA))
    last = cv2.resize(run(method, large), size, interpolation=cv2.INTER_AREA)
    assert psnr(first, last) >= 35


def test_confidence_falls_in_dense_haze(method, photo):
    veil = np.linspace(1, 0.05, photo.shape[1], dtype=np.float32)[None, :, None]
    hazy = (photo * veil + 220 * (1 - veil)).astype(np.uint8)
    confidence = method.maps(working_view(hazy, 255)).confidence
    left, right = np.array_split(confidence, 2, axis=1)
    assert left.mean() > right.mean()


def test_threads_agree(hazy_photo):
    method = FieldMethod(threads=1)
    view = working_view(hazy_photo[0], 255)
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(lambda _: method.maps(view).transmission, range(8)))
    for each in maps[1:]:
        np.testing.assert_array_equal(each, maps[0])


def test_the_floor_is_highest_at_the_airlight():
    view = np.zeros((20, 40, 3), np.float32)
    view[:, 20:] = 0.8
    floor = sky_floor(view, np.full(3, 0.8, np.float32))
    assert floor[0, 0] == pytest.approx(LEAST_TRANSMISSION, abs=1e-3)
    assert floor[0, -1] == pytest.approx(LEAST_IN_SKY, abs=1e-3)


def test_the_bound_keeps_the_range():
    view = np.random.default_rng(2).random((8, 9, 3), np.float32)
    airlight = np.array([0.7, 0.8, 0.9], np.float32)
    least = least_transmission(view, airlight)
    restored = (view - airlight) / np.maximum(least, 1e-6)[..., None] + airlight
    assert restored.min() > -1e-4
    assert restored.max() < 1 + 1e-4
