"""``unhaze convert``: an official checkpoint into a file of unhaze."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

__all__ = ["convert"]


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="Weights of any kind: .pth, .pt, .ckpt, .safetensors, .npz of Flax, a TensorFlow.js package (.tgz).",
            metavar="FILE",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.", metavar="PATH")],
    model: Annotated[
        str | None,
        typer.Option(help="Name of the network; default is to recognise it.", metavar="NAME", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    json_output: opt.JsonOutput = False,
) -> None:
    """Bring an official checkpoint under the names of unhaze, as .safetensors, which cannot run code."""
    from unhaze.cli.models import weights_package
    from unhaze.models.networks import resolve_network

    model = None if model is None else resolve_network(model)
    done = weights_package("convert weights").convert_weights(checkpoint, output, model, overwrite=overwrite)
    facts = {
        "network": done.match.name,
        "official_names": done.match.official,
        "path": str(done.path),
        "tensors": done.tensors,
        "flushed": done.flushed,
    }
    if json_output:
        print(json.dumps(facts, indent=2))
        return
    tiny = f"; {done.flushed} numbers too small to matter became zero" if done.flushed else ""
    _console.log.info(f"{checkpoint} is {done.match}; wrote {done.tensors} tensors to {done.path}{tiny}")
