"""A video in pieces: what was coded survives the end of the program, and goes on where it stopped.

    NAME.parts/job.json       what is being made, of which file, with which options
    NAME.parts/00001.mkv      the first frames; plays in any player, also while it is being written
    NAME.parts/00001.json     their exact times, and checksums; written last, so a piece without it is not whole
    NAME.parts/00001.npz      what the haze of the next frame is smoothed with

Every piece is coded anew and has the same number of frames, whether or not the work was interrupted between two of
them; that is why a resumed video equals one made in one go. Matroska rounds times to milliseconds, so the exact ones
lie beside it. Frames are numbered for the encoder, and the numbers become times at the end: the time of decoding of
the k-th packet is that of presentation of the frame k less the delay of the encoder, which rises as it must.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from unhaze.errors import OutputError, UnsupportedImageError
from unhaze.video.containers import import_av
from unhaze.video.sources import file_url

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

    from unhaze.video.encoding import Encoding

    State = Mapping[str, NDArray[Any]]

__all__ = ["NO_SPACE", "FramesFormat", "Piece", "Workshop", "parts_folder", "segment_length"]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of errors that free space would mend."""

_SECONDS = 6  # of a piece: what is lost at most when the power fails
_FEWEST, _MOST = 24, 600  # frames of a piece


def segment_length(rate: Fraction) -> int:
    """How many frames a piece has."""
    return min(max(round(_SECONDS * rate), _FEWEST), _MOST)


def parts_folder(target: Path) -> Path:
    """Where the pieces of a video lie until it is whole."""
    return target.with_name(f"{target.name}.parts")


@dataclass(frozen=True, slots=True)
class FramesFormat:
    """What the encoder must know of the frames.

    Attributes:
        width, height: Their size [px].
        rate: Mean frame rate [1/s].
        time_base: Unit of their times [s].
        pixel_aspect: Width of a pixel relative to its height, if that is known.
        tags: Colour tags, by the names of the encoder's context.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    pixel_aspect: Fraction | None
    tags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the video that was written.

    Attributes:
        path: The file.
        times: When its frames are shown [time base], in their order.
        packets: For each packet, in the order of the file, the numbers of the frames that give its times of
            presentation and decoding, counted from the first frame of the video; the latter may be negative.
        shown: How long its last frame is shown [time base]; 0 if that is not known.
        state: Checksum of what was kept with it; ``None`` where that is nothing.
    """

    path: Path
    times: list[int]
    packets: list[tuple[int, int]]
    shown: int = 0
    state: str | None = None


