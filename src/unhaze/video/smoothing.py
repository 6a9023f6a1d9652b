"""Haze over time: the fields of successive frames smoothed, so that a still scene does not flicker.

Only what describes the haze is smoothed, never the picture, so nothing of the scene is smeared. Where the camera or the
scene moves, the haze of before moves along with it (optical flow at the size of the field); where motion explains a
place badly its haze follows at once, and at a scene cut the smoothing begins anew.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import UsageError
from unhaze.physics.color import luminance
from unhaze.physics.guided_filter import box_mean
from unhaze.restore.strips import full_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.restore.haze_field import HazeField

    Pixels = NDArray[Any]
    FloatArray = NDArray[np.float32]

__all__ = [
    "MAXIMUM_WEIGHT",
    "LookaheadSmoother",
    "TemporalSmoother",
    "check_lookahead",
    "check_temporal",
    "is_cut",
    "thumbnail",
]

MAXIMUM_WEIGHT = 0.98  # at 25 frames/s haze then follows a still scene within two seconds

MOST_LOOKAHEAD = 25  # frames; all of them are held in memory

ESTIMATES = 12  # of the haze field in a second; between two of them it follows the scene
LONGEST_STEP = 4  # frames

MOTION_SIDE = 320  # long side at which motion is found [px]; a flow of all of the view costs four times as much
STILL = 0.005  # share of a frame that may change before motion is looked for
FOLLOWED = 0.02  # share of a frame that motion may leave unexplained where the field is only followed

MOVED = (0.04, 0.12)  # change of brightness between frames, white is 1: noise .. certainly another thing

THUMBNAIL = (48, 27)  # width and height of what cuts are seen in [px]; noise and small motion average out
BINS = 16  # of the histogram of each channel
CUT_HISTOGRAM = 0.20  # share of the pixels that must change their bin ..
CUT_DIFFERENCE = 0.08  # .. while the mean change of a pixel, white is 1, exceeds this
CUT_DIFFERENCE_ALONE = 0.25  # so large a change is a cut even between pictures of the same colours
# Measured: 98 % of the pairs of 28 hazy photographs and 99 % of those of 38 clear ones are found to be cuts; shifts of
# up to a tenth of the width, a zoom of 5 %, 10 % more light and noise of 15 steps never are.


def check_temporal(weight: float) -> float:
    """``weight``, if it is one.

    Raises:
        UsageError: It lies outside 0 to ``MAXIMUM_WEIGHT``.
    """
    if not (math.isfinite(weight) and 0 <= weight <= MAXIMUM_WEIGHT):
        raise UsageError(f"temporal is {weight:g}, but must lie between 0 and {MAXIMUM_WEIGHT:g}.")
    return weight


def check_lookahead(frames: int) -> int:
    """``frames``, if so many can be looked ahead.

    Raises:
        UsageError: They are fewer than 0 or more than ``MOST_LOOKAHEAD``.
    """
    if not 0 <= frames <= MOST_LOOKAHEAD:
        raise UsageError(f"lookahead is {frames}, but must lie between 0 and {MOST_LOOKAHEAD} frames.")
    return frames


def estimate_step(rate: Fraction | float) -> int:
    """The field is estimated for every so many frames of a video of ``rate`` frames per second.

    >>> estimate_step(25), estimate_step(60), estimate_step(10)
    (2, 4, 1)
    """
    return min(LONGEST_STEP, max(1, round(rate / ESTIMATES)))


class TemporalSmoother:
    """Exponential smoothing of haze fields: ``s_k = w s_(k-1) + (1 - w) f_k``. One for each stream, in its order.

    Transmission is linear in the coefficients that are smoothed, so in a still scene the result is the smoothed
    transmission, exactly. Where the brightness of a place changes between two frames, w falls, down to 0: another thing
    is there now, and its haze must not be that of what was before. After a cut, and where the size of the frames
    changes, ``s_k = f_k``.

    Args:
        weight: w, 0 to ``MAXIMUM_WEIGHT``: the share of what was before. 0 changes nothing.

    Raises:
        UsageError: ``weight`` is out of range.
    """

    def __init__(self, weight: float) -> None:
        self.weight = check_temporal(weight)
        self._last: _Frame | None = None
        self._passed = 0  # frames since a field was estimated

    def __call__(self, field: HazeField, pixels: Pixels) -> HazeField:
        """The smoothed field of the next frame, ``pixels`` (H, W) or (H, W, 3)."""
        if self.weight == 0:
            return field
        now = _Look(pixels, field.slope.shape)
        before = self._last
        if before is not None and _same_shape(before.field, field):
            known = self._known_from_before(now)
            if known is not None:
                # the weight is that of one frame, and frames may have passed since the last field
                local = np.float32(self.weight ** (self._passed + 1)) * known[1]
                field = _mix(known[0], field, local.mean(), local)
        self._last, self._passed = _Frame(field, now.small, now.gray), 0
        return field

    def follow(self, pixels: Pixels) -> HazeField | None:
        """The field of the frame before, moved along with the scene; ``None`` where too much of the frame is new.

        It takes the place of the field of this frame, which then need not be estimated.
        """
        if self._last is None or self.weight == 0:
            return None
        now = _Look(pixels, self._last.field.slope.shape)
        known = self._known_from_before(now)
        if known is None or float(1 - known[1].mean()) > FOLLOWED:
            return None
        self._last, self._passed = _Frame(known[0], now.small, now.gray), self._passed + 1
        return known[0]

    def _known_from_before(self, now: _Look) -> tuple[HazeField, FloatArray] | None:
        """The field before where its places are now, and how surely each (h, w) shows the same; ``None`` at a cut."""
        before = self._last
        assert before is not None
        if is_cut(before.small, now.small):
            return None
        same = _sameness(before.gray, now.gray)
        if 1 - same.mean() < STILL:
            return before.field, same
        flow = _motion(now.gray, before.gray)
        height, width = now.gray.shape
        was_within = (flow >= -1).all(axis=2) & (flow[..., 0] <= width) & (flow[..., 1] <= height)
        moved = _sameness(_moved(before.gray, flow), now.gray) * np.asarray(was_within, np.float32)
        if moved.mean() <= same.mean():
            return before.field, same
        field = before.field
        slope, offset, confidence = (_moved(each, flow) for each in (field.slope, field.offset, field.confidence))
        return replace(field, slope=slope, offset=offset, confidence=confidence), moved

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What the next frame is smoothed with, as named arrays: to be kept in a file; empty before the first frame."""
        if self._last is None:
            return {}
        parts = {each.name: np.asarray(getattr(self._last.field, each.name)) for each in fields(self._last.field)}
        return {**parts, "_small": self._last.small, "_gray": self._last.gray, "_passed": np.asarray(self._passed)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on as if the frames had been seen of which :attr:`state` is the outcome."""
        from unhaze.restore.haze_field import HazeField

        parts: dict[str, Any] = {
            name: array if array.ndim else array.item() for name, array in state.items() if name[0] != "_"
        }
        self._last = _Frame(HazeField(**parts), state["_small"], state["_gray"]) if state else None
        self._passed = int(state.get("_passed", 0))


class LookaheadSmoother:
    """Smoothing that knows a few frames after each, too, so that haze does not lag behind the scene.

    With ``c`` what :class:`TemporalSmoother` makes, and ``b_i = f_i + w (b_(i+1) - f_i)`` from the end of the window
    backwards, ``y_k = (c_k + w b_(k+1)) / (1 + w)``: the exponential kernel on both sides, cut off at the window. Where
    a place changes w falls as there, and nothing is taken from beyond a cut.

    Args:
        weight: w, 0 to ``MAXIMUM_WEIGHT``.
        frames: Length of the window, 1 to ``MOST_LOOKAHEAD``.
    """

    def __init__(self, weight: float, frames: int) -> None:
        self.before = TemporalSmoother(weight)
        self._frames = check_lookahead(frames)
        # for each frame: smoothed, by itself, its look, and how surely each place shows what the frame before showed
        self._window: deque[tuple[HazeField, HazeField, _Look, FloatArray]] = deque()

    def push(self, field: HazeField, pixels: Pixels) -> list[HazeField]:
        """Take the next frame; the smoothed field of the frame that leaves the window, once there is one."""
        smoothed, now = self.before(field, pixels), _Look(pixels, field.slope.shape)
        share = np.zeros_like(now.gray)
        if self._window:
            last = self._window[-1]
            if _same_shape(last[1], field) and not is_cut(last[2].small, now.small):
                share = np.float32(self.before.weight) * _sameness(last[2].gray, now.gray)
        self._window.append((smoothed, field, now, share))
        return [self._leave()] if len(self._window) > self._frames else []

    def flush(self) -> list[HazeField]:
        """The smoothed fields of all frames that are left."""
        return [self._leave() for _ in range(len(self._window))]

    def _leave(self) -> HazeField:
        smoothed = self._window.popleft()[0]
        after: HazeField | None = None
        share = np.zeros(smoothed.slope.shape, np.float32)
        for _, alone, _, before in reversed(self._window):
            if after is not None and _same_shape(after, alone):
                after = _mix(after, alone, share.mean(), share)
            else:
                after = alone
            share = before
        if after is None or not share.any():
            return smoothed
        share = share / (1 + share)
        return _mix(after, smoothed, share.mean(), share)


@dataclass(frozen=True, slots=True)
class _Frame:
    field: HazeField
    small: FloatArray
    gray: FloatArray  # (h, w) at the size of the field


class _Look:
    """A frame as it is compared with others: at the size of its field, and as a thumbnail."""

    def __init__(self, pixels: Pixels, size: tuple[int, ...]) -> None:
        height, width = size
        view = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        view /= np.float32(full_scale(pixels))
        self.small = thumbnail(view)
        self.gray: FloatArray = luminance(view) if view.ndim == 3 else view


def _sameness(before: FloatArray, gray: FloatArray) -> FloatArray:
    """How surely each place (h, w) shows the same thing in two frames, in [0, 1]."""
    change = box_mean(np.abs(gray - before), 1)
    return np.asarray(1 - np.clip((change - MOVED[0]) / (MOVED[1] - MOVED[0]), 0, 1), np.float32)


def _motion(now: FloatArray, before: FloatArray) -> FloatArray:
    """Where each pixel of ``now`` (h, w) was in ``before``: (h, w, 2), x and y [px]; optical flow, found small."""
    height, width = now.shape
    scale = min(1.0, MOTION_SIDE / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = [np.asarray(cv2.resize(each, size, interpolation=cv2.INTER_AREA) * 255, np.uint8) for each in (now, before)]
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow = cv2.resize(search.calc(small[0], small[1], None), (width, height), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x + flow[..., 0] * (width / size[0]), y + flow[..., 1] * (height / size[1])], axis=2)


def _moved(values: FloatArray, places: FloatArray) -> FloatArray:
    moved = cv2.remap(values, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def thumbnail(pixels: Pixels) -> FloatArray:
    """A frame as ``THUMBNAIL``, (h, w, 3) float32 in [0, 1]."""
    small = cv2.resize(pixels, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    small /= np.float32(full_scale(pixels))
    return np.asarray(small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2), np.float32)


def is_cut(before: FloatArray, after: FloatArray) -> bool:
    """Whether another scene begins between two thumbnails (h, w, 3) in [0, 1].

    Motion changes pixels and leaves the histogram; noise and flicker change little of both. A cut changes both, or
    the pixels so much that no motion explains it.
    """
    difference = float(np.abs(after - before).mean())
    if difference > CUT_DIFFERENCE_ALONE:
        return True
    if difference <= CUT_DIFFERENCE:
        return False
    elsewhere = [0.5 * np.abs(_histogram(before, c) - _histogram(after, c)).sum() for c in range(3)]
    return float(np.mean(elsewhere)) > CUT_HISTOGRAM


def _histogram(small: FloatArray, channel: int) -> FloatArray:
    """Shares of the pixels per bin; each pixel is split between two bins, so that no border makes a jump."""
    position = np.clip(small[..., channel].ravel() * BINS - 0.5, 0, BINS - 1)
    lower = np.minimum(position.astype(np.intp), BINS - 2)
    share = position - lower
    counts = np.bincount(lower, 1 - share, BINS) + np.bincount(lower + 1, share, BINS)
    return np.asarray(counts / position.size, np.float32)


def _same_shape(one: HazeField, other: HazeField) -> bool:
    return one.slope.shape == other.slope.shape and one.airlight.shape == other.airlight.shape


def _mix(before: HazeField, now: HazeField, weight: np.float32, local: FloatArray) -> HazeField:
    """Share ``weight`` of ``before``, of maps the share ``local`` (h, w), the rest of ``now``."""

    def mix(one: Any, other: Any, share: Any) -> Any:
        return other + share * (one - other)

    return replace(
        now,
        slope=mix(before.slope, now.slope, local),
        offset=mix(before.offset, now.offset, local),
        airlight=mix(before.airlight, now.airlight, weight),
        confidence=mix(before.confidence, now.confidence, local),
        lift=float(mix(before.lift, now.lift, weight)),
    )
