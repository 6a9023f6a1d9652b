"""``unhaze depth``: relative depth of a hazy picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

if TYPE_CHECKING:
    from unhaze.inference.dehazer import Dehazer
    from unhaze.inference.planning import Job

__all__ = ["depth"]


def depth(
    inputs: Annotated[list[str], typer.Argument(help="Hazy pictures, folders and patterns.", metavar="INPUT...")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder; default NAME-depth.png beside the input.")
    ] = None,
    color: Annotated[
        bool, typer.Option("--color", help="8-bit colours for the eye, near is red and far is blue.")
    ] = False,
    method: opt.MethodName = opt.DEFAULT_METHOD,
    recursive: opt.Recursive = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Estimate relative depth from haze: the more haze, the farther.

    Writes a grey 16-bit PNG in which far is bright and 0 is the camera. Depth is known up to a factor only, and not
    where there is no haze or nothing but haze.
    """
    from unhaze.cli._each_file import for_each_file
    from unhaze.inference.dehazer import Dehazer
    from unhaze.inference.planning import plan

    jobs = plan(
        inputs,
        output=output,
        suffix="-depth",
        format="png",
        recursive=recursive,
        existing="overwrite" if overwrite else "error",
    )
    if not jobs:
        _console.complain(f"No pictures were found in {', '.join(inputs)}.")
    with Dehazer(method, protect_sky=0.0) as dehazer:  # a sky that is protected from dehazing would come out near
        for_each_file(jobs, lambda job: _write_depth(job, dehazer, color), "depth", as_json=json_output)


def _write_depth(job: Job, dehazer: Dehazer, color: bool) -> dict[str, Any]:
    """Estimate and write the depth of one picture; returns facts for the user."""
    from unhaze.inference.batch import Rendered, write_products
    from unhaze.inference.depth_picture import color_depth, gray_depth

    assert job.output is not None
    found = _estimate(job.source, dehazer)
    picture = color_depth(found) if color else gray_depth(found)
    height, width = found.map.shape
    write_products(Rendered(picture.data, {}, (width, height), ()), job.output, {}, overwrite=job.overwrite)
    return {
        "width": width,
        "height": height,
        "method": dehazer.method,
        "kind": found.kind,
        "far": "cold" if color else "bright",
        "scale": picture.scale,
        "nearest": float(found.map.min()),
        "farthest": float(found.map.max()),
    }


def _estimate(source: Path, dehazer: Dehazer) -> Any:
    import numpy as np

    from unhaze.inference.strips import transmission_strips
    from unhaze.io.color import tone_curve
    from unhaze.io.images import read_image
    from unhaze.types import DepthMap

    picture = read_image(source, max_pixels=dehazer.max_pixels)
    curve = tone_curve(picture.metadata.icc)
    transmission = transmission_strips(picture.pixels, dehazer.solve(picture.pixels, curve), curve)
    return DepthMap(-np.log(transmission), "relative")  # the optical depth, beta d (He et al. 2011, Eq. 2)
