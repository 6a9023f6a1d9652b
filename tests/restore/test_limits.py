"""Odd values of a library call, threads, and what happens when a dehazer is closed while others use it."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image
from tests.patience import HUNG

from unhaze import Dehazer
from unhaze.errors import ImageError, OverBudgetError, UnhazeError, UsageError
from unhaze.restore.haze_field import solve_field
from unhaze.restore.machine import MOST_WORKERS
from unhaze.video.stream import DehazeStream

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(60, 200, (24, 32, 3), dtype=np.uint8)
FLOATS = PICTURE / np.float32(255)


@pytest.fixture(scope="module")
def dehazer():
    with Dehazer("dcp", threads=2) as opened:
        yield opened


@pytest.mark.parametrize(
    ("array", "like"),
    [
        (PICTURE.astype(">u2") * 257, PICTURE.astype("<u2") * 257),
        (FLOATS.astype(">f4"), FLOATS),
        (FLOATS.astype(np.float64), FLOATS),
        (FLOATS.astype(np.longdouble), FLOATS),
        (np.asfortranarray(PICTURE), PICTURE),
        (PICTURE[::-1, ::-1][::-1, ::-1], PICTURE),
        (np.repeat(np.repeat(PICTURE, 2, 0), 2, 1)[::2, ::2], PICTURE),
        (np.ma.masked_array(PICTURE), PICTURE),
        (np.lib.stride_tricks.as_strided(np.resize(PICTURE, (24, 4096)), (24, 32, 3), (4096, 3, 1)), None),
    ],
)
def test_layouts_and_byte_orders_mean_the_same(dehazer, array, like):
    restored = dehazer(array).image
    assert restored.dtype == array.dtype
    assert restored.shape == array.shape
    if like is not None:
        np.testing.assert_allclose(restored.astype(float), dehazer(like).image.astype(float), rtol=1e-6)


@pytest.mark.parametrize(
    "array",
    [
        *(np.zeros((8, 8, 3), kind) for kind in ("u4", "u8", "i1", "i4", "i8", "?", "c8", "O", "S1", "M8[s]", "U3")),
        np.zeros((8, 8), [("r", "u1"), ("g", "u1")]),
        *(np.zeros(shape, np.uint8) for shape in ((), (5,), (0, 5, 3), (5, 0), (5, 5, 0), (5, 5, 5), (1, 2, 8, 3))),
        *(np.full((4, 4, 3), value, np.float32) for value in (np.nan, np.inf, -np.inf)),
        np.full((4, 4), -1e300),
        np.ma.masked_array(PICTURE, PICTURE > 100),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_picture_are_refused_in_a_sentence(dehazer, array):
    with pytest.raises(ImageError, match=r"^[^\n]+\.$"):
        dehazer(array)


def test_tensors_that_are_no_picture_are_refused_in_a_sentence(dehazer):
    torch = pytest.importorskip("torch")
    floats = torch.from_numpy(FLOATS).permute(2, 0, 1)
    odd = [
        floats.to("meta"),
        floats.to_sparse(),
        floats.to(torch.float8_e4m3fn),
        floats.to(torch.complex64),
        floats > 0.5,
        (floats * 100).long(),
        torch.zeros(0, 3, 8, 8),
        floats[0],
        torch.full((3, 8, 8), 1e300, dtype=torch.float64),
    ]
    for tensor in odd:
        with pytest.raises(ImageError, match=r"^[^\n]+\.$"):
            dehazer(tensor)


def test_pil_images_that_cannot_be_decoded_are_refused_in_a_sentence(dehazer):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
    closed = Image.open(io.BytesIO(file.getvalue()))
    closed.close()
    for image in (Image.open(io.BytesIO(file.getvalue()[:700])), closed, Image.new("RGB", (0, 5))):
        with pytest.raises(ImageError, match=r"^[^\n]+\.$"):
            dehazer(image)
    odd = Image.fromarray(PICTURE)
    odd.info["icc_profile"] = "no bytes"
    assert np.array_equal(np.asarray(dehazer(odd).image), dehazer(PICTURE).image)


@pytest.mark.parametrize(
    "options",
    [
        *({"threads": value} for value in (0, -1, 1.5, "2", True, MOST_WORKERS + 1, 10**6)),
        *({"max_pixels": value} for value in (0, -5, "many", 1.5)),
        *({"max_memory": value} for value in ("abc", -1, 0, float("nan"), "1e3G")),
        *({"strength": value} for value in (2, float("nan"), "1", None, [1])),
        {"model": 3},
        {"engine": None},
    ],
)
def test_options_that_cannot_work_are_refused_in_a_sentence(options):
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        Dehazer(**options)


def test_frames_at_once_have_a_bound(dehazer):
    for jobs in (0, 2.5, MOST_WORKERS + 1):
        with pytest.raises(UsageError, match=str(MOST_WORKERS)):
            DehazeStream(dehazer, jobs=jobs)


@pytest.mark.parametrize("threads", [1, 2])
def test_closing_waits_for_calls_and_later_calls_work(threads):
    before = set(threading.enumerate())
    dehazer, wrong = Dehazer("dcp", threads=threads), []
    expected = dehazer(PICTURE).image

    def work():
        for _ in range(8):
            try:
                if not np.array_equal(dehazer(PICTURE).image, expected):
                    wrong.append("another result")
            except Exception as error:
                wrong.append(repr(error))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        dehazer.close()
    assert not wrong
    dehazer.close()
    dehazer.close()
    assert np.array_equal(dehazer(PICTURE).image, expected)
    dehazer.close()
    assert not set(threading.enumerate()) - before


def test_close_returns_only_after_the_call(monkeypatch):
    dehazer, inside, go, order = Dehazer("dcp", threads=2), threading.Event(), threading.Event(), []

    def slow(*args):
        inside.set()
        go.wait(HUNG)
        return solve_field(*args)

    monkeypatch.setattr("unhaze.restore.dehazer.solve_field", slow)
    call = threading.Thread(target=lambda: (dehazer(PICTURE), order.append("call")))
    close = threading.Thread(target=lambda: (dehazer.close(), order.append("close")))
    call.start()
    inside.wait(HUNG)
    close.start()
    close.join(0.2)
    assert close.is_alive()
    go.set()
    call.join(HUNG)
    close.join(HUNG)
    assert order == ["call", "close"]


def test_metadata_counts_in_the_memory_limit(tmp_path):
    path = tmp_path / "texts.png"
    Image.fromarray(PICTURE).save(path)
    plain = path.read_bytes()
    from tests.images.test_budget import text

    path.write_bytes(plain[:33] + text(7_000_000) + text(7_000_000) + plain[33:])
    with Dehazer("dcp", threads=1) as dehazer:
        assert len(dehazer.read(path).metadata.text) == 2
        needed = dehazer.memory_needed(dehazer_info(path))
    with Dehazer("dcp", threads=1, max_memory=needed + (1 << 20)) as dehazer:
        picture = dehazer.read(path)
        assert not picture.metadata.text
        assert picture.notes
    with Dehazer("dcp", threads=1, max_memory=needed - 1) as dehazer, pytest.raises(OverBudgetError):
        dehazer.read(path)


def dehazer_info(path):
    from unhaze.images.files import identify

    return identify(path)


def test_bytes_that_are_no_picture(dehazer):
    for odd in (
        b"",
        b"junk" * 10,
        bytearray(b"x"),
        memoryview(b"y"),
        None,
        5,
        [1],
        (PICTURE,),
        "a\0b.jpg",
        "/dev/zero",
    ):
        with pytest.raises(UnhazeError, match=r"^[^\n]+\.$"):
            dehazer(odd)
