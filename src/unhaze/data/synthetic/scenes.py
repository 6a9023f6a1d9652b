"""Hazy pictures with everything known about them, made on the fly from clear ones.

A :class:`SceneBank` holds clear scenes in memory, each with true depth, ground-plane depth from class maps, or none.
:func:`synthesize` draws one hazy view of one scene. A sample is a function of the seed and its index alone, so neither
the number of workers nor a restart changes what a training sees.

Any folder of clear pictures will do, with folders in it to any depth. Where it has one of these folders, they alone
count: ``rgbd/*.color.jpg`` with ``*.depth.png`` [mm], ``camvid/images`` with ``camvid/labels``, and ``clear``, pictures
without depth.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np

from unhaze.data.dataset import read_pixels
from unhaze.data.pairing import list_pictures
from unhaze.data.synthetic.rooms import render_room
from unhaze.errors import ImageError, UsageError
from unhaze.images.files import READ_SUFFIXES
from unhaze.physics.color import linear_to_srgb, luminance, srgb_to_linear
from unhaze.physics.guided_filter import guided_filter
from unhaze.physics.scattering import transmission_from_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = [
    "AIRLIGHT_GRID",
    "SKY_DEPTH",
    "Sample",
    "Scene",
    "SceneBank",
    "Split",
    "SynthesisConfig",
    "fill_missing_depth",
    "ground_plane_depth",
    "scene_split",
    "synthesize",
]

Split = Literal["train", "validation", "unused"]

BANK_SIZE = 512  # long side of a stored scene [px]
SEGMENTS = 20
_GROUPS = ("rgbd", "camvid", "clear", "rooms")
_ROOM_SIZE, _ROOM_SEED = (192, 256), 2**20
AIRLIGHT_GRID = 4  # the airlight of a sample is given on AIRLIGHT_GRID x AIRLIGHT_GRID points

_SKY, _GROUND = 0, (3, 4)  # class ids of CamVid: sky, road and pavement
_CAMERA_HEIGHT = 1.5  # [m] of the camera above the road
_FOCAL_LENGTH = 1.1  # of CamVid's camera, in widths of the picture
_NEAREST, _FARTHEST = 3.0, 200.0  # [m] of the ground-plane depth
SKY_DEPTH = 350.0  # [m]; far, but light still reaches the camera in a thin haze
_SENSOR_RANGE = 8000  # [mm]; what the depth camera reports beyond is not depth


@dataclass(frozen=True, slots=True)
class SynthesisConfig:
    """What is drawn, and how often. Probabilities unless said otherwise; ranges are (low, high).

    Attributes:
        clear: No haze at all.
        high_key: How many of those are made bright, pale, or are the enlargement of a small part: what looks like haze
            and is none.
        plain: Even haze of one bright grey, as the common test sets have it.
        hazy_sky: The sky is of the colour of the haze and stays; times the share of the sky's light that is lost.
        repaint: Regions of the scene get other colours (rooms; a quarter as often elsewhere).
        relight: The scene is lit unevenly.
        linear_light: The scattering model is applied to linear light instead of to encoded values.
        agnostic: A scene with known depth is hazed by a random field all the same.
        room: A random field has the depth of an empty room as its base, not that of open ground.
        clear_front: The haze begins behind what is near.
        even: The optical depth is proportional to the depth; otherwise its spread is changed, as by a layer of haze.
        patchy: The density varies from place to place.
        optical_depth: Range of the mean optical depth of a view, drawn log-uniformly.
        uneven_airlight: The airlight differs across the picture.
        noise, blur, shrink, jpeg: The hazy picture suffers each.
        zoom: Range of the share of the scene that a view shows.
        weights: How often a scene comes from rgbd, camvid, clear, and rendered rooms where the bank has any.
    """

    clear: float = 0.1
    high_key: float = 0.2
    plain: float = 0.35
    hazy_sky: float = 0.25
    repaint: float = 0.2
    relight: float = 0.2
    linear_light: float = 0.25
    agnostic: float = 0.25
    room: float = 0.15
    clear_front: float = 0.1
    even: float = 0.6
    patchy: float = 0.2
    optical_depth: tuple[float, float] = (0.08, 2.2)
    uneven_airlight: float = 0.4
    noise: float = 0.4
    blur: float = 0.2
    shrink: float = 0.15
    jpeg: float = 0.6
    zoom: tuple[float, float] = (0.5, 1.0)
    weights: tuple[float, ...] = (0.27, 0.33, 0.4)


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


@dataclass(frozen=True, slots=True)
class Sample:
    """One hazy view and the truth about it. h x w is the size asked for.

    Attributes:
        hazy, clear: (h, w, 3) uint8 RGB, sRGB-encoded.
        transmission: (h, w) float32 in (0, 1].
        airlight: (AIRLIGHT_GRID, AIRLIGHT_GRID, 3) float32 RGB, sRGB-encoded, corners at the corners of the view.
        depth: (h, w) float32 [m], depth of the scene, whatever the haze follows; ``None`` where it is not known.
        in_srgb: Whether ``hazy`` follows the scattering model in encoded values, so that ``transmission`` inverts it.
    """

    hazy: ByteArray
    clear: ByteArray
    transmission: FloatArray
    airlight: FloatArray
    depth: FloatArray | None
    in_srgb: bool


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
        return _by_time(int(number), last_training=584, first_validation=640)
    if name.startswith("camvid/") and drive in _CAMVID_SPLIT:
        return _by_time(int(frame.lstrip("f")), *_CAMVID_SPLIT[drive])
    if name.startswith("camvid/"):
        return "train"
    return "validation" if siblings.index(name) % 10 == 5 else "train"


# last frame to train on and first to validate on; 30 frames are a second
_CAMVID_SPLIT = {"0001TP": (8130, 8280), "0006R0": (3240, 3390), "0016E5": (7800, 7959)}


def _by_time(frame: int, last_training: int, first_validation: int) -> Split:
    if frame <= last_training:
        return "train"
    return "validation" if frame >= first_validation else "unused"


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
            folder: The data, see the head of this module.
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
            loaded = list(pool.map(lambda name: _load_or_skip(root, name), names))
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


def synthesize(bank: SceneBank, config: SynthesisConfig, seed: int, index: int, height: int, width: int) -> Sample:
    """Sample number ``index``: a view of a scene, hazed and degraded at random.

    Args:
        bank: Where scenes come from.
        config: What is drawn how often.
        seed: Seed of the whole series.
        index: Number of the sample, not negative.
        height: Rows of the view.
        width: Columns of the view.
    """
    rng = np.random.default_rng((seed, index))
    scene = bank.draw(rng, config.weights)
    is_clear, plain = bool(rng.random() < config.clear), bool(rng.random() < config.plain)
    high_key = is_clear and rng.random() < config.high_key
    view = take_view(scene, rng, (0.15, 0.7) if high_key else config.zoom, height, width)
    clear = vary_scene(view, rng, config, indoors=scene.group in ("rgbd", "rooms"))
    # bright grey
    light = (
        np.clip(rng.uniform(0.7, 1.0) + rng.normal(0, 0.008, 3), 0, 1).astype(np.float32) if plain else _airlight(rng)
    )
    clear = dim_below(clear, light, rng)
    grid = np.broadcast_to(light, (AIRLIGHT_GRID, AIRLIGHT_GRID, 3)).copy()
    if rng.random() < (0 if plain else config.uneven_airlight):
        across = np.linspace(-0.5, 0.5, AIRLIGHT_GRID)
        change = rng.normal(0, 0.07) * across[:, None] + rng.normal(0, 0.07) * across[None, :]
        grid *= (1 + change).astype(np.float32)[..., None]
    airlight = np.asarray(np.clip(grid, 0, 1), np.float32)
    if is_clear:
        clear = make_high_key(clear, rng) if high_key else clear
        transmission, in_srgb = np.ones((height, width), np.float32), True
        if view.sky is not None and rng.random() < 0.3:
            clear = make_overcast(clear, view.sky, airlight, rng)
    else:
        agnostic = view.depth is None or rng.random() < config.agnostic
        depth = random_depth(clear, view.segments, rng, config.room) if agnostic or view.depth is None else view.depth
        if not plain and rng.random() < config.clear_front:
            depth = push_back_haze(depth, rng)
        optical = _optical_depth(soften_depth(depth, rng, 1 if plain else config.even), rng, config, plain)
        if view.sky is not None and rng.random() < config.hazy_sky * share_lost(optical, view.sky):
            clear, optical = make_overcast(clear, view.sky, airlight, rng), optical * (1 - view.sky)
        transmission, in_srgb = transmission_from_depth(optical, 1.0), bool(rng.random() >= config.linear_light)
    hazy = apply_haze(clear, transmission, airlight, in_srgb)
    return Sample(degrade(hazy, rng, config), to_bytes(clear), transmission, airlight, view.depth, in_srgb)


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


def _names_of_split(root: Path, split: Split) -> list[str]:
    """Names below ``root`` of the pictures of one split."""
    by_split: defaultdict[Split, list[str]] = defaultdict(list)
    for siblings in _pictures_by_folder(root):
        for name in siblings:
            by_split[scene_split(name, siblings)].append(name)
    training = by_split["train"]
    if training and not by_split["validation"]:
        by_split["validation"] = training[-1:]
        by_split["train"] = training[:-1] or training
    return by_split[split]


def _pictures_by_folder(root: Path) -> list[list[str]]:
    """Names of pictures below ``root``; those that are divided into splits together, in one list, sorted."""
    groups = [sorted(root.glob("rgbd/*.color.jpg")), sorted(root.glob("camvid/images/*"))]
    below: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in root.glob("clear/**/*"):
        if path.suffix.lower() in READ_SUFFIXES and not path.name.startswith("."):
            below[path.parent].append(path)
    groups += [sorted(below[folder]) for folder in sorted(below)]
    named = [[path.relative_to(root).as_posix() for path in group if path.is_file()] for group in groups]
    return named if any(named) else [[*list_pictures(root, READ_SUFFIXES).names]]


def _load_or_skip(root: Path, name: str) -> Scene | ImageError:
    """A scene, or why its picture cannot be read."""
    try:
        return _load_scene(root, name)
    except ImageError as error:
        return error


def _load_scene(root: Path, name: str) -> Scene:
    image = read_pixels(root, name)
    depth = None
    if name.startswith("rgbd/") and name.endswith(".color.jpg"):
        raw = _read(root / name.replace(".color.jpg", ".depth.png"), cv2.IMREAD_UNCHANGED)
        depth = fill_missing_depth(np.asarray(raw, np.float32) / np.float32(1000), (raw > 0) & (raw <= _SENSOR_RANGE))
    elif name.startswith("camvid/images/"):
        label_path = root / "camvid/labels" / (Path(name).stem + ".png")
        depth = ground_plane_depth(_read(label_path, cv2.IMREAD_UNCHANGED))
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


def _read(path: Path, flags: int) -> NDArray[Any]:
    pixels: NDArray[Any] | None = cv2.imread(str(path), flags)
    if pixels is None:
        raise UsageError(f"{path} is missing or is no picture; the data folder is not complete.")
    return pixels


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


def _nearest(features: FloatArray, centers: FloatArray) -> NDArray[np.intp]:
    distance = np.square(centers).sum(axis=1) - 2 * features @ centers.T  # |f|² is the same for all centres
    return np.asarray(distance.argmin(axis=1))


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


class _View(NamedTuple):
    """Part of a scene: clear (h, w, 3) in [0, 1]; the others as in the scene, the sky in [0, 1]."""

    clear: FloatArray
    depth: FloatArray | None
    segments: ByteArray
    sky: FloatArray | None


def take_view(scene: Scene, rng: np.random.Generator, zoom: tuple[float, float], height: int, width: int) -> _View:
    """A random part of a scene with the shape asked for, mirrored half of the time."""
    full_height, full_width = scene.image.shape[:2]
    share = rng.uniform(*zoom) if rng.random() < 0.6 else 1.0
    scale = min(full_height / height, full_width / width) * share
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = min(rows, full_height), min(columns, full_width)
    top, left = int(rng.integers(full_height - rows + 1)), int(rng.integers(full_width - columns + 1))
    part = np.s_[top : top + rows, left : left + columns]
    mirrored = rng.random() < 0.5

    def take(array: NDArray[Any], interpolation: int) -> NDArray[Any]:
        resized = cv2.resize(array[part], (width, height), interpolation=interpolation)
        return np.ascontiguousarray(resized[:, ::-1] if mirrored else resized)

    smooth = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return _View(
        np.asarray(take(scene.image, smooth), np.float32) / np.float32(255),
        None if scene.depth is None else np.asarray(take(scene.depth, smooth), np.float32),
        np.asarray(take(scene.segments, cv2.INTER_NEAREST), np.uint8),
        None if scene.sky is None else np.asarray(take(scene.sky, smooth), np.float32) / np.float32(255),
    )


def vary_scene(view: _View, rng: np.random.Generator, config: SynthesisConfig, indoors: bool) -> FloatArray:
    """The clear view with other paint, light and tone, so that few scenes stand for many."""
    clear = view.clear
    if rng.random() < config.repaint * (1 if indoors else 1 / 4):
        spread = rng.uniform(0.1, 0.4)
        brightness = rng.normal(0, spread, (SEGMENTS, 1)) + rng.normal(0, spread / 3, (SEGMENTS, 3))
        paint, gray = brightness.astype(np.float32)[view.segments], luminance(clear)
        for channel in range(3):
            smooth = guided_filter(gray, np.ascontiguousarray(paint[..., channel]), 5, 1e-3)  # no staircases at edges
            clear[..., channel] = np.clip(clear[..., channel] * np.exp(smooth), 0, 1)
    if rng.random() < config.relight:
        strength, (height, width) = np.float32(rng.uniform(0.1, 0.4)), clear.shape[:2]
        light = np.exp(strength * smooth_noise(rng, height, width, int(rng.integers(1, 4))))
        clear = np.clip(clear * light[..., None], 0, 1)
    return _tone(clear, rng, recolor=0.4 if indoors else 0.0)


def make_high_key(clear: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A bright and pale exposure whose darkest parts stay dark: it looks like haze, and is none."""
    gray = clear.mean(axis=2, keepdims=True)
    clear = gray + (clear - gray) * np.float32(rng.uniform(0.1, 1.0))
    clear = np.clip(clear * np.float32(rng.uniform(1.0, 1.4)), 0, 1) ** np.float32(rng.uniform(0.45, 1.0))
    lift = np.float32(rng.uniform(0, 0.08))
    return np.asarray(lift + clear * (1 - lift), np.float32)


