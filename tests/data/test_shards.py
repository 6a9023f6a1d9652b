"""What is packed comes back bit for bit, and what is damaged is told."""

import io
import itertools
import pickle
import tarfile

import numpy as np
import pytest
from tests.trees import build, picture, write

from unhaze.data import create_dataset
from unhaze.data.inspection import unreadable_pairs
from unhaze.data.shards import INDEX, is_packed, open_shards, pack
from unhaze.data.transforms import random_view
from unhaze.errors import ImageDecodeError, OutputError, UsageError
from unhaze.types import DepthMap


@pytest.fixture
def loose(tmp_path):
    root = tmp_path / "loose"
    build(root, [(f"hazy/{n}_{k}_0.9.png", f"clear/{n}.png") for n in range(3) for k in range(4)])
    return root


@pytest.mark.parametrize("store", ["pixels", "files"])
def test_reading_back_is_bit_equal(loose, tmp_path, store):
    dataset = create_dataset("reside-its", loose)
    assert pack(dataset, tmp_path / "packed", store=store, shard_size=9000) == tmp_path / "packed" / INDEX
    packed = create_dataset("reside-its", tmp_path / "packed")
    assert len(list((tmp_path / "packed").glob("*.tar"))) > 1
    assert [pair.name for pair in packed.pairs] == [pair.name for pair in dataset.pairs]
    assert packed.report.clear == 3  # each stored once
    for one, other in zip(dataset, packed, strict=True):
        np.testing.assert_array_equal(one.hazy, other.hazy)
        np.testing.assert_array_equal(one.clear, other.clear)
        assert other.hazy.flags.writeable
    assert not unreadable_pairs(packed)


