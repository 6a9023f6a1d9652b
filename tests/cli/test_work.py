"""Losses are counted in a plain run, and listed where details are asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.pictures import chunk, exif, jpeg, jpeg_exif, png

from unhaze.images.manifest import read_report

SOUND = png()
TWO_LOSSES = png(None, chunk(b"tIME", bytes(7)), chunk(b"caBX", b"c2pa"))
ONE_LOSS = jpeg(jpeg_exif(exif(more=[(315, 99, 1, b"abcd")])))
METHOD = "--model", "dcp"


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name, data in (("a.png", SOUND), ("b.png", TWO_LOSSES), ("c.jpg", ONE_LOSS)):
        (source / name).write_bytes(data)
    return source


def test_a_plain_run_counts_losses_in_one_line(unhaze, folder, tmp_path):
    result = unhaze("run", folder, "-o", tmp_path / "out", *METHOD)
    lines = result.stderr.splitlines()
    assert "3 notes on 2 pictures about what was lost or changed on the way (-v lists them)" in lines
    assert not [line for line in lines if "EXIF" in line]
    assert result.exit_code == 0


def test_losses_are_listed_with_v_and_in_reports(unhaze, folder, tmp_path):
    report = tmp_path / "report.jsonl"
    result = unhaze("run", "-v", folder, "-o", tmp_path / "out", "--report", report, *METHOD)
    assert "note: Parts of the EXIF data are damaged and were dropped (tag 315); the rest was kept." in result.stderr
    assert "-v lists them" not in result.stderr
    notes = [len([n for n in record["notes"] if "clear" not in n]) for record in read_report(report)]
    assert sorted(notes) == [0, 1, 2]
    result = unhaze("run", folder, "-o", tmp_path / "again", "--json", *METHOD)
    counted = [len([n for n in record["notes"] if "clear" not in n]) for record in json.loads(result.stdout)["records"]]
    assert sorted(counted) == [0, 1, 2]


def test_nothing_is_said_where_nothing_is_lost(unhaze, folder, tmp_path):
    result = unhaze("run", folder / "a.png", "-o", tmp_path / "a.png", *METHOD)
    assert "lost or changed" not in result.stderr


def test_losses_on_the_way_through_a_pipe_are_counted(unhaze, folder, tmp_path):
    result = unhaze("run", folder / "b.png", "-o", "-", *METHOD)
    assert "2 notes on 1 picture about what was lost or changed on the way (-v lists them)" in result.stderr


def test_losses_of_thirty_files_of_mixed_kinds_are_counted_in_one_line_and_listed_where_asked(unhaze, tmp_path):
    rgb = Image.fromarray(np.random.default_rng(0).integers(60, 200, (24, 32, 3), np.uint8))
    texts = PngInfo()
    texts.add_itxt("Title", "Nebel", "de", "Titel")
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        rgb.save(folder / f"whole-{number}.png")
        rgb.save(folder / f"whole-{number}.jpg", quality=90)
        rgb.save(folder / f"whole-{number}.tif", compression="tiff_lzw")
        rgb.save(folder / f"whole-{number}.webp", lossless=True)
        rgb.convert("CMYK").save(folder / f"cmyk-{number}.jpg")
        rgb.save(folder / f"in-jpeg-{number}.tif", compression="jpeg")
        (folder / f"two-{number}.png").write_bytes(TWO_LOSSES)
        rgb.save(folder / f"texts-{number}.png", pnginfo=texts)
        rgb.save(folder / f"trail-{number}.jpg", quality=90)
        with (folder / f"trail-{number}.jpg").open("ab") as file:
            file.write(b"rest")
        Image.new("RGB", (32, 24), "grey").save(folder / f"clear-{number}.png")
    command = ["run", folder, "-m", "dcp", "--report", tmp_path / "r.jsonl"]
    plain = unhaze(*command, "-o", tmp_path / "plain")
    assert plain.exit_code == 0, plain.stderr
    clear, losses, counts = plain.stderr.splitlines()
    assert clear.startswith("3 pictures look clear")
    assert counts == "30 done, 0 skipped, 0 failed"
    notes = {Path(each["input"]).name: each["notes"] for each in read_report(tmp_path / "r.jsonl")}
    lossy = {name: told for name, told in notes.items() if told and not name.startswith("clear")}
    assert {name.rpartition("-")[0] for name in lossy} == {"cmyk", "in-jpeg", "texts", "trail", "two"}
    number = sum(map(len, lossy.values()))
    assert losses == f"{number} notes on 15 pictures about what was lost or changed on the way (-v lists them)"
    detailed = unhaze(*command, "-o", tmp_path / "detailed", "-v").stderr
    assert "-v lists them" not in detailed
    for name, told in lossy.items():
        lines = detailed[detailed.index(f"done: {folder / name} ") :].splitlines()[1 : 1 + len(told)]
        assert lines == [f"  note: {note}" for note in told]
    assert unhaze(*command, "-o", tmp_path / "quiet", "-q").stderr == ""


def test_many_that_fail_for_one_reason_are_one_line(unhaze, tmp_path):
    for i in range(7):
        Image.new("RGB", (8, 8), (90, 120, 150)).save(tmp_path / f"{i}.png")
    Path(tmp_path, "broken.png").write_bytes(b"nothing")
    result = unhaze("run", tmp_path, "-m", "dcp", "-o", tmp_path / ("a" * 300))
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"failed: 7 pictures, such as {tmp_path / '0.png'}: The folder {tmp_path}/aaa")
    assert "cannot be made (File name too long); choose another. (-v and --report list them)" in lines[0]
    assert lines[1].startswith(f"failed: {tmp_path / 'broken.png'}")
    verbose = unhaze("run", tmp_path, "-m", "dcp", "-o", tmp_path / ("a" * 300), "-v")
    assert sum(line.startswith("failed: ") and "too long" in line for line in verbose.stderr.splitlines()) >= 7
