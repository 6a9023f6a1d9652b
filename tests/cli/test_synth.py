from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.images.files import read_image
from unhaze.physics.synthesis import analytic_depth, haze_field

H, W = 40, 60


@pytest.fixture
def clear(photo) -> np.ndarray:
    return cv2.resize(photo, (W, H), interpolation=cv2.INTER_AREA)


@pytest.fixture
def clear_file(clear, tmp_path):
    path = tmp_path / "town.png"
    Image.fromarray(clear).save(path)
    return path


def invoke(*args):
    return CliRunner().invoke(app, ["synth", *map(str, args)])


def run(*args) -> list[dict]:
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["records"]


def haze_by_hand(clear: np.ndarray, depth: np.ndarray, beta: float, airlight, linear: bool = False) -> np.ndarray:
    """Koschmieder's law written out; sRGB curve of IEC 61966-2-1."""
    j, a = clear / 255.0, np.broadcast_to(np.asarray(airlight, float), clear.shape)
    if linear:
        j, a = (np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) for x in (j, a))
    t = np.exp(-beta * depth)
    t = t[..., None] if clear.ndim == 3 else t
    i = j * t + a * (1 - t)
    if linear:
        i = np.where(i <= 0.0031308, i * 12.92, 1.055 * i ** (1 / 2.4) - 0.055)
    return i * 255


@pytest.mark.parametrize("shape", ["plane", "ramp", "radial", "constant"])
def test_depth_shapes(clear_file, clear, shape):
    (record,) = run(clear_file, "--depth-shape", shape, "--beta", "0.02", "--airlight", "0.8,0.9,1.0")
    assert record["output"] == str(clear_file.with_name("town-hazy.png"))
    hazy = read_image(record["output"]).pixels
    expected = haze_by_hand(clear, analytic_depth(shape, H, W), 0.02, (0.8, 0.9, 1.0))
    np.testing.assert_allclose(hazy, expected, atol=0.51)


def test_linear_light(clear_file, clear):
    (record,) = run(clear_file, "--space", "linear", "--beta", "0.02", "--airlight", "0.7")
    expected = haze_by_hand(clear, analytic_depth("ramp", H, W), 0.02, 0.7, linear=True)
    np.testing.assert_allclose(read_image(record["output"]).pixels, expected, atol=0.51)


@pytest.mark.parametrize(
    ("name", "raw", "options", "metres"),
    [
        ("d.png", lambda d: (d * 1000).astype(np.uint16), ("--depth-scale", "0.001"), lambda d: d),
        ("d.png", lambda d: d.astype(np.uint8), (), np.floor),
        ("d.tif", lambda d: d.astype(np.float32), (), lambda d: d),
        ("d.tif", lambda d: (4 / d).astype(np.float32), ("--depth-kind", "inverse", "--depth-scale", "4"), lambda d: d),
        (
            "d.png",
            lambda d: np.round(65535 * 2 / d).astype(np.uint16),
            ("--depth-kind", "inverse", "--depth-scale", "2"),
            lambda d: d,
        ),
    ],
)
def test_depth_files(clear_file, clear, tmp_path, name, raw, options, metres):
    depth = np.linspace(3, 60, H * W).reshape(H, W)
    stored = raw(depth)
    (tifffile.imwrite if name.endswith("tif") else cv2.imwrite)(str(tmp_path / name), stored)
    (record,) = run(clear_file, "--depth", tmp_path / name, *options, "--beta", "0.03", "--airlight", "0.9")
    assert record["depth"] == str(tmp_path / name)
    expected = haze_by_hand(clear, metres(depth), 0.03, 0.9)
    np.testing.assert_allclose(read_image(record["output"]).pixels, expected, atol=0.6)


def test_bad_depth_files(clear_file, tmp_path):
    color = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "color.png"), color)
    cv2.imwrite(str(tmp_path / "square.png"), color[:30, :30, 0])
    (tmp_path / "junk.tif").write_bytes(b"II*\0 junk")
    for name, words in {
        "color.png": "several channels",
        "square.png": "shapes differ",
        "junk.tif": "cannot be read as a depth map",
        "absent.tif": "does not exist",
        "absent.png": "does not exist",
    }.items():
        result = invoke(clear_file, "--depth", tmp_path / name)
        assert result.exit_code == 1
        assert words in result.stderr
        assert not clear_file.with_name("town-hazy.png").exists()


