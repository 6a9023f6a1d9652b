"""The dehazing methods that find a haze field, and the catalogue through which all methods are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from unhaze.catalog import Catalog

if TYPE_CHECKING:
    from unhaze.inference.methods._base import Method, MethodInfo

__all__ = ["create_method", "list_methods", "method_info"]

_CATALOG = Catalog(
    "method",
    {
        "dcp": "unhaze.inference.methods.dcp:DarkChannelPrior",
        "cap": "unhaze.inference.methods.cap:ColorAttenuationPrior",
        "bccr": "unhaze.inference.methods.bccr:BoundaryConstraint",
        "field-s": "unhaze.inference.methods.field:FieldMethod",
    },
    group="unhaze.methods",
)


def list_methods() -> list[str]:
    """Names of all dehazing methods, those of installed third-party packages included.

    >>> "dcp" in list_methods()
    True
    """
    return _CATALOG.names()


def create_method(name: str) -> Method:
    """Create the method called ``name``.

    Raises:
        UnknownNameError: There is no such method; near names are listed.
        MissingError: Something the method needs is not installed.
    """
    return cast("Method", _CATALOG.load(name)())


def method_info(name: str) -> MethodInfo:
    """What the method called ``name`` is, and where it comes from.

    Raises:
        UnknownNameError: There is no such method; near names are listed.
    """
    return cast("MethodInfo", _CATALOG.load(name).info)
