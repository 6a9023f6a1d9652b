import _thread
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.patience import HUNG, wait_until

from unhaze.batch import workers as batch
from unhaze.batch.workers import Batch, BatchOptions, Record, Summary, describe_failure, plan, render
from unhaze.cli._work import work_off
from unhaze.errors import MissingDependencyError, OutputError
from unhaze.images.files import read_image
from unhaze.types import DehazeResult, DepthMap


class FakeDehazer:
    """Adds one to every pixel; can be made slow, and notes how many pictures it has at once."""

    def __init__(self, seconds=0.0, needed=1, gate=None):
        self.seconds, self.needed, self.gate = seconds, needed, gate
        self.lock, self.running, self.most = threading.Lock(), 0, 0
        self.widths = []

    def memory_needed(self, info, *, maps=False):
        return self.needed(info) if callable(self.needed) else self.needed

    def check_budget(self, info, *, maps=False, max_pixels=None):
        pass

    def read(self, source, *, maps=False, max_pixels=None):
        return read_image(source, max_pixels=max_pixels)

    def restore(self, picture, *, maps=False, in_place=False):
        with self.occupied(picture):
            if self.gate:
                self.gate.wait(HUNG)
            time.sleep(self.seconds)
            restored = replace(picture, pixels=picture.pixels + 1)
        values = np.linspace(0, 1, picture.pixels.shape[0] * picture.pixels.shape[1], dtype=np.float32)
        levels = values.reshape(picture.pixels.shape[:2]) if maps else None
        depth = DepthMap(levels * 7, "relative") if maps else None
        info = {"notes": ["a note of the dehazer"]}
        return DehazeResult(restored, levels, depth, np.ones(3, np.float32), levels, info)

    @contextmanager
    def occupied(self, picture):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.widths.append(picture.pixels.shape[1])
        yield
        with self.lock:
            self.running -= 1


def run_batch(dehazer, jobs, options=None, on_record=lambda _: None):
    """Works off a batch as the commands do; returns the counts."""
    summary = Summary()

    def receive(record):
        summary.add(record)
        on_record(record)

    work_off(Batch(dehazer, jobs, options), receive)
    summary.not_started = len(jobs) - summary.done - summary.skipped - summary.failed
    return summary


def make(path, width=8, height=6, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)
    return path


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name.startswith(".")]


def test_every_job_has_one_record_and_every_picture_its_output(tmp_path):
    for index in range(7):
        make(tmp_path / f"in/{index}.png", value=index)
    make(tmp_path / "out/3.png", value=77)
    (tmp_path / "in/broken.jpg").write_bytes(b"text")
    records = []
    jobs = plan([tmp_path / "in"], output=tmp_path / "out", existing="skip")
    summary = run_batch(FakeDehazer(), jobs, BatchOptions(jobs=3), records.append)
    assert (summary.done, summary.skipped, summary.failed, summary.not_started) == (6, 1, 1, 0)
    assert sorted(record.input for record in records) == sorted(str(job.source) for job in jobs)
    for index in range(7):
        pixels = np.asarray(Image.open(tmp_path / f"out/{index}.png"))
        assert (pixels == (77 if index == 3 else index + 1)).all()
    assert not leftovers(tmp_path)


def test_a_record_says_what_was_done(tmp_path):
    make(tmp_path / "a.png", width=9, height=5)
    records = []
    jobs = plan([tmp_path], sides=["compare"])
    run_batch(FakeDehazer(seconds=0.02), jobs, on_record=records.append)
    (record,) = (record.as_dict() for record in records)
    seconds = record.pop("seconds")
    assert set(seconds) == {"decode", "dehaze", "encode", "write"}
    assert seconds["dehaze"] >= 0.02
    assert record == {
        "input": str(tmp_path / "a.png"),
        "output": str(tmp_path / "a-dehazed.png"),
        "sides": [str(tmp_path / "a-compare.jpg")],
        "status": "done",
        "error": None,
        "error_type": None,
        "reason": None,
        "width": 9,
        "height": 5,
        "notes": ["a note of the dehazer"],
        "haze": None,
        "left_alone": None,
    }


def test_pictures_overlap_but_no_more_than_asked(tmp_path):
    for index in range(6):
        make(tmp_path / f"{index}.png")
    dehazer = FakeDehazer(seconds=0.05)
    run_batch(dehazer, plan([tmp_path]), BatchOptions(jobs=3))
    assert dehazer.most == 3


def test_memory_keeps_large_pictures_apart(tmp_path):
    for index in range(4):
        make(tmp_path / f"{index}.png")
    dehazer = FakeDehazer(seconds=0.02, needed=60)
    summary = run_batch(dehazer, plan([tmp_path]), BatchOptions(jobs=4, max_memory=100))
    assert (summary.done, dehazer.most) == (4, 1)


