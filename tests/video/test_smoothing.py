"""Haze over time: less flicker in a still scene, a fresh start after a cut."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data
from sklearn.datasets import load_sample_image

from unhaze.errors import UsageError
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.haze_field import HazeField
from unhaze.restore.options import DEFAULT_TEMPORAL
from unhaze.video.smoothing import MAXIMUM_WEIGHT, LookaheadSmoother, TemporalSmoother, is_cut, thumbnail

METHODS = ["dcp", "field-m"]
MAPS = ("slope", "offset", "airlight", "confidence")


def field_of(value, shape=(4, 6)):
    maps = (np.full(shape, value + i, np.float32) for i in range(3))
    slope, offset, confidence = maps
    return HazeField(slope, offset, np.full(3, value / 10, np.float32), confidence, lift=value)


def frame(level=100):
    return np.full((30, 40, 3), level, np.uint8)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in (*MAPS, "lift"))


@given(values=st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=8), weight=st.floats(0, MAXIMUM_WEIGHT))
def test_every_number_of_the_field_is_smoothed_exponentially(values, weight):
    smoother, expected = TemporalSmoother(weight), None
    for value in values:
        expected = value if expected is None else weight * expected + (1 - weight) * value
        smooth = smoother(field_of(value), frame())
        np.testing.assert_allclose(smooth.slope, expected, atol=1e-5)
        np.testing.assert_allclose(smooth.offset, expected + 1, atol=1e-5)
        np.testing.assert_allclose(smooth.confidence, expected + 2, atol=1e-5)
        np.testing.assert_allclose(smooth.airlight, expected / 10, atol=1e-5)
        assert smooth.lift == pytest.approx(expected, abs=1e-5)
        assert smooth.slope.dtype == smooth.offset.dtype == smooth.airlight.dtype == np.float32


def test_weight_zero_gives_back_what_it_gets():
    smoother = TemporalSmoother(0.0)
    for value in (0.1, 0.9):
        field = field_of(value)
        assert smoother(field, frame()) is field


@pytest.mark.parametrize("weight", [-0.01, 0.981, 1.0, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(UsageError, match=r"^temporal is .*, but must lie between 0 and 0\.98\.$"):
        TemporalSmoother(weight)


def test_it_begins_anew_after_a_cut_and_with_frames_of_another_size():
    smoother = TemporalSmoother(0.9)
    smoother(field_of(0.1), frame(60))
    after = field_of(0.8)
    assert smoother(after, frame(200)) is after
    other = field_of(0.3, (5, 7))
    assert smoother(other, frame(200)) is other
    assert not same(smoother(field_of(0.5, (5, 7)), frame(200)), field_of(0.5, (5, 7)))


# -- cuts -------------------------------------------------------------------------------------------------------------


def moved(picture, share):
    """``picture`` seen through a window, and through one further right."""
    width = picture.shape[1]
    step, margin = int(width * share), width // 8
    return picture[:, margin:-margin], picture[:, margin + step : step - margin or None]


@pytest.fixture(scope="module")
def scenes(hazy_photo):
    """Clear and hazy scenes."""
    china, flower = (load_sample_image(f"{name}.jpg") for name in ("china", "flower"))
    coffee, cat, rocket = data.coffee(), data.cat(), data.rocket()
    fog = (coffee * 0.35 + 140).astype(np.uint8)
    mist = (rocket * 0.5 + 105).astype(np.uint8)
    return {"china": china, "flower": flower, "cat": cat, "hazy": hazy_photo[0], "fog": fog, "mist": mist}


def test_other_scenes_are_cuts(scenes):
    names = [name for name in scenes if name != "china"]  # the hazy scene is china behind haze
    for i, one in enumerate(names):
        for other in names[:i]:
            assert is_cut(thumbnail(scenes[one]), thumbnail(scenes[other])), (one, other)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_motion_is_no_cut(scenes, share):
    for name, picture in scenes.items():
        before, after = moved(picture, share)
        assert not is_cut(thumbnail(before), thumbnail(after)), name


def test_noise_and_flicker_are_no_cut(scenes):
    rng = np.random.default_rng(0)
    for name, picture in scenes.items():
        noisy = np.clip(picture + rng.normal(0, 15, picture.shape), 0, 255).astype(np.uint8)
        brighter = np.clip(picture * 1.05, 0, 255).astype(np.uint8)
        for other in (noisy, brighter):
            assert not is_cut(thumbnail(picture), thumbnail(other)), name


def test_thumbnails_mean_the_same_for_all_frames(scenes):
    picture = scenes["china"]
    small = thumbnail(picture)
    assert small.shape == (27, 48, 3)
    np.testing.assert_allclose(thumbnail(picture.astype(np.uint16) * 257), small, atol=1 / 255)
    np.testing.assert_allclose(thumbnail(picture.astype(np.float32) / 255), small, atol=1 / 255)
    gray = thumbnail(np.ascontiguousarray(picture[..., 1]))
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])


# -- through the dehazer ----------------------------------------------------------------------------------------------


def noisy_frames(scene, count, seed):
    rng = np.random.default_rng(seed)
    return [np.clip(scene + rng.normal(0, 12, scene.shape), 0, 255).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("method", METHODS)
def test_a_still_scene_flickers_less(hazy_photo, method):
    """The restored mean brightness of blocks over time: noise of the sensor averages out, what is left is the haze."""
    scene = cv2.resize(hazy_photo[0], (160, 106), interpolation=cv2.INTER_AREA)
    frames = noisy_frames(scene, 14, seed=3)

    def flicker(weight):
        with Dehazer(method, threads=1) as dehazer:
            fields = [dehazer.solve(frame) for frame in frames]
        smoother = TemporalSmoother(weight)
        gray = scene[..., 1].astype(np.float32) / 255
        small = cv2.resize(gray, fields[0].slope.shape[::-1], interpolation=cv2.INTER_AREA)
        transmissions = [smoother(f, p).transmission(small) for f, p in zip(fields, frames, strict=True)]
        return float(np.var(np.stack(transmissions[6:]), axis=0).mean())

    alone, smoothed = flicker(0.0), flicker(0.8)
    assert alone > 0
    # independent frames: the variance of the smoothed ones is (1 - w) / (1 + w) = 1/9 of it, once settled
    assert smoothed < alone / 4


@pytest.mark.parametrize("method", METHODS)
def test_the_first_frame_after_a_cut_is_as_without_smoothing(hazy_photo, method):
    scene = cv2.resize(hazy_photo[0], (160, 106), interpolation=cv2.INTER_AREA)
    other = cv2.resize((load_sample_image("flower.jpg") * 0.4 + 130).astype(np.uint8), (160, 106))
    frames = [*noisy_frames(scene, 3, seed=0), *noisy_frames(other, 2, seed=1)]
    with Dehazer(method, threads=1) as dehazer:
        alone, identity, smoothed = (list(dehazer.stream(frames, temporal=w, jobs=2)) for w in (0.0, 0, 0.9))
    for one, other in zip(alone, identity, strict=True):
        np.testing.assert_array_equal(one, other)
    equal = [np.array_equal(one, other) for one, other in zip(alone, smoothed, strict=True)]
    assert equal == [True, False, False, True, False]


# -- what a viewer sees -----------------------------------------------------------------------------------------------


def in_fog(clear, density):
    """A scene in fog that thickens upwards."""
    share = np.exp(-density * np.linspace(1.5, 0.3, len(clear)))[:, None, None]
    return clear * share + 205 * (1 - share)


def noisy(picture, rng):
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def street():
    return cv2.resize(load_sample_image("china.jpg"), (960, 540)).astype(float)


@pytest.mark.parametrize("method", METHODS)
def test_a_still_noisy_scene_does_not_flicker(street, method):
    rng = np.random.default_rng(0)
    frames = [noisy(in_fog(street, 0.6), rng) for _ in range(10)]
    with Dehazer(method, threads=1) as dehazer:
        restored = [each.mean(axis=2) for each in dehazer.stream(frames, temporal=DEFAULT_TEMPORAL)]
    means = [each.mean() for each in restored]
    assert np.abs(np.diff(means)).max() < 0.05
    blocks = [cv2.resize(each, (60, 33), interpolation=cv2.INTER_AREA) for each in restored]
    assert max(np.abs(one - two).max() for one, two in itertools.pairwise(blocks)) < 3


def test_fog_that_comes_in_does_not_pop(street):
    rng = np.random.default_rng(1)
    frames = [noisy(in_fog(street, 0.1 + 0.03 * i), rng) for i in range(30)]
    with Dehazer("field-m", threads=1) as dehazer:
        means = [each.mean() for each in dehazer.stream(frames, temporal=DEFAULT_TEMPORAL)]
    steps = np.abs(np.diff([frame.mean() for frame in frames]))
    assert np.abs(np.diff(means)).max() < 2 * steps.max()


def test_the_state_can_be_kept_and_taken_up(hazy_photo):
    """As if nothing had happened in between, bit for bit; a stream that begins has no state."""
    frames = [np.ascontiguousarray(hazy_photo[0][100:196, 3 * number :][:, :128]) for number in range(4)]
    smoother, resumed = TemporalSmoother(0.9), TemporalSmoother(0.9)
    assert smoother.state == {}
    with Dehazer(threads=1) as dehazer:
        fields = [dehazer.solve(frame) for frame in frames]
    for field, frame in zip(fields[:2], frames[:2], strict=True):
        smoother(field, frame)
    resumed.restore({name: array.copy() for name, array in smoother.state.items()})
    for field, frame in zip(fields[2:], frames[2:], strict=True):
        one, other = smoother(field, frame), resumed(field, frame)
        assert (one.slope == other.slope).all()
        assert (one.airlight == other.airlight).all()
        assert one.lift == other.lift
        assert (one.slope != field.slope).any()


# -- motion, and fields that are followed in the place of estimates ----------------------------------------------------


def textured(shape=(96, 160), seed=0):
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.uint8(np.clip(128 + 60 * smooth / smooth.std(), 0, 255))


def ramp_field(shape, shift=0.0):
    x = np.broadcast_to((np.arange(shape[1], dtype=np.float32) + shift) / 100, shape)
    ones = np.ones(shape, np.float32)
    return HazeField(x.copy(), ones, np.full(3, 0.8, np.float32), ones, lift=0.0)


def test_haze_moves_along_with_the_camera():
    """A pan by 4 px: what is known of a place is taken from where the place was; without motion it stays there."""
    world = textured((96, 200))
    size = (96, 160)
    smoother = TemporalSmoother(0.98)
    smoother(ramp_field(size, 0), world[:, :160])
    panned = smoother(ramp_field(size, 4), world[:, 4:164])
    inner = (slice(8, -8), slice(8, -16))
    assert np.abs(panned.slope - ramp_field(size, 4).slope)[inner].max() < 0.004
    followed = TemporalSmoother(0.98)
    followed(ramp_field(size, 0), world[:, :160])
    field = followed.follow(np.ascontiguousarray(world[:, 2:162]))
    assert field is not None
    assert np.abs(field.slope - ramp_field(size, 2).slope)[inner].max() < 0.004


def test_what_cannot_be_followed_is_estimated():
    smoother = TemporalSmoother(0.9)
    assert smoother.follow(textured()) is None, "nothing is known yet"
    field = ramp_field((96, 160))
    smoother(field, textured())
    assert same(smoother.follow(textured()), field)
    assert smoother.follow(textured(seed=1)) is None
    assert TemporalSmoother(0.0).follow(textured()) is None


def test_an_estimate_after_followed_frames_counts_as_much_as_theirs_would():
    smoother, picture = TemporalSmoother(0.9), textured((4, 6))
    smoother(field_of(0.0), picture)
    smoother.follow(picture)
    smooth = smoother(field_of(1.0), picture)
    np.testing.assert_allclose(smooth.slope, 1 - 0.9**2, atol=1e-6)


@given(values=st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=9), ahead=st.integers(1, 4))
def test_looking_ahead_is_the_exponential_kernel_on_both_sides(values, ahead):
    weight, window = 0.7, LookaheadSmoother(0.7, ahead)
    made = [f for value in values for f in window.push(field_of(value), frame())] + window.flush()
    assert len(made) == len(values)
    before, causal = [], None
    for value in values:
        causal = value if causal is None else weight * causal + (1 - weight) * value
        before.append(causal)
    for number, field in enumerate(made):
        after = None
        for value in reversed(values[number + 1 : number + 1 + ahead]):
            after = value if after is None else weight * after + (1 - weight) * value
        expected = before[number] if after is None else (before[number] + weight * after) / (1 + weight)
        np.testing.assert_allclose(field.slope, expected, atol=1e-5)


def test_looking_ahead_stops_at_a_cut():
    window = LookaheadSmoother(0.9, 3)
    made = window.push(field_of(0.1), frame(60)) + window.push(field_of(0.8), frame(200)) + window.flush()
    assert same(made[0], field_of(0.1))
    assert same(made[1], field_of(0.8))
    with pytest.raises(UsageError, match="lookahead"):
        LookaheadSmoother(0.9, 99)


@pytest.mark.parametrize("kind", ["pan", "zoom", "still"])
def test_following_changes_a_frame_by_one_level_at_most(kind):
    """What ``docs/video.md`` says of solving for every other frame."""
    rng = np.random.default_rng(0)
    height, width, count = 180, 320, 12
    wide = np.zeros((height, width + 2 * count, 3), np.float32)
    for size in (4, 8, 16, 32, 64, 128):
        coarse = rng.random((height // size + 2, wide.shape[1] // size + 2, 3), np.float32)
        wide += cv2.resize(coarse, wide.shape[1::-1], interpolation=cv2.INTER_CUBIC) * size**0.7
    through = np.exp(-np.linspace(2.2, 0.2, height))[:, None, None]
    hazy = (wide - wide.min()) / (wide.max() - wide.min()) * through + 0.85 * (1 - through)
    every, second, followed, steps = TemporalSmoother(0.97), TemporalSmoother(0.97), 0, []
    with Dehazer(threads=1) as dehazer:
        for number in range(count):
            frame = hazy[:, 2 * number :][:, :width] if kind == "pan" else hazy[:, :width]
            if kind == "zoom":
                turn = cv2.getRotationMatrix2D((width / 2, height / 2), 0, 1 + 0.003 * number)
                frame = cv2.warpAffine(frame, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
            pixels = np.clip(frame * 255 + rng.normal(0, 2, frame.shape), 0, 255).round().astype(np.uint8)
            field = dehazer.solve(pixels)
            kept = second.follow(pixels) if number % 2 else None
            followed += kept is not None
            outcomes = [dehazer.apply(pixels, each) for each in (every(field, pixels), kept or second(field, pixels))]
            steps.append(np.abs(outcomes[0].astype(int) - outcomes[1]).max())
    assert followed == count // 2
    assert 0 < max(steps) <= 1
