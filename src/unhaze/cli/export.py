"""``unhaze export``: a model as a file for other engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.errors import MissingDependencyError, UsageError
from unhaze.restore.machine import MOST_WORKERS, format_bytes

if TYPE_CHECKING:
    from unhaze.exporting.exporter import ExportReport

__all__ = ["export"]


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.", metavar="DIR")],
    model: Annotated[
        str | None,
        typer.Argument(help="What to export; default is what the weights are of.", metavar="MODEL", show_default=False),
    ] = None,
    to: Annotated[
        str,
        typer.Option("--to", help="Format: one file of ONNX, OpenVINO, or torch.export.", metavar="onnx|openvino|pt2"),
    ] = "onnx",
    weights: Annotated[
        Path | None, typer.Option(help="File with the trained weights of a network.", metavar="FILE")
    ] = None,
    depth: Annotated[
        str | None, typer.Option(help="For NETWORK+FUSION: the depth estimator; default is its own.", metavar="NAME")
    ] = None,
    depth_as: Annotated[
        str | None,
        typer.Option(help="Depth as a second input, or its estimator in the file.", metavar="input|inside"),
    ] = None,
    depth_weights: Annotated[Path | None, typer.Option(help="Weights of the depth estimator.", metavar="PATH")] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Weights of the network, where --weights holds a fusion alone.", metavar="FILE")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Fix the size of the pictures; default is any size.", metavar="WxH")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Also write the network in 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder of hazy pictures that 8 bits are fitted to.", metavar="DIR")
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(help="Take so many of them, evenly spread; every fourth is kept to measure.", min=1, metavar="N"),
    ] = 32,
    repeats: Annotated[
        int, typer.Option(help="Passes to time for the table; 0 leaves it out.", min=0, metavar="N")
    ] = 3,
    threads: Annotated[
        int | None,
        typer.Option(help="Processor cores for the timing; default is all.", min=1, max=MOST_WORKERS, metavar="N"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Write a model as a file that other engines run, and hold it against float64.

    The file says what it holds: name, sizes, licence, hashes. NAME.json beside it has the comparison at five sizes,
    and time and memory of each engine that is installed. Exit code 1 if an engine does not agree.

    Try:

      unhaze export dehazeformer-t --weights t.safetensors -o exported/

      unhaze run photo.jpg --model exported/dehazeformer-t.onnx
    """
    if int8 != (calibrate is not None):
        raise UsageError("--int8 and --calibrate DIR belong together; give both, or neither.")
    if model is None and weights is None:
        raise UsageError("Missing argument MODEL; name what to export, or weights that say what they are of.")
    sides = None
    if size is not None:
        width, cross, height = size.lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            raise UsageError(f"{size!r} is no size; write for example 768x512.")
        sides = int(height), int(width)
    try:
        from unhaze.exporting.exporter import ExportRequest, export_model

        request = ExportRequest(
            model=model,
            weights=weights,
            format=to,
            depth=depth,
            depth_as=depth_as,
            depth_weights=depth_weights,
            backbone_weights=backbone_weights,
            size=sides,
            calibration=calibrate,
            calibration_pictures=pictures,
            repeats=repeats,
            threads=threads,
            overwrite=overwrite,
        )
        report = export_model(request, output)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "export", "export a network") from error
    if json_output:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        _print(report)
    if not report.agrees:
        _console.log.error("An engine does not agree with float64; do not use it for this network (see the report).")
        raise typer.Exit(1)


def _print(report: ExportReport) -> None:
    for role, path in report.files.items():
        _console.log.info(f"{role}: {path}")
    if report.parity:
        print(f"{'engine':14}{'size':>12}{'largest error':>16}{'rms':>12}")
    for row in report.parity:
        size = f"{row.width}x{row.height}"
        verdict = "" if row.agrees else "  does not agree"
        print(f"{row.engine:14}{size:>12}{row.largest:>16.2e}{row.rms:>12.2e}{verdict}")
    for engine, why in report.failures.items():
        print(f"{engine}: {why}")
    if report.cost:
        print(f"{'engine':14}{'precision':>12}{'size':>12}{'seconds':>12}{'memory':>12}")
    for cost in report.cost:
        size = f"{cost.width}x{cost.height}"
        seconds = "failed" if cost.seconds is None else f"{cost.seconds:.4f}"
        memory = "-" if cost.peak_memory is None else format_bytes(cost.peak_memory)
        print(f"{cost.engine:14}{cost.precision:>12}{size:>12}{seconds:>12}{memory:>12}")
    if report.loss is not None:
        kind = "that it had not seen" if report.loss.held_out else "that it was fitted to"
        print(
            f"int8 against float32, {report.loss.pictures} pictures {kind}: {report.loss.mean:.1f} dB in the mean, "
            f"{report.loss.worst:.1f} dB at worst"
        )
