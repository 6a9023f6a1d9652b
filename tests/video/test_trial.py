"""What a rare codec becomes: itself where that can be read again, else another one, which is told."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from unhaze import Dehazer

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video.containers import VideoReader  # noqa: E402
from unhaze.video.dehaze import dehaze_video  # noqa: E402
from unhaze.video.encoding import Encoding  # noqa: E402
from unhaze.video.trial import comes_back  # noqa: E402

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed (apt-get install ffmpeg)")

# each of these has variants of its own for layouts, told apart by four letters or by nothing but the bits of a pixel
SAME = [
    *(("avi", "utvideo", layout) for layout in ("yuv420p", "yuv422p", "yuv444p", "gbrp", "gbrap")),
    *(("avi", "magicyuv", layout) for layout in ("yuv420p", "gbrp", "gray")),
    *(("avi", "ffvhuff", layout) for layout in ("yuv420p", "gbrp", "yuv422p10le")),
    *(("avi", "huffyuv", layout) for layout in ("yuv422p", "bgra")),
    *(("avi", "rawvideo", layout) for layout in ("yuv420p", "uyvy422", "yuyv422", "nv12", "bgr24", "bgra", "gray")),
    *(("mov", "qtrle", layout) for layout in ("rgb24", "argb")),
    *(("mov", "png", layout) for layout in ("rgba", "rgb48be", "gray16be")),
    ("mov", "v210", "yuv422p10le"),
    ("mov", "r210", "gbrp10le"),
    ("mkv", "rawvideo", "uyvy422"),
]
LOSSLESS_ELSEWHERE = [
    ("utvideo", "yuv420p"),
    ("magicyuv", "gbrap"),
    ("ffvhuff", "yuv422p10le"),
    ("v210", "yuv422p10le"),
]


@pytest.fixture(scope="module")
def nothing():
    with Dehazer(threads=1, strength=0) as dehazer:
        yield dehazer


def write(path, codec, layout, size=(64, 48), rate=25, frames=3):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = layout
        if path.suffix == ".avi" and codec == "rawvideo" and layout in ("bgr24", "bgra"):
            stream.codec_context.codec_tag = "\0\0\0\0"
        for number in range(frames):
            rows, columns = np.mgrid[: size[1], : size[0]]
            rgb = np.stack([rows * 3 + number, columns * 3, rows + columns + 20], axis=2).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb).reformat(format=layout)))
        container.mux(stream.encode(None))
    return path


def content(path):
    with VideoReader(path) as reader:
        pixels = reader.info.pixels()
        frames = [pixels.to_pixels(timed.frame) for timed in reader.frames()]
        assert reader.broken is None
        return reader.info, frames


@pytest.mark.parametrize(("ending", "codec", "layout"), SAME)
def test_a_rare_codec_stays_and_can_be_read(ending, codec, layout, nothing, tmp_path):
    source, target = write(tmp_path / f"in.{ending}", codec, layout), tmp_path / f"out.{ending}"
    result = dehaze_video(source, target, dehazer=nothing)
    assert result.notes == ()
    before, hazy = content(source)
    after, same = content(target)
    assert (after.codec, after.pixel_format) == (before.codec, before.pixel_format)
    assert np.array_equal(same, hazy)


@pytest.mark.parametrize(("codec", "layout"), LOSSLESS_ELSEWHERE)
def test_what_matroska_cannot_hold_without_loss_becomes_ffv1(codec, layout, nothing, tmp_path):
    source = write(tmp_path / "in.avi", codec, layout)
    result = dehaze_video(source, tmp_path / "out.mkv", dehazer=nothing)
    assert "so the result is ffv1" in result.notes[0]
    before, hazy = content(source)
    after, same = content(tmp_path / "out.mkv")
    assert (after.codec, after.has_alpha) == ("ffv1", before.has_alpha)
    assert np.array_equal(same, hazy)


@pytest.mark.parametrize(
    ("ending", "codec", "alpha"),
    [("mkv", "vp9", True), ("webm", "vp9", True), ("mov", "prores", True), ("mp4", "h264", False)],
)
def test_an_animated_gif_becomes_a_video(ending, codec, alpha, nothing, tmp_path):
    source, target = write(tmp_path / "in.gif", "gif", "rgb8", rate=10), tmp_path / f"out.{ending}"
    result = dehaze_video(source, target, dehazer=nothing)
    info, frames = content(target)
    assert (info.codec, info.has_alpha, len(frames)) == (codec, alpha, 3)
    assert any(f"so the result is {codec}" in note for note in result.notes)
    assert any("holds no alpha, which is lost" in note for note in result.notes) != alpha
    # its dots become those of a video, of which 8 x 8 have the same colour
    was, now = (np.asarray(each, float).reshape(3, 6, 8, 8, 8, 3).mean((2, 4)) for each in (content(source)[1], frames))
    assert np.abs(now / (257 if frames[0].dtype == np.uint16 else 1) - was).mean() < 6


def test_an_animated_gif_without_a_name_for_the_result_becomes_matroska(nothing, tmp_path):
    result = dehaze_video(write(tmp_path / "in.gif", "gif", "rgb8", rate=10), dehazer=nothing)
    assert result.path == tmp_path / "in-dehazed.mkv"


@needs_ffmpeg
@pytest.mark.parametrize(("ending", "codec"), [("webm", "av1"), pytest.param("mkv", "hevc", marks=pytest.mark.slow)])
def test_vp9_of_10_bits_becomes_a_codec_that_has_as_many(ending, codec, nothing, capfd, tmp_path):
    options = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.12", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p10le"]
    subprocess.run(["ffmpeg", "-v", "error", *options, tmp_path / f"in.{ending}"], check=True)
    result = dehaze_video(tmp_path / f"in.{ending}", dehazer=nothing)
    assert f"so the result is {codec}" in result.notes[0]
    info, frames = content(result.path)
    assert (info.codec, info.pixel_format, len(frames)) == (codec, "yuv420p10le", 3)
    assert capfd.readouterr() == ("", "")  # encoders keep their own messages to themselves


def test_rgb_in_a_file_that_names_a_matrix_of_yuv_keeps_its_colours(nothing, tmp_path):
    source = write(tmp_path / "in.avi", "ljpeg", "bgr24")
    before, hazy = content(source)
    assert before.matrix not in (0, 2)
    dehaze_video(source, tmp_path / "out.mkv", dehazer=nothing)
    assert np.abs(np.asarray(content(tmp_path / "out.mkv")[1], float) - hazy).mean() < 2


def test_an_encoder_whose_result_cannot_be_read_is_found(tmp_path):
    with VideoReader(write(tmp_path / "in.mkv", "ffv1", "yuv422p10le")) as reader:
        info = reader.info
    assert comes_back(info, Encoding("ffv1", "yuv422p10le"), "matroska", 64, 48)
    assert not comes_back(info, Encoding("rawvideo", "yuv422p10le"), "matroska", 64, 48)  # which is refused on reading
    assert not comes_back(info, Encoding("libx264", "yuv420p"), "matroska", 64, 48)  # fewer bits, other colours
    assert not comes_back(info, Encoding("h263", "yuv420p"), "matroska", 64, 48)  # other sizes only
