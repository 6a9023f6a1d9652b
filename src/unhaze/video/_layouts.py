"""What is the same for all frames of a stream: its size, and how the samples of a frame lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from unhaze.errors import ImageTooLargeError
from unhaze.images.budget import DEFAULT_MAX_PIXELS

__all__ = ["MAX_SIDE", "RAW_FORMATS", "Y4M_FORMATS", "Frame", "PixelFormat", "StreamInfo"]

MAX_SIDE = 32_767  # of cv2.warpAffine


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the samples of one frame lie in memory.

    Attributes:
        name: The name of the raw format, or the ``C`` tag of the y4m header.
        kind: ``"rgb"`` and ``"bgr"`` are interleaved, ``"yuv"`` is three planes, ``"gray"`` is one.
        bits: Significant bits per sample; more than 8 are stored in little-endian 16-bit words.
        subsampling: Pixels per chroma sample, horizontally and vertically.
        centred: Whether chroma samples sit half-way between their pixels, horizontally and vertically; otherwise they
            sit on the first pixel.
    """

    name: str
    kind: Literal["rgb", "bgr", "gray", "yuv"]
    bits: int = 8
    subsampling: tuple[int, int] = (1, 1)
    centred: tuple[bool, bool] = (True, True)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a stored sample."""
        return np.dtype("u1") if self.bits == 8 else np.dtype("<u2")

    def plane_shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Array shapes of the parts of one frame, in file order."""
        if self.kind in ("rgb", "bgr"):
            return [(height, width, 3)]
        if self.kind == "gray":
            return [(height, width)]
        across, down = self.subsampling
        chroma = (-(-height // down), -(-width // across))
        return [(height, width), chroma, chroma]


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is the same for all frames of a stream.

    Attributes:
        width: Pixels per line.
        height: Lines.
        pixel_format: Layout of a frame.
        full_range: Whether the samples use their whole range; limited range is 16-235 for luma at 8 bits.
        interlaced: Whether the header says that the lines of a frame come from two moments.
        header: The bytes before the first frame; empty for raw frames.
    """

    width: int
    height: int
    pixel_format: PixelFormat
    full_range: bool = True
    interlaced: bool = False
    header: bytes = b""

    def check_size(self, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> None:
        """Refuse frames that are too large.

        Raises:
            ImageTooLargeError: They have more than ``max_pixels`` pixels, or a side is too long.
        """
        too_many = max_pixels is not None and self.width * self.height > max_pixels
        if too_many or max(self.width, self.height) > MAX_SIDE:
            limit = f"{max_pixels:,} pixels and " if max_pixels is not None else ""
            raise ImageTooLargeError(
                f"Frames of {self.width}x{self.height} pixels are above the limit of {limit}{MAX_SIDE:,} on a side; "
                "check the size of the stream, or raise the limit."
            )

    @property
    def is_y4m(self) -> bool:
        """Whether every frame has a header of its own."""
        return bool(self.header)

    @property
    def frame_bytes(self) -> int:
        """Bytes of the samples of one frame."""
        samples = sum(int(np.prod(shape)) for shape in self.pixel_format.plane_shapes(self.height, self.width))
        return samples * self.pixel_format.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it is stored.

    Attributes:
        data: The samples; :attr:`StreamInfo.frame_bytes` bytes.
        header: The line before the samples with its line feed; empty for raw frames.
    """

    data: bytes | bytearray
    header: bytes = b""


RAW_FORMATS = {
    "rgb24": PixelFormat("rgb24", "rgb"),
    "bgr24": PixelFormat("bgr24", "bgr"),
    "gray": PixelFormat("gray", "gray"),
    "rgb48le": PixelFormat("rgb48le", "rgb", bits=16),
    "gray16le": PixelFormat("gray16le", "gray", bits=16),
}

_LEFT = (False, True)
_TOP_LEFT = (False, False)
Y4M_FORMATS = {
    form.name: form
    for form in (
        PixelFormat("420", "yuv", subsampling=(2, 2)),
        PixelFormat("420jpeg", "yuv", subsampling=(2, 2)),
        PixelFormat("420mpeg2", "yuv", subsampling=(2, 2), centred=_LEFT),
        PixelFormat("420paldv", "yuv", subsampling=(2, 2), centred=_TOP_LEFT),
        PixelFormat("422", "yuv", subsampling=(2, 1), centred=_LEFT),
        PixelFormat("444", "yuv"),
        PixelFormat("mono", "gray"),
        *(PixelFormat(f"420p{n}", "yuv", n, (2, 2), _LEFT) for n in (9, 10, 12, 14, 16)),
        *(PixelFormat(f"422p{n}", "yuv", n, (2, 1), _LEFT) for n in (9, 10, 12, 14, 16)),
        *(PixelFormat(f"444p{n}", "yuv", n) for n in (9, 10, 12, 14, 16)),
        *(PixelFormat(f"mono{n}", "gray", n) for n in (9, 10, 12, 14, 16)),
    )
}
