"""Stored frames as pictures and back: luma and chroma, ranges of values, and subsampling.

Colour. A y4m header says how chroma is subsampled and may say the value range, but never the matrix. The rules here are
those that ``ffmpeg`` users know:

* matrix: BT.709 from 720 lines on, BT.601 below, unless the caller names one;
* range: what ``XCOLORRANGE`` says; else full for grey (``Cmono``) and limited (16-235 at 8 bits) for colour;
* chroma siting: centred between the pixels for ``C420jpeg`` and ``C420``; on the left pixel column and half-way between
  the lines for ``C420mpeg2`` and 4:2:0 of more than 8 bits; on the left pixel column for 4:2:2; on the top left pixel
  for ``C420paldv``. Chroma is interpolated bilinearly and reduced with the matching two- or three-tap mean.

Sources: ITU-R BT.601-7 and BT.709-6 for matrices and ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from unhaze.errors import ImageValueError, UsageError
from unhaze.video._layouts import Frame, PixelFormat, StreamInfo

__all__ = ["MATRICES", "FrameConverter", "Matrix"]

Matrix = Literal["auto", "bt601", "bt709", "bt2020"]

MATRICES: tuple[str, ...] = get_args(Matrix)

_HD_LINES = 720

# (Kr, Kb): the weights of red and blue in luma; BT.601-7 section 2.5.1, BT.709-6 section 3.2, BT.2020-2 table 4
_LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


class FrameConverter:
    """Turns stored frames into pictures and back.

    Args:
        info: Description of the frames.
        matrix: Which luma weights the frames were made with; ``"auto"`` decides by the number of lines.
    """

    def __init__(self, info: StreamInfo, matrix: Matrix = "auto") -> None:
        if matrix not in MATRICES:
            raise UsageError(f"There is no colour matrix {matrix!r}; choose one of: {', '.join(MATRICES)}.")
        self.info = info
        self.matrix = matrix if matrix != "auto" else "bt709" if info.height >= _HD_LINES else "bt601"
        bits = info.pixel_format.bits
        self._pixel_type: np.dtype[Any] = np.dtype(np.uint8 if bits == 8 else np.uint16)
        self._peak = 255 if bits == 8 else 65535  # of a picture
        self._top = (1 << bits) - 1  # of a stored sample
        # whether a stored grey value is the grey value of the picture
        self._is_plain = info.full_range and self._top == self._peak
        # stored value of black, and of white minus black; of no colour, and the width of the chroma range:
        # BT.709-6 section 4.6 for the limited range
        step, full = 1 << (bits - 8), float(self._top)
        self._luma = (0.0, full) if info.full_range else (16.0 * step, 219.0 * step)
        neutral, chroma_range = 128.0 * step, full if info.full_range else 224.0 * step
        black, luma_range = self._luma
        kr, kb = _LUMA_WEIGHTS[self.matrix]
        kg = 1 - kr - kb
        # (3, 4) affine matrix from RGB in [0, peak] to stored Y, Cb, Cr; BT.709-6 sections 3.2 to 3.4
        luma = np.array([kr, kg, kb])
        blue = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - kb))
        red = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - kr))
        rows = np.stack([luma * luma_range, blue * chroma_range, red * chroma_range]) / self._peak
        self._encode_matrix = np.column_stack([rows, [black, neutral, neutral]]).astype(np.float32)
        # (3, 3) affine matrix from stored Cb, Cr to what they add to R, G, B in [0, peak]; black level included
        rows = np.array([[0, 2 * (1 - kr)], [-2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg], [2 * (1 - kb), 0]])
        rows = rows * self._peak / chroma_range
        constant = -rows.sum(axis=1) * neutral - self._peak * black / luma_range
        self._chroma_matrix = np.column_stack([rows, constant]).astype(np.float32)

    def to_pixels(self, frame: Frame) -> NDArray[Any]:
        """The frame as a picture.

        Returns:
            (H, W, 3) RGB or (H, W) grey; uint8 for 8-bit streams and uint16 over the whole range 0-65535 otherwise,
            whatever the range and the bit depth of the stream. Colours beyond RGB are clipped.
        """
        form = self.info.pixel_format
        samples = np.frombuffer(frame.data, form.dtype)
        planes, start = [], 0
        for shape in form.plane_shapes(self.info.height, self.info.width):
            stop = start + int(np.prod(shape))
            planes.append(samples[start:stop].reshape(shape))
            start = stop
        return self.from_planes(planes)

    def from_planes(self, planes: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The picture, as :meth:`to_pixels` gives it, of planes with the shapes of :meth:`PixelFormat.plane_shapes`."""
        form = self.info.pixel_format
        black, luma_range = self._luma
        gain = self._peak / luma_range
        if form.kind == "rgb":
            return planes[0]
        if form.kind == "bgr":
            return cv2.cvtColor(planes[0], cv2.COLOR_BGR2RGB)
        if form.kind == "gray":
            if self._is_plain:
                return planes[0]
            values = planes[0].astype(np.float32) * np.float32(gain) - np.float32(black * gain)
            return _rounded(values, self._peak)
        luma, blue, red = planes
        # matrix and interpolation are both linear, so the matrix may come first, where there are fewer samples
        chroma = cv2.transform(cv2.merge([blue, red]).astype(np.float32), self._chroma_matrix)
        chroma = _upsample(chroma, form, *luma.shape)
        depth = cv2.CV_8U if self._peak == 255 else cv2.CV_16U
        return cv2.addWeighted(cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB), gain, chroma, 1.0, 0.0, dtype=depth)

    def to_frame(self, pixels: NDArray[Any], like: Frame) -> Frame:
        """A picture as a stored frame.

        Args:
            pixels: (H, W, 3), or (H, W) of grey frames, of the type that :meth:`to_pixels` gives.
            like: The frame that the picture was made of; lends its header.

        Raises:
            ImageValueError: The picture has another shape or type.
        """
        return Frame(b"".join(plane.tobytes() for plane in self.to_planes(pixels)), like.header)

    def to_planes(self, pixels: NDArray[Any]) -> list[NDArray[Any]]:
        """The planes, with the shapes of :meth:`PixelFormat.plane_shapes`, of a picture as for :meth:`to_frame`.

        Raises:
            ImageValueError: The picture has another shape or type.
        """
        form = self.info.pixel_format
        shape: tuple[int, ...] = (self.info.height, self.info.width)
        if form.kind != "gray":
            shape = (*shape, 3)
        if pixels.shape != shape or pixels.dtype != self._pixel_type:
            raise ImageValueError(
                f"A picture of shape {pixels.shape} and type {pixels.dtype} does not fit a stream of shape {shape} "
                f"and type {self._pixel_type}."
            )
        if form.kind == "bgr":
            return [cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)]
        if form.kind == "rgb" or (form.kind == "gray" and self._is_plain):
            return [pixels]
        working = pixels.astype(np.float32)
        if form.kind == "gray":
            black, luma_range = self._luma
            planes: Sequence[NDArray[Any]] = [working * np.float32(luma_range / self._peak) + np.float32(black)]
        else:
            # OpenCV rounds to 8 bits as it stores, to the same values as below and in a third of the time
            luma = cv2.transform(pixels if self._top == 255 else working, self._encode_matrix[:1])
            planes = [luma, *cv2.split(cv2.transform(_downsample(working, form), self._encode_matrix[1:]))]
        return [
            plane if plane.dtype == np.uint8 else _rounded(plane, self._top).astype(form.dtype, copy=False)
            for plane in planes
        ]


