"""Standard streams that are closed, full, or whose reader has gone."""

from __future__ import annotations

import os
import selectors
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shell syntax of Unix")


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.random.default_rng(1).integers(60, 200, (24, 32, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def shell(line, **options):
    unhaze = f"{shlex.quote(sys.executable)} -m unhaze"
    return subprocess.run(
        ["bash", "-c", line.replace("unhaze", unhaze, 1)], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&- <&-", "2</dev/null", "-v 2>/dev/full", "2>/dev/full"])
def test_closed_streams_cost_nothing(picture, closed):
    if "full" in closed and not Path("/dev/full").exists():
        pytest.skip("it is a device of Linux")
    done = shell(f"unhaze run {picture} -m dcp {closed}")
    said = "" if "2" in closed else f"1 done, 0 skipped, 0 failed ({picture.with_name('a-dehazed.png')})\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)
    output = picture.with_name("a-dehazed.png")
    assert np.asarray(Image.open(output)).shape == (24, 32, 3)
    assert sorted(path.name for path in Path(picture.parent).iterdir()) == ["a-dehazed.png", "a.png"]


def test_failures_keep_their_exit_code(tmp_path):
    assert shell(f"unhaze run {tmp_path}/absent.png 2>&-").returncode == 1
    assert shell(f"unhaze run {tmp_path}/absent.png -v 2>/dev/full").returncode == 1
    assert shell("unhaze run --no-such-option 2>&-").returncode == 2


def test_a_reader_that_goes_away_is_no_fault(picture):
    done = shell(f"unhaze run {picture} -m dcp --json | head -1; exit ${{PIPESTATUS[0]}}")
    assert done.stdout == "{\n"
    picture.with_name("a-dehazed.png").unlink()
    done = shell(f"unhaze run {picture} -m dcp --json | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, "rror" in done.stderr, "unexpected" in done.stderr) == (0, False, False)
    assert picture.with_name("a-dehazed.png").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_is_lost_is_told(picture, monkeypatch, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    done = shell(f"unhaze run - -m dcp < {picture} >&-")
    assert done.returncode == 2
    assert "stdout is closed" in done.stderr
    if Path("/dev/full").exists():
        for line in (f"unhaze run - -m dcp < {picture} > /dev/full", "unhaze models list > /dev/full"):
            done = shell(line)
            assert done.returncode == 1
            assert done.stderr.count("cannot be written") == 1
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_picture_of_which_a_part_fits_is_told(tmp_path, monkeypatch, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    noise = np.random.default_rng(1).integers(60, 200, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    # in blocks of 1024 bytes: a place where half of it has room
    done = shell(f"ulimit -f 100; unhaze run - -m dcp < {tmp_path}/a.png > {tmp_path}/b.png")
    assert (tmp_path / "b.png").stat().st_size == 100 * 1024
    assert (done.returncode, done.stderr.count("cannot be written"), len(done.stderr.splitlines())) == (1, 1, 1)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_told_is_read_at_once_however_python_buffers(start_unhaze, environment, tmp_path, unbuffered):
    environment = {**environment, "PYTHONUNBUFFERED": unbuffered}
    process = start_unhaze("watch", tmp_path, "-o", tmp_path / "out", "-m", "dcp", env=environment, text=True)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        assert selector.select(timeout=60), "nothing was told while the command ran"
    assert process.stderr.readline() == "Watching; Ctrl-C ends it.\n"
