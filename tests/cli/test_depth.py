from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.io.images import read_image


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
    result = invoke(hazy_file, "--json", "--method", "cap")
    summary = json.loads(result.stdout)
    (record,) = summary["records"]
    assert (summary["done"], summary["failed"]) == (1, 0)
    assert record["output"] == str(hazy_file.with_name("town-depth.png"))
    assert (record["kind"], record["far"], record["method"]) == ("relative", "bright", "cap")
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
    assert invoke(hazy_file, "--method", "dpc").exit_code == 2
    assert invoke(hazy_file.with_name("absent.jpg")).exit_code == 1