def test_a_picture_beyond_the_limit_runs_alone_and_in_its_turn(tmp_path):
    for index in range(9):
        make(tmp_path / f"{index}.png", width=50 if index == 2 else 10 + index)
    dehazer = FakeDehazer(seconds=0.01, needed=lambda info: 1000 if info.width == 50 else 10)
    summary = run_batch(dehazer, plan([tmp_path]), BatchOptions(jobs=3, max_memory=100))
    assert summary.done == 9
    assert dehazer.widths.index(50) <= 4  # small ones that come later do not push it to the end


def test_on_error_stop_starts_nothing_further(tmp_path):
    make(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"")
    make(tmp_path / "c.png")
    summary = run_batch(FakeDehazer(), plan([tmp_path]), BatchOptions(on_error="stop"))
    assert (summary.done, summary.failed, summary.not_started) == (1, 1, 1)


def test_a_file_that_goes_while_it_waits_is_a_failure_of_its_own(tmp_path):
    make(tmp_path / "a.png")
    make(tmp_path / "b.png")
    jobs = plan([tmp_path])
    (tmp_path / "a.png").unlink()
    summary = run_batch(FakeDehazer(), jobs)
    assert summary.done == 1
    assert "a.png does not exist" in summary.failures[0].reason


def test_what_nobody_expected_fails_one_picture_with_a_trace(tmp_path, monkeypatch):
    make(tmp_path / "a.png")
    make(tmp_path / "b.png", width=50)

    def restore(self, picture, **_):
        if picture.pixels.shape[1] == 50:
            raise KeyError("field\nlost")
        return DehazeResult(picture, None, None, np.ones(3, np.float32), None, {})

    monkeypatch.setattr(FakeDehazer, "restore", restore)
    summary = run_batch(FakeDehazer(), plan([tmp_path]))
    (failure,) = summary.failures
    assert summary.done == 1
    assert "KeyError" in failure.reason
    assert "-v" in failure.reason
    assert "\n" not in failure.reason
    assert "in restore" in failure.trace
    assert "trace" not in failure.as_dict()


@pytest.mark.parametrize("existing", ["error", "skip", "overwrite"])
def test_an_output_that_appears_meanwhile_is_left_alone(tmp_path, existing):
    make(tmp_path / "a.png")
    jobs = plan([tmp_path], existing=existing)
    (tmp_path / "a-dehazed.png").write_text("somebody else's")
    records = []
    run_batch(FakeDehazer(), jobs, on_record=records.append)
    assert [record.status for record in records] == ["skipped"]
    assert "another process" in records[0].reason
    assert (tmp_path / "a-dehazed.png").read_text() == "somebody else's"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("existing", ["skip", "overwrite"])
@pytest.mark.parametrize("moment", ["before", "during"])
def test_an_output_that_changes_meanwhile_is_left_alone(tmp_path, monkeypatch, existing, moment):
    make(tmp_path / "a.png")
    output = make(tmp_path / "a-dehazed.png")
    (tmp_path / "a-compare.jpg").write_text("of a run that was cut short")
    if existing == "skip":
        output.unlink()
    jobs = plan([tmp_path], existing=existing, sides=["compare"])
    restore = FakeDehazer.restore

    def slowly(self, *args, **options):
        if moment == "during":
            output.write_text("edited")
        return restore(self, *args, **options)

    monkeypatch.setattr(FakeDehazer, "restore", slowly)
    if moment == "before":
        output.write_text("edited")
    records = []
    run_batch(FakeDehazer(), jobs, on_record=records.append)
    assert [record.status for record in records] == ["skipped"]
    assert output.read_text() == "edited"
    assert (tmp_path / "a-compare.jpg").read_text() == "of a run that was cut short"
    assert not leftovers(tmp_path)


def test_the_restored_picture_is_written_last(tmp_path, monkeypatch):
    make(tmp_path / "a.png")
    order, atomic_output = [], batch.atomic_output

    @contextmanager
    def noting(path, **options):
        with atomic_output(path, **options) as temporary:
            yield temporary
        order.append(path.name)

    monkeypatch.setattr(batch, "atomic_output", noting)
    run_batch(FakeDehazer(), plan([tmp_path], sides=["compare", "depth"]))
    assert order == ["a-compare.jpg", "a-depth.png", "a-dehazed.png"]


def test_a_folder_made_for_a_picture_that_failed_goes_again(tmp_path):
    source = make(tmp_path / "in/sub/a.png")
    jobs = plan([tmp_path / "in"], output=tmp_path / "out/deep")
    source.write_bytes(b"text")
    assert run_batch(FakeDehazer(), jobs).failed == 1
    assert not (tmp_path / "out").exists()


