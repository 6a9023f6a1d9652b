"""Rooms that never were: pictures with exact depth, drawn from boxes, pictures on their faces, and lamps.

Own procedure. Few indoor scenes with measured depth are free to train on, and a network that sees one kitchen learns
that kitchen. A made-up room looks like none, but haze grows in it as in a real one: with the distance along floors and
walls, with steps at the edges of furniture, and over paint that says nothing about it.

Coordinates are metres: x to the right, y up, z away from the camera before it turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = ["RenderedRoom", "render_room"]

_TEXTURE = 192  # side of the picture on a face [px]
_BOUNCE = 0.2  # share of the light that comes from everywhere


class RenderedRoom(NamedTuple):
    """A picture of a room: image (h, w, 3) uint8 RGB, sRGB-encoded, and depth (h, w) float32 [m]."""

    image: ByteArray
    depth: FloatArray


class _Boxes(NamedTuple):
    """Upright boxes: their middle (n, 3), half sizes (n, 3) and turn about the vertical (n,)."""

    center: FloatArray
    half: FloatArray
    turn: FloatArray


def render_room(rng: np.random.Generator, pictures: Sequence[ByteArray], height: int, width: int) -> RenderedRoom:
    """One room.

    Args:
        rng: Generator of everything random.
        pictures: (H, W, 3) uint8 RGB; parts of them are the paint, the posters and the wood.
        height: Rows.
        width: Columns.
    """
    size = np.array([rng.uniform(2.5, 7), rng.uniform(2.2, 3.2), rng.uniform(3, 9)], np.float32)
    boxes = _furniture(rng, size)
    origin, rays = _camera(rng, size, height, width)
    distance, face, place = _meet_walls(origin, rays, size)
    for index in range(len(boxes.turn)):
        _meet_box(origin, rays, boxes, index, (distance, face, place))
    points = origin + rays * distance[..., None]
    colors = _paint(rng, pictures, face, place)
    shaded = colors * _light(rng, points, face, boxes, size)[..., None]
    image = _expose(rng, shaded)
    # depth is the distance from the plane of the camera, as a depth sensor gives it: rays have length 1 along its axis
    return RenderedRoom(image, np.asarray(distance, np.float32))


def _furniture(rng: np.random.Generator, size: FloatArray) -> _Boxes:
    """Cupboards along the walls, things in the middle of the floor, boards and lamps that hang."""
    count = int(rng.integers(5, 20))
    half = np.exp(rng.normal(np.log(0.3), 0.55, (count, 3))).clip(0.04, 1.1)
    turn = np.where(rng.random(count) < 0.7, 0, rng.uniform(-0.8, 0.8, count))
    center = np.stack(
        [rng.uniform(-0.5, 0.5, count) * size[0], half[:, 1], rng.uniform(0.15, 1.0, count) * size[2]], axis=1
    )
    at_wall = rng.random(count) < 0.55
    side = rng.integers(0, 3, count)
    center[:, 0] = np.where(at_wall & (side == 0), -size[0] / 2 + half[:, 0], center[:, 0])
    center[:, 0] = np.where(at_wall & (side == 1), size[0] / 2 - half[:, 0], center[:, 0])
    center[:, 2] = np.where(at_wall & (side == 2), size[2] - half[:, 2], center[:, 2])
    turn = np.where(at_wall, 0, turn)
    hangs = rng.random(count) < 0.3
    center[:, 1] = np.where(hangs, rng.uniform(0.4, 1, count) * size[1], center[:, 1])
    tables = rng.random(count) < 0.2
    half[:, 1] = np.where(tables, 0.03, half[:, 1])
    center[:, 1] = np.where(tables, 0.75, center[:, 1])
    return _Boxes(center.astype(np.float32), half.astype(np.float32), turn.astype(np.float32))


def _camera(rng: np.random.Generator, size: FloatArray, height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Where it stands (3,) and a ray per pixel (h, w, 3), of length 1 along its axis."""
    origin = np.array([rng.uniform(-0.35, 0.35) * size[0], rng.uniform(0.9, 1.8), rng.uniform(0.02, 0.4) * size[2]])
    spread = np.tan(np.radians(rng.uniform(50, 80)) / 2)
    x = np.linspace(-spread, spread, width)[None, :].repeat(height, axis=0)
    y = np.linspace(1, -1, height)[:, None].repeat(width, axis=1) * spread * height / width
    yaw, pitch, roll = rng.normal(0, 0.35), rng.normal(-0.12, 0.18), rng.normal(0, 0.03)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    up, ahead = y * np.cos(pitch) + np.sin(pitch), np.cos(pitch) - y * np.sin(pitch)
    rays = np.stack([x * np.cos(yaw) + ahead * np.sin(yaw), up, ahead * np.cos(yaw) - x * np.sin(yaw)], axis=-1)
    return origin.astype(np.float32), rays.astype(np.float32)


