from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.errors import ImageDecodeError, ImageError, MissingError, UsageError
from unhaze.video.stream import DehazeStream


@dataclass
class FakeDehazer:
    """The field of a frame is its first pixel; applying it adds the field to the frame."""

    delay: float = 0.0
    fail: dict[int, Exception] = field(default_factory=dict)
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def solve(self, pixels):
        with self.lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        time.sleep(random.random() * self.delay)
        value = int(pixels[0, 0])
        if value in self.fail:
            raise self.fail[value]
        return value

    def apply(self, pixels, field):
        time.sleep(random.random() * self.delay)
        with self.lock:
            self.under_way -= 1
        return pixels + field


def numbered(count: int) -> list[np.ndarray]:
    return [np.full((2, 3), i) for i in range(count)]


def values(results) -> list[int]:
    return [int(each[0, 0]) for each in results]


def drain(results, into: list) -> None:
    for each in results:
        into.append(int(each[0, 0]))


@settings(deadline=None)
@given(count=st.integers(0, 12), jobs=st.integers(1, 4))
def test_every_frame_once_and_in_order(count, jobs):
    stream = DehazeStream(FakeDehazer(delay=0.001), jobs=jobs)
    assert values(stream(numbered(count))) == [2 * i for i in range(count)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_frames_are_worked_on_side_by_side_but_not_more_than_asked(jobs):
    dehazer = FakeDehazer(delay=0.01)
    list(DehazeStream(dehazer, jobs=jobs)(numbered(20)))
    assert (dehazer.most_under_way == 1) if jobs == 1 else (2 <= dehazer.most_under_way <= jobs)


def test_frames_are_read_no_further_ahead_than_needed():
    read = []

    def source():
        for frame in numbered(100):
            read.append(frame)
            yield frame

    stream = DehazeStream(FakeDehazer(), jobs=2)
    results = stream(source())
    next(results)
    time.sleep(0.02)
    assert len(read) <= stream.lookahead + 2
    results.close()
    assert len(read) <= stream.lookahead + 2


class AtOnce(Executor):
    """Workers that are done before the next frame comes, on however busy a machine."""

    def __init__(self, *args, **options):
        pass

    def submit(self, function, /, *args):
        future = Future()
        future.set_result(function(*args))
        return future


def test_a_live_stream_holds_nothing_back_that_is_done(monkeypatch):
    monkeypatch.setattr("unhaze.video.stream.ThreadPoolExecutor", AtOnce)
    got = []

    def camera():
        for i, frame in enumerate(numbered(6)):
            assert len(got) == i, "results are held back although they are done"
            yield frame

    for result in DehazeStream(FakeDehazer(), jobs=4)(camera()):
        got.append(result)
    assert values(got) == [0, 2, 4, 6, 8, 10]


def test_decode_and_encode_run_around_the_dehazer():
    stream = DehazeStream(
        FakeDehazer(),
        decode=lambda text: np.full((1, 1), int(text)),
        encode=lambda pixels, text: f"{text}->{pixels[0, 0]}",
        jobs=2,
    )
    assert list(stream(["3", "4", "5"])) == ["3->6", "4->8", "5->10"]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_the_filter_sees_fields_in_order_and_changes_them(jobs):
    seen = []

    def running_sum(haze, pixels):
        assert pixels[0, 0] == haze
        seen.append(haze)
        return sum(seen)

    results = DehazeStream(FakeDehazer(delay=0.003), field_filter=running_sum, jobs=jobs)(numbered(15))
    assert values(results) == [i + i * (i + 1) // 2 for i in range(15)]
    assert seen == list(range(15))


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_bad_frame_is_named_after_the_good_ones_before_it(jobs, filtered):
    dehazer = FakeDehazer(delay=0.005, fail={5: ImageError("it is bad.")})
    results = DehazeStream(dehazer, field_filter=(lambda haze, _: haze) if filtered else None, jobs=jobs)(numbered(30))
    got = []
    with pytest.raises(ImageError, match=r"^Frame 6 cannot be dehazed: it is bad\.$"):
        drain(results, got)
    assert got == [0, 2, 4, 6, 8]


def test_a_broken_filter_does_not_hang():
    def broken(haze, pixels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        list(DehazeStream(FakeDehazer(delay=0.002), field_filter=broken, jobs=3)(numbered(9)))
    assert caught.value.__notes__ == ["while dehazing frame 1"]


def test_errors_that_no_other_frame_would_mend_stay_what_they_are():
    with pytest.raises(MissingError, match=r"^no weights\n"):
        list(DehazeStream(FakeDehazer(fail={0: MissingError("no weights")}))(numbered(2)))


def test_a_source_that_fails_does_so_after_the_frames_before():
    def source():
        yield from numbered(4)
        raise ImageDecodeError("cut off")

    results, got = DehazeStream(FakeDehazer(delay=0.005), jobs=3)(source()), []
    with pytest.raises(ImageDecodeError, match="cut off"):
        drain(results, got)
    assert got == [0, 2, 4, 6]


def test_no_thread_survives_a_stream_that_is_left():
    stream = DehazeStream(FakeDehazer(delay=0.01), field_filter=lambda haze, _: haze, jobs=3)
    results = stream(numbered(50))
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unhaze-frame")]


def test_jobs_must_be_positive():
    with pytest.raises(UsageError, match="jobs is 0"):
        DehazeStream(FakeDehazer(), jobs=0)


class _Mean:
    """The field of a frame with that of the next one."""

    def __init__(self):
        self.held = []

    def push(self, field, pixels):
        self.held.append(field)
        return [self.held[-2] + field] if len(self.held) > 1 else []

    def flush(self):
        return self.held[-1:]


class _Adder:
    def solve(self, pixels):
        if pixels[0] == 66:
            raise ImageError("it is bad")
        return int(pixels[0])

    def apply(self, pixels, field):
        return field


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_window_knows_the_frames_after(jobs):
    frames = [np.array([number]) for number in range(9)]
    made = list(DehazeStream(_Adder(), window=_Mean(), jobs=jobs)(frames))
    assert made == [2 * number + 1 for number in range(8)] + [8]
    assert list(DehazeStream(_Adder(), window=_Mean(), jobs=jobs)([])) == []
    stream = DehazeStream(_Adder(), window=_Mean(), jobs=jobs)([np.array([1]), np.array([2]), np.array([66])])
    assert [next(stream), next(stream)] == [3, 2]
    with pytest.raises(ImageError, match=r"Frame 3 .*bad"):
        next(stream)


def test_frames_that_are_not_solved_beforehand_are_left_to_the_filter():
    seen = []

    def follow(field, pixels):
        seen.append(field)
        return -1 if field is None else field

    stream = DehazeStream(_Adder(), field_filter=follow, solves=lambda number: number % 2 == 1, jobs=2)
    assert list(stream([np.array([number]) for number in range(4)])) == [0, -1, 2, -1]
    assert seen == [0, None, 2, None]
