"""``unhaze methods``: which methods there are, and what each is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from unhaze.cli import _options as opt

__all__ = ["methods", "print_method"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}

methods = typer.Typer(
    help="List the methods, or tell about one.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP_NAMES,
)


@methods.command("list", context_settings=_HELP_NAMES)
def list_all(json_output: opt.JsonOutput = False) -> None:
    """List all methods, those that other packages bring included."""
    from unhaze.inference.methods import list_methods, method_info

    infos = [method_info(name) for name in list_methods()]
    if json_output:
        print(json.dumps([asdict(info) for info in infos], indent=2))
        return
    width = max(len(info.name) for info in infos)
    for info in infos:
        mark = "  (default)" if info.name == opt.DEFAULT_METHOD else ""
        print(f"{info.name:{width}}  {info.summary}{mark}")


@methods.command(context_settings=_HELP_NAMES)
def info(
    name: Annotated[str, typer.Argument(help="The method.", show_default=False)], json_output: opt.JsonOutput = False
) -> None:
    """Tell what a method is, where it comes from and what it needs."""
    print_method(name, json_output=json_output)


def print_method(name: str, *, json_output: bool) -> None:
    """Print what a method is.

    Raises:
        UnknownNameError: There is no such method; near names are listed.
    """
    from unhaze.inference.methods import method_info

    found = method_info(name)
    if json_output:
        print(json.dumps(asdict(found), indent=2))
        return
    print(f"{found.name}: {found.summary}")
    print(f"Paper: {found.paper}")
    print(f"See:   {found.url}")
    print(f"Needs: {found.needs or 'nothing further'}")
