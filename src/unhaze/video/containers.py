"""Video files, opened with PyAV: what they hold, and their frames with exact times.

Times are whole multiples of the time base of the stream, as the file states them; nothing is rounded.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from unhaze.errors import ImageDecodeError, MissingDependencyError, UnsupportedImageError, UsageError
from unhaze.images.budget import DEFAULT_MAX_PIXELS
from unhaze.video.pixels import FramePixels, plain_format
from unhaze.video.sources import Pictures, alpha_modes, is_address, open_source, video_stream
from unhaze.video.times import format_time, parse_time

if TYPE_CHECKING:
    from av import VideoFrame

    from unhaze.video.frames import Matrix

__all__ = ["TimedFrame", "VideoInfo", "VideoReader", "import_av"]

# numbers of ITU-T H.273, as FFmpeg uses them
_MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 4: "bt601", 9: "bt2020"}
_UNKNOWN = (2, 3)  # unspecified, reserved
_RGB_MATRIX = 0
_HDR = {16: "PQ (HDR10, Dolby Vision)", 18: "HLG"}
_FULL_RANGE = 2
_CENTRED_CODECS = ("mjpeg", "mpeg1video", "png")
_PROBED = 3  # frames looked at before any is worked on: the flag of interlaced ones may be missing on the first
_COUNTS_FROM_ZERO = ("matroska", "asf", "nut")  # they state where a stream ends, and not how long it is
_MISSING_END = Fraction(1, 2)  # a video shorter than its header says by more than this was cut off [s]


def import_av() -> Any:
    """PyAV, quiet.

    Raises:
        MissingDependencyError: It is not installed.
    """
    os.environ.setdefault("SVT_LOG", "1")  # errors only: the encoder of AV1 has a log of its own
    try:
        import av
        from av.sidedata.sidedata import Type
    except ImportError as error:
        raise MissingDependencyError("PyAV", "video", "read and write video files") from error
    # messages in Python would need its lock, for which threads of decoders wait while they are being ended: a deadlock
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.PANIC)
    # of a frame with side data that PyAV has no name for, such as EXIF, it would else give none
    Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment]
    return av


def _unnamed(kind: Any, value: int) -> Any:
    """A member of PyAV's list of side data for a number that it ends before."""
    member = object.__new__(kind)
    member._name_, member._value_ = f"UNNAMED_{value}", value
    return member


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is the same for all frames of a video file.

    Attributes:
        path: The file.
        container: Names that FFmpeg has for the kind of file, separated by commas.
        codec: What the pictures are coded with, such as ``"h264"``.
        profile: Its profile, where it has any.
        width, height: Size of the frames as they are stored [px].
        pixel_format: Layout of the decoded samples.
        rate: Mean frame rate [1/s].
        time_base: Unit of all times of frames [s].
        start: Time of the first frame [``time_base``].
        duration: Length that the header states [s]; ``None`` if it states none.
        primaries, transfer, matrix, color_range: Colour tags, numbers of ITU-T H.273 (range: 1 limited, 2 full).
        pixel_aspect: Width of a pixel relative to its height; ``None`` if the file does not say.
        display_matrix: The nine numbers that turn the frames for display; ``None`` where they stand as they are.
        interlaced: Whether the lines of a frame come from two moments.
        stream: Number of the video stream in the file.
        has_alpha: Whether the frames say how much of each pixel can be seen.
    """

    path: Path
    container: str
    codec: str
    profile: str | None
    width: int
    height: int
    pixel_format: str
    rate: Fraction
    time_base: Fraction
    start: int
    duration: Fraction | None
    primaries: int
    transfer: int
    matrix: int
    color_range: int
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    interlaced: bool
    stream: int
    has_alpha: bool

    @property
    def rotation(self) -> int:
        """Degrees by which the frames are turned clockwise for display: 0, 90, 180 or 270."""
        if self.display_matrix is None:
            return 0
        a, b = self.display_matrix[:2]
        return round(float(np.degrees(np.arctan2(b, a))) / 90) % 4 * 90

    @property
    def full_range(self) -> bool:
        """Whether samples use their whole range."""
        return self.color_range == _FULL_RANGE or self.pixel_format.startswith("yuvj")

    @property
    def expected_frames(self) -> int | None:
        """About how many frames there are."""
        return None if self.duration is None else max(1, round(self.duration * self.rate))

    def pixels(self, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> FramePixels:
        """What turns these frames into pictures.

        Raises:
            UnsupportedImageError: Their colours or their layout are not handled.
            ImageTooLargeError: They have more pixels than the limit.
        """
        if self.transfer in _HDR:
            raise UnsupportedImageError(
                f"{self.path} is an HDR video ({_HDR[self.transfer]}), which is not handled; turn it into SDR before, "
                "with the camera's own program or the tonemap filter of ffmpeg."
            )
        if self.matrix not in (*_MATRICES, *_UNKNOWN, _RGB_MATRIX):
            raise UnsupportedImageError(
                f"{self.path} stores colours in a way that is not handled (matrix {self.matrix} of ITU-T H.273); "
                "convert it to BT.709 before."
            )
        return FramePixels(
            plain_format(self.pixel_format),
            self.width,
            self.height,
            matrix=_MATRICES.get(self.matrix, "auto"),
            full_range=self.full_range or ("gray" in self.pixel_format and self.color_range != 1),
            centred=self.codec in _CENTRED_CODECS,
            max_pixels=max_pixels,
        )


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame and when it is shown.

    Attributes:
        frame: The samples.
        pts: When it is shown, in units of the time base of the stream.
    """

    frame: VideoFrame
    pts: int


