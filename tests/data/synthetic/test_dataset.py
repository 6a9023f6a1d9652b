"""Haze made on the fly: seeded per index, true to its models, by day and by night."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from unhaze.data import create_dataset
from unhaze.data.dataset import Series
from unhaze.data.synthetic.dataset import SyntheticDataset
from unhaze.data.synthetic.night import Lamp, draw_lamps, night_view
from unhaze.data.synthetic.scenes import Scene, SceneBank, SynthesisConfig
from unhaze.data.transforms import RandomCrop
from unhaze.errors import UnknownNameError, UsageError


@pytest.fixture(scope="module")
def bank(photo):
    image = cv2.resize(photo, (96, 64))
    depth = np.tile(np.linspace(60, 2, 64, dtype=np.float32)[:, None], (1, 96))
    segments = np.repeat(np.arange(4, dtype=np.uint8), 16)[:, None] * np.ones((1, 96), np.uint8)
    return SceneBank(
        [Scene("rgbd/a", "rgbd", image, depth, segments), Scene("clear/b", "clear", image, None, segments)]
    )


def test_a_sample_depends_on_seed_and_number_alone(bank):
    dataset = SyntheticDataset(bank, (32, 48), night=0.5, length=8)
    alone = [dataset[index] for index in range(8)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(dataset.__getitem__, reversed(range(8))))[::-1]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.hazy, other.hazy)
        np.testing.assert_array_equal(one.clear, other.clear)
    assert {sample.meta["kind"] for sample in alone} == {"day", "night"}
    np.testing.assert_array_equal(dataset.at(3, epoch=2).hazy, SyntheticDataset(bank, (32, 48), night=0.5)[19].hazy)
    assert not np.array_equal(alone[0].hazy, SyntheticDataset(bank, (32, 48), night=0.5, seed=1)[0].hazy)
    np.testing.assert_array_equal(Series(dataset, 20, shuffle=False)[19].hazy, dataset.at(3, epoch=2).hazy)


def test_what_has_no_end_is_taken_in_its_own_order(bank):
    endless = SyntheticDataset(bank, (32, 48), night=0.0)
    np.testing.assert_array_equal(Series(endless, 9, seed=4)[5].hazy, endless[5].hazy)


def test_night_does_not_change_the_days(bank):
    days = SyntheticDataset(bank, (32, 48), night=0.0, length=8)
    mixed = SyntheticDataset(bank, (32, 48), night=0.5, length=8)
    compared = [(a, b) for a, b in zip(days, mixed, strict=True) if b.meta["kind"] == "day"]
    assert compared
    for one, other in compared:
        np.testing.assert_array_equal(one.hazy, other.hazy)


def test_a_sample_carries_what_the_synthesis_knows(bank):
    config = SynthesisConfig(weights=(1, 0, 0))
    sample = SyntheticDataset(bank, (32, 48), config=config, transform=RandomCrop(16))[0]
    assert sample.hazy.shape == (16, 16, 3)
    assert sample.depth.kind == "metric"
    assert sample.depth.map.shape == sample.meta["transmission"].shape == (16, 16)
    assert 2 <= sample.depth.map.min() <= sample.depth.map.max() <= 60


def test_the_catalogue_opens_it(photo, tmp_path):
    (tmp_path / "clear/some").mkdir(parents=True)
    for index in range(7):
        cv2.imwrite(str(tmp_path / f"clear/some/{index}.png"), cv2.resize(photo, (60, 40)))
    dataset = create_dataset("synthetic", tmp_path, "validation", size=(16, 24), length=3)
    assert [sample.hazy.shape for sample in dataset] == [(16, 24, 3)] * 3
    with pytest.raises(UnknownNameError):
        create_dataset("synthetic", tmp_path, "test")
    with pytest.raises(UsageError, match="on_error"):
        create_dataset("synthetic", tmp_path, on_error="skip")
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize("option", [{"night": 1.5}, {"length": 0}, {"seed": -1}, {"size": (0, 4)}])
def test_wrong_options_are_refused(bank, option):
    with pytest.raises(UsageError, match=next(iter(option))):
        SyntheticDataset(bank, **option)


LAMP = Lamp(0.5, 0.5, (1.0, 0.5, 0.1), power=1.0, reach=0.2, size=0.0)


def luma(picture):
    return picture.mean(axis=2)


def test_without_haze_the_night_is_clear():
    clear = np.full((40, 60, 3), 0.6, np.float32)
    view = night_view(clear, np.ones((40, 60), np.float32), (LAMP,))
    np.testing.assert_allclose(view.hazy, view.clear, atol=1e-6)


def test_light_falls_off_from_the_lamp_and_has_its_colour():
    clear = np.full((40, 60, 3), 0.6, np.float32)
    view = night_view(clear, np.full((40, 60), 0.5, np.float32), (LAMP,), ambient=0.0, exposure=0.05)
    for picture in (view.hazy, view.clear, view.airlight):
        middle, corner = picture[20, 30], picture[0, 0]
        assert (middle > corner).all()
        assert middle[0] > middle[1] > middle[2]


def test_haze_before_a_lamp_makes_it_glow():
    clear = np.zeros((40, 60, 3), np.float32)
    transmission = np.full((40, 60), 0.4, np.float32)
    dull = night_view(clear, transmission, (LAMP,), glow=0.0, exposure=0.05)
    glowing = night_view(clear, transmission, (LAMP,), glow=1.0, exposure=0.05)
    # the halo is narrower than the light, so at equal exposure the middle gains and the corner loses
    assert luma(glowing.hazy)[20, 30] > luma(dull.hazy)[20, 30]
    assert luma(glowing.hazy)[0, 0] < luma(dull.hazy)[0, 0]


def test_endless_haze_is_the_airlight():
    clear = np.random.default_rng(0).random((40, 60, 3), np.float32)
    view = night_view(clear, np.full((40, 60), 1e-6, np.float32), (LAMP,), glow=0.0)
    np.testing.assert_allclose(view.hazy, view.airlight, atol=1e-3)


def test_lamps_come_in_several_colours():
    lamps = [draw_lamps(np.random.default_rng(seed)) for seed in range(20)]
    assert all(3 <= len(each) <= 9 for each in lamps)
    assert all(min(lamp.color) > 0 and lamp.power > 0 and lamp.reach > 0 for each in lamps for lamp in each)
    hues = {int(np.argmax(lamp.color)) for each in lamps for lamp in each}
    assert hues == {0, 1, 2}


@pytest.mark.parametrize("size", [(1, 1), (3, 17)])
def test_tiny_pictures_work(size):
    view = night_view(
        np.zeros((*size, 3), np.float32), np.full(size, 0.5, np.float32), draw_lamps(np.random.default_rng(0))
    )
    assert np.isfinite(view.hazy).all()
