"""What a video file holds besides haze stays: one row for each combination of container, codec, depth and the rest.

Inputs are made by Debian's ffmpeg, results are read by its ffprobe and decoded by it; unhaze itself uses PyAV.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from unhaze import Dehazer
from unhaze.video.frames import Frame, FrameConverter, FrameReader

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video.containers import VideoReader  # noqa: E402
from unhaze.video.dehaze import dehaze_video  # noqa: E402

HAS_FFMPEG = bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))
needs_ffmpeg = pytest.mark.skipif(not HAS_FFMPEG, reason="ffmpeg is not installed (apt-get install ffmpeg)")
FRAMES = 10
SOUND = "-f lavfi -i sine=frequency=440:duration=1"
X264 = "-c:v libx264 -preset ultrafast"

# name: (ending, options after the picture, further inputs and their options); {} stands for the folder
ROWS = {
    # -- MP4
    "mp4 h264 420 8 bits, sound": ("mp4", f"{X264} -pix_fmt yuv420p -c:a aac", SOUND),
    "mp4 h264 422": ("mp4", f"{X264} -pix_fmt yuv422p", ""),
    "mp4 h264 444": ("mp4", f"{X264} -pix_fmt yuv444p", ""),
    "mp4 h264 10 bits": ("mp4", f"{X264} -pix_fmt yuv420p10le", ""),
    "mp4 h264 422 10 bits": ("mp4", f"{X264} -pix_fmt yuv422p10le", ""),
    "mp4 h264 full range": ("mp4", f"{X264} -pix_fmt yuvj420p", ""),
    "mp4 h264 grey": ("mp4", f"{X264} -pix_fmt gray", ""),
    "mp4 h264 B-frames": ("mp4", "-c:v libx264 -preset fast -bf 3 -pix_fmt yuv420p", ""),
    "mp4 h264 variable rate": ("mp4", f"{X264} -pix_fmt yuv420p -vf setpts=PTS+PTS*N/20 -fps_mode vfr", ""),
    "mp4 h264 29.97": ("mp4", f"{X264} -pix_fmt yuv420p -r 30000/1001", ""),
    "mp4 h264 first time not zero": ("mp4", f"{X264} -pix_fmt yuv420p -vf setpts=PTS+0.4/TB -c:a aac", SOUND),
    "mp4 h264 odd size": ("mp4", f"{X264} -pix_fmt yuv444p -vf crop=63:47", ""),
    "mp4 h264 pixel aspect": ("mp4", f"{X264} -pix_fmt yuv420p -vf setsar=4/3", ""),
    "mp4 h264 BT.709 tags": (
        "mp4",
        f"{X264} -pix_fmt yuv420p -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv",
        "",
    ),
    "mp4 h264 BT.601 tags": (
        "mp4",
        f"{X264} -pix_fmt yuv420p -color_primaries smpte170m -color_trc smpte170m -colorspace smpte170m",
        "",
    ),
    "mp4 h264 two sounds": (
        "mp4",
        f"{X264} -pix_fmt yuv420p -c:a aac -map 0 -map 1 -map 2 -metadata:s:a:0 language=deu -metadata:s:a:1 "
        "language=fra -disposition:a:1 default",
        f"{SOUND} {SOUND}",
    ),
    "mp4 h264 subtitles": ("mp4", f"{X264} -pix_fmt yuv420p -c:s mov_text -map 0 -map 1", "-i {}/words.srt"),
    "mp4 h264 metadata": (
        "mp4",
        f"{X264} -pix_fmt yuv420p -metadata title=Valley -metadata creation_time=2026-05-04T03:02:01Z -metadata "
        "comment=fog -metadata location=+46.5+007.9/",
        "",
    ),
    "mp4 h264 free keys": (
        "mp4",
        f"{X264} -pix_fmt yuv420p -metadata title=Valley -metadata com.maker.drone=Hawk -movflags use_metadata_tags",
        "",
    ),
    "mp4 h264 chapters": ("mp4", f"{X264} -pix_fmt yuv420p -map_metadata 1 -map_chapters 1", "-i {}/chapters.txt"),
    "mp4 hevc": ("mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p", ""),
    "mp4 hevc 10 bits BT.2020": (
        "mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p10le -color_primaries bt2020 "
        "-color_trc bt2020-10 -colorspace bt2020nc",
        "",
    ),
    "mp4 hevc 422 10 bits": (
        "mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv422p10le",
        "",
    ),
    "mp4 hevc 444 12 bits": (
        "mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv444p12le",
        "",
    ),
    "mp4 av1": ("mp4", "-c:v libaom-av1 -cpu-used 8 -usage realtime -pix_fmt yuv420p", ""),
    "mp4 av1 10 bits": ("mp4", "-c:v libaom-av1 -cpu-used 8 -usage realtime -pix_fmt yuv420p10le", ""),
    "mp4 vp9": ("mp4", "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -pix_fmt yuv420p", ""),
    "mp4 mpeg4": ("mp4", "-c:v mpeg4 -q:v 2 -pix_fmt yuv420p", ""),
    # -- QuickTime
    "mov h264, PCM": ("mov", f"{X264} -pix_fmt yuv420p -c:a pcm_s16le", SOUND),
    "mov prores 422 HQ": ("mov", "-c:v prores_ks -profile:v 3 -pix_fmt yuv422p10le", ""),
    "mov prores 4444": ("mov", "-c:v prores_ks -profile:v 4 -pix_fmt yuv444p10le", ""),
    "mov prores, BT.709 tags": (
        "mov",
        "-c:v prores_ks -profile:v 2 -pix_fmt yuv422p10le -vf "
        "format=yuv422p10le,setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        "",
    ),
    "mov mjpeg": ("mov", "-c:v mjpeg -q:v 2 -pix_fmt yuvj422p", ""),
    "mov png": ("mov", "-c:v png -pix_fmt rgb24", ""),
    "mov dnxhr": ("mov", "-c:v dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p -vf scale=256:128", ""),
    "mov animation": ("mov", "-c:v qtrle -pix_fmt rgb24", ""),
    # -- Matroska
    "mkv ffv1": ("mkv", "-c:v ffv1 -level 3 -pix_fmt yuv420p", ""),
    "mkv ffv1 422 10 bits": ("mkv", "-c:v ffv1 -level 3 -pix_fmt yuv422p10le", ""),
    "mkv ffv1 444 12 bits": ("mkv", "-c:v ffv1 -level 3 -pix_fmt yuv444p12le", ""),
    "mkv ffv1 grey 16 bits": ("mkv", "-c:v ffv1 -level 3 -pix_fmt gray16le", ""),
    "mkv ffv1 RGB": ("mkv", "-c:v ffv1 -level 3 -pix_fmt bgr0", ""),
    "mkv ffv1 RGB 10 bits": ("mkv", "-c:v ffv1 -level 3 -pix_fmt gbrp10le", ""),
    "mkv ffv1 odd size, 420": ("mkv", "-c:v ffv1 -level 3 -pix_fmt yuv420p -vf crop=63:47:exact=1", ""),
    "mkv h264, everything": (
        "mkv",
        f"{X264} -pix_fmt yuv420p -c:a libopus -c:s copy -map 0 -map 1 -map 2 -map 3 -map_chapters 4 "
        "-metadata:s:s:0 language=eng -attach {}/font.ttf -metadata:s:t mimetype=font/ttf -metadata title=All",
        f"{SOUND} -i {{}}/words.srt -i {{}}/words.ass -i {{}}/chapters.txt",
    ),
    "mkv h264 variable rate, flac": (
        "mkv",
        f"{X264} -pix_fmt yuv420p -vf setpts=PTS+PTS*N/20 -fps_mode vfr -c:a flac",
        SOUND,
    ),
    "mkv h264 pixel aspect": ("mkv", f"{X264} -pix_fmt yuv420p -vf setsar=4/3", ""),
    "mkv mpeg2": ("mkv", "-c:v mpeg2video -q:v 2 -pix_fmt yuv420p -r 25", ""),
    "mkv rawvideo": ("mkv", "-c:v rawvideo -pix_fmt yuv420p", ""),
    # -- WebM
    "webm vp9, opus": ("webm", "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -pix_fmt yuv420p -c:a libopus", SOUND),
    "webm vp9 444": ("webm", "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -pix_fmt yuv444p", ""),
    "webm vp8, vorbis": ("webm", "-c:v libvpx -cpu-used 8 -deadline realtime -pix_fmt yuv420p -c:a libvorbis", SOUND),
    # -- AVI
    "avi mpeg4, mp3": ("avi", "-c:v mpeg4 -q:v 2 -pix_fmt yuv420p -c:a libmp3lame", SOUND),
    "avi mjpeg": ("avi", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p", ""),
    "avi huffyuv RGB": ("avi", "-c:v huffyuv -pix_fmt rgb24", ""),
    "avi h264, mp3": ("avi", f"{X264} -pix_fmt yuv420p -c:a libmp3lame", SOUND),
    "avi ffv1": ("avi", "-c:v ffv1 -pix_fmt yuv444p", ""),
    # -- others
    "flv h264, mp3": ("flv", f"{X264} -pix_fmt yuv420p -c:a libmp3lame -ar 44100", SOUND),
    "3gp h264, aac": ("3gp", f"{X264} -pix_fmt yuv420p -c:a aac", SOUND),
    # -- MPEG transport stream
    "ts h264, two sounds": ("ts", f"{X264} -pix_fmt yuv420p -map 0 -map 1 -map 2 -c:a ac3", f"{SOUND} {SOUND}"),
    "mts h264, ac3": ("MTS", f"{X264} -pix_fmt yuv420p -c:a ac3 -mpegts_m2ts_mode 1 -f mpegts", SOUND),
    "ts h264, aac": ("ts", f"{X264} -pix_fmt yuv420p -c:a aac", SOUND),
    "ts mpeg2, mp2": ("ts", "-c:v mpeg2video -q:v 2 -pix_fmt yuv420p -r 25 -c:a mp2", SOUND),
    "ts hevc": ("ts", "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p", ""),
}
LOSSLESS = ("ffv1", "rawvideo", "huffyuv", "png")


@pytest.fixture(scope="module")
def dehazer():
    with Dehazer(threads=1) as dehazer:
        yield dehazer


@pytest.fixture(scope="module")
def raw(hazy_photo) -> bytes:
    """Ten hazy frames of 64 x 48, rgb24: the camera moves to the right."""
    small = cv2.resize(hazy_photo[0], (128, 48), interpolation=cv2.INTER_AREA)
    return b"".join(small[:, 2 * i : 2 * i + 64].tobytes() for i in range(FRAMES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Subtitles, chapters and a font."""
    root = tmp_path_factory.mktemp("videos")
    (root / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nFog\n")
    (root / "words.ass").write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
        "Style: Default,Arial,20\n\n"
        "[Events]\nFormat: Layer, Start, End, Style, Text\nDialogue: 0,0:00:00.10,0:00:00.30,Default,Fog\n"
    )
    (root / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=Fog\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=one\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=two\n"
    )
    (root / "font.ttf").write_bytes(bytes(range(256)))
    return root


