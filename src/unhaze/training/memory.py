"""Keeping freed memory at hand."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory", "resident_peak"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_THRESHOLD = 32 << 20  # glibc takes no more


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks instead of giving them back to the system after each operation.

    A step on a CPU allocates hundreds of tensors of megabytes; getting fresh, zeroed pages for each takes several
    times as long as computing them. Speed only; no value changes.

    Returns:
        Whether the C library took the setting; elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def resident_peak() -> int | None:
    """Most bytes of memory that this process has held; ``None`` where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) << 10
