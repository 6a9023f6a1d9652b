"""Streams of uncompressed video frames: YUV4MPEG2 (``.y4m``) and headerless raw frames.

Both are what ``ffmpeg`` reads and writes through a pipe. A frame stays bytes from reader to writer; only
:class:`FrameConverter` looks into it, so a frame that nobody converts leaves exactly as it came.

Source: the y4m description of mjpegtools (``yuv4mpeg(5)``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import BinaryIO, Literal, get_args

from unhaze.errors import ImageDecodeError, ImageTooLargeError, UnsupportedImageError, UsageError
from unhaze.images.budget import DEFAULT_MAX_PIXELS
from unhaze.video._conversion import MATRICES, FrameConverter, Matrix
from unhaze.video._layouts import MAX_SIDE, RAW_FORMATS, Y4M_FORMATS, Frame, PixelFormat, StreamInfo

__all__ = [
    "INPUT_FORMATS",
    "MATRICES",
    "Frame",
    "FrameConverter",
    "FrameReader",
    "FrameWriter",
    "InputFormat",
    "Matrix",
    "PixelFormat",
    "StreamInfo",
    "parse_size",
]

InputFormat = Literal["auto", "y4m", "rgb24", "bgr24", "gray", "rgb48le", "gray16le"]

INPUT_FORMATS: tuple[str, ...] = get_args(InputFormat)

_MAGIC = b"YUV4MPEG2"
_EMPTY = "The input is empty: no frame arrived. Check the program before the pipe."
_LONGEST_LINE = 4096
_MOST_DIGITS = 9  # of a side; more is no size, and slow to read
_SHOWN_DIGITS = 20  # of a side that is no size
_AHEAD = 64 << 20  # [bytes] taken before they arrive: a header may claim a frame that never comes


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from ``"WIDTHxHEIGHT"``.

    Raises:
        UsageError: The text is not two positive whole numbers.

    >>> parse_size("1280x720")
    (1280, 720)
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"The size {text!r} is not WIDTHxHEIGHT in pixels; write it like 1280x720.")
    return int(width), int(height)


class FrameReader:
    """Frames of a binary stream, in order.

    Args:
        stream: A readable binary file object; it need not be seekable.
        input_format: ``"y4m"``, a raw format, or ``"auto"``, which recognises y4m.
        size: Width and height; needed for raw formats, which do not tell it.
        max_pixels: Largest width times height of a frame; ``None``: no limit.

    Attributes:
        info: What the header said.

    Raises:
        UsageError: A raw format without a size, a size other than the stream's own, or a stream of unknown kind.
        ImageDecodeError: The header is damaged, or the stream is empty.
        ImageTooLargeError: Its frames have more pixels than the limit.
        UnsupportedImageError: A sound y4m stream of a kind that is not handled.
    """

    def __init__(
        self,
        stream: BinaryIO,
        input_format: InputFormat = "auto",
        size: tuple[int, int] | None = None,
        *,
        max_pixels: int | None = DEFAULT_MAX_PIXELS,
    ) -> None:
        if input_format not in INPUT_FORMATS:
            raise UsageError(f"There is no input format {input_format!r}; choose one of: {', '.join(INPUT_FORMATS)}.")
        self._stream = stream
        if input_format in ("auto", "y4m"):
            self.info = _read_y4m_header(stream)
        elif size is not None:
            self.info = StreamInfo(*size, RAW_FORMATS[input_format])
        else:
            raise UsageError(
                f"Raw {input_format} frames do not tell their size; give it, for example with --size 1280x720."
            )
        self.info.check_size(max_pixels)
        self._start = b"" if self.info.is_y4m else bytes(_read_exactly(stream, 1))
        if not self.info.is_y4m and not self._start:
            raise ImageDecodeError(_EMPTY)
        if size not in (None, (self.info.width, self.info.height)):
            raise UsageError(
                f"The size was given as {size[0]}x{size[1]}, but the stream says {self.info.width}x{self.info.height}; "
                "leave it out for y4m."
            )

    def __iter__(self) -> Iterator[Frame]:
        """Yield whole frames.

        Raises:
            ImageDecodeError: The stream ends within a frame, or a frame header is damaged; raised after the last
                whole frame before the damage.
        """
        for sound in itertools.count():
            header = _read_line(self._stream) if self.info.is_y4m else b""
            if self.info.is_y4m and not header:
                return
            is_whole = header.endswith(b"\n") and header.split(b" ", 1)[0].rstrip(b"\n") == b"FRAME"
            if self.info.is_y4m and not is_whole and not b"FRAME".startswith(header):
                raise ImageDecodeError(
                    f"The stream is damaged: frame {sound + 1} does not begin with a FRAME line. "
                    f"The {sound} frames before it are sound."
                )
            start, self._start = self._start, b""
            data = start + _read_exactly(self._stream, self.info.frame_bytes - len(start))
            if not data and not header:
                return
            if len(data) < self.info.frame_bytes:
                raise ImageDecodeError(
                    f"The stream ends within frame {sound + 1}, after {len(data):,} of its "
                    f"{self.info.frame_bytes:,} bytes; the {sound} frames before it are sound. Check the program that "
                    "sends the frames and the frame size."
                )
            yield Frame(data, header)


class FrameWriter:
    """Writes frames to a binary stream under the header they came with.

    Args:
        stream: A writable binary file object.
        info: Description of the frames; its header is written at once.
    """

    def __init__(self, stream: BinaryIO, info: StreamInfo) -> None:
        self._stream = stream
        self._stream.write(info.header)
        self._stream.flush()

    def write(self, frame: Frame) -> None:
        """Write one frame and hand it on to the next program at once."""
        self._stream.write(frame.header)
        self._stream.write(frame.data)
        self._stream.flush()


def _read_y4m_header(stream: BinaryIO) -> StreamInfo:
    start = bytes(_read_exactly(stream, len(_MAGIC)))
    if not start:
        raise ImageDecodeError(_EMPTY)
    if start != _MAGIC:
        raise UsageError(
            "The input is not a y4m stream; send one with `ffmpeg ... -f yuv4mpegpipe -`, "
            "or name the raw format, for example --input-format rgb24 --size 1280x720."
        )
    header = start + _read_line(stream)
    if not header.endswith(b"\n"):
        raise ImageDecodeError("The header of the y4m stream is damaged: its first line does not end.")
    tokens = header.decode("ascii", "replace").split()[1:]
    tags = {token[0]: token[1:] for token in tokens if token[0] != "X"}
    extensions = dict(token[1:].partition("=")[::2] for token in tokens if token[0] == "X")
    size = [tags.get(key, "").lstrip("0") for key in "WH"]
    if not all(value.isdecimal() for value in size):
        raise ImageDecodeError("The header of the y4m stream is damaged: it gives no width and height.")
    if any(len(value) > _MOST_DIGITS for value in size):
        sides = "x".join(value if len(value) <= _SHOWN_DIGITS else f"{value[:_SHOWN_DIGITS]}..." for value in size)
        raise ImageTooLargeError(
            f"Frames of {sides} pixels are above the limit of {MAX_SIDE:,} on a side; check the size of the stream."
        )
    name = tags.get("C", "420jpeg")
    if name not in Y4M_FORMATS:
        raise UnsupportedImageError(
            f"Frames with the y4m colour space C{name} are not handled; convert them before, "
            "for example with `ffmpeg ... -pix_fmt yuv420p -f yuv4mpegpipe -`."
        )
    form = Y4M_FORMATS[name]
    default = "FULL" if form.kind == "gray" else "LIMITED"
    return StreamInfo(
        width=int(size[0]),
        height=int(size[1]),
        pixel_format=form,
        full_range=extensions.get("COLORRANGE", default).upper() == "FULL",
        interlaced=tags.get("I", "?") in ("t", "b", "m"),
        header=header,
    )


def _read_line(stream: BinaryIO) -> bytes:
    """Bytes up to and with the next line feed; without one where the stream ends or the line is too long."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
        byte = stream.read(1)
        if not byte:
            break
        line += byte
    return bytes(line)


def _read_exactly(stream: BinaryIO, count: int) -> bytearray:
    """The next ``count`` bytes, fewer only at the end of the stream."""
    data, filled = bytearray(), 0
    while filled < count:
        data += bytes(min(count - filled, _AHEAD))
        with memoryview(data) as view:
            while filled < len(data):
                got = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # BinaryIO lacks it, all have it
                if not got:
                    break
                filled += got
        if filled < len(data):
            break
    del data[filled:]
    return data
