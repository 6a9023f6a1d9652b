"""The compiled pass gives the results of the pass in NumPy, for all types, curves, options and layouts of memory."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.errors import UsageError
from unhaze.images.color import ToneCurve
from unhaze.images.levels import nominal_white
from unhaze.physics.color import linear_to_srgb, srgb_to_linear
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.haze_field import HazeField
from unhaze.restore.kernels import KERNELS_VARIABLE, describe_kernels, installed_kernels, load_kernels
from unhaze.restore.options import DehazeOptions
from unhaze.restore.strips import restore_strips

try:
    import unhaze_kernels
except ImportError:
    unhaze_kernels = None

LEVELS = unhaze_kernels.levels() if unhaze_kernels else ["baseline"]
TYPES = ("uint8", "uint16", "float32")
needs_kernels = pytest.mark.skipif(unhaze_kernels is None, reason="unhaze-kernels is not installed (make kernels)")
GRID = np.linspace(0, 1, 65536)


def curve_of(*exponents):
    light = srgb_to_linear(GRID**2)
    forward = [linear_to_srgb(GRID**exponent) for exponent in exponents]
    backward = [light ** (1 / exponent) for exponent in exponents]
    return ToneCurve(np.stack(forward).astype(np.float32), np.stack(backward).astype(np.float32))


CURVES = {"srgb": None, "linear": curve_of(1.0), "each": curve_of(1.8, 2.2, 1.0)}
LAYOUTS = ("packed", "first of four channels", "mirrored", "upside down", "planes", "in place")


def lay_out(pixels, layout):
    """The same values, otherwise in memory."""
    if layout == "first of four channels" and pixels.ndim == 3:
        return np.concatenate([pixels, pixels[..., :1]], axis=2)[..., :3]
    if layout == "mirrored":
        return np.ascontiguousarray(pixels[:, ::-1])[:, ::-1]
    if layout == "upside down":
        return np.ascontiguousarray(pixels[::-1])[::-1]
    if layout == "planes" and pixels.ndim == 3:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0)
    return pixels.copy()


def make_case(seed, shape, dtype, *, local, lift, small=(7, 9)):
    rng = np.random.default_rng(seed)
    small = tuple(min(each) for each in zip(small, shape, strict=False))
    slope, offset = rng.uniform(-0.5, 0.5, (2, *small)).astype(np.float32)
    airlight = rng.uniform(0.5, 1, (*small, 3) if local else 3).astype(np.float32)
    field = HazeField(slope, offset + np.float32(0.6), airlight, np.ones(small, np.float32), lift)
    return (rng.random(shape) * nominal_white(np.dtype(dtype))).astype(dtype), field, rng


def restore(level, pixels, layout="packed", **how):
    pixels = lay_out(pixels, layout)
    before = pixels.copy()
    out = pixels if layout == "in place" else lay_out(np.zeros_like(pixels), layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KERNELS_VARIABLE, level)
        restore_strips(pixels, out, **how)
    if out is not pixels:
        np.testing.assert_array_equal(pixels, before)
    return out


def differing(result, reference):
    """Share of the pixels that differ, none by more than one level; floats have levels of 16 bits."""
    assert result.dtype == reference.dtype
    assert result.shape == reference.shape
    same = (result == reference) | (np.isnan(result) & np.isnan(reference))
    with np.errstate(invalid="ignore"):
        steps = np.abs(result.astype(np.float64) - reference) * (1 if result.dtype.kind == "u" else 65535)
    assert steps[~same].max(initial=0) <= 1
    far = ~same & (steps >= 1 / 16) if result.dtype.kind == "f" else ~same
    return (far if far.ndim == 2 else far.any(axis=2)).mean()


@needs_kernels
@settings(max_examples=120, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40) | st.integers(250, 270),
    dtype=st.sampled_from(TYPES),
    channels=st.sampled_from([None, 3]),
    local=st.booleans(),
    lift=st.sampled_from([0.0, 0.7]),
    strength=st.just(1.0) | st.floats(-1, 1),
    color_blend=st.floats(0, 1),
    curve=st.sampled_from(sorted(CURVES)),
    white=st.sampled_from([1.0, 0.6]),
    hidden=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    rows=st.integers(1, 41),
    level=st.sampled_from(LEVELS),
    seed=st.integers(0, 2**31),
)
def test_values_are_those_of_the_reference(
    height, width, dtype, channels, local, lift, strength, color_blend, curve, white, hidden, layout, rows, level, seed
):
    shape = (height, width) if channels is None else (height, width, channels)
    pixels, field, rng = make_case(seed, shape, dtype, local=local, lift=lift)
    if dtype == "float32" and hidden:
        pixels[0, 0] = np.nan
    shown = rng.random((height, width)) < 0.8
    shown[0, 0] = False
    how = {
        "field": field,
        "options": DehazeOptions(strength=strength, color_blend=color_blend),
        "curve": None if channels is None and curve == "each" else CURVES[curve],
        "white": white * nominal_white(np.dtype(dtype)),
        "hidden": ~shown if hidden else None,
    }
    reference = restore("off", pixels, **how)
    result = restore(level, pixels, layout, strip_pixels=rows * width, **how)
    differing(result, reference)
    if hidden:
        np.testing.assert_array_equal(result[~shown], pixels[~shown])


@needs_kernels
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("dtype", TYPES)
def test_at_most_one_pixel_in_a_thousand_differs(dtype, curve, level):
    for seed, strength in enumerate((1.0, 0.63, -0.4)):
        for shape in ((211, 263, 3), (211, 263)):
            pixels, field, _ = make_case(seed, shape, dtype, local=True, lift=0.5)
            how = {
                "field": field,
                "options": DehazeOptions(strength=strength),
                "curve": None if len(shape) == 2 and curve == "each" else CURVES[curve],
                "white": nominal_white(np.dtype(dtype)),
            }
            assert differing(restore(level, pixels, **how), restore("off", pixels, **how)) <= 1e-3


@needs_kernels
@pytest.mark.parametrize("dtype", TYPES)
def test_pictures_of_every_kind_come_out_alike(photo, monkeypatch, dtype):
    """Through the public way: RGB, RGBA with hidden parts and grey, by the options of a user."""
    colour = (photo[:120, :161] / 255 * nominal_white(np.dtype(dtype))).astype(dtype)
    alpha = np.zeros(colour.shape[:2], dtype)
    alpha[:, 20:] = nominal_white(np.dtype(dtype))
    for pixels in (colour, np.dstack([colour, alpha]), np.ascontiguousarray(colour[..., 1])):
        for options in ({}, {"strength": 0.5}, {"keep_exposure": 0.0, "color_blend": 0.3}):
            results = []
            for choice in ("off", "auto"):
                monkeypatch.setenv(KERNELS_VARIABLE, choice)
                with Dehazer("dcp", **options) as dehazer:
                    results.append(dehazer(pixels, maps=False).image)
            assert differing(results[1], results[0]) <= 1e-3


@needs_kernels
def test_kernels_are_what_works_and_leave_the_interpreter_to_others(monkeypatch):
    pixels, field, _ = make_case(1, (1500, 1500, 3), "uint8", local=True, lift=0.5)
    counted, calls, stop = [0], [], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    def restore_and_look(*arguments):
        before = counted[0]
        unhaze_kernels.restore(*arguments)
        calls.append(counted[0] - before)

    fake = SimpleNamespace(restore=restore_and_look)
    monkeypatch.setattr("unhaze.restore.strips.load_kernels", lambda: (fake, LEVELS[0]))
    beside = threading.Thread(target=count)
    beside.start()
    try:
        for _ in range(20):  # the other thread may not get a core at once
            restore_strips(pixels, np.empty_like(pixels), field, DehazeOptions(), strip_pixels=pixels.size)
            if max(calls) > 1:
                break
    finally:
        stop.set()
        beside.join()
    assert max(calls) > 1


@needs_kernels
def test_threads_share_the_strips_without_changing_them():
    pixels, field, _ = make_case(2, (301, 257, 3), "uint16", local=True, lift=0.5)
    how = {"field": field, "options": DehazeOptions(strength=0.8), "white": 65535}
    alone = restore("auto", pixels, **how)
    with ThreadPoolExecutor(4) as pool:
        for layout in ("packed", "in place"):
            np.testing.assert_array_equal(restore("auto", pixels, layout, pool=pool, strip_pixels=999, **how), alone)


def arguments(**changes):
    """Those of ``unhaze_kernels.restore``, for a picture of 2 x 4."""
    row = np.full((1, 4), 0.5, np.float32)
    given = {
        "source": np.zeros((2, 4, 3), np.uint8),
        "target": np.zeros((2, 4, 3), np.uint8),
        "hidden": None,
        "place": (0, 2),
        "maps": (row, row, row, (row, row, row)),
        "numbers": (255.0, 0.1, 1.0, 0.5, 0.0, False, 4.0, 0.255, 3.0),
        "tables": (None, None),
        "level": "",
    }
    return [*(given | changes).values()]


NARROW = np.zeros((1, 3), np.float32)
FIT = np.full((1, 4), 0.5, np.float32)


@needs_kernels
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": np.zeros((2, 3, 3), np.uint8)}, "both alike"),
        ({"target": np.zeros((2, 4, 3), np.uint16)}, "both alike"),
        ({"source": np.zeros((2, 4, 3), np.int16), "target": np.zeros((2, 4, 3), np.int16)}, "uint8"),
        ({"source": np.zeros((2, 4, 2), np.uint8), "target": np.zeros((2, 4, 2), np.uint8)}, "three channels"),
        ({"source": np.zeros(4, np.uint8), "target": np.zeros(4, np.uint8)}, "both alike"),
        ({"hidden": np.zeros((1, 4), np.bool_)}, "hidden"),
        ({"place": (1, 2)}, "within"),
        ({"place": (-1, 2)}, "within"),
        ({"maps": (NARROW, FIT, FIT, (FIT, FIT, FIT))}, "map"),
        ({"maps": (FIT, FIT, FIT, (FIT, FIT, FIT.astype(np.float64)))}, "map"),
        ({"maps": (FIT, FIT, np.zeros((0, 4), np.float32), (FIT, FIT, FIT))}, "map"),
        ({"tables": (np.zeros((1, 255), np.float32), None)}, "table"),
        ({"tables": (None, np.zeros((2, 65536), np.float32))}, "table"),
        ({"level": "mmx"}, "no such level"),
    ],
)
def test_wrong_arguments_are_refused_before_memory_is_touched(changes, message):
    unhaze_kernels.restore(*arguments())
    with pytest.raises(ValueError, match=message):
        unhaze_kernels.restore(*arguments(**changes))


@needs_kernels
def test_a_target_that_must_not_be_written_is_refused():
    target = np.zeros((2, 4, 3), np.uint8)
    target.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        unhaze_kernels.restore(*arguments(target=target))


@pytest.fixture
def fresh_look():
    """Forget before and after a test which package was found."""
    installed_kernels.cache_clear()
    yield
    installed_kernels.cache_clear()


@pytest.fixture
def stand_in(fresh_look, monkeypatch):
    """A package in place of the real one, so that these tests need no compiler."""
    package = SimpleNamespace(INTERFACE=1, __version__="9.8", levels=lambda: ["wide", "narrow"])
    monkeypatch.setitem(sys.modules, "unhaze_kernels", package)
    monkeypatch.delenv(KERNELS_VARIABLE, raising=False)
    return package


def test_the_widest_level_is_taken_and_the_environment_says_otherwise(stand_in, monkeypatch):
    assert load_kernels() == (stand_in, "wide")
    assert describe_kernels() == "unhaze-kernels 9.8 (wide)"
    monkeypatch.setenv(KERNELS_VARIABLE, "narrow")
    assert load_kernels() == (stand_in, "narrow")
    monkeypatch.setenv(KERNELS_VARIABLE, "off")
    assert load_kernels() is None
    assert "switched off by UNHAZE_KERNELS" in describe_kernels()


def test_kernels_with_another_interface_stay_unused(stand_in, monkeypatch):
    stand_in.INTERFACE = 2
    assert load_kernels() is None
    assert "NumPy" in describe_kernels()
    monkeypatch.setenv(KERNELS_VARIABLE, "wide")
    with pytest.raises(UsageError, match=r"'wide', but must be one of auto, off here; install unhaze-kernels"):
        load_kernels()


def test_without_the_package_numpy_does_the_work(fresh_look, monkeypatch):
    monkeypatch.setitem(sys.modules, "unhaze_kernels", None)
    monkeypatch.delenv(KERNELS_VARIABLE, raising=False)
    assert load_kernels() is None
    result = Dehazer("dcp")(np.full((8, 8, 3), 150, np.uint8), maps=False).image
    assert result.shape == (8, 8, 3)


def test_a_word_that_means_nothing_is_named(stand_in, monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, "fast")
    with pytest.raises(UsageError, match=r"'fast', but must be one of auto, off, wide, narrow"):
        load_kernels()


@needs_kernels
@pytest.mark.slow
def test_kernels_are_several_times_quicker_than_the_reference(monkeypatch):
    """A ratio within one run, in processor time of all threads, which other programs disturb least."""
    pixels, field, _ = make_case(3, (1080, 1920, 3), "uint8", local=True, lift=0.5, small=(64, 128))
    out, times = np.zeros_like(pixels), {}
    for _ in range(5):
        for level in ("off", LEVELS[0]):
            monkeypatch.setenv(KERNELS_VARIABLE, level)
            started = time.process_time()
            restore_strips(pixels, out, field, DehazeOptions())
            times[level] = min(times.get(level, np.inf), time.process_time() - started)
    assert times["off"] / times[LEVELS[0]] >= (3 if LEVELS[0] != "baseline" else 1.2)