def make_overcast(clear: FloatArray, sky: FloatArray, airlight: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The scene under a sky of the colour of the haze, changing a little towards the top, with faint clouds."""
    height, width = sky.shape
    y = np.linspace(0.5, -0.5, height, dtype=np.float32)[:, None]
    change = np.float32(rng.normal(0, 0.08)) * y + np.float32(rng.normal(0, 0.02))
    change = change + np.float32(abs(rng.normal(0, 0.02))) * smooth_noise(rng, height, width, int(rng.integers(2, 9)))
    color = enlarge_airlight(airlight, height, width) * (1 + change[..., None])
    color = color + rng.normal(0, 0.008, 3).astype(np.float32)
    return np.asarray(clear + (np.clip(color, 0, 1) - clear) * sky[..., None], np.float32)


def share_lost(optical: FloatArray, sky: FloatArray) -> float:
    """Share of the light of the sky that the haze takes."""
    return float(1 - np.exp(-(optical * sky).sum() / max(float(sky.sum()), 1e-3)))


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> FloatArray:
    """Smooth noise of deviation about 1 with ``cells`` patches along a side."""
    knots = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def random_depth(clear: FloatArray, segments: ByteArray, rng: np.random.Generator, room: float) -> FloatArray:
    """A depth that has nothing to do with the scene, or little: smooth, or following edges of the picture."""
    height, width = clear.shape[:2]
    kind = rng.choice(4, p=(0.15, 0.2, 0.4, 0.25))
    log_depth = _room(rng, height, width) if rng.random() < room else _ramp(rng, height, width)
    if kind == 0:
        log_depth = np.zeros_like(log_depth)  # even veil
    elif kind == 1:
        log_depth = 0.6 * smooth_noise(rng, height, width, int(rng.integers(2, 6)))
    elif kind == 2:
        levels = rng.standard_normal(SEGMENTS).astype(np.float32) * np.float32(rng.uniform(0.2, 0.8))
        log_depth = log_depth + guided_filter(luminance(clear), levels[segments], 5, 1e-3)  # no staircases at edges
    else:
        soft = cv2.GaussianBlur(clear, (0, 0), rng.uniform(0.6, 3.0))
        weights = rng.normal(0, 1.2, 3).astype(np.float32) + np.float32(rng.normal(0.4, 0.6))
        log_depth = log_depth + (soft - soft.mean(axis=(0, 1))) @ weights
    return np.exp(np.clip(log_depth, -3, 3)).astype(np.float32)


def _ramp(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Logarithm of a depth that grows towards a horizon, most often upwards, as it does in most photographs."""
    y = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    slope, tilt = rng.normal(1.0, 0.9), rng.normal(0, 0.5)
    horizon = rng.uniform(0.35, 1.3)
    return np.asarray(slope * np.minimum(y, horizon) ** rng.uniform(0.7, 2.5) * 1.6 + tilt * x, np.float32)


def _room(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Logarithm of the depth of an empty box seen from inside: floor, ceiling, walls and the end of the room."""
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] - np.float32(rng.normal(0, 0.15))
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] - np.float32(rng.normal(0, 0.25))
    floor, ceiling, left, right = np.exp(rng.normal(0, 0.5, 4)).astype(np.float32)
    nearness = np.maximum(np.maximum(y / floor, -y / ceiling), np.maximum(x / right, -x / left))
    return np.asarray(-np.log(np.maximum(nearness, np.float32(rng.uniform(0.08, 0.35)))), np.float32)


def push_back_haze(depth: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Depth beyond where the haze begins, which is behind up to two thirds of the view."""
    first = np.quantile(depth[::4, ::4], rng.uniform(0.1, 0.67))
    beyond = np.maximum(depth - np.float32(first), 0)
    return np.asarray(beyond + np.float32(1e-2) * depth, np.float32)


def soften_depth(depth: FloatArray, rng: np.random.Generator, even: float) -> FloatArray:
    """Change the spread of a depth and bring its mean to 1."""
    depth = np.minimum(depth, np.float32(rng.uniform(3, 12)) * np.median(depth))
    if rng.random() < even:
        return np.asarray(depth / depth.mean(), np.float32)
    depth = depth ** np.float32(rng.uniform(0.6, 1.1))
    depth = depth + np.float32(rng.uniform(0, 0.5)) * depth.mean()  # haze between the camera and the nearest thing
    return np.asarray(depth / depth.mean(), np.float32)


def _tone(clear: FloatArray, rng: np.random.Generator, recolor: float) -> FloatArray:
    """Another exposure, contrast, white balance and saturation of the scene, so that few scenes stand for many.

    Paint and furniture may have any colour, so rooms are recoloured; skies and leaves may not.
    """
    if rng.random() < 0.25:
        return clear
    if rng.random() < recolor:
        clear = clear[..., rng.permutation(3)]
    gray = clear.mean(axis=2, keepdims=True)
    clear = gray + (clear - gray) * np.float32(rng.uniform(0.5, 1.3))
    clear = np.clip(clear, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.22)))
    balance = np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    return np.asarray(np.clip(clear * balance * np.float32(rng.uniform(0.75, 1.1)), 0, 1), np.float32)