class Workshop:
    """Writes the pieces of one video into their folder, which is made with the first of them.

    Args:
        target: The video that will be.
        job: What tells this work from others: source and options, of plain values.
        resume: Whether to go on with what lies there; else the folder must not exist.
        overwrite: Whether to begin anew where one exists.

    Attributes:
        pieces: Those that are whole.
        notes: Sentences on pieces of an earlier run that must be made anew.

    Raises:
        OutputError: The folder is there and ``resume`` was not given, or it is of other work.
    """

    def __init__(self, target: Path, job: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        self._av = import_av()
        self.folder = parts_folder(target)
        self.pieces: list[Piece] = []
        self.notes: list[str] = []
        self._writer: _PieceWriter | None = None
        self._job, self._is_open = json.loads(json.dumps(job)), False
        if self.folder.exists() and resume:
            self._take_up(self._job)
        elif self.folder.exists() and not overwrite:
            raise OutputError(
                f"{self.folder} holds what an earlier run left when it was stopped; add --resume to go on from "
                "there, or --overwrite to begin anew."
            )

    def _open(self) -> None:
        """Make the folder; not before there is something for it, so that a run that is refused leaves nothing."""
        try:
            if not self.pieces and self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=False, exist_ok=True)
            _write_text(self.folder / "job.json", json.dumps(self._job, indent=1))
        except OSError as error:
            raise OutputError(
                f"The folder {self.folder} cannot be made ({error.strerror or error}); choose another place with -o."
            ) from error
        self._is_open = True

    def _take_up(self, job: Any) -> None:
        try:
            before = json.loads((self.folder / "job.json").read_text())
        except (OSError, ValueError):
            before = None
        if isinstance(before, dict) and before != job:
            changed = sorted(key for key in {*before, *job} if before.get(key) != job.get(key))
            raise OutputError(
                f"{self.folder} was begun with other settings ({', '.join(changed)}); give those again, or begin anew "
                "with --overwrite."
            )
        found = sum(path.stem.isdecimal() for path in self.folder.glob("*.json"))
        # without a sound job.json nobody knows what the pieces are of
        while isinstance(before, dict) and (piece := self._stored(len(self.pieces) + 1)):
            self.pieces.append(piece)
        self.keep(len(self.pieces))
        if found > len(self.pieces):
            self.notes.append(
                f"What an earlier run left in {self.folder.name} was damaged or is not all there; part "
                f"{len(self.pieces) + 1} and those after it were made anew."
            )
        last = f"{len(self.pieces):05d}"
        for path in self.folder.iterdir():  # of a piece that never became whole, or is not what it was
            if path.name[0].isdecimal() and path.stem.split(".")[0] > last:
                path.unlink()

    def _stored(self, number: int) -> Piece | None:
        """A piece of an earlier run; ``None`` where it is not whole, or not what was finished then."""
        try:
            stored = json.loads((self.folder / f"{number:05d}.json").read_text())
            check = stored.pop("check")
            path = self.folder / stored["file"]
            if check != hashlib.sha256(json.dumps(stored).encode()).hexdigest() or stored["sha256"] != _checksum(path):
                return None
            packets = [(pts, dts) for pts, dts in stored["packets"]]
            return Piece(path, stored["times"], packets, stored["shown"], stored["state"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def frames(self) -> int:
        """How many frames the whole pieces hold."""
        return sum(len(piece.times) for piece in self.pieces)

    def state(self) -> dict[str, NDArray[Any]]:
        """What was kept with the last whole piece."""
        path = self.folder / f"{len(self.pieces):05d}.npz"
        try:
            if not self.pieces or self.pieces[-1].state != _checksum(path):
                return {}
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, BadZipFile):
            return {}

    def add(self, frame: VideoFrame, pts: int, encoding: Encoding, form: FramesFormat, shown: int = 0) -> None:
        """Code the next frame, shown at ``pts`` and, if it is the last, for ``shown``; 0 if that is not known."""
        try:
            if self._writer is None:
                if not self._is_open:
                    self._open()
                stem = self.folder / f"{len(self.pieces) + 1:05d}"
                self._writer = _PieceWriter(stem, self.frames, encoding, form)
            self._writer.add(frame, pts)
            self._writer.shown = shown
        except (OSError, self._av.FFmpegError) as error:
            raise self._explained(error) from error

    def keep(self, pieces: int) -> None:
        """Leave out whole pieces after so many, and those whose state is lost; they will be written anew."""
        while self.pieces and (len(self.pieces) > pieces or (self.pieces[-1].state and not self.state())):
            # without its state the piece after it would not be what it was to be
            (self.folder / f"{len(self.pieces):05d}.json").unlink(missing_ok=True)
            self.pieces.pop().path.unlink(missing_ok=True)

    @property
    def begun(self) -> int:
        """How many frames the piece under way holds."""
        return 0 if self._writer is None else len(self._writer.times)

    def finish_piece(self, state: State | None = None, *, whole: bool = True) -> None:
        """Close the piece under way.

        Args:
            state: To be kept for the frame after it.
            whole: Whether to go on after it; else it counts for this process only.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            piece = writer.close()
            self.pieces.append(piece)
            if not whole:
                return
            with piece.path.open("rb+") as file:  # what is said to be whole must be on the disk when the power fails
                os.fsync(file.fileno())
            if state:
                part = self.folder / f"{len(self.pieces):05d}.part"
                with part.open("wb") as file:
                    np.savez(file, **state)  # type: ignore[arg-type]  # its stub takes them for its own option
                    file.flush()
                    os.fsync(file.fileno())
                piece = self.pieces[-1] = replace(piece, state=_checksum(part))
                part.replace(part.with_suffix(".npz"))
            stored = {
                "file": piece.path.name,
                "sha256": _checksum(piece.path),
                "times": piece.times,
                "packets": piece.packets,
                "shown": piece.shown,
                "state": piece.state,
            }
            check = hashlib.sha256(json.dumps(stored).encode()).hexdigest()
            _write_text(self.folder / f"{len(self.pieces):05d}.json", json.dumps({**stored, "check": check}))
            # a second video may be one piece behind; older states would fill the disk
            (self.folder / f"{len(self.pieces) - 2:05d}.npz").unlink(missing_ok=True)
        except (OSError, self._av.FFmpegError) as error:
            raise self._explained(error) from error

    def abandon(self) -> None:
        """Leave the piece under way as it is."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.leave()

    def remove(self) -> None:
        """The video is whole: its pieces are of no more use."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def packets(self) -> Iterator[Any]:
        """The packets of all pieces in order, each with ``pts``, ``dts`` and ``duration`` in the time base."""
        times = [time for piece in self.pieces for time in piece.times]
        last = self.pieces[-1].shown
        step = max(1, (times[-1] - times[0]) // (len(times) - 1)) if len(times) > 1 else max(1, last)
        for piece in self.pieces:
            count = 0
            with suppress(self._av.FFmpegError), self._av.open(file_url(piece.path)) as container:
                for packet in container.demux(video=0):
                    if (packet.dts is None and not packet.size) or count == len(piece.packets):
                        continue
                    shown, decoded = piece.packets[count]
                    count += 1
                    following = times[shown + 1] if shown + 1 < len(times) else times[shown] + (last or step)
                    packet.pts = times[shown]
                    packet.dts = times[decoded] if decoded >= 0 else times[0] + decoded * step
                    packet.duration = following - times[shown]
                    yield packet
            if count < len(piece.packets):  # never seen but where a disk fails
                raise OutputError(f"{piece.path} is no longer what was written; --resume makes it anew.")

    def _explained(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) in NO_SPACE:
            what = "what was made so far is kept. Free some space, and go on with --resume."
        else:
            what = "choose another place or kind of file with -o, or another --codec."
        return OutputError(f"{self.folder} cannot be written: {reason}; {what}")


class _PieceWriter:
    """One piece while it is written."""

    def __init__(self, stem: Path, first: int, encoding: Encoding, form: FramesFormat) -> None:
        av = import_av()
        self.times: list[int] = []
        self.shown = 0
        self._packets: list[tuple[int, int]] = []
        self._first, self._form = first, form
        self._unit = 1 / form.rate
        # what neither of the first two holds, such as DNxHD, a fragmented QuickTime file does
        whole = {"movflags": "+frag_every_frame+empty_moov"}
        for kind, suffix, options in (("matroska", ".mkv", {}), ("nut", ".nut", {}), ("mov", ".mov", whole)):
            self.path = stem.with_suffix(suffix)
            # what lies in the buffers of the program is lost with it, so they are emptied with every packet
            self._container = av.open(
                file_url(self.path), "w", format=kind, container_options={"flush_packets": "1", **options}
            )
            try:
                self._stream = self._opened(encoding)
                self._container.start_encoding()
                break
            except (ValueError, av.ArgumentError):  # this kind of file cannot hold the codec, or not this layout of it
                self._discard()
        else:
            raise UnsupportedImageError(f"{encoding.encoder} cannot be written in pieces; choose another --codec.")

    def _opened(self, encoding: Encoding) -> Any:
        """A stream of the file, ready to be coded."""
        av, form = import_av(), self._form
        stream: Any = self._container.add_stream(
            encoding.encoder,
            rate=form.rate,
            options=encoding.options,
            time_base=self._unit,
            width=form.width,
            height=form.height,
        )
        stream.time_base = form.time_base
        context = stream.codec_context
        context.pix_fmt = encoding.pixel_format
        if encoding.encoder.startswith("libvpx") and encoding.pixel_format in ("yuva420p", "gbrap"):
            stream.metadata["alpha_mode"] = "1"
        if form.pixel_aspect is not None:
            context.sample_aspect_ratio = form.pixel_aspect
        for name, value in form.tags.items():
            setattr(context, name, value)
        if encoding.encoder != "libsvtav1":
            context.thread_type = "AUTO"
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            self._discard()
            raise UnsupportedImageError(
                f"The encoder {encoding.encoder} does not take frames of {form.width} x {form.height} "
                f"({encoding.pixel_format}): {error}; choose another codec with --codec."
            ) from error
        return stream

    def _discard(self) -> None:
        self.leave()
        self.path.unlink(missing_ok=True)

    def add(self, frame: VideoFrame, pts: int) -> None:
        frame.pts, frame.time_base = len(self.times), self._unit
        for name, value in self._form.tags.items():  # some encoders, such as that of ProRes, ask the frame itself
            setattr(frame, name, value)
        self.times.append(pts)
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[Any]) -> None:
        step = max(1, round(self._unit / self._form.time_base))
        for packet in packets:
            number = round(packet.pts * packet.time_base / self._unit)
            decoded = number if packet.dts is None else round(packet.dts * packet.time_base / self._unit)
            self._packets.append((self._first + number, self._first + decoded))
            packet.time_base = self._form.time_base
            packet.pts = self.times[number] - self.times[0]
            packet.dts = self.times[decoded] - self.times[0] if decoded >= 0 else decoded * step
            self._container.mux(packet)

    def close(self) -> Piece:
        self._mux(self._stream.encode(None))
        self._container.close()
        if sorted(number for number, _ in self._packets) != list(range(self._first, self._first + len(self.times))):
            raise OutputError(f"The encoder lost frames of {self.path}; choose another codec with --codec.")
        return Piece(self.path, self.times, self._packets, self.shown)

    def leave(self) -> None:
        """Close the file with what it holds."""
        try:
            self._container.close()
        except (OSError, ValueError, import_av().FFmpegError):
            return  # a full disk, most likely; what is there plays all the same


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
