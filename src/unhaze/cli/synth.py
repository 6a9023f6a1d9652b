"""``unhaze synth``: add haze to clear pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

__all__ = ["synth"]


def synth(
    inputs: Annotated[list[str], typer.Argument(help="Clear pictures, folders and patterns.", metavar="INPUT...")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder; default NAME-hazy beside the input.")
    ] = None,
    depth: Annotated[
        Path | None,
        typer.Option(help="Depth map (grey PNG or TIFF), or a folder of maps named like the pictures."),
    ] = None,
    depth_scale: Annotated[
        float, typer.Option(help="Metres per unit of the depth map; 0.001 for millimetres.", metavar="METRES")
    ] = 1.0,
    depth_kind: Annotated[
        str,
        typer.Option(help="depth (far is large), or inverse (near is large; white is METRES away).", metavar="KIND"),
    ] = "depth",
    depth_shape: Annotated[
        str, typer.Option(help="Without a map: plane, ramp, radial or constant, 1 to 200 m deep.", metavar="SHAPE")
    ] = "ramp",
    beta: Annotated[
        str, typer.Option(help="Scattering coefficient [1/m], or LOW,HIGH to draw from.", metavar="B")
    ] = "0.01",
    airlight: Annotated[
        str, typer.Option(help="Colour of the haze in [0, 1]: grey, or red,green,blue.", metavar="A")
    ] = "0.85",
    patchy: Annotated[float, typer.Option(help="0 (even) to 1 (dense and thin patches).")] = 0.0,
    space: Annotated[str, typer.Option(help="Light in which haze is added: srgb or linear.")] = "srgb",
    seed: Annotated[int, typer.Option(help="Draws beta and patches, together with the file name.")] = 0,
    save: Annotated[
        list[str] | None,
        typer.Option(help="Also write these maps as 16-bit PNG; separate by commas.", metavar="transmission,depth"),
    ] = None,
    recursive: opt.Recursive = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Add haze to clear pictures, by a depth map or by the depth of a simple scene.

    The same seed and file name give the same haze. Type, bit depth, transparency and metadata of the pictures stay.
    """
    from unhaze.batch.planning import plan
    from unhaze.batch.synthesis import HazeRecipe, synthesize_file
    from unhaze.cli._each_file import for_each_file
    from unhaze.errors import UnknownNameError

    recipe = HazeRecipe.parse(
        beta=beta,
        airlight=airlight,
        patchy=patchy,
        space=space,
        seed=seed,
        depth=depth,
        depth_scale=depth_scale,
        depth_kind=depth_kind,
        depth_shape=depth_shape,
    )
    known = ("depth", "transmission")
    maps = [name.strip() for part in save or () for name in part.split(",") if name.strip()]
    for name in maps:
        if name not in known:
            raise UnknownNameError("map", name, known)
    jobs = plan(
        inputs,
        output=output,
        suffix="-hazy" if output is None else "",
        recursive=recursive,
        existing="overwrite" if overwrite else "error",
        sides=list(dict.fromkeys(maps)),
    )
    if not jobs:
        _console.log.error(f"No pictures were found in {', '.join(inputs)}.")
    for_each_file(jobs, lambda job: synthesize_file(job, recipe), "synth", as_json=json_output)
