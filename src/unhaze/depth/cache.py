"""Depth that was estimated before, on disk, so that training does not run an estimator again each epoch.

An entry belongs to the pixels of a picture and to the identity of an estimator. Decoded pixels rather than the bytes of
the file, because a data set hands over pixels, and a file that was moved, renamed or stored in another lossless format
is still the same picture. Maps of large pictures are reduced to 1024 pixels, more than estimators look at. Numbers are
half floats with a scale of their own. An entry appears whole or not at all; a damaged one is removed and made again.

>>> import tempfile
>>> cache = DepthCache(tempfile.mkdtemp())
>>> cache.get("0" * 64) is None, cache.size()
(True, CacheSize(entries=0, bytes=0))
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from unhaze.errors import OutputError, UsageError
from unhaze.images.atomic import atomic_output
from unhaze.images.budget import Budget, TooMuchError, archive_limit
from unhaze.types import DepthKind, DepthMap

if TYPE_CHECKING:
    from unhaze.depth.base import DepthEstimator

__all__ = [
    "CacheSize",
    "CachedDepth",
    "DepthCache",
    "cached_depth",
    "default_folder",
    "enlarged",
    "estimate_pixels",
    "read_entry",
]

LONGEST = 1024  # side of a map that is kept [px]
FORMAT = 1  # of an entry; others are made again

# what numpy and zipfile raise for files that are cut off, altered, or something else altogether
_DAMAGE = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    MemoryError,  # of a shape that is not there
    TooMuchError,
)

FloatMap = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CacheSize:
    """What a cache takes.

    Attributes:
        entries: Number of pictures, times estimators.
        bytes: On disk.
    """

    entries: int
    bytes: int


def default_folder() -> Path:
    """``depth`` in the folder of the environment variable ``UNHAZE_CACHE``, else in ``~/.cache/unhaze``."""
    return Path(os.environ.get("UNHAZE_CACHE") or Path.home() / ".cache" / "unhaze").expanduser() / "depth"


class DepthCache:
    """Depth maps on disk; safe for several processes and threads.

    Args:
        folder: Where the entries lie; :func:`default_folder` if ``None``. Made when the first entry is stored.
        features: Whether to store the features, too; they take far more space than the map.
    """

    def __init__(self, folder: str | Path | None = None, *, features: bool = False) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self.features = features

    def key(self, estimator: DepthEstimator, pixels: Pixels) -> str:
        """64 hexadecimal digits for a picture and an estimator.

        Args:
            estimator: Its identity counts.
            pixels: (H, W, 3) uint8 RGB.

        Raises:
            UsageError: The estimator has no identity, or the pixels are of another type or shape.
        """
        if not estimator.identity:
            raise UsageError(f"{type(estimator).__name__} states no identity, so its depth cannot be kept; set one.")
        _check(pixels)
        head = f"{FORMAT}/{estimator.identity}/{self.features}/{pixels.shape[0]}x{pixels.shape[1]}"
        return sha256(head.encode() + b"\0" + np.ascontiguousarray(pixels).tobytes()).hexdigest()

    def get(self, key: str) -> DepthMap[FloatMap] | None:
        """The entry of a key from :meth:`key`, ``map`` (h, w), or ``None``; a damaged one is removed."""
        path = self._path(key)
        try:
            return read_entry(path)
        except UsageError:
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None

    def put(self, key: str, depth: DepthMap[FloatMap]) -> None:
        """Store an entry, ``map`` (h, w) and features (1, C, h, w), in place of an older one.

        Raises:
            OutputError: It cannot be written.
        """
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder {path.parent} cannot be made ({error.strerror or error}); choose another cache folder."
            ) from error
        with atomic_output(path, overwrite=True) as temporary, temporary.open("wb") as file:
            np.savez(file, **_packed(depth, self.features))

    def estimate(self, estimator: DepthEstimator, pixels: Pixels) -> DepthMap[FloatMap]:
        """Depth of a whole picture: from the cache, or estimated and stored.

        Args:
            estimator: Run only where there is no entry.
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            As an entry holds it, so that the first call and later ones agree to the last bit. ``map`` is (h, w): that
            of the picture, or smaller where its long side is beyond 1024.

        Raises:
            UsageError: As for :meth:`key`.
            OutputError: The entry cannot be written.
        """
        key = self.key(estimator, pixels)
        found = self.get(key)
        if found is None:
            found = estimate_pixels(estimator, pixels)
            self.put(key, found)
            found = _unpacked(_packed(found, self.features))
        return found

    def size(self) -> CacheSize:
        """How many entries there are, and their size."""
        sizes = [size for _, size in self._entries()]
        return CacheSize(len(sizes), sum(sizes))

    def clear(self) -> int:
        """Remove all entries; returns how many. Other files in the folder stay."""
        removed = 0
        for path, _ in list(self._entries()):
            path.unlink(missing_ok=True)
            removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"

    def _entries(self) -> Iterator[tuple[Path, int]]:
        for path in self.folder.glob("[0-9a-f][0-9a-f]/" + "[0-9a-f]" * 64 + ".npz"):
            try:
                yield path, path.stat().st_size
            except FileNotFoundError:  # another process has removed it
                continue


@dataclass(frozen=True, slots=True)
class CachedDepth:
    """A source of depth for data sets; can be copied into worker processes.

    Attributes:
        estimator: Run only where the cache has no entry.
        cache: Where the entries lie.
    """

    estimator: DepthEstimator
    cache: DepthCache

    def __call__(self, pixels: Pixels, name: str = "") -> DepthMap[FloatMap]:
        """Depth of a whole picture.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            name: Not looked at: the pixels say which picture it is.

        Returns:
            ``map`` is (H, W), enlarged bilinearly; features stay at their sizes.

        Raises:
            UsageError, OutputError: As for :meth:`DepthCache.estimate`.
        """
        return enlarged(self.cache.estimate(self.estimator, pixels), *pixels.shape[:2])


def cached_depth(estimator: DepthEstimator, cache: DepthCache) -> CachedDepth:
    """A function from the pixels of a whole picture, (H, W, 3) uint8, to its depth at the size of the picture."""
    return CachedDepth(estimator, cache)


def enlarged(depth: DepthMap[FloatMap], height: int, width: int) -> DepthMap[FloatMap]:
    """The map at the size of the picture, (height, width), bilinearly; features stay as they are."""
    return replace(depth, map=_resized(depth.map, (height, width)))


def _resized(depth: FloatMap, size: tuple[int, int]) -> FloatMap:
    if depth.shape == size:
        return depth
    resized = F.interpolate(torch.from_numpy(depth)[None, None], size, mode="bilinear", antialias=True)
    return resized[0, 0].numpy()


def estimate_pixels(estimator: DepthEstimator, pixels: Pixels) -> DepthMap[FloatMap]:
    """Depth of a whole picture, without a cache.

    Args:
        estimator: On any device.
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        ``map`` (H, W) and ``features`` (1, C, h, w) as float32 arrays.

    Raises:
        UsageError: The pixels are of another type or shape, or the estimator gives values that are no numbers.
    """
    _check(pixels)
    parameter = next(estimator.parameters(), torch.empty(0))
    image = torch.from_numpy(np.ascontiguousarray(pixels)).to(parameter.device).permute(2, 0, 1)[None]
    with torch.inference_mode():
        depth = estimator(image.to(torch.float32) / 255)
    maps: list[FloatMap] = [each.float().cpu().numpy() for each in (depth.map[0, 0], *depth.features)]
    if not all(np.isfinite(each).all() for each in maps):
        raise UsageError(f"{type(estimator).__name__} gives values that are no numbers; check its weights.")
    return DepthMap(maps[0], depth.kind, tuple(maps[1:]))


def read_entry(path: str | Path) -> DepthMap[FloatMap]:
    """Read an entry of a cache: ``map`` (h, w), of the size at which the estimator worked.

    Raises:
        UsageError: It is damaged, or no entry of this version.
        OSError: There is no such file, or it cannot be read.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            room = Budget(archive_limit(Path(path).stat().st_size))
            for member in file.zip.infolist():
                room.take(member.file_size)
            return _unpacked({name: file[name] for name in file.files})  # reading checks each array's checksum
    except _DAMAGE as error:
        raise UsageError(f"{path} is no entry of a depth cache, or a damaged one; delete it.") from error


