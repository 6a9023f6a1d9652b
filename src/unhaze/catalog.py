"""Names and the objects they stand for.

A catalogue maps a name to the dotted path of what it names, so that listing names imports nothing and a broken file
breaks only its own entry. Packages of third parties add entries through an entry-point group.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from unhaze.errors import PluginWarning, UnknownNameError, UsageError

__all__ = ["DEVICES", "Catalog", "check_device"]

DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
"""Names of devices; all but the first may be followed by a number, as in ``"cuda:1"``."""

_NAME = re.compile(rf"auto|({'|'.join(DEVICES[1:])})(:\d{{1,3}})?")

_TARGET = re.compile(r"[\w.]+:[\w.]+")


class Catalog:
    """A lazy mapping from names to objects.

    Args:
        kind: What an entry is, in the singular, for error messages (``"method"``).
        entries: Name to ``"package.module:attribute"``.
        group: Entry-point group through which other packages add entries (``"unhaze.methods"``). One that cannot be
            loaded, does not fit or has a name that is taken is left out with a :class:`~unhaze.errors.PluginWarning`.
        fits: Whether an object can be an entry.

    >>> numbers = Catalog("number", {"pi": "math:pi", "tau": "math:tau"}, group="unhaze.doctest")
    >>> numbers.names()
    ['pi', 'tau']
    >>> round(numbers.load("pi"), 2)
    3.14
    """

    def __init__(
        self, kind: str, entries: Mapping[str, str], group: str, *, fits: Callable[[Any], bool] = callable
    ) -> None:
        self.kind, self.group, self._fits = kind, group, fits
        self._own = dict(entries)

    @cached_property
    def _all(self) -> dict[str, str]:
        found = dict(self._own)
        for point in entry_points(group=self.group):
            if point.value == found.get(point.name):
                continue
            reason = ""
            if point.name in found:  # nobody can take over another's name
                reason = f"there already is a {self.kind} of this name"
            elif not _TARGET.fullmatch(point.value):
                reason = f"{point.value!r} is no package.module:attribute"
            else:
                try:
                    target = point.load()
                except (Exception, SystemExit) as error:  # whatever foreign code may raise
                    reason = f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]
                else:
                    if not self._fits(target):
                        reason = f"it is a {type(target).__name__}, not what a {self.kind} should be"
            if not reason:
                found[point.name] = point.value
                continue
            package = f" of {point.dist.name}" if point.dist else ""
            warnings.warn(
                f"The {self.kind} {point.name}{package} is left out ({reason}); update or remove that package.",
                PluginWarning,
                stacklevel=1,
            )
        return found

    def register(self, name: str, target: str) -> None:
        """Add an entry while the program runs.

        Args:
            name: A new one, or one that was registered with the same target before.
            target: ``"package.module:attribute"``.

        Raises:
            UsageError: The name stands for something else.
        """
        if self._all.setdefault(name, target) != target:
            raise UsageError(f"There already is a {self.kind} {name}; choose another name.")

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._all)

    def foreign(self) -> list[str]:
        """Names that other packages brought, or that were registered while the program runs, sorted."""
        return sorted(set(self._all) - set(self._own))

    def load(self, name: str) -> Any:
        """The object that ``name`` stands for.

        Raises:
            UnknownNameError: No entry has this name; near names are listed.
        """
        if name not in self._all:
            raise UnknownNameError(self.kind, name, self._all)
        module, _, attribute = self._all[name].partition(":")
        return getattr(import_module(module), attribute)


def check_device(name: str) -> None:
    """Find a name that stands for no kind of device.

    Raises:
        UnknownNameError: It does not.

    >>> check_device("cuda:1")
    """
    if not _NAME.fullmatch(name):
        raise UnknownNameError("device", name, DEVICES)
