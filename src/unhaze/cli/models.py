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
    name: Annotated[
        str, typer.Argument(help="The network, or NETWORK+FUSION to see how depth is attached.", show_default=False)
    ],
    depth: Annotated[
        str | None,
        typer.Option(help="Depth estimator to attach, for its features; see: unhaze depth --list.", metavar="NAME"),
    ] = None,
    depth_weights: Annotated[
        Path | None, typer.Option(help="Weights of the estimator: a file or a folder.", metavar="PATH")
    ] = None,
    json_output: opt.JsonOutput = False,
) -> None:
    """Tell where a network comes from, what it expects of an image, and whether it can be run in tiles.

    For NETWORK+FUSION, draw where depth is fused: the stages, which feature map of the depth estimator each gets, and
    what is added. Without --depth, a depth map alone is fused.
    """
    if "+" in name:
        _tell_attachment(name, depth, depth_weights, json_output=json_output)
        return
    facts = _facts(name)
    if json_output:
        print(json.dumps(facts, indent=2))
        return
    contract = facts["contract"]
    low, high = contract["value_range"]
    print(f"{facts['name']}: {facts['header']}\n")
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

    from unhaze.backbones import resolve_backbone

    model = None if model is None else resolve_backbone(model)
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
    return _of_torch("unhaze.weights.loading", purpose)


def _of_torch(module: str, purpose: str) -> Any:
    """A module that needs torch.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    from importlib import import_module

    from unhaze.errors import MissingDependencyError

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", purpose) from error


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

    from unhaze.backbones import create_backbone, resolve_backbone

    name = resolve_backbone(name)
    network = create_backbone(name)
    return {
        "name": name,
        "header": _header(name),
        "parameters": sum(p.numel() for p in network.parameters()),
        "stages": [asdict(stage) for stage in network.stages],
        "contract": asdict(network.contract),
    }


def _tell_attachment(name: str, depth: str | None, depth_weights: Path | None, *, json_output: bool) -> None:
    facts = _attachment(name, depth, depth_weights)
    if json_output:
        print(json.dumps(facts, indent=2))
        return
    print(f"{facts['name']}, depth from {facts['depth'] or 'a map given with each picture'}\n")
    width = max(len(stage["name"]) for stage in facts["stages"])
    for stage in facts["stages"]:
        print(_stage_line(stage, width))
    print(f"\nParameters: {facts['parameters']:,} in the network, {facts['added']:,} added")
    print(f"Tiles: {_on_tiles(facts['tiling'])}")


def _stage_line(stage: dict[str, Any], width: int) -> str:
    """One stage of the network, and what is fused there."""
    line = f"  {stage['name']:{width}}  {stage['channels']:>4} channels at 1/{stage['stride']}"
    if stage["added"] is None:
        return line
    level = stage["depth_feature"]
    told = "depth" if level is None else f"depth feature {level['index']} ({level['channels']} channels)"
    return f"{line}  <- {told}, {stage['added']:,} parameters"


def _attachment(name: str, depth: str | None, depth_weights: Path | None) -> dict[str, Any]:
    """Stages of a network with a fusion module, and what is attached to each."""
    guided = _of_torch("unhaze.guided", "attach depth to a network")
    options = None if depth_weights is None else {"weights": depth_weights}
    model = guided.create_model(name, depth, depth_options=options)
    stages = []
    for stage in model.stages:
        site = model.fusions.sites[stage.name] if stage.name in model.spec.sites else None
        index = getattr(site, "level", None)
        level = None if index is None else {"index": index, "channels": model.spec.levels[index].channels}
        added = None if site is None else sum(p.numel() for p in site.parameters())
        facts = {"name": stage.name, "channels": stage.channels, "stride": stage.stride}
        stages.append({**facts, "depth_feature": level, "added": added})
    return {
        "name": model.spec.name,
        "depth": model.spec.depth,
        "stages": stages,
        "parameters": sum(p.numel() for p in model.backbone.parameters()),
        "added": sum(p.numel() for p in model.fusions.parameters()),
        "tiling": model.contract.tiling,
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
