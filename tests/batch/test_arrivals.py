"""Files that arrive in a folder."""

import importlib.util
import os
import time

import pytest

from unhaze.batch import arrivals
from unhaze.batch.arrivals import EMPTY_LOOKS, Arrivals
from unhaze.batch.planning import Planner

REST = 0.05
MODES = [
    pytest.param(
        True, marks=pytest.mark.skipif(not importlib.util.find_spec("watchfiles"), reason="needs watchfiles"), id="told"
    ),
    pytest.param(False, id="asked"),
]


@pytest.fixture(params=MODES)
def watched(request, tmp_path):
    """A watched folder and what watches it."""
    (tmp_path / "in").mkdir()
    made = []

    def start(**options):
        planner = Planner([tmp_path / "in"], output=tmp_path / "in/out", apart=[tmp_path / "in/apart"])
        made.append(Arrivals(tmp_path / "in", planner, REST, notify=request.param, **options))
        made[-1].sweep()
        return made[-1]

    yield tmp_path / "in", start
    for each in made:
        each.close()


def collect(watcher, wanted, seconds=20.0):
    """What arrives, until ``wanted`` names have."""
    found, deadline = [], time.monotonic() + seconds
    while len(found) < wanted:
        assert time.monotonic() < deadline, f"only {found} arrived"
        watcher.wait()
        found += [arrival.found.source.name for arrival in watcher.look()]
    return found


def put(path, content=b"picture"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_what_is_there_and_what_comes_is_taken_once(watched):
    folder, start = watched
    put(folder / "a.jpg")
    put(folder / "sub/b.png")
    watcher = start()
    assert sorted(collect(watcher, 2)) == ["a.jpg", "b.png"]
    put(folder / "c.jpg")
    put(folder / "new/deep/d.jpg")
    (folder / "b.txt").write_text("no picture")
    put(folder / ".hidden.jpg")
    put(folder / "out/e.jpg")
    put(folder / "apart/f.jpg")
    put(folder / ".git/g.jpg")
    put(folder / "a-compare.jpg")
    assert sorted(collect(watcher, 2)) == ["c.jpg", "d.jpg"]
    watcher._next_sweep = 0.0
    assert watcher.look() == []
    assert watcher.restless == []


def test_a_change_is_seen_in_place_and_by_replacement(watched):
    folder, start = watched
    put(folder / "a.jpg")
    put(folder / "b.jpg")
    watcher = start()
    collect(watcher, 2)
    put(folder / "a.jpg", b"longer than before")
    assert collect(watcher, 1) == ["a.jpg"]
    put(folder / "b.tmp", b"longer than before")
    (folder / "b.tmp").replace(folder / "b.jpg")
    assert collect(watcher, 1) == ["b.jpg"]


def test_a_folder_that_is_moved_in_is_seen(watched, tmp_path):
    folder, start = watched
    put(tmp_path / "card/100/a.jpg")
    watcher = start()
    (tmp_path / "card").rename(folder / "card")
    assert collect(watcher, 1) == ["a.jpg"]


def test_a_file_that_grows_is_waited_for(watched):
    folder, start = watched
    watcher = start()
    end = time.monotonic() + 6 * REST
    with (folder / "a.jpg").open("wb", buffering=0) as file:
        while time.monotonic() < end:
            file.write(b"x" * 100)
            watcher.wait()
            size = file.tell()
            assert all(arrival.signature[0] == size for arrival in watcher.look())
            file.write(b"x")
    assert collect(watcher, 1) == ["a.jpg"]


def test_an_empty_file_is_given_time(watched):
    folder, start = watched
    watcher = start()
    put(folder / "a.jpg", b"")
    begin = time.monotonic()
    assert collect(watcher, 1) == ["a.jpg"]
    assert time.monotonic() - begin >= EMPTY_LOOKS * REST
    put(folder / "a.jpg")
    assert collect(watcher, 1) == ["a.jpg"]


def test_a_file_that_vanishes_is_forgotten_and_may_come_back(watched):
    folder, start = watched
    put(folder / "a.jpg")
    watcher = start()
    collect(watcher, 1)
    content = (folder / "a.jpg").stat()
    (folder / "a.jpg").unlink()
    watcher.sweep()
    put(folder / "a.jpg")
    os.utime(folder / "a.jpg", ns=(content.st_atime_ns, content.st_mtime_ns))
    assert collect(watcher, 1) == ["a.jpg"]


def test_what_needs_no_work_is_not_taken(watched):
    folder, start = watched
    for name in ("a.jpg", "b.jpg"):
        put(folder / name)
    asked = []
    watcher = start(is_settled=lambda path, _: asked.append(path.name) or path.name == "a.jpg")
    assert collect(watcher, 1) == ["b.jpg"]
    watcher.sweep()
    assert sorted(asked) == ["a.jpg", "b.jpg"]


def test_a_linked_folder_is_not_entered(watched, tmp_path):
    folder, start = watched
    put(tmp_path / "elsewhere/a.jpg")
    watcher = start()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    put(tmp_path / "elsewhere/b.jpg")
    put(folder / "c.jpg")
    assert collect(watcher, 1) == ["c.jpg"]


def test_relative_folders_work(watched, monkeypatch):
    folder, _ = watched
    monkeypatch.chdir(folder)
    watcher = Arrivals(type(folder)("."), Planner(["."], output="out"), REST)
    try:
        watcher.sweep()
        put(folder / "sub/a.jpg")
        deadline = time.monotonic() + 20
        while not (found := watcher.look()):
            assert time.monotonic() < deadline
            watcher.wait()
    finally:
        watcher.close()
    assert str(found[0].found.source) == os.path.join("sub", "a.jpg")  # noqa: PTH118


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("/dev/sda / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\n", "nfs4"),
        ("/dev/sda / ext4 rw 0 0\nserver:/x /dat nfs4 rw 0 0\n", "ext4"),
        ("x / overlay rw 0 0\nhost: /data fuse.sshfs rw 0 0\n", "sshfs"),
    ],
)
def test_network_folders_are_recognised(tmp_path, monkeypatch, mounts, kind):
    (tmp_path / "mounts").write_text(mounts)
    monkeypatch.setattr(arrivals, "_MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(os.path, "realpath", str)
    assert arrivals._file_system(type(tmp_path)("/data/in")) == kind