def ffmpeg(*arguments, stdin=None) -> bytes:
    command = ["ffmpeg", "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


def make(folder: Path, raw: bytes, ending: str, options: str, inputs: str = "", before: str = "") -> Path:
    path = folder / f"in.{ending}"
    picture = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "25", *before.split(), "-i", "-"]
    ffmpeg(*picture, *inputs.format(folder, folder, folder).split(), *options.format(folder).split(), path, stdin=raw)
    return path


def probe(path: Path) -> dict:
    """Everything that ffprobe knows, with a hash of the data of each packet."""
    shown = ["-show_streams", "-show_format", "-show_chapters", "-show_packets", "-show_frames"]
    command = ["ffprobe", "-v", "error", *shown, "-show_data_hash", "md5", "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    both = found["packets_and_frames"]
    pictures = [stream["index"] for stream in found["streams"] if stream["codec_type"] == "video"]
    found["times"] = [each.get("pts_time") for each in both if each.get("media_type") == "video"]
    found["copied"] = sorted(
        (each["stream_index"], each.get("pts_time", ""), each["data_hash"])
        for each in both
        if each["type"] == "packet" and each["stream_index"] not in pictures
    )
    return found


def y4m(path: Path) -> bytes:
    return ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "yuv4mpegpipe", "-strict", "-1", "-")


