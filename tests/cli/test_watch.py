import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unhaze.inference.history import HISTORY_NAME
from unhaze.io.manifest import read_report


def make(path, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((24, 32, 3), value, np.uint8)).save(path)
    return path


def tree(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != HISTORY_NAME)
    return sorted(path.relative_to(folder).as_posix() for path in files)


@pytest.fixture
def once(unhaze, tmp_path):
    """One look at ``in``, with results in ``out``."""
    (tmp_path / "in").mkdir()
    return lambda *options: unhaze(
        "watch", tmp_path / "in", "-o", tmp_path / "out", "--once", "--every", 0.02, *options
    )


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_once_does_what_is_there_and_ends(once, tmp_path):
    make(tmp_path / "in/a.png")
    make(tmp_path / "in/sub/b.jpg")
    result = once("--compare", "--report", tmp_path / "r.jsonl")
    assert result.exit_code == 0, result.stderr
    assert tree(tmp_path / "out") == ["a-compare.jpg", "a.png", "sub/b-compare.jpg", "sub/b.jpg"]
    assert len(list(read_report(tmp_path / "r.jsonl"))) == 2
    assert result.stderr.endswith("2 done, 0 skipped, 0 failed\n")


def test_what_is_done_is_not_done_again(once, tmp_path):
    make(tmp_path / "in/a.png")
    assert "1 done" in once().stderr
    assert once().stderr == "1 done before\n0 done, 0 skipped, 0 failed\n"
    assert "1 done" in once("--overwrite").stderr


def test_an_older_output_of_unknown_origin_is_not_replaced_unasked(once, tmp_path):
    make(tmp_path / "out/a.png", value=1)
    before = (tmp_path / "out/a.png").read_bytes()
    time.sleep(0.02)
    make(tmp_path / "in/a.png")
    result = once()
    assert result.exit_code == 1
    assert "--overwrite" in result.stderr
    assert once("--skip-existing").exit_code == 0
    assert (tmp_path / "out/a.png").read_bytes() == before


def test_bad_files_fail_alone(once, tmp_path):
    make(tmp_path / "in/a.png")
    (tmp_path / "in/b.jpg").write_bytes(b"text")
    result = once()
    assert result.exit_code == 1
    assert tree(tmp_path / "out") == ["a.png"]
    assert result.stderr.count("b.jpg") == 1


def test_a_file_that_is_still_growing_is_left_in_peace_and_told(once, tmp_path):
    make(tmp_path / "in/whole.png")
    growing, stop = tmp_path / "in/growing.jpg", threading.Event()

    def grow():
        with growing.open("wb", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(b"\xff")

    thread = threading.Thread(target=grow)
    thread.start()
    wait_for(growing.exists)
    try:
        result = once()
    finally:
        stop.set()
        thread.join()
    assert result.exit_code == 0, result.stderr
    assert "growing.jpg is still being written; it is left for the next time" in result.stderr
    assert tree(tmp_path / "out") == ["whole.png"]


def test_a_file_that_vanishes_is_forgotten(once, tmp_path, monkeypatch):
    make(tmp_path / "in/a.png")
    make(tmp_path / "in/b.png")
    from unhaze.inference.planning import Planner

    jobs = Planner.jobs

    def vanishing(self, found):
        planned = jobs(self, found)
        (tmp_path / "in/a.png").unlink()
        return planned

    monkeypatch.setattr(Planner, "jobs", vanishing)
    result = once()
    assert result.exit_code == 0, result.stderr
    assert "1 done" in result.stderr


def test_outputs_within_the_watched_folder_are_not_taken_for_arrivals(unhaze, tmp_path):
    make(tmp_path / "a.png")
    for _ in range(2):
        assert unhaze("watch", tmp_path, "-o", tmp_path / "out", "--once", "--every", 0.02).exit_code == 0
    assert tree(tmp_path) == ["a.png", "out/a.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone", "-o", "out"], "not a folder"),
        ([".", "-o", "."], "at once"),
        (["."], "--output"),
        ([".", "-o", "o", "--every", "0"], "--every"),
    ],
)
def test_wrong_usage(unhaze, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    result = unhaze("watch", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 0)])
def test_watching_until_told_to_end(start_unhaze, tmp_path, name, code):
    folder, out = tmp_path / "in", tmp_path / "out"
    make(folder / "a.png")
    process = start_unhaze("watch", folder, "-o", out, "--every", 0.05, "--report", tmp_path / "r.jsonl", text=True)
    wait_for((out / "a.png").exists)
    make(folder / "new/b.png")
    wait_for((out / "new/b.png").exists)
    first = (out / "a.png").read_bytes()
    time.sleep(0.02)
    make(folder / "a.png", value=200)  # what changes is done again, over our own output
    wait_for(lambda: (out / "a.png").read_bytes() != first)
    (folder / "c.jpg").write_bytes(b"text")
    (folder / "a.png").unlink()
    wait_for(lambda: "failed" in (tmp_path / "r.jsonl").read_text())
    time.sleep(0.3)  # a failure is not tried again and again
    process.send_signal(getattr(signal, name))
    stdout, told = process.communicate(timeout=20)
    assert process.returncode == code
    assert stdout == ""
    assert "Traceback" not in told
    assert told.splitlines()[-1] == "3 done, 0 skipped, 1 failed"
    assert [Path(record["input"]).name for record in read_report(tmp_path / "r.jsonl")] == [
        "a.png",
        "b.png",
        "a.png",
        "c.jpg",
    ]
    assert tree(out) == ["a.png", "new/b.png"]


def test_a_network_takes_the_place_of_a_method(once, tmp_path):
    torch = pytest.importorskip("torch")
    from unhaze.backbones import create_backbone
    from unhaze.weights import save_weights

    torch.manual_seed(0)
    weights = tmp_path / "aodnet.safetensors"
    save_weights(create_backbone("aodnet-base").state_dict(), weights, "aodnet-base")
    make(tmp_path / "in/a.png")
    result = once("--weights", weights)
    assert result.exit_code == 0, result.stderr
    assert tree(tmp_path / "out") == ["a.png"]
    assert once("--tile", 64).exit_code == 2
    assert once("--model", "aodnet-base").exit_code == 3


def test_a_picture_that_looks_clear_is_told(once, tmp_path):
    make(tmp_path / "in/a.png")
    result = once("--method", "dcp")
    assert "a.png (looks clear: left almost as it was)" in result.stderr
