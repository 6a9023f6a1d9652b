"""Random views of a sample: the same for hazy picture, clear picture and depth.

A transform takes a sample and a generator, and draws from nothing else. ``meta["view"]`` keeps what was cut, so that
whatever else belongs to the whole picture can be cut likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.data.dataset import Sample, Transform
from unhaze.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CenterCrop", "Compose", "RandomCrop", "RandomFlip", "RandomTurn", "ResizeToAtLeast", "View", "random_view"]


@dataclass(frozen=True, slots=True)
class View:
    """Which part of the whole picture a sample shows, and how it lies.

    Applied in this order: resize to ``resized``, cut, flip left-right, flip top-bottom, turn.

    Attributes:
        resized: (H, W) of the whole picture after resizing.
        top, left, height, width: The cut in it [px].
        flip_x, flip_y: Mirrored left-right, top-bottom.
        turns: Quarter turns counter-clockwise.
    """

    resized: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    flip_x: bool = False
    flip_y: bool = False
    turns: int = 0

    def apply(self, whole: NDArray[Any]) -> NDArray[Any]:
        """The view of an array (H, W) or (H, W, C) that belongs to the whole picture, such as another map.

        Args:
            whole: Array as large as the whole picture.
        """
        resized = _resize(whole, self.resized)
        part = resized[self.top : self.top + self.height, self.left : self.left + self.width]
        part = part[:, ::-1] if self.flip_x else part
        part = part[::-1] if self.flip_y else part
        return np.rot90(part, self.turns)


@dataclass(frozen=True, slots=True)
class Compose:
    """Transforms one after the other."""

    parts: tuple[Transform, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply all."""
        for part in self.parts:
            sample = part(sample, rng)
        return sample


@dataclass(frozen=True, slots=True)
class ResizeToAtLeast:
    """Enlarge pictures whose short side is below ``size`` [px], keeping their shape; others stay."""

    size: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws nothing."""
        height, width = sample.hazy.shape[:2]
        scale = self.size / min(height, width)
        if scale <= 1:
            return sample
        _check_order(self, sample, allowed=())
        size = (max(self.size, round(height * scale)), max(self.size, round(width * scale)))
        resized = sample.map_pixels(lambda array: _resize(array, size))
        return _viewed(resized, View(size, 0, 0, *size))


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A square part of random place.

    Attributes:
        size: Side [px].
        edge_decay: Weight of crops that touch an edge. An edge is chosen, each of the two as often, with probability
            ``edge_decay * size / side``, because the pixels there are in fewer crops than others (as in the official
            code of DehazeFormer); 0 for even places.

    Raises:
        UsageError: When called: the picture is smaller than ``size``.
    """

    size: int
    edge_decay: float = 0.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws the place."""
        height, width = sample.hazy.shape[:2]
        if min(height, width) < self.size:
            raise UsageError(
                f"{sample.name} has {width}x{height} px, too few for crops of {self.size} px; take smaller crops, or "
                "resize before."
            )
        corner = []
        for side in (height, width):
            last = side - self.size
            at_edge = rng.random() < self.edge_decay * self.size / side
            corner.append(int(rng.integers(2)) * last if at_edge else int(rng.integers(last + 1)))
        return _crop(sample, corner[0], corner[1], self.size, self.size)


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The middle of a picture, ``size`` x ``size`` px, or less where it is smaller."""

    size: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws nothing."""
        full = sample.hazy.shape[:2]
        height, width = (min(self.size, side) for side in full)
        return _crop(sample, (full[0] - height) // 2, (full[1] - width) // 2, height, width)


@dataclass(frozen=True, slots=True)
class RandomFlip:
    """Mirrored half of the time, along each axis that is asked for."""

    horizontal: bool = True
    vertical: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws one number per axis."""
        flip_x = self.horizontal and rng.random() < 0.5
        flip_y = self.vertical and rng.random() < 0.5
        if not (flip_x or flip_y):
            return sample
        _check_order(self, sample, allowed=("resized", "cut"))
        step_y, step_x = -1 if flip_y else 1, -1 if flip_x else 1
        return _viewed(
            sample.map_pixels(lambda array: array[::step_y, ::step_x]),
            replace(_view_of(sample), flip_x=flip_x, flip_y=flip_y),
        )


@dataclass(frozen=True, slots=True)
class RandomTurn:
    """Turned by a random number of quarters."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws the number of quarters."""
        turns = int(rng.integers(4))
        if turns == 0:
            return sample
        _check_order(self, sample, allowed=("resized", "cut", "flipped"))
        turned = sample.map_pixels(lambda array: np.rot90(array, turns))
        return _viewed(turned, replace(_view_of(sample), turns=turns))


def random_view(
    size: int,
    *,
    edge_decay: float = 0.0,
    horizontal: bool = True,
    vertical: bool = False,
    turn: bool = False,
    enlarge: bool = True,
) -> Compose:
    """What most recipes do to a pair: crop, flip, turn.

    Args:
        size: Side of the crop [px].
        edge_decay: See :class:`RandomCrop`.
        horizontal: Mirror left-right at random.
        vertical: Mirror top-bottom at random.
        turn: Turn by quarters at random; bad for outdoor scenes, whose far end is at the top.
        enlarge: Enlarge pictures that are smaller than the crop; otherwise they are an error.
    """
    parts: list[Transform] = [ResizeToAtLeast(size)] if enlarge else []
    parts.append(RandomCrop(size, edge_decay))
    if horizontal or vertical:
        parts.append(RandomFlip(horizontal, vertical))
    if turn:
        parts.append(RandomTurn())
    return Compose(tuple(parts))


def _crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    _check_order("A crop", sample, allowed=("resized", "cut"))
    cut = sample.map_pixels(lambda array: array[top : top + height, left : left + width])
    view = _view_of(sample)
    return _viewed(cut, View(view.resized, view.top + top, view.left + left, height, width))


def _check_order(what: object, sample: Sample, allowed: tuple[str, ...]) -> None:
    """A view knows one order of its steps only; another would make it wrong without a word."""
    view = sample.meta.get("view")
    if view is None:
        return
    done = {
        "resized": True,
        "cut": (view.height, view.width) != view.resized,
        "flipped": view.flip_x or view.flip_y,
        "turned": view.turns != 0,
    }
    if late := [step for step, is_done in done.items() if is_done and step not in allowed]:
        raise UsageError(f"{what} comes too late, the sample is {late[0]} already; resize, crop, flip and then turn.")


def _view_of(sample: Sample) -> View:
    size = sample.hazy.shape[:2]
    view: View = sample.meta.get("view", View((size[0], size[1]), 0, 0, size[0], size[1]))
    return view


def _viewed(sample: Sample, view: View) -> Sample:
    return replace(sample, meta={**sample.meta, "view": view})


def _resize(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if array.shape[:2] == size:
        return array
    return cv2.resize(array, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