def _rounded(values: NDArray[Any], top: int) -> NDArray[Any]:
    """Round to the nearest whole number in [0, top]; uint8 or uint16."""
    whole: NDArray[Any] = np.rint(np.clip(values, 0, top)).astype(np.uint8 if top == 255 else np.uint16)
    return whole


def _upsample(chroma: NDArray[Any], form: PixelFormat, height: int, width: int) -> NDArray[Any]:
    """Bilinear interpolation of (h, w, C) chroma values to (height, width, C) at the positions of the pixels."""
    rows, columns = chroma.shape[:2]
    if form.subsampling == (1, 1):
        return chroma
    if all(form.centred):
        size = (columns * form.subsampling[0], rows * form.subsampling[1])
        chroma = cv2.resize(chroma, size, interpolation=cv2.INTER_LINEAR)  # five times as fast as the general warp
        return np.ascontiguousarray(chroma[:height, :width])
    # pixel x lies at chroma coordinate x / n where samples are co-sited, and (x + 1/2) / n - 1/2 where they are centred
    (scale_x, shift_x), (scale_y, shift_y) = (
        (1 / n, 0.5 / n - 0.5 if centred else 0.0) for n, centred in zip(form.subsampling, form.centred, strict=True)
    )
    return cv2.warpAffine(
        chroma,
        np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y]]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _downsample(rgb: NDArray[Any], form: PixelFormat) -> NDArray[Any]:
    """Means of an (H, W, 3) picture around the positions of the chroma samples: (1, 1)/2 centred, (1, 2, 1)/4 not."""
    (across, down), (centred_x, centred_y) = form.subsampling, form.centred
    height, width = rgb.shape[:2]
    if height % down or width % across:
        rgb = cv2.copyMakeBorder(rgb, 0, height % down, 0, width % across, cv2.BORDER_REPLICATE)
        height, width = rgb.shape[:2]
    target = (width // (across if centred_x else 1), height // (down if centred_y else 1))
    if target != (width, height):
        rgb = cv2.resize(rgb, target, interpolation=cv2.INTER_AREA)
    if centred_x and centred_y:
        return rgb
    taps = np.array([0.25, 0.5, 0.25], np.float32)
    one = np.ones(1, np.float32)
    skip_x, skip_y = (n if not centred else 1 for n, centred in zip(form.subsampling, form.centred, strict=True))
    kernel = np.outer(taps if skip_y == 2 else one, taps if skip_x == 2 else one)
    rgb = cv2.filter2D(rgb, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(rgb[::skip_y, ::skip_x])
