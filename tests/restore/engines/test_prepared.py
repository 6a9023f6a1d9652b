"""Networks that onnxruntime prepared are kept, give the same numbers to the last bit, and are never in the way."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import astuple

import numpy as np
import pytest
from tests.pictures import scene

from unhaze.default.model import FieldModel
from unhaze.restore.engines import _prepared
from unhaze.restore.engines.onnx import close_engines

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(_prepared.CACHE_VARIABLE, "on")
    close_engines()
    yield tmp_path / "cache" / "engines"
    close_engines()


WEIGHTS = FieldModel().weights
VIEW = scene(96, 128).astype(np.float32) / 255


def found(weights=WEIGHTS):
    """What the default finds in a view, with an engine that is opened for it."""
    close_engines()
    model = FieldModel(weights, engine="onnxruntime", threads=1)
    return np.concatenate([np.ravel(each) for each in astuple(model.maps(VIEW))])


def test_a_kept_network_gives_the_same_bits(folder, monkeypatch):
    monkeypatch.setenv(_prepared.CACHE_VARIABLE, "off")
    expected = found()
    assert not folder.exists()
    monkeypatch.setenv(_prepared.CACHE_VARIABLE, "on")
    np.testing.assert_array_equal(found(), expected)
    (kept,) = folder.iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    state = kept.stat()
    np.testing.assert_array_equal(found(), expected)
    assert list(folder.iterdir()) == [kept]
    assert kept.stat().st_mtime_ns == state.st_mtime_ns, "it was used, not made anew"


@pytest.mark.parametrize("content", [b"", b"no network", None])
def test_a_kept_network_that_is_damaged_is_made_anew(folder, content):
    expected = found()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if content is None else content)
    np.testing.assert_array_equal(found(), expected)
    assert kept.stat().st_size == len(whole)
    assert list(folder.iterdir()) == [kept]


def test_another_state_of_the_file_is_another_network(folder, tmp_path):
    model = tmp_path / "mine.onnx"
    shutil.copy(WEIGHTS, model)
    expected = found(model)
    model.touch()
    np.testing.assert_array_equal(found(model), expected)
    assert len(list(folder.iterdir())) == 2


def test_the_oldest_make_room(folder, tmp_path):
    for index in range(_prepared._MOST_KEPT + 2):
        model = tmp_path / f"network{index}.onnx"
        shutil.copy(WEIGHTS, model)
        found(model)
        for each in folder.iterdir():  # a minute older each time, so that clocks do not matter
            os.utime(each, (each.stat().st_atime - 60, each.stat().st_mtime - 60))
    names = sorted(each.name.partition("-")[0] for each in folder.iterdir())
    assert names == [f"network{index}" for index in range(2, _prepared._MOST_KEPT + 2)]


def test_what_killed_processes_began_is_removed_and_what_others_are_at_is_not(folder):
    found()
    (kept,) = folder.iterdir()
    kept.unlink()
    stale, fresh = folder / ".network-1.part", folder / ".network-2.part"
    for part in (stale, fresh):
        part.write_bytes(b"begun")
    os.utime(stale, (0, 0))
    found()
    assert sorted(folder.iterdir()) == sorted([fresh, kept])


def test_a_folder_that_cannot_be_made_keeps_no_picture_hazy(folder, monkeypatch, tmp_path):
    expected = found()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "file"))
    np.testing.assert_array_equal(found(), expected)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners here")
def test_a_network_that_another_user_kept_is_not_read(folder, monkeypatch):
    expected = found()
    (kept,) = folder.iterdir()
    kept.write_bytes(b"whatever another user wants")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    np.testing.assert_array_equal(found(), expected)
