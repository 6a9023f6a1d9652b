"""Options of a request, by the names that the command line gives them.

They are those of :class:`~unhaze.restore.options.Options` that concern the picture, and those of ``unhaze run`` on how
the result is stored. What concerns the machine (threads, memory, engine) is the operator's, and what names a file is
nobody's: a request can neither name a path nor an address.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

from unhaze.errors import UnknownNameError, UsageError
from unhaze.images.files import WRITE_FORMATS
from unhaze.models.catalogue import finds_haze, list_models
from unhaze.restore.options import DEFAULT_MODEL, DEFAULT_TEMPORAL, Options

__all__ = [
    "MAPS",
    "Wanted",
    "dehaze_parameters",
    "job_parameters",
    "picture_parameters",
    "read_wanted",
    "served_models",
]

MAPS = ("confidence", "depth", "transmission")
_OF_THE_PICTURE = ("model", "strength", "color_blend", "protect_sky", "keep_exposure", "spare_clear", "white")
_FORMATS = ("keep", *WRITE_FORMATS)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants.

    Attributes:
        options: How the picture is dehazed.
        format: Format of the result; ``None`` for that of the input.
        quality: 1 to 100 for formats that lose information.
        metadata: Whether EXIF and the like stay.
        sides: Maps, and ``"compare"``, that are made beside each picture.
        temporal: How much of the haze of a frame of a video comes from the frames before; ``None`` for the default.
    """

    options: Options
    format: str | None = None
    quality: int | None = None
    metadata: Literal["keep", "strip"] = "keep"
    sides: tuple[str, ...] = ()
    temporal: float | None = None


def served_models() -> list[str]:
    """Names of the models that a request may name: those that need no weights."""
    return [name for name in list_models() if finds_haze(name)]


def picture_parameters() -> list[dict[str, Any]]:
    """The options of one picture as parameters of OpenAPI."""
    schemas: dict[str, tuple[dict[str, Any], Any]] = {
        "model": ({"type": "string", "enum": served_models(), "default": DEFAULT_MODEL}, "dcp"),
        "strength": ({"type": "number", "minimum": -1, "maximum": 1, "default": 1}, 0.8),
        "white": ({"type": "number", "exclusiveMinimum": 0, "maximum": 1e30, "minimum": 1e-30}, 4095),
    }
    share: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
    found = []
    for option in fields(Options):
        if option.name in _OF_THE_PICTURE:
            default = {} if option.default is None else {"default": option.default}
            schema, example = schemas.get(option.name, ({**share, **default}, 0.5))
            found.append(_parameter(option.name, schema, option.metadata["help"], example))
    return [
        *found,
        _parameter(
            "format", {"type": "string", "enum": [*_FORMATS], "default": "keep"}, "Format of the result.", "png"
        ),
        _parameter(
            "quality",
            {"type": "integer", "minimum": 1, "maximum": 100},
            "For formats that lose information; default is the quality of the picture.",
            90,
        ),
        _parameter(
            "metadata",
            {"type": "string", "enum": ["keep", "strip"], "default": "keep"},
            "Keep EXIF, XMP and the like, or strip them; the colour profile always stays.",
            "strip",
        ),
    ]


def job_parameters() -> list[dict[str, Any]]:
    """The options of a job: those of a picture, and the one of a video."""
    what = "For videos: how much of the haze of a frame comes from the frames before, so that it does not flicker."
    schema = {"type": "number", "minimum": 0, "maximum": 0.98, "default": DEFAULT_TEMPORAL}
    return [*dehaze_parameters(), _parameter("temporal", schema, what, 0.9)]


def dehaze_parameters() -> list[dict[str, Any]]:
    """The options of a picture, and what is made beside it."""
    maps = {"type": "string", "pattern": rf"^({'|'.join(MAPS)})(,({'|'.join(MAPS)}))*$"}
    return [
        *picture_parameters(),
        _parameter("save", maps, "Maps to make as 16-bit PNG, separated by commas.", "depth"),
        _parameter("compare", {"type": "boolean", "default": False}, "Make before and after side by side.", True),
    ]


def _parameter(name: str, schema: dict[str, Any], description: str, example: Any) -> dict[str, Any]:
    return {
        "name": name.replace("_", "-"),
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema,
        "example": example,
    }


def read_wanted(
    query: Iterable[tuple[str, str]],
    base: Options,
    *,
    form: Iterable[tuple[str, str]] = (),
    for_job: bool = False,
) -> Wanted:
    """What the parameters of a request ask for.

    Args:
        query: Names and values of the query; ``color_blend`` is the same as ``color-blend``.
        form: Those of the form, which count before the query.
        base: What holds where nothing is said.
        for_job: Whether it is for a job.

    Raises:
        UsageError: A name or a value does not exist, or is given twice.
    """
    parameters = {each["name"]: each["schema"] for each in (job_parameters() if for_job else dehaze_parameters())}
    values: dict[str, Any] = {}
    for given in (query, form):
        here: dict[str, Any] = {}
        for said, text in given:
            name = said.replace("_", "-")
            if name not in parameters:
                raise UnknownNameError("option", said, parameters)
            if name in here:
                raise UsageError(f"{name} is given twice; leave one of them out.")
            here[name] = _value(name, text, parameters[name])
        values |= here
    chosen = {name: values[name.replace("_", "-")] for name in _OF_THE_PICTURE if name.replace("_", "-") in values}
    format = values.get("format", "keep")
    sides = dict.fromkeys((["compare"] if values.get("compare") else []) + values.get("save", "").split(","))
    wanted = Wanted(
        replace(base, **chosen),
        None if format == "keep" else format,
        values.get("quality"),
        cast("Literal['keep', 'strip']", values.get("metadata", "keep")),
        tuple(filter(None, sides)),
        values.get("temporal"),
    )
    wanted.options.restoration(network=False)  # finds values out of range
    return wanted


def _value(name: str, text: str, schema: Mapping[str, Any]) -> Any:
    kind = schema["type"]
    if kind == "boolean":
        if text not in ("true", "false"):
            raise UsageError(f"{name} is {text[:40]!r}, but must be true or false.")
        return text == "true"
    if kind == "string":
        if "enum" in schema and text not in schema["enum"]:
            raise UnknownNameError(name, text, schema["enum"])
        if "pattern" in schema and not re.fullmatch(schema["pattern"], text):
            raise UsageError(f"{name} is {text[:40]!r}, but must name some of {', '.join(MAPS)}, separated by commas.")
        return text
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    number = float(text) if len(text) < 40 and _NUMBER.fullmatch(text) else math.nan
    if not low <= number <= high or (kind == "integer" and not number.is_integer()):
        what = "a whole number" if kind == "integer" else "a number"
        raise UsageError(f"{name} is {text[:40]!r}, but must be {what} between {low:g} and {high:g}.")
    return int(number) if kind == "integer" else number
