"""The synthesis: what it says about a sample is true, and it depends on the index alone."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from unhaze.data.synthetic import _haze
from unhaze.data.synthetic import scenes as synthetic
from unhaze.data.synthetic.scenes import (
    SKY_DEPTH,
    Scene,
    SceneBank,
    SynthesisConfig,
    enlarge_airlight,
    fill_missing_depth,
    ground_plane_depth,
    scene_split,
    synthesize,
)
from unhaze.errors import UsageError

CLEAN = SynthesisConfig(clear=0, linear_light=0, noise=0, blur=0, shrink=0, jpeg=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    """A small data folder of all three kinds."""
    root = tmp_path_factory.mktemp("data")
    small = cv2.cvtColor(cv2.resize(photo, (160, 120)), cv2.COLOR_RGB2BGR)
    for group, names in (("clear/some", [f"{i:02}.png" for i in range(12)]), ("rgbd", []), ("camvid/images", [])):
        (root / group).mkdir(parents=True)
        for shift, name in enumerate(names):
            cv2.imwrite(str(root / group / name), np.roll(small, 9 * shift, axis=1))
    depth = np.tile(np.linspace(1000, 3000, 160, dtype=np.uint16), (120, 1))
    depth[40:60, 50:70] = 0
    for frame in (0, 8, 600, 648):
        cv2.imwrite(str(root / f"rgbd/frame-{frame:06}.color.jpg"), small)
        cv2.imwrite(str(root / f"rgbd/frame-{frame:06}.depth.png"), depth)
    labels = np.full((120, 160), 1, np.uint8)
    labels[:30], labels[70:] = 0, 3
    (root / "camvid/labels").mkdir()
    for frame in ("0001TP_006690", "0016E5_08159"):
        cv2.imwrite(str(root / f"camvid/images/{frame}.jpg"), small)
        cv2.imwrite(str(root / f"camvid/labels/{frame}.png"), labels)
    return root


@pytest.fixture(scope="module")
def bank(folder):
    return SceneBank.load(folder, "train")


def test_splits_share_no_scene_and_drop_the_gap(folder):
    names = {split: {scene.name for scene in SceneBank.load(folder, split).scenes} for split in ("train", "validation")}
    assert not names["train"] & names["validation"]
    assert {"rgbd/frame-000000.color.jpg", "rgbd/frame-000008.color.jpg"} <= names["train"]
    assert "rgbd/frame-000648.color.jpg" in names["validation"]
    assert not any("000600" in name for each in names.values() for name in each)
    assert "camvid/images/0016E5_08159.jpg" in names["validation"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("rgbd/frame-000584.color.jpg", "train"),
        ("rgbd/frame-000592.color.jpg", "unused"),
        ("rgbd/frame-000640.color.jpg", "validation"),
        ("camvid/images/0006R0_f03240.jpg", "train"),
        ("camvid/images/0006R0_f03270.jpg", "unused"),
        ("camvid/images/0006R0_f03390.jpg", "validation"),
        ("clear/a/04", "train"),
        ("clear/a/05", "validation"),
    ],
)
def test_split_rules(name, split):
    assert scene_split(name, [f"clear/a/{i:02}" for i in range(20)]) == split


def test_a_missing_folder_is_a_clear_error(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        SceneBank.load(tmp_path / "nowhere", "train")
    with pytest.raises(UsageError, match="holds no picture"):
        SceneBank.load(tmp_path, "train")


def test_any_folder_of_pictures_will_do(tmp_path, photo, caplog):
    (tmp_path / "2024/sea/deep").mkdir(parents=True)
    small = cv2.resize(photo, (60, 40))
    for index, name in enumerate(["a.jpg", "b.PNG", "2024/c.tif", "2024/sea/d.webp", "2024/sea/deep/e.bmp"]):
        cv2.imwrite(str(tmp_path / name), np.roll(small, 5 * index, axis=1))
    cv2.imwrite(str(tmp_path / "2024/grey16.png"), small[..., 0].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "2024/dot.png"), small[:1, :1])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "2024/broken.jpg").write_bytes(b"this is no picture")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "2024/cut.jpg").write_bytes(whole[: len(whole) // 2])
    train, validation = (SceneBank.load(tmp_path, split) for split in ("train", "validation"))
    names = [scene.name for bank in (train, validation) for scene in bank.scenes]
    assert len(set(names)) == len(names) == 7
    assert len(validation) == 1
    assert set(train.skipped) | set(validation.skipped) == {"2024/broken.jpg", "2024/cut.jpg"}
    assert all(any(name in message for message in caplog.messages) for name in ("broken.jpg", "cut.jpg"))
    assert "notes.txt" not in caplog.text
    for index in range(20):
        sample = synthesize(train, SynthesisConfig(), 1, index, 32, 48)
        assert sample.hazy.shape == sample.clear.shape == (32, 48, 3)


def test_few_pictures_are_enough_and_one_is_the_least(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "a.png"), cv2.resize(photo, (60, 40)))
    assert [len(SceneBank.load(tmp_path, split)) for split in ("train", "validation")] == [1, 1]
    cv2.imwrite(str(tmp_path / "b.png"), cv2.resize(photo, (60, 40)))
    train, validation = (SceneBank.load(tmp_path, split) for split in ("train", "validation"))
    assert [scene.name for scene in (*train.scenes, *validation.scenes)] == ["a.png", "b.png"]


def test_where_nothing_can_be_read_the_reason_is_reported(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"this is no picture")
    with pytest.raises(UsageError, match=r"no clear picture.*a\.jpg is not a picture"):
        SceneBank.load(tmp_path, "train")


def test_folders_named_as_those_of_a_data_set_hold_ordinary_pictures_too(tmp_path, photo):
    for name in ("rgbd", "camvid"):
        (tmp_path / name).mkdir()
        for number in range(2):
            cv2.imwrite(str(tmp_path / name / f"holiday{number}.jpg"), cv2.resize(photo, (60, 40)))
    assert [scene.group for scene in SceneBank.load(tmp_path, "train").scenes] == ["clear"] * 3


def test_the_clear_pictures_of_pairs_are_taken_and_not_the_hazy_ones(tmp_path, photo):
    for name in ("hazy", "clear", "clear/more"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), cv2.resize(photo, (60, 40)))
    banks = [SceneBank.load(tmp_path, split) for split in ("train", "validation")]
    assert [scene.name for bank in banks for scene in bank.scenes] == ["clear/1.png", "clear/more/1.png"]


def test_a_missing_label_is_named(folder, tmp_path, photo):
    (tmp_path / "camvid/images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "camvid/images/0001TP_000001.jpg"), photo)
    with pytest.raises(UsageError, match=r"0001TP_000001\.png"):
        SceneBank.load(tmp_path, "train")


def test_a_sample_depends_on_seed_and_index_alone(bank):
    def make(index):
        return synthesize(bank, SynthesisConfig(), 3, index, 48, 64)

    alone = [make(index) for index in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(make, reversed(range(12))))[::-1]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.hazy, other.hazy)
        np.testing.assert_array_equal(one.transmission, other.transmission)
    assert not np.array_equal(alone[0].hazy, alone[1].hazy)
    assert not np.array_equal(alone[0].hazy, synthesize(bank, SynthesisConfig(), 4, 0, 48, 64).hazy)


@pytest.mark.parametrize("index", range(20))
def test_the_truth_inverts_the_haze(bank, index):
    sample = synthesize(bank, CLEAN, 1, index, 48, 64)
    t = sample.transmission[..., None]
    light = enlarge_airlight(sample.airlight, 48, 64)
    expected = sample.clear / 255 * t + light * (1 - t)
    # both pictures were rounded to 8 bits
    np.testing.assert_allclose(sample.hazy / 255, expected, atol=1.01 / 255)
    assert 0 < t.min() <= t.max() <= 1


def test_linear_haze_is_that_of_light(bank):
    from unhaze.physics.scattering import add_haze

    samples = [
        synthesize(bank, SynthesisConfig(clear=0, linear_light=1, noise=0, blur=0, shrink=0, jpeg=0), 1, i, 48, 64)
        for i in range(8)
    ]
    for sample in samples:
        assert not sample.in_srgb
        light = enlarge_airlight(sample.airlight, 48, 64)
        expected = add_haze(sample.clear / 255, sample.transmission[..., None], light, space="linear")
        # near black a code of the clear picture is many of the hazy one's linear light
        assert np.abs(sample.hazy / 255 - expected).mean() < 1 / 255


def test_clear_samples_have_no_haze(bank):
    config = SynthesisConfig(clear=1, linear_light=1, noise=0, blur=0, shrink=0, jpeg=0)
    sample = synthesize(bank, config, 1, 0, 48, 64)
    np.testing.assert_array_equal(sample.hazy, sample.clear)
    assert (sample.transmission == 1).all()


def test_depth_is_given_where_the_scene_has_one(bank):
    rooms = [synthesize(bank, SynthesisConfig(weights=(1, 0, 0)), 1, i, 32, 64) for i in range(6)]
    others = [synthesize(bank, SynthesisConfig(weights=(0, 0, 1)), 1, i, 32, 64) for i in range(6)]
    assert all(0.9 < sample.depth.min() < sample.depth.max() < 3.1 for sample in rooms)
    assert all(sample.depth is None for sample in others)


def test_weights_of_absent_groups_are_an_error(folder):
    bank = SceneBank([scene for scene in SceneBank.load(folder, "train").scenes if scene.group == "clear"])
    assert bank.draw(np.random.default_rng(0), (1, 1, 1)).group == "clear"
    with pytest.raises(UsageError, match="weights"):
        bank.draw(np.random.default_rng(0), (1, 1, 0))


def test_ground_plane_depth_by_hand():
    labels = np.full((90, 100), 1, np.uint8)
    labels[:20], labels[50:] = 0, 3
    depth = ground_plane_depth(labels)
    # horizon one ninetieth of the height above the first road row: row y is 1.5 m * 110 px / (y - 49) away
    assert depth[80, 50] == pytest.approx(1.5 * 110 / (80 - 49), rel=0.05)
    assert depth[35, 50] == depth[45, 50] == depth[30, 20]  # a wall is as far as its foot
    assert depth[35, 50] > depth[60, 50] > depth[85, 50]
    assert depth[5, 5] == SKY_DEPTH


def test_ground_plane_depth_without_ground():
    depth = ground_plane_depth(np.full((40, 40), 5, np.uint8))
    assert np.isfinite(depth).all()


def test_missing_depth_is_filled_from_nearby():
    truth = np.tile(np.linspace(1, 3, 80, dtype=np.float32), (60, 1))
    known = np.ones(truth.shape, bool)
    known[20:40, 30:50] = False
    filled = fill_missing_depth(np.where(known, truth, 99).astype(np.float32), known)
    np.testing.assert_array_equal(filled[known], truth[known])
    assert np.abs(filled - truth)[~known].max() < 0.5
    assert (fill_missing_depth(truth, np.zeros_like(known)) == 1).all()


def test_scene_of_odd_size():
    scene = Scene("a", "clear", np.zeros((7, 3, 3), np.uint8), None, np.zeros((7, 3), np.uint8))
    sample = synthesize(SceneBank([scene]), SynthesisConfig(), 0, 0, 32, 64)
    assert sample.hazy.shape == (32, 64, 3)


@pytest.fixture(scope="module")
def street():
    """A bright smooth sky over a textured ground, without depth."""
    rng = np.random.default_rng(4)
    image = rng.integers(0, 160, (120, 160, 3)).astype(np.uint8)
    image[:50] = (150, 180, 230)
    return image


def test_the_sky_is_found(street):
    sky = synthetic.find_sky(street, None, "clear")
    assert sky[:30].min() > 250
    assert sky[60:].max() < 5
    assert synthetic.find_sky(street, None, "rgbd") is None
    assert synthetic.find_sky(np.full_like(street, 40), None, "clear") is None
    warm = np.where(street == 230, 90, street)  # a yellow wall
    assert synthetic.find_sky(warm, None, "clear") is None
    depth = np.full(street.shape[:2], 20, np.float32)
    assert synthetic.find_sky(street, depth, "camvid") is None
    depth[:50] = SKY_DEPTH
    assert synthetic.find_sky(street, depth, "camvid")[:40].min() > 250


def test_a_sky_of_the_colour_of_dense_haze_stays(street):
    sky = synthetic.find_sky(street, None, "clear")
    bank = SceneBank([Scene("a", "clear", street, None, np.zeros(street.shape[:2], np.uint8), sky)])
    changes = dataclasses.replace(CLEAN, zoom=(1, 1), optical_depth=(2, 2.2), hazy_sky=1)
    kept = 0
    for index in range(24):
        sample = synthesize(bank, changes, 1, index, 120, 160)
        light = enlarge_airlight(sample.airlight, 120, 160)
        if (sample.transmission[:35] > 0.99).all():
            kept += 1
            np.testing.assert_array_equal(sample.hazy[:35], sample.clear[:35])
            assert np.abs(sample.clear[:35] / 255 - np.broadcast_to(light, (120, 160, 3))[:35]).mean() < 0.15
    assert 12 <= kept < 24  # sometimes it is seen through the haze


def test_high_key_pictures_are_bright_and_clear(street):
    rng = np.random.default_rng(0)
    clear = street.astype(np.float32) / 255
    for _ in range(10):
        bright = synthetic.make_high_key(clear, rng)
        assert bright.mean() > clear.mean()
        assert bright.min() < 0.1
        assert bright.max() <= 1


def test_rooms_are_farthest_inside():
    rng = np.random.default_rng(0)
    for _ in range(20):
        depth = np.exp(_haze._room(rng, 48, 64))
        assert np.isfinite(depth).all()
        border = np.concatenate([depth[0], depth[-1], depth[:, 0], depth[:, -1]])
        assert depth[1:-1, 1:-1].max() >= border.max() * 0.999


def test_rendered_rooms_join_the_bank_and_have_depth(folder):
    bank = SceneBank.load(folder, "train", rooms=3)
    assert len(bank.groups["rooms"]) == 3
    same = SceneBank.load(folder, "train", rooms=3, threads=1)
    for one, other in zip(bank.scenes, same.scenes, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    config = SynthesisConfig(clear=0, agnostic=0, weights=(0, 0, 0, 1))
    assert synthesize(bank, config, 1, 0, 48, 64).depth is not None


def test_rooms_need_pictures_for_their_walls(folder, tmp_path):
    (tmp_path / "rgbd").mkdir()
    for path in (folder / "rgbd").iterdir():
        (tmp_path / "rgbd" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="walls of rooms"):
        SceneBank.load(tmp_path, "train", rooms=1)
