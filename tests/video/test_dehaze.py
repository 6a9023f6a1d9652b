"""Videos as a whole: interrupted, resumed, damaged, cut, compared, and from Python; all with PyAV alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.patience import HUNG, wait_until
from typer.testing import CliRunner

from unhaze import Dehazer
from unhaze.cli import app
from unhaze.errors import (
    ImageDecodeError,
    ImageError,
    OutputError,
    OutputExistsError,
    UnknownNameError,
    UnsupportedImageError,
    UsageError,
)

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.images.claims import Claims  # noqa: E402
from unhaze.video.containers import VideoReader  # noqa: E402
from unhaze.video.dehaze import VideoPlan, dehaze_video, dehazed_frames  # noqa: E402

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def scene(hazy_photo):
    return cv2.resize(hazy_photo[0], (160, 48), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def dehazer():
    with Dehazer(threads=1) as dehazer:
        yield dehazer


def write(path, scene, frames=30, codec="ffv1", layout="yuv420p", tags=(), **options):
    """A moving view of the scene at 10 frames/s, with a second of sound for each ten frames."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream(codec, rate=10, options=options)
        picture.width, picture.height, picture.pix_fmt = 64, 48, layout
        for name, value in tags:
            setattr(picture.codec_context, name, value)
        sound = container.add_stream("pcm_s16le" if path.suffix != ".mp4" else "aac", rate=8000)
        for number in range(frames):
            view = np.ascontiguousarray(scene[:, (number % 45) * 2 :][:, :64])
            container.mux(picture.encode(av.VideoFrame.from_ndarray(view).reformat(format=layout)))
            if number % 10 == 9:
                wave = (8000 * np.sin(np.arange(16000) / 9)).astype(np.int16)[None]
                beep = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
                beep.sample_rate, beep.pts = 8000, 8000 * (number // 10)
                container.mux(sound.encode(beep))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))
    return path


def content(path):
    """Times and samples of all frames."""
    with av.open(str(path)) as container:
        return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


