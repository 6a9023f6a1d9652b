"""The compiled pass over full-resolution pixels, where the package ``unhaze-kernels`` is installed.

It does what :mod:`unhaze.restore.strips` does in NumPy, which stays the reference: the same operations in the same
order, each pixel read once and written once, without the interpreter lock.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

from unhaze.errors import UsageError

__all__ = ["KERNELS_VARIABLE", "describe_kernels", "installed_kernels", "load_kernels"]

KERNELS_VARIABLE = "UNHAZE_KERNELS"
"""Environment variable: ``auto`` (kernels where they are installed), ``off``, or a level of instructions of theirs."""

_INTERFACE = 1  # the meaning of the arguments that this version knows


def load_kernels() -> tuple[Any, str] | None:
    """The package and the level of instructions to ask it for; ``None`` where NumPy does the work.

    Raises:
        UsageError: The environment variable asks for what there is not.
    """
    wanted = os.environ.get(KERNELS_VARIABLE) or "auto"
    if wanted == "off":
        return None
    kernels, levels = installed_kernels()
    if wanted != "auto" and wanted not in levels:
        known = ", ".join(["auto", "off", *levels])
        raise UsageError(
            f"{KERNELS_VARIABLE} is {wanted!r}, but must be one of {known} here"
            + ("." if levels else "; install unhaze-kernels for more.")
        )
    return (kernels, levels[0] if wanted == "auto" else wanted) if levels else None


@cache
def installed_kernels() -> tuple[Any, list[str]]:
    """The package and the levels of instructions that run here, the widest first; none where it cannot be used."""
    try:
        kernels = import_module("unhaze_kernels")
    except ImportError:  # not installed, or for another machine
        return None, []
    return kernels, kernels.levels() if kernels.INTERFACE == _INTERFACE else []


def describe_kernels() -> str:
    """What does the work at full resolution, for people.

    Raises:
        UsageError: As :func:`load_kernels`.
    """
    found = load_kernels()
    if found is not None:
        return f"unhaze-kernels {found[0].__version__} ({found[1]})"
    if os.environ.get(KERNELS_VARIABLE) == "off":
        return f"NumPy and OpenCV (switched off by {KERNELS_VARIABLE})"
    return "NumPy and OpenCV (quicker with unhaze-kernels, see the page on speed)"
