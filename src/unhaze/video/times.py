"""Times in a video as people write and read them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from unhaze.errors import UsageError

__all__ = ["format_time", "parse_time"]

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12}")  # an exponent could ask for any amount of memory


def parse_time(text: str) -> Fraction:
    """Seconds from ``"70"``, ``"70.5"``, ``"1:10"`` or ``"00:01:10.5"``.

    Raises:
        UsageError: It is no time.

    >>> parse_time("00:01:10.5")
    Fraction(141, 2)
    """
    parts = text.strip().split(":")
    if len(parts) > 3 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise UsageError(f"{text!r} is no time; write seconds (70.5) or hours, minutes and seconds (00:01:10.5).")
    seconds = Fraction(0)
    for part in parts:
        seconds = 60 * seconds + Fraction(part)
    return seconds


def format_time(seconds: Fraction | float, digits: Literal[0, 1, 2, 3] = 2) -> str:
    """A time as hours, minutes and seconds.

    >>> format_time(70.5)
    '00:01:10.50'
    """
    whole, rest = divmod(round(seconds * 10**digits), 10**digits)
    fraction = f".{rest:0{digits}d}" if digits else ""
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{fraction}"
