"""Sources that give frames as they are made: network streams and cameras, taken up again when they go away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from unhaze.errors import ImageDecodeError
from unhaze.video.containers import TimedFrame, VideoReader
from unhaze.video.sources import is_address, open_source
from unhaze.video.times import format_time

__all__ = ["LiveReader", "open_reader"]

_PATIENCE = 10.0  # how long a source that went away may stay away [s]
_PAUSE = 0.5  # between two tries [s]


class LiveReader(VideoReader):
    """Reads a live source; its frames come once, with the times at which they were made.

    A source that goes away is opened again for some seconds; the time that passed meanwhile is counted.
    """

    def frames(
        self, *, after: int | None = None, start: Fraction | None = None, end: Fraction | None = None
    ) -> Iterator[TimedFrame]:
        """Yield the frames, as :meth:`VideoReader.frames`, until ``end`` or until the source stays away."""
        if not self.is_live:  # a file that lies elsewhere
            yield from super().frames(after=after, start=start, end=end)
            return
        base, origin, last, offset = self.info.time_base, self.info.start, self.info.start - 1, 0
        until = None if end is None else origin + -(-end // base)
        while True:
            seen, begins = time.monotonic(), bool(offset)
            for timed in self._in_order(self._whole_pictures(self._decoded())):
                if begins:  # times of a source that comes back begin anew
                    offset, begins = offset - timed.pts, False
                pts = max(last + 1, timed.pts + offset)
                if until is not None and pts >= until:
                    return
                last, seen = pts, time.monotonic()
                if start is None or (pts - origin) * base >= start:
                    yield TimedFrame(timed.frame, pts)
            if not self._reopened(seen):
                if until is not None:
                    shown = format_time((last + 1 - origin) * base)
                    self.broken = f"{self.name} went away after {shown}; the frames up to there were kept."
                return
            offset = last + max(1, round(Fraction(time.monotonic() - seen) / base))

    def _reopened(self, since: float) -> bool:
        self._container.close()
        while time.monotonic() - since < _PATIENCE:
            try:
                self._container = open_source(self._av, self.name)
                self._take_stream()
            except (ImageDecodeError, OSError, self._av.FFmpegError):
                time.sleep(_PAUSE)
            else:
                return bool(self._stream.time_base == self.info.time_base)
        return False


def open_reader(source: str | Path, *, deinterlace: bool = False, rate: Fraction | None = None) -> VideoReader:
    """The reader for a file, numbered pictures, an address or a camera; arguments as for :class:`VideoReader`."""
    kind = LiveReader if is_address(str(source)) else VideoReader
    return kind(source, deinterlace=deinterlace, rate=rate)
