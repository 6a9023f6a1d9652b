"""Options that several sub-commands share, so that a name means one thing everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import Field, fields
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, cast, get_args, get_type_hints

import typer

from unhaze.cli import _console
from unhaze.errors import UsageError
from unhaze.restore.machine import MOST_WORKERS
from unhaze.restore.options import DEFAULT_MODEL, Options

__all__ = [
    "DEFAULTS",
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
    "takes_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])

# -- restoration ------------------------------------------------------------------------------------------------------


def takes_options(*names: str, without: tuple[str, ...] = ("threads",)) -> Callable[[Command], Command]:
    """Let a command take fields of :class:`~unhaze.restore.options.Options`, as an argument called ``options``.

    Where the command names ``options`` among its parameters, there the command line has one option for each field.

    Args:
        names: Which; all if none is named.
        without: Which not.
    """
    hints = get_type_hints(Options)
    taken = [each for each in fields(Options) if each.name not in without and (not names or each.name in names)]

    def decorate(command: Command) -> Command:
        own = signature(command, eval_str=True)
        parameters: list[Parameter] = []
        for parameter in own.parameters.values():
            if parameter.name == "options":
                parameters += [_parameter(each, hints[each.name]) for each in taken]
                parameters += [_METHOD] if "model" in (each.name for each in taken) else []
            else:
                parameters.append(parameter)

        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            values = {each.name: given.pop(each.name) for each in taken}
            method = given.pop("method", None)  # what the option was called before
            if method is not None:
                if values["model"] is not None:
                    raise UsageError("--method is the former name of --model; leave one of them out.")
                values["model"] = method
            return command(**given, options=Options(**values))

        # typer looks here before anything else
        wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        del wrapped.__wrapped__
        return cast("Command", wrapped)

    return decorate


def _parameter(option: Field[Any], hint: Any) -> Parameter:
    """One option of a command line from a field of :class:`Options`."""
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    kind = Path if Path in kinds else str if str in kinds else kinds[0]
    default = _DEFAULTS.get(option.name, option.default)
    facts = option.metadata
    flags = [f"--{option.name.replace('_', '-')}", *([facts["short"]] if facts["short"] else [])]
    declared = typer.Option(*flags, help=facts["help"], metavar=facts["metavar"], show_default=default is not None)
    # a type that is known at run time only
    annotation = Annotated[kind | None if default is None else kind, declared]  # type: ignore[valid-type]
    return Parameter(option.name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


_DEFAULTS = {"max_pixels": "500M"}  # as one writes it
DEFAULTS = Options()
"""What a command is told where nothing is said."""

_METHOD = Parameter(
    "method",
    Parameter.POSITIONAL_OR_KEYWORD,
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
