"""Jobs that are stopped at any moment, and results that cannot be written."""

import asyncio
import io
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.web.conftest import zipped

from unhaze.restore.options import Options
from unhaze.web import archive_jobs, video_jobs
from unhaze.web import job as job_module
from unhaze.web.jobs import Jobs
from unhaze.web.parameters import Wanted
from unhaze.web.problems import BrokenOffError, ProblemError
from unhaze.web.settings import ServeSettings
from unhaze.web.work import Work


def run(main):
    async def all_of_it():
        settings = ServeSettings(workers=1)
        work = Work(settings)
        jobs = Jobs(settings, work)
        try:
            return await main(jobs)
        finally:
            await jobs.close()
            while work.busy:
                await asyncio.sleep(0.01)
            work.close()

    return asyncio.run(all_of_it())


def archive_of(hazy, count=4):
    return io.BytesIO(zipped({f"{number}.jpg": hazy for number in range(count)}))


@pytest.mark.parametrize("moment", ["at once", "while it restores", "while it writes", "when it is done"])
def test_a_job_is_stopped_at_any_moment(hazy, monkeypatch, moment):
    async def main(jobs):
        writing, loop = asyncio.Event(), asyncio.get_running_loop()
        add = archive_jobs._add

        def tell_and_add(target, *rest):
            with target.open("marker", "w") as file:  # the archive is in use while the job is stopped
                loop.call_soon_threadsafe(writing.set)
                file.write(b"x" * 1000)
            add(target, *rest)

        monkeypatch.setattr(archive_jobs, "_add", tell_and_add)
        job = await jobs.create(archive_of(hazy, 1), Wanted(Options()), lambda _: None)
        if moment == "while it restores":
            while not jobs._work.busy:
                await asyncio.sleep(0)
        elif moment == "while it writes":
            await writing.wait()
        elif moment == "when it is done":
            await job.wait()
            assert job.state == "done"
        await jobs.remove(job.id)
        assert (len(jobs), job.state) == (0, "done" if moment == "when it is done" else "cancelled")
        with pytest.raises(ProblemError, match="no job"):
            jobs.find(job.id)

    run(main)


def test_no_more_jobs_are_kept_than_may_be_however_many_come_at_once(hazy, monkeypatch):
    head = b"\x1aE\xdf\xa3\x9f\x42\x86\x81\x01" + bytes(300)  # the beginning of a video, which never has its turn
    monkeypatch.setattr(Work, "run_video", lambda *_: asyncio.Event().wait())

    async def main(jobs):
        bodies = [io.BytesIO(head) for _ in range(10)] + [archive_of(hazy, 1) for _ in range(10)]
        made = [jobs.create(body, Wanted(Options()), lambda _: None) for body in bodies]
        ended = await asyncio.gather(*made, return_exceptions=True)
        refused = [each for each in ended if isinstance(each, ProblemError)]
        assert {each.status for each in refused} == {429}
        assert (len(jobs), len(refused)) == (8, 12)

    pytest.importorskip("av")
    run(main)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only some systems have a device that is always full")
def test_a_full_disk_ends_the_job(hazy, monkeypatch):
    opened = []
    make = tempfile.TemporaryFile

    def files():
        """The first is the upload; the second, for the result, has no room."""
        opened.append(make() if not opened else open("/dev/full", "w+b"))  # noqa: SIM115, PTH123 - closed with the job
        return opened[-1]

    async def main(jobs):
        monkeypatch.setattr(job_module.tempfile, "TemporaryFile", files)
        job = await jobs.create(archive_of(hazy), Wanted(Options()), lambda _: None)
        last = [piece async for piece in job.events()][-1]
        assert (job.state, job.reason) == ("failed", "The disk of the service is full; send it again later.")
        assert last.startswith(b"event: end")
        assert "result" not in job.as_dict()["links"]
        assert opened[1].closed  # no room is held until the job is forgotten
        await jobs.remove(job.id)
        assert len(jobs) == 0

    run(main)


def test_what_nobody_expected_is_logged_and_the_other_pictures_go_on(hazy, monkeypatch, caplog):
    restore, called = Work.restore, []

    async def broken(self, *arguments):
        called.append(arguments)
        if len(called) == 1:
            raise KeyError("field lost")
        return await restore(self, *arguments)

    async def main(jobs):
        monkeypatch.setattr(Work, "restore", broken)
        job = await jobs.create(archive_of(hazy, 2), Wanted(Options()), lambda _: None)
        await job.wait()
        assert (job.state, job.done, job.failed) == ("done", 1, 1)
        assert "field lost" not in str(job.failures)
        assert "field lost" in caplog.text
        assert job.id not in caplog.text  # whoever knows it may take the result

    run(main)


def test_a_result_is_read_by_several_at_once(hazy):
    async def main(jobs):
        job = await jobs.create(archive_of(hazy), Wanted(Options(), sides=("compare",)), lambda _: None)
        await job.wait()

        async def read():
            return b"".join([piece async for piece in job.result()])

        first, second = await asyncio.gather(read(), read())
        assert first == second
        assert len(first) == job.size
        assert len(zipfile.ZipFile(io.BytesIO(first)).namelist()) == 9
        pieces = job.result()
        await anext(pieces)
        await jobs.remove(job.id)
        with pytest.raises(BrokenOffError):
            [piece async for piece in pieces]

    run(main)


def test_a_clock_that_jumps_forgets_nothing(hazy, monkeypatch):
    async def main(jobs):
        job = await jobs.create(archive_of(hazy, 1), Wanted(Options()), lambda _: None)
        await job.wait()
        monkeypatch.setattr("time.time", lambda: 4e12)
        await jobs.forget_old_ones()
        assert jobs.find(job.id) is job

    run(main)


@pytest.mark.parametrize("kind", ["pictures", "video"])
def test_waiting_for_others_is_not_counted(hazy, monkeypatch, kind):
    """The turn comes two hours later, by the clock of the jobs, where one may work for one."""
    if kind == "video":
        pytest.importorskip("av")
        from tests.web.test_video_jobs import video

        upload = io.BytesIO(video(frames=3))
    else:
        upload = archive_of(hazy, 2)
    late = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late[0])
    for module in (archive_jobs, job_module, video_jobs):
        monkeypatch.setattr(module, "time", clock)

    async def main(jobs):
        release = threading.Event()
        async with jobs._work.turn():  # the only place for pictures
            videos = asyncio.create_task(jobs._work.run_video(release.wait, threading.Event()))
            job = await jobs.create(upload, Wanted(Options()), lambda _: None)
            await asyncio.sleep(0.05)
            assert (job.state, job.done) == ("running", 0)
            late[0] = 7200.0
            release.set()
        await job.wait()
        await videos
        assert (job.state, job.reason) == ("done", None)

    run(main)
