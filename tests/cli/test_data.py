import json

import cv2
import pytest
from tests.trees import LAYOUTS, build

from unhaze.data import list_datasets

PAIRS = [(f"train/input/{n}.png", f"train/gt/{n}.png") for n in range(5)]


@pytest.fixture
def root(tmp_path):
    build(tmp_path / "set", PAIRS)
    return tmp_path / "set"


def corrupt(path):
    path.write_bytes(path.read_bytes()[:60])


def test_list_names_every_data_set(unhaze):
    reported = unhaze("data", "list")
    assert [line.split()[0] for line in reported.stdout.splitlines()] == list_datasets()
    entries = json.loads(unhaze("data", "list", "--json").stdout)
    its = next(entry for entry in entries if entry["name"] == "reside-its")
    assert its["published_pairs"]["train"][0] == 13990
    assert its["source"].startswith("https://")


@pytest.mark.parametrize(("name", "split", "pairs"), LAYOUTS[:3])
def test_check_says_that_all_is_well(unhaze, tmp_path, name, split, pairs):
    build(tmp_path, pairs)
    done = unhaze("data", "check", name, tmp_path, "--split", split)
    assert done.exit_code == 0
    assert "all is well" in done.stdout
    assert "were published" in done.stdout
    assert unhaze("data", "check", name, tmp_path, "--split", split, "--strict").exit_code == 1


def test_check_names_what_is_wrong(unhaze, root):
    corrupt(root / "train/gt/3.png")
    (root / "train/gt/1.png").unlink()
    done = unhaze("data", "check", "rw2ah", root)
    assert done.exit_code == 1
    assert "train/gt/3.png" in done.stdout
    assert "1 hazy picture without a clear one: 1.png" in done.stdout
    reported = json.loads(unhaze("data", "check", "rw2ah", root, "--json").stdout)
    assert not reported["ok"]
    assert set(reported["unreadable"]) == {"3"}
    assert reported["missing"] == ["1.png"]
    (root / "train/input/1.png").unlink()
    assert unhaze("data", "check", "rw2ah", root, "--quick").exit_code == 0


def test_what_cannot_be_found_is_wrong_usage(unhaze, tmp_path):
    assert unhaze("data", "check", "rw2ah", tmp_path).exit_code == 2
    assert unhaze("data", "check", "rw3ah", tmp_path).exit_code == 2
    assert unhaze("data", "check", "folders", tmp_path, "--set", "hazy").exit_code == 2


def test_stats(unhaze, root):
    reported = json.loads(unhaze("data", "stats", "rw2ah", root, "--json").stdout)
    assert reported["sizes"] == [{"width": 32, "height": 24, "pairs": 5}]
    assert len(reported["hazy_mean"]) == 3
    assert "dark channel" in unhaze("data", "stats", "rw2ah", root, "--limit", "2").stdout
    corrupt(root / "train/gt/3.png")
    assert unhaze("data", "stats", "rw2ah", root).exit_code == 1


def test_sheet(unhaze, root, tmp_path):
    assert unhaze("data", "sheet", "rw2ah", root, tmp_path / "s.png", "--count", "3", "--height", "24").exit_code == 0
    assert cv2.imread(str(tmp_path / "s.png")).shape == (2 * 28 + 4, 2 * 68 + 4, 3)
    assert unhaze("data", "sheet", "rw2ah", root, tmp_path / "s.png").exit_code == 1
    assert unhaze("data", "sheet", "rw2ah", root, tmp_path / "s.png", "--overwrite").exit_code == 0


def test_sheet_and_stats_of_what_has_no_end(unhaze, photo, tmp_path):
    (tmp_path / "clear/some").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "clear/some/a.png"), cv2.resize(photo, (60, 40)))
    options = ("--set", "size=(24, 32)", "--set", "night=1.0")
    assert unhaze("data", "sheet", "synthetic", tmp_path, tmp_path / "s.png", "--count", "2", *options).exit_code == 0
    reported = json.loads(unhaze("data", "stats", "synthetic", tmp_path, "--limit", "3", "--json", *options).stdout)
    assert reported["sizes"] == [{"width": 32, "height": 24, "pairs": 3}]
    assert unhaze("data", "check", "synthetic", tmp_path).exit_code == 0
    assert unhaze("data", "pack", "synthetic", tmp_path, tmp_path / "packed").exit_code == 2


def test_pack_to_an_address(unhaze, root, tmp_path):
    pytest.importorskip("fsspec")
    address = f"file://{tmp_path / 'far'}"
    done = unhaze("data", "pack", "rw2ah", root, address, "--json", "--webdataset")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["index"] == f"{address}/shards.json"
    assert unhaze("data", "check", "rw2ah", tmp_path / "far").exit_code == 0
    assert unhaze("data", "pack", "rw2ah", root, address).exit_code == 1


def test_pack_and_open_again(unhaze, root, tmp_path):
    done = unhaze("data", "pack", "rw2ah", root, tmp_path / "packed", "--json")
    assert json.loads(done.stdout)["pairs"] == 5
    assert unhaze("data", "check", "rw2ah", tmp_path / "packed").exit_code == 0
    assert unhaze("data", "pack", "rw2ah", root, tmp_path / "packed").exit_code == 1
    corrupt(root / "train/gt/3.png")
    assert unhaze("data", "pack", "rw2ah", root, tmp_path / "packed", "--overwrite").exit_code == 1
    done = unhaze("data", "pack", "rw2ah", root, tmp_path / "packed", "--overwrite", "--skip")
    assert done.exit_code == 1
    assert "train/gt/3.png" in done.stderr
    assert unhaze("data", "check", "rw2ah", tmp_path / "packed", "--json").exit_code == 0
