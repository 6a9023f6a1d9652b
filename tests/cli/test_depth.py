from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.images.files import read_image


@pytest.fixture
def hazy_file(hazy_photo, tmp_path):
    path = tmp_path / "town.jpg"
    Image.fromarray(hazy_photo[0]).save(path, quality=95)
    return path


def invoke(*args):
    return CliRunner().invoke(app, ["depth", *map(str, args)])


def test_depth_of_a_hazy_picture_follows_the_true_one(hazy_file, hazy_photo):
    result = invoke(hazy_file)
    assert result.exit_code == 0, result.stderr
    estimated = cv2.imread(str(hazy_file.with_name("town-depth.png")), cv2.IMREAD_UNCHANGED)
    assert (estimated.dtype, estimated.shape) == (np.uint16, hazy_photo[1].shape)
    true = -np.log(hazy_photo[1])
    assert np.corrcoef(estimated.ravel(), true.ravel())[0, 1] > 0.7
    assert estimated[20:60].mean() > 2 * estimated[-60:].mean()  # sky behind ground


def test_color(hazy_file):
    out = hazy_file.with_name("seen.png")
    assert invoke(hazy_file, "--color", "-o", out).exit_code == 0
    seen = read_image(out).pixels.astype(int)
    assert seen.dtype == int
    assert seen.shape[2] == 3
    assert seen[20:60, ..., 2].mean() > seen[-60:, ..., 2].mean()


def test_json(hazy_file):
    result = invoke(hazy_file, "--json", "--model", "cap")
    summary = json.loads(result.stdout)
    (record,) = summary["records"]
    assert (summary["done"], summary["failed"]) == (1, 0)
    assert record["output"] == str(hazy_file.with_name("town-depth.png"))
    assert (record["kind"], record["far"], record["model"]) == ("relative", "bright", "cap")
    levels = cv2.imread(record["output"], cv2.IMREAD_UNCHANGED)
    assert levels.max() * record["scale"] == pytest.approx(record["farthest"])
    assert record["nearest"] >= 0


