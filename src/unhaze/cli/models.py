"""``unhaze models``: what dehazes, where networks and their weights come from, and what a weights file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

__all__ = ["models", "weights_package"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_TRIAL = 64  # side of the image on which weights are tried [px]

models = typer.Typer(
    help="List what dehazes, tell about a model and its weights, or check a weights file.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP_NAMES,
)


@models.command("list", context_settings=_HELP_NAMES)
def list_all(json_output: opt.JsonOutput = False) -> None:
    """List all that dehazes, with its parameters, the licence of its weights, and where it has weights from.

    What other packages bring is included.
    """
    from unhaze.models.catalogue import list_models, model_info

    entries: list[dict[str, Any]] = []
    foreign = "see its package"
    for name in (name for kind in ("default", "classic", "network") for name in list_models(kind)):
        about = model_info(name)
        if about.kind == "network":
            weights = "official" if about.weights else "none published" if about.license else foreign
        else:
            weights = "shipped" if name == opt.DEFAULT_MODEL else foreign if about.has_network else "none needed"
        entries.append(
            {
                "name": name,
                "kind": about.kind,
                "parameters": about.parameters,
                "license": about.license.partition(";")[0] or ("-" if weights == "none needed" else foreign),
                "weights": weights,
                "summary": about.summary,
            }
        )
    if json_output:
        print(json.dumps(entries, indent=2))
        return
    rows = [("NAME", "KIND", "PARAMETERS", "LICENCE", "WEIGHTS", "WHAT IT IS")]
    for entry in entries:
        parameters = "-" if entry["parameters"] is None else f"{entry['parameters']:,}"
        rows.append((entry["name"], entry["kind"], parameters, entry["license"], entry["weights"], entry["summary"]))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [f"{cell:{'>' if column == 2 else '<'}{widths[column]}}" for column, cell in enumerate(row[:5])]
        print("  ".join([*cells, row[5]]).rstrip())
    _console.log.info("Take one by --model NAME; a network needs --weights FILE.")


@models.command(context_settings=_HELP_NAMES)
def info(
    name: Annotated[
        str,
        typer.Argument(help="A model, or NETWORK+FUSION to see how depth is attached.", show_default=False),
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
    """Tell where a network and its weights come from, under which licence, and what it expects of an image.

    For NETWORK+FUSION, draw where depth is fused: the stages, which feature map of the depth estimator each gets, and
    what is added. Without --depth, a depth map alone is fused.
    """
    from dataclasses import asdict

    from unhaze.models.catalogue import finds_haze, model_info, resolve_model

    if "+" in name:
        _print_attachment(name, depth, depth_weights, json_output=json_output)
    elif not finds_haze(name):
        _print_network(resolve_model(name), json_output=json_output)
    elif json_output:
        print(json.dumps(asdict(model_info(name)), indent=2))
    else:
        about = model_info(name)
        print(f"{about.name}: {about.summary}")
        print(f"Paper: {about.paper}")
        print(f"See:   {about.url}")
        print(f"Needs: {about.needs or 'nothing further'}")


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

    from unhaze.models.catalogue import resolve_model

    name = None if model is None else resolve_model(model)
    package = weights_package("check weights")
    if (name is not None and "+" in name) or "guided" in package.read_facts(file):
        network = _of_torch("unhaze.models.guided", "check weights").load_model(file, name, without_depth=True)
        name = network.spec.name
    else:
        network, name = package.load_network(file, name)
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
    """The room ``unhaze.models.checkpoints``.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    _of_torch("torch", purpose)
    return _of_torch("unhaze.models.checkpoints", purpose)


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


def _print_network(name: str, *, json_output: bool) -> None:
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
    card = facts["card"]
    if card is None:
        print("Weights: see the package that brings the network")
        return
    print(f"Licence of the code: {card['license']} ({card['source']})")
    for weights in card["weights"]:
        print(f"Weights: {weights['url']}")
        print(f"  trained on {weights['trained_on']}; licence: {weights['license']}; {weights['paper']}")
        if weights["files"]:
            print(f"  files: {weights['files']}")
        if weights["sha256"]:
            print(f"  sha256: {weights['sha256']}")
        if weights["reported"]:
            scores = ", ".join(f"{name} {value:g}" for name, value in weights["reported"].items())
            print(f"  reported by the authors, not measured here: {scores}")
        if weights["note"]:
            print(f"  {weights['note']}")
    if not card["weights"]:
        print(f"Weights: none published; {card['unpublished']}")
    print(f"A weights file is recognised {facts['recognised']}")
    if card["parity"] is None:
        print(f"Measured here: nothing; {card['measured'] or 'there is no official code to compare with'}")
    else:
        further = f" {card['measured']}" if card["measured"] else ""
        error = f"{card['parity']:.0e}".replace("e-0", "e-")
        print(f"Measured here: relative error {error} beside the official code, both on made-up weights.{further}")


