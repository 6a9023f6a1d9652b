"""The depth cache: no second run, nothing half-written, nothing damaged believed."""

from __future__ import annotations

import multiprocessing
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unhaze.depth import cache as module  # noqa: E402
from unhaze.depth.base import DepthEstimator  # noqa: E402
from unhaze.depth.cache import DepthCache, cached_depth, default_folder, estimate_pixels  # noqa: E402
from unhaze.errors import OutputError, UsageError  # noqa: E402
from unhaze.types import DepthLevel, DepthMap  # noqa: E402


class Counting(DepthEstimator):
    """Brightness as depth, at half the size; counts its runs."""

    identity = "counting/1"
    kind = "relative"
    levels = (DepthLevel(3, 2),)

    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, image):
        self.runs += 1
        half = torch.nn.functional.avg_pool2d(image, 2, ceil_mode=True)
        return DepthMap(100_000 * half.mean(1, keepdim=True), "relative", (1e-6 * half,))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (13, 20, 3), np.uint8)


@pytest.fixture
def estimator():
    return Counting()


@pytest.fixture
def cache(tmp_path):
    return DepthCache(tmp_path / "cache")


class Full(Counting):
    """The map at the size of the image, as the estimators of the catalogue give it."""

    def forward(self, image):
        self.runs += 1
        return DepthMap(image[:, :1], "relative")


def test_maps_of_large_pictures_are_kept_smaller(cache):
    estimator = Full()
    ramp = np.broadcast_to(np.linspace(0, 255, 2100).astype(np.uint8)[None, :, None], (30, 2100, 3))
    found = cache.estimate(estimator, ramp)
    assert found.map.shape == (15, 1024)
    source = cached_depth(estimator, cache)(ramp)
    assert source.map.shape == (30, 2100)
    np.testing.assert_allclose(source.map, ramp[..., 0] / 255, atol=0.01)
    assert estimator.runs == 1


def only_entry(cache):
    (path,) = cache.folder.rglob("*.npz")
    return path


def test_a_hit_runs_no_network_and_is_the_same(cache, estimator, pixels):
    first = cache.estimate(estimator, pixels)
    again = cache.estimate(estimator, pixels)
    other_process = DepthCache(cache.folder).estimate(estimator, pixels.copy())
    assert estimator.runs == 1
    for found in (again, other_process):
        assert (found.kind, found.map.dtype, found.map.shape) == ("relative", np.float32, (7, 10))
        np.testing.assert_array_equal(found.map, first.map)
    # far beyond the range of half floats, and still to their precision
    np.testing.assert_allclose(first.map, estimate_pixels(estimator, pixels).map, rtol=1e-3)


def test_features_are_kept_if_asked_for(cache, estimator, pixels):
    assert cache.estimate(estimator, pixels).features == ()
    full = DepthCache(cache.folder, features=True)
    (first,), (again,) = (full.estimate(estimator, pixels).features for _ in range(2))
    assert estimator.runs == 2
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, estimate_pixels(estimator, pixels).features[0], rtol=1e-3, atol=1e-9)


