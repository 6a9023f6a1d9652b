"""Pixels that are not square stay so in every kind of file that can say it, whatever the codec; read by ffprobe."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib

import pytest

from unhaze import Dehazer

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video.dehaze import dehaze_video  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed (apt-get install ffmpeg)"
)
ROWS = [
    ("webm", "libvpx-vp9 -cpu-used 8 -deadline realtime"),
    ("webm", "libvpx -cpu-used 8 -deadline realtime"),
    ("mkv", "ffv1 -metadata:s:v title=H\u00fcgel"),
    ("mkv", "rawvideo"),
    ("mkv", "libx264 -preset ultrafast -metadata:s:v title=Fog"),
    ("mov", "prores_ks"),
    ("mov", "qtrle"),
    ("mov", "cfhd"),
    ("mov", "dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p"),
    ("avi", "huffyuv"),
    ("avi", "rawvideo"),
    ("wmv", "wmv2"),
    pytest.param("mp4", "libaom-av1 -cpu-used 8 -usage realtime", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def nothing():
    with Dehazer(threads=1, strength=0) as dehazer:
        yield dehazer


def make(path, codec, aspect, before=""):
    source = f"{before} -f lavfi -i testsrc2=s=256x128:r=25:d=0.12 -vf setsar={aspect} -c:v {codec}"
    subprocess.run(["ffmpeg", "-v", "error", *source.split(), path], check=True)
    return path


def stream(path):
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_streams", "-of", "json", path]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"][0]


@pytest.mark.parametrize("aspect", ["4/3", "125/296"])
@pytest.mark.parametrize(("ending", "codec"), ROWS)
def test_the_pixel_aspect_stays(ending, codec, aspect, nothing, tmp_path):
    source = make(tmp_path / f"in.{ending}", codec, aspect)
    result = dehaze_video(source, dehazer=nothing)
    before, after = stream(source), stream(result.path)
    assert result.notes == ()
    assert before["sample_aspect_ratio"] not in ("1:1", "0:1")
    assert after["sample_aspect_ratio"] == before["sample_aspect_ratio"]
    assert after.get("tags", {}).get("title") == before.get("tags", {}).get("title")
    played = subprocess.run(["ffmpeg", "-v", "error", "-i", result.path, "-f", "null", "-"], capture_output=True)
    assert (played.returncode, played.stderr) == (0, b"")


def test_that_of_the_transmission_stays_too(nothing, tmp_path):
    source = make(tmp_path / "in.webm", "libvpx-vp9 -cpu-used 8 -deadline realtime", "4/3")
    dehaze_video(source, tmp_path / "in-dehazed.webm", dehazer=nothing, save_transmission=True)
    assert stream(tmp_path / "in-transmission.webm")["sample_aspect_ratio"] == stream(source)["sample_aspect_ratio"]


def test_matroska_stays_sound_to_the_byte(nothing, tmp_path):
    """Its tracks have a check sum, and nothing behind them may move."""
    result = dehaze_video(make(tmp_path / "in.mkv", "ffv1", "4/3"), dehazer=nothing)
    data = result.path.read_bytes()
    tracks = data.index(bytes.fromhex("1654AE6B"), data.index(b"Lavf"))
    start = tracks + 5 + (data[tracks + 4] < 0x80)
    length = int.from_bytes(data[tracks + 4 : start], "big") & ((1 << 7 * (start - tracks - 4)) - 1)
    assert data[start : start + 2] == b"\xbf\x84"
    content = data[start + 6 : start + length]
    assert data[start + 2 : start + 6] == zlib.crc32(content).to_bytes(4, "little")
    assert data[start + length : start + length + 4] == bytes.fromhex("1254C367")  # tags follow at once
    with av.open(str(result.path)) as container:
        container.seek(80_000)
        assert len(list(container.decode(video=0))) >= 1


def test_a_kind_of_file_without_a_place_for_it_is_told(nothing, tmp_path):
    result = dehaze_video(make(tmp_path / "in.nut", "ffv1", "4/3"), dehazer=nothing)
    assert any("cannot say that the pixels of the video are 4:3" in note for note in result.notes)
