"""Pieces of a video that was stopped: what was damaged meanwhile is made anew, and told."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from unhaze import Dehazer
from unhaze.errors import OutputError, OutputExistsError

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video.dehaze import dehaze_video  # noqa: E402
from unhaze.video.segments import FramesFormat, Workshop  # noqa: E402

PIECE, FRAMES = 24, 60  # frames of a piece at 4 frames/s, and of the clip


@pytest.fixture(scope="module")
def dehazer():
    with Dehazer("dcp", threads=1) as dehazer:  # the quickest
        yield dehazer


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "in.mkv"
    scene = np.random.default_rng(3).integers(90, 220, (32, 48 + FRAMES, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=4)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number in range(FRAMES):
            view = np.ascontiguousarray(scene[:, number:][:, :48])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view).reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def stop_at(number):
    def progress(done, total, moment):
        if done == number:
            raise OutputError("stopped")

    return progress


@pytest.fixture(scope="module")
def stopped(clip, dehazer, tmp_path_factory):
    """A folder with what two runs left that were stopped within the third piece, and what they would have made."""
    folder = tmp_path_factory.mktemp("stopped")
    for name, more in (("one", {}), ("two", {"save_transmission": True})):
        with pytest.raises(OutputError, match="stopped"):
            dehaze_video(clip, folder / f"{name}.mkv", dehazer=dehazer, progress=stop_at(FRAMES - 5), **more)
    dehaze_video(clip, folder / "whole.mkv", dehazer=dehazer, save_transmission=True)
    return folder


@pytest.fixture
def left(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    return tmp_path


def content(path):
    with av.open(str(path)) as container:
        return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


def assert_same_transmission(folder):
    """Times are equal; x264 codes equal frames of this size by a level or two otherwise in one run and in another."""
    made, whole = (content(folder / f"{name}-transmission.mkv") for name in ("two", "whole"))
    assert [pts for pts, _ in made] == [pts for pts, _ in whole]
    for (_, one), (_, other) in zip(made, whole, strict=True):
        assert np.abs(np.frombuffer(one, np.uint8).astype(int) - np.frombuffer(other, np.uint8)).mean() < 0.5


def change_time(data):
    stored = json.loads(data)
    stored["times"][5] += 1
    return json.dumps(stored).encode()


def zeroed(data):
    return data[:500] + bytes(100) + data[600:]


@pytest.mark.parametrize(
    ("name", "damage", "goes_on_at"),
    [
        ("00001.mkv", lambda data: data[:2000], 1),
        ("00001.mkv", zeroed, 1),
        ("00001.json", None, 1),
        ("00001.json", change_time, 1),
        ("00001.npz", zeroed, 49),  # of no more use
        ("00002.mkv", lambda data: b"", 25),
        ("00002.mkv", lambda data: data + b"more", 25),
        ("00002.mkv", None, 25),
        ("00002.json", lambda data: data[:50], 25),
        ("00002.npz", zeroed, 25),
        ("00002.npz", None, 25),
        ("00003.mkv", lambda data: b"", 49),
        ("job.json", lambda data: b"", 1),
        ("job.json", None, 1),
    ],
)
def test_a_piece_that_is_not_what_was_finished_is_made_anew(name, damage, goes_on_at, left, clip, dehazer):
    part = left / "one.mkv.parts" / name
    if damage is None:
        part.unlink()
    else:
        part.write_bytes(damage(part.read_bytes()))
    counted = []
    result = dehaze_video(
        clip, left / "one.mkv", dehazer=dehazer, resume=True, progress=lambda done, *_: counted.append(done)
    )
    assert counted[0] == goes_on_at
    assert content(left / "one.mkv") == content(left / "whole.mkv")
    told = [note for note in result.notes if "were made anew" in note]
    assert len(told) == (goes_on_at != 2 * PIECE + 1)
    assert all(f"part {goes_on_at // PIECE + 1} " in note for note in told)


@pytest.mark.parametrize(("name", "goes_on_at"), [("00001.mkv", 1), ("00002.mkv", 25)])
def test_both_videos_go_on_at_one_frame(name, goes_on_at, left, clip, dehazer):
    (left / "two-transmission.mkv.parts" / name).write_bytes(b"")
    counted = []
    dehaze_video(
        clip,
        left / "two.mkv",
        dehazer=dehazer,
        resume=True,
        save_transmission=True,
        progress=lambda done, *_: counted.append(done),
    )
    assert counted[0] == goes_on_at
    assert content(left / "two.mkv") == content(left / "whole.mkv")
    assert_same_transmission(left)


def test_a_second_video_that_was_finished_before_the_stop_does_not_refuse_the_rest(left, clip, dehazer):
    (left / "two-transmission.mkv").write_bytes(b"finished by the run that was stopped")
    with pytest.raises(OutputExistsError):
        dehaze_video(clip, left / "two.mkv", dehazer=dehazer, save_transmission=True)
    dehaze_video(clip, left / "two.mkv", dehazer=dehazer, resume=True, save_transmission=True)
    assert_same_transmission(left)


def test_a_piece_that_changes_after_it_was_checked_is_told(left, clip):
    job = json.loads((left / "one.mkv.parts/job.json").read_text())
    workshop = Workshop(left / "one.mkv", job, resume=True, overwrite=False)
    assert [len(piece.times) for piece in workshop.pieces] == [PIECE, PIECE]
    second = left / "one.mkv.parts/00002.mkv"
    second.write_bytes(second.read_bytes()[:2000])
    with pytest.raises(OutputError, match=r"00002\.mkv is no longer what was written; --resume"):
        list(workshop.packets())


def test_a_folder_is_made_with_the_first_frame(tmp_path):
    workshop = Workshop(tmp_path / "a.mkv", {}, resume=False, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.mkv.parts").write_bytes(b"a file in its place")
    form = FramesFormat(16, 16, 4, 1, None, {})
    with pytest.raises(OutputError, match=r"a\.mkv\.parts cannot be made"):
        workshop.add(None, 0, None, form)
