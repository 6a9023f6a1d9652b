import json
import os
import threading
from pathlib import Path

import pytest

from unhaze.errors import OutputError
from unhaze.images.manifest import ReportWriter, read_report


def test_a_record_is_on_disk_before_the_report_is_closed(tmp_path):
    path = tmp_path / "report.jsonl"
    with ReportWriter(path) as report:
        report.write({"input": "a.jpg"})
        assert path.read_text() == '{"input": "a.jpg"}\n'


def test_a_second_run_continues_the_report_of_the_first(tmp_path):
    path = tmp_path / "new" / "folder" / "report.jsonl"
    for name in ("a", "b"):
        with ReportWriter(path) as report:
            report.write({"input": name})
    assert [record["input"] for record in read_report(path)] == ["a", "b"]


def test_a_cut_last_line_is_passed_over_and_not_glued_to_the_next_record(tmp_path):
    path = tmp_path / "report.jsonl"
    path.write_bytes(b'{"input": "a"}\n{"input": "b", "sta')
    assert list(read_report(path)) == [{"input": "a"}]
    with ReportWriter(path) as report:
        report.write({"input": "c"})
    assert list(read_report(path)) == [{"input": "a"}, {"input": "c"}]


@pytest.mark.parametrize("name", ["плёнка.jpg", "a\nb.jpg", os.fsdecode(b"caf\xe9.jpg"), "雾.png"])
def test_any_file_name_comes_back_as_it_was(tmp_path, name):
    path = tmp_path / "report.jsonl"
    with ReportWriter(path) as report:
        report.write({"input": name})
    assert list(read_report(path)) == [{"input": name}]


def test_records_of_many_threads_do_not_mix(tmp_path):
    path = tmp_path / "report.jsonl"
    with ReportWriter(path) as report:
        threads = [
            threading.Thread(target=lambda k=k: [report.write({"k": k, "fill": "x" * 5000}) for _ in range(50)])
            for k in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = path.read_text().splitlines()
    assert len(lines) == 400
    assert sorted(json.loads(line)["k"] for line in lines) == sorted(list(range(8)) * 50)


def test_a_picture_is_not_taken_for_a_report(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 photograph")
    with pytest.raises(OutputError, match="is not a report"):
        ReportWriter(path)
    assert path.read_bytes() == b"\xff\xd8\xff\xe0 photograph"


def test_a_folder_as_report_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        ReportWriter(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence():
    with ReportWriter("/dev/full") as report, pytest.raises(OutputError, match="No space left"):
        report.write({"input": "a"})
