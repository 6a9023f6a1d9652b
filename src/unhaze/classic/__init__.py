"""The dehazing methods that find a haze field, and the catalogue through which all methods are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from unhaze.catalog import Catalog
from unhaze.errors import UsageError

if TYPE_CHECKING:
    from unhaze.classic.base import Method, MethodInfo

__all__ = ["create_method", "list_methods", "method_info"]

_CATALOG = Catalog(
    "method",
    {
        "dcp": "unhaze.classic.dcp:DarkChannelPrior",
        "cap": "unhaze.classic.cap:ColorAttenuationPrior",
        "bccr": "unhaze.classic.bccr:BoundaryConstraint",
        "field-m": "unhaze.default.model:FieldMethod",
    },
    group="unhaze.methods",
    fits=lambda target: callable(target) and hasattr(target, "info"),
)


def list_methods() -> list[str]:
    """Names of all dehazing methods, those of installed third-party packages included.

    >>> "dcp" in list_methods()
    True
    """
    return _CATALOG.names()


def create_method(name: str, *, engine: str = "auto", threads: int | None = None) -> Method:
    """Create the method called ``name``.

    Args:
        name: From :func:`list_methods`.
        engine: What runs its network, see :data:`~unhaze.restore.engines.onnx.ENGINES`.
        threads: Processor cores for its network; default all that this process may use.

    Raises:
        UnknownNameError: There is no such method; near names are listed.
        MissingError: Something the method needs is not installed.
        UsageError: An engine was chosen for a method that has no network.
    """
    found = _CATALOG.load(name)
    if getattr(found.info, "has_network", False):
        return cast("Method", found(engine=engine, threads=threads))
    if engine != "auto":
        raise UsageError(f"The method {name} has no network, so no engine can be chosen for it; leave the engine out.")
    return cast("Method", found())


def method_info(name: str) -> MethodInfo:
    """What the method called ``name`` is, and where it comes from.

    Raises:
        UnknownNameError: There is no such method; near names are listed.
    """
    return cast("MethodInfo", _CATALOG.load(name).info)
