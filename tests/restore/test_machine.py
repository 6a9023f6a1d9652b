import pytest

from unhaze.errors import UsageError
from unhaze.restore.machine import available_memory, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1024", 1024),
        (4096, 4096),
        ("2k", 2048),
        ("500M", 500 << 20),
        ("1.5G", 3 << 29),
        ("2GiB", 2 << 30),
        (" 1 gb ", 1 << 30),
    ],
)
def test_sizes_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "2X", "1e9", "two", None])
def test_a_bad_size_says_how_to_write_one(text):
    with pytest.raises(UsageError, match="2G"):
        parse_bytes(text)


def test_sizes_are_written_for_people():
    assert [format_bytes(count) for count in (12, 2048, 5 << 20, 3 << 29)] == ["12 bytes", "2.0 kB", "5.0 MB", "1.5 GB"]


def test_available_memory_is_plausible():
    available = available_memory()
    assert available is None or 1 << 20 < available < 1 << 50
