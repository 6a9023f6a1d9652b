"""What frames can come from besides files: numbered pictures and addresses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unhaze import Dehazer
from unhaze.cli import app
from unhaze.errors import OutputExistsError, UsageError
from unhaze.images import read_image

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video.containers import VideoReader  # noqa: E402
from unhaze.video.dehaze import default_output, dehaze_video  # noqa: E402
from unhaze.video.sources import find_pictures, is_address, is_pattern, numbered  # noqa: E402

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed (apt-get install ffmpeg)")


@pytest.fixture(scope="module")
def dehazer():
    with Dehazer(threads=1) as dehazer:
        yield dehazer


@pytest.fixture
def views(hazy_photo):
    """Four views (48, 64, 3) uint8 of a camera that moves to the right."""
    scene = cv2.resize(hazy_photo[0], (128, 48), interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(scene[:, 4 * i : 4 * i + 64]) for i in range(4)]


def write(path: Path, rgb: np.ndarray) -> None:
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def run(*arguments):
    return CliRunner().invoke(app, ["video", *map(str, arguments)])


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_names_of_pictures_and_addresses():
    assert is_pattern(Path("a/f%d.JPG"))
    assert not is_pattern(Path("100%.png"))
    assert not is_pattern(Path("f%05d.mp4"))
    assert numbered(Path("a%/f%02d.png"), 7) == Path("a%/f07.png")
    assert is_address("dshow:video=Camera")
    assert not is_address("10:30.mp4")
    assert find_pictures(Path("nowhere/f%d.png")) is None


@pytest.mark.parametrize("depth", [8, 16])
def test_numbered_pictures_become_numbered_pictures(depth, views, dehazer, tmp_path):
    """Each frame is what ``unhaze run`` makes of the picture where nothing is smoothed; gaps stay gaps."""
    wide = [view if depth == 8 else view.astype(np.uint16) * 257 for view in views]
    for number, view in zip((8, 9, 10, 12), wide, strict=True):
        write(tmp_path / f"f{number}.png", view)
    (tmp_path / "f007.png").write_bytes(b"of another pattern")
    result = run(tmp_path / "f%d.png", "--temporal", "0")
    assert result.exit_code == 0, result.stderr
    for number, view in zip((8, 9, 10, 12), wide, strict=True):
        made = read_image(tmp_path / f"f{number}-dehazed.png").pixels
        assert made.dtype == view.dtype
        assert (made == dehazer(view, maps=False).image).all()
    assert not (tmp_path / "f11-dehazed.png").exists()
    assert run(tmp_path / "f%d.png").exit_code == 1, "nothing is replaced unasked"
    assert run(tmp_path / "f%d.png", "--overwrite").exit_code == 0


def test_a_folder_of_pictures_is_one_video(views, tmp_path):
    frames = tmp_path / "my frames"
    frames.mkdir()
    for name, view in zip(("f 2", "f 10", "f 1", "f 9"), (views[1], views[3], views[0], views[2]), strict=True):
        write(frames / f"{name}.png", view)
    assert run(frames).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "my frames-dehazed").iterdir()) == [
        *("f 1.png", "f 10.png", "f 2.png", "f 9.png"),
    ]
    result = run(frames, "-o", tmp_path / "out.mp4", "--rate", "30000/1001", "--strength", "0")
    assert result.exit_code == 0, result.stderr
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(29.97, abs=0.001)
    for made, view in zip(decoded(tmp_path / "out.mp4"), views, strict=True):
        assert np.abs(made.astype(int) - view).mean() < 6, "the order is that of the numbers"
    assert "25 frames/s" in run(frames, "-o", tmp_path / "slow.mp4").stderr


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_a_video_becomes_pictures(ending, views, dehazer, tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for view in views:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view).reformat(format="bgr0")))
        container.mux(stream.encode(None))
    dehaze_video(source, tmp_path / f"p_%02d.{ending}", dehazer=dehazer, temporal=0)
    assert len(list(tmp_path.glob(f"p_*.{ending}"))) == 4
    for number, view in enumerate(views, 1):
        made = cv2.imread(str(tmp_path / f"p_{number:02d}.{ending}"))[..., ::-1]
        wanted = dehazer(view, maps=False).image
        assert np.abs(made.astype(int) - wanted).max() <= (40 if ending == "jpg" else 0)
    with pytest.raises(OutputExistsError):
        dehaze_video(source, tmp_path / f"p_%02d.{ending}", dehazer=dehazer)


def test_pictures_and_their_options_are_told(views, tmp_path):
    write(tmp_path / "f1.png", views[0])
    for options, kind in (
        ({"rate": "fast"}, UsageError),
        ({"rate": 0}, UsageError),
        ({"codec": "h264"}, UsageError),
        ({"output": tmp_path / "f%d.bmp"}, UsageError),
        ({"save_transmission": True}, UsageError),
    ):
        with pytest.raises(kind):
            dehaze_video(tmp_path / "f%d.png", **options)
    assert run("rtsp://127.0.0.1/x").exit_code == 2
    assert run(tmp_path / "none_%d.png").exit_code == 2
    assert default_output(Path("a.MXF")) == Path("a-dehazed.mkv")


@needs_ffmpeg
@pytest.mark.parametrize("name", ["10:30.mp4", 'it\'s "50%" %05d.mp4', "-x.mp4", "ö ü.mkv"])
def test_names_of_files_are_names(name, views, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = Path(name)
    raw = b"".join(view.tobytes() for view in views)
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "25", "-i", "-"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", f"file:{source}"]
    subprocess.run([*command, *coded], input=raw, check=True)
    result = run("--", source)
    assert result.exit_code == 0, result.stderr
    assert len(decoded(f"file:{source.with_name(source.stem + '-dehazed' + source.suffix)}")) == 4


@needs_ffmpeg
def test_a_transport_stream_that_ends_within_a_packet_is_told(tmp_path):
    """It may have been cut off in its sound, which is not decoded."""
    source = tmp_path / "in.ts"
    picture = "-f lavfi -i testsrc2=size=64x48:rate=25:duration=0.2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p"
    subprocess.run(["ffmpeg", "-v", "error", *picture.split(), str(source)], check=True)
    whole = source.read_bytes()
    assert run(source, "--strength", "0").exit_code == 0
    source.write_bytes(whole + whole[:50])
    result = run(source, "--strength", "0", "--overwrite")
    assert (result.exit_code, "within a packet" in result.stderr) == (1, True), result.stderr


@pytest.mark.parametrize(("ending", "orientation"), [("jpg", 6), ("tif", 1), ("png", 1)])
def test_pictures_with_exif_are_frames_and_stand_upright(views, dehazer, tmp_path, ending, orientation):
    for number, view in enumerate(views):
        picture = Image.fromarray(view)
        exif = picture.getexif()
        exif[0x0112], exif[0x010F] = orientation, "Hawk"  # orientation, maker
        picture.save(tmp_path / f"f{number}.{ending}", exif=exif)
    result = dehaze_video(tmp_path / f"f%d.{ending}", tmp_path / "out.mp4", dehazer=dehazer)
    assert result.frames == len(views)
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.info.rotation == (90 if orientation == 6 else 0)


def test_a_video_becomes_tiff_files_and_these_a_video(views, dehazer, tmp_path):
    for number, view in enumerate(views):
        write(tmp_path / f"f{number}.png", view)
    dehaze_video(tmp_path / "f%d.png", tmp_path / "s%d.tif", dehazer=dehazer)
    dehaze_video(tmp_path / "s%d.tif", tmp_path / "out%d.tif", strength=0)
    before, after = ([cv2.imread(str(tmp_path / f"{name}{n}.tif")) for n in range(4)] for name in ("s", "out"))
    assert np.array_equal(before, after)
    assert not np.array_equal(before, [view[..., ::-1] for view in views])