def decoded_as(path: Path, layout: str) -> np.ndarray:
    dtype = np.uint16 if layout.endswith("le") else np.uint8
    options = ["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", layout, "-"]
    return np.frombuffer(ffmpeg("-noautorotate", "-i", path, *options), dtype)


KEPT = [
    "codec_name",
    "width",
    "height",
    "pix_fmt",
    "sample_aspect_ratio",
    "color_range",
    "color_space",
    "color_transfer",
    "color_primaries",
    "avg_frame_rate",
    "nb_frames",
    "profile",
    "channels",
    "sample_rate",
    "disposition",
]


# half of the table in the default tests, every kind of file and every codec among them
SLOW = {
    *("mp4 h264 422", "mp4 h264 444", "mp4 h264 422 10 bits", "mp4 h264 29.97", "mp4 h264 odd size"),
    *("mp4 h264 pixel aspect", "mp4 h264 BT.601 tags", "mp4 hevc", "mp4 hevc 422 10 bits", "mp4 hevc 444 12 bits"),
    *("mp4 av1", "mp4 vp9", "mov prores 422 HQ", "mov png", "mkv ffv1", "mkv ffv1 444 12 bits", "mkv ffv1 RGB"),
    *("mkv ffv1 odd size, 420", "mkv h264 variable rate, flac", "mkv h264 pixel aspect", "webm vp9 444"),
    *("avi mjpeg", "avi ffv1", "ts hevc", "mp4 h264 free keys", "mp4 h264 metadata", "mkv rawvideo"),
}