_Hits = tuple["FloatArray", "NDArray[np.int32]", "FloatArray"]


def _meet_walls(origin: FloatArray, rays: FloatArray, size: FloatArray) -> _Hits:
    """Distance (h, w), number of the face (0 to 5) and the place on it (h, w, 2) [m], of the room from inside."""
    low = np.array([-size[0] / 2, 0, 0], np.float32)
    high = low + size
    steady = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    exits = np.where(steady > 0, (high - origin) / steady, (low - origin) / steady)
    axis = exits.argmin(axis=2)
    distance = np.take_along_axis(exits, axis[..., None], axis=2)[..., 0]
    positive = np.take_along_axis(steady, axis[..., None], axis=2)[..., 0] > 0
    points = origin + rays * distance[..., None]
    return distance.astype(np.float32), (2 * axis + positive).astype(np.int32), _flat(points, axis)


def _meet_box(origin: FloatArray, rays: FloatArray, boxes: _Boxes, index: int, hits: _Hits) -> None:
    """Let one box cover what is behind it, in place."""
    distance, face, place = hits
    center, half, turn = boxes.center[index], boxes.half[index], float(boxes.turn[index])
    own_origin, own_rays = _turned(origin - center, turn), _turned(rays, turn)
    steady = np.where(np.abs(own_rays) < 1e-6, np.float32(1e-6), own_rays)
    first, second = (-half - own_origin) / steady, (half - own_origin) / steady
    enters, leaves = np.minimum(first, second), np.maximum(first, second)
    axis = enters.argmax(axis=2)
    near = enters.max(axis=2)
    seen = (near < leaves.min(axis=2)) & (near > 0.3) & (near < distance)
    if not seen.any():
        return
    points = own_origin + own_rays * near[..., None]
    positive = np.take_along_axis(own_rays, axis[..., None], axis=2)[..., 0] < 0
    distance[seen] = near[seen]
    face[seen] = (6 * (index + 1) + 2 * axis + positive)[seen]
    place[seen] = _flat(points, axis)[seen]


def _turned(x: FloatArray, angle: float) -> FloatArray:
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.stack([cosine * x[..., 0] - sine * x[..., 2], x[..., 1], sine * x[..., 0] + cosine * x[..., 2]], axis=-1)


def _flat(points: FloatArray, axis: NDArray[np.intp]) -> FloatArray:
    """The two coordinates along a face, (h, w, 2)."""
    across = np.where(axis == 0, points[..., 2], points[..., 0])
    along = np.where(axis == 1, points[..., 2], points[..., 1])
    return np.stack([across, along], axis=-1).astype(np.float32)


