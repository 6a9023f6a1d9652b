"""Losses are counted in a plain run, and listed where details are asked for."""

import json

import pytest
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
