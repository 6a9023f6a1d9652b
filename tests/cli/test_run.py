import json
import os
import signal
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.patience import HUNG, wait_until

from unhaze.batch.workers import Batch
from unhaze.images.manifest import read_report
from unhaze.restore.options import DEFAULT_MODEL


@pytest.fixture(scope="session")
def small(hazy_photo):
    """A small hazy picture, (107, 160, 3) uint8."""
    return np.ascontiguousarray(hazy_photo[0][::4, ::4])


@pytest.fixture
def make(small):
    def make(path, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).save(path, **options)
        return path

    return make


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def bomb():
    """A PNG whose header claims 60000 x 60000 pixels and that holds none."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def local_contrast(pixels):
    """Mean difference between neighbours; what haze takes away."""
    return np.abs(np.diff(pixels.astype(float), axis=1)).mean()


# -- one picture ------------------------------------------------------------------------------------------------------


def test_the_first_command_of_all(unhaze, make, small, tmp_path):
    make(tmp_path / "photo.jpg", quality=95)
    result = unhaze("run", tmp_path / "photo.jpg")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == f"1 done, 0 skipped, 0 failed ({tmp_path / 'photo-dehazed.jpg'})\n"
    with Image.open(tmp_path / "photo-dehazed.jpg") as restored:
        assert restored.size == (160, 107)
        assert local_contrast(np.asarray(restored)) > 1.04 * local_contrast(small)


@pytest.mark.parametrize("strength", [0, 1])
def test_options_reach_the_dehazer(unhaze, make, small, tmp_path, strength):
    make(tmp_path / "a.png")
    assert unhaze("run", tmp_path / "a.png", "--strength", strength).exit_code == 0
    restored = np.asarray(Image.open(tmp_path / "a-dehazed.png"))
    assert np.array_equal(restored, small) == (strength == 0)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--model", ("dcp", "cap")),
        ("--strength", (1, 0.5)),
        ("--color-blend", (1, 0.1)),
        ("--protect-sky", (1, 0)),
        ("--keep-exposure", (1, 0)),
    ],
)
def test_each_option_changes_the_result(unhaze, photo, tmp_path, option, values):
    Image.fromarray((photo[::4, ::4] * 0.4 + 120).astype(np.uint8)).save(tmp_path / "a.png")
    for value in values:
        options = ["--model", "dcp", option, value]
        assert unhaze("run", tmp_path / "a.png", "-o", tmp_path / f"{value}.png", *options).exit_code == 0
    first, second = ((tmp_path / f"{value}.png").read_bytes() for value in values)
    assert first != second


def test_white_is_reported_or_taken_from_the_option(unhaze, small, tmp_path):
    tifffile.imwrite(tmp_path / "twelve.tif", small.astype(np.uint16) * 16 + 1, photometric="rgb")
    unhaze("run", tmp_path / "twelve.tif", "-o", tmp_path / "eight.png", "--format", "png", "--report", tmp_path / "r")
    (record,) = read_report(tmp_path / "r")
    assert any("White was taken to be 4095" in note for note in record["notes"])
    restored = []
    for white in ("4095", "65535"):
        out = tmp_path / f"{white}.jpg"
        unhaze("run", tmp_path / "twelve.tif", "-o", out, "--white", white, "--strength", "0")
        restored.append(np.asarray(Image.open(out)).mean())
    assert restored[0] == pytest.approx(16 * restored[1], rel=0.05)
    result = unhaze("run", tmp_path / "twelve.tif", "--white", "0")
    assert result.exit_code == 2
    assert "value of a white pixel" in result.stderr


def test_format_quality_and_metadata_reach_the_writer(unhaze, make, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a valley"
    make(tmp_path / "a.png", exif=exif)
    for quality in (10, 90):
        unhaze("run", tmp_path / "a.png", "-o", tmp_path / f"{quality}", "--format", "jpeg", "--quality", quality)
    unhaze("run", tmp_path / "a.png", "-o", tmp_path / "strip.jpg", "--metadata", "strip")
    assert (tmp_path / "10/a.jpg").stat().st_size * 2 < (tmp_path / "90/a.jpg").stat().st_size
    assert b"a valley" in (tmp_path / "90/a.jpg").read_bytes()
    assert b"a valley" not in (tmp_path / "strip.jpg").read_bytes()


def test_side_products_lie_beside_the_output(unhaze, make, tmp_path):
    make(tmp_path / "a.jpg")
    result = unhaze(
        "run",
        tmp_path / "a.jpg",
        "-o",
        tmp_path / "out",
        "--compare",
        "--save",
        "transmission,depth",
        "--save=confidence",
    )
    assert result.exit_code == 0
    assert tree(tmp_path / "out") == ["a-compare.jpg", "a-confidence.png", "a-depth.png", "a-transmission.png", "a.jpg"]
    for name in ("transmission", "depth", "confidence"):
        with Image.open(tmp_path / f"out/a-{name}.png") as picture:
            assert picture.mode == "I;16"
            assert picture.size == (160, 107)


def test_far_is_bright_in_depth_and_dark_in_transmission(unhaze, make, hazy_photo, tmp_path):
    make(tmp_path / "a.png")
    unhaze("run", tmp_path / "a.png", "--save", "transmission,depth")
    depth = np.asarray(Image.open(tmp_path / "a-depth.png")).ravel().astype(float)
    transmission = np.asarray(Image.open(tmp_path / "a-transmission.png")).ravel().astype(float)
    assert np.corrcoef(depth, transmission)[0, 1] < -0.8
    assert depth.max() == 65535


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_done_with_its_tree_and_a_report(unhaze, make, tmp_path):
    for name in ("in/a.jpg", "in/b.png", "in/sub/c.webp", "in/sub/deep/d.tif"):
        make(tmp_path / name)
    (tmp_path / "in/readme.txt").write_text("no picture")
    result = unhaze("run", tmp_path / "in", "-o", tmp_path / "out", "--report", tmp_path / "log/report.jsonl", "-j", 2)
    assert result.exit_code == 0, result.stderr
    assert tree(tmp_path / "out") == ["a.jpg", "b.png", "sub/c.webp", "sub/deep/d.tif"]
    assert result.stderr == "4 done, 0 skipped, 0 failed\n"
    records = list(read_report(tmp_path / "log/report.jsonl"))
    assert sorted(Path(record["output"]).relative_to(tmp_path / "out").as_posix() for record in records) == tree(
        tmp_path / "out"
    )
    for record in records:
        assert (record["status"], record["error"]) == ("done", None)
        assert (record["width"], record["height"]) == (160, 107)
        assert set(record["seconds"]) == {"decode", "dehaze", "encode", "write"}
        assert record["time"].startswith("20")


def test_one_worker_and_several_give_the_same_files(unhaze, make, tmp_path):
    for index in range(4):
        make(tmp_path / f"in/{index}.png")
    for jobs in (1, 3):
        assert unhaze("run", tmp_path / "in", "-o", tmp_path / f"{jobs}", "-j", jobs).exit_code == 0
    assert [(tmp_path / f"1/{i}.png").read_bytes() for i in range(4)] == [
        (tmp_path / f"3/{i}.png").read_bytes() for i in range(4)
    ]


BAD = {
    "empty.jpg": b"",
    "text.jpg": b"This is a text file.\n" * 50,
    "bomb.png": bomb(),
    "noise.webp": bytes(range(256)) * 8,
}


@pytest.fixture
def corpus(make, tmp_path):
    """A folder of two sound pictures among bad ones; names of the bad ones."""
    folder = tmp_path / "in"
    make(folder / "aa.jpg")
    make(folder / "zz.png")
    for name, content in BAD.items():
        (folder / name).write_bytes(content)
    data = make(tmp_path / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    tifffile.imwrite(folder / "nan.tif", np.full((8, 8, 3), np.nan, np.float32), photometric="rgb")
    return folder, {*BAD, "cut.jpg", "nan.tif"}


def test_bad_inputs_fail_with_a_sentence_each_and_the_rest_is_done(unhaze, corpus, tmp_path):
    folder, bad = corpus
    result = unhaze("run", folder, "-o", tmp_path / "out", "--report", tmp_path / "r.jsonl", "-j", 2)
    assert result.exit_code == 1
    assert tree(tmp_path / "out") == ["aa.jpg", "zz.png"]
    *failures, summary = result.stderr.splitlines()
    assert summary == f"2 done, 0 skipped, {len(bad)} failed"
    assert len(failures) == len(bad)
    for line in failures:
        assert line.startswith("failed: ")
        assert "unexpected" not in line
        assert "Traceback" not in line
    failed = {Path(r["input"]).name: r for r in read_report(tmp_path / "r.jsonl") if r["status"] == "failed"}
    assert set(failed) == bad
    assert failed["bomb.png"]["error_type"] == "ImageTooLargeError"
    assert failed["nan.tif"]["error_type"] == "ImageValueError"


def test_on_error_stop(unhaze, make, tmp_path):
    make(tmp_path / "b.png")
    (tmp_path / "a.jpg").write_bytes(b"")
    result = unhaze("run", tmp_path, "--on-error", "stop", "-j", 1)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "0 done, 0 skipped, 1 failed, 1 not started"
    assert not (tmp_path / "b-dehazed.png").exists()


def test_an_input_that_is_not_there_is_a_failed_input(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    result = unhaze("run", tmp_path / "gone.jpg", tmp_path / "a.png")
    assert result.exit_code == 1
    assert "gone.jpg does not exist" in result.stderr
    assert (tmp_path / "a-dehazed.png").exists()


def test_a_folder_without_pictures_is_reported(unhaze, tmp_path):
    result = unhaze("run", tmp_path)
    assert result.exit_code == 0
    assert "No pictures were found" in result.stderr


def test_quiet_reports_failures_only(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    assert unhaze("run", tmp_path / "a.png", "-q").stderr == ""
    result = unhaze("run", tmp_path / "a.png", "-q")
    assert len(result.stderr.splitlines()) == 1
    assert "exists" in result.stderr


def test_verbose_reports_the_engine_and_each_picture(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    result = unhaze("run", tmp_path / "a.png", "-v")
    assert f"model {DEFAULT_MODEL}, " in result.stderr
    assert "160 x 107" in result.stderr
    assert "decode" in result.stderr


def test_verbose_reports_what_runs_a_network(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    options = ["--model", "field-m", "--engine", "onnxruntime", "-v"]
    reported = unhaze("run", tmp_path / "a.png", *options).stderr
    assert "engine onnxruntime" in reported
    assert "CPUExecutionProvider" in reported
    piped = unhaze("run", "-", "-o", tmp_path / "b.png", *options, input=(tmp_path / "a.png").read_bytes())
    assert "engine onnxruntime" in piped.stderr


def test_pictures_that_look_clear_are_reported(unhaze, make, tmp_path):
    make(tmp_path / "hazy.png")
    for name in ("one", "two"):
        Image.fromarray(np.full((24, 32, 3), 128, np.uint8)).save(tmp_path / f"{name}.png")
    one = tmp_path / "one.png"

    def reported(*inputs, **options):
        return unhaze("run", *inputs, "--overwrite", "--model", "dcp", **options).stderr

    assert reported(one).splitlines()[0] == f"{one} looks clear: left almost as it was"
    assert reported(one, tmp_path / "hazy.png").splitlines()[0] == f"{one} looks clear: left almost as it was"
    both = reported(one, tmp_path / "two.png").splitlines()[0]
    assert both == f"2 pictures look clear: left almost as they were: {one}, {tmp_path / 'two.png'}"
    assert "looks clear" not in reported(tmp_path / "hazy.png")
    streamed = reported("-", "-o", tmp_path / "out.png", input=one.read_bytes())
    assert streamed == "The picture looks clear: left almost as it was\n"


def test_no_progress_bar_without_a_terminal(start_unhaze, make, tmp_path):
    for index in range(3):
        make(tmp_path / f"{index}.png")
    _, told = start_unhaze("run", tmp_path).communicate(timeout=HUNG)
    assert told == b"3 done, 0 skipped, 0 failed\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_progress_bar_with_a_terminal_and_none_when_quiet(start_unhaze, make, tmp_path):
    for index in range(3):
        make(tmp_path / f"{index}.png")
    for options, is_shown in (([], True), (["--quiet", "--overwrite"], False)):
        ours, theirs = os.openpty()
        process = start_unhaze("run", tmp_path, *options, stderr=theirs)
        stdout, _ = process.communicate(timeout=HUNG)
        os.close(theirs)
        os.set_blocking(ours, False)
        try:
            reported = os.read(ours, 100_000)
        except OSError:
            reported = b""
        os.close(ours)
        assert process.returncode == 0
        assert (b"Dehazing" in reported) == is_shown
        assert stdout == b""


# -- nothing is lost --------------------------------------------------------------------------------------------------


def test_existing_outputs_are_kept_skipped_or_overwritten(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    output = tmp_path / "a-dehazed.png"
    output.write_bytes(b"precious")
    result = unhaze("run", tmp_path / "a.png")
    assert (result.exit_code, output.read_bytes()) == (1, b"precious")
    assert "--overwrite" in result.stderr
    result = unhaze("run", tmp_path / "a.png", "--skip-existing")
    assert (result.exit_code, output.read_bytes()) == (0, b"precious")
    assert result.stderr.startswith("0 done, 1 skipped")
    assert unhaze("run", tmp_path / "a.png", "--overwrite").exit_code == 0
    assert output.read_bytes().startswith(b"\x89PNG")


def test_outputs_that_all_exist_are_told_in_one_line(unhaze, make, tmp_path):
    for number in range(7):
        make(tmp_path / f"in/{number}.png")
    (tmp_path / "in/bad.png").write_bytes(b"text")
    command = ["run", tmp_path / "in", "-o", tmp_path / "out", "-m", "dcp"]
    unhaze(*command)
    made = tree(tmp_path / "out")
    again = unhaze(*command, "--report", tmp_path / "r.jsonl")
    assert again.exit_code == 1
    bad, there, counts = again.stderr.splitlines()
    assert "bad.png" in bad
    assert there.startswith(f"failed: 7 pictures whose outputs exist, such as {tmp_path / 'out/0.png'}; use --skip-")
    assert counts == "0 done, 0 skipped, 8 failed"
    reasons = [record["error"] for record in read_report(tmp_path / "r.jsonl")]
    assert sum(reason.endswith("exists; use --overwrite to replace it, or --skip-existing.") for reason in reasons) == 7
    listed = unhaze(*command, "-v").stderr
    assert all(str(tmp_path / "out" / name) in listed for name in made)
    assert len(unhaze(*command, "-q").stderr.splitlines()) == 2
    skipping = unhaze(*command, "--skip-existing").stderr
    assert len(skipping.splitlines()) == 2
    assert "0 done, 7 skipped, 1 failed" in skipping
    assert tree(tmp_path / "out") == made


@pytest.mark.parametrize("disguise", ["plain", "symlink", "hardlink"])
def test_an_input_is_never_overwritten(unhaze, make, tmp_path, disguise):
    source = make(tmp_path / "a.png")
    content = source.read_bytes()
    output = source
    if disguise != "plain":
        output = tmp_path / "b.png"
        output.symlink_to(source) if disguise == "symlink" else output.hardlink_to(source)
    result = unhaze("run", source, "-o", output, "--overwrite")
    assert result.exit_code == 1
    assert "its own output" in result.stderr
    assert source.read_bytes() == content


def test_files_that_compete_for_a_name_are_all_done_and_reported(unhaze, make, tmp_path):
    for name in ("IMG_1.webp", "IMG_1.jpg", "b.png"):
        make(tmp_path / f"in/{name}")
    arguments = ["run", tmp_path / "in", "-o", tmp_path / "out", "--format", "jpeg", "--model", "dcp"]
    planned = unhaze(*arguments, "--dry-run", "--json")
    notes = [note for record in json.loads(planned.stdout)["records"] for note in record["notes"]]
    assert notes == ["named IMG_1-webp.jpg, because IMG_1.jpg is the name for IMG_1.jpg"]
    result = unhaze(*arguments, "--report", tmp_path / "r.jsonl")
    assert result.exit_code == 0, result.stderr
    assert f"{tmp_path / 'in/IMG_1.webp'}: {notes[0]}" in result.stderr
    assert "lost or changed" not in result.stderr, "a name is no loss"
    assert tree(tmp_path / "out") == ["IMG_1-webp.jpg", "IMG_1.jpg", "b.jpg"]
    made = {Path(record["input"]).name: Path(record["output"]).name for record in read_report(tmp_path / "r.jsonl")}
    assert made == {"IMG_1.webp": "IMG_1-webp.jpg", "IMG_1.jpg": "IMG_1.jpg", "b.png": "b.jpg"}
    (tmp_path / "out/IMG_1-webp.jpg").unlink()
    again = unhaze(*arguments, "--skip-existing")
    assert again.stderr.splitlines()[-1].startswith("1 done, 2 skipped, 0 failed")
    assert tree(tmp_path / "out") == ["IMG_1-webp.jpg", "IMG_1.jpg", "b.jpg"]


def test_a_report_does_not_write_into_a_picture(unhaze, make, tmp_path):
    source = make(tmp_path / "a.png")
    content = source.read_bytes()
    assert unhaze("run", source, "--report", source).exit_code == 1
    other = make(tmp_path / "other.jpg")
    assert unhaze("run", source, "--report", other).exit_code == 1
    assert unhaze("run", source, "--report", tmp_path / "a-dehazed.png").exit_code == 1
    assert source.read_bytes() == content
    assert not (tmp_path / "a-dehazed.png").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_report_that_cannot_be_continued_does_not_stop_the_pictures(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    make(tmp_path / "b.png")
    result = unhaze("run", tmp_path, "--report", "/dev/full")
    assert result.exit_code == 1
    assert result.stderr.count("No space left") == 1
    assert "2 done" in result.stderr


# -- dry run and JSON -------------------------------------------------------------------------------------------------


def test_a_dry_run_reports_and_writes_nothing(unhaze, make, tmp_path):
    make(tmp_path / "in/a.png")
    make(tmp_path / "in/sub/b.jpg")
    (tmp_path / "in/bad.jpg").write_bytes(b"")
    before = tree(tmp_path)
    result = unhaze(
        "run", tmp_path / "in", "-o", tmp_path / "out", "--compare", "--dry-run", "--report", tmp_path / "r.jsonl"
    )
    assert result.exit_code == 1
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert f"{tmp_path}/out/a.png + {tmp_path}/out/a-compare.jpg <- {tmp_path}/in/a.png (160 x 107, about" in lines[0]
    assert lines[1].startswith("failed: ")
    assert result.stderr == "2 to do, 0 to skip, 1 cannot be done\n"


def test_a_dry_run_predicts_the_limits(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    for option in (["--max-pixels", "10k"], ["--max-memory", "1M"]):
        result = unhaze("run", tmp_path / "a.png", "--dry-run", "--json", *option)
        (record,) = json.loads(result.stdout)["records"]
        assert record["status"] == "failed"
        assert option[0] in record["error"]
        assert unhaze("run", tmp_path / "a.png", *option).exit_code == 1
    (record,) = json.loads(unhaze("run", tmp_path / "a.png", "--dry-run", "--json").stdout)["records"]
    assert record["status"] == "planned"
    assert record["memory"] > 160 * 107 * 3


def test_json_goes_to_stdout_and_words_to_stderr(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"")
    result = unhaze("run", tmp_path, "--json")
    reported = json.loads(result.stdout)
    assert (reported["done"], reported["skipped"], reported["failed"], reported["interrupted"]) == (1, 0, 1, False)
    statuses = {Path(record["input"]).name: record["status"] for record in reported["records"]}
    assert statuses == {"a.png": "done", "b.jpg": "failed"}
    assert "1 done" in result.stderr


# -- several processes ------------------------------------------------------------------------------------------------


def test_two_processes_share_a_folder(start_unhaze, make, tmp_path):
    for index in range(12):
        make(tmp_path / f"in/{index:02}.png")
    arguments = [
        "run",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--skip-existing",
        "--model",
        "dcp",
        "--compare",
        "-j",
        1,
    ]
    running = [start_unhaze(*arguments, "--report", tmp_path / f"{number}.jsonl", text=True) for number in range(2)]
    told = [process.communicate(timeout=HUNG)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    names = [f"{index:02}{ending}" for index in range(12) for ending in ("-compare.jpg", ".png")]
    assert tree(tmp_path / "out") == sorted(names)
    reports = [list(read_report(tmp_path / f"{number}.jsonl")) for number in range(2)]
    assert [len(report) for report in reports] == [12, 12]
    done = sorted(Path(record["input"]).name for report in reports for record in report if record["status"] == "done")
    assert done == [f"{index:02}.png" for index in range(12)]
    assert sum(int(text.split()[0]) for text in told) == 12


def test_a_picture_that_another_process_holds_is_waited_for(start_unhaze, make, tmp_path):
    from tests.images.test_claims import forge

    for name in ("a", "b", "c", "d"):
        make(tmp_path / f"in/{name}.png")
    (tmp_path / "out").mkdir()
    finishing = forge(tmp_path / "out/a.png", age=-HUNG)  # it shows life for as long as this may take
    failing = forge(tmp_path / "out/b.png", age=-HUNG)
    forge(tmp_path / "out/c.png", age=1000)
    (tmp_path / "out/.c.png.0123abcd.part").write_text("half")
    process = start_unhaze("run", tmp_path / "in", "-o", tmp_path / "out", "--model", "dcp", "--json", text=True)
    wait_until((tmp_path / "out/d.png").exists, process)
    (tmp_path / "out/a.png").write_text("made by the other")
    finishing.unlink()
    failing.unlink()
    reported, _ = process.communicate(timeout=HUNG)
    assert process.returncode == 0
    statuses = {Path(record["input"]).name: record["status"] for record in json.loads(reported)["records"]}
    assert statuses == {"a.png": "skipped", "b.png": "done", "c.png": "done", "d.png": "done"}
    assert (tmp_path / "out/a.png").read_text() == "made by the other"
    assert tree(tmp_path / "out") == ["a.png", "b.png", "c.png", "d.png"]


@pytest.mark.parametrize("option", [[], ["--skip-existing"], ["--overwrite"]])
def test_what_a_killed_run_left_is_cleared_away(unhaze, make, tmp_path, option):
    from tests.images.test_claims import forge

    make(tmp_path / "in/a.png")
    make(tmp_path / "out/a.png")
    for name in (".a.png.0123abcd.part", ".a-compare.jpg.0123abcd.part"):
        (tmp_path / "out" / name).write_text("half")
    (tmp_path / "out/.other.png.0123abcd.part").write_text("of another command")
    forge(tmp_path / "out/a.png", age=1000)
    unhaze("run", tmp_path / "in", "-o", tmp_path / "out", "--model", "dcp", "--compare", *option)
    assert [name for name in tree(tmp_path / "out") if name.startswith(".")] == [".other.png.0123abcd.part"]


# -- lists and parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"in/a.png\nin/sub/b c.png\n", []),
        (b"in/a.png\r\n\r\nin/sub/b c.png", []),
        (b"in/a.png\0in/sub/b c.png\0", ["-0"]),
        ("in/a.png\nin/sub/b c.png\n".encode("utf-16"), []),
        ("in/a.png\nin/sub/b c.png\n".encode("utf-8-sig"), []),
    ],
    ids=["lines", "windows", "null", "utf-16", "bom"],
)
def test_a_list_of_files(unhaze, make, tmp_path, monkeypatch, content, options):
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/sub/b c.png", "in/other.png"):
        make(tmp_path / name)
    (tmp_path / "list").write_bytes(content)
    arguments = ["run", "-o", "out", "--model", "dcp", *options]
    dry = unhaze(*arguments, "--files-from", "list", "--dry-run")
    assert [line.split(" <- ")[0] for line in dry.stdout.splitlines()] == ["out/in/a.png", "out/in/sub/b c.png"]
    assert not (tmp_path / "out").exists()
    assert unhaze(*arguments, "--files-from", "-", input=content).exit_code == 0
    assert tree(tmp_path / "out") == ["in/a.png", "in/sub/b c.png"]


def test_a_listed_file_that_is_gone_fails_alone(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    (tmp_path / "list").write_text(f"{tmp_path}/a.png\n{tmp_path}/gone.png\n")
    result = unhaze("run", "--files-from", tmp_path / "list", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "gone.png does not exist" in result.stderr
    assert tree(tmp_path / "out") == ["a.png"]


def test_parts_of_a_folder_make_the_whole(unhaze, make, tmp_path):
    for index in range(9):
        make(tmp_path / f"in/{index}.png")
    seen = []
    for number in (1, 2, 3):
        arguments = ["run", tmp_path / "in", "-o", tmp_path / "out", "--model", "dcp", "--shard", f"{number}/3"]
        planned = [
            record["output"] for record in json.loads(unhaze(*arguments, "--dry-run", "--json").stdout)["records"]
        ]
        assert unhaze(*arguments, "--report", tmp_path / f"{number}.jsonl").exit_code == 0
        assert sorted(record["output"] for record in read_report(tmp_path / f"{number}.jsonl")) == sorted(planned)
        seen += planned
    assert sorted(Path(name).name for name in seen) == tree(tmp_path / "out") == [f"{index}.png" for index in range(9)]


def test_a_part_without_pictures_is_reported(unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    reported = [unhaze("run", tmp_path / "a.png", "--shard", f"{number}/2", "--dry-run").stderr for number in (1, 2)]
    assert sum("No pictures were found in part" in text for text in reported) == 1


# -- stdin and stdout -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "expected"), [("keep", "WEBP"), ("png", "PNG")])
def test_a_picture_through_the_pipe(unhaze, make, tmp_path, format, expected):
    data = make(tmp_path / "a.webp").read_bytes()
    result = unhaze("run", "-", "--format", format, input=data)
    assert result.exit_code == 0
    assert result.stderr == ""
    with Image.open(BytesIO(result.stdout_bytes)) as restored:
        assert restored.format == expected
        assert restored.size == (160, 107)


def test_pipe_and_file_give_the_same_bytes(unhaze, make, tmp_path):
    source = make(tmp_path / "a.jpg")
    unhaze("run", source)
    expected = (tmp_path / "a-dehazed.jpg").read_bytes()
    assert unhaze("run", "-", input=source.read_bytes()).stdout_bytes == expected
    assert unhaze("run", source, "-o", "-").stdout_bytes == expected
    assert unhaze("run", "-", "-o", tmp_path / "b.jpg", "--compare", input=source.read_bytes()).exit_code == 0
    assert (tmp_path / "b.jpg").read_bytes() == expected
    assert (tmp_path / "b-compare.jpg").exists()


def test_a_piped_picture_does_not_replace_a_file_unasked(unhaze, make, tmp_path):
    data = make(tmp_path / "a.png").read_bytes()
    output = tmp_path / "b.png"
    output.write_bytes(b"precious")
    assert unhaze("run", "-", "-o", output, input=data).exit_code == 1
    assert unhaze("run", "-", "-o", output, "--skip-existing", input=data).exit_code == 0
    assert output.read_bytes() == b"precious"
    assert unhaze("run", "-", "-o", output, "--overwrite", input=data).exit_code == 0
    assert output.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("data", [b"", b"text", bomb()], ids=["empty", "text", "bomb"])
def test_bad_data_from_the_pipe(unhaze, data):
    result = unhaze("run", "-", input=data)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "unexpected" not in result.stderr


def test_a_reader_that_goes_away_is_no_error_to_report(start_unhaze, make, tmp_path):
    make(tmp_path / "a.png")
    process = start_unhaze("run", tmp_path / "a.png", "-o", "-", "--format", "bmp", bufsize=0)
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=HUNG)[1] == b""
    assert process.returncode == 0  # it has seen enough


# -- wrong usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument"),
        (["a.png", "--strength", "2"], "strength"),
        (["a.png", "--strength", "much"], "--strength"),
        (["a.png", "--model", "dpc"], "did you mean dcp"),
        (["a.png", "--format", "jpgg"], "did you mean jpeg"),
        (["a.png", "--quality", "101"], "--quality"),
        (["a.png", "--on-error", "halt"], "stop"),
        (["a.png", "--metadata", "drop"], "strip"),
        (["a.png", "--save", "dept"], "did you mean depth"),
        (["a.png", "--max-memory", "much"], "2G"),
        (["a.png", "--max-pixels", "0"], "200M"),
        (["a.png", "--jobs", "0"], "--jobs"),
        (["a.png", "--suffix", ""], "empty suffix"),
        (["a.png", "b.png", "-o", "c.png"], "several inputs"),
        (["-", "a.png"], "one picture"),
        (["-", "--json"], "for files"),
        (["-", "-o", "folder"], "has no name"),
        (["a.png", "-o", "-", "--compare"], "holds one picture"),
        (["a.png", "--shard", "0/2"], "for example 1/3"),
        (["a.png", "--null"], "--files-from"),
        (["--files-from", "gone"], "cannot be read"),
        (["--files-from", "a.png"], "--null"),
        (["-", "--shard", "1/2"], "are for files"),
    ],
)
def test_wrong_usage(unhaze, make, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.png")
    result = unhaze("run", *arguments)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert result.stdout == ""
    assert tree(tmp_path) == ["a.png"]


def test_a_missing_package_is_exit_code_three(unhaze, make, tmp_path, monkeypatch):
    from unhaze.errors import MissingDependencyError

    def identify(_):
        raise MissingDependencyError("pillow-heif", "heif", "read HEIC files")

    monkeypatch.setattr("unhaze.batch.planning.identify", identify)
    make(tmp_path / "a.png")
    result = unhaze("run", tmp_path / "a.png")
    assert result.exit_code == 3
    assert "pip install 'unhaze[heif]'" in result.stderr


# -- interrupts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_keeps_what_is_done_and_can_go_on(start_unhaze, unhaze, tmp_path, name):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for index in range(12):
        Image.fromarray(rng.integers(0, 255, (900, 1200, 3), np.uint8)).save(
            tmp_path / f"in/{index:02}.png", compress_level=0
        )
    arguments = ["run", tmp_path / "in", "-o", tmp_path / "out", "--report", tmp_path / "r.jsonl", "-j", 2]
    process = start_unhaze(*arguments)
    wait_until(lambda: (tmp_path / "r.jsonl").exists() and (tmp_path / "r.jsonl").stat().st_size, process)
    process.send_signal(getattr(signal, name))
    _, told = process.communicate(timeout=HUNG)
    assert process.returncode == 130
    assert b"Traceback" not in told
    written = tree(tmp_path / "out")
    line, counts = told.decode().splitlines()[-2:]
    left = 12 - len(written)
    assert line == (
        f"Interrupted: {len(written)} of 12 pictures done, {left} not started or given up half-way; run again with "
        "--skip-existing to go on."
    )
    assert counts.startswith(f"{len(written)} done, 0 skipped, 0 failed, {left} not started")
    assert 0 < len(written) < 12
    assert all(name.endswith(".png") and not name.startswith(".") for name in written)
    assert sorted(Path(record["output"]).name for record in read_report(tmp_path / "r.jsonl")) == written
    for name in written:
        Image.open(tmp_path / "out" / name).load()
    assert unhaze(*arguments, "--skip-existing").exit_code == 0
    assert len(tree(tmp_path / "out")) == 12


def test_an_interrupt_in_this_process_is_reported_in_json_too(unhaze, make, tmp_path, monkeypatch):
    make(tmp_path / "a.png")
    make(tmp_path / "b.png")

    class Interrupted(Batch):
        def __init__(self, dehazer, jobs, options):
            super().__init__(dehazer, jobs[:1], options)

        def __iter__(self):
            yield from super().__iter__()
            raise KeyboardInterrupt

    monkeypatch.setattr("unhaze.batch.workers.Batch", Interrupted)
    result = unhaze("run", tmp_path, "--json")
    assert result.exit_code == 130
    told = json.loads(result.stdout)
    assert (told["done"], told["not_started"], told["interrupted"]) == (1, 1, True)
    assert "1 of 2 pictures done, 1 not started" in result.stderr
    for option, advice in (("--skip-existing", "the same command goes on"), ("--overwrite", "does all anew")):
        assert advice in unhaze("run", tmp_path, option).stderr


def test_an_endless_stream_and_an_endless_list_are_refused(unhaze, make, tmp_path):
    zeros = unhaze("run", "-", "-o", tmp_path / "x.png", input=bytes(3 << 20))
    assert (zeros.exit_code, "megabyte of zeros" in zeros.stderr) == (2, True)
    long = unhaze("run", "-", "-o", tmp_path / "x.png", "--max-memory", "2M", input=b"x" * (3 << 20))
    assert (long.exit_code, "More than" in long.stderr) == (2, True)
    listed = unhaze("run", "--files-from", "-", "-o", tmp_path / "out", input=bytes(3 << 20))
    assert listed.exit_code == 2


def test_an_empty_name_is_not_the_present_folder(unhaze, make, tmp_path, monkeypatch):
    make(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert unhaze("run", "").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_a_place_that_may_not_be_looked_at_costs_only_its_own_input(unhaze, make, tmp_path, monkeypatch):
    make(tmp_path / "a.png")
    real = Path.stat

    def stat(self, **options):
        if "locked" in self.parts:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    result = unhaze("run", tmp_path / "a.png", tmp_path / "locked" / "b.png", "-m", "dcp", "-o", tmp_path / "out")
    assert "1 done, 0 skipped, 1 failed" in result.stderr
    assert "locked/b.png cannot be read (Permission denied)" in result.stderr