def test_a_folder_with_a_broken_picture(hazy_file, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    hazy_file.rename(tmp_path / "in" / "sub" / "town.jpg")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    result = invoke(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")] == [
        (tmp_path / "sub" / "town-depth.png").relative_to(tmp_path)
    ]
    assert "broken.png" in result.stderr
    assert "1 done, 1 failed" in result.stderr
    assert result.stdout == ""


def test_nothing_is_overwritten_unless_asked(hazy_file):
    out = hazy_file.with_name("town-depth.png")
    out.write_bytes(b"mine")
    result = invoke(hazy_file)
    assert (result.exit_code, out.read_bytes()) == (1, b"mine")
    assert "--overwrite" in result.stderr
    assert invoke(hazy_file, "--overwrite").exit_code == 0
    assert read_image(out).pixels.dtype == np.uint16


def test_mistakes(hazy_file):
    assert invoke(hazy_file, "-o", hazy_file.with_name("x.jpg")).exit_code == 2
    assert invoke(hazy_file, "--model", "dpc").exit_code == 2
    assert invoke(hazy_file.with_name("absent.jpg")).exit_code == 1


# -- with an estimator ------------------------------------------------------------------------------------------------


@pytest.fixture
def no_network_twice(monkeypatch):
    """Counts runs of the compact estimator."""
    compact = pytest.importorskip("unhaze.depth.compact")
    runs, forward = [], compact.CompactDepth.forward
    monkeypatch.setattr(compact.CompactDepth, "forward", lambda self, image: runs.append(1) or forward(self, image))
    return runs


def test_an_estimator_and_its_cache(hazy_file, tmp_path, no_network_twice):
    runs, folder = no_network_twice, tmp_path / "kept"
    result = invoke(hazy_file, "--depth", "compact", "--cache-folder", folder, "--json")
    (record,) = json.loads(result.stdout)["records"]
    assert (record["model"], record["license"], record["kind"]) == ("compact", "Apache-2.0", "relative")
    assert (record["near"], record["far"], record["cache"]) == ("dark", "bright", str(folder))
    first = cv2.imread(record["output"], cv2.IMREAD_UNCHANGED)
    assert (first.dtype, first.shape) == (np.uint16, cv2.imread(str(hazy_file)).shape[:2])
    assert first[20:60].mean() > 2 * first[-60:].mean()
    assert len(list(folder.rglob("*.npz"))) == 1
    assert invoke(hazy_file, "--depth", "compact", "--cache-folder", folder, "--overwrite").exit_code == 0
    np.testing.assert_array_equal(cv2.imread(record["output"], cv2.IMREAD_UNCHANGED), first)
    assert len(runs) == 1
    assert invoke(hazy_file, "--depth", "compact", "--overwrite").exit_code == 0
    assert len(runs) == 2


def test_how_the_estimator_is_run(hazy_file, tmp_path, monkeypatch):
    depth, dcmpnet_de = pytest.importorskip("unhaze.depth"), pytest.importorskip("unhaze.depth.dcmpnet_de")
    from unhaze.depth.cache import read_entry

    made = []

    def untrained(name, **options):
        made.append((name, options))
        estimator = dcmpnet_de.dcmpnet_de(untrained=True, **options)
        estimator.identity = f"{name}/{options}"
        return estimator

    monkeypatch.setattr(depth, "create_depth", untrained)
    asked = [hazy_file, "--depth", "dcmpnet-de", "--overwrite", "--cache-folder", tmp_path / "kept", "--device", "cpu"]
    for options in ([], ["--longest", 64], ["--longest", 64], ["--longest", 64, "--cache-features"]):
        assert invoke(*asked, *options).exit_code == 0
    assert made == [("dcmpnet-de", options) for options in ({}, *3 * ({"longest": 64},))]
    entries = [read_entry(path) for path in (tmp_path / "kept").rglob("*.npz")]
    assert sorted(len(entry.features) for entry in entries) == [0, 0, 4]


def test_features_are_kept_where_training_looks_for_them(hazy_file, tmp_path, no_network_twice):
    from unhaze.depth import create_depth
    from unhaze.depth.cache import DepthCache

    # an estimator that gives a map alone has one entry, features asked for or not
    assert (
        invoke(hazy_file, "--depth", "compact", "--cache-folder", tmp_path / "kept", "--cache-features").exit_code == 0
    )
    DepthCache(tmp_path / "kept").estimate(create_depth("compact"), read_image(hazy_file).pixels)
    assert len(no_network_twice) == 1


def test_the_kind_of_a_map_from_a_file(hazy_file):
    pytest.importorskip("torch")
    near = hazy_file.with_name("near.png")
    cv2.imwrite(str(near), cv2.imread(str(hazy_file), cv2.IMREAD_GRAYSCALE))
    told = invoke(hazy_file, "--depth", near, "--kind", "inverse_relative", "--json")
    assert json.loads(told.stdout)["records"][0]["kind"] == "inverse_relative"


def test_the_cache_of_the_environment(hazy_file, tmp_path, monkeypatch, no_network_twice):
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "kept"))
    assert invoke(hazy_file, "--depth", "compact", "--cache").exit_code == 0
    assert len(list((tmp_path / "kept" / "depth").rglob("*.npz"))) == 1


def test_training_finds_what_the_command_kept(hazy_file, tmp_path, no_network_twice):
    from unhaze.depth import create_depth
    from unhaze.depth.cache import DepthCache, cached_depth

    grey = cv2.imread(str(hazy_file), cv2.IMREAD_GRAYSCALE)
    hazy_file = hazy_file.with_suffix(".png")
    cv2.imwrite(str(hazy_file), grey)  # grey too is three channels to an estimator
    assert invoke(hazy_file, "--depth", "compact", "--cache-folder", tmp_path).exit_code == 0
    cached_depth(create_depth("compact"), DepthCache(tmp_path))(np.dstack([grey] * 3))
    assert len(no_network_twice) == 1


