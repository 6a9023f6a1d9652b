import threading
import time
from contextlib import ExitStack

import pytest

from unhaze.errors import UsageError
from unhaze.restore.machine import MemoryTurns, available_memory, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1024", 1024),
        (4096, 4096),
        ("2k", 2048),
        ("500M", 500 << 20),
        ("1.5G", 3 << 29),
        ("2GiB", 2 << 30),
        (" 1 gb ", 1 << 30),
    ],
)
def test_sizes_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "2X", "1e9", "two", None])
def test_a_bad_size_says_how_to_write_one(text):
    with pytest.raises(UsageError, match="2G"):
        parse_bytes(text)


def test_sizes_are_written_for_people():
    assert [format_bytes(count) for count in (12, 2048, 5 << 20, 3 << 29)] == ["12 bytes", "2.0 kB", "5.0 MB", "1.5 GB"]


def test_available_memory_is_plausible():
    available = available_memory()
    assert available is None or 1 << 20 < available < 1 << 50


class Waiter(threading.Thread):
    """Takes its turn, and holds it until told otherwise."""

    def __init__(self, turns, needed, order):
        super().__init__(daemon=True)
        self.turns, self.needed, self.order = turns, needed, order
        self.given_up, self.end = threading.Event(), threading.Event()
        self.start()

    def run(self):
        with self.turns.reserved(self.needed, self.given_up):
            if not self.given_up.is_set():
                self.order.append(self.needed)
                self.end.wait(60)


def wait_until(happens):
    for _ in range(6000):
        if happens():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")


def test_memory_goes_round_in_the_order_of_arrival_and_one_who_gives_up_holds_up_nobody():
    turns, order, never = MemoryTurns(100), [], threading.Event()
    waiters = []
    with ExitStack() as held:
        held.enter_context(turns.reserved(80, never))
        for needed in (90, 30, 10):  # the last would fit, but it is not its turn
            waiters.append(Waiter(turns, needed, order))
            wait_until(lambda: len(turns._waiting) == len(waiters))
        assert order == []
        with turns.change:
            for each in waiters[:2]:
                each.given_up.set()
            turns.change.notify_all()
        wait_until(lambda: order == [10])
    large = Waiter(turns, 1000, order)  # more than there is: alone
    time.sleep(0.05)
    assert order == [10]
    waiters[2].end.set()
    wait_until(lambda: order == [10, 1000])
    large.end.set()
    for each in (*waiters, large):
        each.join(60)
        assert not each.is_alive()
    with turns.reserved(100, never):
        pass  # nothing was lost
