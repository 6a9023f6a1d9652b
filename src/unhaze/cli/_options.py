"""Options that several sub-commands share, so that a name means one thing everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from unhaze.cli import _console
from unhaze.errors import UsageError
from unhaze.restore.machine import MOST_WORKERS
from unhaze.restore.options import DEFAULT_MODEL, Options

__all__ = [
    "DEFAULT_MODEL",
    "Compare",
    "Format",
    "Jobs",
    "JsonOutput",
    "MetadataChoice",
    "OnError",
    "Quality",
    "Quiet",
    "Recursive",
    "Report",
    "Save",
    "SkipExisting",
    "Suffix",
    "Verbose",
    "collect",
    "takes_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])

# -- restoration ------------------------------------------------------------------------------------------------------


def takes_options(*names: str, before: str, without: tuple[str, ...] = ("threads",)) -> Callable[[Command], Command]:
    """Let a command take fields of :class:`~unhaze.restore.options.Options`: its ``**given``, for :func:`collect`.

    Args:
        names: Which; all if none is named.
        before: The parameter of the command before which they are listed.
        without: Which not.
    """
    hints = get_type_hints(Options)
    listed: list[Parameter] = []
    for field in fields(Options):
        if field.name in without or (names and field.name not in names):
            continue
        hint, facts = hints[field.name], field.metadata
        kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
        kind = Path if Path in kinds else str if str in kinds else kinds[0]
        default = _DEFAULTS.get(field.name, field.default)
        flags = [f"--{field.name.replace('_', '-')}", *([facts["short"]] if facts["short"] else [])]
        declared = typer.Option(*flags, help=facts["help"], metavar=facts["metavar"], show_default=default is not None)
        # a type that is known at run time only
        annotation = Annotated[kind | None if default is None else kind, declared]  # type: ignore[valid-type]
        listed.append(Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    if any(each.name == "model" for each in listed):
        listed.append(_METHOD)

    def decorate(command: Command) -> Command:
        own = signature(command, eval_str=True)
        kept = [
            each.replace(kind=Parameter.KEYWORD_ONLY)
            for each in own.parameters.values()
            if each.kind is not Parameter.VAR_KEYWORD
        ]
        place = [each.name for each in kept].index(before)
        parameters = [*kept[:place], *listed, *kept[place:]]
        # typer looks here
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def collect(given: Mapping[str, Any]) -> Options:
    """The options among what a command was given.

    Raises:
        UsageError: A value lies outside its range, or the model is named twice.
    """
    values = dict(given)
    method = values.pop("method", None)  # what the option was called before
    if method is not None:
        if values["model"] is not None:
            raise UsageError("--method is the former name of --model; leave one of them out.")
        values["model"] = method
    return Options(**values)


_DEFAULTS = {"max_pixels": "500M"}  # as one writes it
_METHOD = Parameter(
    "method",
    Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[str | None, typer.Option("--method", hidden=True)],
)

# -- files ------------------------------------------------------------------------------------------------------------

Suffix = Annotated[
    str | None,
    typer.Option(
        help="Added to the name of each output; default '-dehazed' beside the input, nothing in another folder.",
        metavar="TEXT",
    ),
]
Format = Annotated[
    str,
    typer.Option(
        help="Format of the outputs; 'keep' is that of each input (HEIC becomes JPEG, camera raw becomes TIFF).",
        metavar="keep|jpeg|png|tiff|webp|avif|bmp",
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        help="1 to 100, for formats that lose information; default is the quality of the input.",
        min=1,
        max=100,
        metavar="N",
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive/--no-recursive", help="Whether to look into the folders of a folder.")
]
SkipExisting = Annotated[
    bool | None,
    typer.Option(
        "--skip-existing/--overwrite",
        help="Leave out inputs whose output exists, or replace it; default is an error for that input.",
        show_default=False,
    ),
]
OnError = Annotated[
    str,
    typer.Option(
        help="After a failure go on with the other inputs (skip), or start no further one (stop).",
        metavar="skip|stop",
    ),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Also write NAME-compare.jpg: before and after, side by side.")
]
Save = Annotated[
    list[str] | None,
    typer.Option(
        help="Also write these maps as 16-bit PNG, NAME-transmission.png and so on; separate several by commas. "
        "In depth maps far is bright.",
        metavar="transmission,depth,confidence",
    ),
]
MetadataChoice = Annotated[
    str,
    typer.Option(
        "--metadata",
        help="Keep EXIF, XMP and the like, or strip them; the colour profile always stays.",
        metavar="keep|strip",
    ),
]

# -- resources --------------------------------------------------------------------------------------------------------

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        help="How many pictures to work on at once; default is the number of processors.",
        min=1,
        max=MOST_WORKERS,
        show_default=False,
        metavar="N",
    ),
]

# -- what is told -----------------------------------------------------------------------------------------------------

JsonOutput = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Report = Annotated[
    Path | None,
    typer.Option(help="Append one line of JSON per input to this file: output, or error, and times.", metavar="FILE"),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Tell of failures only.", callback=_console.set_level),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Tell more: engine, each picture, and where unexpected errors come from.",
        callback=_console.set_level,
    ),
]