def _airlight(rng: np.random.Generator) -> FloatArray:
    """Colour of the haze: mostly bright and grey, at times dim, warm or cold."""
    value = rng.uniform(*((0.7, 1.0), (0.5, 0.85), (0.3, 0.6))[rng.choice(3, p=(0.6, 0.27, 0.13))])
    kind = rng.choice(4, p=(0.45, 0.25, 0.15, 0.15))
    if kind == 0:
        tint = rng.normal(0, 0.008, 3)
    elif kind == 1:
        tint = rng.normal(0, 0.03, 3)
    else:
        amount = rng.uniform(0, 0.14)
        warm = np.array((1.0, 0.45, -0.6)) if kind == 2 else np.array((-0.9, 0.0, 0.6))
        tint = amount * warm + rng.normal(0, 0.01, 3)
    return np.clip(value + tint * value, 0.15, 1.0).astype(np.float32)


def dim_below(clear: FloatArray, light: FloatArray, rng: np.random.Generator) -> FloatArray:
    """In dim haze the scene is dim as well: no sun shines on it."""
    bright = float(np.percentile(clear[::4, ::4].max(axis=2), 97))
    goal = float(light.mean()) * rng.uniform(0.85, 1.25)
    return clear * np.float32(goal / bright) if bright > goal and rng.random() < 0.8 else clear