@needs_ffmpeg
@pytest.mark.parametrize("row", [pytest.param(row, marks=[pytest.mark.slow] * (row in SLOW)) for row in ROWS])
def test_all_but_the_haze_stays(row, folder, raw, dehazer, tmp_path):
    ending, options, inputs = ROWS[row]
    for each in folder.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    source, target = make(tmp_path, raw, ending, options, inputs), tmp_path / f"out.{ending}"
    result = dehaze_video(source, target, dehazer=dehazer, temporal=0.0)
    before, after = probe(source), probe(target)
    assert (result.frames, result.broken) == (len(before["times"]), None)
    assert len(after["streams"]) == len(before["streams"])
    for old, new in zip(before["streams"], after["streams"], strict=True):
        kept = {key: old.get(key) for key in KEPT}
        if old["codec_type"] == "video":  # encoders and their builds choose profile and mean rate on their own
            skipped = {"profile"} - ({"profile"} if old["codec_name"] == "prores" else set())
            skipped |= {"avg_frame_rate"} if "variable" in row else set()
            kept = {key: value for key, value in kept.items() if key not in skipped}
        if ending == "avi":  # the header of AVI counts something else for each program; frames are counted below
            del kept["nb_frames"]
        found = {key: new.get(key) for key in kept}
        for each in (kept, found):  # square pixels may be said or not
            each["sample_aspect_ratio"] = each["sample_aspect_ratio"] or "1:1"
        assert found == kept
        assert new.get("tags", {}).get("language") == old.get("tags", {}).get("language")
    assert after["times"] == before["times"]
    assert after["copied"] == before["copied"]
    ours = {"encoder", "software", "major_brand", "minor_version", "compatible_brands"}
    told = {key: value for key, value in before["format"].get("tags", {}).items() if key.lower() not in ours}
    assert {key: value for key, value in after["format"].get("tags", {}).items() if key in told} == told
    for old, new in zip(before["chapters"], after["chapters"], strict=True):
        assert (old["start_time"], old["end_time"]) == (new["start_time"], new["end_time"])
        assert old["tags"]["title"] == new["tags"]["title"]
    check_pictures(row, source, target, dehazer, before["streams"][0])


