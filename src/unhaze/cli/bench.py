"""``unhaze bench``: what things cost on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.restore.machine import MOST_WORKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unhaze.evaluation.cost.fusion import FusionCost

__all__ = ["bench"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_COLUMNS = ("parameters", "GMACs", "thop parameters", "thop GMACs", "seconds", "MB")
_FUSION_COLUMNS = ("parameters", "thop parameters", "reported", "thop GMACs", "reported GMACs")

# rows of P2, Table 1
_REPORTED_NETWORKS = {
    "mb_taylorformer-b": "MB-Taylorformer",
    "dehazeformer-m": "DehazeFormer",
    "oknet-base": "OKNet",
    "coa-deploy_rb8": "CoA",
    "sgdnet-base": "SGDNet",
}
_REPORTED_FUSIONS = {"selfpromer": "SelfPromer", "prompthaze": "PromptHaze", "hgdf": "Ours"}

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
        int | None,
        typer.Option(
            help="Processor cores to use; default all.", min=1, max=MOST_WORKERS, metavar="N", show_default=False
        ),
    ] = None,
    json_output: opt.JsonOutput = False,
) -> None:
    """Print parameters, multiply-accumulates, time and peak memory of networks, with random weights.

    GMACs count every convolution, matrix product and attention at the size asked for. The thop columns follow the
    convention of papers, at 224x224: modules that the counter thop knows, and nothing else.
    """
    from unhaze.errors import MissingDependencyError, UsageError
    from unhaze.models.networks import list_networks, resolve_network

    sides = size.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise UsageError(f"{size!r} is no size; write for example 256 or 768x512.")
    width, height = int(sides[0]), int(sides[-1])
    chosen = [resolve_network(name) for name in names or list_networks()]
    try:
        import torch

        from unhaze.evaluation.cost.network import measure_cost
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", "measure networks") from error
    if threads is not None:
        torch.set_num_threads(threads)
    _console.log.debug(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    costs = []
    if not json_output:
        print(_line("network", _COLUMNS))
    for name in chosen:
        cost = measure_cost(name, height, width, repeats=repeats)
        costs.append(cost)
        if not json_output:
            timing = cost.timing
            cells = (
                f"{cost.parameters:,}",
                f"{cost.macs / 1e9:.3f}",
                f"{cost.convention_parameters / 1e6:.3f}M",
                f"{cost.convention_macs / 1e9:.3f}",
                "-" if timing is None else f"{timing.seconds:.3f}",
                "-" if timing is None or timing.peak_memory is None else f"{timing.peak_memory / 2**20:.0f}",
            )
            print(_line(cost.name, cells), flush=True)
    if json_output:
        print(json.dumps({"width": width, "height": height, "networks": [asdict(cost) for cost in costs]}, indent=2))


@bench.command(context_settings=_HELP_NAMES)
def fusions(
    names: Annotated[
        list[str] | None, typer.Argument(help="Fusion modules; default is all.", metavar="NAME", show_default=False)
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Network to add them to; default those of P2.", metavar="NAME", show_default=False),
    ] = None,
    json_output: opt.JsonOutput = False,
) -> None:
    """Print what fusion modules add to networks, without the depth estimator, beside what P2 reports.

    Counted by the convention of papers, for one image of 224x224, with the maps of Depth Anything V2 small.
    """
    from unhaze.errors import MissingDependencyError
    from unhaze.fusion import list_fusions

    try:
        from unhaze.evaluation.cost.fusion import count_fusion
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", "count operations of networks") from error
    chosen, networks = names or list_fusions(), model or list(_REPORTED_NETWORKS)
    costs = [count_fusion(network, fusion) for network in networks for fusion in chosen]
    if json_output:
        rows = [asdict(cost) | {"reported": _reported(cost)} for cost in costs]
        print(json.dumps({"fusions": rows}, indent=2))
        return
    print(_line("network+fusion", _FUSION_COLUMNS, _FUSION_COLUMNS, 32))
    for cost in costs:
        reported = _reported(cost) or {}
        cells = (
            f"{cost.parameters:,}",
            f"{cost.convention_parameters / 1e6:.3f}M",
            reported.get("parameters", "-"),
            f"{cost.convention_macs / 1e9:.3f}",
            reported.get("macs", "-"),
        )
        print(_line(f"{cost.backbone}+{cost.fusion}", cells, _FUSION_COLUMNS, 32))


def _reported(cost: FusionCost) -> dict[str, Any] | None:
    """What P2 prints in Table 1 for the same network and module, as strings; ``None`` where it has no such row."""
    from unhaze.evaluation.reported import reported_table

    if cost.backbone not in _REPORTED_NETWORKS or cost.fusion not in _REPORTED_FUSIONS:
        return None
    table = reported_table("depth-fusion-1")
    method = f"{_REPORTED_NETWORKS[cost.backbone]} +{_REPORTED_FUSIONS[cost.fusion]}"
    values = next(row.values for row in table.rows if row.method == method)
    by_metric = dict(zip((column.metric for column in table.columns), values, strict=True))
    return {"parameters": by_metric["params"], "macs": by_metric["flops"]}


def _line(name: str, cells: Sequence[str], heads: Sequence[str] = _COLUMNS, width: int = 20) -> str:
    return f"{name:{width}}" + "".join(f"  {c:>{max(10, len(h))}}" for c, h in zip(cells, heads, strict=True))
