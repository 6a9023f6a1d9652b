"""What this machine lets the process use: memory and processor cores."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unhaze.errors import UsageError

__all__ = [
    "MOST_WORKERS",
    "MemoryTurns",
    "available_memory",
    "check_workers",
    "format_bytes",
    "parse_bytes",
    "usable_cores",
]

MOST_WORKERS = 1024
"""Threads of one pool; beyond any machine, and what systems still grant a process."""

_SHARE_OF_MEMORY = 0.7  # of what is available; the rest is for the file cache and other programs
_UNKNOWN_MEMORY = 4 << 30
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
_FREE = re.compile(r"^MemAvailable\S*\s+(\d+)", re.MULTILINE)
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_bytes(size: int | str) -> int:
    """Read a size such as ``"2G"``, ``"500M"`` or ``1048576``; the units are powers of 1024.

    Raises:
        UsageError: Not a positive size.

    >>> parse_bytes("1.5G") == 3 * 2**29
    True
    """
    match = _SIZE.fullmatch(str(size))
    count = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if count <= 0:
        raise UsageError(f"{size!r} is not a memory size; write for example 2G, 500M or a number of bytes.")
    return count


def format_bytes(count: float) -> str:
    """Write a number of bytes for people.

    >>> format_bytes(3 * 2**29)
    '1.5 GB'
    """
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def usable_cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows


def check_workers(count: object, what: str) -> None:
    """Find numbers of threads, or of pictures at once, that cannot work.

    Raises:
        UsageError: Not a whole number from 1 to :data:`MOST_WORKERS`.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_WORKERS:
        raise UsageError(f"{what} is {count!r}, but must be a whole number from 1 to {MOST_WORKERS}.")


def available_memory() -> int | None:
    """Bytes of memory this process may still use, the limit of a container included; ``None`` where unknown."""
    limits = []
    for place in ("/proc/meminfo", *_CGROUP_LIMITS):
        try:
            text = Path(place).read_text().strip()
        except OSError:
            continue
        free = _FREE.search(text)
        if free is not None:
            limits.append(int(free[1]) * 1024)
        elif text.isdigit():
            limits.append(int(text))
    if any(limits):
        return min(filter(None, limits))
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


class MemoryTurns:
    """Memory that threads take turns at, in the order of arrival; one alone always may run.

    Args:
        total: Bytes; ``None`` is 70 % of what is available now.

    Attributes:
        total: Bytes.
        change: Notified when memory comes free.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = self._left = total or int((available_memory() or _UNKNOWN_MEMORY) * _SHARE_OF_MEMORY)
        self.change = threading.Condition()
        self._waiting: deque[object] = deque()
        self._running = 0

    @contextmanager
    def reserved(self, needed: int, given_up: threading.Event) -> Iterator[None]:
        """Wait until so many bytes fit beside what is under way.

        Args:
            needed: Bytes.
            given_up: Whoever sets it notifies ``change``: then nothing is waited for, and the block should end at once.
        """
        turn = object()
        with self.change:
            self._waiting.append(turn)
            self.change.wait_for(
                lambda: given_up.is_set() or (turn is self._waiting[0] and (not self._running or needed <= self._left))
            )
            self._waiting.remove(turn)
            self._running += 1
            self._left -= needed
            self.change.notify_all()
        try:
            yield
        finally:
            with self.change:
                self._running -= 1
                self._left += needed
                self.change.notify_all()
