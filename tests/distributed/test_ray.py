"""A cluster of two nodes on this machine: byte-equal outputs, and nothing lost to kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

pytest.importorskip("ray")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

COUNT = 24


@pytest.fixture(scope="module")
def cluster():
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False},
    )
    made.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "in"
    for number in range(COUNT):
        path = folder / f"camera-{number % 3}" / f"{number:03}.{('png', 'jpg')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(80, 220, (90, 120, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / "camera-0/poison.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (folder / "camera-1/cut.jpg").write_bytes((folder / "camera-1/001.jpg").read_bytes()[:300])
    return folder


def command(photos, out, *more):
    return [sys.executable, "-m", "unhaze", "run", str(photos), "-o", str(out), "--model", "dcp", *map(str, more)]


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected(photos, out):
    subprocess.run(command(photos, out, "-q"), check=False, capture_output=True)
    return files(out)


def on_cluster(cluster, photos, out, *more):
    return command(photos, out, "--on", "ray", "--address", cluster.address, "--skip-existing", *more)


def actors():
    """Processes of the cluster that dehaze."""
    return [each for each in psutil.process_iter(["cmdline"]) if "MapWorker" in " ".join(each.info["cmdline"] or [])]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_outputs_are_those_of_a_local_run(cluster, photos, tmp_path):
    local = expected(photos, tmp_path / "local")
    report = tmp_path / "report.jsonl"
    done = subprocess.run(
        on_cluster(cluster, photos, tmp_path / "out", "--report", report), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr  # two pictures are broken
    assert "Traceback" not in done.stderr
    assert files(tmp_path / "out") == local
    assert len(local) == COUNT
    records = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(records) == COUNT + 2
    assert sum(record["status"] == "failed" for record in records) == 2
    again = subprocess.run(
        on_cluster(cluster, photos, tmp_path / "out", "--json"), capture_output=True, text=True, check=False
    )
    assert sum(record["status"] == "skipped" for record in json.loads(again.stdout)["records"]) == COUNT


@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_after_a_kill_every_output_is_there_once_and_whole(cluster, photos, tmp_path, victim):
    local, out = expected(photos, tmp_path / "local"), tmp_path / "out"
    driver = subprocess.Popen(on_cluster(cluster, photos, out, "-q"), stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(out.rglob("0*.*"))) >= 2 or driver.poll() is not None)
    if victim == "driver":
        driver.kill()
    else:
        for each in actors()[:1]:
            os.kill(each.pid, signal.SIGKILL)
    driver.wait(timeout=240)
    if victim == "worker":
        assert {name for name in files(out) if not name.rpartition("/")[2].startswith(".")} == set(local)
    subprocess.run(on_cluster(cluster, photos, out, "-q"), check=False, capture_output=True, timeout=240)
    assert files(out) == local


def test_after_a_node_is_lost_every_output_is_there(cluster, photos, tmp_path):
    local, out = expected(photos, tmp_path / "local"), tmp_path / "out"
    node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    driver = subprocess.Popen(on_cluster(cluster, photos, out, "-q"), stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(out.rglob("0*.*"))) >= 2 or driver.poll() is not None)
    cluster.remove_node(node, allow_graceful=False)
    driver.wait(timeout=240)
    subprocess.run(on_cluster(cluster, photos, out, "-q"), check=False, capture_output=True, timeout=240)
    assert files(out) == local


def test_a_dataset_is_dehazed_from_its_bytes(cluster, photos, tmp_path):
    import ray

    from unhaze.distributed import dehaze_dataset
    from unhaze.restore.options import Options

    local = expected(photos, tmp_path / "local")
    ray.init(address=cluster.address, log_to_driver=False, ignore_reinit_error=True)
    dataset = ray.data.read_binary_files(str(photos), include_paths=True)
    rows = dehaze_dataset(dataset, str(tmp_path / "out"), root=str(photos), options=Options(model="dcp")).take_all()
    assert sorted({row["status"] for row in rows}) == ["done", "failed"]
    assert files(tmp_path / "out") == local
    assert all(Path(json.loads(row["record"])["output"]).is_file() for row in rows if row["status"] == "done")


def test_a_cluster_that_is_not_there_is_told(photos, tmp_path):
    done = subprocess.run(
        command(photos, tmp_path / "out", "--on", "ray", "--address", "127.0.0.1:1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "No cluster of Ray answers" in done.stderr
    assert "Traceback" not in done.stderr
