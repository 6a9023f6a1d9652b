"""Folders of videos: locked while they are used, and removed when their service was killed."""

import os
import subprocess
import sys

import pytest
from tests.patience import wait_until
from tests.web.test_video_jobs import video

from unhaze.web.private import private_folder, remove_leftovers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs locks of folders")


@pytest.fixture
def spool(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_in_use_stays_and_is_gone_afterwards(spool):
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "in.mp4").write_bytes(b"x")
        code = "from unhaze.web.private import remove_leftovers; raise SystemExit(remove_leftovers())"
        environment = {**os.environ, "TMPDIR": str(spool)}
        assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
        assert (folder / "in.mp4").exists()
    assert list(spool.iterdir()) == []


def test_what_nobody_uses_is_removed_and_nothing_else(spool):
    (spool / "unhaze-serve-old/parts").mkdir(parents=True)
    (spool / "unhaze-serve-file").write_bytes(b"")
    (spool / "theirs").mkdir()
    (spool / "unhaze-serve-link").symlink_to(spool / "theirs")
    assert remove_leftovers() == 1
    assert sorted(path.name for path in spool.iterdir()) == ["theirs", "unhaze-serve-file", "unhaze-serve-link"]


def test_the_next_start_removes_what_a_killed_service_left(start_server):
    server = start_server()
    assert server.post("/v1/jobs", video(frames=300)).status == 202
    wait_until(lambda: server.spooled, server.process)
    server.process.kill()
    server.process.wait()
    assert server.spooled
    again = start_server(TMPDIR=str(server.folder / "spool"))
    assert again.get("/readyz").status == 200
    assert server.spooled == []
    assert [each["removed"] for each in again.log("start")] == [1]
