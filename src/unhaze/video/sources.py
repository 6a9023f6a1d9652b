"""What frames can come from: a file, numbered pictures, an address, a camera; each opened as PyAV opens a file."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from unhaze.errors import ImageDecodeError, UnsupportedImageError, UsageError

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = [
    "PICTURE_CODECS",
    "Pictures",
    "alpha_modes",
    "file_url",
    "find_pictures",
    "is_address",
    "is_pattern",
    "numbered",
    "open_source",
    "video_stream",
]

PICTURE_CODECS = {
    ".png": "png",
    ".jpg": "mjpeg",
    ".jpeg": "mjpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
    ".webp": "webp",
    ".dpx": "dpx",
}
"""What pictures that are frames are coded with, by their endings."""

_PATTERN = re.compile(r"%0?\d{0,2}d")
_NUMBER = re.compile(r"(.*?)(\d+)(\.\w+)")
_DEVICES = ("v4l2", "avfoundation", "dshow", "x11grab", "gdigrab")
_WAIT = 10.0  # for an address to answer [s]


def is_pattern(path: Path) -> bool:
    """Whether a name stands for numbered pictures.

    >>> is_pattern(Path("frame_%05d.png")), is_pattern(Path("50%.mp4"))
    (True, False)
    """
    return path.suffix.lower() in PICTURE_CODECS and len(_PATTERN.findall(path.name)) == 1


def numbered(pattern: Path, number: int) -> Path:
    """The picture of a number.

    >>> numbered(Path("frame_%03d.png"), 7).name
    'frame_007.png'
    """
    return pattern.with_name(_PATTERN.sub(lambda found: found[0] % number, pattern.name, count=1))


def is_address(name: str) -> bool:
    """Whether a name is no file: a stream of a network, or a camera.

    >>> is_address("rtsp://camera/1"), is_address("/dev/video0"), is_address("in.mp4")
    (True, True, False)
    """
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name)) or _device(name) is not None


def file_url(path: Path) -> str:
    """A file as FFmpeg opens it: what stands before a colon, as in ``10:30.mp4``, it takes for a protocol.

    >>> file_url(Path("10:30.mp4"))
    'file:10:30.mp4'
    """
    return f"file:{path}"


def _device(name: str) -> tuple[str, str] | None:
    """FFmpeg's kind of device and its name there: ``/dev/video0``, ``dshow:video=Camera``, ``avfoundation:0``."""
    if re.fullmatch(r"/dev/video\d+", name):
        return "v4l2", name
    kind, colon, rest = name.partition(":")
    return (kind, rest) if colon and kind in _DEVICES else None


@dataclass(frozen=True, slots=True)
class Pictures:
    """Picture files that are the frames of a video.

    Attributes:
        paths: The files in the order of their frames.
        numbers: The number in the name of each; 1, 2, 3 .. where names are of different kinds.
        pattern: Name of the result of a frame, where names are of one kind: ``"frame_%05d.png"``.
    """

    paths: tuple[Path, ...]
    numbers: tuple[int, ...]
    pattern: str


def find_pictures(name: Path) -> Pictures | None:
    """The pictures that a pattern stands for, or those in a folder; ``None`` if there are none.

    Pictures in a folder are ordered by the numbers in their names. Results of earlier runs are left out.
    """
    if name.is_dir():
        kinds: dict[str, list[Path]] = {}
        for path in name.iterdir():
            wanted = path.suffix.lower() in PICTURE_CODECS and not path.name.startswith(".")
            if wanted and not path.stem.endswith("-dehazed") and not path.is_dir():
                kinds.setdefault(path.suffix.lower(), []).append(path)
        if not kinds:
            return None
        most = max(kinds.values(), key=len)  # a folder of frames may hold a thumbnail of another kind
        # frame9 before frame10
        parts = {path: [part for part in re.split(r"(\d+)", path.name) if part] for path in most}
        order = {path: [(0, int(each)) if each.isdecimal() else (1, each) for each in parts[path]] for path in most}
        return _named_alike(sorted(most, key=order.__getitem__))
    if not is_pattern(name) or name.exists():
        return None
    before, after = _PATTERN.split(name.name, maxsplit=1)
    form = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found: dict[int, Path] = {}
    for path in name.parent.iterdir() if name.parent.is_dir() else ():
        match = form.fullmatch(path.name)
        if match and numbered(name, int(match[1])).name == path.name and not path.is_dir():
            found[int(match[1])] = path
    numbers = tuple(sorted(found))
    return Pictures(tuple(found[number] for number in numbers), numbers, name.name) if found else None


def _named_alike(paths: Sequence[Path]) -> Pictures:
    found = [_NUMBER.fullmatch(path.name) for path in paths]
    ending = paths[0].suffix
    if all(found) and len({(each[1], each[3]) for each in found if each}) == 1:
        assert found[0] is not None
        digits = len(found[0][2])
        pattern = f"{found[0][1]}%0{digits}d{ending}"
        numbers = tuple(int(each[2]) for each in found if each)
        if "%" not in found[0][1] and len(set(numbers)) == len(numbers):
            return Pictures(tuple(paths), numbers, pattern)
    return Pictures(tuple(paths), tuple(range(1, len(paths) + 1)), f"%05d{ending}")


