"""``unhaze models``: which networks there are, what each is, and what a weights file holds."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unhaze.cli import _options as opt

__all__ = ["models", "weights_package"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_TRIAL = 64  # side of the image on which weights are tried [px]

models = typer.Typer(
    help="List the networks, tell about one, or check a weights file.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP_NAMES,
)


@models.command("list", context_settings=_HELP_NAMES)
def list_all(json_output: opt.JsonOutput = False) -> None:
    """List all networks, those that other packages bring included."""
    from unhaze.backbones import list_backbones

    entries = [{"name": name, "summary": _header(name).partition("\n")[0]} for name in list_backbones()]
    if json_output:
        print(json.dumps(entries, indent=2))
        return
    width = max(len(entry["name"]) for entry in entries)
    for entry in entries:
        print(f"{entry['name']:{width}}  {entry['summary']}".rstrip())


@models.command(context_settings=_HELP_NAMES)
def info(
    name: Annotated[str, typer.Argument(help="The network.", show_default=False)], json_output: opt.JsonOutput = False
) -> None:
    """Tell where a network comes from, what it expects of an image, and whether it can be run in tiles."""
    facts = _facts(name)
    if json_output:
        print(json.dumps(facts, indent=2))
        return
    contract = facts["contract"]
    low, high = contract["value_range"]
    print(f"{name}: {facts['header']}\n")
    print(f"Parameters: {facts['parameters']:,}")
    print(f"Stages: {', '.join(stage['name'] for stage in facts['stages'])}")
    print(f"Images: values {low:g} to {high:g}, sides a multiple of {contract['multiple_of']}, padded by themselves")
    print(f"Tiles: {_on_tiles(contract['tiling'])}")


@models.command(context_settings=_HELP_NAMES)
def verify(
    file: Annotated[Path, typer.Argument(help="Weights of any kind: .pth, .pt, .ckpt, .safetensors.", metavar="FILE")],
    model: Annotated[
        str | None,
        typer.Option(help="The network they should belong to; default is to recognise it.", metavar="NAME"),
    ] = None,
    json_output: opt.JsonOutput = False,
) -> None:
    """Check that a weights file is safe, whole, and fits a network, and run it once.

    Nothing that the file contains is executed. Exit code 0 if all is well, 2 if it does not fit, 3 if there is no file.
    """
    import hashlib

    network, name = weights_package("check weights").load_network(file, model)
    _try_out(network, file)
    facts = {
        "network": name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    if json_output:
        print(json.dumps(facts, indent=2))
        return
    print(f"{file}: {name}, {facts['parameters']:,} parameters, everything fits, and a trial run went well")
    print(f"sha256: {facts['sha256']}")


def weights_package(purpose: str) -> Any:
    """The module ``unhaze.weights.loading``.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    from unhaze.errors import MissingDependencyError

    try:
        from unhaze.weights import loading
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", purpose) from error
    return loading


def _header(name: str) -> str:
    """The header of the network's file, found without importing it; empty for networks of other packages."""
    import unhaze.backbones

    path = Path(unhaze.backbones.__file__).with_name(f"{name.rpartition('-')[0]}.py")
    try:
        return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError):
        return ""


def _facts(name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from unhaze.backbones import create_backbone

    network = create_backbone(name)
    return {
        "name": name,
        "header": _header(name),
        "parameters": sum(p.numel() for p in network.parameters()),
        "stages": [asdict(stage) for stage in network.stages],
        "contract": asdict(network.contract),
    }


def _on_tiles(radius: int | None) -> str:
    if radius is None:
        return "no, it looks at the whole picture at once"
    return f"yes, with an overlap of {radius} pixels the result is that of the whole picture"


def _try_out(network: Any, file: Path) -> None:
    import torch

    from unhaze.errors import UsageError

    image = torch.rand(1, 3, _TRIAL, _TRIAL, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        restored = network.restore(image).image
    if not torch.isfinite(restored).all():
        raise UsageError(f"{file} fits, but the network gives values that are no numbers; get the file again.")
