"""The new video from its pieces and from all of the old file that is no picture: sound, subtitles, data, chapters.

What is copied is copied packet by packet, bit for bit.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.errors import OutputError, UnsupportedImageError
from unhaze.video.aspect import ROOM, write_pixel_aspect
from unhaze.video.containers import import_av
from unhaze.video.segments import NO_SPACE
from unhaze.video.sources import alpha_modes, file_url, open_source

if TYPE_CHECKING:
    from unhaze.video.containers import VideoInfo
    from unhaze.video.segments import Workshop

__all__ = ["KEEPS_DISPLAY_MATRIX", "Cut", "write_video"]

KEEPS_DISPLAY_MATRIX = ("mp4", "mov", "matroska")
"""Kinds of files that say how frames are turned for display; for others the frames themselves are turned."""

# what the container or the encoder says of itself, and would say wrongly of the new file
_OWN_TAGS = (
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "duration",
    "bps",
    "alpha_mode",
    "handler",
    "software",
)
# what MP4 and QuickTime have places of their own for; any other key needs the table of free keys
_PLACED_TAGS = (
    *("title", "artist", "album", "album_artist", "date", "comment", "genre", "copyright", "grouping", "lyrics"),
    *("description", "synopsis", "composer", "creation_time", "make", "model", "location", "location-eng", "encoder"),
    *("keywords", "track", "disc", "show", "episode_id", "network", "year", "timecode"),
)
_UNTAGGED = {"bgr24": 24, "bgra": 32}  # what AVI knows by the bits of a pixel alone
_RIFF_TAGS = ("avi", "matroska", "nut")  # kinds of files with one list of tags of codecs, that of AVI
_COVER = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
_COVERS = {"mjpeg": "jpg", "tiff": "tif"}  # endings of pictures that differ from the names of their codecs
_MP4_COVERS = ("mjpeg", "png", "bmp")
_NAMED = ("filename", "mimetype")
_ASPECT_TOLERANCE = 0.01  # some kinds of files round it
_LEFT_OUT_FIRST = ("data", "attachment", "subtitle", "audio", "video")


_Marks = tuple[Sequence[int] | None, str | None, Fraction | None]  # display matrix, tag of the codec, pixel aspect


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of the old file the new one shows.

    Attributes:
        start: Time in the old file that becomes the start of the new one [s]; ``None`` keeps all times as they are.
        end: Where the part ends [s]; ``None`` for the end of the file.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    @property
    def shift(self) -> Fraction:
        """What is taken from all times [s]."""
        return self.start or Fraction(0)


def write_video(
    workshop: Workshop,
    info: VideoInfo | None,
    target: Path,
    kind: str,
    *,
    source: str | None,
    time_base: Fraction,
    cut: Cut | None = None,
    display_matrix: Sequence[int] | None = None,
    codec_tag: str | None = None,
    pixel_aspect: Fraction | None = None,
) -> list[str]:
    """Join the pieces, and copy everything else of ``source``.

    Args:
        workshop: Holds the pieces.
        info: The input.
        target: File to write.
        kind: FFmpeg's name of the kind of file.
        source: Where everything else comes from; ``None`` where there is nothing else.
        time_base: Unit of the times of frames.
        cut: The part that is shown.
        display_matrix: How the frames are turned for display.
        codec_tag: Four letters by which QuickTime tells variants of a codec; ``None`` where the codec says it itself.
        pixel_aspect: Width of a pixel relative to its height; ``None`` if it is not known.

    Returns:
        Sentences on what could not be copied.

    Raises:
        OutputError: The file cannot be written.
        UnsupportedImageError: Files of this kind cannot hold the video.
    """
    av = import_av()
    left_out: set[str] = set()
    notes: list[str] = []
    marks = (display_matrix, codec_tag, pixel_aspect)
    while True:
        refused = _try(workshop, info, target, kind, source, time_base, cut or Cut(), marks, left_out, notes)
        if refused is None:
            if pixel_aspect is not None and pixel_aspect != 1:
                notes += _keep_aspect(av, target, kind, pixel_aspect)
            return notes
        following = [each for each in _LEFT_OUT_FIRST if each not in left_out and each in refused.kinds]
        if not following:
            if isinstance(refused.error, av.FFmpegError) and refused.error.errno in NO_SPACE:
                raise OutputError(f"There is no space left to write {target.name}; free some, and use --resume.")
            raise UnsupportedImageError(
                f"A file of the kind {kind} cannot hold this video ({refused.error}); name another one with -o, such "
                "as a file that ends in .mkv."
            ) from refused.error
        left_out.add(following[0])
        notes.append(f"The {following[0]} streams could not be copied: {kind} cannot hold them.")


@dataclass(frozen=True, slots=True)
class _Refused:
    error: Exception
    kinds: set[str]


def _try(
    workshop: Workshop,
    info: VideoInfo | None,
    target: Path,
    kind: str,
    source: str | None,
    time_base: Fraction,
    cut: Cut,
    marks: _Marks,
    left_out: set[str],
    notes: list[str],
) -> _Refused | None:
    """Write the file without the kinds of streams in ``left_out``; why that failed, if its header was refused."""
    av = import_av()
    old: Any = None if source is None else open_source(av, source)
    first = av.open(file_url(workshop.pieces[0].path))
    metadata = {} if old is None else _kept(old.metadata)
    needs_free_keys = kind in ("mp4", "mov") and any(key.lower() not in _PLACED_TAGS for key in metadata)
    options = {"movflags": "+use_metadata_tags"} if needs_free_keys else {}
    options |= {"mpegts_copyts": "1"} if kind == "mpegts" else {}
    new = av.open(file_url(target), "w", format=kind, container_options=options)
    streams: dict[int, Any] = {}
    kinds: set[str] = set()
    try:
        new.metadata.update(metadata)
        video: Any = None
        for each in old.streams if old is not None and info is not None else []:
            if info is not None and each.index == info.stream:
                video = _add_video(new, first.streams.video[0], each, time_base, marks)
                continue
            kinds.add(each.type)
            # QuickTime files get the time code of the pictures from their tags once more, and the titles of chapters
            # of an MP4 file are written with these
            is_data, tags = each.type == "data", each.metadata
            is_timecode = is_data and kind in ("mov", "mp4") and "timecode" in tags
            is_chapters = is_data and tags.get("handler_name") == "SubtitleHandler" and bool(old.chapters())
            if each.type in left_out or is_timecode or is_chapters:
                continue
            if int(each.disposition) & _COVER and (kind != "mp4" or each.codec_context.name not in _MP4_COVERS):
                if kind == "matroska":  # where it is an attachment, and no track
                    _attach_cover(av, new, source, each)
                else:  # it would become a second video, or be lost without a word
                    note = f"The cover picture of the input was not copied: {kind} cannot hold it."
                    notes += [note] if note not in notes else []
                continue
            try:
                copy = streams[each.index] = new.add_stream_from_template(each, opaque=True)
                copy.metadata.update(_kept(tags))
                copy.disposition = each.disposition
            except (ValueError, av.FFmpegError):
                name = "a stream without a name" if each.type is None else f"{each.type} stream {each.index}"
                note = f"{name} of the input was not copied: {kind} cannot hold it."
                notes += [note] if note not in notes else []
        if video is None:
            video = _add_video(new, first.streams.video[0], None, time_base, marks)
        if old is not None and old.chapters():
            new.set_chapters(_cut_chapters(old.chapters(), cut))
        start_codes, codec = None, first.streams.video[0].codec_context.codec.canonical_name
        if kind == "avi" and codec in ("h264", "hevc"):  # the form that AVI wants, and puts in by itself for no program
            start_codes = av.bitstream.BitStreamFilterContext(f"{codec}_mp4toannexb", first.streams.video[0], video)
        try:
            new.start_encoding()
        except (av.FFmpegError, ValueError, OSError) as error:
            return _Refused(error, kinds)
        copied = iter(()) if old is None else _copied(av, old, streams, cut)
        pictures = _pictures(workshop, video, time_base, cut, start_codes)
        for packet in heapq.merge(pictures, copied, key=_time_of):
            new.mux(packet)
        new.close()
    except av.FFmpegError as error:
        if error.errno == errno.EINVAL and (kinds - left_out) & {"data", "subtitle"}:
            return _Refused(error, kinds & {"data", "subtitle"})
        if isinstance(error, av.InvalidDataError) and kinds - left_out:
            return _Refused(error, kinds)
        raise OutputError(
            f"The video cannot be written: {error.strerror or error}; the finished parts are kept for --resume."
        ) from error
    finally:
        first.close()
        if old is not None:
            old.close()
        with contextlib.suppress(av.FFmpegError, OSError, ValueError):  # the first error tells more
            new.close()
    return None


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    kept = {}
    for key, value in metadata.items():
        if key.lower() not in _OWN_TAGS and not key.upper().startswith(
            ("_STATISTICS", "NUMBER_OF_", "DURATION", "BPS")
        ):
            kept[key] = value
    return kept


def _add_video(new: Any, piece: Any, old: Any, time_base: Fraction, marks: _Marks) -> Any:
    display_matrix, codec_tag, pixel_aspect = marks
    stream = new.add_stream_from_template(piece, opaque=True)
    raw = piece.codec_context.name == "rawvideo"
    if raw and new.format.name == "avi" and piece.codec_context.pix_fmt in _UNTAGGED:
        stream.codec_context.bits_per_coded_sample = _UNTAGGED[piece.codec_context.pix_fmt]
    elif raw:  # where the tag is the only sign of what the samples are
        stream.codec_context.codec_tag = piece.codec_context.codec_tag
    elif codec_tag is not None:
        stream.codec_context.codec_tag = codec_tag
    elif new.format.name in _RIFF_TAGS and piece.container.format.name != "mov,mp4,m4a,3gp,3g2,mj2":
        # of which a codec may have several, one for each layout; the first would be taken
        stream.codec_context.codec_tag = piece.codec_context.codec_tag
    stream.time_base = time_base
    if pixel_aspect is not None:
        stream.codec_context.sample_aspect_ratio = pixel_aspect
    if old is not None:
        stream.metadata.update(_kept(old.metadata))
        stream.disposition = old.disposition
    stream.metadata.update({"alpha_mode": "1"} if "1" in alpha_modes(piece) else {})
    if new.format.name in ("matroska", "webm") and pixel_aspect not in (None, 1):
        stream.metadata["title"] = stream.metadata.get("title", "") + ROOM
    if display_matrix is not None:
        stream.set_display_matrix(display_matrix)
    return stream


def _attach_cover(av: Any, new: Any, source: Any, old: Any) -> None:
    with open_source(av, source) as file:  # opened once more, as a cover is the first packet of its stream
        data = next((bytes(packet) for packet in file.demux(file.streams[old.index]) if packet.size), None)
    if data is None:
        return
    codec = old.codec_context.name
    tags = {key.lower(): value for key, value in old.metadata.items()}
    name = tags.get("filename") or f"cover.{_COVERS.get(codec, codec)}"
    stream = new.add_attachment(name, tags.get("mimetype") or f"image/{codec.replace('mjpeg', 'jpeg')}", data)
    stream.metadata.update({key: value for key, value in _kept(old.metadata).items() if key.lower() not in _NAMED})


def _keep_aspect(av: Any, target: Path, kind: str, aspect: Fraction) -> list[str]:
    """Put the pixel aspect where the muxer does not; a sentence where that cannot be."""
    write_pixel_aspect(target, kind, aspect)
    with av.open(file_url(target)) as written:
        found = written.streams.video[0].sample_aspect_ratio
    same = found is not None and abs(found / aspect - 1) < _ASPECT_TOLERANCE
    what = f"that the pixels of the video are {aspect.numerator}:{aspect.denominator} (width to height)"
    return [] if same else [f"A file of the kind {kind} cannot say {what}; one that ends in .mkv can."]


def _cut_chapters(chapters: list[Any], cut: Cut) -> list[Any]:
    kept = []
    for chapter in chapters:
        unit = Fraction(chapter["time_base"])
        start, end = (round((chapter[key] * unit - cut.shift) / unit) for key in ("start", "end"))
        last = end if cut.end is None else min(end, round((cut.end - cut.shift) / unit))
        if max(start, 0) < last or cut.start is None:
            kept.append({**chapter, "start": start if cut.start is None else max(start, 0), "end": last})
    return kept


def _pictures(workshop: Workshop, stream: Any, time_base: Fraction, cut: Cut, start_codes: Any = None) -> Iterator[Any]:
    shift = round(cut.shift / time_base)
    packets = workshop.packets()
    if start_codes is not None:
        packets = (other for packet in packets for other in start_codes.filter(packet))
    for packet in packets:
        packet.stream, packet.time_base = stream, time_base
        packet.pts -= shift
        packet.dts -= shift
        yield packet


def _copied(av: Any, old: Any, streams: dict[int, Any], cut: Cut) -> Iterator[Any]:
    if not any(stream.type != "attachment" for stream in streams.values()):
        return
    packets = old.demux([old.streams[index] for index in streams])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):  # where the file is damaged, what is before is kept
            return
        if not packet.size:
            continue
        if packet.dts is None and packet.pts is None:  # a cover picture, which has no time
            packet.pts = packet.dts = 0
        time = (packet.dts if packet.pts is None else packet.pts) * packet.time_base
        if cut.end is not None and time >= cut.end:
            if time > cut.end + 10:  # streams lie beside one another in a file, but not exactly
                return
            continue
        is_cover = bool(int(packet.stream.disposition) & _COVER)
        if cut.start is not None and not is_cover:
            if time < cut.start:
                continue
            shift = round(cut.start / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = streams[packet.stream.index]
        yield packet


def _time_of(packet: Any) -> Fraction:
    return Fraction(packet.pts if packet.dts is None else packet.dts) * Fraction(packet.time_base)
