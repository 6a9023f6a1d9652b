"""Live sources: a stream that ffmpeg serves on this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess

import numpy as np
import pytest
from tests.patience import wait_until
from typer.testing import CliRunner

from unhaze.cli import app

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video import live  # noqa: E402
from unhaze.video.line import decoded_ahead  # noqa: E402
from unhaze.video.live import LiveReader, open_reader  # noqa: E402

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed (apt-get install ffmpeg)")


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def serve(address, seconds):
    """ffmpeg sends a picture that moves, 10 frames/s at their pace, to the first who asks; returns when it listens."""
    source = f"testsrc2=size=64x48:rate=10:duration={seconds}"
    coder = "-c:v libx264 -preset ultrafast -tune zerolatency -g 5 -pix_fmt yuv420p -f mpegts -listen 1"
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-re", "-f", "lavfi", "-i", source, *coder.split(), address]
    process = subprocess.Popen(command)
    port = int(address.rpartition(":")[2])
    wait_until(lambda: _listens(port), process)
    return process


def _listens(port):
    """Whether a port is taken; connecting would be asking."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@needs_ffmpeg
def test_a_stream_is_recorded_for_as_long_as_asked(address, tmp_path):
    process = serve(address, 60)
    try:
        command = ["video", address, "-o", str(tmp_path / "live.mp4"), "--duration", "0.5"]
        result = CliRunner().invoke(app, command)
    finally:
        process.kill()
        process.wait()
    assert result.exit_code == 0, result.stderr
    with av.open(str(tmp_path / "live.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert times[0] == 0
    assert 1 <= len(times) <= 5
    assert times[-1] < 0.5
    assert np.allclose(np.array(times) * 10 % 1 % 0.999, 0, atol=0.02), "frames have the times of the stream"
    assert [path.name for path in tmp_path.iterdir()] == ["live.mp4"]


@needs_ffmpeg
@pytest.mark.slow
def test_a_stream_that_comes_back_is_taken_up_again(address, monkeypatch):
    monkeypatch.setattr(live, "_PATIENCE", 30.0)
    first = serve(address, 1)
    with open_reader(address) as reader:
        assert isinstance(reader, LiveReader)
        frames, second, times = reader.frames(end=60), None, []
        try:
            for timed in frames:
                times.append(float((timed.pts - reader.info.start) * reader.info.time_base))
                if len(times) == 10:
                    first.wait()
                    second = serve(address, 60)
                if len(times) == 14:
                    break
        finally:
            for process in filter(None, (first, second)):
                process.kill()
                process.wait()
    assert times[:10] == pytest.approx([0.1 * number for number in range(10)])
    assert times[10] > 1
    assert np.diff(times[10:]) == pytest.approx([0.1] * 3)


@needs_ffmpeg
def test_a_stream_that_stays_away_is_told(address, monkeypatch):
    monkeypatch.setattr(live, "_PATIENCE", 0.1)
    process = serve(address, 0.5)
    with open_reader(address) as reader:
        assert len(list(reader.frames(end=60))) == 5
        assert "went away after 00:00:00.40" in reader.broken
    process.wait()


def test_a_live_source_does_not_wait():
    """Frames for which there is no room are left out and counted, and the last one is given all the same."""
    dropped = []
    ahead = decoded_ahead(iter(range(1, 40)), 2, dropped=lambda: dropped.append(1))
    first = next(ahead)
    wait_until(lambda: len(dropped) >= 30)
    assert [first, *ahead][:3] == [1, 2, 3]
