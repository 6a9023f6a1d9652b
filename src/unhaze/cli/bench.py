"""``unhaze bench``: what things cost on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

if TYPE_CHECKING:
    from collections.abc import Callable

    from unhaze.neural.cost import NetworkCost

__all__ = ["bench"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_COLUMNS = ("parameters", "GMACs", "thop parameters", "thop GMACs", "seconds", "MB")

bench = typer.Typer(
    help="Measure what networks cost.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP_NAMES,
)


@bench.callback()
def _group() -> None:
    """Measure what networks cost."""


@bench.command(context_settings=_HELP_NAMES)
def models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks; default is all.", metavar="NAME", show_default=False)
    ] = None,
    size: Annotated[
        str, typer.Option(help="Side of the image, or WIDTHxHEIGHT [px].", metavar="N|WxH", show_default=True)
    ] = "256",
    repeats: Annotated[
        int, typer.Option(help="Forward passes to time; 0 only counts, which is quick.", min=0, metavar="N")
    ] = 3,
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use; default all.", min=1, metavar="N", show_default=False)
    ] = None,
    json_output: opt.JsonOutput = False,
) -> None:
    """Print parameters, multiply-accumulates, time and peak memory of networks, with random weights.

    GMACs count every convolution, matrix product and attention at the size asked for. The thop columns follow the
    convention of papers, at 224x224: modules that the counter thop knows, and nothing else.
    """
    from unhaze.backbones import list_backbones
    from unhaze.errors import UnknownNameError

    width, height = _parse_size(size)
    known = list_backbones()
    for name in names or ():
        if name not in known:
            raise UnknownNameError("network", name, known)
    measure = _measurer(threads)
    costs = []
    if not json_output:
        print(_line("network", _COLUMNS))
    for name in names or known:
        cost = measure(name, height, width, repeats=repeats)
        costs.append(cost)
        if not json_output:
            print(_line(cost.name, _cells(cost)), flush=True)
    if json_output:
        print(json.dumps({"width": width, "height": height, "networks": [asdict(cost) for cost in costs]}, indent=2))


def _measurer(threads: int | None) -> Callable[..., NetworkCost]:
    from unhaze.errors import MissingDependencyError

    try:
        import torch

        from unhaze.neural.cost import measure_cost
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", "measure networks") from error
    if threads is not None:
        torch.set_num_threads(threads)
    _console.detail(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    return measure_cost


def _parse_size(text: str) -> tuple[int, int]:
    from unhaze.errors import UsageError

    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise UsageError(f"{text!r} is no size; write for example 256 or 768x512.")
    return int(sides[0]), int(sides[-1])


def _cells(cost: NetworkCost) -> tuple[str, ...]:
    timing = cost.timing
    return (
        f"{cost.parameters:,}",
        f"{cost.macs / 1e9:.3f}",
        f"{cost.convention_parameters / 1e6:.3f}M",
        f"{cost.convention_macs / 1e9:.3f}",
        "-" if timing is None else f"{timing.seconds:.3f}",
        "-" if timing is None or timing.peak_memory is None else f"{timing.peak_memory / 2**20:.0f}",
    )


def _line(name: str, cells: tuple[str, ...]) -> str:
    return f"{name:20}" + "".join(f"  {cell:>{max(10, len(head))}}" for cell, head in zip(cells, _COLUMNS, strict=True))
