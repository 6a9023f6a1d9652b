"""Options that several sub-commands share, so that a name means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unhaze.cli import _console
from unhaze.restore.machine import MOST_WORKERS
from unhaze.restore.options import DEFAULT_MODEL, DehazeOptions

__all__ = [
    "DEFAULT_MODEL",
    "ColorBlend",
    "Compare",
    "Compile",
    "DehazeOptions",
    "Device",
    "Engine",
    "Format",
    "Jobs",
    "JsonOutput",
    "KeepExposure",
    "MaxMemory",
    "MaxPixels",
    "MetadataChoice",
    "MethodName",
    "ModelName",
    "OnError",
    "Precision",
    "ProtectSky",
    "Quality",
    "Quiet",
    "Recursive",
    "Report",
    "Save",
    "SkipExisting",
    "SpareClear",
    "Strength",
    "Suffix",
    "TileSize",
    "Verbose",
    "Weights",
]

# -- restoration ------------------------------------------------------------------------------------------------------

MethodName = Annotated[
    str, typer.Option("--method", "-m", help="How the haze is estimated; see: unhaze methods list.", metavar="NAME")
]
Strength = Annotated[
    float,
    typer.Option(help="How much haze goes: 1 all that was found, 0 none; below 0 adds haze, down to -1.", metavar="X"),
]
ColorBlend = Annotated[
    float,
    typer.Option(
        help="How far colours grow along with contrast, 0 to 1; lower it if colours look exaggerated.", metavar="X"
    ),
]
ProtectSky = Annotated[
    float,
    typer.Option(help="How far skies are left alone, 0 to 1; lower it if a hazy distance stays hazy.", metavar="X"),
]
KeepExposure = Annotated[
    float | None,
    typer.Option(
        help="How much of the brightness lost with the haze is given back, 0 to 1. Default 1, but 0 for a network.",
        show_default=False,
        metavar="X",
    ),
]
White = Annotated[
    float | None,
    typer.Option(
        "--white",
        help="The value that stands for white in 16-bit and float pictures, such as 4095 or 10000; default is found "
        "from the largest values of each.",
        metavar="X",
    ),
]

SpareClear = Annotated[
    float,
    typer.Option(help="How far pictures that look clear are left alone, 0 to 1; 0 dehazes them too.", metavar="X"),
]

Engine = Annotated[
    str,
    typer.Option(
        help="What runs the network of a method that has one; auto is OpenVINO where it is installed.",
        metavar="auto|onnxruntime|openvino",
    ),
]

# -- networks ---------------------------------------------------------------------------------------------------------

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Restore with a network instead of a method; see: unhaze models list. Needs --weights.",
        metavar="NAME",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="File with the trained weights of the network, which may name the network.", metavar="FILE"
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where a network runs; auto is a GPU with CUDA where there is one.", metavar="auto|cpu|cuda|cuda:1|mps|xpu"
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Arithmetic of a network; bf16 is used where the device has it and 8 bits show no difference.",
        metavar="fp32|bf16",
    ),
]
TileSize = Annotated[
    int | None,
    typer.Option(
        "--tile",
        help="Side of the tiles a network works on [px]; default is the whole picture where memory allows.",
        metavar="N",
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Run a network through torch.compile; pays for many pictures of one size.")
]

Depth = Annotated[
    str | None,
    typer.Option(
        "--depth",
        help="Where NETWORK+FUSION gets depth from: an estimator (unhaze depth --list), or a depth map for a single "
        "picture; default is what its weights name.",
        metavar="NAME|FILE",
    ),
]
DepthWeights = Annotated[
    Path | None, typer.Option("--depth-weights", help="Weights of the depth estimator.", metavar="PATH")
]
BackboneWeights = Annotated[
    Path | None,
    typer.Option(
        "--backbone-weights", help="Weights of the network, where --weights holds a fusion alone.", metavar="FILE"
    ),
]
Prompts = Annotated[
    int,
    typer.Option(
        "--prompts",
        help="How often the result prompts the next one, for a fusion that compares depth (selfpromer).",
        min=1,
        metavar="N",
    ),
]

# -- files ------------------------------------------------------------------------------------------------------------

Suffix = Annotated[
    str | None,
    typer.Option(
        help="Added to the name of each output; default '-dehazed' beside the input, nothing in another folder.",
        metavar="TEXT",
    ),
]
Format = Annotated[
    str,
    typer.Option(
        help="Format of the outputs; 'keep' is that of each input (HEIC becomes JPEG, camera raw becomes TIFF).",
        metavar="keep|jpeg|png|tiff|webp|avif|bmp",
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        help="1 to 100, for formats that lose information; default is the quality of the input.",
        min=1,
        max=100,
        metavar="N",
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive/--no-recursive", help="Whether to look into the folders of a folder.")
]
SkipExisting = Annotated[
    bool | None,
    typer.Option(
        "--skip-existing/--overwrite",
        help="Leave out inputs whose output exists, or replace it; default is an error for that input.",
        show_default=False,
    ),
]
OnError = Annotated[
    str,
    typer.Option(
        help="After a failure go on with the other inputs (skip), or start no further one (stop).",
        metavar="skip|stop",
    ),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Also write NAME-compare.jpg: before and after, side by side.")
]
Save = Annotated[
    list[str] | None,
    typer.Option(
        help="Also write these maps as 16-bit PNG, NAME-transmission.png and so on; separate several by commas. "
        "In depth maps far is bright.",
        metavar="transmission,depth,confidence",
    ),
]
MetadataChoice = Annotated[
    str,
    typer.Option(
        "--metadata",
        help="Keep EXIF, XMP and the like, or strip them; the colour profile always stays.",
        metavar="keep|strip",
    ),
]

# -- resources --------------------------------------------------------------------------------------------------------

MaxMemory = Annotated[
    str | None,
    typer.Option(
        help="Memory for all pictures under way together, such as 2G or 500M; default is 70 % of what is free.",
        metavar="SIZE",
    ),
]
MaxPixels = Annotated[
    str,
    typer.Option(help="Refuse pictures of more pixels than this before decoding them, such as 200M.", metavar="N"),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        help="How many pictures to work on at once; default is the number of processors.",
        min=1,
        max=MOST_WORKERS,
        show_default=False,
        metavar="N",
    ),
]

# -- what is told -----------------------------------------------------------------------------------------------------

JsonOutput = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Report = Annotated[
    Path | None,
    typer.Option(help="Append one line of JSON per input to this file: output, or error, and times.", metavar="FILE"),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Tell of failures only.", callback=_console.set_quiet),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Tell more: engine, each picture, and where unexpected errors come from.",
        callback=_console.set_verbose,
    ),
]
