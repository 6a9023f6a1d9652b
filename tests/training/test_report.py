"""The page of a run: its last strips of pictures and of depth."""

import json

import pytest

pytest.importorskip("torch")

from unhaze.training.report import write_report


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"config": {}, "data": {}, "versions": {}, "threads": 1}))
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    (tmp_path / "strips").mkdir()
    return tmp_path


@pytest.mark.parametrize("depth", [False, True])
def test_the_last_strips_are_shown(run, depth):
    for step in (1, 2):
        (run / f"strips/step-000000{step}.png").write_bytes(b"png")
        if depth:
            (run / f"strips/step-000000{step}-depth.png").write_bytes(b"png")
    page = write_report(run, "title").read_text()
    assert "hazy, restored, clear (step-0000002)" in page
    assert ("below them the depth of each (step-0000002-depth)" in page) == depth
    assert "step-0000001" not in page
    assert page.count("<img") == 1 + depth


def test_a_run_without_strips_has_a_page(run):
    assert "<img" not in write_report(run, "title").read_text()
