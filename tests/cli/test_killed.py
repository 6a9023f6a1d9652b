"""Long runs as they happen: killed at any moment, and beside very many files that were done."""

import json
import os
import random
import signal
import time

import numpy as np
import pytest
from PIL import Image

from unhaze.inference.history import HISTORY_NAME

pytestmark = pytest.mark.slow

PICTURES = 10
PRODUCTS = sorted(f"{index}{ending}" for index in range(PICTURES) for ending in (".png", "-compare.jpg"))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for index in range(PICTURES):
        pixels = rng.integers(90, 200, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"in/{index}.png", compress_level=0)
    return tmp_path


def check_whole(out):
    """Nothing under a final name is half-written; temporary names and claims may be there."""
    for path in out.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            with Image.open(path) as picture:
                picture.load()


def all_names(out):
    return sorted(path.name for path in out.rglob("*") if path.is_file())


def kill_after_some_work(process, out, rng):
    """Kill a process at a random moment after it has begun to write."""
    deadline = time.monotonic() + 120
    while not out.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.parametrize("seed", range(12))
def test_a_run_that_was_killed_is_completed_by_the_next(start_unhaze, folder, seed):
    rng = random.Random(seed)
    out = folder / "out"
    arguments = ["run", folder / "in", "-o", out, "--skip-existing", "--compare", "--method", "dcp", "-j", 2]
    arguments += ["--report", folder / "r.jsonl"]
    for _ in range(2):
        kill_after_some_work(start_unhaze(*arguments), out, rng)
        check_whole(out)
    _, reported = start_unhaze(*arguments, text=True).communicate(timeout=120)
    assert all_names(out) == PRODUCTS, reported
    check_whole(out)
    for line in (folder / "r.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("seed", range(6))
def test_a_process_that_dies_leaves_its_work_to_the_other(start_unhaze, folder, seed):
    out = folder / "out"
    arguments = ["run", folder / "in", "-o", out, "--skip-existing", "--compare", "--method", "dcp", "-j", 2]
    dying, other = start_unhaze(*arguments), start_unhaze(*arguments)
    kill_after_some_work(dying, out, random.Random(seed))
    other.communicate(timeout=120)
    assert other.returncode == 0
    check_whole(out)
    visible = [name for name in all_names(out) if not name.startswith(".")]
    assert visible == PRODUCTS
    start_unhaze(*arguments).communicate(timeout=120)
    assert all_names(out) == PRODUCTS


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("done", ["keep", "move"])
def test_a_watch_that_was_killed_goes_on_where_it_was(start_unhaze, folder, seed, done):
    rng = random.Random(seed)
    out, originals = folder / "out", folder / "originals"
    arguments = ["watch", folder / "in", "-o", out, "--compare", "--method", "dcp", "--every", 0.05]
    arguments += ["--done", done if done == "keep" else f"move:{originals}", "--report", folder / "r.jsonl"]
    for _ in range(2):
        kill_after_some_work(start_unhaze(*arguments), out, rng)
        check_whole(out)
    result = start_unhaze(*arguments, "--once", text=True)
    _, reported = result.communicate(timeout=120)
    assert result.returncode == 0, reported
    assert all_names(out) == [HISTORY_NAME, *PRODUCTS], reported
    check_whole(out)
    inputs = [f"{index}.png" for index in range(PICTURES)]
    assert all_names(folder / "in") == (inputs if done == "keep" else [])
    assert all_names(originals) == ([] if done == "keep" else inputs)
    _, reported = start_unhaze(*arguments, "--once", text=True).communicate(timeout=120)
    assert "0 done, 0 skipped, 0 failed" in reported


@pytest.mark.parametrize("notify", [True, False], ids=["told", "asked"])
def test_a_hundred_thousand_finished_files_cost_next_to_nothing(start_unhaze, tmp_path, notify, environment):
    import psutil

    count, folder, out = 100_000, tmp_path / "in", tmp_path / "out"
    if notify:
        pytest.importorskip("watchfiles")
    else:
        (tmp_path / "site").mkdir()
        (tmp_path / "site/sitecustomize.py").write_text(
            "import importlib.util as u\nfind = u.find_spec\n"
            "u.find_spec = lambda name, *a: None if name == 'watchfiles' else find(name, *a)\n"
        )
        environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), environment["PYTHONPATH"]]),
        }
    folder.mkdir()
    out.mkdir()
    with (out / HISTORY_NAME).open("w") as state:
        for index in range(count):
            path = folder / f"{index:06}.png"
            path.write_bytes(b"x")
            signature = [1, path.stat().st_mtime_ns]
            entry = {"input": str(path), "signature": signature, "naming": "|keep|", "outputs": {}, "left": None}
            state.write(json.dumps(entry) + "\n")
    start = time.monotonic()
    process = start_unhaze("watch", folder, "-o", out, "--method", "dcp", env=environment, text=True)
    for line in process.stderr:
        if line.startswith(f"{count} done before"):
            break
    ready = time.monotonic() - start
    delays = []
    for index in range(5):
        time.sleep(1.3)
        Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(folder / f"new{index}.png")
        begin = time.monotonic()
        while not (out / f"new{index}.png").exists():
            assert time.monotonic() - begin < 30
            time.sleep(0.01)
        delays.append(time.monotonic() - begin)
    used, begin = psutil.Process(process.pid).cpu_times(), time.monotonic()
    time.sleep(60)
    after = psutil.Process(process.pid).cpu_times()
    share = (after.user + after.system - used.user - used.system) / (time.monotonic() - begin)
    print(f"ready {ready:.1f} s, delays {[round(delay, 2) for delay in delays]} s, idle {share:.2%} of a core")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert share < 0.02
    assert sorted(delays)[2] < (2.0 if notify else 10.0)  # asked, 100,000 names are listed for each that comes
