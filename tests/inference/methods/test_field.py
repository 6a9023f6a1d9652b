"""The default method with the weights that ship, through the whole dehazer where that matters."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from skimage import data
from sklearn.datasets import load_sample_image

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
    sky_mask,
    spare_clear,
)
from unhaze.inference.options import DehazeOptions
from unhaze.inference.strips import restore_strips
from unhaze.physics.color import luminance
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


# Measured with the weights that ship: all above 60 dB. With dcp none passes: 23.9, 39.7, 26.0, 23.5, 21.3 and 25.1 dB.
CLEAR = dict.fromkeys(("china", "flower", "coffee", "astronaut", "cat", "rocket"), 45)


@pytest.mark.parametrize(("name", "least"), CLEAR.items())
def test_clear_pictures_stay_as_they_are(method, name, least):
    picture = load_sample_image(f"{name}.jpg") if name in ("china", "flower") else getattr(data, name)()
    assert psnr(run(method, picture), picture) >= least


@pytest.mark.parametrize(("name", "is_clear"), [("flower", True), ("astronaut", True), ("hazy", False)])
def test_clear_pictures_are_called_so(method, hazy_photo, name, is_clear):
    pictures = {"flower": load_sample_image("flower.jpg"), "astronaut": data.astronaut(), "hazy": hazy_photo[0]}
    field = solve_field(working_view(pictures[name], 255), method, DehazeOptions())
    assert field.looks_clear == is_clear


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


@pytest.mark.parametrize("airlight", [0.7, 0.95])
@pytest.mark.parametrize("name", ["china", "coffee"])
def test_confidence_is_low_where_the_haze_hides_the_scene(method, name, airlight):
    """The denser the haze the lower, and where less than a tenth of the light comes through less than half."""
    clear = load_sample_image("china.jpg") if name == "china" else data.coffee()
    veil = np.exp(-np.linspace(3.0, 0.1, len(clear), dtype=np.float32))  # farthest at the top
    hazy = (clear * veil[:, None, None] + 255 * airlight * (1 - veil[:, None, None])).round().astype(np.uint8)
    rows = solve_field(working_view(hazy, 255), method, DehazeOptions()).confidence.mean(axis=1)
    through = np.interp(np.linspace(0, 1, len(rows)), np.linspace(0, 1, len(veil)), veil)
    bands = [
        (through >= low) & (through < high) for low, high in ((0, 0.1), (0.1, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 1))
    ]
    means = [rows[band].mean() for band in bands]
    assert means == sorted(means)
    assert means[0] < 0.5 * means[-1]


def test_protect_sky_means_what_it_means_for_other_methods(method, photo):
    """Less of it takes more haze out of the sky, and leaves the ground alone."""
    hazy = (photo * 0.4 + 130).astype(np.uint8)
    view = working_view(hazy, 255)

    def transmissions(protection):
        field = solve_field(view, method, DehazeOptions(protect_sky=protection))
        small = cv2.resize(view, field.slope.shape[::-1], interpolation=cv2.INTER_AREA)
        found = field.transmission(luminance(small))
        rows = len(found) // 4
        return found[:rows].mean(), found[-rows:].mean()

    sky, ground = np.transpose([transmissions(protection) for protection in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert np.all(np.diff(sky) > 0)
    assert sky[-1] > 1.2 * sky[0]
    assert np.ptp(ground) < 0.02
    default = run(method, hazy)
    np.testing.assert_array_equal(run(method, hazy, protect_sky=1.0), default)
    assert not np.array_equal(run(method, hazy, protect_sky=0.0), default)


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


def test_hardly_any_haze_is_left_and_more_is_not():
    rng = np.random.default_rng(0)
    for mean, share in ((0.02, 0.0), (0.065, 0.5), (0.2, 1.0)):
        optical_depth = rng.random((20, 30), np.float32)
        optical_depth *= mean / optical_depth.mean()
        np.testing.assert_allclose(-np.log(spare_clear(np.exp(-optical_depth))), optical_depth * share, atol=1e-3)


def test_a_smooth_sky_of_the_colour_of_the_haze_is_found():
    airlight = np.array([0.8, 0.8, 0.82], np.float32)
    view = np.random.default_rng(0).random((60, 80, 3), np.float32) * np.float32(0.6)
    assert sky_mask(view, airlight).max() == 0
    view[:25] = airlight - 0.03
    view[40:50, 20:60] = airlight  # a white van is not joined to the top
    mask = sky_mask(view, airlight)
    assert mask[:22].min() > 0.95
    assert mask[30:].max() == 0
    for other in (airlight + 0.02, airlight - 0.3):  # one that gets brighter, and a dark one: left to the network
        view[:25] = other
        assert sky_mask(view, airlight).max() == 0


def test_protection_keeps_a_hazy_sky(method, photo):
    hazy = (photo * 0.35 + 200 * 0.65).astype(np.uint8)
    height = hazy.shape[0] // 3
    hazy[:height] = np.linspace(190, 200, height)[:, None, None].astype(np.uint8)
    change = {
        share: np.abs(run(method, hazy, protect_sky=share)[: height - 40].astype(float) - hazy[: height - 40]).mean()
        for share in (0.0, 1.0)
    }
    assert change[1.0] < 4
    assert change[1.0] <= change[0.0]


def test_the_bound_keeps_the_range():
    view = np.random.default_rng(2).random((8, 9, 3), np.float32)
    airlight = np.array([0.7, 0.8, 0.9], np.float32)
    least = least_transmission(view, airlight)
    restored = (view - airlight) / np.maximum(least, 1e-6)[..., None] + airlight
    assert restored.min() > -1e-4
    assert restored.max() < 1 + 1e-4
