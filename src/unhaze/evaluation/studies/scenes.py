"""Clear pictures of known depth, and the haze of known density that a study adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from unhaze.batch.synthesis import read_depth
from unhaze.data.dataset import read_pixels
from unhaze.data.inspection import spread
from unhaze.data.layouts.base import CLEAR, first_child
from unhaze.data.synthetic.scenes import SceneBank
from unhaze.errors import UsageError
from unhaze.images.files import READ_SUFFIXES
from unhaze.physics.synthesis import synthesize_haze

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

__all__ = ["GROUPS", "ClearScene", "haze_levels", "hazed", "load_scenes", "partner_of"]

GROUPS = ("rgbd", "camvid")
"""Groups of :class:`~unhaze.data.synthetic.scenes.SceneBank` of which the depth is known."""

_DEPTH_SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class ClearScene:
    """A clear picture and its depth.

    Attributes:
        name: Name of the picture.
        clear: (H, W, 3) float32 RGB in [0, 1], sRGB-encoded, at the steps of 8 bits.
        depth: (H, W) float32 depth [m].
    """

    name: str
    clear: FloatArray
    depth: FloatArray


def haze_levels(count: int = 6, low: float = 0.04, high: float = 0.20) -> tuple[float, ...]:
    """Scattering coefficients [1/m], evenly from ``low`` to ``high``; the defaults are our choice.

    P2 shows features over levels of haze (Figs. 1 to 3), but its text gives neither their number nor their density.

    Args:
        count: How many, at least 1; one alone is ``high``.
        low: The thinnest haze, not negative.
        high: The densest, not below ``low``.

    Raises:
        UsageError: An argument is out of range.

    >>> haze_levels()
    (0.04, 0.072, 0.104, 0.136, 0.168, 0.2)
    """
    if count < 1 or not 0 <= low <= high < float("inf"):
        raise UsageError(f"{count} levels from {low} to {high} 1/m cannot be made; give at least 1, and LOW <= HIGH.")
    levels = np.linspace(low, high, count) if count > 1 else [high]
    return tuple(round(float(level), 6) for level in levels)


def load_scenes(
    folder: str | Path,
    *,
    group: str | None = None,
    count: int = 12,
    long_side: int = 320,
    depth_scale: float = 0.001,
) -> tuple[ClearScene, ...]:
    """Clear pictures of known depth, spread evenly over those that a folder has.

    Args:
        folder: With ``rgbd`` or ``camvid``, of which the validation split is taken (see
            :mod:`unhaze.data.synthetic.scenes`); or with a folder of clear pictures (``clear``, ``gt``, ``clean`` or
            ``target``) and a folder ``depth`` with grey maps (PNG or TIFF) of the same names.
        group: ``"rgbd"`` or ``"camvid"`` alone; both if ``None``. Means nothing for maps in ``depth``.
        count: How many pictures to take; all if there are fewer.
        long_side: To which larger pictures are reduced [px].
        depth_scale: Metres per unit of a map in ``depth``.

    Raises:
        UsageError: There is no such folder, nothing in it has depth, or an argument is out of range.
        ImageError: A picture or a map cannot be read.
    """
    root = Path(folder)
    if count < 1 or long_side < 1:
        raise UsageError(f"{count} pictures of {long_side} pixels cannot be taken; both numbers must be at least 1.")
    if group is not None and group not in GROUPS:
        raise UsageError(f"There is no group {group!r}; choose rgbd or camvid, or leave it out.")
    if any((root / name).is_dir() for name in GROUPS):
        return tuple(_reduced(*each, long_side) for each in _of_bank(root, group, count))
    return tuple(_reduced(*each, long_side) for each in _of_maps(root, count, depth_scale))


def hazed(scene: ClearScene, beta: float, airlight: float = 0.85) -> tuple[FloatArray, float]:
    """A scene in even haze, at the steps of 8 bits as a file would hold it.

    Args:
        scene: The clear scene.
        beta: Scattering coefficient [1/m], not negative.
        airlight: Grey of the haze in [0, 1], sRGB-encoded; the model is applied to encoded values, as RESIDE does.

    Returns:
        (H, W, 3) float32 RGB in [0, 1], and the mean transmission.
    """
    hazy, transmission = synthesize_haze(scene.clear, scene.depth, beta=beta, airlight=airlight)
    return _eight_bits(hazy), float(transmission.mean(dtype=np.float64))


def partner_of(index: int, count: int) -> int:
    """Which picture stands for another scene: the one half the list away, since neighbours often show the same place.

    >>> [partner_of(i, 5) for i in range(5)], partner_of(0, 1)
    ([2, 3, 4, 0, 1], 0)
    """
    return (index + count // 2) % count


def _of_bank(root: Path, group: str | None, count: int) -> list[tuple[str, FloatArray, FloatArray]]:
    bank = SceneBank.load(root, "validation")
    scenes = [scene for scene in bank.scenes if scene.group in (GROUPS if group is None else (group,))]
    if not scenes:
        raise UsageError(f"{root} has no validation pictures of {group or 'rgbd or camvid'}; give another folder.")
    chosen = [scenes[i] for i in spread(len(scenes), count)]
    found = []
    for scene in chosen:
        assert scene.depth is not None, "rgbd and camvid always have depth"
        found.append((scene.name, scene.image.astype(np.float32) / np.float32(255), scene.depth))
    return found


def _of_maps(root: Path, count: int, depth_scale: float) -> list[tuple[str, FloatArray, FloatArray]]:
    pictures, maps = first_child(root, CLEAR) if root.is_dir() else None, root / "depth"
    if pictures is None or not maps.is_dir():
        raise UsageError(
            f"{root} holds no pictures of known depth; give a folder with rgbd or camvid, or with clear and depth."
        )
    files = sorted(path for path in pictures.iterdir() if path.suffix.lower() in READ_SUFFIXES)
    if not files:
        raise UsageError(f"{pictures} holds no picture; give another folder.")
    found = []
    for path in (files[i] for i in spread(len(files), count)):
        clear = read_pixels(root, path.relative_to(root).as_posix()).astype(np.float32) / np.float32(255)
        named = [maps / (path.stem + suffix) for suffix in _DEPTH_SUFFIXES]
        found_map = next(filter(Path.is_file, named), None)
        if found_map is None:
            raise UsageError(f"{maps} has no map {path.stem}.png or .tif for {path.name}; add it, or move the picture.")
        raw = read_depth(found_map, depth_scale, "depth")
        depth = cv2.resize(raw, (clear.shape[1], clear.shape[0]), interpolation=cv2.INTER_LINEAR)
        found.append((path.name, np.asarray(clear, np.float32), np.asarray(depth, np.float32)))
    return found


def _reduced(name: str, clear: FloatArray, depth: FloatArray, long_side: int) -> ClearScene:
    height, width = clear.shape[:2]
    scale = long_side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        clear = np.asarray(cv2.resize(clear, size, interpolation=cv2.INTER_AREA), np.float32)
        depth = np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_AREA), np.float32)
    return ClearScene(name, _eight_bits(clear), depth)


def _eight_bits(image: FloatArray) -> FloatArray:
    return np.asarray(np.rint(np.clip(image, 0, 1) * np.float32(255)) / np.float32(255), np.float32)