def _paint(
    rng: np.random.Generator, pictures: Sequence[ByteArray], face: NDArray[np.int32], place: FloatArray
) -> FloatArray:
    """Reflectance (h, w, 3) in [0, 1]: for each object a colour, for each of its faces a picture, faint or strong."""
    colors = np.empty((*face.shape, 3), np.float32)
    own: dict[int, FloatArray] = {}
    for number in np.unique(face):
        thing, wall = number // 6, number < 6
        key = -int(number) if number in (2, 3) else int(thing)  # floor and ceiling have paint of their own
        base = own.setdefault(key, _base_color(rng, wall=wall and number != 2))
        strength = rng.choice([0.15, 0.5, 1.0], p=[0.45, 0.3, 0.25])
        # a square part of a picture, mirrored endlessly
        picture = pictures[int(rng.integers(len(pictures)))]
        side = int(min(picture.shape[:2]) * rng.uniform(0.25, 1.0))
        top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
        square = picture[top : top + side, left : left + side]
        square = np.asarray(cv2.resize(square, (_TEXTURE, _TEXTURE), interpolation=cv2.INTER_AREA), np.float32)
        texture = square / np.float32(255)
        scaled = place * np.float32(_TEXTURE / rng.uniform(0.4, 3.0))
        # only the box around what is seen of the face is looked up
        seen = face == number
        left, top, width, height = cv2.boundingRect(seen.astype(np.uint8))
        part = np.s_[top : top + height, left : left + width]
        x, y = (np.ascontiguousarray(scaled[part][..., i]) for i in (0, 1))
        sampled = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)[seen[part]]
        gray = sampled.mean(axis=1, keepdims=True) / max(float(texture.mean()), 0.05)
        painted = base * (1 + np.float32(strength) * (gray - 1))
        colors[seen] = sampled if strength == 1.0 and rng.random() < 0.5 else painted
    return np.clip(colors, 0.01, 0.98)


def _base_color(rng: np.random.Generator, *, wall: bool) -> FloatArray:
    """Walls are mostly pale, things are anything."""
    value = rng.uniform(0.3, 0.9) if wall else rng.beta(1.0, 1.8) * 0.9 + 0.02
    # paint, wood and cloth are warm or cold much more often than pink or green
    warm = rng.normal(0.05, 0.08 if wall else 0.25) * np.array((1.0, 0.1, -1.0))
    tint = warm + rng.normal(0, 0.02 if wall else 0.07, 3)
    return np.clip(value * (1 + tint), 0.02, 0.95).astype(np.float32)


def _light(
    rng: np.random.Generator, points: FloatArray, face: NDArray[np.int32], boxes: _Boxes, size: FloatArray
) -> FloatArray:
    """Light on each pixel (h, w): from lamps, by Lambert's law, and from everywhere, less of it in corners."""
    # normals of the faces (h, w, 3), their sign left open
    turns = np.concatenate([np.zeros(1, np.float32), boxes.turn])[face // 6]
    axis = face % 6 // 2
    along_x = np.stack([np.cos(turns), np.zeros_like(turns), -np.sin(turns)], axis=-1)
    along_z = np.stack([np.sin(turns), np.zeros_like(turns), np.cos(turns)], axis=-1)
    upwards = np.broadcast_to(np.array([0, 1, 0], np.float32), along_x.shape)
    normals = np.where((axis == 0)[..., None], along_x, np.where((axis == 1)[..., None], upwards, along_z))
    total = np.full(face.shape, _BOUNCE * rng.uniform(0.5, 1.5), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        lamp = np.array(
            [rng.uniform(-0.5, 0.5) * size[0], rng.uniform(0.6, 0.98) * size[1], rng.uniform(0, 1) * size[2]]
        )
        away = lamp.astype(np.float32) - points
        square = np.square(away).sum(axis=2) + np.float32(0.3)
        cosine = np.abs((away * normals).sum(axis=2)) / np.sqrt(square)
        total += np.float32(rng.uniform(0.5, 2.5)) * cosine / square**0.75
    low = np.array([-size[0] / 2, 0, 0], np.float32)
    edge = np.sort(np.minimum(points - low, low + size - points), axis=2)[..., 1]  # to the second nearest wall
    return total * (1 - np.float32(rng.uniform(0, 0.5)) * np.exp(-np.abs(edge) / np.float32(0.25)))


def _expose(rng: np.random.Generator, light: FloatArray) -> ByteArray:
    """What a camera makes of it: exposure, warm or cold light, a curve, a little softness."""
    warmth = rng.normal(0, 0.08)
    light = light * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    bright = float(np.percentile(light, rng.uniform(90, 99.5)))
    linear = np.clip(light / max(bright, 1e-3), 0, 1)
    encoded = linear ** np.float32(1 / rng.uniform(1.3, 2.2)) * np.float32(rng.uniform(0.6, 1.0))
    soft = cv2.GaussianBlur(encoded, (0, 0), 0.6)
    return np.asarray(np.clip(soft * 255 + 0.5, 0, 255), np.uint8)
