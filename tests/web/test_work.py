"""So many pictures at once, so many that wait, so long for each, and so much memory."""

import asyncio
import gc
import threading

import pytest
from tests.patience import HUNG

from unhaze.restore.options import Options
from unhaze.web.parameters import Wanted
from unhaze.web.problems import ProblemError
from unhaze.web.settings import ServeSettings
from unhaze.web.work import Work


def run(main, **settings):
    """``main(work)`` in an event loop; the work is ended."""

    async def all_of_it():
        work = Work(ServeSettings(**settings))
        try:
            return await main(work)
        finally:
            while work.busy:
                await asyncio.sleep(0.01)
            assert work.close()

    return asyncio.run(all_of_it())


def test_so_many_wait_and_no_more():
    async def main(work):
        order, release = [], asyncio.Event()

        async def take(name):
            async with work.turn():
                order.append(name)
                await release.wait()

        tasks = [asyncio.create_task(take(name)) for name in "abc"]
        await asyncio.sleep(0)
        assert (order, work.waiting, work.busy) == (["a"], 2, 1)
        with pytest.raises(ProblemError, match="Too many requests are waiting") as caught:
            async with work.turn():
                pass
        assert caught.value.status == 429
        assert caught.value.headers["Retry-After"].isdigit()
        release.set()
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c"]
        assert (work.waiting, work.busy) == (0, 0)

    run(main, workers=1, queue=2)


def test_nobody_waits_for_ever_but_a_job():
    async def main(work):
        async with work.turn():
            with pytest.raises(ProblemError, match="waited too long") as caught:
                async with work.turn():
                    pass
            assert caught.value.status == 429
            patient = asyncio.create_task(wait_patiently(work))
            await asyncio.sleep(0.05)
            assert (patient.done(), work.waiting) == (False, 0)
        assert await patient == "had its turn"

    async def wait_patiently(work):
        async with work.turn(patient=True):
            return "had its turn"

    run(main, workers=1, queue=2, max_wait=0.01)


def test_a_picture_that_takes_too_long_is_given_up(hazy):
    async def main(work):
        async with work.turn() as turn:
            with pytest.raises(ProblemError, match="took longer than") as caught:
                await work.restore(turn, hazy, Wanted(Options()))
            assert caught.value.status == 503
            assert "Retry-After" in caught.value.headers
        # its turn lasts as long as its thread
        async with asyncio.timeout(300), work.turn():
            assert work.busy == 1

    run(main, workers=1, max_seconds=1e-6)


def test_work_for_a_client_that_has_gone_is_given_up(hazy):
    async def main(work):
        gone = asyncio.Event()
        gone.set()
        async with work.turn() as turn:
            with pytest.raises(ProblemError, match="has gone"):
                await work.restore(turn, hazy, Wanted(Options()), gone)

    run(main, workers=1)


def test_pictures_take_turns_at_the_memory(hazy):
    """What needs all of it runs alone, and all of them are done."""

    async def one(work):
        async with work.turn() as turn:
            return (await work.restore(turn, hazy, Wanted(work_options))).data

    async def main(work):
        results = await asyncio.gather(*(one(work) for _ in range(4)))
        assert len(set(results)) == 1

    work_options = Options(max_memory="200M")
    run(main, workers=2, options=work_options)


def test_a_picture_beyond_the_memory_is_refused(hazy):
    async def main(work):
        async with work.turn() as turn:
            with pytest.raises(ProblemError, match="more memory than there is") as caught:
                await work.restore(turn, hazy, Wanted(Options()))
            assert caught.value.status == 413

    run(main, workers=1, options=Options(max_memory="1M"))


def test_a_video_that_waits_for_its_turn_is_cancelled_at_once():
    async def main(work):
        begun, release, order, unheard = threading.Event(), threading.Event(), [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))

        def first():
            begun.set()
            release.wait(HUNG)
            order.append("first")
            raise ValueError("it was stopped")

        running = asyncio.create_task(work.run_video(first, threading.Event()))
        await asyncio.to_thread(begun.wait, HUNG)
        waiting = asyncio.create_task(work.run_video(lambda: order.append("second"), threading.Event()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (order, work.busy) == ([], 1)
        running.cancel()
        await asyncio.sleep(0.05)
        assert not running.done()  # what has begun is not left alone with the files of the job
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (order, work.busy) == (["first"], 0)
        gc.collect()
        await asyncio.sleep(0)
        assert unheard == []

    run(main, workers=1)


def test_threads_end_with_the_work(hazy):
    async def main(work):
        async with work.turn() as turn:
            await work.restore(turn, hazy, Wanted(Options()))

    run(main)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unhaze-serve")]