def check_pictures(row, source, target, dehazer, video):
    """Frames are those that pictures of the same pixels become, exactly where nothing is lost by coding."""
    layout = video["pix_fmt"]
    if layout in ("rgb24", "bgr0", "gbrp10le"):
        deep = layout == "gbrp10le"
        # ffmpeg widens 10 bits to 16 by its own rule, so a step of them may be rounded the other way
        shape, name = (FRAMES, 48, 64, 3), "rgb48le" if deep else "rgb24"
        old, new = (decoded_as(path, name).reshape(shape) for path in (source, target))
        expected = np.stack([dehazer(frame.copy(), maps=False).image for frame in old]) if not deep else None
        if deep:
            with VideoReader(source) as reader:
                pixels = reader.info.pixels()
                frames = [timed.frame for timed in reader.frames()]
                pictures = [pixels.to_pixels(frame) for frame in frames]
                restored = [dehazer.apply(each, dehazer.solve(each)) for each in pictures]
            assert np.abs(np.stack(pictures).astype(int) - old).max() <= 64
            assert np.abs(np.stack(restored).astype(int) - new).max() <= 64
        else:
            assert (new == expected).all()
        return
    with io.BytesIO(y4m(source)) as old, io.BytesIO(y4m(target)) as new:
        reader, results = FrameReader(old), FrameReader(new)
        converter = converter_for(reader.info, video)
        pictures, expected = [], []
        for frame in reader:
            pixels = converter.to_pixels(frame)
            restored = dehazer.apply(pixels, dehazer.solve(pixels))
            pictures.append(frame.data)
            expected.append(converter.to_frame(restored, Frame(b"")).data)
        found = [frame.data for frame in results]
    samples = np.dtype("<u2") if reader.info.pixel_format.bits > 8 else np.uint8
    scale = 1 << (reader.info.pixel_format.bits - 8)
    want, have, hazy = (
        np.stack([np.frombuffer(data, samples) for data in frames]).astype(int)
        for frames in (expected, found, pictures)
    )
    assert np.abs(want - hazy).mean() > 4 * scale, "there was haze to remove"
    if any(codec in row for codec in LOSSLESS):
        assert (have == want).all()
    else:
        assert np.abs(have - want).mean() < 2.5 * scale


def converter_for(info, video):
    """Frames of y4m as unhaze reads them from the file: by its tags."""
    from dataclasses import replace

    kind = info.pixel_format
    if kind.kind == "yuv":
        left = video["codec_name"] != "mjpeg"
        kind = replace(kind, centred=(not left and kind.subsampling[1] == 2, kind.subsampling[1] == 2))
    full = video.get("color_range") == "pc" or kind.kind == "gray"
    matrix = {"bt709": "bt709", "bt2020nc": "bt2020"}.get(video.get("color_space"), "bt601")
    return FrameConverter(replace(info, pixel_format=kind, full_range=full), matrix)


SPECIAL = {
    # the time code of the pictures is a stream of its own, which QuickTime files get from their tags
    "time code": ("mov", f"{X264} -pix_fmt yuv420p -timecode 01:00:00:00", ""),
    "cover": (
        "mp4",
        f"{X264} -pix_fmt yuv420p -map 0 -map 1 -c:v:1 png -disposition:v:1 attached_pic",
        "-i {}/cover.png",
    ),
    "cover of Matroska": (
        "mkv",
        f"{X264} -pix_fmt yuv420p -attach {{}}/cover.png -metadata:s:t mimetype=image/png "
        "-metadata:s:t filename=front.png -metadata:s:t title=Front",
        "",
    ),
    "two videos": (
        "mkv",
        f"{X264} -pix_fmt yuv420p -map 0 -map 1",
        "-f lavfi -i testsrc2=size=64x48:rate=25:duration=0.4",
    ),
}


@needs_ffmpeg
@pytest.mark.parametrize("row", SPECIAL)
def test_other_streams_stay(row, folder, raw, dehazer, tmp_path):
    cv2.imwrite(str(folder / "cover.png"), np.full((48, 64, 3), 90, np.uint8))
    ending, options, inputs = SPECIAL[row]
    (tmp_path / "cover.png").write_bytes((folder / "cover.png").read_bytes())
    source, target = make(tmp_path, raw, ending, options, inputs), tmp_path / f"out.{ending}"
    dehaze_video(source, target, dehazer=dehazer)
    before, after = probe(source), probe(target)
    assert len(before["streams"]) == 2
    for old, new in zip(before["streams"], after["streams"], strict=True):
        for key in ("codec_name", "codec_tag_string", "disposition", "nb_frames"):
            assert new.get(key) == old.get(key)
        for key in ("timecode", "filename", "mimetype", "title"):
            assert new.get("tags", {}).get(key) == old.get("tags", {}).get(key)
    if row != "time code":
        assert copies(source, 1) == copies(target, 1)
        assert copies(source, 0) != copies(target, 0)


