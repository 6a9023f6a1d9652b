"""Decoded frames of PyAV as pictures and back: every sample layout that video files hold, alpha included.

Layouts that hold the same samples in another order (nv12, big-endian words, palettes) are brought to a plain one by
FFmpeg first; colours are converted by :class:`~unhaze.video.frames.FrameConverter`, as in ``unhaze pipe``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UnsupportedImageError
from unhaze.images.budget import DEFAULT_MAX_PIXELS
from unhaze.video.frames import FrameConverter, Matrix, PixelFormat, StreamInfo

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

__all__ = ["REPACKED", "FramePixels", "is_handled", "plain_format", "turned"]

# layouts of the same samples in another order; what FFmpeg converts here loses nothing
_PLAIN = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "bgr24": "rgb24",
    "bgr0": "rgb24",
    "rgb0": "rgb24",
    "0rgb": "rgb24",
    "0bgr": "rgb24",
    "bgra": "rgba",
    "argb": "rgba",
    "abgr": "rgba",
    "pal8": "rgba",
    "rgb48be": "rgb48le",
    "rgba64be": "rgba64le",
    "gray16be": "gray16le",
    "gray10be": "gray10le",
    "monob": "gray",
    "monow": "gray",
    "rgb555le": "rgb24",
    "rgb565le": "rgb24",
}
REPACKED = (
    *("nv12", "nv21", "nv16", "nv24", "p010le", "p210le", "yuyv422", "uyvy422", "bgr24", "bgr0", "rgb0", "0rgb"),
    *("0bgr", "bgra", "argb", "abgr", "rgb48be", "rgba64be", "gray16be"),
)
"""Those layouts to which frames can be brought back, too, without loss."""

_YUV = re.compile(r"yuva?(420|422|440|444)p(9|10|12|14|16)?(?:le)?")
_PLANAR_RGB = re.compile(r"gbra?p(9|10|12|14|16)?(?:le)?")
_GRAY = re.compile(r"gray(9|10|12|14|16)?(?:le)?")
_PACKED = {"rgb24": 8, "rgba": 8, "rgb48le": 16, "rgba64le": 16}
_SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}


def plain_format(name: str) -> str:
    """The layout that frames of the layout ``name`` are worked on in.

    >>> plain_format("nv12"), plain_format("yuvj420p"), plain_format("yuv444p10le")
    ('yuv420p', 'yuv420p', 'yuv444p10le')
    """
    return _PLAIN.get(name, name.replace("yuvj", "yuv"))


def is_handled(name: str) -> bool:
    """Whether frames of the layout ``name`` can be dehazed."""
    plain = plain_format(name)
    return plain in _PACKED or any(form.fullmatch(plain) for form in (_YUV, _PLANAR_RGB, _GRAY))


class FramePixels:
    """Turns decoded frames of one layout and size into pictures and back.

    Args:
        name: The layout, as :func:`plain_format` names it.
        width: Pixels per line.
        height: Lines.
        matrix: Which luma weights the frames were made with; ``"auto"`` decides by the number of lines.
        full_range: Whether the samples use their whole range; of no meaning for RGB.
        centred: Whether the chroma samples of 4:2:0 sit between the pixels, as in JPEG, and not on the left ones.
        max_pixels: Largest width times height; ``None``: no limit.

    Attributes:
        name: The layout.
        bits: Significant bits of a sample.
        has_alpha: Whether the frames say how much of each pixel can be seen.

    Raises:
        UnsupportedImageError: Frames of this layout are not handled.
        ImageTooLargeError: Their size is above the limit.
    """

    def __init__(
        self,
        name: str,
        width: int,
        height: int,
        *,
        matrix: Matrix = "auto",
        full_range: bool = False,
        centred: bool = False,
        max_pixels: int | None = DEFAULT_MAX_PIXELS,
    ) -> None:
        if not is_handled(name):
            raise UnsupportedImageError(
                f"Frames with the pixel format {name} are not handled; convert the video to yuv420p or yuv422p before."
            )
        self.name, self.width, self.height = name, width, height
        self.has_alpha = "a" in name.removeprefix("gray")
        yuv, planar, gray = _YUV.fullmatch(name), _PLANAR_RGB.fullmatch(name), _GRAY.fullmatch(name)
        self._planar = planar is not None
        found = yuv[2] if yuv else planar[1] if planar else gray[1] if gray else _PACKED[name]
        self.bits = int(found or 8)
        self._samples = np.dtype("u1") if self.bits == 8 else np.dtype("<u2")
        form = PixelFormat(name, "gray" if gray else "rgb", 8 if self.bits == 8 else 16)
        if gray:
            form = PixelFormat(name, "gray", self.bits)
        elif yuv:
            across, down = _SUBSAMPLING[yuv[1]]
            form = PixelFormat(name, "yuv", self.bits, (across, down), (centred and down == 2, down == 2))
        info = StreamInfo(width, height, form, full_range=full_range)
        info.check_size(max_pixels)
        self._converter = FrameConverter(info, matrix)

    def widened(self, factor: int) -> FramePixels:
        """The same for frames ``factor`` times as wide."""
        old = self._converter
        kind = old.info.pixel_format
        return FramePixels(
            self.name,
            self.width * factor,
            self.height,
            matrix=old.matrix,
            full_range=old.info.full_range,
            centred=kind.centred[0] and kind.subsampling == (2, 2),
            max_pixels=None,
        )

    def to_pixels(self, frame: VideoFrame) -> Pixels:
        """The frame as a picture without alpha: (H, W, 3) RGB or (H, W) grey; uint8, or uint16 of the whole range."""
        planes = self._planes(frame)
        if self._planar:
            green, blue, red = planes[:3]
            pixels = np.stack([red, green, blue], axis=2)
            if self.bits in (8, 16):
                return pixels
            top = (1 << self.bits) - 1  # becomes 65535
            return np.asarray((pixels.astype(np.uint32) * 65535 + top // 2) // top, np.uint16)
        if self.name in _PACKED:
            return np.ascontiguousarray(planes[0][..., :3])
        color = planes[: 1 if self._converter.info.pixel_format.kind == "gray" else 3]
        return self._converter.from_planes([np.ascontiguousarray(plane) for plane in color])

    def to_frame(self, pixels: Pixels, like: VideoFrame | None = None) -> VideoFrame:
        """A picture as a frame; ``like`` lends its alpha, without it all can be seen."""
        from av import VideoFrame

        frame = VideoFrame(self.width, self.height, self.name)
        targets = self._planes(frame)
        alpha = self._planes(like) if self.has_alpha and like is not None else None
        if self._planar:
            for target, channel in zip(targets, (1, 2, 0), strict=False):
                plane = pixels[..., channel]
                if self.bits not in (8, 16):
                    plane = np.asarray((plane.astype(np.uint32) * ((1 << self.bits) - 1) + 32767) // 65535, np.uint16)
                target[...] = plane
        elif self.name in _PACKED:
            targets[0][..., :3] = pixels
        else:
            for target, plane in zip(targets, self._converter.to_planes(pixels), strict=False):
                target[...] = plane
        if self.has_alpha:
            opaque = (1 << self.bits) - 1
            if self.name in _PACKED:
                targets[0][..., 3] = opaque if alpha is None else alpha[0][..., 3]
            else:
                targets[-1][...] = opaque if alpha is None else alpha[-1]
        return frame

    def fitted(self, pixels: Pixels) -> Pixels:
        """A picture of any depth, grey or not, with the depth and the channels of these frames."""
        if self.bits == 8 and pixels.dtype == np.uint16:
            pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        elif self.bits > 8 and pixels.dtype == np.uint8:
            pixels = pixels.astype(np.uint16) * np.uint16(257)
        if pixels.ndim == 2 and not self.name.startswith("gray"):
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        return pixels

    def copy(self, frame: VideoFrame) -> VideoFrame:
        """The frame with the same samples and nothing else: encoders take hints from how a frame was coded before."""
        from av import VideoFrame

        copied = VideoFrame(self.width, self.height, self.name)
        for target, plane in zip(self._planes(copied), self._planes(frame), strict=True):
            target[...] = plane
        return copied

    def _planes(self, frame: VideoFrame) -> list[Pixels]:
        """Views of the samples, without the padding of lines: (h, w), or (h, w, C) where they are interleaved."""
        if frame.format.name.replace("yuvj", "yuv") != self.name:
            frame = frame.reformat(format=self.name)
        planes = []
        for plane in frame.planes:
            # planes are buffers, which the types of PyAV do not say
            lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size]  # type: ignore[call-overload]
            lines = lines.reshape(plane.height, plane.line_size).view(self._samples)
            if self.name in _PACKED:
                channels = 4 if self.has_alpha else 3
                planes.append(lines[:, : plane.width * channels].reshape(plane.height, plane.width, channels))
            else:
                planes.append(lines[:, : plane.width])
        return planes


def turned(frame: VideoFrame, turns: int) -> VideoFrame:
    """The frame turned counter-clockwise by ``turns`` quarters; chroma that is subsampled on one side only is not."""
    if not turns:
        return frame
    from av import VideoFrame

    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    result = VideoFrame(width, height, frame.format.name)
    old = FramePixels(frame.format.name, frame.width, frame.height, max_pixels=None)
    new = FramePixels(frame.format.name, width, height, max_pixels=None)
    for source, target in zip(old._planes(frame), new._planes(result), strict=True):
        target[...] = np.rot90(source, turns)
    return result