def test_a_map_from_a_file_comes_back(hazy_file):
    pytest.importorskip("torch")
    assert invoke(hazy_file).exit_code == 0
    first = hazy_file.with_name("town-depth.png")
    again = hazy_file.with_name("again.png")
    result = invoke(hazy_file, "--depth", first, "-o", again, "--json")
    assert json.loads(result.stdout)["records"][0]["kind"] == "relative"
    np.testing.assert_array_equal(*(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (first, again)))
    turned = hazy_file.with_name("turned.png")
    cv2.imwrite(str(turned), np.rot90(cv2.imread(str(hazy_file))))
    result = invoke(turned, "--depth", first)
    assert result.exit_code == 1
    assert "another aspect ratio" in result.stderr


def test_deep_pictures_are_seen_as_well(hazy_file, no_network_twice):
    eight = cv2.imread(str(hazy_file))
    deep, shallow = hazy_file.with_name("deep.png"), hazy_file.with_name("shallow.png")
    cv2.imwrite(str(deep), eight.astype(np.uint16) * 257)
    cv2.imwrite(str(shallow), eight)
    assert invoke(deep, shallow, "--depth", "compact").exit_code == 0
    maps = [cv2.imread(str(p.with_name(f"{p.stem}-depth.png")), cv2.IMREAD_UNCHANGED) for p in (deep, shallow)]
    np.testing.assert_array_equal(*maps)


def test_the_licence_is_reported_once(hazy_file, caplog):
    base = pytest.importorskip("unhaze.depth.base")
    base._announced.clear()
    for _ in range(2):
        result = invoke(hazy_file, "--depth", "compact", "--quiet", "--overwrite")
        assert (result.exit_code, result.stdout) == (0, "")
    reported = [each.message for each in caplog.records if each.message.startswith("Licence")]
    assert reported == ["Licence of the weights of compact: Apache-2.0; commercial use is allowed."]


def test_list():
    reported = invoke("--list")
    assert reported.exit_code == 0
    assert "ra-depth" in reported.stdout
    cards = {card["name"]: card for card in json.loads(invoke("--list", "--json").stdout)}
    assert cards["compact"]["weights"] == "shipped"
    assert cards["ra-depth"]["weights"].startswith("needed")
    assert cards["depth-anything-v2-large"]["license"] == "CC-BY-NC-4.0"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "No picture is named"),
        (["FILE", "--cache"], 2, "add --depth NAME"),
        (["FILE", "--weights", "x.pth"], 2, "add --depth NAME"),
        (["FILE", "--device", "cpu"], 2, "add --depth NAME"),
        (["FILE", "--cache-features"], 2, "add --depth NAME"),
        (["FILE", "--depth", "compact", "--device", "gpu"], 2, "There is no device named 'gpu'"),
        (["FILE", "--depth", "compact", "--device", "cuda"], 2, "This machine has no CUDA device"),
        (["FILE", "--depth", "compact", "--longest", "300"], 2, "unexpected keyword argument 'longest'"),
        (["FILE", "--depth", "compact", "--model", "cap"], 2, "leave out --depth"),
        (["FILE", "--depth", "compcat"], 2, "did you mean compact"),
        (["FILE", "--depth", "file"], 2, "missing a required argument: 'path'"),
        (["FILE", "--depth", "ra-depth"], 3, "ra-depth needs trained weights; give the folder"),
        (["FILE", "--depth", "dcmpnet-de", "--weights", "absent.pth"], 3, "There is no weights file absent.pth"),
    ],
)
def test_mistakes_with_estimators(hazy_file, arguments, code, sentence, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = invoke(*(str(hazy_file) if each == "FILE" else each for each in arguments))
    assert result.exit_code == code
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
