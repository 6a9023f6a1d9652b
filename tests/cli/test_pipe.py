from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.patience import HUNG
from typer.testing import CliRunner

import unhaze
from unhaze import Dehazer
from unhaze.cli import app
from unhaze.images.video_files import video_command
from unhaze.video.frames import Frame, FrameConverter, FrameReader

WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def frames(hazy_photo) -> list[np.ndarray]:
    """Five different hazy frames, (48, 64, 3) uint8."""
    small = cv2.resize(hazy_photo[0], (2 * WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(small[:, i * 8 : i * 8 + WIDTH]) for i in range(5)]


def encode(frames: list[np.ndarray], tag: str = "420jpeg") -> bytes:
    header = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C{tag} XCOLORRANGE=LIMITED\n".encode()
    info = FrameReader(io.BytesIO(header)).info
    converter = FrameConverter(info)
    out = bytearray(header)
    for number, pixels in enumerate(frames):
        if tag.startswith("mono"):
            pixels = pixels[..., 1]
        scaled = pixels if info.pixel_format.bits == 8 else pixels.astype(np.uint16) * 257
        frame = converter.to_frame(np.ascontiguousarray(scaled), Frame(b"", f"FRAME XN={number}\n".encode()))
        out += frame.header + frame.data
    return bytes(out)


def invoke(*args: str, stdin: bytes = b""):
    return CliRunner().invoke(app, ["pipe", *args], input=stdin)


def pixels_of(stream: bytes) -> list[np.ndarray]:
    reader = FrameReader(io.BytesIO(stream))
    return [FrameConverter(reader.info).to_pixels(frame) for frame in reader]


@pytest.mark.parametrize("tag", ["420jpeg", "420mpeg2", "422", "444", "mono", "420p10", "444p12"])
def test_y4m_keeps_its_kind_and_loses_haze(frames, tag):
    stream = encode(frames, tag)
    result = invoke(stdin=stream)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout_bytes) == len(stream)
    before, after = FrameReader(io.BytesIO(stream)), FrameReader(io.BytesIO(result.stdout_bytes))
    assert after.info == before.info
    assert [frame.header for frame in after] == [frame.header for frame in before]
    for hazy, clear in zip(pixels_of(stream), pixels_of(result.stdout_bytes), strict=True):
        assert clear.std() > 1.1 * hazy.std()
        if "mono" not in tag and hazy.dtype == np.uint16:
            assert len(np.unique(clear)) > 256


@pytest.mark.parametrize("tag", ["420jpeg", "420paldv", "mono10", "422p10"])
def test_strength_0_is_identity(frames, tag):
    stream = encode(frames, tag)
    assert invoke("--strength", "0", stdin=stream).stdout_bytes == stream


@pytest.mark.parametrize("name", ["rgb24", "bgr24", "gray", "rgb48le", "gray16le"])
@pytest.mark.parametrize("jobs", ["1", "3"])
def test_raw_frames_are_dehazed_like_pictures_and_in_order(frames, name, jobs):
    pictures = [frame[..., 1] if "gray" in name else frame for frame in frames]
    if name.endswith("le"):
        pictures = [picture.astype("<u2") * 257 for picture in pictures]
    flip = slice(None, None, -1 if name == "bgr24" else None)
    stream = b"".join(picture[..., flip].tobytes() if picture.ndim == 3 else picture.tobytes() for picture in pictures)
    result = invoke(
        "--input-format", name, "--size", f"{WIDTH}x{HEIGHT}", "--jobs", jobs, "--temporal", "0", stdin=stream
    )
    assert result.exit_code == 0, result.stderr
    with Dehazer() as dehazer:
        restored = [dehazer(np.ascontiguousarray(picture), maps=False).image for picture in pictures]
    assert len({picture.tobytes() for picture in restored}) == 5
    expected = b"".join(each[..., flip].tobytes() if each.ndim == 3 else each.tobytes() for each in restored)
    assert result.stdout_bytes == expected


def test_options_reach_the_dehazer(frames):
    stream = encode(frames[:1], "444")
    variants = [
        (),
        ("--strength", "0.5"),
        ("--strength", "-0.5"),
        ("--color-blend", "0"),
        ("--protect-sky", "0"),
        ("--keep-exposure", "0"),
        ("--model", "cap"),
        ("--matrix", "bt709"),
    ]
    outputs = [invoke("--model", "dcp", *variant, stdin=stream).stdout_bytes for variant in variants]
    assert len(set(outputs)) == len(variants)


def test_haze_is_smoothed_over_time_until_a_cut(frames):
    """A still scene whose light flickers; then another scene."""
    flickering = [np.clip(frames[0] + np.int16(4 * (i % 2)), 0, 255).astype(np.uint8) for i in range(4)]
    other = 255 - frames[0]
    stream = encode([*flickering, other], "444")
    alone, default, smoothed = (
        pixels_of(invoke(*options, stdin=stream).stdout_bytes)
        for options in (("--temporal", "0"), (), ("--temporal", "0.9", "--jobs", "3"))
    )
    assert any(not np.array_equal(one, two) for one, two in zip(alone, default, strict=True))
    changed = [not np.array_equal(one, two) for one, two in zip(alone, smoothed, strict=True)]
    assert changed[0] is changed[-1] is False
    assert any(changed[1:-1])


