"""The default method with the weights that ship, through the whole dehazer where that matters."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data
from sklearn.datasets import load_sample_image

from unhaze.default.constants import (
    CLEAR_DEPTH,
    DARKEST_SURFACE,
    HEDGED_DEPTH,
    HEDGED_SHARE,
    LEAST_TRANSMISSION,
    MULTIPLE,
    NETWORK_SIZE,
    network_shape,
)
from unhaze.default.model import FieldMaps, FieldModel, airlight_of_fog, firm_transmission
from unhaze.errors import WeightsNotFoundError
from unhaze.physics.synthesis import analytic_depth, synthesize_haze
from unhaze.restore.haze_field import solve_field, working_view
from unhaze.restore.options import DehazeOptions
from unhaze.restore.strips import restore_strips


@pytest.fixture(scope="module")
def method():
    return FieldModel(threads=1)


def run(method, pixels, **options):
    chosen = DehazeOptions(**options)
    out = np.empty_like(pixels)
    restore_strips(pixels, out, solve_field(working_view(pixels, 255), method, chosen), chosen)
    return out


def psnr(one, other):
    return 10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-6))


def test_the_weights_fit_into_a_wheel(method):
    assert method.weights.stat().st_size <= 8_000_000


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"nowhere\.onnx"):
        FieldModel(tmp_path / "nowhere.onnx")


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
    assert maps.airlight.shape == (rows // 2, columns // 2, 3)
    assert 0 <= maps.gain <= 2


def test_hazy_pictures_get_clearer(method, photo):
    depth = analytic_depth("ramp", *photo.shape[:2])
    clear = photo.astype(np.float32) / 255
    hazy, transmission = synthesize_haze(clear, depth, beta=0.006, airlight=np.array((0.85, 0.87, 0.9), np.float32))
    hazy = np.round(hazy * 255).astype(np.uint8)
    assert psnr(run(method, hazy), photo) > psnr(hazy, photo) + 1
    estimate = method.estimate(working_view(hazy, 255))
    small = cv2.resize(transmission, estimate.transmission.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(estimate.transmission.ravel(), small.ravel())[0, 1] > 0.6
    np.testing.assert_allclose(estimate.airlight.mean(axis=(0, 1)), (0.85, 0.87, 0.9), atol=0.1)


# Measured with the weights that ship: all but the last above 60 dB. With dcp: 23.9, 39.7, 26.0, 23.5, 21.3, 25.1 dB.
CLEAR = ("china", "flower", "coffee", "astronaut", "cat")
PALE = pytest.param("rocket", marks=pytest.mark.xfail(reason="a launch at dusk is taken for hazy: 27 dB", strict=True))


@pytest.mark.parametrize("name", [*CLEAR, PALE])
def test_clear_pictures_stay_as_they_are(method, name):
    picture = load_sample_image(f"{name}.jpg") if name in ("china", "flower") else getattr(data, name)()
    assert psnr(run(method, picture), picture) >= 45


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


def test_threads_agree(hazy_photo):
    method = FieldModel(threads=1)
    view = working_view(hazy_photo[0], 255)
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(lambda _: method.maps(view).transmission, range(8)))
    for each in maps[1:]:
        np.testing.assert_array_equal(each, maps[0])


def test_hardly_any_haze_is_called_clear_and_more_is_not(method, monkeypatch):
    low, high = CLEAR_DEPTH
    for mean, share in ((low, 1.0), ((low + high) / 2, 0.5), (high, 0.0), (1.0, 0.0)):
        even = FieldMaps(
            transmission=np.full((20, 30), np.exp(-mean), np.float32),
            airlight=np.full((20, 30, 3), 0.8, np.float32),
            gain=0.0,
            log_depth=np.zeros((20, 30), np.float32),
            confidence=np.ones((20, 30), np.float32),
        )
        monkeypatch.setattr(method, "maps", lambda _, answer=even: answer)
        assert method.estimate(np.full((40, 60, 3), 0.5, np.float32)).clear == pytest.approx(share, abs=1e-3)


def test_medium_haze_is_taken_as_denser_and_the_order_of_densities_stays():
    depth = np.linspace(0, 3, 601, dtype=np.float32).reshape(1, -1).repeat(8, axis=0)
    bright = np.full((*depth.shape, 3), 0.9, np.float32)
    found = -np.log(firm_transmission(bright, np.exp(-depth), bright))[4]
    begins, full, fades, ends = HEDGED_DEPTH
    medium = (depth[4] >= full) & (depth[4] <= fades)
    np.testing.assert_allclose(found[medium], depth[4][medium] * (1 + HEDGED_SHARE), rtol=1e-4)
    outside = (depth[4] < begins) | (depth[4] > ends)
    np.testing.assert_allclose(found[outside], depth[4][outside], atol=1e-6)
    assert (np.diff(found) > 0).all()


@given(level=st.floats(0, 1), light=st.floats(0.03, 0.98), transmission=st.floats(0.02, 1), tint=st.floats(-0.02, 0.02))
def test_no_area_is_made_darker_than_a_dark_surface(level, light, transmission, tint):
    colour = np.clip(np.array([level + tint, level - tint, level], np.float32), 0, 1)
    view = np.broadcast_to(colour, (12, 16, 3)).copy()
    airlight = np.full_like(view, light)
    firm = firm_transmission(view, np.full((12, 16), transmission, np.float32), airlight)
    assert ((firm > 0) & (firm <= 1)).all()
    restored = (view - airlight) / firm[..., None] + airlight  # He et al. 2011, Eq. 22
    darkest = np.minimum(colour, DARKEST_SURFACE)
    assert (restored >= np.minimum(darkest, light) - 1e-3).all()


def test_shadows_under_trees_keep_their_hue():
    """A dark, faintly purple wood under an airlight as bright as elsewhere: green must not be driven to black alone."""
    colour, airlight, transmission = np.array([0.215, 0.177, 0.215], np.float32), np.float32(0.84), np.float32(0.8)

    def excess(t):
        red, green, _ = (colour - airlight) / t + airlight
        return red / green - 1

    view = np.broadcast_to(colour, (12, 16, 3)).copy()
    firm = firm_transmission(view, np.full((12, 16), transmission, np.float32), np.full_like(view, airlight))
    assert excess(1) == pytest.approx(0.21, abs=0.01)
    assert excess(transmission) > 3  # what the scattering model alone makes of it
    assert excess(firm[6, 8]) < 0.5


@pytest.mark.parametrize("options", [{}, {"strength": 0.5}, {"spare_clear": 0.0, "protect_sky": 1.0}])
def test_a_picture_without_colours_gets_none(method, hazy_photo, options):
    gray = cv2.cvtColor(cv2.cvtColor(hazy_photo[0], cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    out = run(method, gray, **options).astype(int)
    assert np.abs(out - gray).max() > 10
    assert np.ptp(out, axis=2).max() <= 1


def test_what_was_spared_is_dehazed_on_demand(method):
    picture = data.chelsea()
    spared = run(method, picture)
    acted = run(method, picture, spare_clear=0.0)
    assert np.abs(spared.astype(float) - picture).mean() < np.abs(acted.astype(float) - picture).mean()


def fog(height=300, width=400):
    """A textured ground that vanishes in smooth fog, darker in the corners and away from the sun."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    ground = cv2.GaussianBlur(rng.random((height, width, 3)), (0, 0), 2)
    ground = cv2.normalize(ground, None, 0.05, 0.6, cv2.NORM_MINMAX)
    light = (0.78 - 0.06 * (x * x + y * y) + 0.05 * x)[..., None] * np.array([1.0, 1.0, 0.98])
    t = np.exp(-np.clip(6 * (0.7 - y), 0.05, 8))[..., None]
    return np.round(255 * (ground * t + light * (1 - t))).astype(np.uint8)


