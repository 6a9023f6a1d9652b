"""Restoring pixels at full resolution, strip by strip.

Every operation here works on single pixels, or on rows between two rows of the field, so the result does not depend on
where one strip ends and the next begins, bit for bit. A strip is sized to stay in the cache of a processor core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.images.levels import find_white, nominal_white
from unhaze.physics.color import luminance
from unhaze.restore.haze_field import HazeField
from unhaze.restore.kernels import load_kernels

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from unhaze.images.color import ToneCurve
    from unhaze.restore.options import DehazeOptions

    Pixels = NDArray[Any]
    FloatArray = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = ["STRIP_PIXELS", "full_scale", "restore_strips", "store_where", "transmission_strips"]

STRIP_PIXELS = 1 << 17
MAXIMUM_COLOR_GAIN = np.float32(3)  # in denser haze a tint of the light or of the camera would drown the scene's
RANGE_MARGIN = 4 / 255  # how far inside black and white restored colours stay


def full_scale(pixels: Pixels) -> float:
    """The value that stands for white in one of many pictures: the type's largest, or for floats what they reach."""
    return nominal_white(pixels.dtype) if pixels.dtype.kind == "u" else find_white(pixels)


@dataclass(frozen=True)
class RowBlender:
    """A small map enlarged to (height, width) bilinearly, any rows at a time.

    Columns are enlarged at once, which costs little as the map has few rows; rows are blended on demand. Pixel centres
    lie as in ``cv2.resize``: full-resolution row y at ``(y + 0.5) * h / height - 0.5``.
    """

    wide: FloatArray  # (h, width)
    height: int

    @classmethod
    def enlarge(cls, small: FloatArray, height: int, width: int) -> RowBlender:
        """Prepare ``small`` (h, w) for enlargement to (height, width)."""
        size = (width, small.shape[0])
        wide = small if small.shape[1] == width else cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        return cls(np.ascontiguousarray(wide, dtype=np.float32), height)

    def rows(self, start: int, stop: int) -> FloatArray:
        """Rows ``start`` to ``stop`` of the enlarged map, (stop - start, width) float32."""
        last = self.wide.shape[0] - 1
        if last + 1 == self.height:
            return self.wide[start:stop]
        position = np.clip((np.arange(start, stop) + 0.5) * ((last + 1) / self.height) - 0.5, 0, last)
        above = position.astype(np.intp)
        share = (position - above).astype(np.float32)[:, None]
        # take lets other threads run meanwhile, indexing would not
        upper, lower = (np.take(self.wide, row, axis=0) for row in (above, np.minimum(above + 1, last)))
        lower -= upper
        lower *= share
        lower += upper
        return np.asarray(lower, np.float32)


def restore_strips(
    pixels: Pixels,
    out: Pixels,
    field: HazeField,
    options: DehazeOptions,
    curve: ToneCurve | None = None,
    *,
    white: float | None = None,
    hidden: Mask | None = None,
    pool: Executor | None = None,
    strip_pixels: int = STRIP_PIXELS,
) -> None:
    """Restore ``pixels`` into ``out``, which may be the same array. Values above white stay as they are.

    Args:
        pixels: (H, W) or (H, W, 3) uint8, uint16 or float32.
        out: Same shape and type.
        field: The haze of this picture.
        options: Strength and colour blend are applied here; protection and exposure are part of the field.
        curve: Tone curve of the picture's colour profile, where it is not that of sRGB.
        white: The value that stands for white; :func:`full_scale` if not given.
        hidden: (H, W), pixels that show nothing and stay as they are.
        pool: Where strips are worked on side by side; one after another without it.
        strip_pixels: Size of a strip; the result does not depend on it.
    """
    if options.strength == 0:
        if out is not pixels:
            np.copyto(out, pixels)
        return
    restore = _StripRestorer(pixels, field, options, curve, white, hidden)
    kernels = load_kernels()
    work = restore if kernels is None else restore.compiled(*kernels, pixels)
    for _ in (pool.map if pool else map)(lambda rows: work(pixels[rows], out[rows], rows), _cut(pixels, strip_pixels)):
        pass