def test_a_network_takes_the_place_of_a_method(frames, tmp_path):
    torch = pytest.importorskip("torch")
    from unhaze.models.checkpoints import save_weights
    from unhaze.models.networks import create_network

    torch.manual_seed(0)
    weights = tmp_path / "aodnet.safetensors"
    save_weights(create_network("aodnet-base").state_dict(), weights, "aodnet-base")
    options = ("--input-format", "rgb24", "--size", f"{WIDTH}x{HEIGHT}", "--weights", str(weights))
    stream = b"".join(frame.tobytes() for frame in frames)
    result = invoke(*options, "--jobs", "2", stdin=stream)
    assert result.exit_code == 0, result.stderr
    with Dehazer(weights=weights) as dehazer:
        expected = b"".join(dehazer(frame).image.tobytes() for frame in frames)
    assert result.stdout_bytes == expected
    refused = invoke(*options, "--temporal", "0.5", stdin=stream)
    assert refused.exit_code == 2
    assert "a network has none" in refused.stderr


def test_verbose_reports_what_runs_a_network(frames):
    result = invoke("-v", "--model", "field-m", "--engine", "onnxruntime", stdin=encode(frames[:1]))
    assert "model field-m, engine onnxruntime" in result.stderr


def test_the_end_is_reported_on_stderr_only(frames):
    result = invoke(stdin=encode(frames))
    assert re.fullmatch(r"5 frames, \d+\.\d frames/s\n", result.stderr)
    assert invoke("--quiet", stdin=encode(frames)).stderr == ""


def test_interlaced_streams_pass_with_a_note(frames):
    stream = encode(frames).replace(b" Ip ", b" It ", 1)
    result = invoke("--strength", "0", stdin=stream)
    assert result.stdout_bytes == stream
    assert "interlaced" in result.stderr


@pytest.mark.parametrize("strength", ["0", "1"])
def test_a_cut_stream_gives_its_whole_frames_and_one_sentence(frames, strength):
    stream = encode(frames, "444")
    result = invoke("--strength", strength, stdin=stream[:-100])
    assert result.exit_code == 1
    whole = invoke("--strength", strength, stdin=encode(frames[:4], "444")).stdout_bytes
    assert result.stdout_bytes == whole
    assert result.stderr.count("\n") == 2  # the count and the sentence
    assert "ends within frame 5, after 9,116 of its 9,216 bytes; the 4 frames before it are sound" in result.stderr


@pytest.mark.parametrize(
    ("args", "stdin", "code", "words"),
    [
        ((), b"", 1, "The input is empty"),
        (("--input-format", "rgb24", "--size", "8x8"), b"", 1, "The input is empty"),
        (("--input-format", "gray", "--size", "8x8", "--strength", "0"), b"", 1, "The input is empty"),
        ((), b"\x00\x00\x00 ftypisom" * 9, 2, "not a y4m stream"),
        ((), b"YUV4MPEG2 W4 H4 C411\n", 1, "C411"),
        (("--input-format", "rgb24"), b"", 2, "--size"),
        (("--input-format", "rgb24", "--size", "4by4"), b"", 2, "WIDTHxHEIGHT"),
        (("--input-format", "nv12"), b"", 2, "nv12"),
        (("--size", "8x8"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "8x8"),
        (("--matrix", "xyz"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "xyz"),
        (("--model", "dpc"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "did you mean dcp"),
        (("--strength", "2"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "strength"),
        (("--temporal", "0.99"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "between 0 and 0.98"),
        (("--temporal", "nan"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "between 0 and 0.98"),
        (("--model", "dcp", "--engine", "openvino"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "has no network"),
        (("--model", "field-m", "--engine", "openvno"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "did you mean openvino"),
        (("--tile", "64"), b"YUV4MPEG2 W4 H4 Cmono\n", 2, "name one with --model"),
        (("--model", "aodnet-base"), b"YUV4MPEG2 W4 H4 Cmono\n", 3, "--weights"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_on_stdout(args, stdin, code, words):
    result = invoke(*args, stdin=stdin)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout_bytes == b""


def test_a_stream_without_frames_is_passed_on():
    header = b"YUV4MPEG2 W4 H4 Cmono\n"
    result = invoke(stdin=header)
    assert (result.exit_code, result.stdout_bytes) == (0, header)


def start(**streams) -> subprocess.Popen[bytes]:
    source = str(Path(unhaze.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", "from unhaze.cli import main; main()", "pipe"]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, **streams)


def test_a_next_program_that_stops_reading_is_no_error(frames):
    stream = encode(frames * 200, "444")
    process = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send():
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stream)

    sender = threading.Thread(target=send)
    sender.start()
    process.stdout.read(1000)
    process.stdout.close()
    sender.join()
    errors = process.stderr.read().decode()
    assert process.wait(HUNG) == 0
    assert re.fullmatch(r"\d+ frames?, .* frames/s\n", errors)
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
@pytest.mark.parametrize("end", ["stdin", "stdout"])
def test_a_terminal_is_refused_with_an_example(end):
    import pty

    ours, theirs = pty.openpty()
    other = {"stdin": "stdout", "stdout": "stdin"}[end]
    process = start(**{end: theirs, other: subprocess.PIPE})
    out, errors = process.communicate(timeout=HUNG)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 2
    assert not out
    assert "is a terminal" in errors.decode()
    assert video_command("in.mp4", "out.mp4") in errors.decode()