@pytest.mark.parametrize("mirrored", [False, True])
def test_no_cloud_is_painted_into_fog(method, mirrored):
    torch = pytest.importorskip("torch")
    from unhaze.metrics.functional import ring

    hazy = np.ascontiguousarray(fog()[:, ::-1] if mirrored else fog())
    after, before = (torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (run(method, hazy), hazy))
    assert float(ring(after, before)) < 0.3


def test_pictures_do_not_get_dark(method, photo):
    """A scene taken for its veil comes out of it about as bright as it went in."""
    torch = pytest.importorskip("torch")
    from unhaze.metrics.functional import lightness_change

    veil = np.exp(-np.linspace(1.4, 0.4, photo.shape[0], dtype=np.float32))[:, None, None]
    hazy = np.round(photo * 0.5 * veil + 190 * (1 - veil)).astype(np.uint8)
    pair = [torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (run(method, hazy), hazy)]
    dark = [torch.from_numpy(run(method, hazy, keep_exposure=0.0)).permute(2, 0, 1)[None] / 255, pair[1]]
    assert float(lightness_change(*pair)) > float(lightness_change(*dark))
    assert float(lightness_change(*pair)) > -15


@pytest.mark.parametrize("name", ["china", "coffee", "photo"])
def test_the_density_grows_with_the_haze(method, name, photo):
    """The fog alarm: mean optical depth, monotone in beta."""
    clear = {"china": load_sample_image("china.jpg"), "coffee": data.coffee(), "photo": photo}[name]
    depth = analytic_depth("ramp", *clear.shape[:2])
    found = []
    for optical in (0.0, 0.2, 0.4, 0.8, 1.4, 2.2):
        hazy, _ = synthesize_haze(
            clear.astype(np.float32) / 255,
            depth,
            beta=optical / float(depth.mean()),
            airlight=np.full(3, 0.85, np.float32),
        )
        field = solve_field(working_view(np.round(hazy * 255).astype(np.uint8), 255), method, DehazeOptions())
        found.append(field.density)
        assert 0 <= field.beyond_sight <= 1
    assert found == sorted(found)
    assert found[-1] > 2.5 * max(found[1], 0.1)


