"""What a user may choose about a video, the restoration itself apart."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from unhaze.errors import UnknownNameError, UsageError
from unhaze.video.smoothing import check_lookahead, check_temporal
from unhaze.video.times import parse_time

__all__ = ["VideoPlan", "View"]

View = Literal["after", "split", "beside"]

_LONGEST = 10**7  # seconds, about four months; times of FFmpeg end somewhere


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """How a video is made, the restoration itself apart.

    Attributes:
        codec: One of :data:`unhaze.video.encoding.CODECS`; ``None`` for that of the input.
        crf: Constant quality of the encoder; lower is better and larger.
        preset: Pace of the encoder.
        start: Where to begin [s], or as ``"00:01:10"``.
        duration: How much to take [s]; ``None`` for the rest.
        view: ``"after"``; ``"split"``: left half as it was, right half dehazed; ``"beside"``: both, side by side.
        temporal: 0 to 0.98, how much of the haze of a frame comes from the frames before; ``None`` for the default.
        deinterlace: Whether to make whole pictures of interlaced frames.
        resume: Whether to go on where an earlier run stopped.
        overwrite: Whether the output may be replaced.
        jobs: Frames worked on at once; by default one for each processor core.
        lookahead: Frames after each that its haze is smoothed with, 0 to 25; what is shown lags by as many.
        save_transmission: Whether to write the transmission as a second video, ``NAME-transmission``.
        rate: Frames per second of numbered pictures; 25 if not given. Videos know their own.

    Raises:
        UsageError: A value is not one of those that exist.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    start: Fraction | float | str | None = None
    duration: Fraction | float | str | None = None
    view: View = "after"
    temporal: float | None = None
    deinterlace: bool = False
    resume: bool = False
    overwrite: bool = False
    jobs: int | None = None
    lookahead: int = 0
    save_transmission: bool = False
    rate: Fraction | float | str | None = None

    def __post_init__(self) -> None:
        if self.view not in get_args(View):
            raise UnknownNameError("view", self.view, get_args(View))
        for name in ("start", "duration"):  # both are fractions after this
            value = getattr(self, name)
            if value is not None:
                # 0.2 means one fifth, not the float beside it, which would leave out the frame at that time
                try:
                    seconds = parse_time(value) if isinstance(value, str) else Fraction(value).limit_denominator(10**6)
                except OverflowError:  # infinite
                    seconds = Fraction(-1)
                if not 0 <= seconds <= _LONGEST:
                    raise UsageError(f"The {name} is {value}, but must lie between 0 and {_LONGEST} seconds.")
                object.__setattr__(self, name, seconds)
        check_lookahead(self.lookahead)
        if self.exact_rate is not None:
            object.__setattr__(self, "rate", self.exact_rate)
        if self.duration is not None and self.duration <= 0:  # type: ignore[operator]
            raise UsageError("The duration is 0; give more than that.")
        if self.temporal is not None:
            check_temporal(self.temporal)

    @property
    def exact_rate(self) -> Fraction | None:
        """``rate`` as a fraction."""
        if self.rate is None:
            return None
        try:
            text = str(self.rate)  # an exponent could ask for any amount of memory
            rate = Fraction(0 if isinstance(self.rate, str) and "e" in text.lower() else self.rate)
            rate = rate.limit_denominator(1001)
        except (ValueError, ZeroDivisionError, OverflowError):
            rate = Fraction(0)
        if not 0 < rate <= 1000:
            raise UsageError(f"The rate is {self.rate}, but must be frames per second: 25, 29.97 or 30000/1001.")
        return rate
