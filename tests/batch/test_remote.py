"""Pictures in storage that fsspec reaches: the same names and bytes as in a folder."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

fsspec = pytest.importorskip("fsspec")

from unhaze.batch.planning import Shard  # noqa: E402
from unhaze.batch.remote import RemoteBatch, plan_remote  # noqa: E402
from unhaze.batch.workers import BatchOptions, render  # noqa: E402
from unhaze.errors import ImageDecodeError, UsageError  # noqa: E402
from unhaze.restore.dehazer import Dehazer  # noqa: E402


def encoded(seed=0, format="PNG", size=(24, 16)):
    pixels = np.random.default_rng(seed).integers(90, 200, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


@pytest.fixture
def bucket():
    store = fsspec.filesystem("memory")
    store.store.clear()
    files = {"a.png": encoded(1), "sub/b.jpg": encoded(2, "JPEG"), "sub/.hidden.png": encoded(3), "notes.txt": b"x"}
    for name, data in files.items():
        store.pipe_file(f"/in/{name}", data)
    yield store
    store.store.clear()


def run(inputs=("memory://in",), output="memory://out", **options):
    with Dehazer("dcp", threads=1) as dehazer:
        return list(RemoteBatch(dehazer, plan_remote(list(inputs), output, **options), BatchOptions(jobs=2)))


def test_a_tree_is_repeated_with_the_bytes_of_a_local_run(bucket):
    records = run()
    assert sorted(record.output for record in records) == ["memory://out/a.png", "memory://out/sub/b.jpg"]
    with Dehazer("dcp", threads=1) as dehazer:
        for name in ("a.png", "sub/b.jpg"):
            local = render(dehazer, bucket.cat_file(f"/in/{name}"), None, BatchOptions())
            assert bucket.cat_file(f"/out/{name}") == local.data


def test_what_is_there_is_skipped_refused_or_replaced(bucket):
    bucket.pipe_file("/out/a.png", b"mine")
    assert [record.status for record in run()] == ["failed", "done"]
    assert bucket.cat_file("/out/a.png") == b"mine"
    assert [record.status for record in run(existing="skip")] == ["skipped", "skipped"]
    assert bucket.cat_file("/out/a.png") == b"mine"
    assert [record.status for record in run(existing="overwrite")] == ["done", "done"]
    assert bucket.cat_file("/out/a.png") != b"mine"


def test_a_broken_picture_leaves_the_others_alone(bucket):
    bucket.pipe_file("/in/broken.png", encoded()[:60])
    by_status = {record.input: record for record in run()}
    assert by_status["memory://in/broken.png"].status == "failed"
    assert by_status["memory://in/broken.png"].error_type == "ImageDecodeError"
    assert sum(record.status == "done" for record in by_status.values()) == 2


def test_rivals_for_a_name_keep_apart_and_shards_partition(bucket):
    bucket.pipe_file("/in/a.jpg", encoded(4, "JPEG"))
    jobs = plan_remote(["memory://in"], "memory://out", format="png")
    assert len({job.stem for job in jobs}) == len(jobs) == 3
    parts = [plan_remote(["memory://in"], "memory://out", format="png", shard=Shard(n, 2)) for n in (1, 2)]
    assert sorted(job.source for part in parts for job in part) == sorted(job.source for job in jobs)


def test_side_products_lie_beside(bucket):
    run(sides=["compare", "depth"])
    assert {"/out/a-compare.jpg", "/out/a-depth.png", "/out/a.png"} <= set(bucket.find("/out"))


def test_mistakes_are_told(bucket):
    with pytest.raises(UsageError, match="-o"):
        plan_remote(["memory://in"], None)
    with pytest.raises(UsageError, match="input and output"):
        plan_remote(["memory://in"], "memory://in/")
    with pytest.raises(ImageDecodeError, match="nothing at"):
        plan_remote(["memory://elsewhere"], "memory://out")
    with pytest.raises(UsageError, match="no storage that is known"):
        plan_remote(["nonsense://in"], "memory://out")


def test_the_command_takes_addresses(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(encoded())
    (tmp_path / "in/bad.png").write_bytes(b"no")
    addresses = [f"file://{tmp_path / name}" for name in ("in", "out")]
    command = [sys.executable, "-m", "unhaze", "run", addresses[0], "-o", addresses[1], "--model", "dcp", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert {record["status"] for record in json.loads(done.stdout)["records"]} == {"done", "failed"}
    local = subprocess.run(
        [sys.executable, "-m", "unhaze", "run", "in/a.png", "-o", "b.png", "--model", "dcp"], cwd=tmp_path, check=True
    )
    assert local.returncode == 0
    assert (tmp_path / "out/a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert [path.name for path in Path(tmp_path / "out").iterdir()] == ["a.png"]