@needs_ffmpeg
@pytest.mark.parametrize(("first", "second"), [("mp4", "mkv"), ("mkv", "mp4"), ("mkv", "mov"), ("mp4", "avi")])
def test_a_cover_becomes_one_or_is_told(first, second, folder, raw, dehazer, tmp_path):
    cv2.imwrite(str(tmp_path / "cover.png"), np.full((48, 64, 3), 90, np.uint8))
    _, options, inputs = SPECIAL["cover" if first == "mp4" else "cover of Matroska"]
    source, target = make(tmp_path, raw, first, options, inputs), tmp_path / f"out.{second}"
    result = dehaze_video(source, target, dehazer=dehazer)
    after = probe(target)["streams"]
    if second in ("mov", "avi"):
        assert len(after) == 1
        assert any("cover picture of the input was not copied" in note for note in result.notes)
    else:
        assert [stream["disposition"]["attached_pic"] for stream in after] == [0, 1]
        assert copies(source, 1) == copies(target, 1)


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mkv", "webm", "nut", "wmv", "mp4", "flv", "ts"])
def test_a_file_whose_times_start_late_is_not_cut_off(ending, raw, tmp_path):
    """Matroska, ASF and NUT state the end of a stream, counted from 0, where others state its length."""
    late = "-output_ts_offset 10" + (" -c:v libvpx -deadline realtime" if ending == "webm" else "")
    with VideoReader(make(tmp_path, raw, ending, late)) as reader:
        assert sum(1 for _ in reader.frames()) == FRAMES
        assert reader.broken is None
        assert reader.info.duration == pytest.approx(0.4, abs=0.1)


@needs_ffmpeg
def test_a_file_whose_times_start_late_and_that_was_cut_off_is_told(raw, tmp_path):
    source = make(tmp_path, raw * 6, "mkv", f"{X264} -g 5 -output_ts_offset 10")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with VideoReader(source) as reader:
        assert 0 < sum(1 for _ in reader.frames()) < 5 * FRAMES
        assert "cut off" in reader.broken or "damaged" in reader.broken


def copies(path: Path, stream: int) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams[stream]) if packet.size]


@needs_ffmpeg
def test_alpha_of_webm_and_rotation_of_a_telephone(raw, dehazer, tmp_path):
    source, target = tmp_path / "in.webm", tmp_path / "out.webm"
    filters = "format=yuva420p,geq=lum=lum(X\\,Y):cb=cb(X\\,Y):cr=cr(X\\,Y):a=X*4"
    picture = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "25", "-i", "-", "-vf", filters]
    ffmpeg(*picture, "-c:v", "libvpx-vp9", "-cpu-used", "8", "-auto-alt-ref", "0", source, stdin=raw)
    dehaze_video(source, target, dehazer=dehazer)
    alphas = [
        np.frombuffer(
            ffmpeg("-c:v", "libvpx-vp9", "-i", path, "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-"),
            np.uint8,
        ).astype(int)
        for path in (source, target)
    ]
    assert alphas[0].std() > 50
    assert np.abs(alphas[0] - alphas[1]).mean() < 2
    lying = make(tmp_path, raw, "mp4", f"{X264} -pix_fmt yuv420p")
    ffmpeg("-i", lying, "-c", "copy", "-metadata:s:v", "rotate=90", tmp_path / "turned.mp4")
    dehaze_video(tmp_path / "turned.mp4", dehazer=dehazer)
    sides = [probe(tmp_path / name)["streams"][0]["side_data_list"] for name in ("turned.mp4", "turned-dehazed.mp4")]
    assert sides[0] == sides[1]
    assert sides[0][0]["rotation"] == 90