def _check(pixels: Pixels) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UsageError(
            f"Pixels of shape {pixels.shape} and type {pixels.dtype} are not handled; give (H, W, 3) uint8 RGB."
        )


def _packed(depth: DepthMap[FloatMap], features: bool) -> dict[str, Any]:
    shrink = min(1.0, LONGEST / max(depth.map.shape))
    size = (max(1, round(depth.map.shape[0] * shrink)), max(1, round(depth.map.shape[1] * shrink)))
    maps = (_resized(depth.map, size), *(depth.features if features else ()))
    # half floats reach 65504 only, and lose digits far below 1
    scales = [float(np.abs(each).max(initial=0)) or 1.0 for each in maps]
    arrays = {
        f"map{i}": (each / scale).astype(np.float16) for i, (each, scale) in enumerate(zip(maps, scales, strict=True))
    }
    return {"format": np.array(FORMAT), "kind": np.array(depth.kind), "scales": np.array(scales, np.float32), **arrays}


def _unpacked(entry: dict[str, Any]) -> DepthMap[FloatMap]:
    kind, scales = str(entry["kind"]), entry["scales"]
    if int(entry["format"]) != FORMAT or kind not in get_args(DepthKind):
        raise ValueError("an entry of another version")
    if len(scales) >= len(entry):
        raise ValueError("more scales than maps")
    with np.errstate(all="ignore"):  # values that are no numbers are refused below
        maps = [entry[f"map{i}"].astype(np.float32) * scale for i, scale in enumerate(scales)]
    if not maps or maps[0].ndim != 2 or not all(np.isfinite(each).all() for each in maps):
        raise ValueError("maps of another shape, or values that are no numbers")
    return DepthMap(maps[0], kind, tuple(maps[1:]))  # type: ignore[arg-type]  # checked above
