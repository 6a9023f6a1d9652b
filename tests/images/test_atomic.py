"""Outputs appear whole or not at all."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from unhaze.errors import OutputError
from unhaze.images.atomic import atomic_output


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_output_appears_at_the_end(tmp_path):
    target = tmp_path / "out.txt"
    with atomic_output(target, overwrite=False) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".part")
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_any_exception_removes_the_temporary_file(tmp_path, error):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def fail():
        with atomic_output(target, overwrite=True) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_existing_output_is_refused_before_any_work(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match=r"out\.txt exists already"), atomic_output(target, overwrite=False):
        pytest.fail("the block must not run")
    assert target.read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_an_output_that_appears_meanwhile_is_left_alone(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_args):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "out.txt"

    def race():
        with atomic_output(target, overwrite=False) as temporary:
            temporary.write_text("ours")
            target.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        race()
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["out.txt"]


def test_file_systems_without_links_work(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with atomic_output(tmp_path / "out.txt", overwrite=False) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["out.txt"]


def test_replacing_keeps_the_mode_and_a_new_file_obeys_the_umask(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    target.chmod(0o640)
    with atomic_output(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.stat().st_mode & 0o777 == 0o640
    before = os.umask(0o027)
    try:
        with atomic_output(tmp_path / "fresh.txt", overwrite=False) as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "fresh.txt").stat().st_mode & 0o777 == 0o640


def test_a_link_keeps_pointing_at_its_file(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with atomic_output(link, overwrite=True) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 250, "ü" * 120])
def test_long_names_leave_room_for_the_temporary_one(tmp_path, name):
    with atomic_output(tmp_path / name, overwrite=False) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [name]


def test_relative_paths_and_strings_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_output("out.txt", overwrite=False) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["out.txt"]


def test_bad_targets_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    cases = {
        tmp_path: "is a folder",
        tmp_path / "none" / "out.txt": "does not exist; create it",
        tmp_path / "file" / "out.txt": "does not exist; create it",
        Path(os.devnull): "device or a pipe",
        tmp_path / ("y" * 256): "too long",
    }
    for target, message in cases.items():
        with pytest.raises(OutputError, match=message), atomic_output(target, overwrite=True):
            pytest.fail("the block must not run")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EACCES, "may not write"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "cannot be written: Input/output error"),
    ],
)
def test_errors_of_the_system_become_one_sentence(tmp_path, number, message):
    def fail():
        with atomic_output(tmp_path / "out.txt", overwrite=False):
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=message) as caught:
        fail()
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_many_threads_and_one_name_give_one_winner(tmp_path):
    target, refused = tmp_path / "out.txt", []
    barrier = threading.Barrier(8)

    def write(number):
        barrier.wait()
        try:
            with atomic_output(target, overwrite=False) as temporary:
                temporary.write_text(str(number) * 1000)
        except OutputError:
            refused.append(number)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert len(set(target.read_text())) == 1
    assert names(tmp_path) == ["out.txt"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk_leaves_the_old_output(tiny_disk):
    target = tiny_disk / "out.bin"
    target.write_bytes(b"old")

    def fill():
        with atomic_output(target, overwrite=True) as temporary:
            temporary.write_bytes(bytes(1_000_000))

    with pytest.raises(OutputError, match="no space left"):
        fill()
    assert target.read_bytes() == b"old"
    assert names(tiny_disk) == ["out.bin"]


def test_a_really_read_only_disk_is_named(tiny_disk):
    done = subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("cannot remount")
    with pytest.raises(OutputError, match="read-only"), atomic_output(tiny_disk / "out.bin", overwrite=False):
        pytest.fail("the block must not run")