def sounds(path):
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_frames_are_those_that_pictures_become(scene, dehazer, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 5, "ffv1", "bgr0")
    dehaze_video(source, dehazer=dehazer, temporal=0)
    with av.open(str(source)) as old, av.open(str(tmp_path / "in-dehazed.mkv")) as new:
        hazy, clear = ([f.to_ndarray(format="rgb24") for f in each.decode(video=0)] for each in (old, new))
    assert len(clear) == 5
    for before, after in zip(hazy, clear, strict=True):
        assert (dehazer(before, maps=False).image == after).all()
        assert (before != after).any()
    assert sounds(tmp_path / "in-dehazed.mkv") == sounds(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in-dehazed.mkv", "in.mkv"]


def test_strength_0_changes_nothing(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 5, "ffv1", "yuv422p10le")
    assert run("video", source, "--strength", "0").exit_code == 0
    assert content(tmp_path / "in-dehazed.mkv") == content(source)


def test_the_field_is_smoothed_unless_that_is_switched_off(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 4)
    for name, weight in (("default", []), ("smooth", ["--temporal", "0.97"]), ("alone", ["--temporal", "0"])):
        assert run("video", source, "-o", tmp_path / f"{name}.mkv", *weight).exit_code == 0
    default, smooth, alone = (content(tmp_path / f"{name}.mkv") for name in ("default", "smooth", "alone"))
    assert default == smooth
    assert default[0] == alone[0]
    assert default[3] != alone[3]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_what_was_made_survives_and_goes_on(how, scene, tmp_path):
    """A piece has 60 frames here; stopped within the second one, resumed, and compared with a run of its own."""
    source = write(tmp_path / "in.mkv", scene, 120)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "unhaze", "video", str(source), "--jobs", "1"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    target, parts = tmp_path / "in-dehazed.mkv", tmp_path / "in-dehazed.mkv.parts"
    try:
        wait_until((parts / "00001.json").exists, process)
        process.send_signal(how)
        told = process.communicate(timeout=HUNG)[1]
    finally:
        process.kill()
    assert process.returncode == (-how if how == signal.SIGKILL else 130)
    assert not target.exists(), "a video under its final name is whole"
    assert len(content(parts / "00001.mkv")) == 60
    stopped = tmp_path / "in-dehazed.stopped.mkv"
    if how != signal.SIGKILL:
        assert "--resume" in told
        assert 60 <= len(content(stopped)) < 120
        assert len(sounds(stopped)) > 0
    assert run("video", source).exit_code == 1, "what lies there is not thrown away unasked"
    result = run("video", source, "--resume")
    assert result.exit_code == 0, result.stderr
    assert not parts.exists()
    assert not stopped.exists()
    assert run("video", source, "-o", tmp_path / "whole.mkv").exit_code == 0
    assert content(target) == content(tmp_path / "whole.mkv")
    assert sounds(target) == sounds(source)


def test_haze_can_be_smoothed_with_later_frames(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 6)
    for name, ahead in (("none", "0"), ("two", "2")):
        result = run("video", source, "-o", tmp_path / f"{name}.mkv", "--lookahead", ahead)
        assert result.exit_code == 0, result.stderr
    none, two = content(tmp_path / "none.mkv"), content(tmp_path / "two.mkv")
    assert [pts for pts, _ in none] == [pts for pts, _ in two]
    assert none[0] != two[0]
    assert run("video", source, "-o", tmp_path / "x.mkv", "--lookahead", "26").exit_code == 2
    assert run("video", source, "-o", tmp_path / "x.mkv", "--lookahead", "2", "--temporal", "0").exit_code == 2


def test_resuming_asks_for_the_same_settings(scene, dehazer, tmp_path, monkeypatch):
    source = write(tmp_path / "in.mkv", scene, 70)

    def stop(done, total, moment):
        if done == 65:
            raise OutputError("full")

    with pytest.raises(OutputError, match="full"):
        dehaze_video(source, dehazer=dehazer, progress=stop)
    with pytest.raises(OutputError, match=r"other settings.*encoder"):
        dehaze_video(source, dehazer=dehazer, resume=True, codec="h264")
    with pytest.raises(OutputError, match="--resume"):
        dehaze_video(source, dehazer=dehazer)
    counted = []
    dehaze_video(source, dehazer=dehazer, resume=True, progress=lambda done, *_: counted.append(done))
    assert counted == list(range(61, 71)), "the first piece was not made again"


def test_a_video_that_was_cut_off_gives_its_whole_frames(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 30)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    result = run("video", source)
    assert result.exit_code == 1
    assert "00:00:01" in result.stderr
    assert "kept" in result.stderr
    with VideoReader(source) as reader:
        whole = sum(1 for _ in reader.frames())
    assert 5 < whole < 25
    assert len(content(tmp_path / "in-dehazed.mkv")) == whole


@pytest.mark.parametrize("rest", [0, 50])
def test_a_transport_stream_that_was_cut_off_is_told(rest, scene, tmp_path):
    source = tmp_path / "in.ts"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(9):
            view = np.ascontiguousarray(scene[:, 2 * number :][:, :64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view).reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    whole = source.read_bytes()
    source.write_bytes(whole if not rest else whole[: len(whole) // 188 // 2 * 188 + rest])
    result = run("video", source)
    assert result.exit_code == (1 if rest else 0), result.stderr
    assert ("were kept" in result.stderr) == bool(rest)
    assert (len(content(tmp_path / "in-dehazed.ts")) == 9) == (not rest)


@pytest.mark.parametrize("data", [b"", b"nothing", bytes(5000), b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" * 9])
def test_what_is_no_video_is_told_in_a_sentence(data, tmp_path):
    path = tmp_path / "in.mp4"
    path.write_bytes(data)
    with pytest.raises(ImageDecodeError):
        dehaze_video(path)
    result = run("video", path)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert [each.name for each in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(transfer, name, scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 2, "ffv1", "yuv420p10le", [("color_trc", transfer)])
    with pytest.raises(UnsupportedImageError, match=rf"HDR video \({name}"):
        dehaze_video(source)


def test_interlaced_frames_are_refused_or_made_whole(scene, tmp_path):
    source = write(
        tmp_path / "in.mkv", scene, 8, "libx264", tags=[("field_order", 2)], preset="ultrafast", flags="+ilme+ildct"
    )
    with av.open(str(source)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    with pytest.raises(UnsupportedImageError, match="--deinterlace"):
        dehaze_video(source)
    assert run("video", source, "--deinterlace").exit_code == 0
    with av.open(str(tmp_path / "in-dehazed.mkv")) as container:
        frames = list(container.decode(video=0))
    assert not any(frame.interlaced_frame for frame in frames)
    assert [frame.pts for frame in frames] == [pts for pts, _ in content(source)]


def test_a_part_begins_at_zero_and_takes_its_sound(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 40)
    assert run("video", source, "--start", "1", "--duration", "0:02").exit_code == 0
    part = content(tmp_path / "in-dehazed.mkv")
    assert [pts for pts, _ in part] == [100 * number for number in range(20)]
    heard = sounds(tmp_path / "in-dehazed.mkv")
    assert (heard[0][0], len(heard)) == (0, 2)
    assert "no frames" in run("video", source, "-o", tmp_path / "x.mkv", "--start", "99").stderr


def test_before_and_after_are_shown_together(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 20)
    assert run("video", source, "--preview", "00:00:00.5+1").exit_code == 0
    assert run("video", source, "--compare").exit_code == 0
    with av.open(str(tmp_path / "in-preview.mkv")) as container:
        beside = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(tmp_path / "in-compare.mkv")) as container:
        split = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(source)) as container:
        old = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (len(beside), beside[0].shape) == (10, (48, 128, 3))
    assert np.abs(beside[0][:, :60].astype(int) - old[5][:, :60]).mean() < 2
    assert np.abs(beside[0][:, 64:].astype(int) - old[5]).mean() > 5
    assert (len(split), split[0].shape) == (20, (48, 64, 3))
    assert np.abs(split[3][:, :28].astype(int) - old[3][:, :28]).mean() < 2
    assert np.abs(split[3][:, 36:].astype(int) - old[3][:, 36:]).mean() > 5


@pytest.mark.parametrize(
    ("codec", "ending", "more"),
    [
        ("h264", "mp4", ["--crf", "30", "--preset", "ultrafast"]),
        ("hevc", "mp4", ["--preset", "ultrafast"]),
        ("av1", "mp4", ["--preset", "12"]),
        ("vp9", "webm", ["--preset", "8"]),
        ("prores", "mov", []),
        ("ffv1", "mkv", []),
    ],
)
def test_a_codec_can_be_named(codec, ending, more, scene, tmp_path):
    source, target = write(tmp_path / "in.mkv", scene, 5), tmp_path / f"out.{ending}"
    result = run("video", source, "-o", target, "--codec", codec, *more)
    if codec in ("vp9", "av1", "h264", "hevc") and result.exit_code:
        pytest.fail(result.stderr)
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
        assert len(list(container.decode(video=0))) == 5


def test_rotation_is_kept_or_done(scene, tmp_path):
    source = tmp_path / "in.mov"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(scene[:, number:][:, :64]))))
        container.mux(stream.encode(None))
    for ending in ("mov", "mkv", "avi"):
        assert run("video", source, "-o", tmp_path / f"out.{ending}").exit_code == 0
    with av.open(str(source)) as container:
        turned = next(container.decode(video=0)).rotation
    for ending in ("mov", "mkv"):
        with av.open(str(tmp_path / f"out.{ending}")) as container:
            frame = next(container.decode(video=0))
            assert (frame.width, frame.height, frame.rotation) == (64, 48, turned), ending
    with av.open(str(tmp_path / "out.avi")) as container:
        upright = next(container.decode(video=0)).to_ndarray(format="gray").astype(int)
    with av.open(str(tmp_path / "out.mov")) as container:
        lying = next(container.decode(video=0)).to_ndarray(format="gray").astype(int)
    assert upright.shape == (64, 48)
    assert np.abs(np.rot90(lying, turned // 90) - upright).mean() < 4


def test_alpha_is_kept(scene, tmp_path):
    source = tmp_path / "in.mkv"
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgra"
        picture = np.dstack([scene[:, :64], ramp])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format="bgra")))
        container.mux(stream.encode(None))
    assert run("video", source).exit_code == 0
    with av.open(str(tmp_path / "in-dehazed.mkv")) as container:
        result = next(container.decode(video=0)).to_ndarray(format="rgba")
    assert (result[..., 3] == ramp).all()
    assert (result[..., :3] != scene[:, :64]).any()


def test_folders_and_several_files(scene, tmp_path):
    (tmp_path / "films/deep").mkdir(parents=True)
    write(tmp_path / "films/a.mkv", scene, 2)
    write(tmp_path / "films/deep/b.mkv", scene, 2)
    (tmp_path / "films/bad.mp4").write_bytes(b"no video")
    result = run("video", tmp_path / "films", "-o", tmp_path / "clear")
    assert result.exit_code == 1
    assert result.stderr.count("bad.mp4") == 1
    made = sorted(path.relative_to(tmp_path / "clear").as_posix() for path in (tmp_path / "clear").rglob("*.*"))
    assert made == ["a.mkv", "deep/b.mkv"]
    again = run("video", tmp_path / "films/a.mkv", "-o", tmp_path / "clear")
    assert (again.exit_code, again.stderr.count("exists already")) == (1, 1)
    assert run("video", tmp_path / "films/a.mkv", "-o", tmp_path / "clear", "--skip-existing").exit_code == 0
    assert run("video", tmp_path / "films/a.mkv", "-o", tmp_path / "clear", "--overwrite").exit_code == 0


def test_a_folder_gives_its_videos_and_nothing_that_was_made_of_them(scene, tmp_path):
    films, clear = tmp_path / "films", tmp_path / "films/clear"
    for folder in (films / ".trash", films / "other.mkv.parts", films / "deep"):
        folder.mkdir(parents=True)
        write(folder / "inner.mkv", scene, 2)
    write(films / "a.mkv", scene, 2)
    (films / "app.ts").write_text("export const program = 1;\n")
    for _ in range(2):
        result = run("video", films, "-o", clear, "--overwrite")
        assert result.exit_code == 0, result.stderr
        made = sorted(path.relative_to(clear).as_posix() for path in clear.rglob("*.*"))
        assert made == ["a.mkv", "deep/inner.mkv"]
    assert run("video", films, "--no-recursive").exit_code == 0
    assert [path.name for path in films.rglob("*-dehazed.mkv")] == ["a-dehazed.mkv"]


def test_an_output_folder_that_cannot_be_made_is_told_and_the_others_go_on(scene, tmp_path):
    (tmp_path / "films/deep").mkdir(parents=True)
    write(tmp_path / "films/a.mkv", scene, 2)
    write(tmp_path / "films/deep/b.mkv", scene, 2)
    (tmp_path / "clear").mkdir()
    (tmp_path / "clear/deep").write_text("a file where a folder should be")
    result = run("video", tmp_path / "films", "-o", tmp_path / "clear")
    assert (result.exit_code, result.stderr.count("cannot be made")) == (1, 1)
    assert "Traceback" not in result.output
    assert (tmp_path / "clear/a.mkv").exists()


def test_run_takes_videos_too(scene, tmp_path):
    source = write(tmp_path / "clip.mkv", scene, 3)
    result = run("run", source)
    assert result.exit_code == 0, result.stderr
    assert len(content(tmp_path / "clip-dehazed.mkv")) == 3


def test_frames_come_one_by_one(scene, dehazer, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 6, "ffv1", "bgr0")
    dehaze_video(source, dehazer=dehazer)
    with av.open(str(tmp_path / "in-dehazed.mkv")) as container:
        written = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = list(dehazed_frames(source))
    assert [time for time, _ in frames] == pytest.approx([0.1 * number for number in range(6)])
    assert all((pixels == other).all() for (_, pixels), other in zip(frames, written, strict=True))
    part = [time for time, _ in dehazed_frames(source, start=0.2, duration=Fraction(1, 5))]
    assert part == pytest.approx([0.2, 0.3])


def test_wrong_options_are_told(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 2)
    for options, kind in (
        ({"codec": "h265"}, UnknownNameError),
        ({"strenght": 1}, UnknownNameError),
        ({"crf": 99, "codec": "h264"}, UsageError),
        ({"crf": 9}, UsageError),
        ({"preset": "soon", "codec": "h264"}, UnknownNameError),
        ({"temporal": 2.0}, UsageError),
        ({"duration": 0}, UsageError),
        ({"output": source}, OutputError),
        ({"output": tmp_path / "x.doc"}, UsageError),
        ({"output": tmp_path / "no/x.mkv"}, OutputError),
    ):
        with pytest.raises(kind):
            dehaze_video(source, **options)
    (tmp_path / "in-dehazed.mkv").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        dehaze_video(source)
    assert (tmp_path / "in-dehazed.mkv").read_bytes() == b"mine"
    assert run("video", tmp_path / "none.mkv").exit_code == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the limit of the size of a file is one of POSIX")
def test_a_full_disk_leaves_no_partial_file(scene, tmp_path):
    source = write(tmp_path / "in.mkv", scene, 30)
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); "
        f"sys.argv = ['unhaze', 'video', {str(source)!r}]; runpy.run_module('unhaze', run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", limited], env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "in-dehazed.mkv").exists()


