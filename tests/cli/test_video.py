"""``unhaze video`` as a user meets it: which files become what, and what a stop leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.patience import HUNG, wait_until
from typer.testing import CliRunner

from unhaze.cli import app

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video import dehaze, segments  # noqa: E402

SOURCE = Path(__file__).parents[2] / "src"


def write(path, frames=2, rate=4, kind=None, codec="mpeg4"):
    """A small clip, whatever its name."""
    scene = np.random.default_rng(3).integers(90, 220, (32, 48 + frames, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number in range(frames):
            view = np.ascontiguousarray(scene[:, number:][:, :48])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view).reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def count(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def run(*arguments):
    return CliRunner().invoke(app, ["video", "--model", "dcp", *map(str, arguments)])


def made(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_videos_that_compete_for_a_name_are_all_done(tmp_path):
    films = tmp_path / "films"
    write(films / "in.mkv", 2)
    write(films / "in.mxf", 3, kind="matroska")
    write(films / "in.ogv", 4, kind="matroska")
    write(films / "other.mxf", 5, kind="matroska")
    write(films / "sub/in.mxf", 6, kind="matroska")
    result = run(films, "-o", tmp_path / "clear")
    assert result.exit_code == 0, result.stderr
    lengths = {name: count(tmp_path / "clear" / name) for name in made(tmp_path / "clear")}
    assert lengths == {"in.mkv": 2, "in-mxf.mkv": 3, "in-ogv.mkv": 4, "other.mkv": 5, "sub/in.mkv": 6}
    assert "in.mxf: named in-mxf.mkv, because in.mkv is the name for in.mkv" in result.stderr
    again = run(films, "-o", tmp_path / "clear", "--skip-existing")
    assert (again.exit_code, again.stderr.count("exists; nothing was written")) == (0, 5)
    assert "0 done, 5 skipped, 0 failed" in again.stderr


def test_a_name_made_apart_takes_no_other_name(tmp_path):
    for name in ("in.mkv", "in.mxf", "in-mxf.mkv"):
        write(tmp_path / name, 2, kind="matroska")
    result = run(tmp_path)
    assert result.exit_code == 0, result.stderr
    wanted = ["in-dehazed.mkv", "in-mxf-2-dehazed.mkv", "in-mxf-dehazed.mkv"]
    assert [name for name in made(tmp_path) if "dehazed" in name] == wanted


def test_videos_of_several_folders_that_share_a_name_are_refused(tmp_path):
    sources = [write(tmp_path / name / "a.mkv") for name in ("one", "two")]
    result = run(*sources, "-o", tmp_path / "clear")
    assert (result.exit_code, "would both become" in result.stderr) == (2, True)


def test_an_input_is_not_replaced_by_the_result_of_another(tmp_path):
    first, second = write(tmp_path / "a.mkv", 2), write(tmp_path / "a-dehazed.mkv", 3)
    before = second.read_bytes()
    result = run(first, second, "--overwrite")
    assert result.exit_code == 1
    assert "a-dehazed.mkv is an input, too" in result.stderr
    assert second.read_bytes() == before
    assert count(tmp_path / "a-dehazed-dehazed.mkv") == 3


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_input_under_another_name_is_not_replaced(link, tmp_path):
    source = write(tmp_path / "in.mkv")
    before = source.read_bytes()
    for name, more in (
        ("other.mkv", []),
        ("out-transmission.mkv", ["--save", "transmission"]),
        ("out.stopped.mkv", []),
    ):
        link(source, tmp_path / name)
        output = tmp_path / ("out.mkv" if name.startswith("out") else name)
        result = run(source, "-o", output, "--overwrite", *more)
        assert (result.exit_code, "is the input" in result.stderr) == (1, True), name
        assert source.read_bytes() == (tmp_path / name).read_bytes() == before
        (tmp_path / name).unlink()


def test_standard_streams_are_for_pipe(tmp_path):
    source = write(tmp_path / "in.mkv")
    for arguments in ((source, "-o", "-"), ("-", "-o", tmp_path / "out.mkv")):
        result = run(*arguments)
        assert (result.exit_code, "unhaze pipe" in result.stderr) == (2, True)
        assert result.stderr.count("\n") == 1
    assert made(tmp_path) == ["in.mkv"]


def test_pictures_among_videos_are_counted(tmp_path):
    write(tmp_path / "a.mkv")
    for name in ("one.jpg", "sub/two.PNG", "a-dehazed.jpg", ".hidden.jpg", ".trash/three.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), 90, np.uint8))
    told = run(tmp_path).stderr
    assert f"2 pictures were passed over; dehaze pictures with: unhaze run {tmp_path}" in told
    assert "1 picture was passed over" in run(tmp_path, "--no-recursive", "--overwrite").stderr
    assert "passed over" not in run(tmp_path / "a.mkv", "--overwrite").stderr


def test_a_refused_second_video_leaves_nothing(tmp_path):
    source = write(tmp_path / "in.mkv")
    (tmp_path / "in-transmission.mkv").write_bytes(b"mine")
    before = made(tmp_path)
    for _ in range(2):
        result = run(source, "--save", "transmission")
        assert (result.exit_code, "in-transmission.mkv exists already" in result.stderr) == (1, True)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert run(source, "--save", "transmission", "--overwrite").exit_code == 0


@pytest.fixture
def interrupted(monkeypatch):
    """Sends signals to this process at frame number ``at``, and more while the stop is tidied up."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as in the program

    def interrupt(at, number=signal.SIGINT):
        original = dehaze._Work.rescue

        def at_frame(meter, done, total, moment):
            if done == at:
                os.kill(os.getpid(), number)

        def rescue(work):
            for _ in range(3):
                os.kill(os.getpid(), number)
            return original(work)

        monkeypatch.setattr("unhaze.cli.video._Meter.__call__", at_frame)
        monkeypatch.setattr(dehaze._Work, "rescue", rescue)

    yield interrupt
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_the_first_whole_part_says_what_is_left(number, interrupted, monkeypatch, tmp_path):
    source = write(tmp_path / "in.mkv", 12)
    interrupted(5, number)
    result = run(source)
    assert result.exit_code == 130
    stopped = tmp_path / "in-dehazed.stopped.mkv"
    assert f"{stopped} plays what is done, and the same command begins anew" in result.stderr
    assert made(tmp_path) == ["in-dehazed.stopped.mkv", "in.mkv"]
    assert count(stopped) == 5
    monkeypatch.undo()
    assert run(source).exit_code == 0
    assert made(tmp_path) == ["in-dehazed.mkv", "in.mkv"], "what the stopped run left is of no more use"


