"""Depth maps from files: what their numbers mean, and which pictures they fit."""

from __future__ import annotations

import io
import os
import resource
import struct
import zipfile

import cv2
import numpy as np
import pytest
import tifffile

torch = pytest.importorskip("torch")

from unhaze.depth import create_depth  # noqa: E402
from unhaze.depth.cache import DepthCache  # noqa: E402
from unhaze.depth.file import read_depth  # noqa: E402
from unhaze.errors import ImageDecodeError, ImageError, ImageValueError, UnknownNameError, UsageError  # noqa: E402
from unhaze.images.depth_maps import gray_depth  # noqa: E402
from unhaze.models.layers.depth_view import nearness  # noqa: E402
from unhaze.types import DepthMap  # noqa: E402

RAMP = np.linspace(1, 9, 48, dtype=np.float32).reshape(6, 8)  # row 0 is small


@pytest.mark.parametrize("kind", ["metric", "relative", "inverse_relative"])
def test_what_unhaze_depth_wrote_comes_back(kind, tmp_path):
    path = tmp_path / "depth.png"
    path.write_bytes(gray_depth(DepthMap(RAMP, kind)).data)
    found = read_depth(path)
    assert found.kind == kind
    expected = RAMP
    if kind == "inverse_relative":  # known up to scale and shift
        expected = (RAMP - RAMP.min()) / np.ptp(RAMP)
    np.testing.assert_allclose(found.map, expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bright_is_far_in_a_foreign_picture(dtype, tmp_path):
    path = tmp_path / "depth.png"
    cv2.imwrite(str(path), RAMP.astype(dtype))
    estimator = create_depth("file", path=path)
    assert estimator(torch.rand(1, 3, 60, 80)).map.shape == (1, 1, 60, 80)
    depth = estimator(torch.rand(1, 3, 6, 8))
    assert depth.kind == estimator.kind == "relative"
    assert torch.equal(depth.map[0, 0], torch.from_numpy(RAMP.astype(dtype).astype(np.float32)))
    near = nearness(depth.map, depth.kind)
    assert near[0, 0, 0, 0] == 1
    assert near[0, 0, -1, -1] == 0


def test_kind_may_be_reported(tmp_path):
    path = tmp_path / "depth.png"
    path.write_bytes(gray_depth(DepthMap(RAMP, "metric")).data)
    depth = create_depth("file", path=path, kind="inverse_relative")(torch.rand(1, 3, 6, 8))
    assert depth.kind == "inverse_relative"
    assert nearness(depth.map, depth.kind)[0, 0, -1, -1] == 1
    with pytest.raises(UnknownNameError, match="kind of depth named 'inverse'"):
        create_depth("file", path=path, kind="inverse")


def write_npz(path):
    cache = DepthCache(path.parent, features=True)
    key = "ab" * 32
    cache.put(key, DepthMap(RAMP, "metric", (np.ones((1, 5, 3, 4), np.float32),)))
    (path.parent / "ab" / f"{key}.npz").rename(path)


WRITERS = {
    "float.tif": lambda path: tifffile.imwrite(path, RAMP),
    "a.npy": lambda path: np.save(path, RAMP),
    "b.npy": lambda path: np.save(path, RAMP.astype(np.float64)[None, None]),
    "c.npy": lambda path: np.save(path, RAMP[..., None]),
    "entry.npz": write_npz,
}


@pytest.mark.parametrize("name", WRITERS)
def test_formats(name, tmp_path):
    WRITERS[name](tmp_path / name)
    estimator = create_depth(str(tmp_path / name))  # a path is as good as a name
    depth = estimator(torch.rand(1, 3, 6, 8))
    np.testing.assert_allclose(depth.map[0, 0], RAMP, rtol=1e-3)
    if name.endswith("npz"):
        assert depth.kind == "metric"
        assert [(level.channels, level.stride) for level in estimator.levels] == [(5, 2)]
        assert depth.features[0].shape == (1, 5, 3, 4)


@pytest.mark.parametrize(
    ("height", "width", "fits"),
    [(600, 800, True), (600, 810, True), (600, 830, False), (800, 600, False), (5, 7, True), (1, 1, True)],
)
def test_the_picture_must_have_the_same_aspect_ratio(height, width, fits, tmp_path):
    np.save(tmp_path / "d.npy", RAMP)
    estimator = create_depth("file", path=tmp_path / "d.npy")
    image = torch.rand(1, 3, height, width)
    if fits:
        assert estimator(image).map.shape == (1, 1, height, width)
    else:
        with pytest.raises(ImageValueError, match=rf"d\.npy is 8 x 6 and the picture {width} x {height}, .*\.$"):
            estimator(image)


def test_stands_for_one_picture(tmp_path):
    np.save(tmp_path / "d.npy", RAMP)
    with pytest.raises(UsageError, match="depth of one picture, not of 2"):
        create_depth("file", path=tmp_path / "d.npy")(torch.rand(2, 3, 6, 8))


def test_another_map_is_another_estimator(tmp_path):
    np.save(tmp_path / "a.npy", RAMP)
    np.save(tmp_path / "b.npy", RAMP + 1)
    first, second = (create_depth("file", path=tmp_path / name) for name in ("a.npy", "b.npy"))
    assert first.identity != second.identity
    assert first.identity != create_depth("file", path=tmp_path / "a.npy", kind="metric").identity


BAD = {
    "absent.png": (None, ImageDecodeError, "There is no depth map"),
    "broken.png": (b"\x89PNG\r\n\x1a\nnothing", ImageError, "The depth map cannot be read"),
    "broken.npy": (b"nothing", ImageDecodeError, "is no array of NumPy"),
    "broken.npz": (b"nothing", ImageDecodeError, "is no entry of a depth cache"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, tmp_path):
    content, error, sentence = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=sentence):
        create_depth("file", path=tmp_path / name)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 3, 4)), "not a map"),
        (np.zeros(5), "not a map"),
        (np.zeros((0, 4)), "not a map"),
        (np.array([["a", "b"]]), "not a map"),
        (np.array([[1.0, np.nan]]), "no numbers"),
    ],
)
def test_bad_arrays(array, sentence, tmp_path):
    np.save(tmp_path / "d.npy", array)
    with pytest.raises(ImageValueError, match=sentence):
        create_depth("file", path=tmp_path / "d.npy")