def test_one_that_is_missing_does_not_keep_the_others(scene, tmp_path):
    write(tmp_path / "in.mkv", scene, 3)
    done = run("video", tmp_path / "no.mkv", tmp_path / "in.mkv", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "There is no file" in done.stderr
    assert (tmp_path / "out/in.mkv").is_file()


def test_two_programs_do_not_write_one_video(scene, dehazer, tmp_path):
    write(tmp_path / "in.mkv", scene, 3)
    with Claims() as claims:
        assert claims.acquire(tmp_path / "out.mkv") is not None
        with pytest.raises(OutputError, match="Another program makes"):
            dehaze_video(tmp_path / "in.mkv", tmp_path / "out.mkv", dehazer=dehazer)
    dehaze_video(tmp_path / "in.mkv", tmp_path / "out.mkv", dehazer=dehazer)


def test_a_name_that_is_too_long_is_told_before_any_work(scene, dehazer, tmp_path):
    write(tmp_path / "in.mkv", scene, 3)
    with pytest.raises(OutputError, match="is too long for a file"):
        dehaze_video(tmp_path / "in.mkv", tmp_path / f"{'x' * 250}.mkv", dehazer=dehazer)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_a_file_that_cannot_hold_the_codec_gets_another_one_and_says_so(scene, dehazer, tmp_path):
    write(tmp_path / "in.mkv", scene, 3, codec="libx264")
    result = dehaze_video(tmp_path / "in.mkv", tmp_path / "out.webm", dehazer=dehazer)
    assert any("cannot hold h264, so the result is vp9" in note for note in result.notes)
    with VideoReader(tmp_path / "out.webm") as reader:
        assert reader.info.codec == "vp9"


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("mkv", "ffv1")])
@pytest.mark.parametrize("numbers", [[0], [0, 1, 3, 9]])
def test_the_last_frame_is_shown_as_long_as_it_was(numbers, ending, codec, scene, dehazer, tmp_path):
    def length(path):
        with av.open(str(path)) as container:
            return container.duration

    with av.open(str(tmp_path / f"in.{ending}"), "w") as container:
        stream = container.add_stream(codec, rate=10, width=64, height=48, options={"bf": "0"})
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene[:, :64])).reformat(format="yuv420p")
            frame.pts, frame.time_base, frame.duration = number, Fraction(1, 10), 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    result = dehaze_video(tmp_path / f"in.{ending}", dehazer=dehazer)
    assert length(result.path) == length(tmp_path / f"in.{ending}") == 100_000 * (numbers[-1] + 1)


def test_a_part_behind_the_end_names_the_length(scene, dehazer, tmp_path):
    write(tmp_path / "in.mkv", scene, 3)
    with pytest.raises(ImageError, match="choose another --start"):
        dehaze_video(tmp_path / "in.mkv", tmp_path / "out.mkv", dehazer=dehazer, plan=VideoPlan(start=60))
    assert not (tmp_path / "out.mkv.parts").exists()


@pytest.mark.parametrize("setting", [{"start": float("inf")}, {"duration": "1e9"}, {"rate": "1e999999"}])
def test_absurd_times_and_rates_are_refused_at_once(setting):
    with pytest.raises(UsageError):
        VideoPlan(**setting)