def test_a_stop_that_leaves_nothing_says_so(interrupted, tmp_path):
    source = write(tmp_path / "in.mkv", 12)
    interrupted(5)
    result = run(source, "-o", tmp_path / "frame_%03d.png")
    assert (result.exit_code, "nothing is left of this run" in result.stderr) == (130, True)
    assert made(tmp_path) == ["in.mkv"]


def test_a_stop_after_a_whole_part_names_the_file(interrupted, monkeypatch, tmp_path):
    source = write(tmp_path / "in.mkv", 40)
    interrupted(30)
    result = run(source)
    assert result.exit_code == 130
    assert f"{tmp_path / 'in-dehazed.stopped.mkv'} plays what is done. Go on with" in result.stderr
    assert count(tmp_path / "in-dehazed.stopped.mkv") == 30
    monkeypatch.undo()
    assert run(source, "--resume").exit_code == 0
    assert made(tmp_path) == ["in-dehazed.mkv", "in.mkv"]


@pytest.mark.parametrize("at", [9, 26])
def test_a_stop_while_a_frame_is_coded_waits_for_its_end(at, interrupted, monkeypatch, tmp_path):
    interrupted(None)
    original, calls = segments._PieceWriter._mux, []

    def mux(writer, packets):
        calls.append(len(packets))
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGINT)
        original(writer, packets)

    monkeypatch.setattr(segments._PieceWriter, "_mux", mux)
    result = run(write(tmp_path / "in.mkv", 40))
    assert (result.exit_code, "Stopped" in result.stderr) == (130, True), result.stderr
    # the last packets of the first piece, of 24 frames, are the call after those of its frames
    assert count(tmp_path / "in-dehazed.stopped.mkv") == at - (at > 24)


def test_a_stop_before_any_video_says_so(interrupted, monkeypatch, tmp_path):
    def stop(_):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("unhaze.cli.video.log_engine", stop)
    result = run(write(tmp_path / "in.mkv"))
    assert (result.exit_code, "Stopped; no video was under way" in result.stderr) == (130, True)


@pytest.mark.slow
def test_an_impatient_user_sees_no_traceback(tmp_path):
    source = write(tmp_path / "in.mkv", 3000, rate=25)
    command = [sys.executable, "-m", "unhaze", "video", str(source), "--jobs", "2"]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until((tmp_path / "in-dehazed.mkv.parts/00001.mkv").exists, process)
        for _ in range(12):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        told = process.communicate(timeout=HUNG)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert told.startswith("Stopped")
    assert told.count("\n") == 1, told