def test_a_smaller_depth_map_is_enlarged(clear_file, tmp_path):
    tifffile.imwrite(tmp_path / "d.tif", np.full((H // 2, W // 2), 20, np.float32))
    (record,) = run(clear_file, "--depth", tmp_path / "d.tif", "--beta", "0.05")
    assert record["mean_transmission"] == pytest.approx(np.exp(-1), abs=1e-5)


def test_beta_is_drawn_by_seed_and_name(clear, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(clear).save(tmp_path / "in" / name)

    def betas(seed, out):
        return [r["beta"] for r in run(tmp_path / "in", "-o", tmp_path / out, "--beta", "0.01,0.05", "--seed", seed)]

    first, again, other = betas(1, "x"), betas(1, "y"), betas(2, "z")
    assert first == again
    assert len({*first, *other}) == 4
    assert all(0.01 <= beta <= 0.05 for beta in first + other)
    (alone,) = run(tmp_path / "in" / "b.png", "-o", tmp_path / "w.png", "--beta", "0.01,0.05", "--seed", "1")
    assert alone["beta"] == first[1]  # whatever else is in the run
    assert (tmp_path / "x" / "b.png").read_bytes() == (tmp_path / "y" / "b.png").read_bytes()


def test_patchy_haze(clear_file, tmp_path):
    common = ("--depth-shape", "constant", "--save", "transmission")
    run(clear_file, "-o", tmp_path / "even.png", *common)
    run(clear_file, "-o", tmp_path / "patchy.png", *common, "--patchy", "0.8", "--seed", "3")
    even, patchy = (read_image(tmp_path / f"{n}-transmission.png").pixels / 65535 for n in ("even", "patchy"))
    assert np.ptp(even) == 0
    density = np.log(patchy) / np.log(even)
    assert density.mean() == pytest.approx(1, abs=1e-3)
    assert np.log(density).std() > 0.5 * np.log(haze_field(H, W, seed=0, contrast=0.8)).std()


def test_saved_maps_can_be_used_again(clear_file, tmp_path):
    first = run(clear_file, "-o", tmp_path / "one.png", "--save", "transmission,depth", "--beta", "0.02")[0]
    assert sorted(first["sides"]) == ["depth", "transmission"]
    transmission = read_image(first["sides"]["transmission"]).pixels / 65535
    depth = analytic_depth("ramp", H, W)
    np.testing.assert_allclose(transmission, np.exp(-0.02 * depth), atol=1e-5)
    scale = first["saved_depth_scale"]
    np.testing.assert_allclose(read_image(first["sides"]["depth"]).pixels * scale, depth, atol=0.51 * scale)
    args = ("--depth", first["sides"]["depth"], "--depth-scale", scale, "--beta", "0.02")
    second = run(clear_file, "-o", tmp_path / "two.png", *args)[0]
    one, two = (read_image(r["output"]).pixels.astype(int) for r in (first, second))
    assert np.abs(one - two).max() <= 1


def test_16_bit_alpha_and_metadata_stay(clear, tmp_path):
    wide = cv2.resize(clear, (W, H)).astype(np.uint16) * 257
    alpha = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 7
    cv2.imwrite(str(tmp_path / "deep.png"), np.dstack([wide[..., ::-1], alpha]))
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(clear).save(tmp_path / "photo.jpg", exif=exif, quality=90, subsampling=0)
    deep, photo = run(tmp_path / "deep.png", tmp_path / "photo.jpg")
    hazy = read_image(deep["output"])
    assert hazy.pixels.dtype == np.uint16
    assert len(np.unique(hazy.pixels)) > 1000
    np.testing.assert_array_equal(hazy.alpha, alpha)
    with Image.open(photo["output"]) as opened:
        assert opened.format == "JPEG"
        assert opened.getexif()[0x010F] == "Maker"


def test_grey_stays_grey_and_floats_stay_floats(clear, tmp_path):
    grey = clear[..., 1]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    tifffile.imwrite(tmp_path / "float.tif", clear.astype(np.float32) / 255, photometric="rgb")
    one, two = run(tmp_path / "grey.png", tmp_path / "float.tif", "--airlight", "0.8,0.9,1.0", "--beta", "0.02")
    depth = analytic_depth("ramp", H, W)
    light = 0.299 * 0.8 + 0.587 * 0.9 + 0.114 * 1.0
    np.testing.assert_allclose(read_image(one["output"]).pixels, haze_by_hand(grey, depth, 0.02, light), atol=0.51)
    floats = read_image(two["output"]).pixels
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats * 255, haze_by_hand(clear, depth, 0.02, (0.8, 0.9, 1.0)), atol=1e-3)


def test_a_folder_of_depth_maps_and_one_that_is_missing(clear, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "depth").mkdir()
    for name in ("a", "b"):
        Image.fromarray(clear).save(tmp_path / "in" / f"{name}.png")
    tifffile.imwrite(tmp_path / "depth" / "a.tif", np.full((H, W), 10, np.float32))
    result = invoke(tmp_path / "in", "-o", tmp_path / "out", "--depth", tmp_path / "depth", "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert [record["status"] for record in summary["records"]] == ["done", "failed"]
    assert "holds no depth map for b.png" in result.stderr
    assert not (tmp_path / "out" / "b.png").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--beta", "-0.1"), "beta"),
        (("--beta", "0.2,0.1"), "LOW,HIGH"),
        (("--beta", "1,2,3"), "beta"),
        (("--beta", "much"), "beta"),
        (("--beta", "inf"), "finite"),
        (("--airlight", "1.2"), "airlight"),
        (("--airlight", "0.5,0.5"), "airlight"),
        (("--patchy", "1.5"), "patchy"),
        (("--patchy", "nan"), "patchy"),
        (("--space", "lab"), "lab"),
        (("--depth-shape", "plain"), "did you mean plane"),
        (("--depth-kind", "invers"), "did you mean inverse"),
        (("--depth-scale", "0"), "depth-scale"),
        (("--seed", "-1"), "seed"),
        (("--save", "confidence"), "confidence"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(clear_file, args, words):
    result = invoke(clear_file, *args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in clear_file.parent.iterdir()] == ["town.png"]


def test_nothing_is_overwritten_unless_asked(clear_file):
    out = clear_file.with_name("town-hazy.png")
    out.write_bytes(b"mine")
    assert invoke(clear_file).exit_code == 1
    assert out.read_bytes() == b"mine"
    assert invoke(clear_file, "--overwrite").exit_code == 0
    assert invoke(clear_file, "-o", clear_file).exit_code == 1