def _facts(name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from unhaze.models.checkpoints.cards import RECOGNISED, NetworkShape, network_card, network_shape
    from unhaze.models.networks import create_network, network_header, resolve_network

    name = resolve_network(name)
    card, shape = network_card(name), network_shape(name)
    if card is None or shape is None:  # of another package
        network = create_network(name)
        shape = NetworkShape(network.stages, network.contract)
        parameters = sum(p.numel() for p in network.parameters())
    else:
        parameters = card.parameters
    return {
        "name": name,
        "header": network_header(name),
        "parameters": parameters,
        "stages": [asdict(stage) for stage in shape.stages],
        "contract": asdict(shape.contract),
        "card": None if card is None else asdict(card),
        "recognised": RECOGNISED if card is None else card.recognised,
    }


def _print_attachment(name: str, depth: str | None, depth_weights: Path | None, *, json_output: bool) -> None:
    """Stages of a network with a fusion module, and what is attached to each."""
    guided = _of_torch("unhaze.models.guided", "attach depth to a network")
    options = None if depth_weights is None else {"weights": depth_weights}
    model = guided.create_model(name, depth, depth_options=options)
    stages = []
    for stage in model.stages:
        site = model.fusions.sites[stage.name] if stage.name in model.spec.sites else None
        index = getattr(site, "level", None)
        level = None if index is None else {"index": index, "channels": model.spec.levels[index].channels}
        added = None if site is None else sum(p.numel() for p in site.parameters())
        own = {"name": stage.name, "channels": stage.channels, "stride": stage.stride}
        stages.append({**own, "depth_feature": level, "added": added})
    facts: dict[str, Any] = {
        "name": model.spec.name,
        "depth": model.spec.depth,
        "stages": stages,
        "parameters": sum(p.numel() for p in model.backbone.parameters()),
        "added": sum(p.numel() for p in model.fusions.parameters()),
        "tiling": model.contract.tiling,
    }
    if json_output:
        print(json.dumps(facts, indent=2))
        return
    print(f"{facts['name']}, depth from {facts['depth'] or 'a map given with each picture'}\n")
    width = max(len(stage["name"]) for stage in facts["stages"])
    for stage in facts["stages"]:
        line = f"  {stage['name']:{width}}  {stage['channels']:>4} channels at 1/{stage['stride']}"
        if stage["added"] is not None:
            level = stage["depth_feature"]
            fused = "depth" if level is None else f"depth feature {level['index']} ({level['channels']} channels)"
            line = f"{line}  <- {fused}, {stage['added']:,} parameters"
        print(line)
    print(f"\nParameters: {facts['parameters']:,} in the network, {facts['added']:,} added")
    print(f"Tiles: {_on_tiles(facts['tiling'])}")


def _on_tiles(radius: int | None) -> str:
    if radius is None:
        return "no, it looks at the whole picture at once"
    return f"yes, with an overlap of {radius} pixels the result is that of the whole picture"


def _try_out(network: Any, file: Path) -> None:
    """Run a network once, with depth and the features that it expects if it has a fusion module."""
    import torch

    from unhaze.errors import UsageError
    from unhaze.types import DepthLevel, DepthMap

    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, _TRIAL, _TRIAL, generator=generator)
    depth, spec = [], getattr(network, "spec", None)
    if spec is not None:
        near, features = torch.rand(1, 1, _TRIAL, _TRIAL, generator=generator), None
        if tuple(spec.levels) != (DepthLevel(1, 1),):
            sides = [(level.channels, max(1, round(_TRIAL / level.stride))) for level in spec.levels]
            features = tuple(torch.rand(1, channels, side, side, generator=generator) for channels, side in sides)
        depth = [DepthMap(near, "relative") if features is None else DepthMap(near, "relative", features)]
    with torch.inference_mode():
        restored = network.restore(image, *depth).image
    if not torch.isfinite(restored).all():
        raise UsageError(f"{file} fits, but the network gives values that are no numbers; get the file again.")