@pytest.mark.parametrize("store", ["pixels", "files"])
def test_loaders_of_webdataset_find_each_pair_under_one_key(loose, tmp_path, store):
    dataset = create_dataset("reside-its", loose)
    pack(dataset, tmp_path / "packed", store=store, shard_size=9000, webdataset=True)
    shards = sorted((tmp_path / "packed").glob("*.tar"))
    assert len(shards) > 1
    found = []
    for shard in shards:  # as such a loader does: members in a row, grouped by what is before the first dot
        with tarfile.open(shard) as archive:
            names = archive.getnames()
        for key, members in itertools.groupby(names, key=lambda name: name.partition(".")[0]):
            ending = "npy" if store == "pixels" else "png"
            assert list(members) == [f"{key}.hazy.{ending}", f"{key}.clear.{ending}"]
            found.append(key)
    assert found == [f"{index:08d}" for index in range(len(dataset))]
    packed = create_dataset("reside-its", tmp_path / "packed")
    for one, other in zip(dataset, packed, strict=True):
        np.testing.assert_array_equal(one.hazy, other.hazy)
        np.testing.assert_array_equal(one.clear, other.clear)


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # it leaves its files open
def test_webdataset_itself_reads_it(loose, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    dataset = create_dataset("reside-its", loose)
    pack(dataset, tmp_path / "packed", webdataset=True)
    read = webdataset.WebDataset(str(tmp_path / "packed/shard-00000.tar"), shardshuffle=False)
    pairs = list(read.decode().to_tuple("hazy.npy", "clear.npy"))
    assert len(pairs) == len(dataset)
    for (hazy, clear), sample in zip(pairs, dataset, strict=True):
        np.testing.assert_array_equal(hazy, sample.hazy)
        np.testing.assert_array_equal(clear, sample.clear)


def test_transforms_and_seeds_mean_the_same(loose, tmp_path):
    options = {"transform": random_view(8, turn=True), "seed": 5}
    dataset = create_dataset("reside-its", loose, **options)
    pack(dataset, tmp_path / "packed")
    packed = pickle.loads(pickle.dumps(create_dataset("reside-its", tmp_path / "packed", **options)))
    for one, other in zip(dataset, packed, strict=True):
        np.testing.assert_array_equal(one.hazy, other.hazy)


def test_depth_is_stored_with_its_kind(loose, tmp_path):
    def depth(pixels, name):
        return DepthMap(pixels[..., 1].astype(np.float32) / 7, "inverse_relative")

    pack(create_dataset("reside-its", loose, depth=depth), tmp_path / "packed")
    sample = open_shards(tmp_path / "packed")[3]
    assert sample.depth.kind == "inverse_relative"
    np.testing.assert_array_equal(sample.depth.map, (sample.hazy[..., 1] / np.float32(7)).astype(np.float32))


def test_a_shard_is_a_plain_tar_file(loose, tmp_path):
    pack(create_dataset("reside-its", loose), tmp_path / "packed")
    with tarfile.open(tmp_path / "packed/shard-00000.tar") as shard:
        names = shard.getnames()
        assert names[:2] == ["hazy/hazy/0_0_0.9.npy", "clear/clear/0.npy"]
        array = np.load(io.BytesIO(shard.extractfile(names[0]).read()))
    np.testing.assert_array_equal(array, create_dataset("reside-its", loose)[0].hazy)


def test_the_frame_of_sots_indoor_is_cut_before_packing(tmp_path):
    write(tmp_path / "a/indoor/hazy/1400_1.png", picture(1, (460, 620)))
    write(tmp_path / "a/indoor/gt/1400.png", picture(2, (480, 640)))
    dataset = create_dataset("sots-indoor", tmp_path / "a")
    for store in ("pixels", "files"):
        pack(dataset, tmp_path / store, store=store)
        np.testing.assert_array_equal(create_dataset("sots-indoor", tmp_path / store)[0].clear, dataset[0].clear)


def test_a_corrupt_file_stops_or_is_left_out_and_reported(loose, tmp_path):
    path = loose / "hazy/1_2_0.9.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageDecodeError, match="1_2_0"):
        pack(create_dataset("reside-its", loose), tmp_path / "packed")
    assert not is_packed(tmp_path / "packed")
    assert not list((tmp_path / "packed").glob(".*"))
    dataset = create_dataset("reside-its", loose, on_error="skip")
    pack(dataset, tmp_path / "packed")
    assert set(dataset.skipped) == {"1_2_0.9"}
    assert len(open_shards(tmp_path / "packed")) == 11


def test_what_is_packed_is_not_replaced_unasked(loose, tmp_path):
    dataset = create_dataset("reside-its", loose)
    pack(dataset, tmp_path / "packed")
    with pytest.raises(OutputError, match="already"):
        pack(dataset, tmp_path / "packed")
    pack(dataset.select([0]), tmp_path / "packed", overwrite=True)
    assert len(open_shards(tmp_path / "packed")) == 1
    with pytest.raises(UsageError, match="packed already"):
        pack(open_shards(tmp_path / "packed"), tmp_path / "again")
    with pytest.raises(UsageError, match="store"):
        pack(dataset, tmp_path / "other", store="zip")


@pytest.mark.parametrize("store", ["pixels", "files"])
def test_damage_is_found(loose, tmp_path, store):
    pack(create_dataset("reside-its", loose), tmp_path / "packed", store=store)
    shard = tmp_path / "packed/shard-00000.tar"
    content = bytearray(shard.read_bytes())
    place = open_shards(tmp_path / "packed").pairs[2].hazy[1]
    content[place.offset + place.length // 2] ^= 0x40
    shard.write_bytes(content)
    assert "shard-00000.tar" in unreadable_pairs(open_shards(tmp_path / "packed"))["0_2_0.9"]
    shard.write_bytes(content[:-512])
    with pytest.raises(UsageError, match="bytes instead of"):
        open_shards(tmp_path / "packed")
    shard.unlink()
    with pytest.raises(UsageError, match="missing"):
        open_shards(tmp_path / "packed")


def test_another_data_set_is_not_taken_for_the_one_asked_for(loose, tmp_path):
    pack(create_dataset("reside-its", loose), tmp_path / "packed")
    with pytest.raises(UsageError, match="holds reside-its, split train"):
        create_dataset("sots-indoor", tmp_path / "packed")
    with pytest.raises(UsageError, match="holds reside-its, split train"):
        create_dataset("reside-its", tmp_path / "packed", "validation")
    (tmp_path / "packed" / INDEX).write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        create_dataset("reside-its", tmp_path / "packed")