def _optical_depth(depth: FloatArray, rng: np.random.Generator, config: SynthesisConfig, plain: bool) -> FloatArray:
    height, width = depth.shape
    low, high = config.optical_depth
    mean = np.exp(rng.uniform(np.log(low), np.log(high))) if rng.random() < 0.5 else rng.uniform(0.2, high)
    optical = depth * np.float32(mean)
    if not plain and rng.random() < config.patchy:
        noise = smooth_noise(rng, height, width, int(rng.integers(2, 8)))
        optical = optical * np.exp(np.float32(rng.uniform(0.1, 0.4)) * noise)
    return np.asarray(np.minimum(optical, np.float32(rng.uniform(2.2, 4.0))), np.float32)


def apply_haze(clear: FloatArray, transmission: FloatArray, airlight: FloatArray, in_srgb: bool) -> FloatArray:
    """Koschmieder's model, I = J t + A (1 - t) (He et al. 2011, Eq. 1)."""
    height, width = transmission.shape
    light = enlarge_airlight(airlight, height, width)
    share = transmission[..., None]
    if in_srgb:
        return clear * share + light * (1 - share)
    return linear_to_srgb(srgb_to_linear(clear) * share + srgb_to_linear(light) * (1 - share))


def enlarge_airlight(airlight: FloatArray, height: int, width: int) -> FloatArray:
    """Airlight (height, width, 3) from its grid, whose corners are the corners of the picture."""
    if np.ptp(airlight, axis=(0, 1)).max() == 0:
        return airlight[:1, :1]
    last = AIRLIGHT_GRID - 1
    y = np.linspace(0, last, height, dtype=np.float32)[:, None]
    x = np.linspace(0, last, width, dtype=np.float32)[None, :]
    y, x = np.broadcast_to(y, (height, width)).copy(), np.broadcast_to(x, (height, width)).copy()
    return np.asarray(cv2.remap(airlight, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def degrade(hazy: FloatArray, rng: np.random.Generator, config: SynthesisConfig) -> ByteArray:
    """What a camera and a file do to the hazy picture."""
    height, width = hazy.shape[:2]
    if rng.random() < config.blur:
        hazy = np.asarray(cv2.GaussianBlur(hazy, (0, 0), rng.uniform(0.3, 1.0)), np.float32)
    if rng.random() < config.noise:
        hazy = hazy + rng.standard_normal(hazy.shape, np.float32) * np.float32(rng.uniform(0.002, 0.015))
    if rng.random() < config.shrink:
        share = rng.uniform(0.5, 0.95)
        size = (max(1, round(width * share)), max(1, round(height * share)))
        small = cv2.resize(hazy, size, interpolation=cv2.INTER_AREA)
        hazy = np.asarray(cv2.resize(small, (width, height)), np.float32)
    pixels = to_bytes(hazy)
    if rng.random() < config.jpeg:
        stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))])[1]
        pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def to_bytes(image: FloatArray) -> ByteArray:
    return np.asarray(np.clip(image * 255 + np.float32(0.5), 0, 255), np.uint8)
