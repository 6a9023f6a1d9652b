"""Every error that unhaze raises on purpose.

    UnhazeError
    ├── UsageError                 an option or argument has a value that cannot work (also a ValueError)
    │   ├── UnknownNameError       no model, format, ... has this name; near names are listed
    │   └── WeightsError           a weights file is damaged, unsafe, or does not fit the network
    ├── ImageError                 one picture cannot be processed; others of a batch can
    │   ├── ImageDecodeError       empty, truncated, damaged, or not a picture at all
    │   ├── UnsupportedImageError  a sound file of a kind that is not handled (animation, 12-bit JPEG, ...)
    │   ├── ImageTooLargeError     more pixels than the limit; raised before decoding
    │   ├── ImageValueError        pixel values or array shape that have no meaning as a picture (also a ValueError)
    │   └── ImageEncodeError       the picture cannot be stored in the format asked for
    ├── OutputError                an output cannot be written, or writing it would destroy something
    ├── OverBudgetError            the picture does not fit into the memory limit
    └── MissingError               something that must be installed or downloaded is not there
        ├── MissingDependencyError an optional package; the message names the extra to install
        └── WeightsNotFoundError   trained weights; the message names the path and the command

Besides there is :class:`PluginWarning`, for what another package adds and cannot be used.

A message is one sentence or two: what is wrong, and what to do. The command line prints it as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ImageDecodeError",
    "ImageEncodeError",
    "ImageError",
    "ImageTooLargeError",
    "ImageValueError",
    "MissingDependencyError",
    "MissingError",
    "OutputError",
    "OverBudgetError",
    "PluginWarning",
    "UnhazeError",
    "UnknownNameError",
    "UnsupportedImageError",
    "UsageError",
    "WeightsError",
    "WeightsNotFoundError",
]


class PluginWarning(UserWarning):
    """Something that another package adds cannot be used and is left out; the message names it."""


class UnhazeError(Exception):
    """Base of all errors raised on purpose."""


class UsageError(UnhazeError, ValueError):
    """An option or argument has a value that cannot work."""


class UnknownNameError(UsageError):
    """No entry of a catalogue has this name.

    Args:
        kind: What was looked up, in the singular (``"model"``).
        name: The name that was asked for.
        known: All names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        name = str(name)[:100]  # it may come from a file
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(self.known)}."
        super().__init__(f"There is no {kind} named {name!r}; {hint}")


class WeightsError(UsageError):
    """A weights file is damaged, unsafe, or does not fit the network."""


class ImageError(UnhazeError):
    """One picture cannot be processed; others of a batch can."""


class ImageDecodeError(ImageError):
    """The data is empty, truncated, damaged, or not a picture at all."""


class UnsupportedImageError(ImageError):
    """A sound file of a kind that is not handled."""


class ImageTooLargeError(ImageError):
    """More pixels than the limit; raised before decoding."""


class ImageValueError(ImageError, ValueError):
    """Pixel values or an array shape that have no meaning as a picture."""


class ImageEncodeError(ImageError):
    """The picture cannot be stored in the format asked for."""


class OutputError(UnhazeError):
    """An output cannot be written, or writing it would destroy something."""


class OverBudgetError(UnhazeError):
    """The picture does not fit into the memory limit."""


class MissingError(UnhazeError):
    """Something that must be installed or downloaded is not there."""


class MissingDependencyError(MissingError):
    """An optional package is not installed.

    Args:
        package: The distribution that is missing.
        extra: The extra of unhaze that brings it.
        purpose: What it is needed for, as the end of "... is needed to".
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{package} is needed to {purpose}; install it with: pip install 'unhaze[{extra}]'")


class WeightsNotFoundError(MissingError):
    """Trained weights are not where they should be."""
