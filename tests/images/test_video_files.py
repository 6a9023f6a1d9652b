"""A video is told from a picture, and the command that is named for it works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.images.files import identify, read_image
from unhaze.images.video_files import VIDEO_HEAD, is_video, video_command

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed (apt-get install ffmpeg)")
PACKET = b"G" + bytes(187)
HEADS = {
    "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "mov": b"\0\0\0\x14ftypqt  \0\0\2\0qt  ",
    "old mov": b"\0\0\x30\x39moov\0\0\0\x6cmvhd",
    "mkv": b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x23",
    "avi": b"RIFF\0\x10\0\0AVI LIST",
    "ts": PACKET * 3,
    "m2ts": (b"\0\0\0\0" + PACKET) * 3,
    "mpg": b"\0\0\1\xba\x44\0\4\0",
    "y4m": b"YUV4MPEG2 W4 H2 F25:1 C420\nFRAME\n",
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_video_is_known_by_its_content(kind, tmp_path):
    data = HEADS[kind].ljust(500, b"\0")
    assert is_video(data[:VIDEO_HEAD])
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(UnsupportedImageError, match="video, not a picture; dehaze it with: unhaze video"):
            identify(source)


@pytest.mark.parametrize("ending", ["mp4", "MOV", "mkv", "webm", "avi", "ts", "y4m"])
def test_a_video_is_known_by_its_ending(ending, tmp_path):
    path = tmp_path / f"my clip.{ending}"
    path.write_bytes(b"neither this nor that " * 40)
    with pytest.raises(UnsupportedImageError) as caught:
        read_image(path)
    command = "unhaze pipe <" if ending == "y4m" else "unhaze video"
    assert f"{command} '{tmp_path}/my clip.{ending}'" in str(caught.value), "the name is quoted for the shell"


def test_what_is_neither_picture_nor_video_is_called_neither(tmp_path):
    for name, data in {"a.txt": b"Good morning", "b.jpg": b"G" * 30, "c.m4a": b"\0\0\0\x20ftypM4A \0\0\0\0"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageDecodeError, match="not a picture of a known format"):
            identify(tmp_path / name)


def test_run_names_the_command(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from unhaze.cli import app

    monkeypatch.chdir(tmp_path)
    Path("films").mkdir()
    Path("films/clip.mp4").write_bytes(HEADS["mp4"] * 9)
    result = CliRunner().invoke(app, ["run", "films"])
    assert "No pictures were found in films" in result.stderr
    assert "dehaze it with: unhaze video films/clip.mp4" in result.stderr
    monkeypatch.setattr("unhaze.cli.run.find_spec", lambda name: None)  # as if PyAV were not installed
    result = CliRunner().invoke(app, ["run", "films/clip.mp4"])
    assert (result.exit_code, result.stderr.count("unhaze video films/clip.mp4")) == (1, 1)


def test_run_tells_of_videos_among_pictures(tmp_path, monkeypatch):
    from PIL import Image
    from typer.testing import CliRunner

    from unhaze.cli import app

    monkeypatch.chdir(tmp_path)
    for folder in ("trip/day", "trip/.trash", "trip/out"):
        Path(folder).mkdir(parents=True)
    Image.new("RGB", (20, 16), (90, 120, 150)).save("trip/a.png")
    for name in ("day/b.MP4", "c.mov", ".trash/d.mp4", "out/e.mp4", "code.ts"):
        Path("trip", name).write_bytes(b"let x = 1;" if name == "code.ts" else HEADS["mp4"] * 9)
    result = CliRunner().invoke(app, ["run", "trip", "-o", "trip/out"])
    assert (result.exit_code, result.stderr.count("is a video")) == (0, 1)
    assert "2 videos were passed over; the first: trip/c.mov is a video" in result.stderr
    assert "dehaze it with: unhaze video trip/c.mov\n" in result.stderr
    result = CliRunner().invoke(app, ["run", "trip", "-o", "trip/out", "--no-recursive", "--overwrite", "-q"])
    assert (result.exit_code, result.stderr) == (0, "")
    result = CliRunner().invoke(app, ["run", "trip", "-o", "trip/out", "--no-recursive", "--overwrite"])
    assert "trip/c.mov is a video" in result.stderr
    assert "passed over" not in result.stderr


def test_help_and_documentation_name_the_same_command():
    from typer.testing import CliRunner

    from unhaze.cli import app

    command = video_command("in.mp4", "out.mp4")
    assert command in " ".join(CliRunner().invoke(app, ["pipe", "--help"]).stdout.split())
    root = Path(__file__).parents[2]
    assert command in (root / "docs/video.md").read_text()


def make_clip(path, *options):
    """A quarter of a second of moving colours, with a tone."""
    made = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=8:duration=0.5", "-f", "lavfi", "-i", "sine=duration=0.5"]
    subprocess.run(["ffmpeg", "-v", "error", *made, *options, str(path)], check=True, stdin=subprocess.DEVNULL)


def streams(path):
    reported = subprocess.run(["ffmpeg", "-hide_banner", "-i", str(path)], capture_output=True, text=True).stderr
    return re.findall(r"Stream #\S+ (Video|Audio)", reported.replace("(und)", ""))


@needs_ffmpeg
@pytest.mark.parametrize(
    "ending",
    ["mp4", *(pytest.param(each, marks=pytest.mark.slow) for each in ("mov", "mkv", "webm", "avi", "ts", "y4m"))],
)
def test_the_command_that_is_named_works_as_it_stands(ending, tmp_path):
    clip = tmp_path / f"in.{ending}"
    make_clip(clip, *(["-an", "-pix_fmt", "yuv420p"] if ending == "y4m" else []))
    with pytest.raises(UnsupportedImageError) as caught:
        identify(clip)
    command = str(caught.value).partition("dehaze it with: ")[2]
    python = f'unhaze() {{ {sys.executable} -m unhaze "$@"; }}\n'
    done = subprocess.run(["bash", "-c", f"set -o pipefail\n{python}{command}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "frames" in done.stderr
    assert sorted(streams(tmp_path / f"in-dehazed.{ending}")) == sorted(streams(clip))
