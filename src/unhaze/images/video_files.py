"""Telling a video file from a picture, and the commands that dehaze one. Nothing of a video is decoded here.

Beside ``unhaze video`` there is a line that names ffmpeg, which opens the file and makes the new one, with
``unhaze pipe`` between the two halves. It is written here once; help and documentation repeat it word for word, which a
test holds.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = [
    "VIDEO_HEAD",
    "VIDEO_SUFFIXES",
    "find_videos",
    "is_video",
    "video_command",
    "video_sentence",
    "videos_sentence",
]

VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".avi", ".divx", ".f4v", ".flv", ".insv", ".lrv", ".m2t", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    }
)
VIDEO_HEAD = 400
"""How many bytes from the start of a file :func:`is_video` wants: three packets of a transport stream begin in them."""

_Y4M = b"YUV4MPEG2"
_SIGNATURES = (
    _Y4M,
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: WMV
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    b".RMF",
)
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"pnot")
_SOUND_BRANDS = (b"M4A ", b"M4B ", b"M4P ")


def is_video(start: bytes, suffix: str = "") -> bool:
    """Whether a file that is no picture is a video, by its first bytes or else by its ending.

    Args:
        start: The first ``VIDEO_HEAD`` bytes of the file, or all if there are fewer.
        suffix: Its ending, in any case, with the dot; empty where it has no name.

    >>> is_video(b"YUV4MPEG2 W4 H2 F25:1"), is_video(b"", ".MP4"), is_video(b"%PDF-1.7", ".pdf")
    (True, True, False)
    """
    if start.startswith(_SIGNATURES) or start[4:8] in _QUICKTIME_ATOMS:
        return True
    if start[4:8] == b"ftyp":
        return start[8:12] not in _SOUND_BRANDS
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return True
    # packets of a transport stream have 188 bytes and begin with a G; in the files of cameras 4 bytes precede each
    if any(start[first : first + length + 1 : length] == b"GG" for first, length in ((0, 188), (4, 192))):
        return True
    return suffix.lower() in VIDEO_SUFFIXES


def video_command(source: str, target: str, options: str = "") -> str:
    """The line for bash, zsh and the like that dehazes a video and keeps its sound.

    Args:
        source: The video.
        target: The video to write.
        options: Options of ``unhaze pipe``.

    >>> print(video_command("in.mp4", "out.mp4"))
    ffmpeg -v error -i in.mp4 -f yuv4mpegpipe -pix_fmt yuv420p - | unhaze pipe | \
ffmpeg -v error -i - -i in.mp4 -map 0:v -map '1:a?' -c:a copy out.mp4
    """
    old, new = shlex.quote(source), shlex.quote(target)
    pipe = f"unhaze pipe {options}".rstrip()
    first = f"ffmpeg -v error -i {old} -f yuv4mpegpipe -pix_fmt yuv420p -"
    return f"{first} | {pipe} | ffmpeg -v error -i - -i {old} -map 0:v -map '1:a?' -c:a copy {new}"


def video_sentence(name: str, suffix: str) -> str:
    """What is said where a video stands in the place of a picture: the command that dehazes it.

    Args:
        name: Name of the file; any other name if it came without one.
        suffix: Its ending; empty if it came without a name.
    """
    source = Path(name) if suffix else Path("in.mp4")
    command = f"unhaze video {shlex.quote(str(source))}"
    if suffix.lower() == ".y4m":
        target = source.with_name(f"{source.stem}-dehazed{source.suffix}")
        command = f"unhaze pipe < {shlex.quote(str(source))} > {shlex.quote(str(target))}"
    return f"{name} is a video, not a picture; dehaze it with: {command}"


def videos_sentence(videos: Sequence[Path]) -> str:
    """What is said where videos lie among pictures: how many, and the command that dehazes one.

    Args:
        videos: At least one.
    """
    sentence = video_sentence(str(videos[0]), videos[0].suffix)
    return sentence if len(videos) == 1 else f"{len(videos)} videos were passed over; the first: {sentence}"


def find_videos(folder: Path, enters: Callable[[Path], bool]) -> list[Path]:
    """The videos in a folder by their endings, sorted; folders that cannot be read are passed over.

    Args:
        folder: Where to look.
        enters: Whether a folder within it is looked into.
    """
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if enters(Path(here, name))]
        likely = (Path(here, name) for name in names if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES)  # noqa: PTH122
        for path in likely:
            with suppress(OSError):
                is_file = not path.name.startswith(".") and path.is_file()
                if is_file and path.suffix.lower() == ".ts":  # programs are called so, too
                    with path.open("rb") as file:
                        is_file = is_video(file.read(VIDEO_HEAD))
                found += [path] if is_file else []
    return sorted(found)
