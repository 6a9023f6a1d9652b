"""Jobs for videos: what comes back, what is refused, and that no file of lists of addresses is ever opened."""

import io
import json
import re
import socket
import struct
import threading

import numpy as np
import pytest
from tests.patience import wait_until
from tests.web.conftest import zipped
from tests.web.test_app import finish

av = pytest.importorskip("av")


def video(kind="mp4", codec="libx264", frames=12, size=(96, 64)):
    """A small hazy video with a tone."""
    rng = np.random.default_rng(3)
    scene = rng.uniform(0, 0.5, (8, 12, 3)).repeat(8, 0).repeat(8, 1)
    pixels = np.round((scene * 0.5 + 0.85 * 0.5) * 255).astype(np.uint8)
    pixels = np.ascontiguousarray(np.resize(pixels, (size[1], size[0], 3)))
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        pictures = container.add_stream(codec, rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
        tone = container.add_stream("libopus" if kind == "webm" else "aac", rate=48000)
        tone.layout = "mono"
        for number in range(frames):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.roll(pixels, number, 1), format="rgb24")))
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 48000, number * 4800
            container.mux(tone.encode(sound))
        for stream in (pictures, tone):
            container.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture(scope="module")
def clip():
    return video()


def test_a_video_comes_back_with_its_sound(server, clip):
    report = finish(server, server.post("/v1/jobs?strength=0.9&temporal=0.5", clip, Content_Type="video/mp4"))
    assert (report["kind"], report["state"], report["done"], report["total"]) == ("video", "done", 12, 12)
    answer = server.get(report["links"]["result"])
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="dehazed.mp4"'
    with av.open(io.BytesIO(answer.body)) as made, av.open(io.BytesIO(clip)) as given:
        assert [each.codec.name for each in made.streams] == [each.codec.name for each in given.streams]
        after = [frame.to_ndarray(format="gray") for frame in made.decode(video=0)]
        before = [frame.to_ndarray(format="gray") for frame in given.decode(video=0)]
    assert len(after) == len(before) == 12
    assert np.std(after[5]) > np.std(before[5])
    assert server.ask("DELETE", report["links"]["self"]).status == 204
    assert server.spooled == []


def test_a_form_does_as_well_and_progress_is_told(server, clip):
    created = server.form("/v1/jobs", clip, filename="../../x.mp4", strength="0.5")
    told = server.get(created.json()["links"]["events"]).body.decode()
    events = re.findall(r"^event: (\w+)\ndata: (.*)$", told, re.M)
    assert (events[-1][0], json.loads(events[-1][1])["done"]) == ("end", 12)
    server.ask("DELETE", created.json()["links"]["self"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("format=png", "are for pictures"),
        ("save=depth", "are for pictures"),
        ("compare=true", "are for pictures"),
        ("temporal=1", "temporal is '1', but must be a number between 0 and 0.98."),
    ],
)
def test_options_of_pictures_are_not_for_videos(server, clip, query, said):
    answer = server.post(f"/v1/jobs?{query}", clip)
    assert (answer.status, said in answer.detail) == (422, True)


def test_temporal_is_not_for_pictures(server, hazy):
    assert "is for videos" in server.post("/v1/jobs?temporal=0.5", zipped({"a.jpg": hazy})).detail


def test_a_damaged_video_fails_in_a_sentence_without_paths(server, clip):
    for damaged in (clip[:200], clip[:4] + b"ftypisom" + bytes(500), b"\x1aE\xdf\xa3" + bytes(300)):
        report = finish(server, server.post("/v1/jobs", damaged))
        assert report["state"] == "failed"
        assert report["error"].startswith("The video")
        assert "unhaze-serve" not in json.dumps(report)
        assert server.get(f"{report['links']['self']}/result").status == 409
        server.ask("DELETE", report["links"]["self"])
    assert server.log("failure") == []
    assert server.spooled == []


def test_frames_of_too_many_pixels_are_refused(server):
    report = finish(server, server.post("/v1/jobs", video(frames=3, size=(2000, 1200))))
    assert report["state"] == "failed"
    assert "2000x1200" in report["error"], report
    server.ask("DELETE", report["links"]["self"])


def listed(address):
    """Files that make FFmpeg open an address, each behind a start that says it is a video."""
    playlist = f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {address}\n".encode()
    dash = (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" '
        f'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="0" '
        f'bandwidth="9"><BaseURL>{address}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    ).encode()
    for text in (playlist, concat, dash):
        yield from (text, b"\x1aE\xdf\xa3\x9f" + text, b"aaaaftypisom" + text, b"RIFFaaaaAVI " + text)
        yield struct.pack(">I", 24) + b"ftypisom" + bytes(12) + text


def test_no_address_in_a_video_is_opened(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        called = []

        def listen():
            while True:
                try:
                    called.append(trap.accept())
                except OSError:
                    return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        secret = tmp_path / "secret.mp4"
        secret.write_bytes(video(frames=2))
        for address in (f"http://127.0.0.1:{trap.getsockname()[1]}/a.mp4", f"file://{secret}"):
            for body in listed(address):
                answer = server.post("/v1/jobs", body, Content_Type="video/mp4")
                assert answer.status in (202, 415, 422), answer
                if answer.status == 202:  # what begins like a true file is tried as one, and is none
                    report = finish(server, answer)
                    assert report["state"] == "failed"
                    server.ask("DELETE", report["links"]["self"])
    assert called == []
    assert server.spooled == []


def test_a_video_is_stopped_midway_and_leaves_nothing(server):
    job = server.post("/v1/jobs", video(frames=300)).json()["links"]["self"]
    wait_until(lambda: server.get(job).json()["done"] > 0, server.process)
    assert server.ask("DELETE", job).status == 204
    assert server.get(job).status == 404
    assert server.spooled == []


def test_a_job_that_takes_too_long_fails(start_server, hazy, clip):
    server = start_server("--max-job-seconds", "0.000001")
    for body in (clip, zipped({"a.jpg": hazy})):
        report = finish(server, server.post("/v1/jobs", body))
        assert (report["state"], "too long" in report["error"]) == ("failed", True)