def transmission_strips(
    pixels: Pixels,
    field: HazeField,
    curve: ToneCurve | None = None,
    *,
    white: float | None = None,
    hidden: Mask | None = None,
    pool: Executor | None = None,
) -> FloatArray:
    """Transmission (H, W) float32 of a picture at full resolution; ``hidden`` pixels are taken as black."""
    out = np.empty(pixels.shape[:2], np.float32)
    restore = _StripRestorer(pixels, field, None, curve, white, hidden)

    def fill(rows: slice) -> None:
        working = restore.to_working(pixels[rows], rows)
        out[rows] = restore.transmission(luminance(working) if working.ndim == 3 else working, rows)

    for _ in (pool.map if pool else map)(fill, _cut(pixels, STRIP_PIXELS)):
        pass
    return out


def _cut(pixels: Pixels, strip_pixels: int) -> list[slice]:
    """The rows of each strip."""
    height, width = pixels.shape[:2]
    count = max(1, strip_pixels // max(1, width))
    return [slice(start, min(height, start + count)) for start in range(0, height, count)]


class _StripRestorer:
    """Everything about one picture that its strips share. Values are in units of the file: white is ``white``."""

    def __init__(
        self,
        pixels: Pixels,
        field: HazeField,
        options: DehazeOptions | None,
        curve: ToneCurve | None,
        white: float | None,
        hidden: Mask | None,
    ) -> None:
        height, width = pixels.shape[:2]
        self.white = np.float32(full_scale(pixels) if white is None else white)
        self.hidden = hidden
        # a single bright value of another kind of number may lie above
        self.may_exceed = pixels.dtype.kind == "f" or self.white < nominal_white(pixels.dtype)
        self.curve = curve
        self.slope = RowBlender.enlarge(field.slope / self.white, height, width)
        self.offset = RowBlender.enlarge(field.offset, height, width)
        # the airlight as brightness and colour differences: of one colour, or maps of them
        airlight = field.airlight * self.white
        gray = luminance(airlight.reshape(-1, 1, 3)).reshape(airlight.shape[:-1])
        planes = [gray, *(airlight[..., channel] - gray for channel in range(3))]
        self.airlights: list[Any] = (
            [RowBlender.enlarge(plane, height, width) for plane in planes]
            if airlight.ndim == 3
            else [np.float32(plane) for plane in planes]
        )
        self.strength = options.strength if options else 0.0
        self.color_blend = np.float32(options.color_blend if options else 1.0)
        self.lift = np.float32(field.lift * max(self.strength, 0.0))
        self.least = np.float32(field.least)

    def __call__(self, source: Pixels, target: Pixels, rows: slice) -> None:
        working = self.to_working(source, rows)
        # values that stay as they are, in the shape of the strip or fit for it
        kept: Mask | None = source > self.white if self.may_exceed else None
        if self.hidden is not None and self.hidden[rows].any():
            hidden = self.hidden[rows] if source.ndim == 2 else self.hidden[rows][..., None]
            kept = hidden if kept is None else kept | hidden
        elif kept is not None and not kept.any():
            kept = None
        gray = luminance(working) if working.ndim == 3 else working
        gray_airlight, *tints = (
            each.rows(rows.start, rows.stop) if isinstance(each, RowBlender) else each for each in self.airlights
        )
        planes = cv2.split(working) if working.ndim == 3 else (working,)
        transmission = self.transmission(gray, rows)
        if self.strength > 0:
            airlights = [gray_airlight + tint for tint in tints] if working.ndim == 3 else [gray_airlight]
            self._keep_in_range(transmission, planes, airlights)
        # contrast is multiplied with transmission ** -strength: the optical depth scaled
        if self.strength == 1.0:
            gain = np.reciprocal(transmission, out=transmission)
        else:
            # in float64, whose power is rounded the same way everywhere
            gain = np.power(transmission, -self.strength, out=transmission, dtype=np.float64, casting="same_kind")
        shift = (1 - gain) * gray_airlight
        restored: Any
        if working.ndim == 2:
            restored = self._finish(gray * gain + shift)
        else:
            color_gain = (gain - 1) * self.color_blend
            color_gain += 1
            np.minimum(color_gain, MAXIMUM_COLOR_GAIN, out=color_gain)
            shift += gray * (gain - color_gain)
            color_loss = 1 - color_gain
            finished = []
            for plane, tint in zip(planes, tints, strict=True):
                color = np.multiply(plane, color_gain, dtype=np.float32)
                color += shift
                color += color_loss * tint
                finished.append(self._finish(color))
            restored = cv2.merge(finished)
        if self.curve is not None:
            restored = self.curve.from_srgb(restored / self.white) * self.white
        if target.dtype != np.float32:
            restored += np.float32(0.5)  # the cast truncates: rounds half up after the shift
        store_where(target, restored, source, kept)

    def compiled(self, kernels: Any, level: str, pixels: Pixels) -> Callable[[Pixels, Pixels, slice], None]:
        """The same work on a strip, done by the package ``unhaze-kernels``."""
        height, width = pixels.shape[:2]
        # brightness (h, width) and the difference of each channel to it, of one row where there is one colour
        airlight, *tints = (
            each.wide if isinstance(each, RowBlender) else np.full((1, width), each, np.float32)
            for each in self.airlights
        )
        maps = self.slope.wide, self.offset.wide, airlight, tuple(tints)
        white = self.white
        numbers = (
            *(float(each) for each in (white, self.least, self.strength, self.color_blend, self.lift)),
            self.may_exceed,
            *(float(each) for each in (np.float32(RANGE_MARGIN) * white, np.float32(1e-3) * white, MAXIMUM_COLOR_GAIN)),
        )
        tables: tuple[FloatArray | None, FloatArray | None] = (None, None)
        if self.curve is not None:
            forward = self.curve.forward
            if pixels.dtype.kind == "u":  # one working value for each value there is
                values = np.minimum(np.arange(np.iinfo(pixels.dtype).max + 1, dtype=np.float32), white) / white
                channels = np.repeat(values[None, :, None], len(forward), axis=2)  # (1, values, C)
                forward = (self.curve.to_srgb(channels) * white)[0].T
            tables = np.ascontiguousarray(forward, np.float32), np.ascontiguousarray(self.curve.backward)

        def restore(source: Pixels, target: Pixels, rows: slice) -> None:
            hidden = None if self.hidden is None else self.hidden[rows]
            kernels.restore(source, target, hidden, (rows.start, height), maps, numbers, tables, level)

        return restore

    def _keep_in_range(self, transmission: FloatArray, planes: Sequence[Any], airlights: Sequence[Any]) -> None:
        """Raise the transmission of pixels that would leave the range of the picture, so that nothing is clipped.

        The boundary constraint of Meng et al. 2013, Eq. 7, per pixel: A + (I - A) / t stays a little inside black and
        white in every channel. What would be clipped keeps its hue instead, and fine dark structure stays apart.
        """
        margin = np.float32(RANGE_MARGIN) * self.white
        least = np.float32(1e-3) * self.white
        bound = np.zeros_like(transmission)
        for plane, airlight in zip(planes, airlights, strict=True):
            difference = plane - airlight
            towards_white = 1 / np.maximum(self.white - margin - airlight, least)
            towards_black = -1 / np.maximum(airlight - margin, least)
            np.maximum(bound, difference * towards_white, out=bound)
            difference *= towards_black
            np.maximum(bound, difference, out=bound)
        np.minimum(bound, 1, out=bound)
        np.maximum(transmission, bound, out=transmission)

    def to_working(self, source: Pixels, rows: slice) -> FloatArray:
        """float32 copy of a strip, from zero to white, with the tone curve of sRGB; hidden pixels are black."""
        working = source.astype(np.float32)
        if self.hidden is not None:
            working[self.hidden[rows]] = 0
        if self.may_exceed:
            np.clip(working, 0, self.white, out=working)
        if self.curve is None:
            return working
        return np.asarray(self.curve.to_srgb(working / self.white) * self.white, np.float32)

    def transmission(self, gray: FloatArray, rows: slice) -> FloatArray:
        """Transmission of a strip in [least of the field, 1]."""
        guided = self.slope.rows(rows.start, rows.stop) * gray
        guided += self.offset.rows(rows.start, rows.stop)
        return np.clip(guided, self.least, np.float32(1), out=guided)

    def _finish(self, plane: FloatArray) -> FloatArray:
        """Clip to the range of the picture and brighten: x (1 + k) / (1 + k x)."""
        np.clip(plane, 0, self.white, out=plane)
        if self.lift:
            divisor = plane * (self.lift / self.white)
            divisor += 1
            plane *= 1 + self.lift
            plane /= divisor
        return plane


def store_where(target: Pixels, restored: Any, source: Pixels, kept: Mask | None) -> None:
    """Write ``restored`` into ``target``, both (H, W, 3) or (H, W), but ``source`` where ``kept`` (H, W) is set.

    ``source`` and ``target`` may be the same array.
    """
    if kept is None:
        np.copyto(target, restored, casting="unsafe")
        return
    np.copyto(target, restored, casting="unsafe", where=~kept)
    if not np.may_share_memory(target, source):
        np.copyto(target, source, where=kept)
