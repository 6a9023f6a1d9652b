import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.patience import HUNG, wait_until

from unhaze.batch.arrivals import Arrivals
from unhaze.batch.history import HISTORY_NAME
from unhaze.images.manifest import read_report


def make(path, value=90):
    """A picture that is there whole or not at all, however long this process is kept waiting while it writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    Image.fromarray(np.full((24, 32, 3), value, np.uint8)).save(hidden, Image.registered_extensions()[path.suffix])
    hidden.replace(path)
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


def test_a_file_that_is_still_growing_is_left_in_peace_and_told(once, tmp_path, monkeypatch):
    make(tmp_path / "in/whole.png")
    growing, take_all = tmp_path / "in/growing.jpg", Arrivals.take_all
    growing.write_bytes(b"\xff")

    def grow_and_look(arrivals):
        with growing.open("ab") as file:
            file.write(b"\xff")
        return take_all(arrivals)

    monkeypatch.setattr(Arrivals, "take_all", grow_and_look)
    result = once()
    assert result.exit_code == 0, result.stderr
    assert "growing.jpg is still being written; it is left for the next time" in result.stderr
    assert tree(tmp_path / "out") == ["whole.png"]


def test_a_file_that_vanishes_is_forgotten(once, tmp_path, monkeypatch):
    make(tmp_path / "in/a.png")
    make(tmp_path / "in/b.png")
    from unhaze.batch.planning import Planner

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
        ([".", "-o", "o", "--done", "burn"], "keep, move:DIR or delete"),
        ([".", "-o", "o", "--done", "move:"], "keep, move:DIR or delete"),
        ([".", "-o", "o", "--done", "move:o"], "name another one"),
        ([".", "-o", "o", "--done", "move:."], "name another one"),
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
    wait_until((out / "a.png").exists)
    make(folder / "new/b.png")
    wait_until((out / "new/b.png").exists)
    first = (out / "a.png").read_bytes()
    time.sleep(0.02)
    make(folder / "a.png", value=200)  # what changes is done again, over our own output
    wait_until(lambda: (out / "a.png").read_bytes() != first)
    (folder / "c.jpg").write_bytes(b"text")
    (folder / "a.png").unlink()
    wait_until(lambda: "failed" in (tmp_path / "r.jsonl").read_text())
    time.sleep(0.3)  # a failure is not tried again and again
    process.send_signal(getattr(signal, name))
    stdout, reported = process.communicate(timeout=HUNG)
    assert process.returncode == code
    assert stdout == ""
    assert "Traceback" not in reported
    assert reported.splitlines()[-1] == "3 done, 0 skipped, 1 failed"
    assert [Path(record["input"]).name for record in read_report(tmp_path / "r.jsonl")] == [
        "a.png",
        "b.png",
        "a.png",
        "c.jpg",
    ]
    assert tree(out) == ["a.png", "new/b.png"]


# -- over restarts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def again(once):
    """Starts the same command again; what it told, without the summary."""

    def again(*options, code=0):
        result = once("--model", "dcp", *options)
        assert result.exit_code == code, result.stderr
        return result.stderr

    return again


def test_a_restart_does_what_is_new_or_changed_and_nothing_else(again, tmp_path):
    for name in ("a", "b", "c"):
        make(tmp_path / f"in/{name}.png")
    again()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    make(tmp_path / "in/b.png", value=200)
    make(tmp_path / "in/d.png")
    make(tmp_path / "out/a.png", value=7)  # edited; its input has not changed, so nothing is wanted of it
    reported = again()
    assert "2 done before" in reported
    assert "2 done, 0 skipped, 0 failed" in reported
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert after["c.png"] == before["c.png"]
    assert after["b.png"] > before["b.png"]
    assert "d.png" in after
    assert Image.open(tmp_path / "out/a.png").getpixel((0, 0)) == (7, 7, 7)


def test_a_result_that_was_deleted_stays_deleted_until_asked_for(again, tmp_path):
    for name in ("a", "b"):
        make(tmp_path / f"in/{name}.png")
    again()
    (tmp_path / "out/a.png").unlink()
    reported = again()
    assert "1 results of earlier are gone" in reported
    assert tree(tmp_path / "out") == ["b.png"]
    make(tmp_path / "in/a.png", value=100)
    again()
    assert tree(tmp_path / "out") == ["a.png", "b.png"]
    assert "2 done, 0 skipped" in again("--overwrite")


@pytest.mark.parametrize("edited", ["a.png", "a-compare.jpg"])
def test_a_result_that_was_edited_is_kept_when_its_input_changes(again, tmp_path, edited):
    make(tmp_path / "in/a.png")
    again("--compare")
    (tmp_path / "out" / edited).write_bytes(b"edited")
    make(tmp_path / "in/a.png", value=200)
    reported = again("--compare", code=1)
    assert f"{edited} was changed after it was written, and is kept" in reported
    assert (tmp_path / "out" / edited).read_bytes() == b"edited"
    again("--compare", "--overwrite")
    assert (tmp_path / "out" / edited).read_bytes() != b"edited"


def test_other_names_of_outputs_are_new_work(again, tmp_path):
    make(tmp_path / "in/a.png")
    again()
    assert "1 done, 0 skipped" in again("--format", "jpeg")
    assert tree(tmp_path / "out") == ["a.jpg", "a.png"]


def test_a_picture_whose_name_is_taken_gets_another_and_keeps_it(again, tmp_path):
    make(tmp_path / "in/a.webp")
    again("--format", "jpeg")
    make(tmp_path / "in/a.jpg", value=200)
    reported = again("--format", "jpeg")
    assert "a.jpg: named a-jpg.jpg, because a.jpg is the name for a.webp" in reported
    first = (tmp_path / "out/a.jpg").read_bytes()
    make(tmp_path / "in/a.jpg", value=30)
    assert "1 done, 0 skipped" in again("--format", "jpeg")
    assert tree(tmp_path / "out") == ["a-jpg.jpg", "a.jpg"]
    assert (tmp_path / "out/a.jpg").read_bytes() == first


@pytest.mark.parametrize("damage", ["cut", "rubbish", "gone", "line"])
def test_a_damaged_state_loses_no_result(again, tmp_path, damage):
    for name in ("a", "b"):
        make(tmp_path / f"in/{name}.png")
    again()
    state = tmp_path / "out" / HISTORY_NAME
    content = state.read_bytes()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    match damage:
        case "cut":
            state.write_bytes(content[:-20])
        case "rubbish":
            state.write_bytes(b"\x00" * 50)
        case "gone":
            state.unlink()
        case "line":
            state.write_bytes(b'{"input": 3}\n{"input": "x", "outputs": 4}\n[]\n' + content)
    reported = again()
    assert ("was damaged" in reported) == (damage == "rubbish")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")} == before
    assert again() == "2 done before\n0 done, 0 skipped, 0 failed\n"


def test_a_second_watch_into_the_folder_is_refused_and_the_state_of_a_dead_one_taken_over(again, tmp_path):
    from tests.images.test_claims import forge

    from unhaze.images.claims import STALE_AFTER

    make(tmp_path / "in/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{HISTORY_NAME}.0123abcd.part").write_text("half")
    (tmp_path / "out/.a.png.0123abcd.part").write_text("half")
    forge(tmp_path / "out" / HISTORY_NAME)
    assert "Another watch writes to" in again(code=1)
    forge(tmp_path / "out" / HISTORY_NAME, age=2 * STALE_AFTER)
    again()
    assert tree(tmp_path / "out") == ["a.png"]


# -- what becomes of inputs -------------------------------------------------------------------------------------------


def test_inputs_that_were_done_are_moved_with_their_folders_and_never_over_another(again, tmp_path):
    make(tmp_path / "in/sub/a.png")
    (tmp_path / "in/bad.jpg").write_bytes(b"text")
    make(tmp_path / "in/done/sub/a.png", value=1)
    option = ["--done", f"move:{tmp_path / 'in/done'}"]
    again(*option, code=1)
    assert tree(tmp_path / "in") == ["bad.jpg", "done/sub/a-2.png", "done/sub/a.png"]
    assert tree(tmp_path / "out") == ["sub/a.png"]
    first = (tmp_path / "out/sub/a.png").read_bytes()
    make(tmp_path / "in/sub/a.png", value=200)  # the counter of the camera has begun anew
    reported = again(*option, code=1)
    assert "is the result of an earlier picture of this name, which has left" in reported
    assert (tmp_path / "out/sub/a.png").read_bytes() == first
    assert (tmp_path / "in/sub/a.png").exists()


def test_inputs_that_were_done_are_deleted_also_when_a_crash_came_between(again, tmp_path):
    make(tmp_path / "in/a.png")
    make(tmp_path / "in/b.png")
    again()
    (tmp_path / "out/b.png").unlink()  # its input is all that is left of it
    again("--done", "delete")
    assert tree(tmp_path / "in") == ["b.png"]
    make(tmp_path / "in/c.png")
    again("--done", "delete")
    assert tree(tmp_path / "in") == ["b.png"]
    assert tree(tmp_path / "out") == ["a.png", "c.png"]


def test_an_input_that_changes_while_it_is_worked_on_is_not_put_away(again, tmp_path, monkeypatch):
    from unhaze.batch import workers as batch

    source, write_products = make(tmp_path / "in/a.png"), batch.write_products

    def changing(*arguments, **options):
        write_products(*arguments, **options)
        make(source, value=200)

    monkeypatch.setattr(batch, "write_products", changing)
    again("--done", "delete")
    assert source.exists()


def test_an_input_that_cannot_be_moved_stays_and_is_reported(again, tmp_path):
    make(tmp_path / "in/a.png")
    (tmp_path / "done").mkdir()
    (tmp_path / "done/sub").write_text("a file where a folder should be")
    make(tmp_path / "in/sub/b.png")
    reported = again("--done", f"move:{tmp_path / 'done'}", code=1)
    assert "cannot be made" in reported
    assert tree(tmp_path / "in") == ["sub/b.png"]


def test_an_empty_file_that_stays_empty_is_reported(again, tmp_path):
    make(tmp_path / "in/a.png")
    (tmp_path / "in/b.jpg").write_bytes(b"")
    reported = again("--report", tmp_path / "r.jsonl", code=1)
    assert reported.count("b.jpg is empty and stayed so; copy it again.") == 1
    assert "1 done, 0 skipped, 1 failed" in reported
    assert {record["status"] for record in read_report(tmp_path / "r.jsonl")} == {"done", "failed"}


def test_a_network_takes_the_place_of_a_method(once, tmp_path):
    torch = pytest.importorskip("torch")
    from unhaze.models.checkpoints import save_weights
    from unhaze.models.networks import create_network

    torch.manual_seed(0)
    weights = tmp_path / "aodnet.safetensors"
    save_weights(create_network("aodnet-base").state_dict(), weights, "aodnet-base")
    make(tmp_path / "in/a.png")
    result = once("--weights", weights)
    assert result.exit_code == 0, result.stderr
    assert tree(tmp_path / "out") == ["a.png"]
    assert once("--tile", 64).exit_code == 2
    assert once("--model", "aodnet-base").exit_code == 3


def test_a_picture_that_looks_clear_is_reported(once, tmp_path):
    make(tmp_path / "in/a.png")
    result = once("--model", "dcp")
    assert "a.png (looks clear: left almost as it was)" in result.stderr
