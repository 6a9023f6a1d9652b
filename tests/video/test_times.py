from fractions import Fraction

import pytest

from unhaze.errors import UsageError
from unhaze.video.times import format_time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("70", 70), ("70.5", Fraction(141, 2)), ("1:10", 70), ("00:01:10.250", Fraction(281, 4)), ("1:00:00", 3600)],
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert parse_time(text) == seconds
    assert parse_time(format_time(seconds, 3)) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "1/2", "nan"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="is no time"):
        parse_time(text)