def test_no_side_product_stays_when_the_picture_cannot_be_written(tmp_path):
    make(tmp_path / "a.png")
    jobs = plan([tmp_path], sides=["compare", "transmission"])
    (tmp_path / "a-dehazed.png").mkdir()
    summary = run_batch(FakeDehazer(), jobs)
    assert summary.failed == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-dehazed.png", "a.png"]


def test_a_full_disk_fails_each_picture_with_its_sentence(tmp_path, monkeypatch):
    make(tmp_path / "a.png")
    make(tmp_path / "b.png")
    write_bytes = Path.write_bytes

    def full(path, data):
        if path.name.endswith(".part"):
            write_bytes(path, data[:10])
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    summary = run_batch(FakeDehazer(), plan([tmp_path]))
    assert summary.failed == 2
    assert all("no space left" in record.reason for record in summary.failures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_an_output_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    make(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    summary = run_batch(FakeDehazer(), plan([tmp_path / "a.png"], output=tmp_path / "file/out"))
    assert summary.failures[0].error_type == "OutputError"
    assert "cannot be made" in summary.failures[0].reason


def test_an_interrupt_ends_the_batch_soon_and_leaves_no_half_file(tmp_path):
    for index in range(6):
        make(tmp_path / f"{index}.png")
    gate = threading.Event()
    dehazer = FakeDehazer(gate=gate)

    def interrupt():
        wait_until(lambda: dehazer.running == 2)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_batch(dehazer, plan([tmp_path]), BatchOptions(jobs=2))
    assert dehazer.running == 2  # the pictures under way were not waited for
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith(batch.WORKER_PREFIX):
            thread.join(HUNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{index}.png" for index in range(6)]
    assert len(dehazer.widths) == 2  # nothing was started after the interrupt


def test_an_interrupted_batch_waits_for_files_being_written_and_reports_them(tmp_path, monkeypatch):
    for index in range(4):
        make(tmp_path / f"{index}.png")
    write_products, records = batch.write_products, []
    crew = Batch(FakeDehazer(), plan([tmp_path]), BatchOptions(jobs=1))

    def slowly(*args, **options):
        write_products(*args, **options)
        _thread.interrupt_main()
        wait_until(lambda: crew._abandoned.is_set())
        time.sleep(0.1)  # would the batch end now, nobody heard of this file

    monkeypatch.setattr(batch, "write_products", slowly)
    with pytest.raises(KeyboardInterrupt):
        work_off(crew, records.append)
    written = [path for path in tmp_path.iterdir() if "dehazed" in path.name]
    assert [record.output for record in records] == [str(path) for path in written]
    assert len(written) == 1


def test_an_error_of_the_listener_ends_the_batch(tmp_path):
    for index in range(20):
        make(tmp_path / f"{index}.png")

    def listener(_):
        raise ValueError("enough")

    dehazer = FakeDehazer(seconds=0.01)
    with pytest.raises(ValueError, match="enough"):
        run_batch(dehazer, plan([tmp_path]), BatchOptions(jobs=2), listener)
    assert len(dehazer.widths) < 20


def test_opencv_is_kept_to_one_thread_while_pictures_overlap(tmp_path, monkeypatch):
    make(tmp_path / "a.png")
    make(tmp_path / "b.png")
    seen, restore = [], FakeDehazer.restore
    monkeypatch.setattr(
        FakeDehazer, "restore", lambda self, *a, **k: seen.append(cv2.getNumThreads()) or restore(self, *a, **k)
    )
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        run_batch(FakeDehazer(), plan([tmp_path]), BatchOptions(jobs=2))
        assert seen == [1, 1]
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("format", [None, "png", "jpeg"])
def test_render_takes_bytes_and_gives_bytes(tmp_path, format):
    data = make(tmp_path / "a.png").read_bytes()
    rendered = render(FakeDehazer(), data, format, BatchOptions())
    assert read_image(rendered.data).format == (format or "png")
    assert rendered.size == (8, 6)
    assert rendered.sides == {}


def test_notes_report_what_the_format_cannot_hold(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 3), 40000, np.uint16))
    rendered = render(FakeDehazer(), tmp_path / "a.png", "jpeg", BatchOptions())
    assert any("8 bit" in note for note in rendered.notes)


def test_only_missing_separates_missing_packages_from_bad_pictures():
    missing = Record("a.heic", "failed", is_missing=True)
    assert not Summary().only_missing
    assert Summary(failures=[missing]).only_missing
    assert not Summary(failures=[missing, Record("b.jpg", "failed")]).only_missing


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OutputError("It is full."), "It is full."),
        (MemoryError(), "There is not enough memory for this picture; set --max-memory, or close other programs."),
        (MissingDependencyError("rawpy", "raw", "read it"), "rawpy is needed to read it"),
        (RuntimeError(), "Something unexpected went wrong (RuntimeError)"),
    ],
)
def test_failures_are_sentences(error, sentence):
    assert describe_failure(error).startswith(sentence)
