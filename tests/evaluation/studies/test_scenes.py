import math

import cv2
import numpy as np
import pytest

from unhaze.errors import UsageError
from unhaze.evaluation.studies.scenes import ClearScene, haze_levels, hazed, load_scenes, partner_of

rng = np.random.default_rng(0)


def picture(height=24, width=32):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def maps(tmp_path):
    """Three pictures with depth maps of 2 m, in millimetres."""
    (tmp_path / "clear").mkdir()
    (tmp_path / "depth").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / "clear" / f"{name}.png"), picture())
        cv2.imwrite(str(tmp_path / "depth" / f"{name}.png"), np.full((24, 32), 2000, np.uint16))
    return tmp_path


def test_levels_are_those_of_the_paper():
    assert haze_levels() == (0.04, 0.072, 0.104, 0.136, 0.168, 0.2)
    assert haze_levels(1, 0.0, 0.3) == (0.3,)


@pytest.mark.parametrize("arguments", [(0, 0.1, 0.2), (3, -0.1, 0.2), (3, 0.3, 0.2), (3, 0.1, math.inf)])
def test_levels_that_cannot_be(arguments):
    with pytest.raises(UsageError, match="LOW <= HIGH"):
        haze_levels(*arguments)


def test_no_haze_changes_nothing():
    clear = (picture() / 255).astype(np.float32)
    hazy, transmission = hazed(ClearScene("a", clear, np.full((24, 32), 5, np.float32)), 0.0)
    np.testing.assert_array_equal(hazy, np.float32(np.rint(clear * 255)) / np.float32(255))
    assert transmission == 1


def test_haze_follows_the_scattering_model():
    scene = ClearScene("a", np.full((2, 2, 3), 0.2, np.float32), np.full((2, 2), 10, np.float32))
    hazy, transmission = hazed(scene, 0.1, airlight=0.9)
    t = math.exp(-1)
    assert transmission == pytest.approx(t)
    np.testing.assert_allclose(hazy, np.rint((0.2 * t + 0.9 * (1 - t)) * 255) / 255, rtol=1e-6)


def test_a_folder_with_maps(maps):
    scenes = load_scenes(maps, long_side=16)
    assert [scene.name for scene in scenes] == ["a.png", "b.png", "c.png"]
    assert scenes[0].clear.shape == (12, 16, 3)
    np.testing.assert_allclose(scenes[0].depth, 2.0)
    assert [scene.name for scene in load_scenes(maps, count=2)] == ["a.png", "c.png"]
    assert load_scenes(maps, depth_scale=0.01)[0].depth.max() == pytest.approx(20)


def test_small_pictures_stay_as_they_are(maps):
    scene = load_scenes(maps, long_side=320)[0]
    read = cv2.imread(str(maps / "clear" / "a.png"))[..., ::-1]
    np.testing.assert_array_equal(np.rint(scene.clear * 255), read)


def test_validation_frames_of_a_bank(tmp_path):
    (tmp_path / "rgbd").mkdir()
    for frame in (0, 640, 648, 656):
        cv2.imwrite(str(tmp_path / "rgbd" / f"frame-{frame:06}.color.jpg"), picture())
        cv2.imwrite(str(tmp_path / "rgbd" / f"frame-{frame:06}.depth.png"), np.full((24, 32), 1500, np.uint16))
    scenes = load_scenes(tmp_path, group="rgbd", count=2)
    assert [scene.name for scene in scenes] == ["rgbd/frame-000640.color.jpg", "rgbd/frame-000656.color.jpg"]
    np.testing.assert_allclose(scenes[0].depth, 1.5)
    with pytest.raises(UsageError, match="no validation pictures of camvid"):
        load_scenes(tmp_path, group="camvid")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 0}, "at least 1"),
        ({"group": "clear"}, "choose rgbd or camvid"),
    ],
)
def test_mistakes(maps, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        load_scenes(maps, **options)


def test_incomplete_folders(maps):
    (maps / "depth" / "b.png").unlink()
    with pytest.raises(UsageError, match=r"no map b\.png"):
        load_scenes(maps)
    for absent in (maps / "depth", maps / "nowhere"):
        with pytest.raises(UsageError, match="no pictures of known depth"):
            load_scenes(absent)


def test_partners_are_other_pictures():
    for count in range(2, 9):
        partners = [partner_of(i, count) for i in range(count)]
        assert sorted(partners) == list(range(count))
        assert all(i != partner for i, partner in enumerate(partners))