class VideoReader:
    """Reads the frames of the first video stream of a file; a context manager.

    Args:
        path: The file; numbered pictures as ``frame_%05d.png`` or their folder; or an address that FFmpeg opens, such
            as ``rtsp://...``.
        deinterlace: Whether to make whole pictures of interlaced frames, one of each.
        rate: Frames per second of numbered pictures; 25 if not given.

    Attributes:
        name: What was opened.
        info: What the file says.
        is_live: Whether frames come as they are made, and only once.
        notes: After the last frame sentences on frames that are not like the first.
        broken: After the last frame a sentence on where the file is damaged or ends too early; ``None`` if it is sound.

    Raises:
        MissingDependencyError: PyAV is not installed.
        ImageDecodeError: The file is empty, damaged, or no video.
        UnsupportedImageError: It is interlaced, and ``deinterlace`` was not given.
    """

    def __init__(self, path: str | Path, *, deinterlace: bool = False, rate: Fraction | None = None) -> None:
        self._av = import_av()
        self.name, self.path = str(path), Path(path)
        self.broken: str | None = None
        self.notes: list[str] = []
        self._deinterlace, self._rate = deinterlace, rate
        self._container = open_source(self._av, self.name, rate)
        self.is_live = is_address(self.name) and not self._container.duration
        self._early: list[VideoFrame] = []  # of a live source, which cannot be read twice
        try:
            self._take_stream()
            self.info = self._probe()
        except BaseException:
            self.close()
            raise
        self.broken = None

    def _take_stream(self) -> None:
        self._stream = video_stream(self._container, self.name)
        self._stream.thread_type = "AUTO"
        self._context = context = self._stream.codec_context
        # of VP8 and VP9 with alpha the decoder that sees it, which is not FFmpeg's own
        name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.codec.canonical_name)
        if "1" in alpha_modes(self._stream) and name is not None:
            self._context = self._av.CodecContext.create(name, "r")
            self._context.extradata = context.extradata

    @property
    def pictures(self) -> Pictures | None:
        """The files, where pictures are the frames."""
        return getattr(self._container, "pictures", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._container.close()

    def frames(
        self, *, after: int | None = None, start: Fraction | None = None, end: Fraction | None = None
    ) -> Iterator[TimedFrame]:
        """Yield the frames in the order they are shown; once for each reader.

        Args:
            after: Leave out frames up to this time [time base].
            start: Leave out frames before this time, counted from the first frame [s].
            end: Leave out frames from this time on [s].

        A file that is damaged gives all frames that can be decoded; :attr:`broken` then says where the first was lost.
        """
        origin, base = self.info.start, self.info.time_base
        first = origin if start is None else origin + -(-start // base)
        last = None if end is None else origin + -(-end // base)
        if after is not None:
            first = max(first, after + 1)
        if not self.is_live:
            self._rewind(first)
        for timed in self._in_order(self._whole_pictures(self._decoded())):
            if last is not None and timed.pts >= last:
                return
            if timed.pts >= first:
                yield timed

    def _probe(self) -> VideoInfo:
        stream, frames = self._stream, []
        for frame in self._decoded():
            frames.append(frame)
            if len(frames) == (1 if self.is_live else _PROBED):
                break
        self._early = frames if self.is_live else []
        if not frames:
            raise ImageDecodeError(f"{self.path} holds no frame that can be decoded; it is damaged or was cut off.")
        self.broken = None
        frame, context = frames[0], stream.codec_context
        interlaced = any(each.interlaced_frame for each in frames)
        if interlaced and not self._deinterlace:
            raise UnsupportedImageError(
                f"{self.path} is interlaced: each frame mixes the lines of two moments; add --deinterlace to make "
                "whole pictures of them (deinterlace=True in Python)."
            )
        length = None  # of the video stream itself [s], as the file states it
        if stream.duration:
            length = Fraction(stream.duration * stream.time_base)
        elif (stated := stream.metadata.get("DURATION")) is not None:  # of Matroska
            with suppress(UsageError):
                length = parse_time(stated)
        self._announced = length
        if length is None and self._container.duration:
            length = Fraction(self._container.duration, self._av.time_base)
            if len(self._container.streams) == 1:  # else it may be that of the sound
                self._announced = length
        first = (frame.pts or 0) * stream.time_base
        if any(kind in self._container.format.name for kind in _COUNTS_FROM_ZERO) and length and 0 < first < length:
            length -= first
            self._announced = self._announced and self._announced - first
        sides: Any = frame.side_data  # whose annotations call it a mapping of strings
        turns = (bytes(side) for side in sides if side.type.name == "DISPLAYMATRIX")
        matrices = (tuple(int(each) for each in np.frombuffer(turn, np.int32)) for turn in turns)
        return VideoInfo(
            path=self.path,
            container=self._container.format.name,
            codec=context.codec.canonical_name,
            profile=context.profile,
            width=frame.width,
            height=frame.height,
            pixel_format=frame.format.name,
            rate=stream.average_rate or stream.guessed_rate or Fraction(25),
            time_base=stream.time_base,
            start=frame.pts or 0,
            duration=length,
            primaries=int(frame.color_primaries),
            transfer=int(frame.color_trc),
            matrix=int(frame.colorspace),
            color_range=int(frame.color_range),
            pixel_aspect=stream.sample_aspect_ratio or None,
            display_matrix=next(matrices, None),
            interlaced=interlaced,
            stream=stream.index,
            has_alpha="a" in plain_format(frame.format.name).removeprefix("gray"),
        )

    def _rewind(self, first: int) -> None:
        """Open the file anew, and go to a frame before ``first`` from which decoding can begin."""
        self._container.close()
        self._container = open_source(self._av, self.name, self._rate)
        self._take_stream()
        # files of other kinds have no index that could be trusted: there all is decoded
        if first > self.info.start and any(kind in self.info.container for kind in ("mp4", "matroska")):
            try:
                self._container.seek(first, stream=self._stream)
            except (self._av.FFmpegError, OverflowError):  # nothing is there; to decode all says so, too
                self._rewind(self.info.start)

    def _decoded(self) -> Iterator[VideoFrame]:
        """Frames as they come out of the decoder; damage is noted in :attr:`broken`."""
        last = None
        early, self._early = self._early, []
        yield from early
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._av.FFmpegError:
                if not self.is_live:  # of which :class:`~unhaze.video.live.LiveReader` tells
                    self._note_damage(last)
                packet = None  # the decoder still holds frames
            try:
                if packet is not None and packet.is_corrupt:
                    self._note_damage(last, packet)
                    continue
                empty = packet is None or (packet.dts is None and not packet.size)
                frames = self._context.decode(None if empty else packet)
            except self._av.FFmpegError:
                self._note_damage(last, packet)
                frames = []
            for frame in frames:
                if frame.is_corrupt:
                    self._note_damage(last)
                    continue
                last = frame
                yield frame
            if packet is None:
                return

    def _whole_pictures(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """Deinterlaced, where that is wanted and needed."""
        if not (self._deinterlace and self.info.interlaced):
            yield from frames
            return
        graph: Any = None
        times: list[int | None] = []  # of the frames that the filter holds, each of which it gives back once
        for frame in itertools.chain(frames, [None]):
            if graph is None and frame is None:
                return
            if graph is None:
                graph = self._av.filter.Graph()
                source = graph.add_buffer(template=self._stream, time_base=self.info.time_base)
                bwdif = graph.add("bwdif", "mode=send_frame:deint=all")
                sink = graph.add("buffersink")
                source.link_to(bwdif)
                bwdif.link_to(sink)
                graph.configure()
            times += [] if frame is None else [frame.pts]
            graph.push(frame)  # None flushes it
            with suppress(self._av.BlockingIOError, self._av.EOFError):  # nothing more is ready
                while (picture := graph.pull()) is not None and times:
                    picture.pts = times.pop(0)
                    yield picture

    def _in_order(self, frames: Iterator[VideoFrame]) -> Iterator[TimedFrame]:
        """Frames with times that rise; those without a time follow the one before at the mean rate."""
        step = max(1, round(1 / (self.info.rate * self.info.time_base)))
        last: int | None = None
        for frame in frames:
            pts = frame.pts if frame.pts is not None else self.info.start if last is None else last + step
            if last is not None and pts <= last:
                pts = last + 1
            last = pts
            # another size or layout than that of the first frame, to which all are brought, is told once
            size, layout = f"{self.info.width} x {self.info.height}", plain_format(self.info.pixel_format)
            here, now = f"{frame.width} x {frame.height}", plain_format(frame.format.name)
            for told, found, what in ((size, here, "scaled to its"), (layout, now, "converted to its")):
                note = f"Frames that are {{}} where the first is {told} were {what}."
                if found != told and not any(each.endswith(note.partition("{}")[2]) for each in self.notes):
                    self.notes.append(note.format(found))
            if (frame.width, frame.height) != (self.info.width, self.info.height):  # as FFmpeg does it
                frame = frame.reformat(self.info.width, self.info.height)
            yield TimedFrame(frame, pts)
        self._check_end(None if last is None else last + step)

    def _check_end(self, end: int | None) -> None:
        """Whether the file is as long as it says, ``end`` being the end of its last frame [time base]."""
        if self.broken is not None or end is None:
            return
        shown = (end - self.info.start) * self.info.time_base
        kept = "it was cut off, and the frames up to there were kept."
        if self._announced is not None and self._announced - shown > max(_MISSING_END, 2 / self.info.rate):
            announced = format_time(self._announced)
            self.broken = f"{self.path} ends at {format_time(shown)}, though {announced} was announced; {kept}"
        elif self.info.container == "mpegts" and not self.is_live:
            # it has no header that could tell that it was cut off, but packets of one length
            with self.path.open("rb") as file:
                head = file.read(5)
            length = 192 if head[:1] != b"G" and head[4:5] == b"G" else 188
            if self.path.stat().st_size % length:
                self.broken = f"{self.path} ends at {format_time(shown)} within a packet; {kept}"

    def _note_damage(self, last: VideoFrame | None, packet: Any = None) -> None:
        if self.broken is None and self.pictures is not None and packet is not None:
            picture = self.pictures.paths[packet.pts]
            self.broken = f"{picture} is damaged or cannot be read; the pictures that could be decoded were kept."
        elif self.broken is None:
            start = getattr(getattr(self, "info", None), "start", 0)
            time = Fraction(0) if last is None or last.pts is None else (last.pts - start) * self._stream.time_base
            self.broken = (
                f"{self.path} is damaged after {format_time(time)}; the frames that could be decoded were kept."
            )
