"""The clear scenes that the default is trained on, and those that it is judged on.

A place or a collection is either trained on or judged on, never both: frames of one place look alike, and a network
that knows a kitchen restores that kitchen.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from unhaze.data.synthetic.rooms import render_room
from unhaze.data.synthetic.scenes import (
    Scene,
    fill_missing_depth,
    find_segments,
    find_sky,
    ground_plane_depth,
)
from unhaze.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = ["SOURCES", "SceneBank", "Source", "Split", "read_scene", "scene_names"]

Split = Literal["train", "validation"]
Kind = Literal["room", "road", "indoors", "outdoors", "boxes"]

BANK_SIZE = 400  # long side of a stored scene [px]
_ROOM_SIZE, _ROOM_SEED = (192, 256), 2**20
_SKY_EDGE, _SKY_WINDOW, _FLAT = 9, (9, 9), 0.045  # [px], [px], deviation of brightness of what is veiled
_SENSOR_RANGE = 8000  # [mm]; what a depth camera reports beyond is not depth


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of pictures of one origin.

    Attributes:
        folder: Below the data folder.
        kind: ``"room"`` has measured or rendered depth, ``"road"`` class maps, ``"indoors"`` and ``"outdoors"`` no
            depth.
        split: The whole source is trained on, or judged on.
        pattern: Names of the pictures.
    """

    folder: str
    kind: Kind
    split: Split
    pattern: str = "*.jpg"


SOURCES = (
    Source("rgbd", "room", "validation", "*.color.jpg"),
    Source("more/rgbd/hololens_office", "room", "validation"),
    Source("more/rgbd/lab_realsense", "room", "validation"),
    Source("more/rgbd/planehec", "room", "validation"),
    Source("more/rgbd/replica_apartment0_f1", "room", "train"),
    Source("more/rgbd/replica_apartment0_f2", "room", "train"),
    Source("more/rgbd/render_aws_house", "room", "train"),
    Source("more/rgbd/render_aws_warehouse", "room", "train"),
    Source("more/rgbd/render_sh3d_rooms", "room", "train"),
    Source("rooms_rendered", "room", "train"),  # optional: further rooms of the same kind
    Source("more/rgbd/garden_nerf", "outdoors", "train"),
    Source("camvid/images", "road", "train", "0001TP*"),
    Source("camvid/images", "road", "train", "0016E5*"),
    Source("camvid/images", "road", "validation", "0006R0*"),
    Source("clear/urban100", "outdoors", "train", "*"),
    Source("clear/bsds300", "outdoors", "train", "*"),
    Source("clear/sunhays80", "outdoors", "validation", "*"),
    Source("more/photos/houses_kitchen", "indoors", "train"),
    Source("more/photos/houses_bedroom", "indoors", "train"),
    Source("more/photos/houses_bathroom", "indoors", "train"),
    Source("more/photos/houses_frontal", "outdoors", "train"),
    Source("more/photos/weather_shine", "outdoors", "train"),
    Source("more/photos/weather_cloudy", "outdoors", "train"),
    Source("more/photos/imagenet_sample", "outdoors", "train"),
    Source("more/photos/scenes150", "outdoors", "train"),
    Source("more/photos/strecha", "outdoors", "validation"),
    Source("more/photos/kodak", "outdoors", "validation"),
)


def scene_names(data: Path, source: Source) -> list[str]:
    """Sorted names of a source's pictures below ``data``, with forward slashes."""
    paths = (data / source.folder).glob(source.pattern)
    return sorted(path.relative_to(data).as_posix() for path in paths if path.is_file() and ".depth." not in path.name)


def read_scene(data: Path, name: str, kind: Kind, size: int = BANK_SIZE) -> Scene:
    """One scene, reduced to ``size`` on the long side.

    Args:
        data: Folder of all sources.
        name: Path below it.
        kind: Of its source.
        size: Long side [px].

    Raises:
        UsageError: A file is missing or no picture.
    """
    image = _read(data / name, cv2.IMREAD_COLOR_RGB)
    scale = min(1.0, size / max(image.shape[:2]))
    shape = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    pixels = np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), np.uint8)
    depth = None
    depth_path = data / (name.removesuffix(".color.jpg").removesuffix(".jpg") + ".depth.png")
    if kind == "road":
        depth = ground_plane_depth(_read(data / "camvid/labels" / (Path(name).stem + ".png"), cv2.IMREAD_UNCHANGED))
    elif kind == "room" or depth_path.is_file():
        raw = _read(depth_path, cv2.IMREAD_UNCHANGED)
        known = raw > 0
        if name.startswith("rgbd/"):
            known &= raw <= _SENSOR_RANGE
        depth = fill_missing_depth(np.asarray(raw, np.float32) / np.float32(1000), known)
    if depth is not None:
        depth = np.asarray(cv2.resize(depth, shape, interpolation=cv2.INTER_AREA), np.float32)
    group = {"road": "camvid", "room": "rgbd"}.get(kind, "clear")
    sky = None if kind in ("room", "indoors") else find_sky(pixels, depth if kind == "road" else None, group)
    return Scene(name, kind, pixels, depth, find_segments(pixels, name), sky)