def open_source(av: Any, name: str, rate: Fraction | None = None) -> InputContainer:
    """Open whatever frames can come from.

    Args:
        av: PyAV.
        name: A file, a pattern or a folder of numbered pictures, an address, or a camera.
        rate: Frames per second of numbered pictures; 25 if not given.

    Raises:
        ImageDecodeError: It cannot be opened, or is no video.
        UsageError: There is no such file, or a folder that holds no pictures.
    """
    path = Path(name)
    if not is_address(name) and (pictures := find_pictures(path)) is not None:
        return _PictureContainer(av, pictures, rate or Fraction(25))  # type: ignore[return-value]
    if rate is not None:
        raise UsageError(f"{name} knows its own frame rate; leave out --rate, which is for numbered pictures.")
    try:
        if not is_address(name) and path.is_file() and path.stat().st_size == 0:
            raise ImageDecodeError(f"{name} is empty.")
        device = _device(name)
        if device is not None:
            kind, place = device
            if kind not in av.formats_available:
                raise UnsupportedImageError(
                    f"The installed PyAV opens no cameras of the kind {kind}. Let ffmpeg send it: "
                    f"ffmpeg -f {kind} -i {place} -c:v libx264 -tune zerolatency -f mpegts -listen 1 "
                    "http://127.0.0.1:8090, and name http://127.0.0.1:8090 here."
                )
            opened: InputContainer = av.open(place, format=kind)
        else:
            opened = av.open(
                name if is_address(name) else file_url(path),
                metadata_errors="replace",
                timeout=_WAIT if is_address(name) else None,
                options={"rtsp_flags": "prefer_tcp"} if name.startswith("rtsp") else {},  # UDP loses packets
            )
        return opened
    except av.InvalidDataError as error:
        raise ImageDecodeError(
            f"{name} cannot be read as a video: it is damaged, was cut off before its index was written, or is "
            "no video."
        ) from error
    except (FileNotFoundError, av.FileNotFoundError) as error:
        raise UsageError(f"There is no file {name}; check its name.") from error
    except (OSError, av.FFmpegError) as error:
        if error.errno == errno.EISDIR:
            raise UsageError(f"{name} is a folder without pictures; name a video.") from error
        raise ImageDecodeError(f"{name} cannot be opened: {error.strerror or error}.") from error


def video_stream(container: InputContainer, name: str) -> Any:
    """The video stream to dehaze; never the cover of an album.

    Raises:
        ImageDecodeError: There is none.
        UnsupportedImageError: It is coded in a way that cannot be decoded here.
    """
    attached = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
    found = [each for each in container.streams.video if not int(each.disposition) & attached]
    if not found:
        raise ImageDecodeError(f"{name} holds no video stream.")
    if found[0].codec_context is None:
        raise UnsupportedImageError(f"{name} is coded in a way that cannot be decoded here.")
    return found[0]


def alpha_modes(stream: Any) -> list[str]:
    """What a stream of Matroska says of its alpha: ``["1"]`` where there is some."""
    return [value for key, value in stream.metadata.items() if key.lower() == "alpha_mode"]


@dataclass
class _PictureStream:
    codec_context: Any
    average_rate: Fraction
    duration: int
    time_base: Fraction
    metadata: dict[str, str] = field(default_factory=dict)
    sample_aspect_ratio: Fraction | None = None
    guessed_rate: Fraction | None = None
    disposition: int = 0
    index: int = 0
    thread_type: str = "AUTO"


class _PictureContainer:
    """Stands in for an opened file: each picture is a packet. FFmpeg's own reader of numbered files stops at gaps."""

    def __init__(self, av: Any, pictures: Pictures, rate: Fraction) -> None:
        self._av, self._pictures = av, pictures
        context = av.CodecContext.create(PICTURE_CODECS[pictures.paths[0].suffix.lower()], "r")
        stream = _PictureStream(context, rate, len(pictures.paths), 1 / rate)
        self.format = SimpleNamespace(name="image2")
        self.duration: int | None = None
        self.streams = SimpleNamespace(video=[stream])
        self.pictures = pictures

    def demux(self, _: Any) -> Iterator[Any]:
        """One packet for each picture, numbered from 0."""
        for number, path in enumerate(self._pictures.paths):
            data = b""
            with contextlib.suppress(OSError):  # what cannot be read is as good as empty
                data = path.read_bytes()
            # an empty packet would mean that no further one comes; this one is no picture
            packet = self._av.Packet(data or b"\0")
            packet.pts = packet.dts = number
            packet.is_keyframe = True  # FFmpeg takes another PNG for what is added to the one before
            packet.time_base = self.streams.video[0].time_base
            yield packet

    def close(self) -> None:
        """Nothing is held."""
