"""Every layout is found, paired and read as its pictures lie on disk, and what is wrong with one is named."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.trees import LAYOUTS, build, picture, pixels_of, write

from unhaze.data import create_dataset, dataset_info, list_datasets
from unhaze.errors import ImageValueError, UnknownNameError, UsageError

SOURCE = Path(__file__).parents[2] / "src"
IDS = [f"{name}-{split}-{pairs[0][0]}" for name, split, pairs in LAYOUTS]


@pytest.mark.parametrize(("name", "split", "pairs"), LAYOUTS, ids=IDS)
def test_a_layout_is_found_and_paired(tmp_path, name, split, pairs):
    build(tmp_path, pairs)
    dataset = create_dataset(name, tmp_path, split)
    assert [(pair.hazy, pair.clear) for pair in dataset.pairs] == sorted(pairs)
    for sample, (hazy, clear) in zip(dataset, sorted(pairs), strict=True):
        np.testing.assert_array_equal(sample.hazy, pixels_of(hazy))
        np.testing.assert_array_equal(sample.clear, pixels_of(clear))
    assert dataset.report.pairs == dataset.report.hazy == len(pairs)
    assert not dataset.report.problems
    published = getattr(dataset_info(name), "parts", getattr(dataset_info(name), "pairs", None))
    assert any("published" in remark for remark in dataset.report.remarks) == (published is not None)


def test_every_layout_has_a_tree_here():
    assert {name for name, _, _ in LAYOUTS} | {"synthetic"} == set(list_datasets())


@pytest.mark.parametrize("name", list_datasets())
def test_every_entry_describes_itself(name):
    entry = dataset_info(name)
    assert entry.name == name
    assert entry.summary.endswith(".")
    assert entry.splits
    assert all(isinstance(each, str) for each in (entry.paper, entry.source, entry.license))


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("reside-its", "train", 13_990),
        ("reside-ots", "train", 313_950),
        ("sots-indoor", "test", 500),
        ("sots-outdoor", "test", 500),
        ("reside-6k", "train", 6_000),
        ("reside-6k", "test", 1_000),
        ("rw2ah", "train", 1_406),
        ("rw2ah", "test", 352),
        ("haze4k", "train", 3_000),
        ("haze4k", "test", 1_000),
        ("o-haze", "all", 45),
        ("i-haze", "all", 35),
        ("dense-haze", "all", 55),
        ("nh-haze", "all", 55),
        ("did-data", "train", 12_000),
        ("did-data", "test", 1_200),
        ("spa-data", "train", 638_492),
        ("spa-data", "test", 1_000),
    ],
)
def test_published_counts(name, split, count):
    assert dataset_info(name).parts[split].pairs[0] == count


@pytest.mark.parametrize(
    ("split", "numbers"),
    [("train", range(1, 46)), ("validation", range(46, 51)), ("test", range(51, 56)), ("all", range(1, 56))],
)
def test_the_splits_of_a_challenge_go_by_number(tmp_path, split, numbers):
    build(tmp_path, [(f"{n:02}_hazy.png", f"{n:02}_GT.png") for n in range(1, 56)], size=(4, 4))
    dataset = create_dataset("nh-haze", tmp_path, split, strict=True)
    assert [pair.name for pair in dataset.pairs] == [f"{n:02}_hazy" for n in numbers]


def test_the_cities_of_bedde(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no folder in it has a folder fog"):
        create_dataset("bedde", tmp_path / "empty")
    build(tmp_path, [("wuhan/fog/wuhan_1.png", "wuhan/gt/wuhan_clear.png")], size=(4, 4))
    with pytest.raises(UsageError, match="1 pairs were found, but 208"):
        create_dataset("bedde", tmp_path, strict=True)
    with pytest.raises(UsageError, match="no split train"):
        create_dataset("bedde", tmp_path, "train")
    write(tmp_path / "wuhan/gt/second.png", picture(1))
    with pytest.raises(UsageError, match="holds 2 pictures, but a city has one"):
        create_dataset("bedde", tmp_path)


def test_photographs_without_clear_ones(tmp_path):
    build(tmp_path, [("RTTS/JPEGImages/a.png",)], size=(4, 4))
    (tmp_path / "RTTS/Annotations").mkdir()
    write(tmp_path / "RTTS/Annotations/drawing.png", picture(1))  # beside the pictures, not one of them
    dataset = create_dataset("rtts", tmp_path)
    (sample,) = dataset
    np.testing.assert_array_equal(sample.hazy, sample.clear)
    sample.hazy[:] = 0
    assert sample.clear.any()  # a copy
    assert "4,322 were published" in str(dataset.report.remarks)
    with pytest.raises(UsageError, match="4,322 were published"):
        create_dataset("rtts", tmp_path, strict=True)
    with pytest.raises(UsageError, match="no split test"):
        create_dataset("rtts", tmp_path, "test")
    with pytest.raises(UsageError, match="There is no folder"):
        create_dataset("urhi", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "pictures"), [("rtts", 4_322), ("urhi", 4_807), ("fattal", 31), ("bedde", 208), ("exbedde", 167)]
)
def test_published_numbers_of_real_haze(name, pictures):
    assert dataset_info(name).pairs == pictures


def test_a_missing_clear_picture_is_named_and_counted(tmp_path):
    build(tmp_path, [(f"hazy/{n}_1_0.9.png", f"clear/{n}.png") for n in range(1, 8)], size=(4, 4))
    for n in (2, 3, 4, 5, 6):
        (tmp_path / f"clear/{n}.png").unlink()
    (tmp_path / "hazy/readme.txt").touch()
    write(tmp_path / "clear/99.png", picture(0))
    report = create_dataset("reside-its", tmp_path).report
    assert report.pairs == 2
    (problem,) = report.problems
    assert problem.startswith("5 hazy pictures without a clear one: 2_1_0.9.png, 3_1_0.9.png, 4_1_0.9.png and 2 more")
    assert all(part in str(report.remarks) for part in ("2 pairs were found, but 13,990", "99.png", "readme.txt"))
    with pytest.raises(UsageError, match="not as published: 5 hazy pictures"):
        create_dataset("reside-its", tmp_path, strict=True)


def test_ambiguous_pictures_are_left_out_and_named(tmp_path):
    build(tmp_path, [("hazy/1_1_0.9.png", "clear/1.png"), ("hazy/2_1_0.9.png", "clear/2.bmp")])
    write(tmp_path / "clear/1.jpg", picture(0))
    report = create_dataset("reside-its", tmp_path).report
    assert report.pairs == 1
    assert "1_1_0.9.png fits 2 targets" in report.problems[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "tried .*ITS/train.* hazy"),
        (lambda root: build(root, [("hazy/a.png", "other/a.png")]), "beside one of clear pictures"),
        (lambda root: build(root, [("hazy/a.png", "clear/b.png")]), "a.png do not go with b.png"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(UsageError, match=words):
        create_dataset("reside-its", tmp_path)


def test_a_missing_root_and_unknown_names(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        create_dataset("rw2ah", tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="reside-its"):
        create_dataset("reside-itts", tmp_path)
    with pytest.raises(UnknownNameError, match="split of rw2ah"):
        create_dataset("rw2ah", tmp_path, "validation")
    build(tmp_path, [("train/input/1.png", "train/gt/1.png")])
    with pytest.raises(UsageError, match="no such option"):
        create_dataset("rw2ah", tmp_path, nosie=1)


def test_the_white_frame_of_sots_indoor_is_cut_off(tmp_path):
    write(tmp_path / "indoor/hazy/1400_1.png", picture(1, (460, 620)))
    write(tmp_path / "indoor/gt/1400.png", picture(2, (480, 640)))
    sample = create_dataset("sots-indoor", tmp_path)[0]
    np.testing.assert_array_equal(sample.clear, picture(2, (480, 640))[10:470, 10:630])
    build(tmp_path, [("SOTS/outdoor/hazy/1_1_1.png", "SOTS/outdoor/gt/1.png")])
    write(tmp_path / "SOTS/outdoor/gt/1.png", picture(2, (25, 32)))
    with pytest.raises(ImageValueError, match=r"1_1_1 is 32x24 px but its clear one 32x25 px"):
        create_dataset("sots-outdoor", tmp_path)[0]


def test_folders_take_any_names_and_rules(tmp_path):
    build(tmp_path, [("night/foggy/a-7.png", "night/sharp/a.png")])
    dataset = create_dataset(
        "folders", tmp_path, "night", hazy="foggy", clear="sharp", pairing="regex:(.*)-.*", strict=True
    )
    assert [(pair.hazy, pair.clear) for pair in dataset.pairs] == [("night/foggy/a-7.png", "night/sharp/a.png")]
    with pytest.raises(UsageError, match="hazy pictures"):
        create_dataset("folders", tmp_path / "night")
    with pytest.raises(UsageError, match="foggi"):
        create_dataset("folders", tmp_path, "night", hazy="foggi", clear="sharp")


def test_opening_and_reading_needs_no_torch(tmp_path):
    build(tmp_path, [("train/input/1.png", "train/gt/1.png")])
    code = (
        "import sys; from unhaze.data import create_dataset, dataset_info, list_datasets; "
        "from unhaze.data.transforms import random_view; [dataset_info(name) for name in list_datasets()]; "
        f"create_dataset('rw2ah', {str(tmp_path)!r}, transform=random_view(8))[0]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)})


def test_the_docs_have_every_data_set_and_count():
    page = (SOURCE.parent / "docs" / "data.md").read_text()
    for name in list_datasets():
        assert f"| `{name}` |" in page
        for part in getattr(dataset_info(name), "parts", {}).values():
            assert all(f"{count:,}" in page for count in part.pairs)
            assert all(
                f"`{place}`" in page for place in part.folders if place and "train" in place and "/" not in place
            )
