"""What is decided about the whole picture: sky, exposure, confidence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.classic.base import HazeEstimate
from unhaze.errors import UsageError
from unhaze.models.catalogue import create_haze_model, finds_haze, list_models
from unhaze.physics.color import luminance
from unhaze.restore.haze_field import MINIMUM_TRANSMISSION, VIEW_SIZE, solve_field, working_view
from unhaze.restore.options import DehazeOptions
from unhaze.types import ModelInfo


def landscape(height=240, width=320, airlight=0.85):
    """A smooth bright sky over textured, partly hazy ground; (H, W, 3) float32."""
    rng = np.random.default_rng(0)
    ground = rng.uniform(0.05, 0.6, (height, width, 3))
    transmission = np.linspace(0.3, 0.95, height)[:, None, None]
    view = ground * transmission + airlight * (1 - transmission)
    view[: height // 3] = airlight * np.linspace(0.94, 1, height // 3)[:, None, None]
    return view.astype(np.float32)


def solve(view, **options):
    return solve_field(view, create_haze_model("dcp"), DehazeOptions(**options))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((480, 640), (480, 640)),
        ((3000, 4000), (480, 640)),
        ((4000, 10), (640, 2)),
        ((1, 1), (1, 1)),
        ((1, 5000), (1, 640)),
    ],
)
def test_views_have_at_most_the_working_size(shape, expected):
    view = working_view(np.zeros((*shape, 3), np.uint8), 255.0)
    assert view.shape == (*expected, 3)
    assert max(view.shape[:2]) <= VIEW_SIZE


def test_a_grey_picture_becomes_a_grey_view():
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    view = working_view(pixels, 65535.0)
    assert view.shape == (3, 4, 3)
    np.testing.assert_allclose(view, np.repeat(pixels[..., None] / 65535, 3, 2), atol=1e-6)


def test_the_sky_is_left_alone_and_the_ground_is_not():
    view = landscape()
    free, protected = solve(view, protect_sky=0.0), solve(view, protect_sky=1.0)
    sky, ground = np.s_[5:60], np.s_[120:]
    assert protected.transmission(luminance(view))[sky].mean() > 3 * free.transmission(luminance(view))[sky].mean()
    assert (
        abs(protected.transmission(luminance(view))[ground].mean() - free.transmission(luminance(view))[ground].mean())
        < 0.1
    )
    assert protected.confidence[sky].mean() < 0.2 < protected.confidence[ground].mean()


def test_a_bright_patch_that_does_not_reach_the_top_is_no_sky():
    view = landscape()
    view[:10] = 0.2  # a dark frame above it
    boxed, open_sky = solve(view), solve(landscape())
    assert boxed.confidence[20:60].mean() >= open_sky.confidence[20:60].mean()


def test_confidence_falls_with_the_density_of_the_haze():
    rng = np.random.default_rng(1)
    scene = rng.random((120, 160, 3))
    means = []
    for transmission in (0.9, 0.5, 0.2, 0.05):
        view = (scene * transmission + 0.9 * (1 - transmission)).astype(np.float32)
        view[-20:, -20:] = 0.9  # what the airlight is taken from
        means.append(float(solve(view, protect_sky=0.0).confidence[:80].mean()))
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.8
    assert means[-1] < 0.2


def test_exposure_is_kept_on_request_only():
    view = landscape()
    assert solve(view, keep_exposure=0.0).lift == 0
    assert 0 < solve(view, keep_exposure=0.5).lift < solve(view, keep_exposure=1.0).lift <= 1


def test_a_picture_that_does_not_darken_is_not_lifted():
    dark = np.full((32, 48, 3), 0.02, np.float32)
    assert solve(dark).lift == 0


@pytest.mark.parametrize("model", [name for name in list_models() if finds_haze(name)])
@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 30), width=st.integers(1, 30), level=st.floats(0, 1, width=32))
def test_flat_pictures_give_finite_fields(model, height, width, level):
    view = np.full((height, width, 3), level, np.float32)
    field = solve_field(view, create_haze_model(model), DehazeOptions())
    for each in (field.slope, field.offset, field.confidence, field.airlight, np.float64(field.lift)):
        assert np.isfinite(each).all()
    transmission = field.transmission(luminance(view))
    assert transmission.min() >= MINIMUM_TRANSMISSION - 1e-6
    assert transmission.max() <= 1


class Fixed:
    """A method that always says the same, at a size of its own."""

    def __init__(self, **details):
        self.details = details

    def estimate(self, view):
        return HazeEstimate(np.full((12, 16), 0.4, np.float32), np.full((12, 16, 3), 0.85, np.float32), **self.details)


def test_an_estimate_may_be_smaller_than_the_view():
    field = solve_field(landscape(), Fixed(), DehazeOptions())
    assert field.slope.shape == field.confidence.shape == (12, 16)


def test_an_estimate_that_knows_its_lift_is_taken_as_it_is():
    """A trained method deals with skies and exposure itself."""
    view, confidence = np.full((48, 64, 3), 0.85, np.float32), np.full((12, 16), 0.7, np.float32)
    field = solve_field(view, Fixed(lift=0.8, confidence=confidence), DehazeOptions())
    gray = np.full((12, 16), 0.5, np.float32)
    np.testing.assert_allclose(field.transmission(gray), 0.4, atol=1e-5)
    assert field.lift == pytest.approx(0.8)
    assert field.confidence is confidence
    assert solve_field(view, Fixed(lift=0.8), DehazeOptions(keep_exposure=0.25)).lift == pytest.approx(0.2)
    assert solve_field(landscape(), Fixed(), DehazeOptions()).lift > 0


def test_no_scene_comes_out_of_the_haze_much_darker():
    from unhaze.restore.haze_field import DARKEST_CHANGE
    from unhaze.restore.strips import restore_strips

    view = np.linspace(0.56, 0.8, 64, dtype=np.float32)[None, :, None].repeat(48, axis=0).repeat(3, axis=2)

    def change(keep_exposure):
        options = DehazeOptions(keep_exposure=keep_exposure)
        restored = np.empty_like(view)
        restore_strips(view, restored, solve_field(view, Fixed(lift=0.0), options), options)
        return float((luminance(restored) - luminance(view)).mean())

    assert change(0.0) < -2 * DARKEST_CHANGE
    assert -1.3 * DARKEST_CHANGE < change(1.0) < 0


@pytest.mark.parametrize(
    ("clear", "spare", "left"), [(0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (0.5, 1.0, 0.5), (1.0, 0.0, 1.0)]
)
def test_what_looks_clear_is_spared_as_far_as_the_option_says(clear, spare, left):
    view = np.full((48, 64, 3), 0.85, np.float32)
    field = solve_field(view, Fixed(lift=0.8, clear=clear), DehazeOptions(spare_clear=spare))
    gray = np.full((12, 16), 0.5, np.float32)
    np.testing.assert_allclose(field.transmission(gray), 0.4**left, atol=1e-5)
    assert field.lift == pytest.approx(0.8 * left)
    assert field.density == pytest.approx(-np.log(0.4), abs=1e-5)  # what was found, not what is left of it


def test_the_share_beyond_sight_and_the_least_transmission():
    class Dense(Fixed):
        def estimate(self, view):
            transmission = np.full((12, 16), 0.05, np.float32)
            transmission[6:] = 0.6
            return HazeEstimate(transmission, np.full(3, 0.85, np.float32), lift=0.0, **self.details)

    for least in (0.12, 0.3):
        field = solve_field(landscape(), Dense(least_transmission=least), DehazeOptions())
        assert field.beyond_sight == 0.5
        assert field.transmission(np.full((12, 16), 0.5, np.float32)).min() == pytest.approx(least)


def test_the_change_is_that_of_the_restored_picture():
    from unhaze.restore.strips import restore_strips

    view = landscape()
    field = solve(view, keep_exposure=0.0, protect_sky=0.0)
    restored = np.empty_like(view)
    restore_strips(view, restored, field, DehazeOptions(keep_exposure=0.0, color_blend=1.0))
    change = np.abs(luminance(restored) - luminance(view)).mean()
    assert field.change == pytest.approx(change, rel=0.15)  # pixels that would leave the range change less
    assert not field.looks_clear
    assert solve(np.full((32, 48, 3), 0.5, np.float32)).looks_clear


@pytest.mark.parametrize(
    ("transmission", "airlight", "words"),
    [
        (np.full((4, 6), 0.5), np.full(2, 0.9), "airlight of shape"),
        (np.full((4, 6, 1), 0.5), np.full(3, 0.9), "must give"),
        (np.full((4, 6), 0.5), np.full((4, 5, 3), 0.9), "must give"),
        (np.full((4, 6), np.nan), np.full(3, 0.9), "no haze has"),
        (np.zeros((4, 6)), np.full(3, 0.9), "no haze has"),
    ],
)
def test_what_a_strangers_model_cannot_mean_is_told_by_its_name(transmission, airlight, words):
    class Strange:
        info = ModelInfo("strange", "", "", "")

        def estimate(self, view):
            return HazeEstimate(transmission.astype(np.float32), airlight.astype(np.float32))

    with pytest.raises(UsageError, match=f"The model strange .*{words}"):
        solve_field(np.zeros((4, 6, 3), np.float32), Strange(), DehazeOptions())
