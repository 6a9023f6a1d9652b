"""Where the default's scenes come from, and that none is both trained and judged on."""

import cv2
import numpy as np
import pytest

from unhaze.data.synthetic.scenes import Scene
from unhaze.default.scenes import SOURCES, SceneBank, distance_veil, read_scene, scene_names
from unhaze.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for folder, names in {
        "rgbd": ["frame-000000.color.jpg", "frame-000008.color.jpg"],
        "more/rgbd/replica_apartment0_f1": ["1.jpg", "2.jpg", "3.jpg"],
        "camvid/images": ["0001TP_1.png", "0006R0_f2.png", "0016E5_3.png"],
        "clear/urban100": ["a.png"],
        "clear/sunhays80": ["b.png"],
        "more/photos/houses_kitchen": ["1_kitchen.jpg"],
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(tmp_path / folder / name), rng.integers(0, 256, (30, 40, 3), np.uint8))
            if "rgbd" in folder:
                depth = rng.integers(500, 4000, (15, 20), np.uint16)
                stem = name.removesuffix(".jpg").removesuffix(".color")
                cv2.imwrite(str(tmp_path / folder / f"{stem}.depth.png"), depth)
    (tmp_path / "camvid/labels").mkdir()
    for name in ("0001TP_1", "0006R0_f2", "0016E5_3"):
        labels = np.full((30, 40), 3, np.uint8)
        labels[:12] = 0
        cv2.imwrite(str(tmp_path / f"camvid/labels/{name}.png"), labels)
    return tmp_path


def test_no_place_is_both_trained_and_judged_on(folder):
    found = {
        split: {name for source in SOURCES if source.split == split for name in scene_names(folder, source)}
        for split in ("train", "validation")
    }
    assert not found["train"] & found["validation"]
    assert {name.split("/")[0] for name in found["validation"]} == {"rgbd", "camvid", "clear"}
    assert "camvid/images/0006R0_f2.png" in found["validation"]
    assert "rgbd/frame-000000.color.jpg" in found["validation"]
    assert "more/rgbd/replica_apartment0_f1/1.jpg" in found["train"]


def test_sources_of_one_folder_do_not_overlap():
    """A drive or a folder belongs to one split as a whole."""
    splits = {}
    for source in SOURCES:
        assert splits.setdefault((source.folder, source.pattern), source.split) == source.split
    patterns = [source.pattern for source in SOURCES if source.folder == "camvid/images"]
    assert len(patterns) == len(set(patterns)) == 3


@pytest.mark.parametrize(
    ("hills", "kind", "kept"),
    [
        ((160, 180, 200), "outdoors", False),  # pale, without contrast: veiled
        ((30, 60, 20), "outdoors", True),  # dark trees
        (None, "outdoors", True),  # pale and rich in contrast: white houses
        ((160, 180, 200), "indoors", True),
    ],
)
def test_photographs_with_a_veiled_distance_are_no_clear_pictures(hills, kind, kept):
    image = np.full((120, 160, 3), (180, 205, 230), np.uint8)
    image[40:] = np.random.default_rng(0).integers(0, 256, (80, 160, 1)) if hills is None else hills
    image[80:] = 40
    sky = np.zeros((120, 160), np.uint8)
    sky[:40] = 255
    flat = np.zeros((120, 160), np.uint8)
    other = Scene("other", kind, image, None, flat)
    scene = Scene("hills", kind, image, None, flat, sky)
    assert distance_veil(other) == 0  # no sky is seen
    assert (distance_veil(scene) > 0.35) == (hills == (160, 180, 200))
    assert (scene in SceneBank([other, scene]).without_veiled(0.35).scenes) == kept


def test_scenes_have_the_depth_of_their_kind(folder):
    bank = SceneBank.load(folder, "train", boxes=2)
    assert {kind: len(indices) for kind, indices in bank.of_kind.items()} == {
        "room": 3,
        "road": 2,
        "outdoors": 1,
        "indoors": 1,
        "boxes": 2,
    }
    for scene in bank.scenes:
        assert (scene.depth is None) == (scene.group in ("indoors", "outdoors"))
        assert scene.depth is None or (scene.depth.shape == scene.image.shape[:2] and scene.depth.min() > 0)
    road = next(scene for scene in bank.scenes if scene.group == "road")
    assert road.depth[0].min() > 300 > 50 > road.depth[-1].max()  # sky above, road below
    assert road.sky is not None
    room = read_scene(folder, "rgbd/frame-000008.color.jpg", "room", size=20)
    assert max(room.image.shape) == 20
    assert 0.4 < room.depth.min() <= room.depth.max() < 4.1  # millimetres became metres


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        SceneBank.load(tmp_path / "nowhere", "train")
    (folder / "more/rgbd/replica_apartment0_f1/2.depth.png").unlink()
    with pytest.raises(UsageError, match=r"2\.depth\.png is missing"):
        SceneBank.load(folder, "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no scene"):
        SceneBank.load(tmp_path / "empty", "train")


def test_kinds_are_drawn_by_weight(folder):
    bank, rng = SceneBank.load(folder, "train"), np.random.default_rng(0)
    drawn = [bank.draw(rng, (("room", 0.75), ("road", 0.25), ("boxes", 9.0))).group for _ in range(400)]
    assert set(drawn) == {"room", "road"}  # there are no boxes here
    assert 0.68 < drawn.count("room") / 400 < 0.82
    with pytest.raises(UsageError, match=r"data\.weights"):
        bank.draw(rng, (("boxes", 1.0),))
