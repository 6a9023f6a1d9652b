"""Clear scenes in memory: which there are, how they are divided, and what is known of each."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from unhaze.data.dataset import read_pixels
from unhaze.data.pairing import list_pictures
from unhaze.data.synthetic.rooms import render_room
from unhaze.errors import ImageError, UsageError
from unhaze.images.files import READ_SUFFIXES
from unhaze.physics.color import luminance
from unhaze.physics.guided_filter import guided_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = [
    "SEGMENTS",
    "SKY_DEPTH",
    "Scene",
    "SceneBank",
    "Split",
    "fill_missing_depth",
    "find_segments",
    "find_sky",
    "ground_plane_depth",
    "scene_split",
]

Split = Literal["train", "validation", "unused"]

BANK_SIZE = 512  # long side of a stored scene [px]
SEGMENTS = 20
_GROUPS = ("rgbd", "camvid", "clear", "rooms")
_ROOM_SIZE, _ROOM_SEED = (192, 256), 2**20

_SKY, _GROUND = 0, (3, 4)  # class ids of CamVid: sky, road and pavement
_CAMERA_HEIGHT = 1.5  # [m] of the camera above the road
_FOCAL_LENGTH = 1.1  # of CamVid's camera, in widths of the picture
_NEAREST, _FARTHEST = 3.0, 200.0  # [m] of the ground-plane depth
SKY_DEPTH = 350.0  # [m]; far, but light still reaches the camera in a thin haze
_SENSOR_RANGE = 8000  # [mm]; what the depth camera reports beyond is not depth

# last frame to train on and first to validate on, of the walks of rgbd and of the drives of CamVid; 30 are a second
_RGBD_SPLIT = (584, 640)
_CAMVID_SPLIT = {"0001TP": (8130, 8280), "0006R0": (3240, 3390), "0016E5": (7800, 7959)}


@dataclass(frozen=True, slots=True)
class Scene:
    """One clear picture.

    Attributes:
        name: Path below the data folder, with forward slashes.
        group: ``"rgbd"``, ``"camvid"``, ``"clear"`` or ``"rooms"``.
        image: (h, w, 3) uint8 RGB.
        depth: (h, w) float32 depth [m], or ``None`` where nothing is known.
        segments: (h, w) uint8, regions of similar colour; fields of random depth follow them.
        sky: (h, w) uint8, how surely a pixel is sky, 255 for certain; ``None`` where there is none.
    """

    name: str
    group: str
    image: ByteArray
    depth: FloatArray | None
    segments: ByteArray
    sky: ByteArray | None = None


def scene_split(name: str, siblings: Sequence[str]) -> Split:
    """Which split a scene belongs to. Frames of one drive or one walk are split by time, with a gap in between.

    Args:
        name: Path below the data folder.
        siblings: Sorted names of the same folder.

    Returns:
        ``"unused"`` for frames in a gap: too near to the validation frames to train on.
    """
    stem = Path(name).name.partition(".")[0]
    drive, _, frame = stem.partition("_")
    if name.startswith("rgbd/") and (number := stem.rpartition("-")[2]).isdecimal():
        time, (last_training, first_validation) = int(number), _RGBD_SPLIT
    elif name.startswith("camvid/") and drive in _CAMVID_SPLIT:
        time, (last_training, first_validation) = int(frame.lstrip("f")), _CAMVID_SPLIT[drive]
    elif name.startswith("camvid/"):
        return "train"
    else:
        return "validation" if siblings.index(name) % 10 == 5 else "train"
    if time <= last_training:
        return "train"
    return "validation" if time >= first_validation else "unused"


class SceneBank:
    """Clear scenes in memory, reduced to ``BANK_SIZE``.

    Args:
        scenes: In a fixed order, on which the samples depend.
        skipped: Name below the data folder to message, of pictures that could not be read.

    Raises:
        UsageError: There is no scene.
    """

    def __init__(self, scenes: Iterable[Scene], skipped: Mapping[str, str] | None = None) -> None:
        self.scenes = tuple(scenes)
        self.skipped = dict(skipped or {})
        if not self.scenes:
            raise UsageError("There is no scene to synthesise haze from; give at least one.")
        self.groups = {
            group: [index for index, scene in enumerate(self.scenes) if scene.group == group] for group in _GROUPS
        }

    @classmethod
    def load(cls, folder: str | Path, split: Split, *, rooms: int = 0, threads: int = 2) -> SceneBank:
        """Read the scenes of one split. Pictures that cannot be read are named in the log and passed over.

        Args:
            folder: The data, see :mod:`unhaze.data.synthetic.scenes`.
            split: Which scenes. Where nothing would be left to validate on, as with fewer than six pictures, it is the
                last picture; one picture alone is trained and validated on.
            rooms: Rooms to render besides (:mod:`unhaze.data.synthetic.rooms`), with parts of the clear pictures on
                their walls.
            threads: That read and render.

        Raises:
            UsageError: The folder is missing or holds no picture of this split that can be read, or the depth or the
                classes of a picture are missing.
        """
        root = Path(folder)
        if not root.is_dir():
            raise UsageError(f"There is no folder {root} with training data; give the right one with --data.")
        names = _names_of_split(root, split)
        with ThreadPoolExecutor(threads) as pool:
            loaded = list(pool.map(lambda name: _load_scene(root, name), names))
            scenes = [each for each in loaded if isinstance(each, Scene)]
            skipped = {
                name: str(each) for name, each in zip(names, loaded, strict=True) if isinstance(each, ImageError)
            }
            for message in skipped.values():
                logging.getLogger(__name__).warning("%s It was passed over.", message)
            if not scenes:
                reason = next(iter(skipped.values()), f"There is no picture of the split {split}.")
                raise UsageError(f"{root} holds no clear picture to make haze from; give another folder. {reason}")
            pictures = [scene.image for scene in scenes if scene.group == "clear"]
            if rooms and not pictures:
                raise UsageError(f"{root} has no folder clear with pictures for the walls of rooms; set rooms to 0.")
            return cls(scenes + list(pool.map(lambda number: _room_scene(pictures, number), range(rooms))), skipped)

    def __len__(self) -> int:
        return len(self.scenes)

    def draw(self, rng: np.random.Generator, weights: Sequence[float]) -> Scene:
        """A random scene; ``weights`` belong to rgbd, camvid, clear, rooms, and count only for groups with scenes."""
        present = [(group, weight) for group, weight in zip(self.groups, weights, strict=False) if self.groups[group]]
        shares = np.array([weight for _, weight in present], float)
        if shares.sum() <= 0:
            raise UsageError("data.weights leaves no group of scenes to draw from; give one that exists a weight.")
        group = present[int(rng.choice(len(present), p=shares / shares.sum()))][0]
        return self.scenes[self.groups[group][int(rng.integers(len(self.groups[group])))]]


def ground_plane_depth(labels: ByteArray) -> FloatArray:
    """Depth of a driving scene from its class map, by a level road under a camera of known height.

    A road pixel in row y lies at depth h f / (y - horizon); an upright object is as far as the road where it stands,
    which is the first road pixel below it; the sky is far.

    Args:
        labels: (H, W) uint8 class ids of CamVid.

    Returns:
        (H, W) float32 depth [m] in [3, 350].
    """
    height, width = labels.shape
    ground = np.isin(labels, _GROUND)
    rows = np.flatnonzero(ground.sum(axis=1) >= max(1, width // 100))
    horizon = (float(rows[0]) if rows.size else height / 2) - height / 90
    below = np.maximum(np.arange(height, dtype=np.float32) - np.float32(horizon), 1e-3)
    by_row = np.clip(_CAMERA_HEIGHT * _FOCAL_LENGTH * width / below, _NEAREST, _FARTHEST).astype(np.float32)
    # the first ground row at or below each pixel: a running minimum from the bottom up
    own_row = np.where(ground, np.arange(height)[:, None], height - 1)
    foot = np.minimum.accumulate(own_row[::-1], axis=0)[::-1]
    depth = by_row[foot]
    depth[labels == _SKY] = SKY_DEPTH
    return np.ascontiguousarray(cv2.medianBlur(depth, 5), np.float32)


def fill_missing_depth(depth: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Fill holes of a depth map by growing the known depth into them, coarse to fine.

    Args:
        depth: (H, W) float32 [m]; values where ``known`` is false are not looked at.
        known: (H, W) where the depth was measured.

    Returns:
        (H, W) float32; unchanged where known; the mean depth, or 1 m, where nothing is near.
    """
    weight = known.astype(np.float32)
    if not known.any():
        return np.ones_like(depth)
    filled, total = np.where(known, depth, 0).astype(np.float32), weight
    for radius in (2, 5, 12, 30, 80, 200, 500):
        size = (2 * radius + 1, 2 * radius + 1)
        mass = cv2.boxFilter(weight, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        mean = cv2.boxFilter(
            np.where(known, depth, 0).astype(np.float32), -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT
        ) / np.maximum(mass, 1e-6)
        hole = (total < 0.5) & (mass > 0.5)
        filled[hole], total = mean[hole], np.where(hole, 1, total)
    filled[total < 0.5] = depth[known].mean()
    return filled


def find_segments(image: ByteArray, name: str) -> ByteArray:
    """Regions of similar colour and place by k-means; the seed is the name, so the result depends on nothing else."""
    height, width = image.shape[:2]
    size = (max(1, width // 5), max(1, height // 5))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(np.float32)
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    places = np.stack([x, y], axis=-1) * np.float32(120 / max(size))
    features = np.concatenate([small, places], axis=-1).reshape(-1, 5)
    count = min(SEGMENTS, len(features))
    centers = features[np.random.default_rng(list(name.encode())).choice(len(features), count, replace=False)]
    for _ in range(4):
        nearest = _nearest(features, centers)
        totals = np.bincount(nearest, minlength=count)
        for channel in range(5):
            sums = np.bincount(nearest, features[:, channel], count)
            centers[:, channel] = np.where(totals > 0, sums / np.maximum(totals, 1), centers[:, channel])
    labels = _nearest(features, centers).reshape(size[1], size[0]).astype(np.uint8)
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def find_sky(image: ByteArray, depth: FloatArray | None, group: str) -> ByteArray | None:
    """Where the sky is: what is as far as skies are, or else what is bright, smooth, cold and joined to the top."""
    if group == "rgbd":
        return None
    scaled = np.asarray(image, np.float32) / np.float32(255)
    if depth is not None:
        likely = depth > 0.9 * SKY_DEPTH
    else:
        gray = luminance(scaled)
        smooth = cv2.blur(np.abs(gray - cv2.blur(gray, (9, 9))), (9, 9)) < 0.02
        likely = smooth & (gray > 0.4) & (scaled[..., 2] > scaled[..., 0] - 0.04) & (scaled[..., 2] > 0.5)
    labels = cv2.connectedComponents(likely.astype(np.uint8), connectivity=4)[1]
    found = np.isin(labels, np.unique(labels[0])) & (labels > 0)
    if found.mean() < 0.02:
        return None
    sure = guided_filter(luminance(scaled), found.astype(np.float32), 6, 1e-4)
    return np.asarray(np.clip(sure * 340 - 42, 0, 255), np.uint8)


def _names_of_split(root: Path, split: Split) -> list[str]:
    """Names below ``root`` of the pictures of one split; pictures of one folder are divided together."""
    groups = [sorted(root.glob("rgbd/*.color.jpg")), sorted(root.glob("camvid/images/*"))]
    below: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in root.glob("clear/**/*"):
        if path.suffix.lower() in READ_SUFFIXES and not path.name.startswith("."):
            below[path.parent].append(path)
    groups += [sorted(below[folder]) for folder in sorted(below)]
    folders = [[path.relative_to(root).as_posix() for path in group if path.is_file()] for group in groups]
    by_split: defaultdict[Split, list[str]] = defaultdict(list)
    for siblings in folders if any(folders) else [list_pictures(root, READ_SUFFIXES).names]:
        for name in siblings:
            by_split[scene_split(name, siblings)].append(name)
    training = by_split["train"]
    if training and not by_split["validation"]:
        by_split["validation"] = training[-1:]
        by_split["train"] = training[:-1] or training
    return by_split[split]


def _load_scene(root: Path, name: str) -> Scene | ImageError:
    """A scene, or why its picture cannot be read."""
    try:
        image = read_pixels(root, name)
    except ImageError as error:
        return error
    has_classes = name.startswith("camvid/images/")
    beside = None  # the file that depth is told by
    if name.startswith("rgbd/") and name.endswith(".color.jpg"):
        beside = root / name.replace(".color.jpg", ".depth.png")
    elif has_classes:
        beside = root / "camvid/labels" / (Path(name).stem + ".png")
    depth = None
    if beside is not None:
        raw: NDArray[Any] | None = cv2.imread(str(beside), cv2.IMREAD_UNCHANGED)
        if raw is None:
            raise UsageError(f"{beside} is missing or is no picture; the data folder is not complete.")
        if has_classes:
            depth = ground_plane_depth(raw)
        else:
            metres = np.asarray(raw, np.float32) / np.float32(1000)
            depth = fill_missing_depth(metres, (raw > 0) & (raw <= _SENSOR_RANGE))
    height, width = image.shape[:2]
    scale = min(1.0, BANK_SIZE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small_depth = (
        None if depth is None else np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_AREA), np.float32)
    )
    group = "clear" if depth is None else name.partition("/")[0]
    pixels = np.asarray(small, np.uint8)
    return Scene(name, group, pixels, small_depth, find_segments(pixels, name), find_sky(pixels, small_depth, group))


def _room_scene(pictures: Sequence[ByteArray], number: int) -> Scene:
    name = f"room-{number}"
    room = render_room(np.random.default_rng((_ROOM_SEED, number)), pictures, *_ROOM_SIZE)
    return Scene(name, "rooms", room.image, room.depth, find_segments(room.image, name))


def _nearest(features: FloatArray, centers: FloatArray) -> NDArray[np.intp]:
    distance = np.square(centers).sum(axis=1) - 2 * features @ centers.T  # |f|² is the same for all centres
    return np.asarray(distance.argmin(axis=1))