def test_the_key_is_picture_and_estimator(cache, estimator, pixels):
    other = Counting()
    other.identity = "counting/2"
    changed = pixels.copy()
    changed[3, 4, 1] ^= 1
    keys = [
        cache.key(estimator, pixels),
        cache.key(other, pixels),
        cache.key(estimator, changed),
        cache.key(estimator, pixels.reshape(20, 13, 3)),
        DepthCache(cache.folder, features=True).key(estimator, pixels),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(estimator, np.asfortranarray(pixels)) == keys[0]


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY", content.index(b"map0")) + 140] ^= 4  # within the numbers
    path.write_bytes(content)


def store_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def change(path, **arrays):
    with np.load(path) as entry:
        kept = dict(entry)
    np.savez(path, **{**kept, **arrays})


DAMAGE = {
    "cut": cut,
    "flipped": flip_a_bit,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no archive"),
    "array": store_array,
    "other": lambda path: np.savez(path, something=np.ones(3)),
    "version": lambda path: change(path, format=np.array(0)),
    "kind": lambda path: change(path, kind=np.array("inverse")),
    "nan": lambda path: change(path, map0=np.full((7, 10), np.nan, np.float16)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_removed_and_made_again(damage, cache, estimator, pixels):
    expected = cache.estimate(estimator, pixels)
    path = only_entry(cache)
    DAMAGE[damage](path)
    assert cache.get(path.stem) is None
    assert not path.exists()
    np.testing.assert_array_equal(cache.estimate(estimator, pixels).map, expected.map)
    assert estimator.runs == 2
    assert cache.get(path.stem) is not None


def test_size_and_clear(cache, estimator, pixels):
    assert (cache.size().entries, cache.clear()) == (0, 0)
    cache.estimate(estimator, pixels)
    cache.estimate(estimator, pixels[::-1])
    (cache.folder / "notes.txt").write_text("mine")
    paths = list(cache.folder.rglob("*.npz"))
    assert (cache.size().entries, cache.size().bytes) == (2, sum(path.stat().st_size for path in paths))
    assert (cache.clear(), cache.size().entries) == (2, 0)
    assert (cache.folder / "notes.txt").exists()


def test_as_a_source_of_depth_for_data_sets(cache, estimator, pixels):
    source = pickle.loads(pickle.dumps(cached_depth(estimator, cache)))
    pixels[:] = np.linspace(0, 200, pixels.shape[1])[:, None]  # brighter, so farther, to the right
    depth = source(pixels, "some name")
    assert (depth.map.shape, depth.map.dtype) == (pixels.shape[:2], np.float32)
    assert np.corrcoef(depth.map.ravel(), pixels[..., 0].ravel())[0, 1] > 0.99
    source(pixels)
    assert source.estimator.runs == 1


def fill(folder, start, stop):
    torch.set_num_threads(1)  # as in a worker of a loader: threads of torch do not live on in a fork
    cache, estimator = DepthCache(folder), Counting()
    for seed in range(start, stop):
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
        cache.estimate(estimator, pixels)


def test_two_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fill, args=(tmp_path, 0, 40)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    cache = DepthCache(tmp_path)
    assert cache.size().entries == 40
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".npz"}  # no temporary file is left
    estimator = Counting()
    cache.estimate(estimator, np.random.default_rng(39).integers(0, 256, (16, 16, 3), np.uint8))
    assert estimator.runs == 0


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path))
    assert default_folder() == DepthCache().folder == tmp_path / "depth"
    monkeypatch.delenv("UNHAZE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "unhaze" / "depth"


def test_mistakes(cache, estimator, pixels, tmp_path):
    with pytest.raises(UsageError, match=r"shape \(13, 20\) and type uint8 are not handled"):
        cache.estimate(estimator, pixels[..., 0])
    with pytest.raises(UsageError, match="type float64"):
        estimate_pixels(estimator, pixels / 255)
    nameless = Counting()
    nameless.identity = ""
    with pytest.raises(UsageError, match="Counting states no identity"):
        cache.estimate(nameless, pixels)
    (tmp_path / "a file").write_text("")
    with pytest.raises(OutputError, match="choose another cache folder"):
        DepthCache(tmp_path / "a file").estimate(estimator, pixels)


def test_an_estimator_without_numbers_is_no_entry(cache, estimator, pixels, monkeypatch):
    monkeypatch.setattr(estimator, "forward", lambda image: DepthMap(image[:, :1] * float("nan"), "relative"))
    with pytest.raises(UsageError, match="values that are no numbers"):
        cache.estimate(estimator, pixels)
    assert cache.size().entries == 0


def test_another_format_is_another_key(cache, estimator, pixels, monkeypatch):
    before = cache.key(estimator, pixels)
    monkeypatch.setattr(module, "FORMAT", 2)
    assert cache.key(estimator, pixels) != before
