"""Files by address, on this machine, in memory, and on a real S3 server on loopback."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

fsspec = pytest.importorskip("fsspec")

from unhaze.errors import ImageDecodeError, MissingDependencyError, OutputError  # noqa: E402
from unhaze.images.storage import exists, join, list_files, read_file, write_file  # noqa: E402


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        return "memory://root"
    return f"file://{tmp_path / 'root'}"


def test_what_is_written_is_read_and_listed(folder):
    write_file(join(folder, "sub/a.bin"), b"one")
    write_file(join(folder, "b.bin"), b"three")
    assert list_files(folder) == {"b.bin": 5, "sub/a.bin": 3}
    assert list_files(folder, recursive=False) == {"b.bin": 5}
    assert read_file(join(folder, "sub/a.bin"), 10) == b"one"
    write_file(join(folder, "b.bin"), b"two")
    assert read_file(join(folder, "b.bin"), 10) == b"two"
    assert exists(join(folder, "b.bin"))
    assert not exists(join(folder, "c.bin"))


def test_what_is_not_there_or_too_long_is_told(folder):
    assert list_files(join(folder, "nowhere")) == {}
    with pytest.raises(ImageDecodeError, match="does not exist"):
        read_file(join(folder, "a.png"), 10)
    write_file(join(folder, "a.png"), b"12345")
    with pytest.raises(ImageDecodeError, match="longer than 4"):
        read_file(join(folder, "a.png"), 4)


def test_a_storage_that_fails_leaves_no_traceback(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", full)
    with pytest.raises(OutputError, match="No space left"):
        write_file("memory://root/a.bin", b"x")


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingDependencyError, match=r"s3fs.*unhaze\[cloud\]"):
        read_file("s3://bucket/a.png", 10)


@pytest.fixture
def s3(monkeypatch):
    """An S3 server with an empty bucket; gives the environment for programs that use it."""
    server = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    store.mkdir("photos")
    yield store
    running.stop()


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")
def test_pictures_go_from_s3_to_s3_as_on_a_disk(s3, tmp_path):
    (tmp_path / "in").mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(80, 220, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"in/{seed}.png")
        s3.pipe_file(f"photos/in/sub/{seed}.png", (tmp_path / f"in/{seed}.png").read_bytes())
    s3.pipe_file("photos/in/broken.png", b"\x89PNG")

    def run(*arguments):
        command = [sys.executable, "-m", "unhaze", "run", *arguments, "--model", "dcp"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))

    assert run("in", "-o", "out").returncode == 0
    done = run("s3://photos/in", "-o", "s3://photos/out")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "broken.png" in done.stderr
    s3.invalidate_cache()
    for seed in range(3):
        assert s3.cat_file(f"photos/out/sub/{seed}.png") == (tmp_path / f"out/{seed}.png").read_bytes()
    again = run("s3://photos/in", "-o", "s3://photos/out", "--skip-existing")
    assert "3 skipped" in again.stderr
    lost = run("s3://nobody/in", "-o", "s3://photos/out")
    assert lost.returncode == 1
    assert "Traceback" not in lost.stderr
