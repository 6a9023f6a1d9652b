"""Samples: the same whoever asks, aligned whatever is done to them, and never replaced without a word."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from tests.trees import build, picture, pixels_of, write

from unhaze.data import create_dataset
from unhaze.data.batch import collate
from unhaze.data.dataset import PairedDataset, Series, read_pixels
from unhaze.data.depth_cache import DepthSource
from unhaze.data.transforms import RandomCrop, random_view
from unhaze.errors import ImageDecodeError, UsageError
from unhaze.types import DepthMap


def red(pixels, name):
    """A depth source whose depth can be told from the pixels."""
    return DepthMap(pixels[..., 0].astype(np.float32), "inverse_relative")


@pytest.fixture
def tree(tmp_path):
    build(tmp_path, [(f"hazy/{n}.png", f"clear/{n}.png") for n in range(6)], size=(40, 48))
    return tmp_path


def open_tree(tree, **options):
    return create_dataset("folders", tree, transform=random_view(16, turn=True), depth=red, **options)


def same(one, other):
    return (
        one.name == other.name
        and np.array_equal(one.hazy, other.hazy)
        and np.array_equal(one.clear, other.clear)
        and np.array_equal(one.depth.map, other.depth.map)
    )


def test_a_sample_depends_on_seed_epoch_and_index_alone(tree):
    dataset = open_tree(tree, seed=3)
    alone = [dataset[index] for index in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(dataset.__getitem__, reversed(range(6))))[::-1]
    assert all(map(same, alone, together))
    assert not same(alone[0], dataset.at(0, epoch=1))
    assert not same(alone[0], open_tree(tree, seed=4)[0])
    dataset.epoch = 1
    assert same(dataset[0], dataset.at(0, epoch=1))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(tree, workers):
    from torch.utils.data import DataLoader

    series = Series(open_tree(tree), 15, seed=2)
    expected = collate([series[number] for number in range(15)])
    loader = DataLoader(series, batch_size=5, num_workers=workers, collate_fn=collate)
    batches = list(loader)
    for start, batch in zip((0, 5, 10), batches, strict=True):
        assert (batch.hazy == expected.hazy[start : start + 5]).all()
        assert (batch.nearness == expected.nearness[start : start + 5]).all()
        assert batch.depth_known.all()


def test_a_series_shows_every_pair_once_per_epoch_in_a_new_order(tree):
    series = Series(create_dataset("folders", tree), 18, seed=1)
    names = [series[number].name for number in range(18)]
    epochs = [names[start : start + 6] for start in (0, 6, 12)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [Series(series.dataset, 18, seed=1)[number].name for number in (17, 7)] == [names[17], names[7]]
    in_order = Series(series.dataset, 7, shuffle=False)
    assert [in_order[number].name for number in range(7)] == ["0", "1", "2", "3", "4", "5", "0"]
    with pytest.raises(IndexError):
        series[18]


def test_samples_are_writable_and_survive_pickling(tree):
    dataset = pickle.loads(pickle.dumps(open_tree(tree)))
    sample = dataset[0]
    for array in (sample.hazy, sample.clear, sample.depth.map):
        assert array.flags.writeable
        assert array.flags.c_contiguous
    assert sample.meta["dataset"] == "folders"


def test_depth_comes_from_the_picture_asked_for_and_is_cut_with_it(tree):
    assert isinstance(red, DepthSource)
    of_hazy, of_clear = open_tree(tree)[0], open_tree(tree, depth_of="clear")[0]
    np.testing.assert_array_equal(of_hazy.depth.map, of_hazy.hazy[..., 0])
    np.testing.assert_array_equal(of_clear.depth.map, of_clear.clear[..., 0])
    assert of_hazy.depth.kind == "inverse_relative"
    with_features = create_dataset(
        "folders",
        tree,
        depth=lambda pixels, name: DepthMap(np.ones((40, 48), np.float32), "metric", (np.ones((1, 2, 5, 6)),)),
        transform=RandomCrop(16),
    )
    assert with_features[0].depth.features == ()
    assert with_features[0].meta["depth_features"][0].shape == (1, 2, 5, 6)
    unknown = create_dataset("folders", tree, depth=lambda pixels, name: None)
    assert unknown[0].depth is None
    wrong = create_dataset("folders", tree, depth=lambda pixels, name: DepthMap(np.ones((3, 3), np.float32), "metric"))
    with pytest.raises(UsageError, match=r"shape \(3, 3\)"):
        wrong[0]


def break_files(tree, *names):
    for name in names:
        path = tree / name
        path.write_bytes(path.read_bytes()[:-40])


def test_a_corrupt_file_stops_the_run_by_name(tree):
    break_files(tree, "clear/2.png")
    dataset = create_dataset("folders", tree)
    assert dataset[1].name == "1"
    with pytest.raises(ImageDecodeError, match=r"clear/2\.png"):
        dataset[2]


def test_a_corrupt_file_is_skipped_in_a_fixed_way_and_reported(tree):
    break_files(tree, "clear/2.png", "hazy/3.png")
    dataset = create_dataset("folders", tree, on_error="skip", transform=RandomCrop(16))
    sample = dataset[2]
    assert sample.name == "4"
    assert [name for name, _ in sample.meta["skipped"]] == ["2", "3"]
    assert "clear/2.png" in sample.meta["skipped"][0][1]
    assert set(dataset.skipped) == {"2", "3"}
    np.testing.assert_array_equal(
        sample.hazy, create_dataset("folders", tree, on_error="skip", transform=RandomCrop(16))[2].hazy
    )
    assert "skipped" not in dataset[5].meta
    break_files(tree, *(f"hazy/{n}.png" for n in (0, 1, 2, 4, 5)))
    with pytest.raises(UsageError, match="6 pairs of folders in a row"):
        dataset[0]


def test_a_missing_file_is_named(tree):
    dataset = create_dataset("folders", tree)
    (tree / "hazy/0.png").unlink()
    with pytest.raises(ImageDecodeError, match=r"hazy/0\.png"):
        dataset[0]


def test_grey_and_deep_pictures_become_eight_bit_colour(tmp_path):
    grey = picture(1)[..., 0]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    np.testing.assert_array_equal(read_pixels(tmp_path, "grey.png"), np.stack([grey] * 3, axis=-1))
    deep = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    np.testing.assert_array_equal(read_pixels(tmp_path, "deep.png"), np.floor(deep / 65535 * 255 + 0.5))


def test_selected_pairs_keep_their_order(tree):
    assert [sample.name for sample in create_dataset("folders", tree).select([4, 1])] == ["4", "1"]


@pytest.mark.parametrize("option", [{"on_error": "shrug"}, {"depth_of": "both"}, {"seed": -1}])
def test_wrong_options_are_refused(tree, option):
    with pytest.raises(UsageError, match=next(iter(option))):
        create_dataset("folders", tree, **option)


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no pairs"):
        PairedDataset([], tmp_path)


def test_pictures_of_several_sizes_make_no_batch(tree):
    write(tree / "hazy/9.png", picture(1))
    write(tree / "clear/9.png", picture(2))
    dataset = create_dataset("folders", tree)
    with pytest.raises(UsageError, match="32x24, 48x40"):
        collate([dataset[0], dataset[6]])
    batch = collate([dataset[0], dataset[1]])
    assert not batch.depth_known.any()
    assert batch.nearness.shape == (2, 1, 40, 48)
    assert not batch.nearness.any()
    assert batch.hazy.shape == (2, 3, 40, 48)
    expected = pixels_of("clear/1.png", (40, 48)).astype(np.float32) / 255
    np.testing.assert_allclose(batch.clear[1].permute(1, 2, 0), expected, atol=1e-6)
    assert batch.to(batch.hazy.device).hazy is batch.hazy