def distance_veil(scene: Scene) -> float:
    """How far the haze of the day itself veils what borders on the sky, as a share of the sky's light.

    The dark channel (He et al. 2011, Eq. 5) of the strip below the sky, where it has little contrast; 0 where there is
    no sky. A photograph with such a strip is no clear picture.
    """
    if scene.sky is None:
        return 0.0
    height = scene.image.shape[0]
    sky = (scene.sky > 127).astype(np.uint8)
    reach = 2 * max(3, height // 8) + 1
    near = cv2.dilate(sky, np.ones((_SKY_EDGE, _SKY_EDGE), np.uint8))
    strip = (cv2.dilate(sky, np.ones((reach, 1), np.uint8)) > 0) & (near == 0)
    if strip.mean() < 0.01 or not sky.any():
        return 0.0
    image = scene.image.astype(np.float32) / 255
    gray = image.mean(axis=2)
    deviation = np.sqrt(np.maximum(cv2.blur(gray * gray, _SKY_WINDOW) - cv2.blur(gray, _SKY_WINDOW) ** 2, 0))
    if np.median(deviation[strip]) > _FLAT:
        return 0.0
    dark = cv2.erode(image.min(axis=2), np.ones(_SKY_WINDOW))
    return float(np.median(dark[strip]) / max(float(np.median(gray[sky > 0])), 0.2))


class SceneBank:
    """Clear scenes in memory.

    Args:
        scenes: In a fixed order, on which the samples depend. Their group is a kind.

    Raises:
        UsageError: There is no scene.
    """

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = tuple(scenes)
        if not self.scenes:
            raise UsageError("There is no scene to synthesise haze from; see the sources in unhaze.default.scenes.")
        self.of_kind: dict[str, list[int]] = {}
        for index, scene in enumerate(self.scenes):
            self.of_kind.setdefault(scene.group, []).append(index)

    @classmethod
    def load(cls, data: str | Path, split: Split, *, boxes: int = 0, threads: int = 2) -> SceneBank:
        """Read the scenes of one split, and render ``boxes`` rooms of boxes besides.

        Raises:
            UsageError: The folder is missing or holds no scene of this split.
        """
        root = Path(data)
        if not root.is_dir():
            raise UsageError(f"There is no folder {root} with training data; give the right one with --data.")
        wanted = [(name, each.kind) for each in SOURCES if each.split == split for name in scene_names(root, each)]
        with ThreadPoolExecutor(threads) as pool:
            scenes = list(pool.map(lambda pair: read_scene(root, *pair), wanted))
            pictures = [scene.image for scene in scenes if scene.group in ("indoors", "outdoors")]
            if boxes and not pictures:
                raise UsageError(f"{root} has no pictures for the walls of rendered rooms; set boxes to 0.")
            scenes += pool.map(lambda number: _box_scene(pictures, number), range(boxes))
        return cls(scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def without_veiled(self, most: float) -> SceneBank:
        """The scenes but those out of doors whose distance is veiled by more than ``most``."""
        return SceneBank([each for each in self.scenes if each.group != "outdoors" or distance_veil(each) <= most])

    def draw(self, rng: np.random.Generator, weights: Sequence[tuple[str, float]]) -> Scene:
        """A random scene; kinds without scenes count nothing."""
        present = [(kind, weight) for kind, weight in weights if kind in self.of_kind]
        shares = np.array([weight for _, weight in present], float)
        if shares.sum() <= 0:
            raise UsageError("data.weights leaves no kind of scene to draw from; give one that exists a weight.")
        indices = self.of_kind[present[int(rng.choice(len(present), p=shares / shares.sum()))][0]]
        return self.scenes[indices[int(rng.integers(len(indices)))]]


def _box_scene(pictures: Sequence[ByteArray], number: int) -> Scene:
    name = f"boxes-{number}"
    room = render_room(np.random.default_rng((_ROOM_SEED, number)), pictures, *_ROOM_SIZE)
    return Scene(name, "boxes", room.image, room.depth, find_segments(room.image, name))


def _read(path: Path, flags: int) -> NDArray[Any]:
    pixels: NDArray[Any] | None = cv2.imread(str(path), flags)
    if pixels is None:
        raise UsageError(f"{path} is missing or is no picture; the data folder is not complete.")
    return pixels