def test_nothing_below_the_least_transmission_is_restored(method):
    assert method.estimate(np.full((40, 60, 3), 0.7, np.float32)).least_transmission == LEAST_TRANSMISSION


def test_in_fog_the_airlight_is_what_the_picture_shows():
    view = np.full((40, 60, 3), 0.6, np.float32)
    view[:, 30:] = 0.3
    light = np.full_like(view, 0.8)
    clear, opaque = (np.full((40, 60), value, np.float32) for value in (0.7, 0.05))
    assert airlight_of_fog(view, clear, light) is light
    found = airlight_of_fog(view, opaque, light)
    assert found[20, 2, 0] == pytest.approx(0.6, abs=0.06)
    assert found[20, -3, 0] == pytest.approx(0.3, abs=0.06)
    assert np.abs(np.diff(found[20, :, 0])).max() < 0.02  # smooth over the edge


@pytest.mark.parametrize("dark", ["noise", "stars", "lamps"])
def test_the_dark_stays_dark_where_there_is_no_haze(method, dark):
    """What is called clear keeps its brightness: it has lost none that could be given back."""
    random = np.random.default_rng(0)
    if dark == "noise":
        pixels = random.normal(13, 2.5, (240, 320, 3)).clip(0, 255).astype(np.uint8)
    elif dark == "stars":
        pixels = np.full((240, 320, 3), 12, np.uint8)
        pixels[random.integers(0, 240, 200), random.integers(0, 320, 200)] = 230
    else:
        pixels = np.full((240, 320, 3), 10, np.uint8)
        for row, column in zip(random.integers(20, 220, 12), random.integers(20, 300, 12), strict=True):
            cv2.circle(pixels, (int(column), int(row)), 6, (250, 220, 160), -1)
    field = solve_field(working_view(pixels, 255), method, DehazeOptions())
    if field.looks_clear:
        assert abs(run(method, pixels).mean() - pixels.mean()) < 0.01 * 255
    assert field.looks_clear or dark == "lamps"