def test_a_colour_picture_is_no_depth(tmp_path):
    cv2.imwrite(str(tmp_path / "c.png"), np.dstack([RAMP, RAMP, RAMP + 1]).astype(np.uint8))
    with pytest.raises(ImageValueError, match="is a colour picture"):
        create_depth("file", path=tmp_path / "c.png")
    cv2.imwrite(str(tmp_path / "g.png"), np.dstack([RAMP] * 3).astype(np.uint8))
    assert read_depth(tmp_path / "g.png").map.shape == RAMP.shape


# -- crafted files ----------------------------------------------------------------------------------------------------


def array_file(path, header, values=b""):
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + values)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 5), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9" + "9" * 400 + ", 5), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 5, }",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (1, 1), }",
        "__import__('os').mkdir('sprung')",
        "{" * 5000,
    ],
)
def test_headers_that_claim_what_is_not_there_are_refused(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    array_file(tmp_path / "odd.npy", header, bytes(64))
    with pytest.raises(ImageError, match=r"odd\.npy"):
        read_depth(tmp_path / "odd.npy")
    assert not (tmp_path / "sprung").exists()


def test_more_values_than_a_picture_may_have_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("unhaze.depth.file.DEFAULT_MAX_PIXELS", 1000)
    np.save(tmp_path / "large.npy", np.ones((40, 40), np.float32))
    with pytest.raises(ImageError, match="limit"):
        read_depth(tmp_path / "large.npy")


def test_values_beyond_float32_are_refused(tmp_path):
    np.save(tmp_path / "far.npy", np.full((8, 9), 1e300))
    with pytest.raises(ImageError, match="no numbers"):
        read_depth(tmp_path / "far.npy")


def entry(path, *, compression=zipfile.ZIP_STORED, **arrays):
    base = {"format": np.array(1), "kind": np.array("metric"), "scales": np.ones(1, "f4")}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in {**base, **arrays}.items():
            file = io.BytesIO()
            if isinstance(array, bytes):
                file.write(array)
            else:
                np.save(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())


def claims(shape):
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    "arrays",
    [
        {"map0": claims((40_000, 40_000)) + bytes(200 << 20), "compression": zipfile.ZIP_DEFLATED},  # 200 kB on disk
        {"map0": claims((10**9, 10**9))},
        {"map0": np.ones((4, 4), "f2"), "scales": np.ones(10**6, "f4")},
        {"map0": np.ones((4, 4), "f2"), "scales": np.array([np.nan], "f4")},
        {"map0": np.full((4, 4), 60_000, "f2"), "scales": np.array([3e38], "f4")},
        {"map0": np.ones((4, 4, 4), "f2")},
        {},
    ],
)
def test_crafted_entries_of_a_cache_are_refused(tmp_path, arrays):
    entry(tmp_path / "odd.npz", **arrays)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"odd\.npz"):
        read_depth(tmp_path / "odd.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # [kB]


def test_the_hand_made_entry_is_a_sound_one(tmp_path):
    entry(tmp_path / "sound.npz", map0=np.ones((4, 4), "f2"))
    assert read_depth(tmp_path / "sound.npz").map.shape == (4, 4)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    for path in (tmp_path / "pipe.npy", "/dev/zero", tmp_path, tmp_path / "absent.npz"):
        with pytest.raises(ImageError, match="check the path"):
            read_depth(path)
