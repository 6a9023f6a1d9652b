"""Who makes a file, when several processes could."""

import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.patience import HUNG, wait_until

from unhaze.errors import OutputError
from unhaze.images import claims
from unhaze.images.claims import STALE_AFTER, Claims, claim_path

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def forge(output, generation=0, age=0.0, **changes):
    """A claim of another process, which touched it ``age`` seconds ago."""
    path = claim_path(output, generation)
    facts = {**claims._facts_of(os.getpid()), "host": "elsewhere", "place": "another boot", "token": f"{generation}"}
    path.write_text(json.dumps({**facts, **changes}))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def dead_pid():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    return process.pid


def test_one_holds_a_claim_and_gives_it_up(tmp_path):
    output = tmp_path / "a.jpg"
    with Claims() as first, Claims() as second:
        with first.acquire(output) as claim:
            assert claim.holds()
            assert names(tmp_path) == [".a.jpg.claim"]
            assert second.acquire(output) is None
            assert second.acquire(tmp_path / "b.jpg") is not None
        assert second.acquire(output) is not None
    assert names(tmp_path) == []


def test_the_end_waits_for_a_claim_that_is_being_given_up(tmp_path, monkeypatch):
    board, begun, unlink = Claims(), threading.Event(), Path.unlink

    def slowly(path, **options):
        begun.set()
        time.sleep(0.3)
        unlink(path, **options)

    claim = board.acquire(tmp_path / "a.jpg")
    monkeypatch.setattr(Path, "unlink", slowly)
    threading.Thread(target=board.release, args=(claim,)).start()
    assert begun.wait(HUNG)
    board.close()
    assert names(tmp_path) == []


def test_once_closed_nothing_is_claimed(tmp_path):
    board = Claims()
    board.close()
    assert board.acquire(tmp_path / "a.jpg") is None
    assert names(tmp_path) == []


def test_many_threads_and_one_name_give_one_holder(tmp_path):
    boards = [Claims() for _ in range(16)]
    barrier, won = threading.Barrier(len(boards)), []
    forge(tmp_path / "a.jpg", age=2 * STALE_AFTER)

    def try_it(board):
        barrier.wait()
        claim = board.acquire(tmp_path / "a.jpg")
        if claim is not None:
            won.append(claim)

    threads = [threading.Thread(target=try_it, args=(board,)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert won[0].holds()
    for board in boards:
        board.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("age", [0, STALE_AFTER - 20, STALE_AFTER + 20])
def test_a_claim_of_another_machine_is_taken_over_when_it_shows_no_life(tmp_path, age):
    forge(tmp_path / "a.jpg", age=age)
    with Claims() as board:
        assert (board.acquire(tmp_path / "a.jpg") is not None) == (age > STALE_AFTER)
    assert names(tmp_path) == ([] if age > STALE_AFTER else [".a.jpg.claim"])


@linux
def test_a_claim_of_a_dead_process_here_is_taken_over_at_once(tmp_path):
    here = {"place": claims._facts_of(os.getpid())["place"]}
    forge(tmp_path / "dead.jpg", **here, pid=dead_pid())
    forge(tmp_path / "reused.jpg", **here, pid=os.getpid(), started=1)
    forge(tmp_path / "alive.jpg", **here, pid=os.getpid(), age=10 * STALE_AFTER)
    with Claims() as board:
        assert board.acquire(tmp_path / "dead.jpg") is not None
        assert board.acquire(tmp_path / "reused.jpg") is not None
        assert board.acquire(tmp_path / "alive.jpg") is None


def test_a_sleeper_that_was_taken_for_dead_notices_and_leaves_the_claim_alone(tmp_path):
    output = tmp_path / "a.jpg"
    sleeper, other = Claims(), Claims()
    claim = sleeper.acquire(output)
    forge(output, token=claim.token, age=2 * STALE_AFTER)  # as another machine sees it
    taken = other.acquire(output)
    assert taken.holds()
    assert not claim.holds()
    sleeper.release(claim)
    assert taken.holds()
    assert names(tmp_path) == [".a.jpg.claim", ".a.jpg.claim.1"]
    other.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("generations", [(0, 1), (1,), (0, 1, 2), (2,)])
def test_what_several_dead_ones_left_is_cleared_away(tmp_path, generations):
    for generation in generations:
        forge(tmp_path / "a.jpg", generation, age=2 * STALE_AFTER)
    for _ in range(len(generations)):
        with Claims() as board, board.acquire(tmp_path / "a.jpg") as claim:
            assert claim.holds()
    if generations != (2,):  # which is in nobody's way
        assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b'{"pid": "x"}'])
def test_a_damaged_claim_counts_until_it_is_old(tmp_path, content):
    path = claim_path(tmp_path / "a.jpg")
    path.write_bytes(content)
    with Claims() as board:
        assert board.acquire(tmp_path / "a.jpg") is None
        os.utime(path, (0, 0))
        assert board.acquire(tmp_path / "a.jpg") is not None
    assert names(tmp_path) == []


def test_a_claim_is_touched_while_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_BEAT", 0.02)
    with Claims() as board:
        claim = board.acquire(tmp_path / "a.jpg")
        path = claims.claim_path(claim.output, claim.generation)
        os.utime(path, (0, 0))
        wait_until(lambda: path.stat().st_mtime >= 1)


def test_folders_are_made_and_go_again_if_they_stay_empty(tmp_path):
    with Claims() as board:
        with board.acquire(tmp_path / "out/sub/a.jpg"):
            assert (tmp_path / "out/sub").is_dir()
        assert names(tmp_path) == []
        with board.acquire(tmp_path / "out/sub/a.jpg"):
            (tmp_path / "out/b.jpg").write_text("")
        assert names(tmp_path / "out") == ["b.jpg"]


def test_folders_that_cannot_be_made_or_written_to_are_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with Claims() as board:
        with pytest.raises(OutputError, match="cannot be made"):
            board.acquire(tmp_path / "file/a.jpg")

        def refuse(*_args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(OutputError, match=r"cannot be written to .Permission denied"):
            board.acquire(tmp_path / "a.jpg")


def test_long_names_are_distinguished(tmp_path):
    first, second = tmp_path / f"{'x' * 240}1.jpg", tmp_path / f"{'x' * 240}2.jpg"
    with Claims() as board:
        assert board.acquire(first) is not None
        assert board.acquire(second) is not None
        assert board.acquire(Path(f"{first}")) is None


def test_a_folder_in_which_nothing_can_be_made_is_reported_and_not_waited_for(tmp_path, monkeypatch):
    """Some file systems answer that there is no such file, however often they are asked to make it."""
    real = os.open

    def refuse(path, *arguments, **options):
        if str(path).endswith(".claim"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with Claims() as claims, pytest.raises(OutputError, match="cannot be written to"):
        claims.acquire(tmp_path / "x.png")
