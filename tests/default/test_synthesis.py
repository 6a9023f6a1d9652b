"""Hazy views: what is drawn obeys the model, and what was drawn is told."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhaze.data.synthetic.scenes import Scene, enlarge_airlight
from unhaze.default.scenes import SceneBank
from unhaze.default.synthesis import LIGHT_POINTS, SynthesisConfig, darken, synthesize

CLEAN = SynthesisConfig(noise=0, blur=0, shrink=0, jpeg=0, linear_light=0, clear=0)


@pytest.fixture(scope="module")
def bank():
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (120, 160, 3)).astype(np.uint8), (0, 0), 4)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    segments = (np.arange(160) // 10 % 20).astype(np.uint8)[None, :].repeat(120, axis=0)
    depth = np.linspace(8, 1, 120, dtype=np.float32)[:, None].repeat(160, axis=1)
    return SceneBank([Scene("room", "room", image, depth, segments), Scene("photo", "outdoors", image, None, segments)])


def draw(bank, config, count=40, size=(48, 64)):
    return [synthesize(bank, config, 7, index, *size) for index in range(count)]


def test_a_sample_depends_on_its_number_alone(bank):
    one, other = (synthesize(bank, SynthesisConfig(), 3, 11, 48, 64) for _ in range(2))
    assert np.array_equal(one.hazy, other.hazy)
    assert not np.array_equal(one.hazy, synthesize(bank, SynthesisConfig(), 3, 12, 48, 64).hazy)


def test_hazy_views_obey_the_scattering_model(bank):
    for sample in draw(bank, CLEAN):
        light = enlarge_airlight(sample.airlight, 48, 64)
        t = sample.transmission[..., None]
        expected = sample.clear / 255 * t + light * (1 - t)
        assert np.abs(sample.hazy / 255 - expected).max() < 1.6 / 255
        assert sample.in_srgb
        assert sample.transmission.min() < 1


def test_haze_in_the_distance_leaves_the_front_and_the_sky_alone():
    """Mountains on a clear day: air in front of the camera, a veil of the sky's colour over what is far."""
    rng = np.random.default_rng(2)
    image = np.full((120, 160, 3), (150, 190, 220), np.uint8)  # a blue sky
    image[40:] = rng.integers(20, 90, (80, 160, 3))
    sky = np.zeros((120, 160), np.uint8)
    sky[:40] = 255
    depth = np.linspace(20, 1, 120, dtype=np.float32)[:, None].repeat(160, axis=1)
    scenes = SceneBank([Scene("hills", "outdoors", image, depth, np.zeros((120, 160), np.uint8), sky)])
    still = {"plain": 0, "estimated": 1, "zoom": (1.0, 1.0), "relight": 0, "repaint": 0, "hazy_sky": 0}
    config = dataclasses.replace(CLEAN, distant=1, weights=(("outdoors", 1.0),), **still)
    for sample in draw(scenes, config, size=(120, 160)):
        optical = -np.log(sample.transmission).mean(axis=1)
        assert optical[:36].max() < 0.02
        assert optical[-8:].max() < 0.07
        assert 0.2 < optical[45:].max() < 2.6
        assert optical[45] >= optical[100]
        red, green, blue = sample.airlight[0, 0]
        assert red < green < blue
        assert sample.gain == 0


def test_plain_haze_is_even_grey_and_bright(bank):
    config = dataclasses.replace(CLEAN, plain=1, agnostic=0, weights=(("room", 1.0),))
    for sample in draw(bank, config):
        assert np.ptp(sample.airlight, axis=(0, 1)).max() == 0
        assert np.ptp(sample.airlight[0, 0]) < 0.06
        assert sample.airlight.min() > 0.66
        assert sample.gain == 0
        optical = -np.log(sample.transmission)
        known = optical < optical.max() * 0.99
        ratio = (optical / sample.depth)[known]
        assert ratio.std() < 0.02 * ratio.mean()  # Beer and Lambert: proportional to the depth
        assert 0.45 < np.median(optical) < 2.0


def test_wild_haze_is_of_every_kind(bank):
    samples = draw(bank, dataclasses.replace(CLEAN, plain=0), 120)
    dark = [sample for sample in samples if sample.gain > 0]
    assert 0.35 < len(dark) / 120 < 0.65
    assert np.mean([each.clear.mean() for each in dark]) < 0.7 * np.mean(
        [each.clear.mean() for each in samples if each.gain == 0]
    )
    uneven = [np.ptp(each.airlight.mean(axis=2)) for each in samples]
    assert 0.4 < np.mean(np.array(uneven) > 0.01) < 0.8
    assert max(uneven) > 0.2
    assert all(each.airlight.shape == (LIGHT_POINTS, LIGHT_POINTS, 3) for each in samples)
    mean_depth = [-np.log(each.transmission).mean() for each in samples]
    assert np.quantile(mean_depth, 0.15) < 0.4
    assert np.quantile(mean_depth, 0.9) > 1.2


def test_clear_views_have_no_haze(bank):
    for sample in draw(bank, dataclasses.replace(CLEAN, clear=1), 20):
        assert sample.transmission.min() == 1
        assert sample.gain == 0
        assert np.abs(sample.hazy.astype(int) - sample.clear).max() <= 1


def test_only_measured_depth_is_called_known(bank):
    samples = draw(bank, SynthesisConfig())
    assert {sample.depth is None for sample in samples} == {True, False}


@given(value=st.floats(0, 1), gain=st.floats(0, 2))
def test_the_curve_of_the_dehazer_undoes_the_darkening(value, gain):
    dark = float(darken(np.float32(value), gain))
    k = np.expm1(gain)
    assert 0 <= dark <= value + 1e-6
    assert dark * (1 + k) / (1 + k * dark) == pytest.approx(value, abs=1e-5)
